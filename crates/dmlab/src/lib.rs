//! A simulated Linux device mapper for tests: a [`Lab`] holds a machine on virtual time.
//!
//! ```
//! use dmlab::Lab;
//! use dmlab_control::{CreateOptions, LoadOptions, Striped, Table};
//! use dmlab_units::{DmName, Sector, Sectors};
//!
//! let lab = Lab::new(1);
//! let table = Table::new().then(Sectors(64), Striped::new(Sectors(8), [("/dev/ram0", Sector(0)), ("/dev/ram1", Sector(0))]));
//! lab.dm().create_with_table(&DmName::new("fast")?, &CreateOptions::default(), &table, LoadOptions::default())?;
//!
//! // Sector 8 is the first of the second chunk, so it lies at the start of the second stripe.
//! lab.write("/dev/mapper/fast", Sector(8), &[7; 512])?;
//! assert_eq!(lab.read("/dev/ram1", Sector(0), Sectors(1))?, [7; 512]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A refusal carries what the kernel logged:
//!
//! ```
//! # use dmlab::Lab;
//! # use dmlab_control::{CreateOptions, LoadOptions, Table};
//! # use dmlab_units::{DmName, Errno};
//! let table: Table = "0 8 linear /dev/ram0 x".parse()?;
//! let lab = Lab::new(1);
//! let error = lab.dm().create_with_table(&DmName::new("a")?, &CreateOptions::default(), &table, LoadOptions::default()).unwrap_err();
//! assert_eq!(error.errno(), Some(Errno::EINVAL));
//! assert_eq!(error.log()[0], "device-mapper: table: 254:0: linear: Invalid device sector (-EINVAL)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same seed gives the same bytes, the same log and the same times.
#![forbid(unsafe_code)]

mod caller;
pub mod crash;
mod pending;
mod transport;

pub use pending::PendingWrite;
pub use transport::InProcess;

// What a test that takes this crate needs to name.
pub use dmlab_control as control;
pub use dmlab_machine as machine;
pub use dmlab_units as units;

use caller::Insider;
use dmlab_control::Dm;
use dmlab_machine::{BlockFile, BootOptions, IoFlags, Machine, OpenMode, TargetType, VirtualDriver};
use dmlab_units::{DevT, Errno, SECTOR_SIZE, Sector, Sectors};
use std::sync::Arc;
use std::time::Duration;

/// A machine on virtual time, and what a test does with it.
pub struct Lab {
    machine: Machine,
    clock: Arc<VirtualDriver>,
}

impl Lab {
    /// Boots the reference machine: RAM disks `/dev/ram0` to `/dev/ram7` of 256 MiB, mapped devices with major 254.
    pub fn new(seed: u64) -> Lab {
        Lab::with_targets(seed, [])
    }

    /// The same with targets of one's own beside those of the kernel.
    ///
    /// # Panics
    /// When two targets have the same name.
    pub fn with_targets(seed: u64, targets: impl IntoIterator<Item = &'static TargetType>) -> Lab {
        let clock = VirtualDriver::new();
        let targets = targets.into_iter().collect();
        let options = BootOptions { seed, driver: clock.clone(), targets, ..BootOptions::default() };
        let machine = Machine::boot(options).expect("the reference machine boots");
        Lab { machine, clock }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A control node of its own on the machine's device mapper.
    pub fn dm(&self) -> Dm<InProcess> {
        Dm::new(InProcess::new(&self.machine))
    }

    /// The number of the device at `path`: `/dev/ram0`, `/dev/dm-3`, `/dev/mapper/NAME`, or `MAJOR:MINOR`.
    ///
    /// # Errors
    /// ENOENT when nothing is there.
    pub fn device(&self, path: &str) -> Result<DevT, Errno> {
        path.parse().or_else(|_| caller::lookup(&self.machine, path.as_bytes()))
    }

    /// Opens a device for reading and writing past the page cache; it counts as open until the file is dropped.
    ///
    /// # Errors
    /// ENOENT; ENXIO for a mapped device that never had a table.
    pub fn open(&self, path: &str) -> Result<BlockFile, Errno> {
        self.open_with(path, OpenMode::empty())
    }

    /// Opens a device and claims it (O_EXCL), as a mount does.
    ///
    /// # Errors
    /// As [`Lab::open`], and EBUSY when a table or somebody else holds it.
    pub fn open_exclusive(&self, path: &str) -> Result<BlockFile, Errno> {
        self.open_with(path, OpenMode::EXCLUSIVE)
    }

    fn open_with(&self, path: &str, mode: OpenMode) -> Result<BlockFile, Errno> {
        let mode = mode | OpenMode::READ | OpenMode::WRITE | OpenMode::DIRECT;
        self.machine.registry().open(self.device(path)?, mode)
    }

    /// Reads `len` sectors from `start` on, past the page cache. Shorter at the end of the device.
    ///
    /// # Errors
    /// As [`Lab::open`], and the device's error. EDEADLK when the read waits for something that can't happen any more,
    /// such as the resume of a device that nobody else is there to resume.
    pub fn read(&self, path: &str, start: Sector, len: Sectors) -> Result<Vec<u8>, Errno> {
        let bytes = len.to_bytes().and_then(|b| usize::try_from(b.0).ok()).ok_or(Errno::EINVAL)?;
        let mut buf = vec![0; bytes];
        let read = self.open(path)?.read_at(offset(start)?, &mut buf, DIRECT)?;
        buf.truncate(read);
        Ok(buf)
    }

    /// Writes whole sectors from `start` on, past the page cache.
    ///
    /// # Errors
    /// As [`Lab::read`]; EINVAL when `bytes` are no whole number of sectors; ENOSPC when not all of them fit.
    pub fn write(&self, path: &str, start: Sector, bytes: &[u8]) -> Result<(), Errno> {
        let written = self.open(path)?.write_at(offset(start)?, bytes, DIRECT)?;
        if written == bytes.len() { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// Begins a write of whole sectors and does not wait for its end.
    ///
    /// # Errors
    /// As [`Lab::open`]; EINVAL when `bytes` are no whole number of sectors.
    pub fn start_write(&self, path: &str, start: Sector, bytes: &[u8]) -> Result<PendingWrite, Errno> {
        if !(bytes.len() as u64).is_multiple_of(SECTOR_SIZE) {
            return Err(Errno::EINVAL);
        }
        Ok(PendingWrite::start(&self.machine, self.open(path)?, start, bytes))
    }

    /// The kernel log from the boot on, without time stamps.
    pub fn klog(&self) -> Vec<String> {
        self.machine.klog().since(0).into_iter().map(|line| line.text).collect()
    }

    /// Lets `span` of virtual time pass: every timer in it fires.
    pub fn advance(&self, span: Duration) {
        self.clock.advance(self.machine.runtime(), span);
    }

    /// Runs what the kernel has yet to do, such as delivering events, without letting time pass.
    pub fn settle(&self) {
        self.machine.runtime().run_until_idle();
    }

    /// Makes a device-mapper ioctl with these very bytes; `buf` is all the memory that the caller has.
    ///
    /// # Errors
    /// The errno of the system call.
    pub fn ioctl(&self, request: u32, buf: &mut Vec<u8>) -> Result<i32, Errno> {
        self.machine.open_control().ioctl(&Insider::new(&self.machine), request, buf)
    }

    /// The same from a process without CAP_SYS_ADMIN that inherited the open control node.
    ///
    /// # Errors
    /// EACCES, whatever the bytes are.
    pub fn ioctl_unprivileged(&self, request: u32, buf: &mut Vec<u8>) -> Result<i32, Errno> {
        self.machine.open_control().ioctl(&Insider::unprivileged(&self.machine), request, buf)
    }
}

const DIRECT: IoFlags =
    IoFlags { is_direct: true, is_nowait: false, is_dsync: false, address_bits: 0, length_bits: 0 };

fn offset(start: Sector) -> Result<u64, Errno> {
    start.to_bytes().map(|bytes| bytes.0).ok_or(Errno::EINVAL)
}
