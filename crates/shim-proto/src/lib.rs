//! Messages between the preload library and the server, and the layout of the memory they share.
//!
//! A channel is a unix socket (`SOCK_SEQPACKET`) and one shared area. A call is one [`Header`] and a payload in the area;
//! the answer is one [`Reply`] and a payload in the same place. The socket only carries descriptors and wakes the side
//! that sleeps, so a program that dies closes its channel whatever it was doing.
//!
//! Everything here is plain bytes: decoders check every length and never panic.
#![forbid(unsafe_code)]

pub mod admin;
mod areas;
pub mod front;
mod hosts;
mod ioctls;
mod layout;
mod message;
mod program;
mod reply;
mod semaphores;

pub use areas::{Area, SIMULATED, area};
pub use hosts::{Retold, host_dev_shows, is_modules, retold, tells_of_host_disks};
pub use ioctls::{DM_HEADER_LEN, DM_IOCTL_TYPE, IoctlShape, STAGING_LIMIT, ioctl_shape};
pub use layout::{
    ALLOW_HOST, AREA_LEN, CANCEL, CLIENT_SLEEPS, CLOCK_FILE, CLOCK_LEN, DATA_LEN, DATA_OFFSET, GONE,
    GONE_DIR, HEADER_OFFSET, LAYER_CHANGED, LAYER_DIR, MIRROR_DIR, ON_SOCKET, ON_TURN, OWNERS_DIR,
    REPLY_OFFSET, SERVER_SLEEPS, SOCKET_NAME, TURN, TURN_CLIENT, TURN_REPLY, TURN_SERVER, WAIT_AND_ASK, WAKE,
    stand_in_mode,
};
pub use message::{Encode, HEADER_LEN, Header, Malformed, PROTOCOL};
pub use program::{Program, Unserved, judge};
pub use reply::{FileKind, Place, REPLY_LEN, Reply, STAT_LEN, Stat};
pub use semaphores::{NO_LIMIT, SemaphoreOperation, SemaphoreStatus, semaphore_commands, semaphore_limits};
