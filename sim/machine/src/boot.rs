//! What a machine has when it is booted.

use std::fs::File;
use std::sync::Arc;

use dmlab_block::{BlockDevice, DiskOps, FileDisk, LoopControl, MmapDisk, RamDisk, Registry, WriteCache};
use dmlab_dm::{DeviceMapper, TargetType};
use dmlab_runtime::{Driver, Quirks, Runtime, VirtualDriver};
use dmlab_units::{Bytes, DevT, Errno, Sectors};

use crate::fault_points::injector;
use crate::{Inner, KernelVersion, Machine};

/// Major number of RAM disks.
const RAM_MAJOR: u32 = 1;
/// Major number of disks in files: that of virtio disks, which they are named after.
const FILE_DISK_MAJOR: u32 = 253;
/// Minor numbers that a file disk takes, one for itself and the rest for its first partitions.
const FILE_DISK_MINORS: u32 = 16;

/// How a machine is booted.
pub struct BootOptions {
    /// Major number of mapped devices; 254 on the reference machine.
    pub dm_major: u32,
    /// How many RAM disks there are: `/dev/ram0` on.
    pub ram_disks: u32,
    /// Size of each RAM disk.
    pub ram_disk_size: Bytes,
    /// Further disks: `/dev/vda` on.
    pub disks: Vec<Disk>,
    /// Where every random number comes from.
    pub seed: u64,
    /// The kernel version that the machine is.
    pub kernel: KernelVersion,
    /// The driver that gives the machine its time; virtual time if not told otherwise.
    pub driver: Arc<dyn Driver>,
    /// Kinds of target besides the built-in ones.
    pub targets: Vec<&'static TargetType>,
    /// Parameters of modules with their values: `("dm_multipath.queue_if_no_path_timeout_secs", "60")`.
    pub parameters: Vec<(String, String)>,
}

impl Default for BootOptions {
    /// The reference machine: eight RAM disks of 256 MiB, dm major 254, virtual time, seed 0.
    fn default() -> BootOptions {
        BootOptions {
            dm_major: 254,
            ram_disks: 8,
            ram_disk_size: Bytes::mib(256),
            disks: Vec::new(),
            seed: 0,
            kernel: KernelVersion::default(),
            driver: VirtualDriver::new(),
            targets: Vec::new(),
            parameters: Vec::new(),
        }
    }
}

/// A disk besides the RAM disks.
pub struct Disk {
    /// What it is made of.
    pub kind: DiskKind,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// What a disk is made of.
pub enum DiskKind {
    /// A file of the host, read and written as it is.
    File(File),
    /// A file of the host, mapped into memory.
    Mmap(File),
    /// Memory behind a volatile write cache: it takes flushes and forced writes.
    VolatileRam(Bytes),
}

/// Largest RAM disk: what is kept of an empty one grows with its size.
pub const RAM_DISK_MAX: Bytes = Bytes(1 << 50);

/// Why a machine does not boot.
#[derive(Debug, PartialEq, Eq)]
pub enum BootError {
    /// A disk cannot be used.
    Disk {
        /// Which of the further disks, from 0.
        index: usize,
        /// What the host says.
        errno: Errno,
    },
    /// The size of the RAM disks is no whole number of sectors, or more than [`RAM_DISK_MAX`].
    RamDiskSize(Bytes),
    /// A number is taken: two drivers with one major, or more devices than minors.
    NumberTaken(DevT),
    /// Two kinds of target with one name.
    TargetTaken(&'static str),
    /// A parameter that there isn't, or a value that it can't have.
    Parameter {
        /// What was given.
        given: String,
        /// The parameters that there are.
        known: Vec<String>,
    },
}

impl std::fmt::Display for BootError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BootError::Disk { index, errno } => write!(f, "disk {index} cannot be used: {errno}"),
            BootError::RamDiskSize(size) => {
                write!(
                    f,
                    "a RAM disk of {} bytes is no whole number of 512-byte sectors, or more than 1 PiB",
                    size.0
                )
            }
            BootError::NumberTaken(dev) => write!(f, "device number {dev} is taken by another driver"),
            BootError::TargetTaken(name) => write!(f, "a target named {name} is there already"),
            BootError::Parameter { given, known } => {
                let known = known.join(", ");
                write!(f, "{given} is no parameter or has a value that it can't have; there is: {known}")
            }
        }
    }
}

impl std::error::Error for BootError {}

impl Machine {
    /// Boots a machine.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot(options: BootOptions) -> Result<Machine, BootError> {
        let personality = options.kernel.personality();
        let runtime = Runtime::with_personality(options.seed, options.driver.clone(), personality);
        let registry = Arc::new(Registry::new(runtime.clone()));
        let size = options.ram_disk_size;
        let sectors = ram_disk_sectors(size)?;
        for minor in 0..options.ram_disks {
            let disk = RamDisk::new(sectors, WriteCache::WriteThrough);
            let mut limits = disk.limits();
            if runtime.has(Quirks::RAM_DISKS_LACK_DISCARD) {
                limits.max_hw_discard_sectors = Sectors::ZERO;
                limits.max_discard_sectors = Sectors::ZERO;
                limits.discard_granularity = Bytes(0);
            }
            let dev = DevT::new(RAM_MAJOR, minor);
            add(&registry, dev, format!("ram{minor}"), Arc::new(disk), limits, sectors, false)?;
        }
        for (index, disk) in options.disks.into_iter().enumerate() {
            add_disk(&registry, index, disk)?;
        }
        let mapper = DeviceMapper::new(registry.clone(), options.dm_major);
        for kind in crate::TARGETS.iter().copied().chain(options.targets) {
            mapper.register(kind).map_err(|_| BootError::TargetTaken(kind.name))?;
        }
        let loops = LoopControl::new(registry.clone());
        let faults = injector(&runtime, &mapper);
        let machine = Machine { inner: Arc::new(Inner { runtime, registry, mapper, loops, faults }) };
        for (name, value) in options.parameters {
            let set = machine.set_parameter(&name, &value);
            set.map_err(|_| BootError::Parameter {
                given: format!("{name}={value}"),
                known: machine.parameters(),
            })?;
        }
        Ok(machine)
    }
}

fn ram_disk_sectors(size: Bytes) -> Result<Sectors, BootError> {
    size.sectors_exact().filter(|_| size <= RAM_DISK_MAX).ok_or(BootError::RamDiskSize(size))
}

fn add_disk(registry: &Arc<Registry>, index: usize, disk: Disk) -> Result<(), BootError> {
    let refused = |errno| BootError::Disk { index, errno };
    let dev = DevT::new(FILE_DISK_MAJOR, index as u32 * FILE_DISK_MINORS);
    let name = disk_name(index);
    let read_only = disk.read_only;
    match disk.kind {
        DiskKind::File(file) => {
            let disk = FileDisk::new(file, read_only).map_err(refused)?;
            let (limits, size) = (disk.limits(), disk.capacity());
            add(registry, dev, name, Arc::new(disk), limits, size, read_only)
        }
        DiskKind::Mmap(file) => {
            let disk = MmapDisk::new(&file).map_err(refused)?;
            let (limits, size) = (disk.limits(), disk.capacity());
            add(registry, dev, name, Arc::new(disk), limits, size, read_only)
        }
        DiskKind::VolatileRam(size) => {
            let size = ram_disk_sectors(size)?;
            let disk = RamDisk::new(size, WriteCache::Volatile);
            let limits = disk.limits();
            add(registry, dev, name, Arc::new(disk), limits, size, read_only)
        }
    }
}

fn add(
    registry: &Arc<Registry>,
    dev: DevT,
    name: String,
    ops: Arc<dyn DiskOps>,
    limits: dmlab_block::QueueLimits,
    size: Sectors,
    read_only: bool,
) -> Result<(), BootError> {
    let runtime = registry.runtime().clone();
    let block = BlockDevice::new(dev, name, registry.next_disk_seq(), runtime, ops, limits);
    block.set_capacity(size);
    block.set_read_only(read_only);
    registry.add(block.clone()).map_err(|_| BootError::NumberTaken(dev))?;
    // A disk that can't be read is there all the same, and the log says so.
    let _has_none = registry.scan_partitions(&block);
    Ok(())
}

/// `vda` to `vdz`, then `vdaa` on.
fn disk_name(index: usize) -> String {
    let mut letters = Vec::new();
    let mut left = index + 1;
    while left > 0 {
        left -= 1;
        letters.push(b'a' + (left % 26) as u8);
        left /= 26;
    }
    letters.reverse();
    format!("vd{}", String::from_utf8_lossy(&letters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_lettered() {
        let names: Vec<_> = [0, 25, 26, 701, 702].map(disk_name).into();
        assert_eq!(names, ["vda", "vdz", "vdaa", "vdzz", "vdaaa"]);
    }

    #[test]
    fn a_machine_boots_with_its_log() {
        let machine = Machine::boot(BootOptions::default()).unwrap();
        let log: Vec<String> = machine.klog().since(0).into_iter().map(|line| line.text).collect();
        assert_eq!(
            log[2],
            "device-mapper: ioctl: 4.48.0-ioctl (2023-03-01) initialised: dm-devel@lists.linux.dev"
        );
        let odd = BootOptions { ram_disk_size: Bytes(1000), ..BootOptions::default() };
        assert_eq!(Machine::boot(odd).err(), Some(BootError::RamDiskSize(Bytes(1000))));
        let vast = BootOptions { ram_disk_size: Bytes(1 << 51), ..BootOptions::default() };
        assert_eq!(Machine::boot(vast).err(), Some(BootError::RamDiskSize(Bytes(1 << 51))));
    }
}
