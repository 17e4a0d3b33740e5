//! The bio: one piece of work for a block device.

use std::sync::Arc;

use dmlab_runtime::TracePoint;
use dmlab_units::{DevT, Errno, SECTOR_SIZE, Sector, Sectors};

use crate::join::Join;
use crate::sync::Waiter;
use crate::tag::Tag;
use crate::{BioBuf, BlkStatus, BlockDevice, Part};

/// What a bio does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads sectors.
    Read,
    /// Writes sectors.
    Write,
    /// Makes everything durable that was completed before: a write without data that carries PREFLUSH.
    Flush,
    /// Says that sectors are no longer needed.
    Discard,
    /// The sectors may be forgotten, and must never be readable again.
    SecureErase,
    /// Fills sectors with zeros.
    WriteZeroes,
}

impl Op {
    /// Whether it changes the device (`op_is_write`).
    pub fn is_write(self) -> bool {
        self != Op::Read
    }

    /// Whether it names a range but carries no data.
    pub fn is_range(self) -> bool {
        matches!(self, Op::Discard | Op::SecureErase | Op::WriteZeroes)
    }

    /// The kernel's number of it (`REQ_OP_*`). A flush is a write without data.
    pub fn number(self) -> u32 {
        match self {
            Op::Read => 0,
            Op::Write | Op::Flush => 1,
            Op::Discard => 3,
            Op::SecureErase => 5,
            Op::WriteZeroes => 9,
        }
    }

    /// The letters that blktrace uses for it.
    pub fn letters(self) -> &'static str {
        match self {
            Op::Read => "R",
            Op::Write => "W",
            Op::Flush => "F",
            Op::Discard => "D",
            Op::SecureErase => "DE",
            Op::WriteZeroes => "WZ",
        }
    }
}

bitflags::bitflags! {
    /// Modifiers of a bio, with the kernel's bits (`REQ_*` of `bi_opf`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BioFlags: u32 {
        /// A caller waits for the bio.
        const SYNC = 1 << 11;
        /// File system or target metadata.
        const META = 1 << 12;
        /// More of the kind will follow, or not: what is asked for at once by a direct write.
        const IDLE = 1 << 15;
        /// Durable before it ends.
        const FUA = 1 << 17;
        /// Flush before it.
        const PREFLUSH = 1 << 18;
        /// Read-ahead: may fail without harm.
        const RAHEAD = 1 << 19;
        /// Fail with EAGAIN rather than wait.
        const NOWAIT = 1 << 21;
        /// A layer above may send it again if it fails (`REQ_FAILFAST_TRANSPORT`): a layer that cuts it or replaces its
        /// bytes keeps those that are to be written.
        const RETRY = 1 << 9;
        /// Comes from swap.
        const SWAP = 1 << 24;
    }
}

/// Three words that a layer keeps with a bio until it ends (`per_bio_data`).
pub type FrameData = [u64; 3];

/// A layer that a bio passed through and that wants to hear how it ended.
pub trait EndIo: Send + Sync {
    /// Called once, when all below is done; `bio` stands where it stood when the layer sent it on.
    fn end_io(&self, bio: &mut Bio<'_>, data: FrameData, status: BlkStatus) -> End;
}

/// What a layer says to the end of a bio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The bio goes on up with this status.
    Done(BlkStatus),
    /// The layer took the bio (with [`Bio::take_owned`]) and will end it later.
    Kept,
}

pub(crate) enum Frame {
    Device {
        dev: Arc<BlockDevice>,
        data: FrameData,
        sector: Sector,
        len: Sectors,
    },
    Layer {
        owner: Arc<dyn EndIo>,
        data: FrameData,
        sector: Sector,
        len: Sectors,
    },
    Join(Arc<Join>),
    /// The bytes that a layer replaced by others ([`Bio::replace_bytes`]), to be put back on the way up.
    Restore(BioBuf<'static>),
}

/// The receiver of a bio's end after all layers.
pub(crate) enum Root {
    None,
    Waiter(Arc<Waiter>),
    Callback(Box<dyn FnOnce(BlkStatus, Vec<Part>) + Send>),
}

/// One piece of work for a block device.
pub struct Bio<'a> {
    /// What to do.
    pub op: Op,
    /// How to do it.
    pub flags: BioFlags,
    /// First sector on the device it is now sent to.
    pub sector: Sector,
    /// What its bytes mean.
    pub tag: Tag,
    /// Which of several clones of one range it is, from 0 (`dm_bio_get_target_bio_nr`).
    pub clone_nr: u32,
    pub(crate) len: Sectors,
    pub(crate) buf: BioBuf<'a>,
    pub(crate) dev: Option<Arc<BlockDevice>>,
    /// The layers it passed, the nearest last. A submitter of many bios lends the same room to each ([`crate::SyncIo`]), so
    /// that the way down allocates nothing; inside the bio it would be moved with it at every step.
    pub(crate) frames: Vec<Frame>,
    pub(crate) root: Root,
    /// Where its bytes begin in the original request.
    pub(crate) root_offset: usize,
    pub(crate) is_done: bool,
    /// The device whose interceptor has let it through: it is not shown there again when it waits or is cut.
    pub(crate) offered_at: Option<DevT>,
}

impl<'a> Bio<'a> {
    fn new(op: Op, sector: Sector, len: Sectors, buf: BioBuf<'a>) -> Bio<'a> {
        Bio {
            op,
            flags: BioFlags::empty(),
            sector,
            tag: Tag::default(),
            clone_nr: 0,
            len,
            buf,
            dev: None,
            frames: Vec::new(),
            root: Root::None,
            root_offset: 0,
            // There is no waiter yet: it may be dropped until it is given a root or a frame.
            is_done: true,
            offered_at: None,
        }
    }

    /// A read into lent memory, whose length is a whole number of sectors.
    pub fn read(sector: Sector, buf: &'a mut [u8]) -> Bio<'a> {
        let len = whole_sectors(buf.len());
        Bio::new(Op::Read, sector, len, BioBuf::In(buf))
    }

    /// A write of lent memory, whose length is a whole number of sectors.
    pub fn write(sector: Sector, buf: &'a [u8]) -> Bio<'a> {
        let len = whole_sectors(buf.len());
        Bio::new(Op::Write, sector, len, BioBuf::Out(buf))
    }

    /// A read into memory of its own.
    pub fn read_owned(sector: Sector, len: Sectors) -> Bio<'static> {
        let bytes = len.0 as usize * SECTOR_SIZE as usize;
        Bio::new(Op::Read, sector, len, BioBuf::owned_in(bytes))
    }

    /// A write of memory that the bio keeps alive.
    pub fn write_owned(sector: Sector, data: Arc<[u8]>) -> Bio<'static> {
        let len = whole_sectors(data.len());
        Bio::new(Op::Write, sector, len, BioBuf::owned_out(data))
    }

    /// An empty flush.
    pub fn flush() -> Bio<'static> {
        Bio::new(Op::Flush, Sector::ZERO, Sectors::ZERO, BioBuf::None)
    }

    /// A discard, secure erase or write zeroes of a range.
    pub fn range(op: Op, sector: Sector, len: Sectors) -> Bio<'static> {
        debug_assert!(op.is_range());
        Bio::new(op, sector, len, BioBuf::None)
    }

    /// Returns this bio with flags added.
    pub fn with_flags(mut self, flags: BioFlags) -> Self {
        self.flags |= flags;
        self
    }

    /// Returns this bio tagged with what its bytes mean.
    pub fn with_tag(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// Says what its bytes mean, unless a layer above has said so: a superblock is one on every device below.
    #[inline]
    pub fn tag_if_none(&mut self, tag: Tag) {
        if self.tag.what.is_empty() {
            self.tag = tag;
        }
    }

    /// Returns this bio aimed at `dev`.
    pub fn to(mut self, dev: &Arc<BlockDevice>) -> Self {
        self.set_dev(dev);
        self
    }

    /// Returns this bio so that it calls `done` at its end, with the status and what was read into memory of its own.
    pub fn on_end(mut self, done: impl FnOnce(BlkStatus, Vec<Part>) + Send + 'static) -> Self {
        self.root = Root::Callback(Box::new(done));
        self.is_done = false;
        self
    }

    pub(crate) fn with_waiter(mut self, waiter: Arc<Waiter>) -> Self {
        self.root = Root::Waiter(waiter);
        self.is_done = false;
        self
    }

    /// What it does and how as one word (`bi_opf`): the operation in the low 8 bits, the flags above.
    pub fn op_word(&self) -> u32 {
        let flush = if self.op == Op::Flush { BioFlags::PREFLUSH } else { BioFlags::empty() };
        self.op.number() | (self.flags | flush).bits()
    }

    /// How many sectors it covers.
    pub fn len(&self) -> Sectors {
        self.len
    }

    /// Whether it covers no sector: a flush.
    pub fn is_empty(&self) -> bool {
        self.len.is_zero()
    }

    /// The sector after its last. Saturates: nothing valid lies there anyway.
    pub fn end_sector(&self) -> Sector {
        Sector(self.sector.0.saturating_add(self.len.0))
    }

    /// The bytes to write, or those read so far, if they are here in one piece.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.buf.bytes()
    }

    /// The memory to read into, if this is a read and its memory is here in one piece.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.buf.bytes_mut()
    }

    /// Puts other bytes in place of those to be written (of the same length): what encrypts or corrupts. A layer
    /// above that sends the bio again sends its own.
    pub fn replace_bytes(&mut self, data: Arc<[u8]>) {
        debug_assert_eq!(data.len(), self.buf.len());
        let own = std::mem::replace(&mut self.buf, BioBuf::owned_out(data));
        if self.flags.contains(BioFlags::RETRY) {
            self.frames.push(Frame::Restore(own.into_owned()));
        }
    }

    /// Makes a bio that has failed fit to be sent again, with flags that a device below may have taken off: its bytes
    /// are those to be written, or there is memory of its own to read into. A write must have had [`BioFlags::RETRY`]
    /// on its way, else a device that cut it has kept nothing.
    pub fn rearm(&mut self, flags: BioFlags) {
        self.flags |= flags;
        if self.op == Op::Read && matches!(self.buf, BioBuf::None | BioBuf::Parts(_)) {
            let bytes = (self.len.0 * SECTOR_SIZE) as usize;
            self.buf = BioBuf::owned_in(bytes);
        }
        debug_assert_eq!(
            self.op == Op::Write,
            matches!(self.buf, BioBuf::Out(_) | BioBuf::OwnedOut { .. }),
            "a write that is sent again has its bytes"
        );
    }

    /// Makes the memory of a read the bio's own, so that a layer finds the bytes in [`EndIo::end_io`] (after
    /// [`Bio::gather`]) even when the bio is split below.
    pub fn own_buffer(&mut self) {
        if let BioBuf::In(_) = self.buf {
            self.buf = std::mem::take(&mut self.buf).into_owned();
        }
    }

    /// Another write of this one's bytes, to another place; both share them.
    pub fn write_elsewhere(&mut self, sector: Sector) -> Bio<'static> {
        self.buf = std::mem::take(&mut self.buf).into_shared();
        let mut twin = Bio::new(Op::Write, sector, self.len, self.buf.share());
        twin.tag = self.tag;
        twin
    }

    /// Brings the parts that split pieces have read together, for a layer that wants to look at them.
    pub fn gather(&mut self) -> Option<&mut [u8]> {
        if let BioBuf::Parts(parts) = &mut self.buf {
            parts.sort_by_key(|part| part.offset);
            let mut whole = Vec::with_capacity(self.len.0 as usize * SECTOR_SIZE as usize);
            for part in parts {
                whole.extend_from_slice(&part.data);
            }
            self.buf = BioBuf::OwnedIn(whole.into());
        }
        self.buf.bytes_mut()
    }

    /// The device it is now sent to.
    pub fn dev(&self) -> Option<&Arc<BlockDevice>> {
        self.dev.as_ref()
    }

    /// Sends it to another device.
    pub fn set_dev(&mut self, dev: &Arc<BlockDevice>) {
        self.dev = Some(dev.clone());
    }

    /// Remembers that `owner` wants to hear of its end, with `data`.
    pub fn push_frame(&mut self, owner: Arc<dyn EndIo>, data: FrameData) {
        self.frames.push(Frame::Layer { owner, data, sector: self.sector, len: self.len });
        self.is_done = false;
    }

    /// Remembers that the driver of `dev` wants to hear of its end, with `data`.
    #[inline]
    pub fn push_device_frame(&mut self, dev: Arc<BlockDevice>, data: FrameData) {
        self.frames.push(Frame::Device { dev, data, sector: self.sector, len: self.len });
        self.is_done = false;
    }

    /// Sets bits in the first, and the whole of the last, of the three words that the nearest mapped device keeps with the
    /// bio ([`FrameData`]). A bio that passed none stays as it is.
    pub fn set_device_data(&mut self, bits: u64, last: u64) {
        if let Some(data) = self.device_data() {
            data[0] |= bits;
            data[2] = last;
        }
    }

    /// Sets bits in the first of the three words that the nearest mapped device keeps with the bio.
    pub fn set_device_bits(&mut self, bits: u64) {
        if let Some(data) = self.device_data() {
            data[0] |= bits;
        }
    }

    fn device_data(&mut self) -> Option<&mut FrameData> {
        self.frames.iter_mut().rev().find_map(|frame| match frame {
            Frame::Device { data, .. } => Some(data),
            _ => None,
        })
    }

    /// Takes back what [`Bio::push_frame`] or [`Bio::push_device_frame`] did last.
    pub fn pop_frame(&mut self) {
        self.frames.pop();
    }

    /// Counts it as let through by the interceptor at `dev`, for one that kept it and sends it on now.
    pub fn mark_offered(&mut self, dev: &BlockDevice) {
        self.offered_at = Some(dev.dev());
    }

    /// How many layers wait for its end.
    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Takes the bio out of `self`, which stays behind as an empty shell.
    pub fn take(&mut self) -> Bio<'a> {
        std::mem::replace(self, Bio::new(Op::Read, Sector::ZERO, Sectors::ZERO, BioBuf::None))
    }

    /// Takes the bio to keep it beyond the submitter's call: its memory becomes its own.
    pub fn take_owned(&mut self) -> Bio<'static> {
        self.take().into_owned()
    }

    /// Returns this bio with memory of its own.
    pub fn into_owned(mut self) -> Bio<'static> {
        let owned = Bio {
            op: self.op,
            flags: self.flags,
            sector: self.sector,
            tag: self.tag,
            clone_nr: self.clone_nr,
            len: self.len,
            buf: std::mem::take(&mut self.buf).into_owned(),
            dev: self.dev.take(),
            frames: std::mem::take(&mut self.frames),
            root: std::mem::replace(&mut self.root, Root::None),
            root_offset: self.root_offset,
            is_done: self.is_done,
            offered_at: self.offered_at,
        };
        self.is_done = true;
        owned
    }

    /// Cuts off the first `len` sectors as a bio of their own; `self` keeps the rest. What waits for the end hears
    /// once, when both have ended.
    ///
    /// # Panics
    /// When `len` is 0 or not less than the whole: then there is nothing to split.
    pub fn split_front(&mut self, len: Sectors) -> Bio<'a> {
        assert!(!len.is_zero() && len < self.len, "a split leaves two pieces that are not empty");
        let join = self.join();
        join.add_piece();
        let at = if self.buf.is_empty() { 0 } else { (len.0 * SECTOR_SIZE) as usize };
        let mut front = Bio::new(self.op, self.sector, len, self.buf.split_front(at));
        front.flags = self.flags;
        front.tag = self.tag;
        front.clone_nr = self.clone_nr;
        front.dev = self.dev.clone();
        front.root_offset = self.root_offset;
        front.offered_at = self.offered_at;
        front.frames.push(Frame::Join(join));
        front.is_done = false;
        self.root_offset += at;
        self.sector += len;
        self.len -= len;
        front
    }

    /// Another bio for the same range without data; what waits for the end hears once, when both have ended.
    pub fn duplicate(&mut self, clone_nr: u32) -> Bio<'static> {
        debug_assert!(self.buf.is_empty());
        let join = self.join();
        join.add_piece();
        let mut twin = Bio::new(self.op, self.sector, self.len, BioBuf::None);
        twin.offered_at = self.offered_at;
        twin.flags = self.flags;
        twin.tag = self.tag;
        twin.clone_nr = clone_nr;
        twin.dev = self.dev.clone();
        twin.frames.push(Frame::Join(join));
        twin.is_done = false;
        twin
    }

    /// Narrows a bio without data to another range: one stripe's share of a discard.
    pub fn set_range(&mut self, sector: Sector, len: Sectors) {
        debug_assert!(self.buf.is_empty());
        self.sector = sector;
        self.len = len;
    }

    /// The join that this bio is a piece of, made if it is none yet.
    fn join(&mut self) -> Arc<Join> {
        if let Some(Frame::Join(join)) = self.frames.last() {
            return join.clone();
        }
        let mut parent = Bio::new(self.op, self.sector, self.len, BioBuf::None);
        parent.flags = self.flags;
        parent.tag = self.tag;
        parent.clone_nr = self.clone_nr;
        parent.dev = self.dev.clone();
        parent.frames = std::mem::take(&mut self.frames);
        parent.root = std::mem::replace(&mut self.root, Root::None);
        parent.root_offset = self.root_offset;
        parent.is_done = self.is_done;
        if self.op == Op::Write && self.flags.contains(BioFlags::RETRY) {
            self.buf = std::mem::take(&mut self.buf).into_shared();
            parent.buf = self.buf.share();
        }
        let join = Join::new(parent);
        self.frames.push(Frame::Join(join.clone()));
        self.is_done = false;
        join
    }

    /// Whether the machine has ended whose devices it has passed.
    fn is_of_an_ended_machine(&self) -> bool {
        self.frames.iter().any(|frame| match frame {
            Frame::Device { dev, .. } => dev.runtime().is_shut_down(),
            _ => false,
        })
    }

    /// Ends the bio: tells every layer it passed, the nearest first, then its submitter.
    pub fn end(self, status: BlkStatus) {
        let mut bio = self;
        let mut status = status;
        // It would be sent again as a new one.
        bio.offered_at = None;
        loop {
            match bio.frames.pop() {
                Some(Frame::Device { dev, data, sector, len }) => {
                    bio.sector = sector;
                    bio.len = len;
                    match dev.ops().end_bio(&dev, &mut bio, data, status) {
                        End::Done(said) => status = said,
                        End::Kept => return,
                    }
                    if dev.runtime().tracer().is_on() {
                        let errno = status.errno().map_or(0, Errno::raw);
                        crate::submit::trace(&dev, &bio, TracePoint::Complete { errno });
                    }
                }
                Some(Frame::Layer { owner, data, sector, len }) => {
                    bio.sector = sector;
                    bio.len = len;
                    match owner.end_io(&mut bio, data, status) {
                        End::Done(said) => status = said,
                        End::Kept => return,
                    }
                }
                Some(Frame::Join(join)) => match join.arrive(bio, status) {
                    Some((parent, joined)) => {
                        bio = parent;
                        status = joined;
                    }
                    None => return,
                },
                Some(Frame::Restore(own)) => bio.buf = own,
                None => break,
            }
        }
        bio.is_done = true;
        let parts = std::mem::take(&mut bio.buf).into_parts(bio.root_offset);
        match std::mem::replace(&mut bio.root, Root::None) {
            Root::None => {}
            Root::Waiter(waiter) => waiter.finish(status, parts, std::mem::take(&mut bio.frames)),
            Root::Callback(done) => done(status, parts),
        }
    }

    /// Ends the bio well.
    pub fn end_ok(self) {
        self.end(BlkStatus::Ok);
    }
}

impl Drop for Bio<'_> {
    fn drop(&mut self) {
        if self.is_done || std::thread::panicking() {
            return;
        }
        // A machine that ends drops its tasks wherever they wait, with the bios in their hands. Any other lost bio is a
        // caller that waits for ever: a bug of the layer that dropped it, loud in tests, an IO error otherwise.
        debug_assert!(
            self.is_of_an_ended_machine(),
            "a bio was dropped without an end: {:?} at sector {}",
            self.op,
            self.sector
        );
        self.take().end(BlkStatus::IoErr);
    }
}

impl std::fmt::Debug for Bio<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bio({} {}+{} {:?})", self.op.letters(), self.sector, self.len, self.flags)
    }
}

fn whole_sectors(bytes: usize) -> Sectors {
    debug_assert!(bytes.is_multiple_of(SECTOR_SIZE as usize), "{bytes} bytes are no whole number of sectors");
    Sectors(bytes as u64 / SECTOR_SIZE)
}
