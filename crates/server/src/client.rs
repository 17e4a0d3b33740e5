//! The client's side of a channel, for dmlab's own commands against a machine that runs elsewhere.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use dmlab_shim_proto as proto;
use dmlab_units::Errno;
use proto::{DATA_LEN, Encode, FileKind, Reply, SOCKET_NAME};
use proto::{admin, front::Request};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::front::{receive, send};
use crate::rundir;
use crate::shared::Area;

const O_DIRECT: i32 = 0o40_000;

/// A block device of the machine, as [`Client::devices`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLine {
    /// `dm-0`, `ram3`.
    pub name: String,
    /// `MAJOR:MINOR`.
    pub number: String,
    /// 512-byte sectors.
    pub sectors: u64,
    /// Whether it may only be read.
    pub read_only: bool,
    /// The name of a mapped device.
    pub dm_name: Option<String>,
}

/// A connection to a machine.
pub struct Client {
    socket: OwnedFd,
    area: Area,
}

fn connect_socket(path: &Path) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Whether a server listens at a socket.
pub(crate) fn knock(path: &Path) -> io::Result<()> {
    connect_socket(path).map(|_| ())
}

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

impl Client {
    /// Connects to a machine by its name, or by the path of its socket.
    ///
    /// # Errors
    /// When none of that name runs.
    pub fn connect(machine: &str) -> io::Result<Client> {
        let path = if machine.contains('/') {
            PathBuf::from(machine)
        } else {
            rundir::named(machine)?.join(SOCKET_NAME)
        };
        let socket = connect_socket(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => io::Error::new(
                error.kind(),
                format!("no machine {machine:?} runs: `dmlab machines` lists those that do, `dmlab boot {machine}` starts it"),
            ),
            _ => error,
        })?;
        let memory = loop {
            match receive(&socket) {
                Ok(Some(Some(fd))) => break fd,
                Ok(Some(None)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return Err(other(format!("the machine {machine:?} refused the connection"))),
                Err(error) => return Err(error.into()),
            }
        };
        let mut client = Client { socket, area: Area::map(&memory)? };
        client.call(&Request::Hello { protocol: proto::PROTOCOL })?.map_err(|_| {
            other(format!(
                "the machine {machine:?} was started by another version of dmlab: halt it and boot it again"
            ))
        })?;
        Ok(client)
    }

    /// The process that serves the machine; `None` where it lives in another pid namespace.
    pub fn server_pid(&self) -> Option<i32> {
        let peer = nix::sys::socket::getsockopt(&self.socket, nix::sys::socket::sockopt::PeerCredentials);
        peer.ok().map(|peer| peer.pid()).filter(|pid| *pid > 0)
    }

    /// Does one call.
    fn call(&mut self, request: &impl Encode) -> io::Result<Result<(Reply, Option<OwnedFd>), Errno>> {
        let header = request
            .encode(self.area.data())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the request is longer than 1 MiB"))?;
        self.area.set_header(header.to_bytes());
        if self.area.give_turn(proto::TURN_SERVER, proto::SERVER_SLEEPS) {
            send(&self.socket, None)?;
        }
        let mut came = None;
        while !self.area.about_to_sleep(proto::CLIENT_SLEEPS, proto::TURN_REPLY) {
            self.hear(&mut came)?;
            let is_awake =
                self.area.word(proto::CLIENT_SLEEPS).load(std::sync::atomic::Ordering::SeqCst) == 0;
            if is_awake && self.area.turn() == proto::TURN_REPLY {
                break;
            }
        }
        let reply = Reply::from_bytes(&self.area.reply())
            .ok_or_else(|| other("the machine's answer makes no sense"))?;
        while reply.with_fd && came.is_none() {
            self.hear(&mut came)?;
        }
        Ok(match Errno::from_raw(i32::try_from(-reply.value).unwrap_or(0)) {
            Some(errno) => Err(errno),
            None => Ok((reply, came)),
        })
    }

    fn hear(&self, came: &mut Option<OwnedFd>) -> io::Result<()> {
        match receive(&self.socket) {
            Ok(Some(fd)) => {
                *came = fd.or(came.take());
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Ok(None) => Err(other("the machine went away")),
            Err(error) => Err(error.into()),
        }
    }

    fn simple(&mut self, request: &impl Encode) -> io::Result<(Reply, Option<OwnedFd>)> {
        self.call(request)?.map_err(|errno| io::Error::from_raw_os_error(errno.raw()))
    }

    fn payload(&mut self, reply: &Reply) -> Vec<u8> {
        self.area.data()[..reply.len as usize].to_vec()
    }

    /// One DM ioctl. `buffer` is the whole `struct dm_ioctl` with its payload, and becomes the answer.
    ///
    /// # Errors
    /// The outer error: the machine could not be asked. The inner one is its answer.
    pub fn dm_ioctl(&mut self, request: u32, buffer: &mut Vec<u8>) -> io::Result<Result<i32, Errno>> {
        let (reply, _) = self.simple(&admin::Request::DmIoctl { cmd: request, data: buffer })?;
        let begin = reply.extra as usize;
        let mut answer = self.payload(&reply);
        while (answer.len() as u64) < reply.total {
            let rest = (reply.total - answer.len() as u64).min(DATA_LEN as u64) as u32;
            let (piece, _) = self.simple(&Request::Fetch { offset: answer.len() as u64, len: rest })?;
            answer.extend(self.payload(&piece));
        }
        let place =
            buffer.get_mut(begin..begin + answer.len()).ok_or_else(|| other("the answer does not fit"))?;
        place.copy_from_slice(&answer);
        Ok(match Errno::from_raw((reply.value >> 32) as i32) {
            Some(errno) => Err(errno),
            None => Ok(reply.value as i32),
        })
    }

    /// Kernel log lines from number `from` on, and the number to ask from next time.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn klog_since(&mut self, from: u64) -> io::Result<(Vec<String>, u64)> {
        let (reply, _) = self.simple(&admin::Request::Klog { from })?;
        Ok((self.lines(&reply), reply.value as u64))
    }

    /// Uevents after number `from`, and the number to ask from next time.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn uevents_since(&mut self, from: u64) -> io::Result<(Vec<String>, u64)> {
        let (reply, _) = self.simple(&admin::Request::Uevents { from })?;
        let text = String::from_utf8_lossy(&self.payload(&reply)).into_owned();
        let events = text.split("\n\n").filter(|event| !event.is_empty()).map(str::to_owned).collect();
        Ok((events, reply.value as u64))
    }

    fn lines(&mut self, reply: &Reply) -> Vec<String> {
        String::from_utf8_lossy(&self.payload(reply)).lines().map(str::to_owned).collect()
    }

    /// Asks something of the machine's faults: a verb of `dmlab fault` and its words.
    ///
    /// # Errors
    /// What is wrong with the words, and when the machine is gone.
    pub fn faults(&mut self, verb: &str, words: &[String]) -> io::Result<Vec<String>> {
        let command =
            std::iter::once(verb).chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join("\0");
        let (mut lines, mut from) = (Vec::new(), 0);
        loop {
            let (reply, _) = self.simple(&admin::Request::Faults { from, command: command.as_bytes() })?;
            let text = self.lines(&reply);
            if reply.extra == 1 {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text.join("\n")));
            }
            lines.extend(text);
            // One answer holds what fits a message.
            match reply.value as u64 {
                0 => return Ok(lines),
                next => from = next,
            }
        }
    }

    /// The release of the machine's kernel: `6.12.95`.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn release(&mut self) -> io::Result<String> {
        let (reply, _) = self.simple(&admin::Request::Release {})?;
        Ok(String::from_utf8_lossy(&self.payload(&reply)).into_owned())
    }

    /// The machine's block devices.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn devices(&mut self) -> io::Result<Vec<DeviceLine>> {
        let (reply, _) = self.simple(&admin::Request::Devices {})?;
        let parse = |line: &String| {
            let mut fields = line.splitn(5, ' ');
            Some(DeviceLine {
                name: fields.next()?.to_owned(),
                number: fields.next()?.to_owned(),
                sectors: fields.next()?.parse().ok()?,
                read_only: fields.next()? == "ro",
                dm_name: fields.next().filter(|name| *name != "-").map(str::to_owned),
            })
        };
        Ok(self.lines(&reply).iter().filter_map(parse).collect())
    }

    fn open(&mut self, path: &str, flags: i32) -> io::Result<(u64, OwnedFd)> {
        let (reply, fd) = self.simple(&Request::Open { flags, mode: 0, path: path.as_bytes() })?;
        match (reply.kind, fd) {
            (FileKind::Block, Some(fd)) => Ok((reply.extra, fd)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path} is no block device of the machine"),
            )),
        }
    }

    /// Fills `into` from byte `offset` of the device at `path`. Returns how much of it there was.
    ///
    /// # Errors
    /// As `open` and `pread`.
    pub fn read_block(&mut self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        // Past the page cache, which may hold what the device held before a write below it. Where that takes larger
        // blocks than were asked for, the cache has to do.
        match self.read_open(path, O_DIRECT, offset, into) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL.raw()) => {
                self.read_open(path, 0, offset, into)
            }
            other => other,
        }
    }

    fn read_open(&mut self, path: &str, flags: i32, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let (file, _open) = self.open(path, flags)?;
        // Alignment of memory is the preload library's to report; ours is the shared area.
        let (addresses, lengths) = (0, into.len() as u64);
        let mut done = 0;
        while done < into.len() {
            let len = (into.len() - done).min(DATA_LEN);
            let pos = (offset + done as u64) as i64;
            let (reply, _) =
                self.simple(&Request::Read { file, pos, len: len as u32, flags: 0, addresses, lengths })?;
            let got = (reply.value as usize).min(len);
            into[done..done + got].copy_from_slice(&self.area.data()[..got]);
            done += got;
            if got < len {
                break;
            }
        }
        Ok(done)
    }

    /// Writes `from` at byte `offset` of the device at `path`, and makes it durable.
    ///
    /// # Errors
    /// As `open`, `pwrite` and `fsync`.
    pub fn write_block(&mut self, path: &str, offset: u64, from: &[u8]) -> io::Result<()> {
        let (file, _open) = self.open(path, 1)?;
        let mut done = 0;
        while done < from.len() {
            let data = &from[done..(done + DATA_LEN).min(from.len())];
            let pos = (offset + done as u64) as i64;
            let (reply, _) =
                self.simple(&Request::Write { file, pos, flags: 0, addresses: 0, lengths: 0, data })?;
            if reply.value == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += reply.value as usize;
        }
        self.simple(&Request::Fsync { file, data_only: true })?;
        Ok(())
    }

    /// Ends the machine.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn halt(&mut self) -> io::Result<()> {
        self.simple(&admin::Request::Halt {}).map(|_| ())
    }
}
