//! One ioctl: its request as bytes, sent until the answer fits, and the answer.

use crate::DeviceId;
use crate::error::{Error, Refusal};
use crate::transport::Transport;
use dmlab_abi::{Command, DmFlags, HEADER_SIZE, Header, HeaderError, MAX_DATA_SIZE};

/// Room for a reply's payload before the first try, header included: what libdm 1.02.185 sends.
const BUFFER_SIZE: usize = 16 * 1024;

/// A device-mapper command on its way to the kernel.
///
/// [`Dm`](crate::Dm) makes these; tests make odd ones of their own.
#[derive(Clone, Debug)]
pub struct Request {
    command: Command,
    header: Header,
    payload: Vec<u8>,
    /// What the command is about, for messages.
    device: String,
}

impl Request {
    /// A request without device, flags or payload.
    pub fn new(command: Command) -> Request {
        let header = Header::request(version(command), HEADER_SIZE as u32, DmFlags::empty());
        Request { command, header, payload: Vec::new(), device: String::new() }
    }

    /// Names the device.
    ///
    /// # Errors
    /// When a name does not fit; the types of [`DeviceId`] rule that out.
    pub fn on(mut self, device: &DeviceId) -> Result<Request, HeaderError> {
        match device {
            DeviceId::Name(name) => self.header.set_name(name.as_bytes())?,
            DeviceId::Uuid(uuid) => self.header.set_uuid(uuid.as_bytes())?,
            DeviceId::Dev(dev) => self.header.set_dev(Some(*dev)),
        }
        self.device = device.to_string();
        Ok(self)
    }

    /// Says what messages call the device, in place of what it was named by.
    pub fn called(mut self, label: String) -> Request {
        self.device = label;
        self
    }

    /// Sets flags in addition to those set before.
    pub fn with_flags(mut self, flags: DmFlags) -> Request {
        self.header.set_flags(self.header.flags() | flags);
        self
    }

    /// Sets `flag` if `on`.
    pub fn with_flag_if(self, flag: DmFlags, on: bool) -> Request {
        if on { self.with_flags(flag) } else { self }
    }

    /// Gives the bytes that follow the struct.
    pub fn with_payload(mut self, payload: Vec<u8>) -> Request {
        self.payload = payload;
        self
    }

    /// The struct, to set what has no method here.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// Whether a reply that did not fit is asked for again in a larger buffer; the commands for which libdm does.
    fn grows(&self) -> bool {
        matches!(
            self.command,
            Command::ListDevices
                | Command::ListVersions
                | Command::GetTargetVersion
                | Command::TableDeps
                | Command::TableStatus
                | Command::DevWait
                | Command::TargetMsg
        )
    }

    /// Sends the request, again with twice the room while the reply says BUFFER_FULL.
    ///
    /// # Errors
    /// [`Error::Refused`] with the errno and log lines, [`Error::Transport`], or [`Error::TooLarge`].
    pub fn send(mut self, transport: &mut (impl Transport + ?Sized)) -> Result<Reply, Error> {
        let needed = HEADER_SIZE + self.payload.len();
        let mut size = if self.grows() { needed.max(BUFFER_SIZE) } else { needed };
        loop {
            // A size that does not fit the field is beyond what the kernel takes anyway: it answers EINVAL.
            self.header.set_data_size(u32::try_from(size).unwrap_or(u32::MAX));
            let mut buf = Vec::with_capacity(size);
            buf.extend_from_slice(self.header.as_bytes());
            buf.extend_from_slice(&self.payload);
            buf.resize(size, 0);
            let position = transport.log_position();
            let code = transport.ioctl(self.command.request(), &mut buf)?.map_err(|errno| {
                let log = position.map(|p| transport.log_since(p)).unwrap_or_default();
                Box::new(Refusal {
                    command: words(self.command, &self.header),
                    device: self.device.clone(),
                    errno,
                    log,
                })
            })?;
            let header = Header::decode(&buf)?;
            if !self.grows() || !header.flags().contains(DmFlags::BUFFER_FULL) {
                return Ok(Reply { code, header, buf });
            }
            size *= 2;
            if size > MAX_DATA_SIZE as usize {
                return Err(Error::TooLarge { command: self.command.name(), bytes: size / 2 });
            }
        }
    }
}

/// What the kernel answered.
#[derive(Clone, Debug)]
pub struct Reply {
    code: i32,
    header: Header,
    buf: Vec<u8>,
}

impl Reply {
    /// The system call's return value: 0, or what a message handler returned.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The struct as it came back.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The valid bytes behind the struct; empty when there are none.
    pub fn payload(&self) -> &[u8] {
        let (start, end) = (self.header.data_start() as usize, self.header.data_size() as usize);
        self.buf.get(start..end.min(self.buf.len())).unwrap_or_default()
    }
}

/// The interface version a command asks for: the one it came with, so that older kernels take the others.
fn version(command: Command) -> [u32; 3] {
    match command {
        Command::ListVersions => [4, 1, 0],
        Command::TargetMsg => [4, 2, 0],
        Command::DevSetGeometry => [4, 6, 0],
        Command::DevArmPoll => [4, 36, 0],
        Command::GetTargetVersion => [4, 41, 0],
        _ => [4, 0, 0],
    }
}

/// What dmsetup calls the command in its messages.
fn words(command: Command, header: &Header) -> &'static str {
    match command {
        Command::Version => "version",
        Command::RemoveAll => "remove_all",
        Command::ListDevices => "names",
        Command::DevCreate => "create",
        Command::DevRemove => "remove",
        Command::DevRename => "rename",
        Command::DevSuspend if header.flags().contains(DmFlags::SUSPEND) => "suspend",
        Command::DevSuspend => "resume",
        Command::DevStatus => "info",
        Command::DevWait => "waitevent",
        Command::TableLoad => "reload",
        Command::TableClear => "clear",
        Command::TableDeps => "deps",
        Command::TableStatus if header.flags().contains(DmFlags::STATUS_TABLE) => "table",
        Command::TableStatus => "status",
        Command::ListVersions => "versions",
        Command::TargetMsg => "message",
        Command::DevSetGeometry => "setgeometry",
        Command::DevArmPoll => "armpoll",
        Command::GetTargetVersion => "target-version",
    }
}
