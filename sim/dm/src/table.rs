//! Tables: which target serves which sectors.

use std::any::Any;
use std::sync::{Arc, Weak};

use dmlab_block::{BlockDevice, Caller, Holder, OpenDevice, OpenMode, Registry};
use dmlab_runtime::{Level, Personality, Quirks, Runtime};
use dmlab_units::{DevT, Errno, ParseDevTError, Sector, Sectors};
use parking_lot::Mutex;

use crate::events::EventTarget;
use crate::{
    Args, Constructor, Ctr, CtrError, MappedDevice, QueueMode, StatusKind, StatusResult, TableEvents, Target,
    TargetFeatures, TargetSettings, TargetType, split_args,
};

/// Largest end of a target: `LLONG_MAX >> 9` sectors, and exactly that is allowed (recorded: `core/huge-sizes`).
const MAX_END: u64 = (i64::MAX >> 9) as u64;

/// A device that tables of one mapped device use, opened once for all of them.
pub struct SharedDevice {
    opened: OpenDevice,
    holder: DevT,
}

impl SharedDevice {
    /// The device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        self.opened.device()
    }

    /// The number of the device.
    pub fn dev(&self) -> DevT {
        self.opened.device().dev()
    }
}

impl Drop for SharedDevice {
    fn drop(&mut self) {
        self.opened.device().remove_holder(self.holder);
    }
}

/// A device that a target has opened through its table. Dropping the last one closes it.
pub type TableDevice = Arc<SharedDevice>;

/// Devices opened by the tables of one mapped device: one open for each (device, mode), however many tables use it.
#[derive(Default)]
pub struct SharedDevices {
    open: Mutex<Vec<(DevT, OpenMode, Weak<SharedDevice>)>>,
}

impl SharedDevices {
    fn get(&self, device: &Arc<BlockDevice>, mode: OpenMode, holder: DevT) -> Result<TableDevice, Errno> {
        let mut open = self.open.lock();
        open.retain(|(_, _, shared)| shared.strong_count() > 0);
        let same =
            |(dev, other, _): &&(DevT, OpenMode, Weak<SharedDevice>)| *dev == device.dev() && *other == mode;
        if let Some(shared) = open.iter().find(same).and_then(|(_, _, shared)| shared.upgrade()) {
            return Ok(shared);
        }
        let opened = device.open(mode, Some(Holder::DeviceMapper))?;
        device.add_holder(holder);
        let shared = Arc::new(SharedDevice { opened, holder });
        open.push((device.dev(), mode, Arc::downgrade(&shared)));
        Ok(shared)
    }
}

/// What targets of one kind share within a machine: pools by their device, snapshots by their origin. In a kernel
/// these are the target module's global variables.
#[derive(Default)]
pub struct MachineStates {
    states: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
}

impl MachineStates {
    /// The machine's one value of type `T`, made at the first asking.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut states = self.states.lock();
        if let Some(found) = states.iter().find_map(|state| state.clone().downcast::<T>().ok()) {
            return found;
        }
        let made = Arc::new(T::default());
        states.push(made.clone());
        made
    }
}

/// One line of a table with the target that serves it.
pub struct TableEntry {
    /// First sector of the mapped device that it serves.
    pub start: Sector,
    /// How many sectors it serves.
    pub len: Sectors,
    /// The kind of its target.
    pub kind: &'static TargetType,
    /// How the core treats it.
    pub settings: TargetSettings,
    /// The target.
    pub target: Box<dyn Target>,
}

impl TableEntry {
    /// The sector after its last.
    pub fn end(&self) -> Sector {
        self.start + self.len
    }

    /// The status, table or measurement line of its target; `None` when the target leaves the caller's buffer as it is.
    pub async fn status(&self, kind: StatusKind, noflush: bool, personality: &Personality) -> Option<String> {
        let mut text = String::new();
        let written = match self.target.status(kind, noflush, &mut text) {
            StatusResult::Now(written) => written,
            StatusResult::Waiting(written) => written.await,
            StatusResult::Unwritten => return None,
        };
        // A String takes whatever is written; a target that gives up all the same has written what there is.
        debug_assert_eq!(written, Ok(()), "{}", self.kind.name);
        if kind == StatusKind::Ima && !text.is_empty() {
            let [major, minor, patch] = personality.target_version(self.kind.name, self.kind.version);
            text = format!("target_name={},target_version={major}.{minor}.{patch},{text}", self.kind.name);
        }
        Some(text)
    }
}

/// A complete table.
pub struct Table {
    lines: Vec<TableEntry>,
    devices: Vec<TableDevice>,
    mode: OpenMode,
    events: TableEvents,
    flush_bypasses_map: bool,
    queue_mode: QueueMode,
}

impl Table {
    /// The table's lines in order of their sectors, without gaps, from 0 on.
    pub fn lines(&self) -> &[TableEntry] {
        &self.lines
    }

    /// Size of the device it makes.
    pub fn size(&self) -> Sectors {
        self.lines.last().map_or(Sectors::ZERO, |line| Sectors(line.end().0))
    }

    /// The line that serves `sector`.
    pub fn find(&self, sector: Sector) -> Option<usize> {
        // Most tables have one line.
        if let [only] = &self.lines[..] {
            return (sector < only.end()).then_some(0);
        }
        let i = self.lines.partition_point(|line| line.end() <= sector);
        (i < self.lines.len()).then_some(i)
    }

    /// The devices it uses, in order of first appearance.
    pub fn devices(&self) -> &[TableDevice] {
        &self.devices
    }

    /// Whether it was loaded read-only.
    pub fn is_read_only(&self) -> bool {
        !self.mode.contains(OpenMode::WRITE)
    }

    /// The type that only itself may replace, if the table has one.
    pub fn immutable_type(&self) -> Option<&'static TargetType> {
        let first = self.lines.first()?.kind;
        first.features.contains(TargetFeatures::IMMUTABLE).then_some(first)
    }

    /// Whether a wildcard target is among its lines.
    pub fn has_wildcard(&self) -> bool {
        self.lines.iter().any(|line| line.kind.features.contains(TargetFeatures::WILDCARD))
    }

    /// Whether each line can name its devices and there are none at all: `error`, but not `zero`.
    pub fn has_no_data_devices(&self) -> bool {
        self.lines.iter().all(|line| line.target.devices().is_some_and(|ranges| ranges.is_empty()))
    }

    /// Whether an empty flush may go straight to the devices.
    pub fn flush_bypasses_map(&self) -> bool {
        self.flush_bypasses_map
    }

    /// Destroys the targets in their order, before it is dropped for good.
    pub async fn destroy(&self) {
        for line in &self.lines {
            line.target.destroy().await;
        }
    }

    /// The form in which its device takes IO.
    pub fn queue_mode(&self) -> QueueMode {
        self.queue_mode
    }

    /// Raises an event of the table.
    pub fn raise_event(&self) {
        self.events.raise();
    }

    pub(crate) fn bind_events(&self, target: &Arc<EventTarget>) {
        self.events.bind(target);
    }

    pub(crate) fn unbind_events(&self) {
        self.events.unbind();
    }
}

/// The number of the device that a word of a table or message names, as `MAJOR:MINOR` or as a path
/// (`dm_devt_from_path`). Whether there is a device with that number is another question.
///
/// # Errors
/// EOVERFLOW for a number too large; those of the path: ENOENT, ENOTBLK, EACCES. On some kernels all of these are ENODEV,
/// and hex numbers are devices ([`Quirks::LOOKUP_TAKES_HEX_NUMBERS`]).
pub fn device_number(caller: &dyn Caller, word: &[u8], personality: &Personality) -> Result<DevT, Errno> {
    match std::str::from_utf8(word).map(str::parse::<DevT>) {
        Ok(Ok(number)) => Ok(number),
        Ok(Err(ParseDevTError::TooLarge)) => Err(Errno::EOVERFLOW),
        Ok(Err(ParseDevTError::NotANumber)) | Err(_) => match caller.lookup_bdev(word) {
            Err(_) if personality.has(Quirks::LOOKUP_TAKES_HEX_NUMBERS) => {
                hex_number(word).ok_or(Errno::ENODEV)
            }
            found => found,
        },
    }
}

/// The device number that a word of hex digits, perhaps behind `0x`, is, in the form of `st_rdev`: the lower 8 bits of the minor number, 12 bits of
/// the major number, the rest of the minor number. Of more than 32 bits the lower ones count; 0 is none (recorded: `linear/random-tables` of
/// Linux 6.1).
fn hex_number(word: &[u8]) -> Option<DevT> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let prefix = word.strip_prefix(b"0x").or_else(|| word.strip_prefix(b"0X"));
    let wrapping = prefix
        .unwrap_or(word)
        .iter()
        .try_fold(0u64, |n, b| Some(n.wrapping_mul(16).wrapping_add(u64::from(digit(b)?))));
    let number = wrapping.map(|n| n as u32).filter(|number| *number != 0)?;
    Some(DevT::new((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00)))
}

/// A table while it is being loaded, line by line.
pub struct TableBuilder {
    dev: DevT,
    mapped_device: Weak<MappedDevice>,
    registry: Arc<Registry>,
    shared: Arc<SharedDevices>,
    mode: OpenMode,
    lines: Vec<TableEntry>,
    devices: Vec<(DevT, OpenMode, TableDevice)>,
    events: TableEvents,
    states: Arc<MachineStates>,
    /// The first line's type, when it wants to be alone.
    singleton: Option<&'static TargetType>,
}

impl TableBuilder {
    /// An empty table for `device`.
    pub fn new(device: &Arc<MappedDevice>, states: Arc<MachineStates>, read_only: bool) -> TableBuilder {
        let mode = if read_only { OpenMode::READ } else { OpenMode::READ | OpenMode::WRITE };
        TableBuilder {
            dev: device.dev(),
            mapped_device: Arc::downgrade(device),
            registry: device.registry.clone(),
            shared: device.shared.clone(),
            mode,
            lines: Vec::new(),
            devices: Vec::new(),
            events: TableEvents::default(),
            states,
            singleton: None,
        }
    }

    pub(crate) fn mapped_device(&self) -> Weak<MappedDevice> {
        self.mapped_device.clone()
    }

    pub(crate) fn mode(&self) -> OpenMode {
        self.mode
    }

    pub(crate) fn dev(&self) -> DevT {
        self.dev
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        self.registry.runtime()
    }

    pub(crate) fn states(&self) -> &MachineStates {
        &self.states
    }

    pub(crate) fn events(&self) -> TableEvents {
        self.events.clone()
    }

    fn refuse(&self, text: impl std::fmt::Display) -> Errno {
        self.runtime().log(Level::Err, format!("device-mapper: table: {}: {text}", self.dev));
        Errno::EINVAL
    }

    fn refuse_target(&self, kind: &str, text: &str, errno: Errno) -> Errno {
        let name = errno.name().unwrap_or("EINVAL");
        self.refuse(format_args!("{kind}: {text} (-{name})"));
        errno
    }

    /// Adds a line, with the checks and the log lines of kernel/dm-core.md#adding-a-target in their order.
    ///
    /// # Errors
    /// The errno of TABLE_LOAD; the log says why.
    pub async fn add(
        &mut self,
        caller: &dyn Caller,
        find_type: impl Fn(&[u8]) -> Option<&'static TargetType>,
        start: Sector,
        len: Sectors,
        kind: &[u8],
        params: &[u8],
    ) -> Result<(), Errno> {
        if let Some(first) = self.singleton {
            return Err(self.refuse(format_args!("target type {} must appear alone in table", first.name)));
        }
        if len.is_zero() {
            return Err(self.refuse("zero-length target"));
        }
        if start.checked_add(len).is_none_or(|end| end.0 > MAX_END) {
            return Err(self.refuse("too large device"));
        }
        let Some(kind) = find_type(kind) else {
            let name = String::from_utf8_lossy(kind);
            return Err(self.refuse(format_args!("{name}: unknown target type")));
        };
        let refused = |this: &Self, text: &str| Err(this.refuse_target(kind.name, text, Errno::EINVAL));
        if kind.features.contains(TargetFeatures::SINGLETON) {
            if !self.lines.is_empty() {
                return refused(self, "singleton target type must appear alone in table");
            }
            self.singleton = Some(kind);
        }
        if kind.features.contains(TargetFeatures::ALWAYS_WRITEABLE) && !self.mode.contains(OpenMode::WRITE) {
            return refused(self, "target type may not be included in a read-only table");
        }
        let is_immutable = kind.features.contains(TargetFeatures::IMMUTABLE);
        if let Some(first) = self.lines.first()
            && (is_immutable || first.kind.features.contains(TargetFeatures::IMMUTABLE))
            && !std::ptr::eq(first.kind, kind)
        {
            return refused(self, "immutable target type cannot be mixed with other target types");
        }
        let end_before = self.lines.last().map_or(Sector::ZERO, TableEntry::end);
        if start != end_before {
            return refused(self, "Gap in table");
        }
        let args = Args::new(split_args(params), self.runtime().personality());
        let mut ctr =
            Ctr { start, len, args, settings: TargetSettings::default(), table: &mut *self, caller };
        let built = match kind.ctr {
            Constructor::Now(build) => build(&mut ctr),
            Constructor::Waiting(build) => build(&mut ctr).await,
        };
        let settings = ctr.settings;
        match built {
            Ok(target) => {
                if settings.discards_supported && settings.num_discard_bios == 0 {
                    let text = "ignoring discards_supported because num_discard_bios is zero.";
                    let line = format!("device-mapper: table: {}: {}: {text}", self.dev, kind.name);
                    self.runtime().log(Level::Warning, line);
                }
                self.lines.push(TableEntry { start, len, kind, settings, target });
                Ok(())
            }
            Err(CtrError { errno, text }) => Err(self.refuse_target(kind.name, text, errno)),
        }
    }

    /// Abandons a table of which a line was refused: destroys the targets before it.
    pub async fn abandon(self) {
        for line in &self.lines {
            line.target.destroy().await;
        }
    }

    /// The form in which a device of this table takes IO.
    ///
    /// # Errors
    /// EINVAL when its lines don't go together; the log says why.
    pub fn queue_mode(&self, device: &MappedDevice) -> Result<QueueMode, Errno> {
        let devices: Vec<TableDevice> = self.devices.iter().map(|(_, _, device)| device.clone()).collect();
        self.determine_type(device, &self.lines, &devices)
    }

    /// The table as it stands, taking IO in the form that [`TableBuilder::queue_mode`] found.
    pub fn finish(self, queue_mode: QueueMode) -> Table {
        let flush_bypasses_map = self.lines.iter().all(|line| line.settings.flush_bypasses_map);
        Table {
            lines: self.lines,
            devices: self.devices.into_iter().map(|(_, _, device)| device).collect(),
            mode: self.mode,
            events: self.events,
            flush_bypasses_map,
            queue_mode,
        }
    }

    pub(crate) fn open_device(
        &mut self,
        caller: &dyn Caller,
        word: &[u8],
        mode: OpenMode,
    ) -> Result<TableDevice, Errno> {
        let number = device_number(caller, word, self.runtime().personality())?;
        if number == self.dev && !self.runtime().has(Quirks::SELF_REFERENCE_ALLOWED) {
            return Err(Errno::EINVAL);
        }
        if let Some((_, opened, device)) = self.devices.iter_mut().find(|(dev, _, _)| *dev == number) {
            // A wider mode opens it again for both.
            if !opened.contains(mode) {
                let union = *opened | mode;
                *device = self.shared.get(&device.device().clone(), union, self.dev)?;
                *opened = union;
            }
            return Ok(device.clone());
        }
        let device = self.registry.get(number).ok_or(Errno::ENXIO)?;
        let shared = self.shared.get(&device, mode, self.dev)?;
        self.devices.push((number, mode, shared.clone()));
        Ok(shared)
    }
}
