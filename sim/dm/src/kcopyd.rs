//! Copying between devices (the role of Linux's kcopyd): one source, several destinations.
//!
//! ```text
//!   DeviceRange ──cut into sub-jobs of 512 KiB──> read ──> written to every destination at once
//!                                            │ up to 8 sub-jobs are under way at the same time
//! ```

use std::sync::Arc;

use dmlab_block::{Bio, Tag, read_bio_async};
use dmlab_runtime::Runtime;
use dmlab_units::{SECTOR_SIZE, Sectors};
use parking_lot::Mutex;

use crate::DeviceRange;
use crate::dm_io::{MAX_REGIONS, run_all};

/// Largest piece read and written at once: 512 KiB (`kcopyd_subjob_size_kb`).
const SUB_JOB: Sectors = Sectors(1024);
/// Pieces of one job under way at once.
const SPLIT_COUNT: usize = 8;

/// Why a copy is not whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyErrors {
    /// The source could not be read.
    pub read: bool,
    /// Destinations that could not be written: bit k for the k-th.
    pub write: u64,
}

impl CopyErrors {
    /// Whether all of it was copied.
    pub fn is_none(self) -> bool {
        self == CopyErrors::default()
    }
}

/// What to do when a piece fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Begin no further piece.
    Stop,
    /// Go on: with the other pieces, and with writing where reading has failed. Linux then writes what happens to lie in
    /// its pages (recorded: `mirror/legs-fail-together`, where the writes are tried); here each destination gets what it has.
    GoOn,
}

/// Copies a region to the same number of sectors of every destination.
pub async fn copy(
    runtime: &Arc<Runtime>,
    from: &DeviceRange,
    to: &[DeviceRange],
    on_error: OnError,
) -> CopyErrors {
    copy_tagged(runtime, from, to, on_error, Tag::default()).await
}

/// Copies as [`copy`] does, with a tag about what is copied, which its reads and writes carry.
pub async fn copy_tagged(
    runtime: &Arc<Runtime>,
    from: &DeviceRange,
    to: &[DeviceRange],
    on_error: OnError,
    tag: Tag,
) -> CopyErrors {
    if from.len <= SUB_JOB {
        return copy_piece(from, to, on_error, tag).await;
    }
    let job = Arc::new(Job {
        from: from.clone(),
        to: to.to_vec(),
        on_error,
        tag,
        progress: Mutex::new(Progress::default()),
    });
    let pieces = from.len.0.div_ceil(SUB_JOB.0) as usize;
    let workers: Vec<_> = (0..pieces.min(SPLIT_COUNT))
        .map(|_| {
            let job = job.clone();
            runtime.spawn("kcopyd", async move { job.run().await })
        })
        .collect();
    for worker in workers {
        worker.await;
    }
    job.progress.lock().errors
}

/// Fills regions with zeros; bit k of the result for each that failed. After a failure no further piece is begun.
pub async fn zero(regions: &[DeviceRange]) -> u64 {
    zero_tagged(regions, Tag::default()).await
}

/// Zeroes as [`zero`] does, with a tag about what is zeroed, which its writes carry.
pub async fn zero_tagged(regions: &[DeviceRange], tag: Tag) -> u64 {
    let longest = regions.iter().map(|region| region.len).max().unwrap_or_default();
    let zeros: Arc<[u8]> = vec![0; (longest.min(SUB_JOB).0 * SECTOR_SIZE) as usize].into();
    let at_once = SPLIT_COUNT.min(MAX_REGIONS / regions.len().max(1)).max(1);
    let (mut failed, mut done) = (0, Sectors::ZERO);
    while done < longest && failed == 0 {
        let (mut writes, mut owners) = (Vec::new(), Vec::new());
        for _ in 0..at_once {
            for (number, region) in regions.iter().enumerate().filter(|(_, region)| done < region.len) {
                let len = SUB_JOB.min(region.len - done);
                let bytes = match (len.0 * SECTOR_SIZE) as usize {
                    whole if whole == zeros.len() => zeros.clone(),
                    short => vec![0; short].into(),
                };
                writes.push(Bio::write_owned(region.start + done, bytes).with_tag(tag).to(&region.dev));
                owners.push(number);
            }
            done += SUB_JOB;
        }
        let bits = run_all(writes).await;
        owners.iter().enumerate().for_each(|(bit, owner)| failed |= (bits >> bit & 1) << owner);
    }
    failed
}

struct Job {
    from: DeviceRange,
    to: Vec<DeviceRange>,
    on_error: OnError,
    tag: Tag,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    done: Sectors,
    errors: CopyErrors,
}

impl Job {
    /// Copies one piece after the other until none is left.
    async fn run(&self) {
        while let Some((into, len)) = self.next() {
            let from = self.from.part(into, len);
            let to: Vec<DeviceRange> = self.to.iter().map(|region| region.part(into, len)).collect();
            let errors = copy_piece(&from, &to, self.on_error, self.tag).await;
            let mut progress = self.progress.lock();
            progress.errors.read |= errors.read;
            progress.errors.write |= errors.write;
        }
    }

    fn next(&self) -> Option<(Sectors, Sectors)> {
        let mut progress = self.progress.lock();
        if !progress.errors.is_none() && self.on_error == OnError::Stop {
            return None;
        }
        let into = progress.done;
        let len = SUB_JOB.min(self.from.len - into);
        progress.done += len;
        (!len.is_zero()).then_some((into, len))
    }
}

async fn copy_piece(from: &DeviceRange, to: &[DeviceRange], on_error: OnError, tag: Tag) -> CopyErrors {
    let write = |region: &DeviceRange, data: Arc<[u8]>| {
        Bio::write_owned(region.start, data).with_tag(tag).to(&region.dev)
    };
    let read = |region: &DeviceRange| {
        read_bio_async(Bio::read_owned(region.start, region.len).with_tag(tag).to(&region.dev))
    };
    let mut writes = Vec::with_capacity(to.len());
    let read_failed = match read(from).await {
        Ok(data) => {
            writes.extend(to.iter().map(|region| write(region, data.clone())));
            false
        }
        Err(_) if on_error == OnError::GoOn => {
            for region in to {
                let own = read(region).await;
                let zeros = |_| vec![0; (region.len.0 * SECTOR_SIZE) as usize].into();
                writes.push(write(region, own.unwrap_or_else(zeros)));
            }
            true
        }
        Err(_) => true,
    };
    CopyErrors { read: read_failed, write: run_all(writes).await }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_block::{BioQueue, BlkStatus, BlockDevice, DiskOps, Op, RamDisk, Registry, WriteCache};
    use dmlab_runtime::VirtualDriver;
    use dmlab_units::{DevT, Sector};

    /// A RAM disk that notes its bios and fails some.
    struct Disk {
        ram: RamDisk,
        fails: Option<Op>,
        bios: Mutex<Vec<String>>,
    }

    impl DiskOps for Disk {
        fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>) {
            self.bios.lock().push(format!("{} {}+{}", bio.op.letters(), bio.sector, bio.len()));
            match self.fails {
                Some(op) if op == bio.op => bio.end(BlkStatus::IoErr),
                _ => self.ram.submit_bio(dev, bio, queue),
            }
        }
    }

    struct Disks {
        registry: Registry,
        disks: Vec<(Arc<BlockDevice>, Arc<Disk>)>,
    }

    const SIZE: Sectors = Sectors(2500);

    impl Disks {
        /// One disk for each, and what fails on it.
        fn new(fails: &[Option<Op>]) -> Disks {
            let registry = Registry::new(Runtime::new(0, VirtualDriver::new()));
            let disk = |(minor, &fails): (usize, &Option<Op>)| {
                let ram = RamDisk::new(SIZE, WriteCache::WriteThrough);
                ram.memory().write(0, &vec![minor as u8 + 1; (SIZE.0 * SECTOR_SIZE) as usize]);
                let (limits, runtime) = (ram.limits(), registry.runtime().clone());
                let disk = Arc::new(Disk { ram, fails, bios: Mutex::default() });
                let (dev, seq) = (DevT::new(1, minor as u32), registry.next_disk_seq());
                let block = BlockDevice::new(dev, format!("ram{minor}"), seq, runtime, disk.clone(), limits);
                block.set_capacity(SIZE);
                (block, disk)
            };
            let disks = fails.iter().enumerate().map(disk).collect();
            Disks { registry, disks }
        }

        fn copy(&self, on_error: OnError) -> CopyErrors {
            let region = |(dev, _): &(Arc<BlockDevice>, _)| DeviceRange {
                dev: dev.clone(),
                start: Sector(0),
                len: SIZE,
            };
            let to: Vec<DeviceRange> = self.disks[1..].iter().map(region).collect();
            let runtime = self.registry.runtime();
            runtime.block_on(copy(runtime, &region(&self.disks[0]), &to, on_error)).expect("it ends")
        }

        fn byte(&self, disk: usize, sector: u64) -> u8 {
            let mut byte = [0];
            self.disks[disk].1.ram.memory().read(sector * SECTOR_SIZE, &mut byte);
            byte[0]
        }
    }

    #[test]
    fn a_job_is_cut_into_pieces_of_512_kib() {
        let disks = Disks::new(&[None, None, None]);
        assert!(disks.copy(OnError::Stop).is_none());
        assert_eq!(*disks.disks[0].1.bios.lock(), ["R 0+1024", "R 1024+1024", "R 2048+452"]);
        assert_eq!(*disks.disks[2].1.bios.lock(), ["W 0+1024", "W 1024+1024", "W 2048+452"]);
        assert_eq!([disks.byte(1, 0), disks.byte(2, 2499)], [1, 1]);
    }

    #[test]
    fn each_destination_fails_for_itself() {
        let disks = Disks::new(&[None, None, Some(Op::Write), None]);
        let errors = disks.copy(OnError::GoOn);
        assert_eq!(errors, CopyErrors { read: false, write: 0b010 });
        assert_eq!([1, 2, 3].map(|disk| disks.byte(disk, 2499)), [1, 3, 1]);
    }

    #[test]
    fn what_cannot_be_read_is_not_written_over_others() {
        let disks = Disks::new(&[Some(Op::Read), None, Some(Op::Write)]);
        assert_eq!(disks.copy(OnError::Stop), CopyErrors { read: true, write: 0 });
        // Linux tries the writes all the same, and says so of those that fail.
        assert_eq!(disks.copy(OnError::GoOn), CopyErrors { read: true, write: 0b10 });
        assert_eq!(disks.byte(1, 0), 2);
    }

    #[test]
    fn zeros_are_written() {
        let disks = Disks::new(&[None, Some(Op::Write)]);
        let regions: Vec<DeviceRange> = (disks.disks.iter())
            .map(|(dev, _)| DeviceRange { dev: dev.clone(), start: Sector(8), len: Sectors(8) })
            .collect();
        let failed = disks.registry.runtime().block_on(zero(&regions));
        assert_eq!(failed, Ok(0b10));
        assert_eq!([7, 8, 15, 16].map(|sector| disks.byte(0, sector)), [1, 0, 0, 1]);
    }

    #[test]
    fn zeros_are_written_in_pieces_of_512_kib() {
        let disks = Disks::new(&[None, None, Some(Op::Write)]);
        let region = |disk: usize, len| {
            let dev = disks.disks[disk].0.clone();
            DeviceRange { dev, start: Sector(8), len: Sectors(len) }
        };
        let run = |regions: &[DeviceRange]| disks.registry.runtime().block_on(zero(regions));
        assert_eq!(run(&[region(0, 2100), region(1, 1024)]), Ok(0));
        assert_eq!(*disks.disks[0].1.bios.lock(), ["W 8+1024", "W 1032+1024", "W 2056+52"]);
        assert_eq!(*disks.disks[1].1.bios.lock(), ["W 8+1024"]);
        assert_eq!([7, 8, 2107, 2108].map(|sector| disks.byte(0, sector)), [1, 0, 0, 1]);
        assert_eq!(run(&[region(0, 2100), region(2, 2100)]), Ok(0b10));
    }
}
