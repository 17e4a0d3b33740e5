//! A whole simulated kernel in one value: clock, block devices, mapped devices, log, events.
//!
//! ```
//! use dmlab_machine::{BootOptions, Machine};
//!
//! let machine = Machine::boot(BootOptions::default()).unwrap();
//! assert_eq!(machine.devices().len(), 8); // /dev/ram0 to /dev/ram7
//! ```
//!
//! A machine is a handle: clones are the same machine, and it ends with the last of them. This crate is the only
//! place that lists the targets.
#![forbid(unsafe_code)]

mod boot;
mod fault_points;
mod fork;
mod info;
mod parameters;
mod personality;
mod targets;

pub use boot::{BootError, BootOptions, Disk, DiskKind, RAM_DISK_MAX};
pub use dmlab_block::{
    BlkStatus, BlockDevice, BlockFile, Caller, CarriedMemory, DeviceBacking, Features, FileBacking, IoFlags,
    Kernel, LOOP_MAJOR, LoopAttributes, LoopBacking, LoopControl, OpenMode, PartitionNames, QueueLimits,
    UNLIMITED_SECTORS, UserMemory, read_async, write_async,
};
pub use dmlab_dm::{ControlFile, DeviceMapper, MappedDevice, SavedDevice, TargetType};

/// Rules of what is to go wrong, and what they struck.
pub mod faults {
    pub use dmlab_faults::*;

    /// The meanings that the built-in targets give their bios, in the order of the targets.
    pub fn meanings() -> Meanings {
        crate::fault_points::meanings(crate::TARGETS.iter().copied())
    }
}

/// What a target of one's own is written with; `docs/src/adding-a-target.md` explains it.
pub mod target {
    pub use dmlab_block::{Bio, BioFlags, BlkStatus, BlockDevice, End, Meaning, Op, QueueLimits};
    pub use dmlab_dm::kit;
    pub use dmlab_dm::{
        BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, IoctlRoute, Map, MessageResult,
        Messages, Module, ModuleParameter, OrRefuse, Saved, StatusKind, StatusResult, TableDevice, Target,
        TargetFeatures, TargetSettings, TargetType, follow, hear_end, refuse,
    };
}
/// Mistakes that tests plant in a machine.
#[doc(hidden)]
pub mod planted {
    pub use crate::targets::PLANTED;
    pub use dmlab_runtime::Planted;
}
pub use dmlab_runtime::{
    Driver, Instant, Interrupt, Interrupted, Klog, KlogLine, Level, Personality, Quirks, Rng, Runtime,
    Scheduler, Stalled, Stream, TaskId, TraceEvent, TracePoint, Uevent, UeventAction, Uevents, VirtualDriver,
    WakeFlag, interruptible,
};
pub use fork::{ForkError, Forked};
pub use info::{DeviceInfo, DmInfo, PartitionInfo};
pub use personality::{KernelVersion, UnknownKernel};
pub use targets::TARGETS;

use std::sync::Arc;

use dmlab_block::Registry;
use dmlab_faults::Injector;
use dmlab_units::{DevT, Errno};

/// A simulated kernel.
#[derive(Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Arc<Runtime>,
    registry: Arc<Registry>,
    mapper: Arc<DeviceMapper>,
    loops: LoopControl,
    faults: Arc<Injector>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Bios that a rule holds hold their devices.
        self.faults.shut_down();
        self.runtime.shut_down();
    }
}

impl Machine {
    /// The machine's executor, clock and log.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.inner.runtime
    }

    /// The machine's block devices.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    /// The machine's device mapper.
    pub fn mapper(&self) -> &Arc<DeviceMapper> {
        &self.inner.mapper
    }

    /// The machine's loop devices: `/dev/loop-control`.
    pub fn loops(&self) -> &LoopControl {
        &self.inner.loops
    }

    /// What is to go wrong: rules for bios, ioctls and events. A fork of the machine's disks begins without any, and may have
    /// these copied ([`Injector::copy_to`]).
    pub fn faults(&self) -> &Arc<Injector> {
        &self.inner.faults
    }

    /// Opens `/dev/mapper/control`.
    pub fn open_control(&self) -> ControlFile {
        ControlFile::open(&self.inner.mapper)
    }

    /// Opens a block device as a program does.
    ///
    /// # Errors
    /// ENXIO when there is no such device, EBUSY when another holds it exclusively.
    pub fn open_block(&self, dev: DevT, mode: OpenMode) -> Result<BlockFile, Errno> {
        self.inner.registry.open(dev, mode)
    }

    /// The kernel log.
    pub fn klog(&self) -> &Klog {
        self.inner.runtime.klog()
    }

    /// Events sent to user space.
    pub fn uevents(&self) -> &Uevents {
        self.inner.runtime.uevents()
    }
}
