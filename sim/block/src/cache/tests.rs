//! The page cache from outside, through open files.

use dmlab_units::{Errno, Sectors};
use proptest::prelude::*;

use crate::test_disk::TestMachine;
use crate::{BlkStatus, IoFlags, OpenMode};

const IO: IoFlags =
    IoFlags { is_direct: false, is_nowait: false, is_dsync: false, address_bits: 0, length_bits: 0 };

fn machine() -> TestMachine {
    TestMachine::new(Sectors(4096), |_| ())
}

/// As 64 KiB and 4 KiB buffered reads and writes were counted on Linux 6.12.95.
#[test]
fn bios_of_buffered_io() {
    let m = machine();
    let file = m.read_write();
    assert_eq!(file.write_at(0, &[1; 16384], IO), Ok(16384));
    assert_eq!(m.disk.bios(), [""; 0]);
    file.sync().unwrap();
    assert_eq!(m.disk.bios(), ["W 0+8", "W 8+8", "W 16+8", "W 24+8"]);
    file.sync().unwrap();
    assert_eq!(m.disk.bios(), [""; 0]);
    drop(file);

    let file = m.read_write();
    let mut buf = [0; 4096];
    assert_eq!(file.read_at(0, &mut buf, IO), Ok(4096));
    assert_eq!(file.read_at(400 * 512, &mut buf, IO), Ok(4096));
    assert_eq!(m.disk.bios(), ["RA 0+32", "RA 400+8"]);
    drop(file);
    let file = m.read_write();
    assert_eq!(file.read_at(0, &mut [0; 65536], IO), Ok(65536));
    assert_eq!(m.disk.bios(), ["RA 0+256"]);
    // Three sectors into a cold page: read it, write it whole.
    drop(file);
    let file = m.read_write();
    file.write_at(100 * 4096 + 512, &[9; 1536], IO).unwrap();
    drop(file);
    assert_eq!(m.disk.bios(), ["R 800+8", "W 800+8"]);
}

#[test]
fn reading_an_error_is_eio_and_a_line() {
    let m = machine();
    m.disk.fail(8..16);
    m.disk.fail_with(BlkStatus::NoSpc);
    let file = m.read_write();
    let mut buf = [0; 65536];
    assert_eq!(file.read_at(0, &mut buf, IO), Ok(4096));
    assert_eq!(m.log(), ["<3>Buffer I/O error on dev ram0, logical block 1, async page read"]);
    assert_eq!(file.read_at(4096, &mut buf, IO), Err(Errno::EIO));
    assert_eq!(file.read_at(8192, &mut buf, IO), Ok(65536));
    assert_eq!(m.log().len(), 2);
}

#[test]
fn lost_writes_are_logged_and_reported_once() {
    let m = machine();
    m.disk.fail(0..4096);
    m.disk.fail_with(BlkStatus::NoSpc);
    let (a, b) = (m.read_write(), m.read_write());
    assert_eq!(a.write_at(0, &[7; 65536], IO), Ok(65536));
    // EIO even where the disk said ENOSPC.
    assert_eq!(a.sync(), Err(Errno::EIO));
    assert_eq!(a.sync(), Ok(()));
    assert_eq!(b.sync(), Err(Errno::EIO));
    assert_eq!(m.read_write().sync(), Ok(()));
    let log = m.log();
    assert_eq!(log.len(), 10);
    assert_eq!(log[9], "<3>Buffer I/O error on dev ram0, logical block 9, lost async page write");
    // What was lost is still there to be read.
    let mut buf = [0; 4096];
    assert_eq!(a.read_at(0, &mut buf, IO), Ok(4096));
    assert_eq!(buf, [7; 4096]);
    // Part of a page that can't be read: EIO at once, no line.
    assert_eq!(a.write_at(1 << 20, &[1; 512], IO), Err(Errno::EIO));
    // Durable or not at all.
    let dsync = IoFlags { is_dsync: true, ..IO };
    assert_eq!(a.write_at(0, &[1; 4096], dsync), Err(Errno::EIO));
    assert_eq!(m.log().len(), 10);
}

#[test]
fn the_next_lines_say_how_many_were_left_out() {
    let m = machine();
    m.disk.fail(0..4096);
    let file = m.read_write();
    file.write_at(0, &[1; 65536], IO).unwrap();
    assert_eq!(file.sync(), Err(Errno::EIO));
    let runtime = m.registry.runtime();
    runtime.block_on(runtime.sleep(std::time::Duration::from_secs(6))).unwrap();
    assert_eq!(file.read_at(80 * 1024, &mut [0; 4096], IO), Err(Errno::EIO));
    assert_eq!(
        m.log()[10..],
        [
            "<4>buffer_io_error: 6 callbacks suppressed",
            "<3>Buffer I/O error on dev ram0, logical block 20, async page read"
        ]
    );
}

#[test]
fn one_line_that_was_left_out_is_told_of_and_none_is_not() {
    for (lost, told) in [(10, None), (11, Some("<4>buffer_io_error: 1 callbacks suppressed"))] {
        let m = machine();
        m.disk.fail(0..4096);
        let file = m.read_write();
        file.write_at(0, &vec![1; lost * 4096], IO).unwrap();
        assert_eq!(file.sync(), Err(Errno::EIO));
        let runtime = m.registry.runtime();
        runtime.block_on(runtime.sleep(std::time::Duration::from_secs(6))).unwrap();
        assert_eq!(file.read_at(80 * 1024, &mut [0; 4096], IO), Err(Errno::EIO));
        let log = m.log();
        assert_eq!(log.iter().find(|line| line.contains("suppressed")).map(String::as_str), told);
    }
}

#[test]
fn an_odd_size_makes_small_blocks() {
    let m = TestMachine::new(Sectors(2049), |_| ());
    let file = m.read_write();
    assert_eq!(file.write_at(2048 * 512, &[5; 512], IO), Ok(512));
    file.sync().unwrap();
    assert_eq!(m.disk.bios(), ["W 2048+1"]);
    m.disk.fail(0..2049);
    assert_eq!(file.read_at(0, &mut [0; 4096], IO), Err(Errno::EIO));
    assert_eq!(m.log().len(), 8);
    assert_eq!(TestMachine::new(Sectors(2044), |_| ()).read_write().write_at(0, &[0; 9], IO), Ok(9));
}

#[test]
fn errors_outlive_the_last_close() {
    let m = machine();
    m.disk.fail(0..8);
    m.read_write().write_at(0, &[1; 4096], IO).unwrap();
    assert_eq!(m.log().len(), 1);
    assert_eq!(m.read_write().sync(), Err(Errno::EIO));
    assert_eq!(m.read_write().sync(), Ok(()));
}

#[test]
fn direct_io_goes_around_but_not_past() {
    let m = machine();
    let (cached, direct) = (m.read_write(), m.direct());
    let mut buf = [0; 4096];
    cached.write_at(0, &[1; 8192], IO).unwrap();
    assert_eq!(direct.read_at(0, &mut buf, IO), Ok(4096));
    assert_eq!(buf, [1; 4096]);
    direct.write_at(0, &[2; 4096], IO).unwrap();
    assert_eq!(cached.read_at(0, &mut buf, IO), Ok(4096));
    assert_eq!(buf, [2; 4096]);
    // A failed write-back of what lies there fails the direct read as well, and fsync still reports it.
    cached.write_at(0, &[3; 4096], IO).unwrap();
    m.disk.fail(0..8);
    assert_eq!(direct.read_at(0, &mut buf, IO), Err(Errno::EIO));
    assert_eq!(cached.sync(), Err(Errno::EIO));
    m.disk.heal();
    assert_eq!(direct.read_at(0, &mut buf, IO), Ok(4096));
    assert_eq!(buf, [2; 4096]);
}

#[test]
fn after_blkflsbuf_the_disk_is_read_again() {
    let m = machine();
    let file = m.read_write();
    let mut buf = [0; 4096];
    file.write_at(0, &[1; 4096], IO).unwrap();
    file.ioctl(&crate::Kernel(&m.registry), dmlab_abi::BLKFLSBUF, 0, &mut Vec::new()).unwrap();
    assert_eq!(m.disk.bios(), ["W 0+8"]);
    m.disk.ram.memory().write(0, &[2; 4096]);
    file.read_at(0, &mut buf, IO).unwrap();
    assert_eq!(buf, [2; 4096]);
}

#[test]
fn without_waiting_only_what_is_cached() {
    let m = machine();
    let file = m.open(OpenMode::READ | OpenMode::WRITE);
    let nowait = IoFlags { is_nowait: true, ..IO };
    let mut buf = [0; 512];
    assert_eq!(file.read_at(0, &mut buf, nowait), Err(Errno::EAGAIN));
    file.read_at(0, &mut buf, IO).unwrap();
    assert_eq!(file.read_at(0, &mut buf, nowait), Ok(512));
    assert_eq!(file.write_at(0, &buf, nowait), Err(Errno::EOPNOTSUPP));
}

#[test]
fn dirty_pages_are_bounded() {
    let m = TestMachine::new(Sectors(1 << 17), |_| ());
    let file = m.read_write();
    let mib = vec![3; 1 << 20];
    for at in 0..40u64 {
        file.write_at(at << 20, &mib, IO).unwrap();
    }
    assert!(m.disk.bios().len() >= 2 * 4096);
}

#[test]
fn clean_pages_are_bounded() {
    let m = TestMachine::new(Sectors(160 << 11), |_| ());
    let file = m.open(OpenMode::READ);
    let mut mib = vec![0; 1 << 20];
    let mut reads_the_disk = |at: u64| {
        m.disk.bios();
        file.read_at(at << 20, &mut mib, IO).unwrap();
        !m.disk.bios().is_empty()
    };
    assert!(reads_the_disk(0) && !reads_the_disk(0));
    for at in 1..80 {
        reads_the_disk(at);
    }
    assert!(reads_the_disk(0), "64 MiB are kept at most");
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u8, usize),
    DirectWrite(u64, u8, usize),
    Read(u64, usize),
    DirectRead(u64, usize),
    Sync,
    Reopen,
    Flush,
    Zero(u64, u64),
    BlockSize(u32),
}

const SIZE: u64 = 64 * 4096 + 3 * 512;

fn any_step() -> impl Strategy<Value = Step> {
    let byte = 0..SIZE + 600;
    let sector = 0..SIZE / 512;
    prop_oneof![
        4 => (byte.clone(), any::<u8>(), 0..20_000usize).prop_map(|(at, b, len)| Step::Write(at, b, len)),
        2 => (sector.clone(), any::<u8>(), 1..40usize).prop_map(|(at, b, n)| Step::DirectWrite(at, b, n)),
        4 => (byte, 0..20_000usize).prop_map(|(at, len)| Step::Read(at, len)),
        2 => (sector.clone(), 1..40usize).prop_map(|(at, n)| Step::DirectRead(at, n)),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => Just(Step::Flush),
        2 => (sector, 1..40u64).prop_map(|(at, n)| Step::Zero(at, n)),
        1 => (9..13u32).prop_map(|shift| Step::BlockSize(1 << shift)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_file_is_an_array_of_bytes(steps in prop::collection::vec(any_step(), 1..60)) {
        let m = TestMachine::new(Sectors(SIZE / 512), |_| ());
        let kernel = crate::Kernel(&m.registry);
        let mut model = vec![0u8; SIZE as usize];
        let mut file = m.read_write();
        let direct = IoFlags { is_direct: true, ..IO };
        for step in steps {
            match step {
                Step::Write(at, b, len) | Step::DirectWrite(at, b, len) => {
                    let (at, len, how) = match step {
                        Step::Write(..) => (at, len, IO),
                        _ => (at * 512, len * 512, direct),
                    };
                    let fits = len.min(SIZE.saturating_sub(at) as usize);
                    let expected = if fits == 0 && len > 0 { Err(Errno::ENOSPC) } else { Ok(fits) };
                    prop_assert_eq!(file.write_at(at, &vec![b; len], how), expected);
                    if fits > 0 {
                        model[at as usize..at as usize + fits].fill(b);
                    }
                }
                Step::Read(at, len) | Step::DirectRead(at, len) => {
                    let (at, len, how) = match step {
                        Step::Read(..) => (at, len, IO),
                        _ => (at * 512, len * 512, direct),
                    };
                    let mut buf = vec![0xee; len];
                    let fits = len.min(SIZE.saturating_sub(at) as usize);
                    prop_assert_eq!(file.read_at(at, &mut buf, how), Ok(fits));
                    if fits > 0 {
                        prop_assert!(buf[..fits] == model[at as usize..at as usize + fits]);
                    }
                }
                Step::Sync => {
                    file.sync().unwrap();
                    let mut all = vec![0; SIZE as usize];
                    m.disk.ram.memory().read(0, &mut all);
                    prop_assert!(all == model);
                }
                Step::Reopen => {
                    drop(file);
                    let mut all = vec![0; SIZE as usize];
                    m.disk.ram.memory().read(0, &mut all);
                    prop_assert!(all == model);
                    file = m.read_write();
                }
                Step::Flush => {
                    file.ioctl(&kernel, dmlab_abi::BLKFLSBUF, 0, &mut Vec::new()).unwrap();
                }
                Step::Zero(at, n) => {
                    let (start, end) = (at * 512, ((at + n) * 512).min(SIZE));
                    file.fallocate(0x11, start as i64, (n * 512) as i64).unwrap();
                    model[start as usize..end as usize].fill(0);
                }
                Step::BlockSize(size) => {
                    let mut memory = size.to_ne_bytes().to_vec();
                    file.ioctl(&kernel, dmlab_abi::BLKBSZSET, 0, &mut memory).unwrap();
                }
            }
        }
        drop(file);
        let mut all = vec![0; SIZE as usize];
        m.disk.ram.memory().read(0, &mut all);
        prop_assert!(all == model);
    }
}
