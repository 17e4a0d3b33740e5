//! The lab itself: what a test can see, wait for, copy and go back to.

mod errors;
mod force;
mod fork;
mod pool;
mod seeing;
mod typed;

use dmlab::Lab;
use dmlab::control::ThinPool;
use dmlab::units::Sectors;

/// A pool of 16 blocks on ram0 and ram1 with thin device 0 as `thin`.
pub(crate) fn with_pool(lab: &Lab) {
    let table = ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128)).feature("skip_block_zeroing");
    let pool = lab.create_pool("pool", Sectors(2048), &table).unwrap();
    pool.create_thin(0).unwrap();
    pool.activate("thin", 0, Sectors(4096)).unwrap();
}
