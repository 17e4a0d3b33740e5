//! Several bios at once, and which of them failed (the role of Linux's dm-io).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dmlab_block::{Bio, BlockDevice, submit};
use dmlab_runtime::WaitQueue;
use dmlab_units::{Sector, Sectors};
use parking_lot::Mutex;

use crate::TableDevice;

/// Most bios in one [`submit_all`]: one bit each in what failed.
pub const MAX_REGIONS: usize = 64;

/// A range of sectors of a device (`struct dm_io_region`): what a target uses, copies or zeroes.
#[derive(Clone)]
pub struct DeviceRange {
    /// The device.
    pub dev: Arc<BlockDevice>,
    /// The first sector of the range.
    pub start: Sector,
    /// How many sectors it has.
    pub len: Sectors,
}

impl DeviceRange {
    /// The range of `len` sectors from `start` on of a device that a table has opened.
    pub fn new(device: &TableDevice, start: Sector, len: Sectors) -> DeviceRange {
        DeviceRange { dev: device.device().clone(), start, len }
    }

    /// The whole of a device that a table has opened, as long as it is now.
    pub fn whole(device: &TableDevice) -> DeviceRange {
        DeviceRange::new(device, Sector::ZERO, device.device().capacity())
    }

    /// The part that begins `into` the range and has `len` sectors.
    pub fn part(&self, into: Sectors, len: Sectors) -> DeviceRange {
        DeviceRange { dev: self.dev.clone(), start: self.start + into, len }
    }
}

/// The callback that gets the bits of the regions that failed.
type Done = Box<dyn FnOnce(u64) + Send>;

/// Submits every bio to the device it names and calls `done` when the last has ended, with a bit set for each that
/// failed: bit k for the k-th.
///
/// # Panics
/// With more than [`MAX_REGIONS`] bios.
pub fn submit_all(bios: Vec<Bio<'static>>, done: impl FnOnce(u64) + Send + 'static) {
    assert!(bios.len() <= MAX_REGIONS, "one bit for each bio");
    struct Shared {
        left: AtomicUsize,
        failed: AtomicU64,
        done: Mutex<Option<Done>>,
    }
    impl Shared {
        fn one_less(&self) {
            if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                let done = self.done.lock().take();
                if let Some(done) = done {
                    done(self.failed.load(Ordering::Acquire));
                }
            }
        }
    }
    // One more than there are bios, so that none is the last before all are on their way.
    let shared = Arc::new(Shared {
        left: AtomicUsize::new(bios.len() + 1),
        failed: AtomicU64::new(0),
        done: Mutex::new(Some(Box::new(done))),
    });
    for (number, bio) in bios.into_iter().enumerate() {
        let shared = shared.clone();
        submit(bio.on_end(move |status, _| {
            if !status.is_ok() {
                shared.failed.fetch_or(1 << number, Ordering::AcqRel);
            }
            shared.one_less();
        }));
    }
    shared.one_less();
}

/// Submits every bio to the device it names, and ends when the last has: with a bit set for each that failed, as
/// [`submit_all`] has it.
pub async fn run_all(bios: Vec<Bio<'static>>) -> u64 {
    let ended = Arc::new((Mutex::new(None), WaitQueue::default()));
    let tell = ended.clone();
    submit_all(bios, move |failed| {
        *tell.0.lock() = Some(failed);
        tell.1.wake_all();
    });
    ended.1.wait(|| *ended.0.lock()).await
}
