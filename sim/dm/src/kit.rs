//! What several targets need and none should write again. A piece comes in with its second user.
//!
//! | piece | the kernel's | users |
//! |---|---|---|
//! | [`LinearExtent`] | the arithmetic of `dm-linear.c` | every target that shows a device as it is |
//! | [`BioList`] | `struct bio_list` (`bio.h`) | mirror, multipath, the core |
//! | [`InFlight`] | counts of pending IO (`dm.c`, deferred sets of `dm-bio-prison-v1.c`) | the core, thin |
//! | [`Prison`] and its [`Cell`]s | `dm-bio-prison-v1.c` | thin; cache and clone have it too |
//! | [`TargetLog`] | `DM_MSG_PREFIX` and `DMERR` (`device-mapper.h`) | every target that logs |
//! | [`Worker`] and its [`Work`] | `struct work_struct` (`workqueue.h`) | mirror, thin |

mod bio_list;
mod in_flight;
mod linear_extent;
mod prison;
mod target_log;
mod worker;

pub use bio_list::BioList;
pub use in_flight::InFlight;
pub use linear_extent::LinearExtent;
pub use prison::{Cell, CellKey, Prison};
pub use target_log::TargetLog;
pub use worker::{Work, Worker};
