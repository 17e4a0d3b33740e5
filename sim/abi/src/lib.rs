//! The bytes that cross the kernel boundary: `struct dm_ioctl` and what follows it, both ways, and the numbers of
//! the block device ioctls.
//!
//! Codec only: nothing here knows a device, a table or a log. The user side encodes requests and decodes replies, the
//! kernel side does the opposite, with the same types. Integers are little-endian (x86-64). Layouts:
//! kernel/dm-core.md#the-header-of-every-ioctl and what follows there.
//!
//! ```text
//! struct dm_ioctl   0 version[3]  12 data_size  16 data_start  20 target_count  24 open_count  28 flags
//!                  32 event_nr    36 padding    40 dev (u64)   48 name[128]    176 uuid[129]  305 data[7]   = 312
//! payload          at data_start, usually 312
//! ```
#![forbid(unsafe_code)]

mod block;
mod bytes;
mod command;
mod header;
mod loop_info;
mod payload;
mod spec;

pub use block::*;
pub use command::{Command, DM_IOCTL_TYPE, request_number};
pub use header::{Header, HeaderError, NAME_LEN, UUID_LEN};
pub use loop_info::{LoopConfig, LoopFlags, LoopInfo, LoopInfo64};
pub use payload::{
    Geometry, GeometryError, NameEntry, NamesWriter, PayloadError, TargetVersion, decode_deps, decode_names,
    decode_versions, encode_deps, encode_names, encode_versions, encode_versions_over, nul_terminated,
    versions_len,
};
pub use spec::{
    SPEC_SIZE, SpecError, StatusWriter, TargetSpec, TargetSpecs, decode_status, encode_load_payload,
};

/// Bytes of `struct dm_ioctl` with its padding: where payloads start.
pub const HEADER_SIZE: usize = 312;
/// Bytes of `struct dm_ioctl` before `data`: what is read and written when there is no payload.
pub const HEADER_MIN: usize = 305;
/// Most targets in one TABLE_LOAD (`DM_MAX_TARGETS`).
pub const MAX_TARGETS: u32 = 1_048_576;
/// Largest accepted `data_size` in bytes (`DM_MAX_TARGETS * DM_MAX_TARGET_PARAMS`).
pub const MAX_DATA_SIZE: u32 = 1 << 30;

bitflags::bitflags! {
    /// `flags` of `struct dm_ioctl`. Bits that have no name here travel unchanged.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DmFlags: u32 {
        /// In: load a read-only table. Out: the live disk is read-only.
        const READONLY = 1 << 0;
        /// In: suspend instead of resume. Out: the device is suspended.
        const SUSPEND = 1 << 1;
        /// Libdevmapper's own: it sets this bit and expects it back.
        const EXISTS = 1 << 2;
        /// DEV_CREATE: use the minor number in `dev`.
        const PERSISTENT_DEV = 1 << 3;
        /// TABLE_STATUS: table lines, not status lines.
        const STATUS_TABLE = 1 << 4;
        /// Out: there is a live table.
        const ACTIVE_PRESENT = 1 << 5;
        /// Out: there is an inactive table.
        const INACTIVE_PRESENT = 1 << 6;
        /// Out: the reply did not fit.
        const BUFFER_FULL = 1 << 8;
        /// Ignored since 2.6.
        const SKIP_BDGET = 1 << 9;
        /// Suspend without freezing the file system.
        const SKIP_LOCKFS = 1 << 10;
        /// Suspend without flushing; status without committing.
        const NOFLUSH = 1 << 11;
        /// Answer about the inactive table.
        const QUERY_INACTIVE_TABLE = 1 << 12;
        /// Out: a uevent was sent that the caller may wait for.
        const UEVENT_GENERATED = 1 << 13;
        /// DEV_RENAME: the new string is a uuid. LIST_DEVICES: add uuids.
        const UUID = 1 << 14;
        /// Wipe all buffers after use.
        const SECURE_DATA = 1 << 15;
        /// Out: a message produced text.
        const DATA_OUT = 1 << 16;
        /// In: remove when the last opener closes. Out: so marked.
        const DEFERRED_REMOVE = 1 << 17;
        /// Out: the device is suspended internally.
        const INTERNAL_SUSPEND = 1 << 18;
        /// TABLE_STATUS: measurement lines.
        const IMA_MEASUREMENT = 1 << 19;
        const _ = !0;
    }
}
