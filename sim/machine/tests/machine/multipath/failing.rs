//! Paths that fail, and what becomes of the bios on them.

use dmlab_block::{Bio, BioFlags, BlkStatus, QueueLimits, WriteCache};
use dmlab_machine::target::{
    Constructor, Ctr, CtrResult, DeviceRange, Map, Module, OrRefuse, TableDevice, Target, TargetFeatures,
    TargetType,
};
use dmlab_machine::{BootOptions, Disk, DiskKind};
use dmlab_units::{Bytes, DevT, Sector, Sectors};

use super::{INFO, Pending, SECTOR, events, kit, read, write};
use crate::kit::Kit;
use crate::kit::fault_disk::{Fails, FaultDisk};

const FAILOVER: &str = "0 2048 multipath 2 queue_mode bio 0 1 1 queue-length 0 2 1 254:0 1 254:1 1";

#[test]
fn paths_that_start_failing() {
    let kit = kit();
    kit.create("b0", "0 2048 error");
    kit.create("b1", "0 2048 error");
    let dev = kit.create("m", FAILOVER);
    assert_eq!(write(&kit, dev, 0, &[1; 4096]), BlkStatus::IoErr);
    // The group stays the current one: no bio has looked for another since.
    assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 1 1 A 0 2 1 254:0 F 1 0 254:1 F 1 0 ");
    assert_eq!(events(&kit, "m"), 2);
    let tail = [
        "device-mapper: multipath: 254:2: Failing path 254:0.",
        "device-mapper: multipath: 254:2: Failing path 254:1.",
    ];
    assert_eq!(kit.log(), tail);

    kit.message("m", "queue_if_no_path").unwrap();
    let waits = Pending::write(&kit, dev, 0, &[7; 4096]);
    assert_eq!(waits.end(), None);
    // Linux counts such a bio out twice; here the counter stays right.
    assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 1 1 E 0 2 1 254:0 F 1 0 254:1 F 1 0 ");
    // Reinstated but no better: it waits on.
    kit.message("m", "reinstate_path 254:1").unwrap();
    assert_eq!((waits.end(), events(&kit, "m")), (None, 4));
    kit.load("b0", "0 2048 linear 1:0 0").unwrap();
    kit.resume("b0").unwrap();
    assert_eq!(waits.end(), None);
    kit.message("m", "reinstate_path 254:0").unwrap();
    assert_eq!(waits.end(), Some(BlkStatus::Ok));
    assert_eq!(read(&kit, DevT::new(1, 0), 0, 8), Ok(vec![7; 4096]));
    assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 1 1 A 0 2 1 254:0 A 1 0 254:1 F 2 0 ");
}

/// A forced write stays one on its second path, and another does not become one.
#[test]
fn what_goes_another_way_keeps_its_flags() {
    let kit = kit();
    let [first, second] = [0, 1].map(|i| FaultDisk::add_with(&kit, i, Sectors(2048), WriteCache::Volatile).1);
    let dev = kit.create(
        "m",
        "0 2048 multipath 2 queue_mode bio 0 2 1 round-robin 0 1 1 7:0 1 round-robin 0 1 1 7:1 1",
    );
    first.fail(0..2048, Fails::Writes);
    for flags in [BioFlags::empty(), BioFlags::FUA] {
        kit.message("m", "reinstate_path 7:0").unwrap();
        kit.message("m", "switch_group 1").unwrap();
        second.noted();
        let bio = Bio::write_owned(Sector(0), vec![1; SECTOR].into()).with_flags(flags);
        assert_eq!(Pending::start(&kit, dev, bio).end(), Some(BlkStatus::Ok));
        let came: Vec<bool> =
            second.noted().iter().map(|noted| noted.flags.contains(BioFlags::FUA)).collect();
        assert_eq!(came, [flags.contains(BioFlags::FUA)]);
    }
}

#[test]
fn a_bio_that_was_cut_below_goes_on_whole() {
    for lent in [true, false] {
        let kit = kit();
        kit.create("half", "0 8 linear 1:0 0\n8 8 error\n16 2032 linear 1:0 16");
        let dev = kit.create(
            "m",
            "0 2048 multipath 2 queue_mode bio 0 2 1 round-robin 0 1 1 254:0 1 round-robin 0 1 1 1:3 1",
        );
        let bytes: Vec<u8> = (0..24 * SECTOR).map(|i| (i / 100) as u8).collect();
        if lent {
            assert_eq!(write(&kit, dev, 0, &bytes), BlkStatus::Ok);
        } else {
            assert_eq!(Pending::write(&kit, dev, 0, &bytes).end(), Some(BlkStatus::Ok));
        }
        assert_eq!(read(&kit, DevT::new(1, 3), 0, 24).unwrap(), bytes);
        assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 2 2 E 0 1 0 254:0 F 1 A 0 1 0 1:3 A 0 ");
        // So does a read: the bytes of the path that failed halfway are forgotten.
        kit.message("m", "reinstate_path 254:0").unwrap();
        kit.message("m", "switch_group 1").unwrap();
        assert_eq!(read(&kit, dev, 0, 24).unwrap(), bytes);
        assert!(kit.status("m", INFO).contains("254:0 F 2"));
    }
}

/// Sends writes on with other bytes, and fails them afterwards: a path that corrupts what it loses.
static CORRUPTING: TargetType = TargetType {
    name: "corrupting",
    version: [1, 0, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(corrupting),
    module: &Module::DM_MOD,
};

struct Corrupting(TableDevice, Sectors);

fn corrupting(ctr: &mut Ctr<'_>) -> CtrResult {
    let [word] = ctr.args.all("Invalid argument count")?;
    let device = ctr.device(&word).or_refuse("Device lookup failed")?;
    Ok(Box::new(Corrupting(device, ctr.len)))
}

impl Target for Corrupting {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        if bio.op == dmlab_block::Op::Write {
            let len = bio.len().0 as usize * SECTOR;
            bio.replace_bytes(vec![0xbd; len].into());
        }
        bio.flags.remove(BioFlags::FUA);
        bio.set_dev(self.0.device());
        Map::RemappedAndHear(0)
    }

    fn end_io(&self, _bio: &mut Bio<'_>, _bio_data: u64, _status: BlkStatus) -> dmlab_block::End {
        dmlab_block::End::Done(BlkStatus::Transport)
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![DeviceRange::new(&self.0, Sector::ZERO, self.1)])
    }

    fn io_hints(&self, _limits: &mut QueueLimits) {}
}

#[test]
fn what_a_path_did_to_the_bytes_stays_with_the_path() {
    let disk = || Disk { kind: DiskKind::VolatileRam(Bytes::mib(16)), read_only: false };
    let kit =
        Kit::with(BootOptions { disks: vec![disk()], targets: vec![&CORRUPTING], ..BootOptions::default() });
    kit.create("bad", "0 2048 corrupting 1:0");
    let dev = kit.create(
        "m",
        "0 2048 multipath 2 queue_mode bio 0 2 1 round-robin 0 1 1 254:0 1 round-robin 0 1 1 253:0 1",
    );
    assert_eq!(write(&kit, dev, 8, &[5; 4096]), BlkStatus::Ok);
    assert_eq!(read(&kit, DevT::new(1, 0), 8, 8), Ok(vec![0xbd; 4096]));
    assert_eq!(read(&kit, DevT::new(253, 0), 8, 8), Ok(vec![5; 4096]));
    // Without another path the error is a plain one, whatever it was; a request-based device passes it up.
    kit.message("m", "reinstate_path 254:0").unwrap();
    kit.message("m", "fail_path 253:0").unwrap();
    assert_eq!(write(&kit, dev, 8, &[6; 4096]), BlkStatus::IoErr);
}

#[test]
fn errors_of_the_disk_are_no_matter_of_paths() {
    let kit = kit();
    let dev = kit.create("m", "0 2048 multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 1:0 1 1:1 1");
    let bio = Bio::range(dmlab_block::Op::SecureErase, Sector(0), Sectors(8));
    assert_eq!(Pending::start(&kit, dev, bio).end(), Some(BlkStatus::NotSupp));
    assert!(kit.status("m", INFO).contains("1:0 A 0 1:1 A 0"));
    let discard = Bio::range(dmlab_block::Op::Discard, Sector(0), Sectors(8));
    assert_eq!(Pending::start(&kit, dev, discard).end(), Some(BlkStatus::Ok));
}
