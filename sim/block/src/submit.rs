//! The loop that carries a bio down through stacked devices.

use dmlab_runtime::{Level, TraceEvent, TracePoint};
use smallvec::SmallVec;

use crate::{Bio, BioFlags, BlkStatus, BlockDevice, Offered, Op, Redirect, intercept};

/// Most layers a bio may pass. Linux has no such limit (kernel/dm-core.md#tables-in-tables).
/// Here a bio that passes more of them, as in a loop of devices, ends with an IO error.
pub const MAX_DEPTH: usize = 65_536;

/// Bios on their way down. What a device has sent on goes before everything that waited already, in the order in which the
/// device pushed it, but that bios to the device itself, the rest of one that was cut, go after those to devices
/// below (as the lists of `submit_bio_noacct` have it).
#[derive(Default)]
pub struct BioQueue<'a> {
    /// The last goes first.
    bios: SmallVec<[Bio<'a>; 2]>,
}

impl<'a> BioQueue<'a> {
    /// Sends `bio` on to the device it names.
    #[inline(always)]
    pub fn push(&mut self, bio: Bio<'a>) {
        self.bios.push(bio);
    }

    /// Puts those into their order that `dev` has pushed: all from the `from`th on.
    #[inline(always)]
    fn arrange(&mut self, from: usize, dev: &BlockDevice) {
        if self.bios.len() - from >= 2 {
            self.arrange_several(from, dev);
        }
    }

    fn arrange_several(&mut self, from: usize, dev: &BlockDevice) {
        let pushed = &mut self.bios[from..];
        let is_below = |bio: &Bio<'_>| bio.dev().is_none_or(|below| !std::ptr::eq(&**below, dev));
        // A piece and the rest of a bio that was cut, which is nearly all of it.
        if let [rest, piece] = pushed
            && !is_below(rest)
            && is_below(piece)
        {
            return;
        }
        pushed.reverse();
        pushed.sort_by_key(is_below);
    }
}

/// Submits `bio` to the device it names, and everything that comes of it. Returns when all of it has either ended or
/// been taken by a device that must wait.
pub fn submit(bio: Bio<'_>) {
    let mut queue = BioQueue::default();
    queue.push(bio);
    while let Some(bio) = queue.bios.pop() {
        submit_one(bio, &mut queue);
    }
}

#[inline(always)]
fn submit_one<'a>(mut bio: Bio<'a>, queue: &mut BioQueue<'a>) {
    loop {
        let Some(dev) = bio.dev.take() else {
            bio.end(BlkStatus::IoErr);
            return;
        };
        if dev.runtime().bio_hook().is_on() && intercept::offer(&dev, &mut bio) == Offered::Kept {
            return;
        }
        if let Err(status) = check(&dev, &mut bio) {
            bio.end(status);
            return;
        }
        if dev.runtime().tracer().is_on() {
            trace(&dev, &bio, TracePoint::Queue);
        }
        match dev.ops().redirect(&dev, &mut bio) {
            Redirect::Down => {}
            Redirect::Gone => return,
            Redirect::No => {
                let from = queue.bios.len();
                dev.ops().submit_bio(&dev, bio, queue);
                queue.arrange(from, &dev);
                return;
            }
        }
    }
}

/// What the block layer looks at before any driver sees the bio (`submit_bio_noacct`). `Err(Ok)` ends it well.
#[inline]
fn check(dev: &BlockDevice, bio: &mut Bio<'_>) -> Result<(), BlkStatus> {
    if dev.is_dead() {
        return Err(BlkStatus::IoErr);
    }
    if bio.depth() >= MAX_DEPTH {
        dev.runtime().log(
            Level::Err,
            format!(
                "{}: a bio passed {MAX_DEPTH} layers: devices that map each other in a loop?",
                dev.name()
            ),
        );
        return Err(BlkStatus::IoErr);
    }
    let len = bio.len().0;
    if len != 0 {
        let capacity = dev.capacity().0;
        if len > capacity || bio.sector.0 > capacity - len {
            beyond_end(dev, bio, capacity);
            return Err(BlkStatus::IoErr);
        }
    }
    if bio.op.is_write() && dev.is_read_only() && len != 0 {
        dev.warn_read_only();
    }
    if bio.op == Op::Flush || bio.flags.intersects(BioFlags::PREFLUSH | BioFlags::FUA) {
        // A device without a volatile cache has nothing to flush; its driver never sees one.
        if !dev.has_write_cache() {
            bio.flags.remove(BioFlags::PREFLUSH | BioFlags::FUA);
            if bio.op == Op::Flush {
                return Err(BlkStatus::Ok);
            }
        }
    }
    if bio.op.is_range() && !dev.supports(bio.op) {
        return Err(BlkStatus::NotSupp);
    }
    Ok(())
}

fn beyond_end(dev: &BlockDevice, bio: &Bio<'_>, capacity: u64) {
    if capacity == 0 || !dev.eod_limit().allows(dev.runtime().now()) {
        return;
    }
    dev.runtime().log(
        Level::Info,
        format!(
            "dmlab: attempt to access beyond end of device\n{}: rw={}, sector={}, nr_sectors = {} limit={}",
            dev.name(),
            u8::from(bio.op.is_write()),
            bio.sector,
            bio.len(),
            capacity
        ),
    );
}

#[cold]
pub(crate) fn trace(dev: &BlockDevice, bio: &Bio<'_>, point: TracePoint) {
    let carries_data = match point {
        TracePoint::Queue => bio.op == Op::Write,
        TracePoint::Complete { errno: 0 } => bio.op == Op::Read,
        _ => false,
    };
    let data = if carries_data { bio.bytes() } else { None };
    dev.runtime().tracer().emit(&TraceEvent {
        time: dev.runtime().now(),
        dev: dev.dev(),
        point,
        op: bio.op.letters(),
        sector: bio.sector,
        len: bio.len(),
        sum: data.map(crc32c::crc32c),
    });
}
