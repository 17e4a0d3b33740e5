//! A device that was suspended and never resumed: its readers hang, and so does the tool that wanted to help.
//!
//! Between suspend and resume a program holds a lock that the whole system can see. If it fails in between, or reads the device
//! itself, all wait. Found here by running two clients in every order; the cure is to resume on every way out, and to
//! do nothing in between that touches the device.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::control::{Linear, Table};
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Client, Lab, Schedules};
use std::error::Error;

fn boot() -> Lab {
    let lab = Lab::new(1);
    lab.create("volume", "0 64 linear /dev/ram0 0").expect("ram0 is free");
    lab
}

/// Moves the volume to another disk; reads it meanwhile to see that it is the right one.
fn migrate(lab: &Lab) -> Result<(), dmlab::Error> {
    lab.load("volume", Table::new().then(Sectors(64), Linear::new("/dev/ram1", Sector(0))))?;
    lab.suspend("volume")?;
    // The mistake.
    lab.read("/dev/mapper/volume", Sector(0), Sectors(1))?;
    lab.resume("volume")
}

/// Moves the volume with the look before the suspend and the resume on every way out.
fn migrate_safely(lab: &Lab) -> Result<(), dmlab::Error> {
    struct Resume<'a>(&'a Lab);
    impl Drop for Resume<'_> {
        fn drop(&mut self) {
            let _ = self.0.resume("volume");
        }
    }
    lab.read("/dev/mapper/volume", Sector(0), Sectors(1))?;
    lab.load("volume", Table::new().then(Sectors(64), Linear::new("/dev/ram1", Sector(0))))?;
    lab.suspend("volume")?;
    let _resumes = Resume(lab);
    Ok(())
}

fn reader(lab: &Lab) {
    let _ = lab.read("/dev/mapper/volume", Sector(8), Sectors(8));
}

fn main() -> Result<(), Box<dyn Error>> {
    let lab = boot();
    let migration = |lab: &Lab| assert_eq!(migrate(lab).unwrap_err().errno(), Some(Errno::EDEADLK));
    let hang = lab.run_clients([Client::new("migration", migration), Client::new("reader", reader)]);
    println!("{}", hang.as_ref().unwrap_err());
    assert!(hang.unwrap_err().waiting.contains(&"migration".to_owned()));

    Schedules::new(boot).tries(300).check(|lab| {
        let safe = |lab: &Lab| migrate_safely(lab).expect("ram1 is free");
        lab.run_clients([Client::new("migration", safe), Client::new("reader", reader)])
            .map_err(|deadlock| deadlock.to_string())
    })?;
    println!("300 orders of the safe migration and a reader: nobody waits for ever");
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("what it asserts holds");
}
