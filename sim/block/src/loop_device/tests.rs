//! Loop devices, as probed on Linux 6.12.95.

use dmlab_runtime::{Runtime, VirtualDriver};

use super::*;
use crate::{BlockFile, Holder, IoFlags, RamDisk, WriteCache};

const RW: OpenMode = OpenMode::READ.union(OpenMode::WRITE);
/// The probed file had 1 MiB and 700 bytes.
const FILE_SIZE: u64 = (1 << 20) + 700;
const SIZE: u64 = (1 << 20) + 512;

struct Kit {
    registry: Arc<Registry>,
    control: LoopControl,
    file: std::fs::File,
}

/// A process with two descriptors: 3 for reading and writing, 4 for reading; 5 is `/dev/ram5`.
struct Process<'a>(&'a Kit);

impl Caller for Process<'_> {
    fn lookup_bdev(&self, _path: &[u8]) -> Result<DevT, Errno> {
        Err(Errno::ENOENT)
    }

    fn backing_file(&self, fd: i32) -> Result<Arc<dyn LoopBacking>, Errno> {
        let file = || self.0.file.try_clone().unwrap();
        match fd {
            3 => Ok(Arc::new(FileBacking::new(file(), "/tmp/lf", false))),
            4 => Ok(Arc::new(FileBacking::new(file(), "/tmp/lf", true))),
            10 | 11 => {
                let loop_dev = DevT::new(LOOP_MAJOR, fd as u32 - 10);
                Ok(Arc::new(DeviceBacking::new(self.0.registry.open(loop_dev, RW)?)))
            }
            5 => Ok(Arc::new(DeviceBacking::new(self.0.registry.open(DevT::new(1, 5), RW)?))),
            _ => Err(Errno::EBADF),
        }
    }
}

impl Kit {
    fn new() -> Kit {
        let registry = Arc::new(Registry::new(Runtime::new(0, VirtualDriver::new())));
        let ram = RamDisk::new(Sectors(2048), WriteCache::WriteThrough);
        let (runtime, limits) = (registry.runtime().clone(), ram.limits());
        let ram5 = BlockDevice::new(
            DevT::new(1, 5),
            "ram5",
            registry.next_disk_seq(),
            runtime,
            Arc::new(ram),
            limits,
        );
        ram5.set_capacity(Sectors(2048));
        registry.add(ram5).unwrap();
        let fd = rustix::fs::memfd_create("lf", rustix::fs::MemfdFlags::empty()).unwrap();
        let file = std::fs::File::from(fd);
        file.set_len(FILE_SIZE).unwrap();
        let control = LoopControl::new(registry.clone());
        control.add(Some(0)).unwrap();
        Kit { registry, control, file }
    }

    fn open(&self, mode: OpenMode) -> BlockFile {
        self.registry.open(DevT::new(LOOP_MAJOR, 0), mode).unwrap()
    }

    fn ioctl(&self, file: &BlockFile, request: u32, arg: u64) -> Result<i32, Errno> {
        file.ioctl(&Process(self), request, arg, &mut Vec::new())
    }

    fn configure(&self, file: &BlockFile, change: impl FnOnce(&mut LoopConfig)) -> Result<i32, Errno> {
        let mut config = LoopConfig { fd: 3, ..LoopConfig::default() };
        change(&mut config);
        file.ioctl(&Process(self), abi::LOOP_CONFIGURE, 1, &mut config.encode().to_vec())
    }

    fn status(&self, file: &BlockFile) -> Result<LoopInfo64, Errno> {
        let mut memory = vec![0; LoopInfo64::SIZE];
        file.ioctl(&Process(self), abi::LOOP_GET_STATUS64, 1, &mut memory)?;
        Ok(LoopInfo64::decode(memory.as_slice().try_into().unwrap()))
    }

    fn set_status(&self, file: &BlockFile, info: LoopInfo64) -> Result<i32, Errno> {
        file.ioctl(&Process(self), abi::LOOP_SET_STATUS64, 1, &mut info.encode().to_vec())
    }

    /// Events of `loop0` since the last call: what is special about each, and its DISKSEQ.
    fn events(&self, seen: &mut u64) -> Vec<String> {
        let events = self.registry.runtime().uevents().after(*seen);
        *seen = self.registry.runtime().uevents().last_seqnum();
        let shown = events.iter().map(|event| {
            let first = event.vars.first().filter(|(key, _)| *key != "MAJOR");
            let special = first.map_or(String::new(), |(key, value)| format!(" {key}={value}"));
            format!("{}{special} {}", event.action, event.var("DISKSEQ").unwrap_or("-"))
        });
        shown.collect()
    }
}

#[test]
fn control_makes_finds_and_removes() {
    let kit = Kit::new();
    let control = |request, arg: i64| kit.control.ioctl(request, arg as u64);
    assert_eq!(control(abi::LOOP_CTL_ADD, 0), Err(Errno::EEXIST));
    assert_eq!(control(abi::LOOP_CTL_ADD, 2), Ok(2));
    assert_eq!(control(abi::LOOP_CTL_ADD, -1), Ok(1));
    assert_eq!(control(abi::LOOP_CTL_ADD, -1), Ok(3));
    assert_eq!(control(abi::LOOP_CTL_ADD, 1 << 21), Err(Errno::EINVAL));
    assert_eq!(control(abi::LOOP_CTL_REMOVE, 21), Err(Errno::ENODEV));
    assert_eq!(control(abi::LOOP_CTL_REMOVE, -1), Err(Errno::EINVAL));
    assert_eq!(control(0x4c99, 0), Err(Errno::ENOSYS));
    assert_eq!(control(abi::LOOP_CTL_GET_FREE, 0), Ok(0));
    let file = kit.open(RW);
    assert_eq!(control(abi::LOOP_CTL_REMOVE, 0), Err(Errno::EBUSY));
    kit.ioctl(&file, abi::LOOP_SET_FD, 3).unwrap();
    drop(file);
    assert_eq!(control(abi::LOOP_CTL_REMOVE, 0), Err(Errno::EBUSY));
    assert_eq!(control(abi::LOOP_CTL_GET_FREE, 0), Ok(1));
    for n in 1..4 {
        assert_eq!(control(abi::LOOP_CTL_REMOVE, n), Ok(0));
    }
    assert_eq!(control(abi::LOOP_CTL_GET_FREE, 0), Ok(1));
    assert!(kit.registry.get(DevT::new(LOOP_MAJOR, 3)).is_none());
}

#[test]
fn unbound() {
    let kit = Kit::new();
    let file = kit.open(RW);
    assert_eq!(file.read_at(0, &mut [0; 512], IoFlags::default()), Ok(0));
    assert_eq!(file.write_at(0, &[0; 512], IoFlags::default()), Err(Errno::ENOSPC));
    for (request, arg) in [
        (abi::LOOP_CLR_FD, 0),
        (abi::LOOP_SET_CAPACITY, 0),
        (abi::LOOP_SET_DIRECT_IO, 1),
        (abi::LOOP_SET_BLOCK_SIZE, 512),
        (abi::LOOP_CHANGE_FD, 3),
    ] {
        assert_eq!(kit.ioctl(&file, request, arg), Err(Errno::ENXIO));
    }
    assert_eq!(kit.status(&file), Err(Errno::ENXIO));
    assert_eq!(kit.set_status(&file, LoopInfo64::default()), Err(Errno::ENXIO));
    assert_eq!(kit.ioctl(&file, abi::LOOP_GET_STATUS64, 0), Err(Errno::EINVAL));
    assert_eq!(kit.ioctl(&file, abi::LOOP_SET_STATUS64, 0), Err(Errno::EFAULT));
    assert_eq!(kit.ioctl(&file, 0x4c0f, 0), Err(Errno::EINVAL));
    assert_eq!(kit.ioctl(&file, abi::BLKRRPART, 0), Err(Errno::EINVAL));
    let limits = file.device().limits();
    assert!(!limits.has_write_cache() && limits.max_discard_sectors.is_zero());
}

#[test]
fn what_configure_refuses() {
    let kit = Kit::new();
    let file = kit.open(RW);
    assert_eq!(kit.ioctl(&file, abi::LOOP_SET_FD, 99), Err(Errno::EBADF));
    assert_eq!(kit.ioctl(&file, abi::LOOP_CONFIGURE, 0), Err(Errno::EFAULT));
    assert_eq!(kit.configure(&file, |c| c.block_size = 300), Err(Errno::EINVAL));
    assert_eq!(kit.configure(&file, |c| c.info.flags = LoopFlags::from_bits_retain(2)), Err(Errno::EINVAL));
    assert_eq!(kit.configure(&file, |c| c.info.encrypt_type = 1), Err(Errno::EINVAL));
    assert_eq!(kit.configure(&file, |c| c.info.offset = u64::MAX), Err(Errno::EOVERFLOW));
    // Itself, also in a roundabout way.
    assert_eq!(kit.configure(&file, |c| c.fd = 10), Err(Errno::EBADF));
    kit.control.add(Some(1)).unwrap();
    let other = kit.registry.open(DevT::new(LOOP_MAJOR, 1), RW).unwrap();
    assert_eq!(kit.configure(&other, |c| c.fd = 10), Ok(0));
    assert_eq!(kit.configure(&file, |c| c.fd = 11), Err(Errno::EBADF));
    let exclusive = kit.open(RW | OpenMode::EXCLUSIVE);
    assert_eq!(kit.configure(&file, |_| ()), Err(Errno::EBUSY));
    assert_eq!(kit.configure(&exclusive, |_| ()), Ok(0));
    assert_eq!(kit.configure(&exclusive, |_| ()), Err(Errno::EBUSY));
    assert_eq!(kit.ioctl(&file, abi::LOOP_SET_BLOCK_SIZE, 4096), Err(Errno::EBUSY));
}

#[test]
fn bound_status_sizes_and_events() {
    let kit = Kit::new();
    let mut seen = 0;
    kit.events(&mut seen);
    let file = kit.open(RW);
    let set = LoopFlags::AUTOCLEAR | LoopFlags::DIRECT_IO;
    let configured = kit.configure(&file, |c| {
        c.info.flags = set;
        c.info.number = 77;
        c.info.crypt_name = [b'c'; 64];
        c.info.file_name = [b'n'; 64];
        c.reserved[0] = 1;
    });
    assert_eq!(configured, Ok(0));
    assert_eq!(kit.events(&mut seen), ["change 3"]);
    let info = kit.status(&file).unwrap();
    assert_eq!((info.number, info.flags, info.crypt_name[0], info.file_name[63]), (0, set, 0, 0));
    assert!(info.inode != 0 && info.rdevice == 0);
    assert_eq!(file.size(), SIZE);
    let attributes = kit.control.get(0).unwrap().attributes().unwrap();
    assert_eq!((attributes.backing_file.as_slice(), attributes.dio), (b"/tmp/lf".as_slice(), true));

    let status = |offset, sizelimit| LoopInfo64 { offset, sizelimit, ..LoopInfo64::default() };
    for (offset, sizelimit, size, event) in [
        (512, 100_000, 99_840, Some("change RESIZE=1 3")),
        (700, 100_000, 99_840, Some("change 3")),
        (2 << 20, 100_000, 0, Some("change 3")),
        (0, 1 << 40, SIZE, Some("change 3")),
        (0, 0, SIZE, Some("change 3")),
        (0, 0, SIZE, None),
    ] {
        kit.set_status(&file, status(offset, sizelimit)).unwrap();
        assert_eq!(file.size(), size, "offset {offset}");
        assert_eq!(kit.events(&mut seen), event.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(kit.set_status(&file, status(u64::MAX - 4, 0)), Err(Errno::EOVERFLOW));
    let with = |flags| LoopInfo64 { flags: LoopFlags::from_bits_retain(flags), ..LoopInfo64::default() };
    kit.set_status(&file, with(0x1f)).unwrap();
    assert_eq!(kit.status(&file).unwrap().flags.bits(), 0x1c);
    kit.set_status(&file, with(0)).unwrap();
    assert_eq!(kit.status(&file).unwrap().flags.bits(), 0x18);
    assert_eq!(kit.ioctl(&file, abi::BLKRRPART, 0), Ok(0));

    kit.file.set_len(2 << 20).unwrap();
    kit.ioctl(&file, abi::LOOP_SET_CAPACITY, 0).unwrap();
    assert_eq!((file.size(), kit.events(&mut seen)), (2 << 20, vec!["change RESIZE=1 3".to_owned()]));
    assert_eq!(kit.ioctl(&file, abi::LOOP_CHANGE_FD, 3), Err(Errno::EINVAL));
    assert_eq!(kit.events(&mut seen), ["change 3"]);

    for (size, expected) in [(256, Err(Errno::EINVAL)), (4096, Ok(0)), (8192, Err(Errno::EINVAL))] {
        assert_eq!(kit.ioctl(&file, abi::LOOP_SET_BLOCK_SIZE, size), expected);
    }
    assert_eq!(file.device().limits().physical_block_size, Bytes(4096));
}

#[test]
fn partitions_are_looked_for_once_they_are_asked_for_and_not_again() {
    use std::os::unix::fs::FileExt;
    let kit = Kit::new();
    let mut sector = [0; 512];
    sector[450] = 0x83;
    sector[454] = 8;
    sector[458] = 16;
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    kit.file.write_all_at(&sector, 0).unwrap();
    let file = kit.open(RW);
    kit.configure(&file, |_| ()).unwrap();
    let partitions = || file.device().partitions().len();
    let set = |flags, offset| {
        kit.set_status(&file, LoopInfo64 { flags, offset, ..LoopInfo64::default() }).unwrap();
    };
    assert_eq!(partitions(), 0);
    set(LoopFlags::empty(), 0);
    assert_eq!(partitions(), 0);
    set(LoopFlags::PARTSCAN, 0);
    assert_eq!(partitions(), 1);
    file.device().delete_partition(1).unwrap();
    for (flags, offset) in [
        (LoopFlags::PARTSCAN, 0),
        (LoopFlags::empty(), 0),
        (LoopFlags::PARTSCAN, 0),
        (LoopFlags::PARTSCAN, 4096),
        (LoopFlags::PARTSCAN, 0),
    ] {
        set(flags, offset);
        assert_eq!(partitions(), 0, "{flags:?} at {offset}");
    }
}

#[test]
fn limits_on_a_file_and_on_a_device() {
    let kit = Kit::new();
    let file = kit.open(RW);
    kit.configure(&file, |_| ()).unwrap();
    let limits = file.device().limits();
    assert_eq!(limits.max_discard_sectors.0 * 512, 4294966784);
    assert_eq!(limits.max_write_zeroes_sectors.0 * 512, 4294966784);
    assert_eq!((limits.discard_granularity, limits.physical_block_size), (Bytes(4096), Bytes(512)));
    assert_eq!(
        (limits.max_sectors, limits.has_write_cache(), limits.has_fua()),
        (Sectors(2560), true, false)
    );
    kit.ioctl(&file, abi::LOOP_CLR_FD, 0).unwrap();
    drop(file);
    let file = kit.open(RW);
    kit.configure(&file, |c| c.fd = 5).unwrap();
    let limits = file.device().limits();
    assert_eq!((limits.discard_granularity, limits.max_discard_sectors), (Bytes(0), Sectors(0)));
    assert_eq!(kit.status(&file).unwrap().rdevice, 0x105);
    file.write_at(0, b"through", IoFlags::default()).unwrap();
    file.sync().unwrap();
    let mut buf = [0; 7];
    let ram5 = kit.registry.open(DevT::new(1, 5), RW).unwrap();
    ram5.read_at(0, &mut buf, IoFlags::default()).unwrap();
    assert_eq!(&buf, b"through");
}

#[test]
fn data_lands_in_the_file() {
    use std::os::unix::fs::FileExt;
    let kit = Kit::new();
    let file = kit.open(RW);
    kit.configure(&file, |c| c.info.offset = 4096).unwrap();
    let direct = IoFlags { is_direct: true, ..IoFlags::default() };
    file.write_at(512, &[7; 8192], direct).unwrap();
    let mut buf = [0; 8192];
    kit.file.read_exact_at(&mut buf, 4096 + 512).unwrap();
    assert_eq!(buf, [7; 8192]);
    file.fallocate(3, 512, 4096).unwrap();
    file.read_at(512, &mut buf, direct).unwrap();
    assert_eq!((buf[0], buf[4095], buf[4096]), (0, 0, 7));
    assert_eq!(file.device().stats().of(Op::Write).1, Sectors(16 + 8));
}

#[test]
fn clearing_waits_for_the_last_opener() {
    let kit = Kit::new();
    let mut seen = 0;
    let (a, b) = (kit.open(RW), kit.open(OpenMode::READ));
    kit.configure(&a, |_| ()).unwrap();
    kit.events(&mut seen);
    // It has another opener: only marked, and the mark can be taken back.
    assert_eq!(kit.ioctl(&b, abi::LOOP_CLR_FD, 0), Ok(0));
    assert_eq!(kit.status(&a).unwrap().flags, LoopFlags::AUTOCLEAR);
    kit.set_status(&b, LoopInfo64::default()).unwrap();
    drop((a, b));
    let a = kit.open(RW);
    assert_eq!(a.size(), SIZE);
    // Alone: gone for status and IO, but not yet unbound.
    assert_eq!(kit.ioctl(&a, abi::LOOP_CLR_FD, 0), Ok(0));
    assert_eq!(kit.status(&a), Err(Errno::ENXIO));
    assert_eq!(kit.ioctl(&a, abi::LOOP_CLR_FD, 0), Err(Errno::ENXIO));
    assert_eq!(a.size(), SIZE);
    assert_eq!(a.read_at(0, &mut [0; 512], IoFlags::default()), Err(Errno::EIO));
    assert_eq!(kit.configure(&a, |_| ()), Err(Errno::EBUSY));
    assert!(kit.events(&mut seen).is_empty());
    drop(a);
    assert_eq!(kit.events(&mut seen), ["change 3", "change DISK_MEDIA_CHANGE=1 3"]);
    let a = kit.open(RW);
    assert_eq!((a.size(), a.device().disk_seq()), (0, 4));
    assert!(a.device().limits().has_write_cache(), "limits stay as the last file left them");
    kit.configure(&a, |c| c.info.flags = LoopFlags::AUTOCLEAR).unwrap();
    drop(a);
    assert_eq!(kit.status(&kit.open(RW)), Err(Errno::ENXIO));
}

#[test]
fn a_tables_claim_keeps_it_bound() {
    let kit = Kit::new();
    let a = kit.open(RW);
    kit.configure(&a, |c| c.info.flags = LoopFlags::AUTOCLEAR).unwrap();
    let table = a.device().open(RW, Some(Holder::DeviceMapper)).unwrap();
    drop(a);
    assert_eq!(kit.open(RW).size(), SIZE);
    drop(table);
    assert_eq!(kit.open(RW).size(), 0);
}

#[test]
fn read_only_files_make_read_only_devices() {
    let kit = Kit::new();
    let mut seen = 0;
    let file = kit.open(RW);
    kit.configure(&file, |c| c.fd = 4).unwrap();
    assert_eq!(kit.status(&file).unwrap().flags, LoopFlags::READ_ONLY);
    assert!(!file.device().limits().has_write_cache());
    assert_eq!(file.write_at(0, &[0; 512], IoFlags::default()), Err(Errno::EPERM));
    kit.events(&mut seen);
    assert_eq!(kit.ioctl(&file, abi::LOOP_CHANGE_FD, 3), Ok(0));
    assert_eq!(kit.ioctl(&file, abi::LOOP_CHANGE_FD, 5), Err(Errno::EINVAL));
    assert_eq!(kit.events(&mut seen), ["change 4", "change 4"]);
    kit.ioctl(&file, abi::LOOP_CLR_FD, 0).unwrap();
    drop(file);
    // So does opening the device read-only.
    let file = kit.open(OpenMode::READ);
    kit.configure(&file, |_| ()).unwrap();
    assert_eq!(kit.status(&file).unwrap().flags, LoopFlags::READ_ONLY);
    assert!(file.device().is_read_only());
}

#[test]
fn the_old_struct() {
    let kit = Kit::new();
    let file = kit.open(RW);
    kit.configure(&file, |_| ()).unwrap();
    let process = Process(&kit);
    let mut memory = vec![0; LoopInfo::SIZE];
    file.ioctl(&process, abi::LOOP_GET_STATUS, 1, &mut memory).unwrap();
    let mut old = LoopInfo::decode(memory.as_slice().try_into().unwrap());
    old.offset = 4096;
    old.flags = 4;
    old.name[..3].copy_from_slice(b"old");
    file.ioctl(&process, abi::LOOP_SET_STATUS, 1, &mut old.encode().to_vec()).unwrap();
    let info = kit.status(&file).unwrap();
    assert_eq!(
        (info.offset, info.flags, &info.file_name[..4]),
        (4096, LoopFlags::AUTOCLEAR, b"old\0".as_slice())
    );
    old.offset = -4096;
    let refused = file.ioctl(&process, abi::LOOP_SET_STATUS, 1, &mut old.encode().to_vec());
    assert_eq!(refused, Err(Errno::EOVERFLOW));
    kit.set_status(&file, LoopInfo64 { offset: 1 << 32, ..LoopInfo64::default() }).unwrap();
    assert_eq!(file.ioctl(&process, abi::LOOP_GET_STATUS, 1, &mut memory), Err(Errno::EOVERFLOW));
}
