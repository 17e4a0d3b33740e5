//! The ebs target, as its description has it: no kernel that could be asked has this one.

use crate::kit;

use std::sync::Arc;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BlkStatus, Op, SyncIo, WriteCache};
use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::FaultDisk;
use parking_lot::Mutex;
use proptest::prelude::*;

const INFO: DmFlags = DmFlags::empty();

fn submit(kit: &Kit, dev: DevT, bio: Bio<'_>) -> Result<(), Errno> {
    let dev = kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&dev, bio).map_err(dmlab_block::IoFailed::errno)
}

fn read(kit: &Kit, dev: DevT, sector: u64, len: u64) -> Result<Vec<u8>, Errno> {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0; len as usize * 512];
    SyncIo::default()
        .read(&dev, Sector(sector), &mut buf, |bio| bio)
        .map(|()| buf)
        .map_err(dmlab_block::IoFailed::errno)
}

#[test]
fn what_the_constructor_refuses() {
    for (params, errno, text) in [
        ("1:0 0", Errno::EINVAL, "Invalid argument count"),
        ("1:0 0 1 8 9", Errno::EINVAL, "Invalid argument count"),
        ("1:0 x 1", Errno::EINVAL, "Invalid device offset sector"),
        ("1:0 128 1", Errno::EINVAL, "Invalid device offset sector"),
        ("1:0 0 0", Errno::EINVAL, "Invalid emulated block size"),
        ("1:0 0 3", Errno::EINVAL, "Invalid emulated block size"),
        ("1:0 0 16", Errno::EINVAL, "Invalid emulated block size"),
        ("1:0 0 65536", Errno::EINVAL, "Invalid emulated block size"),
        ("1:0 0 1 0", Errno::EINVAL, "Invalid underlying block size"),
        ("1:0 0 1 12", Errno::EINVAL, "Invalid underlying block size"),
        ("77:7 0 1 8", Errno::ENXIO, "Device lookup failed"),
        ("1:0 4 1 8", Errno::EINVAL, "Device offset must be multiple of underlying block size"),
    ] {
        let kit = Kit::new();
        kit.ask(Command::DevCreate, "e", INFO).unwrap();
        assert_eq!(kit.load("e", &format!("0 128 ebs {params}")).err(), Some(errno), "{params}");
        let line = format!("device-mapper: table: 254:0: ebs: {text} (-{})", errno.name().unwrap());
        assert_eq!(kit.log(), [&line[..], "device-mapper: ioctl: error adding target to table"], "{params}");
    }
}

#[test]
fn lines_and_limits() {
    let kit = Kit::new();
    // 65544 is 8 to the kernel, which reads 16 bits.
    let dev = kit.create("e", "0 128 ebs 1:0 8 1 65544");
    assert_eq!(kit.status("e", DmFlags::STATUS_TABLE), "0 128 ebs 1:0 8 1 8");
    assert_eq!(kit.status("e", INFO), "0 128 ebs ");
    let limits = kit.machine.device(dev).unwrap().limits;
    assert_eq!((limits.logical_block_size, limits.physical_block_size), (Bytes(512), Bytes(4096)));
    assert_eq!(limits.alignment_offset, Bytes(0));

    let same = "device-mapper: ebs: Emulation superfluous: emulated equal to underlying block size";
    assert!(!kit.log().contains(&same.to_owned()));
    kit.create("same", "0 128 ebs 1:0 8 1");
    assert_eq!(kit.status("same", DmFlags::STATUS_TABLE), "0 128 ebs 1:0 8 1");
    assert!(kit.log().contains(&same.to_owned()));
}

#[test]
fn errors_below_reach_the_caller() {
    let kit = Kit::new();
    kit.create("half", "0 8 linear 1:0 0\n8 8 error");
    let dev = kit.create("e", "0 16 ebs 254:0 0 1 8");
    assert_eq!(read(&kit, dev, 3, 4), Ok(vec![0; 2048]));
    assert_eq!(read(&kit, dev, 3, 8), Err(Errno::EIO));
    assert_eq!(submit(&kit, dev, Bio::write(Sector(12), &[1; 512])), Err(Errno::EIO));
    assert_eq!(submit(&kit, dev, Bio::write(Sector(7), &[1; 512])), Ok(()));
}

/// A change of the device behind the target's back is seen when its blocks are in memory no more.
#[test]
fn blocks_stay_in_memory_until_they_are_passed_by_or_the_device_is_suspended() {
    let kit = Kit::new();
    let below = DevT::new(1, 0);
    let dev = kit.create("e", "0 128 ebs 1:0 0 1 8");
    let byte = || read(&kit, dev, 3, 1).unwrap()[0];
    let write =
        |dev, sector, len: usize, byte| submit(&kit, dev, Bio::write(Sector(sector), &vec![byte; len * 512]));
    assert_eq!(byte(), 0);
    write(below, 3, 1, 1).unwrap();
    assert_eq!(byte(), 0);
    // Written within the block that is in memory: all of it.
    write(dev, 4, 1, 2).unwrap();
    assert_eq!((byte(), read(&kit, below, 3, 2).unwrap()[0]), (0, 0));
    write(dev, 0, 8, 3).unwrap();
    assert_eq!(byte(), 3);
    write(below, 3, 1, 4).unwrap();
    assert_eq!(byte(), 3);
    kit.ask(Command::DevSuspend, "e", DmFlags::SUSPEND).unwrap();
    kit.resume("e").unwrap();
    assert_eq!(byte(), 4);
    // Where both sizes are the same, nothing goes past.
    let same = kit.create("same", "0 128 ebs 1:0 0 1 1");
    assert_eq!(read(&kit, same, 3, 1).unwrap()[0], 4);
    write(below, 3, 1, 5).unwrap();
    assert_eq!(read(&kit, same, 3, 1).unwrap()[0], 4);
}

/// Two edges are read; then all three blocks are written, and nothing has ended before it would outlive a loss of power.
#[test]
fn a_write_ends_when_its_blocks_are_durable() {
    let kit = Kit::new();
    let (below, disk) = FaultDisk::add_with(&kit, 0, Sectors(128), WriteCache::Volatile);
    let dev = kit.create("e", &format!("0 128 ebs {below} 0 1 8"));
    submit(&kit, dev, Bio::write(Sector(4), &[1; 16 * 512])).unwrap();
    let seen: Vec<(Op, u64, u64)> =
        disk.noted().iter().map(|noted| (noted.op, noted.sector, noted.len)).collect();
    let blocks = [0, 8, 16].map(|sector| (Op::Write, sector, 8));
    assert_eq!(seen[..2], [(Op::Read, 0, 8), (Op::Read, 16, 8)]);
    assert_eq!(seen[2..5], blocks);
    assert_eq!(seen[5..], [(Op::Flush, 0, 0)]);
}

/// A flush has sector 0, and lies where that lies.
#[test]
fn a_flush_is_moved() {
    let kit = Kit::new();
    let log = kit.create("log", "0 1024 log-writes 1:0 1:1");
    let dev = kit.create("e", &format!("0 512 ebs {log} 16 1 8"));
    submit(&kit, dev, Bio::flush()).unwrap();
    kit.machine.runtime().run_until_idle();
    let entry = read(&kit, DevT::new(1, 1), 1, 1).unwrap();
    assert_eq!([0, 8, 16].map(|at| entry[at]), [16, 0, 1]);
}

/// The worker reads the blocks of one write, and another waits for the worker.
#[test]
fn a_machine_that_ends_ends_what_the_worker_has() {
    let kit = Kit::new();
    let slow = kit.create("slow", "0 1024 delay 1:0 0 1000");
    let dev = kit.create("e", &format!("0 1024 ebs {slow} 0 1 8"));
    let dev = kit.machine.registry().get(dev).unwrap();
    let ends = Arc::new(Mutex::new(Vec::new()));
    for sector in [1, 9] {
        let tell = ends.clone();
        let bio = Bio::write_owned(Sector(sector), vec![1; 512].into());
        dmlab_block::submit(bio.on_end(move |status, _| tell.lock().push(status)).to(&dev));
    }
    kit.machine.runtime().run_until_idle();
    assert!(ends.lock().is_empty());
    drop((kit, dev));
    assert_eq!(*ends.lock(), [BlkStatus::IoErr; 2]);
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Read(u64, u64),
    Discard(u64, u64),
}

const SIZE: u64 = 128;

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..SIZE, 1..40u64).prop_map(|(at, len)| (at, len.min(SIZE - at)));
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|((at, len), byte)| Step::Write(at, len, byte)),
        3 => place().prop_map(|(at, len)| Step::Read(at, len)),
        1 => place().prop_map(|(at, len)| Step::Discard(at, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is written in sectors can be read in sectors, and the device below sees whole blocks only.
    #[test]
    fn sectors_on_a_disk_of_larger_blocks(steps in prop::collection::vec(step(), 1..50), block in 0..6u32) {
        let kit = Kit::new();
        let block = 1u64 << block;
        // On a RAM disk discards are of whole pages: those of smaller blocks are left to the property of larger ones.
        let discards = block >= 8;
        let dev = kit.create("e", &format!("0 {SIZE} ebs 1:0 32 1 {block}"));
        let mut model = vec![0u8; SIZE as usize];
        for step in steps {
            match step {
                Step::Write(at, len, byte) => {
                    let data = vec![byte; len as usize * 512];
                    prop_assert_eq!(submit(&kit, dev, Bio::write(Sector(at), &data)), Ok(()));
                    model[at as usize..(at + len) as usize].fill(byte);
                }
                Step::Read(at, len) => {
                    let expected: Vec<u8> =
                        model[at as usize..(at + len) as usize].iter().flat_map(|byte| [*byte; 512]).collect();
                    prop_assert_eq!(read(&kit, dev, at, len), Ok(expected));
                }
                Step::Discard(at, len) if discards => {
                    let bio = Bio::range(Op::Discard, Sector(at), Sectors(len));
                    prop_assert_eq!(submit(&kit, dev, bio), Ok(()));
                    let (first, last) = (at.div_ceil(block) * block, (at + len) / block * block);
                    if first < last {
                        model[first as usize..last as usize].fill(0);
                    }
                }
                Step::Discard(..) => {}
            }
        }
        let whole: Vec<u8> = model.iter().flat_map(|byte| [*byte; 512]).collect();
        prop_assert_eq!(read(&kit, DevT::new(1, 0), 32, SIZE), Ok(whole));
    }
}
