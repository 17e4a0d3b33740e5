//! What a target is: the plug-in interface.
//!
//! A target has two halves. Its [`TargetType`] is one static value: name, version, features, constructor. Each line of
//! a table that names it makes one [`Target`]: an instance that maps bios. Only [`Target::map`] must be written; every
//! other method has a default that means "this target does not have it". `sim/targets/basic/src/linear.rs` is the
//! worked example.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use dmlab_block::{Bio, BlkStatus, BlockDevice, Caller, End, QueueLimits};
use dmlab_units::{Errno, Sectors};

use crate::{Ctr, CtrResult, DeviceRange, Module, Saved};

bitflags::bitflags! {
    /// Features of a target type, with the kernel's bits (kernel/dm-core.md#target-features).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TargetFeatures: u32 {
        /// The target must be the only one of its table.
        const SINGLETON = 0x1;
        /// The target may not stand in a read-only table.
        const ALWAYS_WRITEABLE = 0x2;
        /// Once live, only the same type (or a wildcard) may replace it.
        const IMMUTABLE = 0x4;
        /// The target may replace an immutable one.
        const WILDCARD = 0x8;
        /// The target keeps integrity data itself.
        const INTEGRITY = 0x10;
        /// The target passes integrity data on.
        const PASSES_INTEGRITY = 0x20;
        /// The target works on host-managed zoned devices.
        const ZONED_HM = 0x40;
        /// The target's map never waits, so bios that may not wait are welcome.
        const NOWAIT = 0x80;
        /// The target passes inline encryption on.
        const PASSES_CRYPTO = 0x100;
        /// The target mixes zoned models.
        const MIXED_ZONED_MODEL = 0x200;
    }
}

/// A future that owns what it needs, boxed: what a method gives that may have to wait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a target type builds its instances.
#[derive(Clone, Copy)]
pub enum Constructor {
    /// At once.
    Now(fn(&mut Ctr<'_>) -> CtrResult),
    /// With IO on the way: what reads its metadata while the table is being loaded.
    Waiting(for<'a> fn(&'a mut Ctr<'_>) -> BoxFuture<'a, CtrResult>),
}

/// A kind of target: what `dmsetup targets` lists.
pub struct TargetType {
    /// The name of the type in table lines, at most 15 bytes.
    pub name: &'static str,
    /// The version of the type as Linux 6.12 shows it.
    pub version: [u32; 3],
    /// The features of the type.
    pub features: TargetFeatures,
    /// Builds an instance from a table line.
    pub ctr: Constructor,
    /// The module that the kernel has the type in.
    pub module: &'static Module,
}

/// What `map` did with a bio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Map {
    /// The bio now names another device: send it there (DM_MAPIO_REMAPPED). The target does not hear of its end.
    Remapped,
    /// The bio now names another device, and [`Target::end_io`] is called with this word when the bio has ended: the
    /// target's data for this bio (`per_bio_data`).
    RemappedAndHear(u64),
    /// The bio now names another device, `end_io` hears its end, as with `RemappedAndHear`, and may keep a bio that
    /// failed and send it again. `map` must have given it [`BioFlags::RETRY`](dmlab_block::BioFlags::RETRY).
    RemappedMayRetry(u64),
    /// The target took the bio, with [`Bio::take_owned`], and will end it or send it on (DM_MAPIO_SUBMITTED); one whose end
    /// it wants to hear then goes through [`hear_end`](crate::hear_end).
    Submitted,
    /// Nothing more to do: it ends so.
    Done(BlkStatus),
    /// Queue it until after the suspend that is under way; otherwise it fails (DM_MAPIO_REQUEUE).
    Requeue,
    /// The bio fails with an IO error (DM_MAPIO_KILL).
    Kill,
}

/// Which line STATUS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKind {
    /// The status line.
    Info,
    /// The table line, as it could be loaded again.
    Table,
    /// The measurement line.
    Ima,
}

/// Where ioctls go that the block layer does not know.
pub enum IoctlRoute<'a> {
    /// Nowhere: the target passes none.
    Nowhere,
    /// Ioctls go to this device; freely only if the target covers all of it.
    To {
        /// The device.
        device: Arc<BlockDevice>,
        /// Whether the target covers all of it.
        is_whole: bool,
    },
    /// There is no device for them at the moment: the caller waits for this and asks again.
    Wait(BoxFuture<'a, ()>),
    /// There is no device for them, and none to be waited for: the ioctl fails with this error.
    Failed(Errno),
}

/// What a target says to a message.
pub type MessageResult = Result<Option<String>, Errno>;

/// How a target takes messages ([`Target::messages`]).
pub trait Messages: Send + Sync {
    /// Takes a message, word by word. `Some` text is the answer. `caller` knows the paths of devices that the words name
    /// ([`device_number`](crate::device_number)).
    ///
    /// # Errors
    /// The errno of the ioctl.
    fn message<'a>(&'a self, words: &'a [Vec<u8>], caller: &'a dyn Caller) -> BoxFuture<'a, MessageResult>;
}

/// How a status line is written: at once, or after something that takes time, such as a commit.
pub enum StatusResult<'a> {
    /// The status is written.
    Now(fmt::Result),
    /// The status is written when this ends.
    Waiting(BoxFuture<'a, fmt::Result>),
    /// The target writes nothing, not even an empty line: the caller finds what its own buffer held there, as Linux has it
    /// (recorded: `differ/found/unstriped-status`).
    Unwritten,
}

impl From<fmt::Result> for StatusResult<'_> {
    fn from(written: fmt::Result) -> Self {
        StatusResult::Now(written)
    }
}

/// What serves one line of a table.
///
/// The core calls `map`, `end_io` and `devices` from any thread and at the same time; the others one at a time, under
/// the lock of the mapped device. The order of a life: constructor, resume, any number of (suspend, resume), suspend,
/// destroy, drop.
pub trait Target: Send + Sync {
    /// Decides where a bio goes. It lies within the target and, after the core's cutting, within `max_io_len`;
    /// `bio.sector` counts from the start of the mapped device.
    ///
    /// Must not block. A bio that has to wait is taken and given to a task.
    fn map(&self, bio: &mut Bio<'_>) -> Map;

    /// Hears the end of a bio that `map` sent on with [`Map::RemappedAndHear`], and may change its status or keep it.
    /// `bio_data` is the word that `map` gave.
    ///
    /// A bio that is kept is only to be ended, unless it failed and was sent on with [`Map::RemappedMayRetry`]: then it
    /// stands as it stood when `map` got it, and may be submitted again ([`Bio::rearm`]).
    fn end_io(&self, bio: &mut Bio<'_>, bio_data: u64, status: BlkStatus) -> End {
        let _ = (bio, bio_data);
        End::Done(status)
    }

    /// How much of a bio's head the target takes at once (`dm_accept_partial_bio`); asked before `map`.
    fn accept(&self, bio: &Bio<'_>) -> Sectors {
        bio.len()
    }

    /// A suspend begins; bios still come. With `noflush`, those that the target has queued may be given back.
    fn presuspend(&self, noflush: bool) -> BoxFuture<'_, ()> {
        let _ = noflush;
        Box::pin(async {})
    }

    /// The suspend that began was given up.
    fn presuspend_undo(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// No bio is in flight any more, and none comes until `resume`.
    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// A resume begins: the last chance to refuse.
    ///
    /// # Errors
    /// Leaves the device suspended; the errno of the ioctl.
    fn preresume(&self) -> BoxFuture<'_, Result<(), Errno>> {
        Box::pin(async { Ok(()) })
    }

    /// The device is about to resume: bios will come again.
    fn resume(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// The table goes and the target is dropped after this: the last chance for what takes time (`dtr`). Called also for
    /// a table that never became live, or was refused because of a later line. Not called when the whole machine ends.
    fn destroy(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Writes its status, table or measurement line to `out`. With `noflush`, nothing is committed for it first. The head
    /// of a measurement (`target_name=NAME,target_version=VERSION`) is the core's, if the target writes anything.
    fn status<'a>(&'a self, kind: StatusKind, noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let _ = (kind, noflush, out);
        StatusResult::Now(Ok(()))
    }

    /// What it knows that neither its table line tells nor a disk holds: above all what messages have set. Asked while
    /// nothing is in flight, for the instance of the same line in a machine that is forked from this one.
    fn save(&self) -> Option<Saved> {
        None
    }

    /// Takes over what another instance of the same line knew, before it is first resumed.
    fn restore(&self, saved: &Saved) {
        let _ = saved;
    }

    /// How it takes messages. `None`: it takes none.
    fn messages(&self) -> Option<&dyn Messages> {
        None
    }

    /// Where ioctls go that the block layer doesn't know. Called without the lock of the mapped device.
    fn route_ioctl(&self) -> IoctlRoute<'_> {
        IoctlRoute::Nowhere
    }

    /// The ranges of devices that it uses (`iterate_devices`). `None`: it cannot say, as `zero`, which stands on
    /// nothing; that is not the same as an empty list.
    fn devices(&self) -> Option<Vec<DeviceRange>> {
        None
    }

    /// Adjusts the limits that its devices gave (`io_hints`).
    fn io_hints(&self, limits: &mut QueueLimits) {
        let _ = limits;
    }
}
