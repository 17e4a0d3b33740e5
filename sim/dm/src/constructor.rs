//! What a constructor is given, and what it answers.

use std::sync::{Arc, Weak};

use dmlab_block::{Caller, OpenMode};
use dmlab_runtime::Runtime;
use dmlab_units::{Errno, Sector, Sectors};

use crate::kit::{LinearExtent, TargetLog};
use crate::table::TableBuilder;
use crate::{Args, MappedDevice, TableDevice, TableEvents, Target};

/// What a constructor gives: an instance, or why not.
pub type CtrResult = Result<Box<dyn Target>, CtrError>;

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

/// Makes what is missing or went wrong the reason of a constructor's refusal.
pub trait OrRefuse<T> {
    /// The value, or a refusal with `text`: with the errno that there is, else with EINVAL.
    ///
    /// # Errors
    /// That refusal.
    fn or_refuse(self, text: &'static str) -> Result<T, CtrError>;
}

impl<T> OrRefuse<T> for Option<T> {
    fn or_refuse(self, text: &'static str) -> Result<T, CtrError> {
        self.ok_or(CtrError::invalid(text))
    }
}

impl<T> OrRefuse<T> for Result<T, Errno> {
    fn or_refuse(self, text: &'static str) -> Result<T, CtrError> {
        self.map_err(|errno| CtrError::new(errno, text))
    }
}

/// The form in which a target takes IO, which decides about the type of its table (kernel/dm-core.md#the-type-of-a-table).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
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
    /// The form in which the target takes IO.
    pub queue_type: QueueType,
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
    /// The table takes flushes whatever the devices below say.
    pub flush_supported: bool,
    /// The table takes discards whatever the devices below say.
    pub discards_supported: bool,
    /// Discards are cut at the table's largest discard.
    pub max_discard_granularity: bool,
    /// An empty flush may go straight to each device below, once, if every target of the table says so.
    pub flush_bypasses_map: bool,
}

impl Default for TargetSettings {
    /// What a target has that sets nothing: no flush, no range operations, cut only at its end.
    fn default() -> TargetSettings {
        TargetSettings {
            queue_type: QueueType::Bios,
            max_io_len: Sectors::ZERO,
            num_flush_bios: 0,
            num_discard_bios: 0,
            num_secure_erase_bios: 0,
            num_write_zeroes_bios: 0,
            flush_supported: false,
            discards_supported: false,
            max_discard_granularity: false,
            flush_bypasses_map: false,
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

    /// Opens the device that a word names, with a mode that need not be the table's.
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

    /// The target's lines of the kernel log: `device-mapper: PREFIX: TEXT`.
    pub fn log(&self, prefix: &'static str) -> TargetLog {
        TargetLog::new(self.runtime().clone(), prefix)
    }

    /// Reads `DEVICE OFFSET`: the stretch of a device that the whole line stands on. The offset is looked at before the
    /// device is opened (recorded: `linear/bad-args`).
    ///
    /// # Errors
    /// "Invalid device sector" and "Device lookup failed", as most targets say it.
    pub fn extent(&mut self, device: &[u8], offset: &[u8]) -> Result<LinearExtent, CtrError> {
        let offset = self.args.scan_u64(offset).or_refuse("Invalid device sector")?;
        let device = self.device(device).or_refuse("Device lookup failed")?;
        Ok(LinearExtent { device, offset: Sector(offset), start: self.start, len: self.len })
    }
}
