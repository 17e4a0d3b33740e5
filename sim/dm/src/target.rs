//! What a target is: the plug-in interface.
//!
//! A target has two halves. Its [`TargetType`] is one static value: name, version, features, constructor. Each line of
//! a table that names it makes one [`Target`]: an instance that maps bios. Only [`Target::map`] must be written; every
//! other method has a default that means "this target does not have it". `sim/targets/src/linear.rs` is the
//! worked example.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use dmlab_block::{Bio, BlkStatus, BlockDevice, Caller, End, OpenMode, QueueLimits};
use dmlab_runtime::{Level, Runtime};
use dmlab_units::{Errno, Sector, Sectors};

use crate::table::TableBuilder;
use crate::{Args, MappedDevice, Memory, TableDevice, TableEvents};

bitflags::bitflags! {
    /// Features of a target type, with the kernel's bits (kernel/dm-core.md#target-features).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TargetFeatures: u32 {
        /// It must be the only target of its table.
        const SINGLETON = 0x1;
        /// It may not stand in a read-only table.
        const ALWAYS_WRITEABLE = 0x2;
        /// Once live, only the same type (or a wildcard) may replace it.
        const IMMUTABLE = 0x4;
        /// It may replace an immutable target.
        const WILDCARD = 0x8;
        /// It keeps integrity data itself.
        const INTEGRITY = 0x10;
        /// It passes integrity data on.
        const PASSES_INTEGRITY = 0x20;
        /// It works on host-managed zoned devices.
        const ZONED_HM = 0x40;
        /// Its map never waits, so bios that may not wait are welcome.
        const NOWAIT = 0x80;
        /// It passes inline encryption on.
        const PASSES_CRYPTO = 0x100;
        /// It mixes zoned models.
        const MIXED_ZONED_MODEL = 0x200;
    }
}

/// Something that takes time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a constructor gives: an instance, or why not.
pub type Built = Result<Box<dyn Target>, CtrError>;

/// How a target type builds its instances.
#[derive(Clone, Copy)]
pub enum Constructor {
    /// At once.
    Now(fn(&mut Ctr<'_>) -> Built),
    /// With IO on the way: what reads its metadata while the table is being loaded.
    Waiting(for<'a> fn(&'a mut Ctr<'_>) -> Later<'a, Built>),
}

/// A kind of target: what `dmsetup targets` lists.
pub struct TargetType {
    /// Its name in table lines, at most 15 bytes.
    pub name: &'static str,
    /// Its version as Linux 6.12 shows it.
    pub version: [u32; 3],
    /// Its features.
    pub features: TargetFeatures,
    /// Builds an instance from a table line.
    pub ctr: Constructor,
}

/// Why a constructor refuses its line: the errno of the load, and the text of the kernel log
/// (`device-mapper: table: 254:0: linear: TEXT (-ERRNO)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtrError {
    /// What TABLE_LOAD returns.
    pub errno: Errno,
    /// What the log says.
    pub text: &'static str,
}

impl CtrError {
    /// A refusal.
    pub const fn new(errno: Errno, text: &'static str) -> CtrError {
        CtrError { errno, text }
    }

    /// A refusal with EINVAL, the usual one.
    pub const fn invalid(text: &'static str) -> CtrError {
        CtrError::new(Errno::EINVAL, text)
    }
}

/// In which form a target takes IO: what decides about the type of its table (kernel/dm-core.md#the-type-of-a-table).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    /// Bios: almost every target.
    #[default]
    Bios,
    /// Requests of a request queue, or bios where the table takes those: `error`.
    Either,
    /// Requests: `multipath`, unless it is told otherwise. Here they are bios like all others; what follows is how the
    /// table may be mixed, on what it may stand, and what may replace it.
    Requests,
}

/// How the core treats a target, set by its constructor.
#[derive(Clone, Copy, Debug)]
pub struct TargetSettings {
    /// In which form it takes IO.
    pub intake: Intake,
    /// Bios are cut at multiples of this, counted from the target's start; 0 = only at its end.
    pub max_io_len: Sectors,
    /// Clones of an empty flush; 0 = flushes pass it by.
    pub num_flush_bios: u32,
    /// Clones of a discard; 0 = not supported.
    pub num_discard_bios: u32,
    /// Clones of a secure erase; 0 = not supported.
    pub num_secure_erase_bios: u32,
    /// Clones of a write zeroes; 0 = not supported.
    pub num_write_zeroes_bios: u32,
    /// Its table takes flushes whatever the devices below say.
    pub flush_supported: bool,
    /// Its table takes discards whatever the devices below say.
    pub discards_supported: bool,
    /// Discards are cut at the table's largest discard.
    pub max_discard_granularity: bool,
    /// An empty flush may go straight to each device below, once, if every target of the table says so.
    pub flush_bypasses_map: bool,
    /// [`Target::end_io`] is to be called.
    pub wants_end_io: bool,
    /// [`Target::end_io`] may keep bios that failed and send them again. `map` gives them [`BioFlags::RETRY`].
    ///
    /// [`BioFlags::RETRY`]: dmlab_block::BioFlags::RETRY
    pub may_retry: bool,
}

impl Default for TargetSettings {
    /// What a target has that sets nothing: no flush, no range operations, cut only at its end.
    fn default() -> TargetSettings {
        TargetSettings {
            intake: Intake::Bios,
            max_io_len: Sectors::ZERO,
            num_flush_bios: 0,
            num_discard_bios: 0,
            num_secure_erase_bios: 0,
            num_write_zeroes_bios: 0,
            flush_supported: false,
            discards_supported: false,
            max_discard_granularity: false,
            flush_bypasses_map: false,
            wants_end_io: false,
            may_retry: false,
        }
    }
}

/// What a constructor gets: its line, and the means to open devices.
pub struct Ctr<'a> {
    /// First sector that the target will serve.
    pub start: Sector,
    /// How many sectors it will serve.
    pub len: Sectors,
    /// The words of its line after the type.
    pub args: Args,
    /// How the core shall treat it.
    pub settings: TargetSettings,
    pub(crate) table: &'a mut TableBuilder,
    pub(crate) caller: &'a dyn Caller,
}

impl Ctr<'_> {
    /// Opens the device that a word names, as `MAJOR:MINOR` or as a path, with the table's mode (`dm_get_device`).
    ///
    /// # Errors
    /// ENOENT, ENOTBLK, ENXIO, EOVERFLOW, EBUSY, or EINVAL for the mapped device itself (kernel/dm-core.md#opening-devices).
    pub fn device(&mut self, word: &[u8]) -> Result<TableDevice, Errno> {
        let mode = self.table.mode();
        self.device_with_mode(word, mode)
    }

    /// Opens a device as [`Ctr::device`] does, with another mode than the table's.
    ///
    /// # Errors
    /// As [`Ctr::device`].
    pub fn device_with_mode(&mut self, word: &[u8], mode: OpenMode) -> Result<TableDevice, Errno> {
        self.table.open_device(self.caller, word, mode)
    }

    /// The mode of the table.
    pub fn mode(&self) -> OpenMode {
        self.table.mode()
    }

    /// The device being built.
    pub fn dev(&self) -> dmlab_units::DevT {
        self.table.dev()
    }

    /// The machine's runtime.
    pub fn runtime(&self) -> &Arc<Runtime> {
        self.table.runtime()
    }

    /// The mapped device that the table is for.
    pub fn mapped_device(&self) -> Weak<MappedDevice> {
        self.table.mapped_device()
    }

    /// The machine's one value of type `T`, shared by all targets that ask for it.
    pub fn machine_state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.table.states().get()
    }

    /// What the target raises its events with.
    pub fn events(&self) -> TableEvents {
        self.table.events()
    }

    /// Logs `device-mapper: PREFIX: TEXT`.
    pub fn log(&self, level: Level, prefix: &str, text: impl std::fmt::Display) {
        self.runtime().log(level, format!("device-mapper: {prefix}: {text}"));
    }
}

/// What `map` did with a bio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Map {
    /// The bio now names another device: send it there (DM_MAPIO_REMAPPED).
    Remapped,
    /// The target took the bio, with [`Bio::take_owned`], and will end it (DM_MAPIO_SUBMITTED).
    Submitted,
    /// Nothing more to do: it ends so.
    Done(BlkStatus),
    /// Queue it until after the suspend that is under way; otherwise it fails (DM_MAPIO_REQUEUE).
    Requeue,
    /// It fails with an IO error (DM_MAPIO_KILL).
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

/// A stretch of a device that a target uses.
pub struct Area<'a> {
    /// The device.
    pub dev: &'a TableDevice,
    /// Where the stretch begins.
    pub start: Sector,
    /// How long it is.
    pub len: Sectors,
}

/// Where ioctls go that the block layer does not know.
pub enum IoctlRoute<'a> {
    /// Nowhere: the target passes none.
    Nowhere,
    /// To this device; freely only if the target covers all of it.
    To {
        /// The device.
        device: Arc<BlockDevice>,
        /// Whether the target covers all of it.
        is_whole: bool,
    },
    /// There is no way at the moment: the caller waits for this and asks again.
    Later(Later<'a, ()>),
    /// There is none, and none to be waited for.
    Failed(Errno),
}

/// What a target says to a message.
pub type MessageResult = Result<Option<String>, Errno>;

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

    /// Hears the end of a bio that `map` sent on, and may change its status or keep it; called only if the settings
    /// say so. `word` is what `map` left with [`Bio::set_layer_word`].
    ///
    /// A bio that is kept is only to be ended, unless it failed and the settings say `may_retry`: then it stands as it
    /// stood when `map` got it, and may be submitted again ([`Bio::rearm`]).
    fn end_io(&self, bio: &mut Bio<'_>, word: u64, status: BlkStatus) -> End {
        let _ = (bio, word);
        End::Done(status)
    }

    /// How much of a bio's head the target takes at once (`dm_accept_partial_bio`); asked before `map`.
    fn accept(&self, bio: &Bio<'_>) -> Sectors {
        bio.len()
    }

    /// A suspend begins; bios still come. With `noflush`, those that the target has queued may be given back.
    fn presuspend(&self, noflush: bool) -> Later<'_, ()> {
        let _ = noflush;
        Box::pin(async {})
    }

    /// The suspend that began was given up.
    fn presuspend_undo(&self) -> Later<'_, ()> {
        Box::pin(async {})
    }

    /// No bio is in flight any more, and none comes until `resume`.
    fn postsuspend(&self) -> Later<'_, ()> {
        Box::pin(async {})
    }

    /// A resume begins: the last chance to refuse.
    ///
    /// # Errors
    /// Leaves the device suspended; the errno of the ioctl.
    fn preresume(&self) -> Later<'_, Result<(), Errno>> {
        Box::pin(async { Ok(()) })
    }

    /// Bios will come again.
    fn resume(&self) -> Later<'_, ()> {
        Box::pin(async {})
    }

    /// Its table goes and the target is dropped after this: the last chance for what takes time (`dtr`). Called also for
    /// a table that never became live, or was refused because of a later line. Not called when the whole machine ends.
    fn destroy(&self) -> Later<'_, ()> {
        Box::pin(async {})
    }

    /// Called before each [`Target::status`], for what takes time: a commit, unless `noflush` says not to make one.
    fn prepare_status(&self, kind: StatusKind, noflush: bool) -> Later<'_, ()> {
        let _ = (kind, noflush);
        Box::pin(async {})
    }

    /// Writes its status, table or measurement line.
    fn status(&self, kind: StatusKind, out: &mut String) {
        let _ = (kind, out);
    }

    /// What it knows that neither its table line tells nor a disk holds: above all what messages have set. Asked while
    /// nothing is in flight, for the instance of the same line in a machine that is forked from this one.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// Knows what another instance of the same line knew, before it is first resumed.
    fn recall(&self, memory: &(dyn Any + Send + Sync)) {
        let _ = memory;
    }

    /// Whether it takes messages at all.
    fn has_messages(&self) -> bool {
        false
    }

    /// Takes a message. `Some` text is the answer.
    ///
    /// # Errors
    /// The errno of the ioctl.
    fn message<'a>(&'a self, words: &'a [Vec<u8>]) -> Later<'a, MessageResult> {
        let _ = words;
        Box::pin(async { Err(Errno::EINVAL) })
    }

    /// Answers a message, as [`Target::message`] does, of a target whose messages name devices: `caller` knows the paths
    /// ([`device_number`]).
    ///
    /// # Errors
    /// The errno of the ioctl.
    ///
    /// [`device_number`]: crate::device_number
    fn message_from<'a>(&'a self, words: &'a [Vec<u8>], caller: &'a dyn Caller) -> Later<'a, MessageResult> {
        let _ = caller;
        self.message(words)
    }

    /// The device that gets ioctls which the block layer doesn't know, and whether the target covers all of it.
    fn prepare_ioctl(&self) -> Option<(Arc<BlockDevice>, bool)> {
        None
    }

    /// Which device an ioctl is passed to, of a target that can't always tell: several paths, none of which may work. The
    /// call holds no lock of the mapped device.
    fn route_ioctl(&self) -> IoctlRoute<'_> {
        match self.prepare_ioctl() {
            Some((device, is_whole)) => IoctlRoute::To { device, is_whole },
            None => IoctlRoute::Nowhere,
        }
    }

    /// The stretches of devices that it uses (`iterate_devices`). `None`: it cannot say, as `zero`, which stands on
    /// nothing; that is not the same as an empty list.
    fn devices(&self) -> Option<Vec<Area<'_>>> {
        None
    }

    /// Adjusts the limits that its devices gave (`io_hints`).
    fn io_hints(&self, limits: &mut QueueLimits) {
        let _ = limits;
    }
}
