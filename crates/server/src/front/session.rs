//! One channel's requests, answered: which body answers which request. The bodies lie in families: `open`, `paths`,
//! `attributes`, `data`, `ioctl`, `waiting`, `semaphores`, `admin`.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dmlab_machine::Interrupt;
use dmlab_shim_proto as proto;
use dmlab_units::Errno;
use proto::front::Request;
use proto::{Malformed, Place, Reply, SemaphoreOperation};

use super::channel::Channel;
use super::files::OpenFile;
use super::shared_state::Shared;
use super::timers::Purpose;
use crate::semaphores::Command;

/// A client's channel and what it has under way.
pub(crate) struct Session {
    pub(super) shared: Arc<Shared>,
    /// Its number among the clients of the machine.
    pub(super) client: u64,
    pub(super) pid: i32,
    pub(super) interrupt: Interrupt,
    /// How its waits for the clock are taken back.
    pub(super) watched: super::Watched,
    /// The first pieces of a long ioctl argument.
    pub(super) staged: Vec<u8>,
    /// The answer to a long ioctl, for the client to fetch.
    pub(super) answer: Vec<u8>,
}

/// What a request brings about: a reply, perhaps with a descriptor. Error numbers become replies.
pub(super) type Answer = Result<(Reply, Option<OwnedFd>), Errno>;

impl Session {
    /// Serves the channel until the client is gone.
    pub(crate) fn run(mut self, mut channel: Channel, turns: &AtomicU64) {
        let driver = self.shared.driver.clone();
        while let Some(header) = channel.wait() {
            // A client that promises a descriptor and sends none has no call under way: nothing else waits for it.
            let fd = match Request::decode(&header, channel.area.data()) {
                Ok(Request::Ioctl { with_fd: true, .. }) => channel.take_fd(),
                _ => None,
            };
            let _call = driver.call();
            turns.fetch_add(1, Ordering::AcqRel);
            let answer = match Request::decode(&header, channel.area.data()) {
                Ok(Request::Sleep { nanos }) => self.sleep(Duration::from_nanos(nanos), &channel),
                Ok(Request::OperateSemaphores { set, nanos, uid, gid, operations }) => {
                    let operations = SemaphoreOperation::all(operations).collect();
                    self.operate_semaphores(set, nanos, operations, (uid, gid), &channel)
                }
                _ => self.answer(&header, channel.area.data(), fd),
            };
            let (reply, fd) = answer.unwrap_or_else(|errno| (Reply::error(errno.raw()), None));
            turns.fetch_add(1, Ordering::AcqRel);
            if !channel.reply(reply, fd) {
                return;
            }
        }
    }

    fn answer(&mut self, header: &proto::Header, data: &mut [u8], fd: Option<OwnedFd>) -> Answer {
        // Data IO first: its data stays where it is.
        match Request::decode(header, data) {
            Ok(Request::Read { file, pos, len, flags, addresses, lengths }) => {
                let into = data.get_mut(..len as usize).ok_or(Errno::EINVAL)?;
                return self.read(file, pos, into, flags, (addresses, lengths));
            }
            Ok(Request::Write { file, pos, flags, addresses, lengths, data }) => {
                return self.write(file, pos, data, flags, (addresses, lengths));
            }
            Ok(Request::Fetch { offset, len }) => return self.fetch(offset, len, data),
            Err(Malformed::Operation(_)) => return self.answer_command(header, data),
            Err(_) => return Err(Errno::EPROTO),
            Ok(_) => {}
        }
        // All others are short, or keep their own copy.
        let payload = data[..header.len as usize].to_vec();
        let request = Request::decode(header, &payload).map_err(|_| Errno::EPROTO)?;
        self.shared.files.drain();
        self.dispatch(request, data, fd)
    }

    fn dispatch(&mut self, request: Request<'_>, out: &mut [u8], fd: Option<OwnedFd>) -> Answer {
        match request {
            Request::Hello { protocol } => hello(protocol),

            Request::Open { flags, mode, path } => self.open(path, flags, mode, out),
            Request::OpenMarker { dev, ino, flags } => self.open_marker(dev, ino, flags),
            Request::Reopen { file, flags } => self.reopen(file, flags),
            Request::Identify { file } => self.identify(file),
            Request::PathOf { file } => self.path_of(file, out),
            Request::Closed { file } => self.closed(file),

            Request::Readlink { path } => self.readlink(path, out),
            Request::Realpath { path } => self.realpath(path, out),
            Request::Mknod { mode, rdev, path } => self.mknod(path, mode, rdev, out),
            Request::RegisterMarker { dev, ino, mode, rdev } => self.register_marker(dev, ino, mode, rdev),
            Request::Mkdir { mode, path } => self.mkdir(path, mode, out),
            Request::Unlink { directory, path } => self.unlink(path, directory, out),
            Request::Rename { flags, path, other } => self.rename(path, other, flags),
            Request::Symlink { path, other } => self.symlink(path, other, out),
            Request::Link { path, other } => self.link(path, other),

            Request::Stat { follow, path } => self.stat(path, follow, out),
            Request::StatMarker { dev, ino } => self.stat_marker(dev, ino, out),
            Request::Fstat { file } => self.fstat(file, out),
            Request::Chmod { mode, follow, path } => self.chmod(path, mode, follow, out),
            Request::ChmodMarker { dev, ino, mode } => self.chmod_marker(dev, ino, mode),
            Request::Fchmod { file, mode } => self.fchmod(file, mode),
            Request::Chown { uid, gid, follow, path } => self.chown(path, (uid, gid), follow, out),
            Request::ChownMarker { dev, ino, uid, gid } => self.chown_marker(dev, ino, (uid, gid)),
            Request::Fchown { file, uid, gid } => self.fchown(file, (uid, gid)),
            Request::Utimens { atime, mtime, follow, path } => {
                self.utimens(path, (atime, mtime), follow, out)
            }

            Request::GetFlags { file } => self.get_flags(file),
            Request::SetFlags { file, flags } => self.set_flags(file, flags),
            Request::Seek { file, offset, whence } => self.seek(file, offset, whence),
            Request::Fsync { file, .. } => self.fsync(file),
            Request::Fallocate { file, mode, offset, len } => self.fallocate(file, mode, offset, len),
            Request::Advise { file, advice, offset, len } => self.advise(file, advice, offset, len),
            Request::WriteBack { file, offset, len } => self.write_back(file, offset, len),

            Request::Stage { offset, data } => self.stage(offset, data),
            Request::Ioctl { file, cmd, arg, claimed, staged, data, .. } => {
                self.ioctl((file, cmd, arg), (staged, data, claimed), fd, out)
            }

            Request::NewTimer { kind, signal, thread, value, nonblocking } => {
                self.new_timer(Purpose { kind, signal, thread, value, nonblocking })
            }
            Request::SetTimer { timer, first, every } => self.set_timer(timer, first, every, out),
            Request::GetTimer { timer } => self.get_timer(timer, out),
            Request::DropTimer { timer } => self.drop_timer(timer),

            Request::GetSemaphores { key, len, flags, uid, gid } => {
                self.get_semaphores(key, len, flags, (uid, gid))
            }
            Request::ControlSemaphores { set, number, command, argument, uid, gid, data } => {
                self.control_semaphores(set, Command { number, command, argument, data }, (uid, gid), out)
            }

            Request::Syslog { from } => self.syslog(from, out),
            Request::SyslogMark { clear } => self.syslog_mark(clear),

            // They have ways of their own, with the data in place and the channel at hand.
            Request::Read { .. } | Request::Write { .. } | Request::Fetch { .. } => Err(Errno::EPROTO),
            Request::Sleep { .. } | Request::OperateSemaphores { .. } => Err(Errno::EPROTO),
        }
    }

    /// The open file that a client means.
    pub(super) fn file(&self, id: u64) -> Result<Arc<OpenFile>, Errno> {
        self.shared.files.get(id).ok_or(Errno::EBADF)
    }
}

fn hello(protocol: u32) -> Answer {
    if protocol == proto::PROTOCOL { value(0) } else { Err(Errno::EPROTO) }
}

/// A reply with a number.
pub(super) fn value(value: i64) -> Answer {
    Ok((Reply { value, ..Reply::default() }, None))
}

/// A reply with bytes.
pub(super) fn payload(out: &mut [u8], bytes: &[u8]) -> Answer {
    out.get_mut(..bytes.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(bytes);
    Ok((Reply { len: bytes.len() as u32, ..Reply::default() }, None))
}

/// "Do it natively, there."
pub(super) fn elsewhere(out: &mut [u8], path: &[u8]) -> Answer {
    let (mut reply, _) = payload(out, path)?;
    reply.place = Place::Elsewhere;
    Ok((reply, None))
}
