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
    Bio, Constructor, Ctr, CtrResult, DeviceRange, Map, Module, Op, OrRefuse, StatusKind, StatusResult,
    Target, TargetFeatures, TargetType, kit::LinearExtent,
};
use dmlab::units::{DmName, Errno, Sector, Sectors};
use dmlab::{Lab, OrErrno};

/// What a table line names. Version and features are this target's own affair: no kernel has it.
static EVERY_NTH: TargetType = TargetType {
    name: "every-nth",
    version: [1, 0, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
    module: &Module::named("every_nth"),
};

/// One line of a table.
struct EveryNth {
    extent: LinearExtent,
    n: u64,
    /// Reads so far. Bios come from any thread, so it is counted with an atomic.
    reads: AtomicU64,
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let [device, n] = ctr.args.all("Invalid argument count")?;
    let n = ctr.args.scan_u64(&n).filter(|&n| n > 0).or_refuse("Invalid number of reads")?;
    let extent = ctr.extent(&device, b"0")?;
    ctr.settings.num_flush_bios = 1;
    Ok(Box::new(EveryNth { extent, n, reads: AtomicU64::new(0) }))
}

impl Target for EveryNth {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        if bio.op == Op::Read && (self.reads.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.n) {
            return Map::Kill;
        }
        self.extent.remap(bio);
        Map::Remapped
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let written = match kind {
            StatusKind::Info => write!(out, "{}", self.reads.load(Ordering::Relaxed)),
            StatusKind::Table => write!(out, "{} {}", self.extent.device.dev(), self.n),
            StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![self.extent.range()])
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
