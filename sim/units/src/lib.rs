//! Units of the block layer and names of the device mapper, as types.
//!
//! A bare integer never says whether it counts bytes, sectors or blocks. Here each is a type of its own:
//! a [`Sector`] is a place on a device, [`Sectors`] a length, [`Bytes`] a length or an offset in bytes.
//! Place ± length = place, place − place = length, and nothing else adds up.
#![forbid(unsafe_code)]

mod block;
mod devt;
mod errno;
mod length;
mod name;

pub use block::{DataBlock, MetaBlock, ThinBlock, ThinId};
pub use devt::{DevT, ParseDevTError};
pub use errno::Errno;
pub use length::{Bytes, SECTOR_SHIFT, SECTOR_SIZE, Sector, Sectors};
pub use name::{DM_NAME_MAX, DM_UUID_MAX, DmName, DmUuid, NameError, TARGET_TYPE_MAX, TargetName};
