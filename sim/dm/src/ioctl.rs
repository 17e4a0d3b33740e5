//! `/dev/mapper/control`: the way in (kernel/dm-core.md#the-path-of-a-command).
//!
//! Every command goes the same way: rights, version, size, copying in, checks of the struct, the command itself,
//! copying out. A failing command copies nothing back but the version.

mod create_remove;
mod hook;
mod message;
mod query;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dmlab_abi::{Command, DM_IOCTL_TYPE, DmFlags, HEADER_MIN, HEADER_SIZE, Header, MAX_DATA_SIZE};
use dmlab_block::{Caller, UserMemory};
use dmlab_runtime::{Level, Stalled};
use dmlab_units::Errno;

use crate::{DeviceMapper, MappedDevice};

pub use hook::{IoctlHook, IoctlSeen};

/// What a command that finds no live table for a message returns. Tools take it for success.
const NO_TABLE_FOR_MESSAGE: i32 = 2;
/// Step in which a request is copied in: a caller that claims a gigabyte must have it, a page at a time.
const COPY_STEP: usize = 1 << 20;

/// An open `/dev/mapper/control`.
pub struct ControlFile {
    mapper: Arc<DeviceMapper>,
    /// The global event number that a poll compares with.
    seen_event: AtomicU32,
}

/// One request on its way through a command.
struct Request<'a> {
    header: Header,
    /// The caller's buffer as copied in, header included.
    input: Vec<u8>,
    /// The answer's payload, which will stand at byte 312.
    payload: Option<Vec<u8>>,
    /// The command sets data_size to 0: nothing is copied back.
    is_silent: bool,
    caller: &'a dyn Caller,
}

impl Request<'_> {
    /// What the request's buffer holds where the answer's payload will stand.
    fn under(&self) -> &[u8] {
        self.input.get(HEADER_SIZE..).unwrap_or(&[])
    }

    /// Bytes that a payload may have.
    fn room(&self) -> usize {
        self.under().len()
    }

    fn flags(&self) -> DmFlags {
        self.header.flags()
    }

    fn has(&self, flag: DmFlags) -> bool {
        self.header.flags().contains(flag)
    }

    /// Answers with `payload`, or says that it doesn't fit.
    fn reply(&mut self, payload: Vec<u8>) {
        self.header.set_data_start(HEADER_SIZE as u32);
        if payload.len() > self.room() {
            self.buffer_full();
        } else {
            self.payload = Some(payload);
        }
    }

    fn buffer_full(&mut self) {
        self.header.set_flag(DmFlags::BUFFER_FULL, true);
    }
}

impl ControlFile {
    /// Opens the node; polls count from here.
    pub fn open(mapper: &Arc<DeviceMapper>) -> ControlFile {
        ControlFile { seen_event: AtomicU32::new(mapper.global_event().number()), mapper: mapper.clone() }
    }

    /// Whether a poll finds the node readable: an event happened since the open or the last DEV_ARM_POLL.
    pub fn poll_ready(&self) -> bool {
        let seen = self.seen_event.load(Ordering::Acquire);
        (self.mapper.global_event().number().wrapping_sub(seen) as i32) > 0
    }

    /// Ends when [`ControlFile::poll_ready`] holds.
    pub async fn ready(&self) {
        self.mapper.global_event().queue().until(|| self.poll_ready()).await;
    }

    /// Does an ioctl for a caller that blocks.
    ///
    /// # Errors
    /// The errno; the kernel log often says more. On virtual time a wait that can never end is EDEADLK.
    pub fn ioctl(
        &self,
        caller: &dyn Caller,
        request: u32,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno> {
        match self.mapper.runtime().block_on(self.ioctl_async(caller, request, memory)) {
            Ok(result) => result,
            Err(Stalled) => Err(Errno::EDEADLK),
        }
    }

    /// Does an ioctl.
    ///
    /// # Errors
    /// The errno; the kernel log often says more.
    pub async fn ioctl_async(
        &self,
        caller: &dyn Caller,
        request: u32,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno> {
        if !caller.is_admin() {
            return Err(Errno::EACCES);
        }
        let number = request as u8;
        if (request >> 8) as u8 != DM_IOCTL_TYPE {
            return Err(Errno::ENOTTY);
        }
        self.check_version(number, memory)?;
        if number == Command::Version as u8 {
            self.show(Command::Version, None, caller, false).await?;
            self.show(Command::Version, None, caller, true).await?;
            return Ok(0);
        }
        let Some(command) = Command::from_number(number) else {
            self.log(format_args!("dm_ctl_ioctl: unknown command {request:#x}"));
            return Err(Errno::ENOTTY);
        };
        let input = self.copy_in(command, memory)?;
        let mut header = Header::decode(&input).map_err(|_| Errno::EINVAL)?;
        if header.flags().contains(DmFlags::SECURE_DATA) {
            // As much as was read: of a command without parameters only the struct, whatever its size says
            // (recorded: `raw/ioctls`).
            wipe(memory, input.len())?;
        }
        for flag in [DmFlags::BUFFER_FULL, DmFlags::UEVENT_GENERATED, DmFlags::SECURE_DATA, DmFlags::DATA_OUT]
        {
            header.set_flag(flag, false);
        }
        self.check_names(command, &header)?;
        if !matches!(command, Command::RemoveAll | Command::ListDevices | Command::ListVersions) {
            header.terminate_strings();
        }
        self.show(command, Some(&header), caller, false).await?;
        header.set_version(self.mapper.runtime().personality().dm_version);
        header.set_data_size(HEADER_MIN as u32);
        // A device that the command removes or renames is known after it by what it was called before.
        let as_sent = self.mapper.ioctl_hook().is_some_and(|hook| hook.is_on()).then(|| header.clone());
        let mut request = Request { header, input, payload: None, is_silent: false, caller };
        let result = self.run(command, &mut request).await?;
        if command.issues_global_event() {
            self.mapper.global_event().raise();
        }
        if let Some(as_sent) = as_sent {
            self.show(command, Some(&as_sent), caller, true).await?;
        }
        if result == 0 && !request.is_silent {
            copy_out(request, memory)?;
        }
        Ok(result)
    }

    fn log(&self, text: std::fmt::Arguments<'_>) {
        self.mapper.runtime().log(Level::Err, format!("device-mapper: ioctl: {text}"));
    }

    /// Compares the caller's version with ours and writes ours back, match or not.
    fn check_version(&self, number: u8, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        let mut bytes = [0; 12];
        memory.read(0, &mut bytes)?;
        let part = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        let (major, minor, patch) = (part(0), part(4), part(8));
        let ours = self.mapper.runtime().personality().dm_version;
        let [our_major, our_minor, our_patch] = ours;
        let matches = major == our_major && minor <= our_minor;
        if !matches {
            self.log(format_args!(
                "ioctl interface mismatch: kernel({our_major}.{our_minor}.{our_patch}), \
                 user({major}.{minor}.{patch}), cmd({number})"
            ));
        }
        for (i, part) in ours.into_iter().enumerate() {
            bytes[4 * i..4 * i + 4].copy_from_slice(&part.to_le_bytes());
        }
        memory.write(0, &bytes)?;
        if matches { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn copy_in(&self, command: Command, memory: &mut dyn UserMemory) -> Result<Vec<u8>, Errno> {
        let mut input = vec![0; HEADER_MIN];
        memory.read(0, &mut input)?;
        let data_size = Header::decode(&input).map_err(|_| Errno::EINVAL)?.data_size();
        if (data_size as usize) < HEADER_MIN || data_size > MAX_DATA_SIZE {
            self.log(format_args!("Invalid data size in the ioctl structure: {data_size}"));
            return Err(Errno::EINVAL);
        }
        if command.has_no_params() {
            return Ok(input);
        }
        while input.len() < data_size as usize {
            let at = input.len();
            input.resize((data_size as usize).min(at + COPY_STEP), 0);
            memory.read(at, &mut input[at..])?;
        }
        Ok(input)
    }

    fn check_names(&self, command: Command, header: &Header) -> Result<(), Errno> {
        match command {
            Command::RemoveAll | Command::ListDevices | Command::ListVersions => Ok(()),
            Command::DevCreate if header.name().is_empty() => {
                self.log(format_args!("name not supplied when creating device"));
                Err(Errno::EINVAL)
            }
            Command::DevCreate => Ok(()),
            _ if !header.name().is_empty() && !header.uuid().is_empty() => {
                self.log(format_args!("only supply one of name or uuid, cmd({})", command as u8));
                Err(Errno::EINVAL)
            }
            _ => Ok(()),
        }
    }

    async fn run(&self, command: Command, request: &mut Request<'_>) -> Result<i32, Errno> {
        let done = match command {
            Command::Version => Ok(()),
            Command::RemoveAll => self.remove_all(request).await,
            Command::ListDevices => self.list_devices(request),
            Command::DevCreate => self.dev_create(request),
            Command::DevRemove => self.dev_remove(request).await,
            Command::DevRename => self.dev_rename(request),
            Command::DevSuspend if request.has(DmFlags::SUSPEND) => self.dev_suspend(request).await,
            Command::DevSuspend => self.dev_resume(request).await,
            Command::DevStatus => self.dev_status(request),
            Command::DevWait => self.dev_wait(request).await,
            Command::TableLoad => self.table_load(request).await,
            Command::TableClear => self.table_clear(request).await,
            Command::TableDeps => self.table_deps(request),
            Command::TableStatus => self.table_status(request).await,
            Command::ListVersions => self.list_versions(request),
            Command::TargetMsg => return self.target_message(request).await,
            Command::DevSetGeometry => self.set_geometry(request),
            Command::DevArmPoll => self.arm_poll(),
            Command::GetTargetVersion => self.target_version(request),
        };
        done.map(|()| 0)
    }

    fn arm_poll(&self) -> Result<(), Errno> {
        self.seen_event.store(self.mapper.global_event().number(), Ordering::Release);
        Ok(())
    }

    /// The device that a request names, by uuid, name or number (kernel/dm-core.md#looking-up-a-device). Writes its
    /// name, uuid and whether it has an inactive table into the request.
    fn find(&self, request: &mut Request<'_>) -> Result<Arc<MappedDevice>, Errno> {
        let header = &request.header;
        let (name, uuid, dev) = (header.name(), header.uuid(), header.dev_huge());
        let found = if !uuid.is_empty() {
            if !name.is_empty() || dev != 0 {
                let (name, uuid) = (String::from_utf8_lossy(name), String::from_utf8_lossy(uuid));
                self.log(format_args!("Invalid ioctl structure: uuid {uuid}, name {name}, dev {dev:x}"));
                return Err(Errno::ENXIO);
            }
            self.mapper.by_uuid(uuid)
        } else if !name.is_empty() {
            if dev != 0 {
                let name = String::from_utf8_lossy(name);
                self.log(format_args!("Invalid ioctl structure: name {name}, dev {dev:x}"));
                return Err(Errno::ENXIO);
            }
            self.mapper.by_name(name)
        } else {
            header.dev().and_then(|dev| self.mapper.by_dev(dev))
        };
        let device = found.ok_or(Errno::ENXIO)?;
        let names = device.names();
        // Both fit: they came in through the same fields.
        let _ = request.header.set_name(&names.name);
        let _ = request.header.set_uuid(names.uuid.as_deref().unwrap_or(b""));
        let has_inactive = device.inactive_table().is_some();
        request.header.set_flag(DmFlags::INACTIVE_PRESENT, has_inactive);
        Ok(device)
    }

    /// Fills in what every answer about a device says (kernel/dm-core.md#what-an-answer-says-of-a-device).
    fn fill_status(&self, device: &MappedDevice, request: &mut Request<'_>) {
        let asks_inactive = request.has(DmFlags::QUERY_INACTIVE_TABLE);
        let header = &mut request.header;
        let live = device.live_table();
        header.set_flag(DmFlags::SUSPEND, device.is_suspended());
        header.set_flag(DmFlags::INTERNAL_SUSPEND, device.is_suspended_internally());
        if device.is_deferred_remove.load(Ordering::Acquire) {
            header.set_flag(DmFlags::DEFERRED_REMOVE, true);
        }
        header.set_dev(Some(device.dev()));
        header.set_open_count(device.block().open_count() as i32);
        header.set_event_nr(device.events().number());
        header.set_flag(DmFlags::ACTIVE_PRESENT, live.is_some());
        let (count, read_only) = if asks_inactive {
            let inactive = device.inactive_table();
            (
                inactive.as_ref().map_or(0, |table| table.lines().len()),
                inactive.is_some_and(|table| table.is_read_only()),
            )
        } else {
            (live.map_or(0, |table| table.lines().len()), device.block().is_read_only())
        };
        header.set_target_count(count as u32);
        header.set_flag(DmFlags::READONLY, read_only);
    }
}

/// Zeroes the caller's whole buffer.
fn wipe(memory: &mut dyn UserMemory, len: usize) -> Result<(), Errno> {
    let zeros = vec![0; len.min(COPY_STEP)];
    let mut at = 0;
    while at < len {
        let step = (len - at).min(COPY_STEP);
        memory.write(at, &zeros[..step])?;
        at += step;
    }
    Ok(())
}

fn copy_out(mut request: Request<'_>, memory: &mut dyn UserMemory) -> Result<(), Errno> {
    let Some(payload) = request.payload.take() else {
        return memory.write(0, &request.header.as_bytes()[..HEADER_MIN]);
    };
    request.header.set_data_size((HEADER_SIZE + payload.len()) as u32);
    memory.write(0, request.header.as_bytes())?;
    memory.write(HEADER_SIZE, &payload)
}
