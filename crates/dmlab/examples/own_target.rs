//! A target that is no part of dmlab: each Nth read fails.
//!
//! ```text
//! START LEN every-nth DEVICE N
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab::control::{CreateOptions, LoadOptions, Table};
use dmlab::machine::target::{
    Area, Bio, Built, Constructor, Ctr, CtrError, Map, Op, StatusKind, TableDevice, Target, TargetFeatures,
    TargetType, parse_u64_wrapping,
};
use dmlab::units::{DmName, Errno, Sector, Sectors};
use dmlab::{Lab, OrErrno};

/// What a table line names. Version and features are this target's own affair: no kernel has it.
static EVERY_NTH: TargetType = TargetType {
    name: "every-nth",
    version: [1, 0, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
};

/// One line of a table.
struct EveryNth {
    device: TableDevice,
    start: Sector,
    len: Sectors,
    n: u64,
    /// Reads so far. Bios come from any thread, so it is counted with an atomic.
    reads: AtomicU64,
}

fn construct(ctr: &mut Ctr<'_>) -> Built {
    if ctr.args.len() != 2 {
        return Err(CtrError::invalid("Invalid argument count"));
    }
    let (device, n) = (ctr.args.shift().unwrap_or_default(), ctr.args.shift().unwrap_or_default());
    let n = parse_u64_wrapping(&n).filter(|&n| n > 0).ok_or(CtrError::invalid("Invalid number of reads"))?;
    let device = ctr.device(&device).map_err(|errno| CtrError::new(errno, "Device lookup failed"))?;
    ctr.settings.num_flush_bios = 1;
    Ok(Box::new(EveryNth { device, start: ctr.start, len: ctr.len, n, reads: AtomicU64::new(0) }))
}

impl Target for EveryNth {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        if bio.op == Op::Read && (self.reads.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.n) {
            return Map::Kill;
        }
        bio.set_dev(self.device.device());
        if !bio.is_empty() {
            bio.sector = Sector((bio.sector - self.start).0);
        }
        Map::Remapped
    }

    fn status(&self, kind: StatusKind, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match kind {
            StatusKind::Info => write!(out, "{}", self.reads.load(Ordering::Relaxed)),
            StatusKind::Table => write!(out, "{} {}", self.device.dev(), self.n),
            StatusKind::Ima => Ok(()),
        };
    }

    fn devices(&self) -> Option<Vec<Area<'_>>> {
        Some(vec![Area { dev: &self.device, start: Sector::ZERO, len: self.len }])
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let lab = Lab::with_targets(1, [&EVERY_NTH]);
    let table: Table = "0 64 every-nth /dev/ram0 3".parse()?;
    let name = DmName::new("shaky")?;
    lab.dm().create_with_table(&name, &CreateOptions::default(), &table, LoadOptions::default())?;

    lab.write("/dev/mapper/shaky", Sector(0), &[7; 512])?;
    for nr in 1..=6 {
        let read = lab.read("/dev/mapper/shaky", Sector(0), Sectors(1));
        println!("read {nr}: {}", if read.is_ok() { "ok" } else { "failed" });
        assert_eq!(read.or_errno().err(), (nr % 3 == 0).then_some(Errno::EIO));
    }

    // A mistake is told as the kernel tells it.
    let wrong: Table = "0 64 every-nth /dev/ram0 0".parse()?;
    let other = DmName::new("other")?;
    let refused =
        lab.dm().create_with_table(&other, &CreateOptions::default(), &wrong, LoadOptions::default());
    let error = refused.err().ok_or("0 is no number of reads")?;
    println!("{}", error.log()[0]);
    assert!(error.log()[0].ends_with("every-nth: Invalid number of reads (-EINVAL)"));
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("what it asserts holds");
}
