//! Semantics of open block devices, as probed on Linux 6.12.95.

use dmlab_abi as abi;
use dmlab_units::{Bytes, DevT, Errno, Sectors};

use super::*;
use crate::test_disk::{DEV, TestMachine};
use crate::{BlkStatus, Caller, Kernel, UserMemory};

const SIZE: u64 = 256 << 20;
const IO: IoFlags =
    IoFlags { is_direct: false, is_nowait: false, is_dsync: false, address_bits: 0, length_bits: 0 };
const RW: OpenMode = OpenMode::READ.union(OpenMode::WRITE);

fn machine() -> TestMachine {
    TestMachine::new(Sectors(SIZE / 512), |_| ())
}

fn ioctl(m: &TestMachine, file: &BlockFile, request: u32, memory: &mut dyn UserMemory) -> Result<i32, Errno> {
    file.ioctl(&Kernel(&m.registry), request, 1, memory)
}

fn range(start: u64, len: u64) -> Vec<u8> {
    [start.to_ne_bytes(), len.to_ne_bytes()].concat()
}

#[test]
fn opening() {
    let m = machine();
    assert_eq!(m.registry.open(DevT::new(254, 0), RW).err(), Some(Errno::ENXIO));
    let excl = m.open(OpenMode::READ | OpenMode::EXCLUSIVE);
    assert_eq!(m.registry.open(DEV, OpenMode::READ | OpenMode::EXCLUSIVE).err(), Some(Errno::EBUSY));
    let plain = m.read_write();
    // The block size is the exclusive holder's to set.
    let mut size = 4096u32.to_ne_bytes().to_vec();
    assert_eq!(ioctl(&m, &plain, abi::BLKBSZSET, &mut size), Err(Errno::EBUSY));
    assert_eq!(ioctl(&m, &excl, abi::BLKBSZSET, &mut size), Ok(0));
    drop(excl);
    let table = m.device.open(RW, Some(Holder::DeviceMapper)).unwrap();
    let _other_table = m.device.open(RW, Some(Holder::DeviceMapper)).unwrap();
    assert_eq!(m.registry.open(DEV, RW | OpenMode::EXCLUSIVE).err(), Some(Errno::EBUSY));
    drop(table);
    assert_eq!(m.device.open_count(), 2);
}

#[test]
fn ends_and_modes() {
    let m = machine();
    let file = m.read_write();
    let mut buf = [0; 4096];
    assert_eq!(file.read_at(SIZE, &mut buf, IO), Ok(0));
    assert_eq!(file.read_at(1 << 62, &mut buf, IO), Ok(0));
    assert_eq!(file.read_at(i64::MAX as u64, &mut buf, IO), Err(Errno::EINVAL));
    assert_eq!(file.write_at(i64::MAX as u64, &buf, IO), Err(Errno::EINVAL));
    assert_eq!(file.read_at(513, &mut [], IoFlags { is_direct: true, ..IO }), Ok(0));
    assert_eq!(file.read_at(SIZE - 512, &mut buf, IO), Ok(512));
    assert_eq!(file.write_at(SIZE - 512, &buf, IO), Ok(512));
    assert_eq!(file.write_at(SIZE, &buf, IO), Err(Errno::ENOSPC));
    assert_eq!(file.write_at(SIZE, &[], IO), Ok(0));
    assert_eq!(m.open(OpenMode::WRITE).read_at(0, &mut buf, IO), Err(Errno::EBADF));
    assert_eq!(m.open(OpenMode::READ).write_at(0, &buf, IO), Err(Errno::EBADF));
    m.device.set_read_only(true);
    assert_eq!(m.read_write().write_at(0, &buf, IO), Err(Errno::EPERM));
    assert_eq!(m.read_write().write_at(0, &[], IO), Err(Errno::EPERM));
    assert_eq!(m.read_write().sync(), Ok(()));
    m.device.set_read_only(false);
    m.device.set_capacity(Sectors(0));
    assert_eq!(m.read_write().read_at(0, &mut buf, IO), Ok(0));
    assert_eq!(m.read_write().write_at(0, &buf, IO), Err(Errno::ENOSPC));
}

#[test]
fn direct_alignment() {
    let m = machine();
    let file = m.direct();
    let mut buf = [0; 1024];
    let at = |address_bits| IoFlags { address_bits, ..IO };
    assert_eq!(file.read_at(512, &mut buf, at(512)), Ok(1024));
    for address in [1, 4, 256] {
        assert_eq!(file.read_at(0, &mut buf, at(address)), Err(Errno::EINVAL));
    }
    assert_eq!(file.read_at(100, &mut buf, IO), Err(Errno::EINVAL));
    assert_eq!(file.read_at(0, &mut buf[..7], IO), Err(Errno::EINVAL));
    assert_eq!(file.read_at(0, &mut buf, IoFlags { length_bits: 100, ..IO }), Err(Errno::EINVAL));
    // Past the end comes first.
    assert_eq!(file.read_at(SIZE + 100, &mut buf, IO), Ok(0));
    assert_eq!(file.write_at(SIZE + 100, &buf, IO), Err(Errno::ENOSPC));
    let m = TestMachine::new(Sectors(4096), |limits| limits.logical_block_size = Bytes(4096));
    assert_eq!(m.direct().read_at(512, &mut buf, IO), Err(Errno::EINVAL));
}

#[test]
fn direct_errors_are_the_devices() {
    let m = machine();
    m.disk.fail(8..9);
    m.disk.fail_with(crate::BlkStatus::NoSpc);
    let file = m.direct();
    assert_eq!(file.write_at(4096, &[0; 4096], IO), Err(Errno::ENOSPC));
    assert_eq!(file.write_at(8192, &[0; 4096], IO), Ok(4096));
}

#[test]
fn large_direct_io_goes_in_bios_of_a_mebibyte() {
    let m = machine();
    let data: Vec<u8> = (0..5 << 19).map(|i: u32| (i >> 9) as u8).collect();
    assert_eq!(m.direct().write_at(0, &data, IO), Ok(data.len()));
    assert_eq!(m.disk.bios(), ["W 0+2048", "W 2048+2048", "W 4096+1024"]);
    let mut back = vec![0; data.len()];
    assert_eq!(m.direct().read_at(0, &mut back, IO), Ok(data.len()));
    assert!(back == data);
}

#[test]
fn durable_writes_force_and_flush() {
    let m = TestMachine::new(Sectors(4096), |limits| {
        limits.features |= crate::Features::WRITE_CACHE | crate::Features::FUA;
    });
    let file = m.direct();
    file.write_at(0, &[0; 512], IoFlags { is_dsync: true, ..IO }).unwrap();
    assert_eq!(m.disk.bios(), ["W 0+1", "F 0+0"]);
    file.sync().unwrap();
    assert_eq!(m.disk.bios(), ["F 0+0"]);
}

#[test]
fn numbers() {
    let m = machine();
    let file = m.read_write();
    let get = |request: u32, len: usize| {
        let mut memory = vec![0xffu8; len];
        ioctl(&m, &file, request, &mut memory).unwrap();
        let mut wide = [0; 8];
        wide[..len].copy_from_slice(&memory);
        u64::from_ne_bytes(wide)
    };
    assert_eq!(get(abi::BLKGETSIZE, 8), SIZE / 512);
    assert_eq!(get(abi::BLKGETSIZE64, 8), SIZE);
    assert_eq!(get(abi::BLKSSZGET, 4), 512);
    assert_eq!(get(abi::BLKPBSZGET, 4), 4096);
    assert_eq!(get(abi::BLKIOMIN, 4), 4096);
    assert_eq!(get(abi::BLKIOOPT, 4), 0);
    assert_eq!(get(abi::BLKALIGNOFF, 4), 0);
    assert_eq!(get(abi::BLKSECTGET, 2), 255);
    assert_eq!(get(abi::BLKROTATIONAL, 2), 0);
    assert_eq!(get(abi::BLKDISCARDZEROES, 4), 0);
    assert_eq!(get(abi::BLKGETZONESZ, 4), 0);
    assert_eq!(get(abi::BLKGETNRZONES, 4), 0);
    assert_eq!(get(abi::BLKGETDISKSEQ, 8), 1);
    assert_eq!(get(abi::BLKBSZGET, 4), 4096);
    assert_eq!(get(abi::FIGETBSZ, 4), 4096);
    assert_eq!(get(abi::BLKROGET, 4), 0);
    assert_eq!(get(abi::BLKRAGET, 8), 256);
    for (set, shown) in [(300, 296), (7, 0)] {
        file.ioctl(&Kernel(&m.registry), abi::BLKRASET, set, &mut Vec::new()).unwrap();
        assert_eq!(get(abi::BLKRAGET, 8), shown);
    }
    assert_eq!(ioctl(&m, &file, abi::BLKGETSIZE64, &mut vec![0; 7]), Err(Errno::EFAULT));
}

#[test]
fn ranges_check_in_this_order() {
    let m = machine();
    let (rw, ro) = (m.read_write(), m.open(OpenMode::READ));
    let check = |file: &BlockFile, request, mut memory: Vec<u8>, expected: Result<i32, Errno>| {
        assert_eq!(ioctl(&m, file, request, &mut memory), expected, "{request:#x} {memory:?}");
    };
    let none = Vec::new;
    check(&ro, abi::BLKDISCARD, none(), Err(Errno::EFAULT));
    check(&ro, abi::BLKDISCARD, range(0, 4096), Err(Errno::EBADF));
    check(&ro, abi::BLKZEROOUT, none(), Err(Errno::EBADF));
    check(&rw, abi::BLKZEROOUT, none(), Err(Errno::EFAULT));
    check(&ro, abi::BLKSECDISCARD, none(), Err(Errno::EBADF));
    check(&rw, abi::BLKSECDISCARD, none(), Err(Errno::EOPNOTSUPP));
    for request in [abi::BLKDISCARD, abi::BLKZEROOUT] {
        check(&rw, request, range(0, 0), Err(Errno::EINVAL));
        check(&rw, request, range(511, 512), Err(Errno::EINVAL));
        check(&rw, request, range(512u64.wrapping_neg(), 1024), Err(Errno::EINVAL));
        check(&rw, request, range(SIZE - 512, 1024), Err(Errno::EINVAL));
        check(&rw, request, range(4096, 4096), Ok(0));
    }
    m.device.set_read_only(true);
    check(&rw, abi::BLKDISCARD, range(0, 5), Err(Errno::EPERM));
    check(&rw, abi::BLKZEROOUT, range(0, 5), Err(Errno::EINVAL));
    check(&rw, abi::BLKZEROOUT, range(0, 4096), Err(Errno::EPERM));
    assert_eq!(rw.fallocate(0x11, 0, 4096), Err(Errno::EPERM));
    assert_eq!(rw.fallocate(3, 0, 4096), Err(Errno::EPERM));
    let m = TestMachine::new(Sectors(64), |limits| limits.max_hw_discard_sectors = Sectors(0));
    let answer = ioctl(&m, &m.open(OpenMode::READ), abi::BLKDISCARD, &mut range(0, 5));
    assert_eq!(answer, Err(Errno::EOPNOTSUPP));
}

#[test]
fn zeroing_and_discarding_in_pieces() {
    let m = machine();
    let file = m.read_write();
    ioctl(&m, &file, abi::BLKZEROOUT, &mut range(0, 8 << 20)).unwrap();
    assert_eq!(m.disk.bios().len(), 8);
    ioctl(&m, &file, abi::BLKZEROOUT, &mut range(512, 1024)).unwrap();
    ioctl(&m, &file, abi::BLKDISCARD, &mut range(0, 8 << 20)).unwrap();
    ioctl(&m, &file, abi::BLKDISCARD, &mut range(512, 8192)).unwrap();
    assert_eq!(m.disk.bios(), ["W 1+2", "D 0+16384", "D 1+7", "D 8+9"]);
    let m = TestMachine::new(Sectors(4096), |limits| limits.max_write_zeroes_sectors = Sectors(1000));
    m.read_write().fallocate(3, 0, 1 << 20).unwrap();
    assert_eq!(m.disk.bios(), ["WZ 0+1000", "WZ 1000+1000", "WZ 2000+48"]);
}

#[test]
fn a_discard_that_the_device_refuses_is_no_error() {
    let m = machine();
    let file = m.read_write();
    m.disk.fail([100]);
    assert_eq!(ioctl(&m, &file, abi::BLKDISCARD, &mut range(0, 1 << 20)), Err(Errno::EIO));
    m.disk.fail_with(BlkStatus::NotSupp);
    assert_eq!(ioctl(&m, &file, abi::BLKDISCARD, &mut range(0, 1 << 20)), Ok(0));
}

#[test]
fn what_is_zeroed_is_neither_read_from_the_cache_nor_written_over_from_it() {
    let m = machine();
    let file = m.read_write();
    let mut buf = [9; 4096];
    for page in [0, 1] {
        file.write_at(page * 4096, &[1; 4096], IO).unwrap();
        if page == 0 {
            file.sync().unwrap();
        }
    }
    ioctl(&m, &file, abi::BLKZEROOUT, &mut range(0, 8192)).unwrap();
    for page in [0, 1] {
        file.read_at(page * 4096, &mut buf, IO).unwrap();
        assert_eq!(buf, [0; 4096], "page {page}");
    }
    drop(file);
    m.disk.ram.memory().read(4096, &mut buf);
    assert_eq!(buf, [0; 4096], "on the disk");
}

/// Whole sectors, whatever the logical block. No disk of the recorded machines can do it.
#[test]
fn secure_erase_goes_by_sectors() {
    let m = TestMachine::new(Sectors(4096), |limits| limits.max_secure_erase_sectors = Sectors(1000));
    let file = m.read_write();
    let erase = |start, len| ioctl(&m, &file, abi::BLKSECDISCARD, &mut range(start, len));
    for (start, len) in [(100, 512), (512, 1000), (0, 0), (4096 * 512, 512)] {
        assert_eq!(erase(start, len), Err(Errno::EINVAL), "{start}+{len}");
    }
    assert_eq!(m.disk.bios(), [""; 0]);
    let _the_ram_disk_knows_it_not = erase(512, 2000 * 512);
    assert_eq!(m.disk.bios(), ["DE 1+1000", "DE 1001+1000"]);
}

#[test]
fn what_a_discard_takes_away_is_not_cached() {
    let m = machine();
    let file = m.read_write();
    file.write_at(0, &[1; 16384], IO).unwrap();
    ioctl(&m, &file, abi::BLKDISCARD, &mut range(512, 8192)).unwrap();
    let mut buf = [9; 16384];
    file.read_at(0, &mut buf, IO).unwrap();
    // Only the whole page inside is gone; the pages that it shares were written before.
    let zero: Vec<_> = (0..4).filter(|page| buf[page * 4096] == 0).collect();
    assert_eq!(zero, [1]);
    assert_eq!(buf[15000], 1);
}

#[test]
fn fallocate_modes() {
    let m = machine();
    let (rw, ro) = (m.read_write(), m.open(OpenMode::READ));
    let end = SIZE as i64;
    assert_eq!(rw.fallocate(0x10, 0, 4096), Ok(()));
    assert_eq!(rw.fallocate(3, 0, 4096), Err(Errno::EOPNOTSUPP));
    for mode in [0, 1, 2, 8, 0x20] {
        assert_eq!(rw.fallocate(mode, 0, 4096), Err(Errno::EOPNOTSUPP), "mode {mode:#x}");
    }
    assert_eq!(rw.fallocate(0x10, 0, 0), Err(Errno::EINVAL));
    assert_eq!(rw.fallocate(0x10, -1, 4096), Err(Errno::EINVAL));
    assert_eq!(rw.fallocate(0x10, 100, 4096), Err(Errno::EINVAL));
    assert_eq!(rw.fallocate(0x10, end - 4096, 8192), Err(Errno::EINVAL));
    assert_eq!(rw.fallocate(0x11, end - 4096, 8192), Ok(()));
    assert_eq!(rw.fallocate(0x11, end, 4096), Err(Errno::EINVAL));
    assert_eq!(ro.fallocate(0x10, 0, 4096), Err(Errno::EBADF));
    assert_eq!(ro.fallocate(0x40, 0, 4096), Err(Errno::EBADF));
}

#[test]
fn fallocate_up_to_the_largest_offset() {
    let m = TestMachine::new(Sectors(4096), |_| ());
    let file = m.read_write();
    assert_eq!(file.fallocate(3, 0, i64::MAX), Err(Errno::EOPNOTSUPP));
    assert_eq!(file.fallocate(0x11, 0, i64::MAX), Ok(()));
    assert_eq!(file.fallocate(0x11, 4096, i64::MAX - 4096), Ok(()));
    assert_eq!(file.fallocate(0x11, 4096, i64::MAX - 4095), Err(Errno::EFBIG));
}

#[test]
fn rights_and_the_rest() {
    struct Nobody;
    impl Caller for Nobody {
        fn lookup_bdev(&self, _path: &[u8]) -> Result<DevT, Errno> {
            Err(Errno::ENOENT)
        }
        fn is_admin(&self) -> bool {
            false
        }
    }
    let m = machine();
    let file = m.read_write();
    for request in [abi::BLKROSET, abi::BLKRRPART, abi::BLKFLSBUF, abi::BLKRASET, abi::BLKBSZSET, abi::BLKPG]
    {
        assert_eq!(file.ioctl(&Nobody, request, 0, &mut Vec::new()), Err(Errno::EACCES));
    }
    for request in [0x5331, 0x5395, 0x2285, 0x9999, abi::BLKREPORTZONE, abi::HDIO_GETGEO] {
        assert_eq!(ioctl(&m, &file, request, &mut vec![0; 64]), Err(Errno::ENOTTY));
    }
    assert_eq!(file.ioctl(&Kernel(&m.registry), abi::HDIO_GETGEO, 0, &mut Vec::new()), Err(Errno::EINVAL));
    for size in [300u32, 8192, 256, 0] {
        let mut memory = size.to_ne_bytes().to_vec();
        assert_eq!(ioctl(&m, &file, abi::BLKBSZSET, &mut memory), Err(Errno::EINVAL));
    }
    let mut one = 1u32.to_ne_bytes().to_vec();
    assert_eq!(ioctl(&m, &m.open(OpenMode::READ), abi::BLKROSET, &mut one), Ok(0));
    assert!(m.device.is_read_only());
}
