//! A clean-up that meets EBUSY: the loop that tries again gives up one moment too soon.
//!
//! A program that removes devices that others may still look at (`udev`, `blkid`, a dying container) gets
//! `Device or resource busy` now and then. A few tries with a pause are what most programs do; a slow reader outlives
//! them, the device stays, and its pool can't be removed either. The kernel can do the waiting: a deferred removal
//! takes effect at the last close.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::Lab;
use dmlab::units::{Errno, Sector, Sectors};
use std::error::Error;
use std::time::Duration;

/// Five tries, 200 ms apart.
fn remove_with_retries(lab: &Lab, name: &str) -> Result<(), dmlab::Error> {
    for _ in 0..4 {
        match lab.remove(name) {
            Err(error) if error.errno() == Some(Errno::EBUSY) => lab.advance(Duration::from_millis(200)),
            done => return done,
        }
    }
    lab.remove(name)
}

/// A reader on a slow disk that has the volume open for two seconds.
fn lab() -> Result<Lab, dmlab::Error> {
    let lab = Lab::new(1);
    lab.create("slow", "0 64 delay /dev/ram0 0 2000")?;
    lab.create("volume", "0 64 linear /dev/mapper/slow 0")?;
    Ok(lab)
}

fn symptom() -> Result<(), Box<dyn Error>> {
    let lab = lab()?;
    let reader = lab.start_read("/dev/mapper/volume", Sector(0), Sectors(8))?;
    let removed = remove_with_retries(&lab, "volume");
    println!("five tries: {}", removed.as_ref().err().map_or_else(|| "removed".into(), ToString::to_string));
    assert_eq!(removed.unwrap_err().errno(), Some(Errno::EBUSY));
    reader.wait()?;
    assert!(lab.info("volume").is_ok(), "left behind, though nobody uses it any more");
    Ok(())
}

fn cure() -> Result<(), Box<dyn Error>> {
    let lab = lab()?;
    let reader = lab.start_read("/dev/mapper/volume", Sector(0), Sectors(8))?;
    lab.remove_deferred("volume")?;
    lab.remove_deferred("slow")?;
    println!("marked: {}", lab.info("volume")?.is_deferred_remove());
    reader.wait()?;
    lab.settle();
    println!("after the reader's close: {}", lab.tree().trim_end());
    assert_eq!(lab.tree(), "No devices found\n");
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
