//! A superblock that the power cut in two, and why it matters so rarely.
//!
//! A pool's commit is one write of 4 KiB: the superblock. Disks keep sectors of 512 bytes whole, and all that the superblock says
//! stands in its first, so a tear leaves the old pool or the new one. A disk that tears inside a sector (some flash does) leaves
//! neither: the checksum is wrong, and the pool does not open. Then there is nothing to be done but to make new metadata of
//! what survives; with the block size, the number of blocks and the transaction noted elsewhere, that is all of it.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::control::ThinPool;
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Lab, Pool};
use dmlab_thin_tools::{BytesMetadata, Overrides, repair};
use std::error::Error;

const SIZE: Sectors = Sectors(4096);
/// Sectors of the metadata device that are used here.
const METADATA: Sectors = Sectors(1024);

fn pool(lab: &Lab) -> Result<Pool<'_>, dmlab::Error> {
    lab.create_pool("pool", SIZE, &ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128)))
}

/// A pool with a thin device that holds a 7; its last commit goes wrong as `fault` has it, then the machine stops.
fn crashed(fault: impl Fn(&Lab) -> Result<(), Box<dyn Error>>) -> Result<Lab, Box<dyn Error>> {
    let lab = Lab::builder(1).boot()?;
    lab.create("metadata", "0 1024 linear /dev/ram0 0")?;
    lab.remove("metadata")?;
    let first = pool(&lab)?;
    first.create_thin(0)?;
    first.activate("thin", 0, SIZE)?;
    lab.write("/dev/mapper/thin", Sector(0), &[7; 512])?;
    first.status()?;
    fault(&lab)?;
    first.create_thin(1)?;
    // What the disks hold now is all that a new machine finds.
    lab.remove("thin")?;
    lab.faults().on("/dev/ram0").writes().lose().add()?;
    lab.remove("pool")?;
    lab.faults().clear();
    Ok(lab)
}

fn read(lab: &Lab) -> Result<u8, Box<dyn Error>> {
    pool(lab)?.activate("thin", 0, SIZE)?;
    Ok(lab.read("/dev/mapper/thin", Sector(0), Sectors(1))?[0])
}

fn main() -> Result<(), Box<dyn Error>> {
    for kept in 1..8 {
        let lab = crashed(|lab| {
            lab.faults().meaning("superblock").writes().torn(kept).once().add()?;
            Ok(())
        })?;
        assert_eq!(read(&lab)?, 7, "torn after {kept} sectors");
    }
    println!("torn after 1 to 7 sectors: the pool opens and holds what it held");

    let lab = crashed(|lab| {
        // Byte 200 of the first sector came out wrong.
        lab.faults().meaning("superblock").writes().flip_bit(8 * 200).once().add()?;
        Ok(())
    })?;
    let refused = pool(&lab).err().ok_or("a pool with such a superblock does not open")?;
    println!("torn inside a sector: {refused}");
    assert_eq!(refused.errno(), Some(Errno::EILSEQ));

    let damaged = BytesMetadata::new(lab.read("/dev/ram0", Sector(0), METADATA)?);
    let mut mended = BytesMetadata::zeroed(METADATA.0 / 8);
    let known = Overrides {
        transaction: Some(0),
        data_block_size: Some(Sectors(128)),
        nr_data_blocks: Some(SIZE.0 / 128),
    };
    repair(&damaged, known, &mut mended)?;
    lab.write("/dev/ram0", Sector(0), mended.bytes())?;
    println!("mended: the thin device holds {}", read(&lab)?);
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("what it asserts holds");
}
