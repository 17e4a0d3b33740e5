//! A pool whose metadata device fills: the message succeeds, the device is lost, and the pool wants to be checked.
//!
//! Data is what is watched; but each thin device and each mapping takes metadata, too. When the last metadata block goes
//! while a transaction is being committed, the pool gives that transaction up, becomes read-only, and takes no more changes
//! before `thin_check` has seen it. The cure is to watch the first of the two numbers in the status line, and the event that
//! comes when few blocks are left, and to grow the metadata device in time.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::control::{PoolMode, PoolStatus, ThinPool, Usage};
use dmlab::units::Sectors;
use dmlab::{Lab, Pool};
use std::error::Error;

/// A pool with 32 blocks of metadata; its metadata device can be made larger.
fn pool(lab: &Lab) -> Result<Pool<'_>, dmlab::Error> {
    lab.create("metadata", "0 256 linear /dev/ram0 0")?;
    let table = ThinPool::new("/dev/mapper/metadata", "/dev/ram1", Sectors(128));
    lab.create_pool("pool", Sectors(65536), &table)
}

fn metadata(pool: &Pool<'_>) -> Result<(Usage, PoolMode, bool), Box<dyn Error>> {
    match pool.status()? {
        PoolStatus::Working { metadata, mode, needs_check, .. } => Ok((metadata, mode, needs_check)),
        other => Err(format!("{other:?}").into()),
    }
}

/// Thin devices are made until something breaks.
fn symptom() -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(1);
    let pool = pool(&lab)?;
    for id in 0.. {
        let made = pool.create_thin(id);
        let (usage, mode, needs_check) = metadata(&pool)?;
        if mode == PoolMode::Write {
            continue;
        }
        println!(
            "create_thin {id}: {made:?}; metadata {}/{}, {mode:?}, needs check: {needs_check}",
            usage.used, usage.total
        );
        assert!(mode == PoolMode::ReadOnly && needs_check);
        break;
    }
    // Even room does not help any more.
    lab.reload("metadata", "0 4096 linear /dev/ram0 0")?;
    let table = lab.table("pool")?;
    lab.reload("pool", &table)?;
    let said = lab.klog().into_iter().rfind(|line| line.contains("unable to grow the metadata device"));
    println!("{}", said.as_deref().unwrap_or("nothing"));
    assert!(said.is_some());
    Ok(())
}

/// Thin devices are made with an eye on the event for metadata that runs low.
fn cure() -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(1);
    let pool = pool(&lab)?;
    let mut seen = lab.info("pool")?.event_nr;
    for id in 0..64 {
        pool.create_thin(id)?;
        let now = lab.info("pool")?.event_nr;
        let (usage, mode, _) = metadata(&pool)?;
        assert_eq!(mode, PoolMode::Write);
        if now != seen && usage.total == 32 {
            println!("an event at {}/{} blocks of metadata: growing it", usage.used, usage.total);
            lab.reload("metadata", "0 4096 linear /dev/ram0 0")?;
            let table = lab.table("pool")?;
            lab.reload("pool", &table)?;
        }
        seen = lab.info("pool")?.event_nr;
    }
    assert_eq!(metadata(&pool)?.0.total, 512);
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
