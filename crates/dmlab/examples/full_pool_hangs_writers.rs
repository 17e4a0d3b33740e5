//! A pool that fills while its writers may wait: for a minute nothing happens, then data is lost.
//!
//! The symptom that users report: containers freeze, `dmsetup status` says `out_of_data_space`, and a minute later file
//! systems go read-only. A pool without `error_if_no_space` holds writes that find no block, in the hope that space is added.
//! The cure is to add it: to wait for the pool's low water event and grow it while there is room.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::control::{PoolMode, PoolStatus, Table, ThinPool};
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Lab, Pool};
use std::error::Error;
use std::time::Duration;

const BLOCK: Sectors = Sectors(128);

/// A pool of 8 blocks that raises an event when 2 are free, with a thin device of 64.
fn pool(lab: &Lab) -> Result<(Pool<'_>, ThinPool), dmlab::Error> {
    let table = ThinPool::new("/dev/ram0", "/dev/ram1", BLOCK).low_water(2);
    let pool = lab.create_pool("pool", Sectors(8 * BLOCK.0), &table)?;
    pool.create_thin(0)?;
    pool.activate("volume", 0, Sectors(64 * BLOCK.0))?;
    Ok((pool, table))
}

fn write(lab: &Lab, block: u64) -> Result<dmlab::PendingWrite, dmlab::Error> {
    lab.start_write("/dev/mapper/volume", Sector(block * BLOCK.0), &[1; 4096])
}

/// The pool is not looked after.
fn symptom() -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(1);
    let (pool, _) = pool(&lab)?;
    for block in 0..8 {
        write(&lab, block)?.wait()?;
    }
    let ninth = write(&lab, 8)?;
    lab.advance(Duration::from_secs(59));
    println!("after 59 s the ninth write has ended: {}", ninth.result().is_some());
    assert_eq!(ninth.result(), None);
    let PoolStatus::Working { mode, .. } = pool.status()? else { return Err("the pool works".into()) };
    assert_eq!(mode, PoolMode::OutOfDataSpace);
    lab.advance(Duration::from_secs(2));
    println!("after 61 s: {:?}", ninth.result());
    assert_eq!(ninth.result(), Some(Err(Errno::ENOSPC)));
    let last = lab.klog().pop().ok_or("the kernel says so")?;
    assert!(last.ends_with("switching pool to out-of-data-space (error IO) mode"), "{last}");
    Ok(())
}

/// A monitor waits for the event and adds space, as `dmeventd` or a container daemon does.
fn cure() -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(1);
    let (pool, table) = pool(&lab)?;
    let mut seen = lab.info("pool")?.event_nr;
    let mut blocks = 8;
    for block in 0..40 {
        write(&lab, block)?.wait()?;
        let now = lab.info("pool")?.event_nr;
        if now != seen {
            blocks *= 2;
            lab.reload("pool", Table::new().then(Sectors(blocks * BLOCK.0), table.clone()))?;
            println!("an event after {} blocks: the pool has {blocks} now", block + 1);
            seen = lab.info("pool")?.event_nr;
        }
    }
    let PoolStatus::Working { data, mode, .. } = pool.status()? else { return Err("the pool works".into()) };
    assert_eq!((data.used, mode), (40, PoolMode::Write));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    symptom()?;
    cure()
}

#[test]
fn the_example_runs() {
    main().expect("what it asserts holds");
}
