//! `ebs`: smaller blocks than the disk has.
//!
//! ```text
//! START LEN ebs DEVICE OFFSET EMULATED [UNDERLYING]
//! 0 204800 ebs /dev/sda 0 1 8            sectors of 512 bytes on a disk of 4 KiB blocks
//!
//!   EMULATED    |-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|
//!   UNDERLYING  |---------------|---------------|
//!   write                 ^^^^^^^^^                  two blocks are read, changed and written
//! ```
//!
//! Block sizes are in sectors of 512 bytes. IO that covers whole underlying blocks goes straight to the device, unless both sizes are
//! the same. Any other is done by one worker, in blocks that are kept in memory (a client of bufio): a read takes its part of
//! the blocks, a write reads the blocks that it covers only in part and changes all of them; what one pass of the worker has
//! changed is written, and the device flushed, before its writes end. A discard gives back the whole blocks within it.
//!
//! The blocks that were read stay in memory until they are written past the worker or the device is suspended.
//!
//! | | |
//! |---|---|
//! | status line | empty |
//! | table line | `MAJOR:MINOR OFFSET EMULATED[ UNDERLYING]`, the last if it was given |
//! | messages | none |
//! | limits | logical blocks of the emulated size, physical ones of the underlying size |
//!
//! Behaviour: kernel/targets.md#ebs; the kernel that other targets are held against does not have this one.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use dmlab_block::{Bio, BlkStatus, Op, QueueLimits, Tag, run_async};
use dmlab_bufio::Client;
use dmlab_dm::kit::{BioList, LinearExtent, Work, Worker};
use dmlab_dm::{
    Args, BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, IoctlRoute, Map, Module, OrRefuse,
    StatusKind, StatusResult, Target, TargetFeatures, TargetType,
};
use dmlab_runtime::AsyncMutex;
use dmlab_units::{Bytes, SECTOR_SIZE, Sector, Sectors};
use parking_lot::Mutex;

/// `ebs` 1.0.1.
pub static EBS: TargetType = TargetType {
    name: "ebs",
    version: [1, 0, 1],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
    module: &Module::named("dm_ebs"),
};

/// Largest emulated block: a page.
const MAX_EMULATED: u16 = 8;

struct Ebs {
    extent: LinearExtent,
    emulated: u64,
    underlying: u64,
    is_underlying_given: bool,
    blocks: Arc<Blocks>,
}

/// Reads a block size: a number modulo 2^16 that is a power of two, and no larger than `most`.
fn block_size(args: &Args, word: &[u8], most: u16) -> Option<u16> {
    let size = args.scan_u32(word)? as u16;
    (size.is_power_of_two() && size <= most).then_some(size)
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    if !(3..=4).contains(&ctr.args.len()) {
        return Err(CtrError::invalid("Invalid argument count"));
    }
    let [device, offset, emulated] = std::array::from_fn(|_| ctr.args.shift().unwrap_or_default());
    let offset = ctr
        .args
        .scan_u64(&offset)
        .filter(|offset| *offset < ctr.len.0)
        .or_refuse("Invalid device offset sector")?;
    let emulated = block_size(&ctr.args, &emulated, MAX_EMULATED).or_refuse("Invalid emulated block size")?;
    let given = match ctr.args.shift() {
        Some(word) => {
            Some(block_size(&ctr.args, &word, u16::MAX).or_refuse("Invalid underlying block size")?)
        }
        None => None,
    };
    let device = ctr.device(&device).or_refuse("Device lookup failed")?;
    let underlying = match given {
        Some(size) => u64::from(size),
        None => device.device().limits().logical_block_size.0 / SECTOR_SIZE,
    };
    if !underlying.is_power_of_two() {
        return Err(CtrError::invalid("Invalid retrieved underlying block size"));
    }
    if given.is_none() && underlying == u64::from(emulated) {
        ctr.log("ebs").info("Emulation superfluous: emulated equal to underlying block size");
    }
    if offset % underlying != 0 {
        return Err(CtrError::invalid("Device offset must be multiple of underlying block size"));
    }
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    let blocks = Arc::new(Blocks {
        block: underlying,
        bufio: AsyncMutex::new(Client::new(device.device().clone(), Sectors(underlying))),
        queue: Mutex::default(),
        overwritten: Mutex::default(),
        worker: Worker::new(ctr.runtime().clone(), "dm-ebs"),
    });
    Ok(Box::new(Ebs {
        extent: LinearExtent { device, offset: Sector(offset), start: ctr.start, len: ctr.len },
        emulated: u64::from(emulated),
        underlying,
        is_underlying_given: given.is_some(),
        blocks,
    }))
}

/// What does IO in parts of blocks.
struct Blocks {
    /// Sectors of an underlying block.
    block: u64,
    /// The worker's, but for what is forgotten meanwhile.
    bufio: AsyncMutex<Client>,
    /// Bios for the worker.
    queue: Mutex<BioList>,
    /// Blocks that were passed by while the worker had the client.
    overwritten: Mutex<Vec<Range<u64>>>,
    worker: Worker,
}

impl Blocks {
    /// The blocks that a bio touches.
    fn of(&self, bio: &Bio<'_>) -> Range<u64> {
        bio.sector.0 / self.block..bio.end_sector().0.div_ceil(self.block)
    }

    /// Forgets what is in memory of blocks that a bio goes past.
    fn forget(&self, blocks: Range<u64>) {
        match self.bufio.try_lock() {
            Some(mut bufio) => bufio.forget_buffers(blocks),
            None => self.overwritten.lock().push(blocks),
        }
    }

    fn forget_overwritten(&self, bufio: &mut Client) {
        for blocks in std::mem::take(&mut *self.overwritten.lock()) {
            bufio.forget_buffers(blocks);
        }
    }

    /// For each block that a bio touches: its number, which sectors of it, and where they are in the bio, all in bytes.
    fn parts(&self, bio: &Bio<'_>) -> impl Iterator<Item = (u64, Range<usize>, usize)> + use<> {
        let (start, end, block) = (bio.sector.0, bio.end_sector().0, self.block);
        self.of(bio).map(move |number| {
            let (first, last) = (start.max(number * block), end.min((number + 1) * block));
            let bytes = |sectors: u64| (sectors * SECTOR_SIZE) as usize;
            (number, bytes(first - number * block)..bytes(last - number * block), bytes(first - start))
        })
    }

    /// Reads the part of a bio out of whole blocks.
    async fn read(&self, bufio: &mut Client, bio: &mut Bio<'static>) -> Result<(), BlkStatus> {
        for (number, part, at) in self.parts(bio) {
            let buffer = bufio.read(number, Tag::default()).await?;
            let into = bio.bytes_mut().ok_or(BlkStatus::IoErr)?;
            into[at..at + part.len()].copy_from_slice(&buffer.data()[part]);
        }
        Ok(())
    }

    /// Puts a bio into whole blocks: what it covers only in part is read first.
    async fn write(&self, bufio: &mut Client, bio: &mut Bio<'static>) -> Result<(), BlkStatus> {
        let whole = (self.block * SECTOR_SIZE) as usize;
        for (number, part, at) in self.parts(bio) {
            let buffer = if part.len() == whole {
                bufio.new_buffer(number)
            } else {
                bufio.read(number, Tag::default()).await?
            };
            let bytes = bio.bytes().ok_or(BlkStatus::IoErr)?;
            buffer.data_mut()[part.clone()].copy_from_slice(&bytes[at..at + part.len()]);
            bufio.mark_buffer_dirty(number);
        }
        Ok(())
    }

    /// Gives back the whole blocks within a range.
    async fn discard(&self, bufio: &mut Client, bio: &mut Bio<'static>) -> Result<(), BlkStatus> {
        let (first, last) = (bio.sector.0.div_ceil(self.block), bio.end_sector().0 / self.block);
        if first >= last {
            return Ok(());
        }
        bufio.forget_buffers(first..last);
        let range = Bio::range(bio.op, Sector(first * self.block), Sectors((last - first) * self.block));
        run_async(range.to(bufio.device())).await
    }
}

impl Work for Blocks {
    fn worker(&self) -> &Worker {
        &self.worker
    }

    async fn pass(self: &Arc<Self>) {
        let bios = self.queue.lock().take();
        let mut bufio = self.bufio.lock().await;
        let has_writes = bios.iter().any(|bio| bio.op == Op::Write);
        let mut writes = BioList::default();
        for mut bio in bios {
            self.forget_overwritten(&mut bufio);
            let done = match bio.op {
                Op::Read => self.read(&mut bufio, &mut bio).await,
                Op::Write => self.write(&mut bufio, &mut bio).await,
                _ => self.discard(&mut bufio, &mut bio).await,
            };
            match done {
                Ok(()) if bio.op == Op::Write => writes.push_back(bio),
                done => end(bio, done),
            }
        }
        if has_writes {
            let written = bufio.write_dirty_buffers(Tag::default()).await;
            writes.into_iter().for_each(|bio| end(bio, written));
        }
        self.forget_overwritten(&mut bufio);
    }
}

fn end(bio: Bio<'static>, done: Result<(), BlkStatus>) {
    bio.end(done.err().map_or(BlkStatus::Ok, |_| BlkStatus::IoErr));
}

impl Target for Ebs {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        // A flush, which goes on as it is, is moved as in `delay` and `flakey`, where it is recorded.
        self.extent.remap(bio);
        if bio.is_empty() {
            return Map::Remapped;
        }
        let is_whole =
            bio.sector.0.is_multiple_of(self.underlying) && bio.len().0.is_multiple_of(self.underlying);
        if is_whole && self.emulated != self.underlying {
            self.blocks.forget(self.blocks.of(bio));
            return Map::Remapped;
        }
        self.blocks.queue.lock().push_back(bio.take_owned());
        Worker::kick(&self.blocks);
        Map::Submitted
    }

    /// What is below may be another device after the next resume, or the same one changed.
    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.blocks.bufio.lock().await.forget_all() })
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        if kind != StatusKind::Table {
            return Ok(()).into();
        }
        let given = if self.is_underlying_given { format!(" {}", self.underlying) } else { String::new() };
        let LinearExtent { device, offset, .. } = &self.extent;
        write!(out, "{} {offset} {}{given}", device.dev(), self.emulated).into()
    }

    fn route_ioctl(&self) -> IoctlRoute<'_> {
        self.extent.route_ioctl()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![self.extent.range()])
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        limits.logical_block_size = Bytes(self.emulated * SECTOR_SIZE);
        limits.physical_block_size = Bytes(self.underlying * SECTOR_SIZE);
        limits.alignment_offset = limits.physical_block_size;
        limits.io_min = limits.logical_block_size;
    }
}
