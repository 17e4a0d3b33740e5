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
//! Block sizes are in sectors of 512 bytes. IO that covers whole underlying blocks goes straight to the device; any
//! other is done by one worker, one after the other: a read takes its part of the blocks, a write reads the blocks that it
//! covers only in part and writes all of them. A discard gives back the whole blocks within it.
//!
//! | | |
//! |---|---|
//! | status line | empty |
//! | table line | `MAJOR:MINOR OFFSET EMULATED[ UNDERLYING]`, the last if it was given |
//! | messages | none |
//! | limits | logical blocks of the emulated size, physical ones of the underlying size |
//!
//! Linux keeps the blocks it has read in a cache until they are overwritten or the device is suspended; here each
//! operation reads them anew, which can be told only by changing the device behind the target's back.
//!
//! Behaviour: kernel/targets.md#ebs; the kernel that other targets are held against does not have this one.

use std::fmt::Write;
use std::sync::Arc;

use dmlab_block::{Bio, BioFlags, BlkStatus, BlockDevice, Op, QueueLimits, read_async, run_async};
use dmlab_dm::kit::LinearExtent;
use dmlab_dm::{
    Args, Constructor, Ctr, CtrError, CtrResult, DeviceRange, IoctlRoute, Map, Module, OrRefuse, StatusKind,
    StatusResult, Target, TargetFeatures, TargetType,
};
use dmlab_runtime::{Runtime, WorkQueue};
use dmlab_units::{Bytes, SECTOR_SIZE, Sector, Sectors};

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
    worker: WorkQueue,
    runtime: Arc<Runtime>,
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
    Ok(Box::new(Ebs {
        extent: LinearExtent { device, offset: Sector(offset), start: ctr.start, len: ctr.len },
        emulated: u64::from(emulated),
        underlying,
        is_underlying_given: given.is_some(),
        worker: WorkQueue::new("dm-ebs"),
        runtime: ctr.runtime().clone(),
    }))
}

/// The underlying blocks that a range of sectors touches, as sectors.
fn cover(start: u64, end: u64, block: u64) -> (u64, u64) {
    (start / block * block, end.div_ceil(block) * block)
}

/// Reads the part of a bio out of whole blocks.
async fn read(device: &Arc<BlockDevice>, bio: &mut Bio<'static>, block: u64) -> Result<(), BlkStatus> {
    let (first, last) = cover(bio.sector.0, bio.end_sector().0, block);
    let blocks = read_async(device, Sector(first), Sectors(last - first)).await?;
    let from = ((bio.sector.0 - first) * SECTOR_SIZE) as usize;
    let into = bio.bytes_mut().ok_or(BlkStatus::IoErr)?;
    into.copy_from_slice(&blocks[from..from + into.len()]);
    Ok(())
}

/// Writes a bio within whole blocks: what it covers only in part is read first.
async fn write(device: &Arc<BlockDevice>, bio: &mut Bio<'static>, block: u64) -> Result<(), BlkStatus> {
    let (start, end) = (bio.sector.0, bio.end_sector().0);
    let (first, last) = cover(start, end, block);
    let mut blocks = vec![0; ((last - first) * SECTOR_SIZE) as usize];
    let mut edges = Vec::new();
    if start != first {
        edges.push(first);
    }
    if end != last && edges.last() != Some(&(last - block)) {
        edges.push(last - block);
    }
    for edge in edges {
        let old = read_async(device, Sector(edge), Sectors(block)).await?;
        let at = ((edge - first) * SECTOR_SIZE) as usize;
        blocks[at..at + old.len()].copy_from_slice(&old);
    }
    let at = ((start - first) * SECTOR_SIZE) as usize;
    let bytes = bio.bytes().ok_or(BlkStatus::IoErr)?;
    blocks[at..at + bytes.len()].copy_from_slice(bytes);
    let forced = bio.flags & BioFlags::FUA;
    run_async(Bio::write_owned(Sector(first), blocks.into()).to(device).with_flags(forced)).await
}

/// Gives back the whole blocks within a range.
async fn discard(device: &Arc<BlockDevice>, bio: &mut Bio<'static>, block: u64) -> Result<(), BlkStatus> {
    let (first, last) = (bio.sector.0.div_ceil(block) * block, bio.end_sector().0 / block * block);
    if first >= last {
        return Ok(());
    }
    run_async(Bio::range(bio.op, Sector(first), Sectors(last - first)).to(device)).await
}

impl Target for Ebs {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        // A flush, which goes on as it is, is moved as in `delay` and `flakey`, where it is recorded.
        self.extent.remap(bio);
        let is_whole =
            bio.sector.0.is_multiple_of(self.underlying) && bio.len().0.is_multiple_of(self.underlying);
        if bio.is_empty() || is_whole {
            return Map::Remapped;
        }
        let mut owned = bio.take_owned();
        let (device, block) = (self.extent.device.device().clone(), self.underlying);
        self.worker.queue(&self.runtime, async move {
            let done = match owned.op {
                Op::Read => read(&device, &mut owned, block).await,
                Op::Write => write(&device, &mut owned, block).await,
                _ => discard(&device, &mut owned, block).await,
            };
            owned.end(done.err().map_or(BlkStatus::Ok, |_| BlkStatus::IoErr));
        });
        Map::Submitted
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
