//! The device mapper: mapped devices, their tables, the ioctls that drive them, and the life of a bio in them.
//!
//! A **mapped device** is a block device made of others. Its **live table** says which **target** serves which
//! sectors; a second, **inactive table** can be loaded beside it and takes its place at the next resume. All of it is
//! driven through one node, `/dev/mapper/control`, here [`ControlFile`].
//!
//! Start reading at [`Target`], the plug-in interface, and then at `live.rs`, the way of a bio.
#![forbid(unsafe_code)]

mod args;
mod constructor;
mod device_mapper;
mod dm_io;
mod events;
mod io_state;
mod ioctl;
pub mod kcopyd;
pub mod kit;
mod limits;
mod live;
mod mapped_device;
mod module;
mod saved;
mod stats;
mod suspend;
mod table;
mod table_type;
mod target;

pub use args::{Args, parse_u32_strict, parse_u64_strict, scan_u32, scan_u64, split_args};
pub use constructor::{Ctr, CtrError, CtrResult, OrRefuse, QueueType, TargetSettings};
pub use device_mapper::{DeviceMapper, Minor};
pub use dm_io::{DeviceRange, MAX_REGIONS, run_all, submit_all};
pub use events::{EventCounter, TableEvents};
pub use ioctl::{ControlFile, IoctlHook, IoctlSeen};
pub use live::{follow, hear_end, refuse};
pub use mapped_device::{MappedDevice, Names, QueueMode};
pub use module::{Module, ModuleParameter};
pub use saved::{Saved, SavedDevice};
pub use suspend::SuspendFlags;
pub use table::{
    MachineStates, SharedDevice, SharedDevices, Table, TableBuilder, TableDevice, TableEntry, device_number,
};
pub use target::{
    BoxFuture, Constructor, IoctlRoute, Map, MessageResult, Messages, StatusKind, StatusResult, Target,
    TargetFeatures, TargetType,
};
