use dmlab::Lab;
use dmlab::control::{PoolMode, PoolStatus, ThinPool};
use dmlab::units::{Errno, Sector, Sectors};
use std::time::Duration;

/// A pool that fills, waits for room for a minute, and gives up.
fn pool_of_four_blocks(seed: u64) {
    let lab = Lab::new(seed);
    let table = ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128)).feature("skip_block_zeroing");
    let pool = lab.create_pool("pool", Sectors(512), &table).unwrap();
    pool.create_thin(0).unwrap();
    pool.activate("thin", 0, Sectors(1024)).unwrap();
    for block in 0..4 {
        lab.write("/dev/mapper/thin", Sector(block * 128), &[1; 4096]).unwrap();
    }
    let fifth = lab.start_write("/dev/mapper/thin", Sector(4 * 128), &[1; 4096]).unwrap();
    let PoolStatus::Working { mode, errors_if_no_space, .. } = pool.status().unwrap() else {
        panic!("it works")
    };
    assert_eq!((mode, errors_if_no_space), (PoolMode::OutOfDataSpace, false));
    lab.advance(Duration::from_secs(59));
    assert_eq!(fifth.result(), None);
    lab.advance(Duration::from_secs(2));
    assert_eq!(fifth.result(), Some(Err(Errno::ENOSPC)));
    lab.remove("thin").unwrap();
    lab.remove("pool").unwrap();
}

#[test]
fn a_full_pool_gives_up_after_a_minute_that_takes_no_time() {
    pool_of_four_blocks(1);
}

#[test]
fn a_thousand_of_them_side_by_side() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || (0..250).for_each(|round| pool_of_four_blocks(thread * 250 + round)));
        }
    });
}
