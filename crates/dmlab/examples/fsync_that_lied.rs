//! An fsync that lied: a disk says that its cache is written, and it is not.
//!
//! A database writes a record, calls fsync, and tells its user that the record is safe. If some layer below drops the flush, it is
//! safe only until the power goes, which no ordinary test shows. The crash explorer does: it takes the power away at every
//! point of the run. The cure, where the disk can't be replaced, is to not depend on its flush: a write that is forced through (FUA)
//! is durable when it ends.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::block::{Bio, BioFlags};
use dmlab::crash::{Crash, CrashError, CrashRun, Report};
use dmlab::units::{Sector, Sectors};
use std::error::Error;

const RECORDS: u64 = 8;
const DISK: &str = "/dev/mapper/disk";
const TABLE: &str = "0 1024 linear /dev/ram0 0";

fn record(number: u64) -> [u8; 512] {
    [number as u8 + 1; 512]
}

/// Writes records; each is promised when its fsync has returned.
fn database(lies: bool, forced: bool) -> Result<CrashRun, CrashError> {
    Crash::record(1, &[Sectors(1024)], |lab| {
        lab.create("disk", TABLE)?;
        if lies {
            lab.faults().on("/dev/ram0").flushes().lose().add()?;
        }
        lab.begin();
        for number in 0..RECORDS {
            if forced {
                let bytes = record(number);
                lab.submit(DISK, Bio::write(Sector(number), &bytes).with_flags(BioFlags::FUA))?;
            } else {
                lab.write(DISK, Sector(number), &record(number))?;
                lab.flush(DISK)?;
            }
            lab.mark(format!("promised {number}"));
        }
        Ok(())
    })
}

/// After the power came back, all that was promised must be there.
fn promises_kept(run: &CrashRun) -> Report {
    run.explore().check(|lab, moment| {
        lab.create("disk", TABLE)?;
        for number in 0..RECORDS {
            let is_there = lab.read(DISK, Sector(number), Sectors(1))? == record(number);
            if moment.has_passed(&format!("promised {number}")) && !is_there {
                return Err(format!("record {number} was promised and is gone").into());
            }
        }
        Ok(())
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let honest = promises_kept(&database(false, false)?);
    println!("an honest disk: {} states, {} broken promises", honest.states_examined, honest.failures.len());
    honest.assert_clean();

    let lying = promises_kept(&database(true, false)?);
    let first = lying.failures.first().ok_or("it is found out")?;
    println!("one that lies, in state {} after {}: {}", first.state, first.after, first.error);

    promises_kept(&database(true, true)?).assert_clean();
    println!("one that lies, with forced writes: no broken promise");
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("what it asserts holds");
}
