//! One channel's requests, answered.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dmlab_machine::faults::run_command;
use dmlab_machine::{CarriedMemory, Interrupt, OpenMode};
use dmlab_recording::{Call, Ended};
use dmlab_shim_proto as proto;
use dmlab_units::{Bytes, DevT, Errno};
use parking_lot::Mutex;

use proto::{FileKind, Place, Reply, Request, SemaphoreOperation};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::channel::Channel;
use super::files::{Body, OpenFile, Opened};
use super::kmsg::Reader;
use super::memory::{Process, carried};
use super::shared_state::Shared;
use super::timers::Purpose;
use crate::semaphores::Command;
use crate::world::{Area, Entry, Found, Inode, Kind, World, area, errno};

/// The number of DM_TABLE_LOAD among the commands of the control node.
const TABLE_LOAD: u8 = 9;

const O_ACCMODE: i32 = 3;
const O_CREAT: i32 = 0o100;
const O_EXCL: i32 = 0o200;
const O_DIRECTORY: i32 = 0o200_000;
const O_NOFOLLOW: i32 = 0o400_000;
const O_NONBLOCK: i32 = 0o4_000;
const O_DSYNC: i32 = 0o10_000;
const O_LARGEFILE: i32 = 0o100_000;
const O_CLOEXEC: i32 = 0o2_000_000;
const O_NOCTTY: i32 = 0o400;
const O_TRUNC: i32 = 0o1_000;
const O_PATH: i32 = 0o10_000_000;

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

pub(super) fn value(value: i64) -> Answer {
    Ok((Reply { value, ..Reply::default() }, None))
}

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
            Ok(Request::Fetch { offset, len }) => {
                let from = usize::try_from(offset)
                    .ok()
                    .and_then(|from| self.answer.get(from..))
                    .ok_or(Errno::EINVAL)?;
                let piece = &from[..from.len().min(len as usize).min(data.len())];
                data[..piece.len()].copy_from_slice(piece);
                return Ok((Reply { len: piece.len() as u32, ..Reply::default() }, None));
            }
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
        let shared = self.shared.clone();
        let world = &shared.world;
        match request {
            Request::Hello { protocol } => {
                if protocol == proto::PROTOCOL {
                    value(0)
                } else {
                    Err(Errno::EPROTO)
                }
            }
            Request::Open { flags, mode, path } => self.open(path, flags, mode, out),
            Request::OpenMarker { dev, ino, flags } => {
                let inode = world.marker(dev, ino).ok_or(Errno::ENOENT)?;
                self.open_node(b"", &inode, flags)
            }
            Request::Reopen { file, flags } => {
                let file = self.file(file)?;
                self.open_node(&file.path, &file.inode, flags)
            }
            Request::Stat { follow, path } => {
                let found = world.find(path, follow)?;
                match (world.stat(&found), found) {
                    (Some(stat), _) => payload(out, &stat.to_bytes()),
                    (None, Found::Elsewhere(path)) => elsewhere(out, &path),
                    (None, _) => Err(Errno::ENOENT),
                }
            }
            Request::StatMarker { dev, ino } => {
                let inode = world.marker(dev, ino).ok_or(Errno::ENOENT)?;
                payload(out, &world.stat_inode(&inode).to_bytes())
            }
            Request::Readlink { path } => match world.find(path, false)? {
                Found::Node { inode, .. } => match &inode.lock().kind {
                    Kind::Link(target) => payload(out, target),
                    _ => Err(Errno::EINVAL),
                },
                Found::View { entry: Entry::Link(target), .. } => payload(out, target.as_bytes()),
                Found::View { .. } => Err(Errno::EINVAL),
                Found::Elsewhere(path) => elsewhere(out, &path),
            },
            Request::Realpath { path } => match world.find(path, true)? {
                Found::Node { path, .. } | Found::View { path, .. } => payload(out, &path),
                Found::Elsewhere(path) => elsewhere(out, &path),
            },
            Request::Mknod { path, .. }
            | Request::Mkdir { path, .. }
            | Request::Unlink { path, .. }
            | Request::Symlink { path, .. }
                if area(path) == Area::Real =>
            {
                elsewhere(out, path)
            }
            Request::Mknod { mode, rdev, path } => {
                let dev = DevT::from_huge(rdev);
                let kind = match mode & 0o170_000 {
                    0o060_000 => Kind::Block(dev),
                    0o020_000 => Kind::Char(dev),
                    0 | 0o100_000 => {
                        let backing = world.make_file(path)?;
                        std::fs::File::create(backing).map_err(|_| Errno::EIO)?;
                        return value(0);
                    }
                    _ => return Err(Errno::EPERM),
                };
                world.make(path, kind, mode)?;
                value(0)
            }
            Request::RegisterMarker { dev, ino, mode, rdev } => {
                let rdev = DevT::from_huge(rdev);
                let kind = if mode & 0o170_000 == 0o060_000 { Kind::Block(rdev) } else { Kind::Char(rdev) };
                world.add_marker(dev, ino, kind, mode);
                value(0)
            }
            Request::Mkdir { mode, path } => world.make(path, Kind::Dir, mode).and_then(|()| value(0)),
            Request::Unlink { directory, path } => world.remove(path, directory).and_then(|()| value(0)),
            Request::Rename { flags, path, other } => match (area(path), area(other)) {
                (Area::Real, Area::Real) => Err(Errno::EXDEV),
                _ => world.rename(path, other, flags).and_then(|()| value(0)),
            },
            Request::Symlink { path, other } => {
                world.make(path, Kind::Link(other.to_vec()), 0o777).and_then(|()| value(0))
            }
            Request::Link { path, other } => world.link(path, other).and_then(|()| value(0)),
            Request::Chmod { mode, follow, path } => {
                self.change(path, follow, out, |inode| inode.chmod(mode))
            }
            Request::Chown { uid, gid, follow, path } => {
                self.change(path, follow, out, |inode| inode.chown(uid, gid))
            }
            Request::Utimens { atime, mtime, follow, path } => {
                self.change(path, follow, out, |inode| inode.utimens(atime, mtime))
            }
            Request::ChmodMarker { dev, ino, mode } => {
                world.marker(dev, ino).ok_or(Errno::ENOENT)?.lock().chmod(mode);
                value(0)
            }
            Request::ChownMarker { dev, ino, uid, gid } => {
                world.marker(dev, ino).ok_or(Errno::ENOENT)?.lock().chown(uid, gid);
                value(0)
            }
            Request::Identify { file } => {
                let file = self.file(file)?;
                Ok((Reply { kind: kind_of(&file), ..Reply::default() }, None))
            }
            Request::Fstat { file } => {
                let file = self.file(file)?;
                payload(out, &world.stat_inode(&file.inode).to_bytes())
            }
            Request::PathOf { file } => payload(out, &self.file(file)?.path),
            Request::Fchmod { file, mode } => {
                self.file(file)?.inode.lock().chmod(mode);
                value(0)
            }
            Request::Fchown { file, uid, gid } => {
                self.file(file)?.inode.lock().chown(uid, gid);
                value(0)
            }
            Request::GetFlags { file } => {
                let flags = self.file(file)?.flags.load(Ordering::Relaxed);
                value(i64::from(if flags & O_PATH != 0 { flags } else { flags | O_LARGEFILE }))
            }
            Request::SetFlags { file, flags } => self.set_flags(file, flags),
            Request::Seek { file, offset, whence } => self.seek(file, offset, whence),
            Request::Fsync { file, .. } => self.fsync(file),
            Request::Fallocate { file, mode, offset, len } => self.fallocate(file, mode, offset, len),
            Request::Advise { file, advice, offset, len } => self.advise(file, advice, offset, len),
            Request::WriteBack { file, offset, len } => self.write_back(file, offset, len),
            Request::Closed { file } => {
                self.shared.files.wait_closed(file);
                value(0)
            }
            Request::Stage { offset, data } => {
                if offset == 0 {
                    self.staged.clear();
                }
                let fits = offset == self.staged.len() as u64
                    && self.staged.len() + data.len() <= proto::STAGING_LIMIT as usize;
                if !fits {
                    return Err(Errno::EINVAL);
                }
                self.staged.extend_from_slice(data);
                value(0)
            }
            Request::NewTimer { kind, signal, thread, value: data, nonblocking } => {
                let what = Purpose { kind, signal, thread, value: data, nonblocking };
                let (id, fd) = shared.timers.make(self.pid, what)?;
                Ok((Reply { value: id as i64, ..Reply::default() }, fd))
            }
            Request::SetTimer { timer, first, every } => {
                let (first, every) = (Duration::from_nanos(first), Duration::from_nanos(every));
                payload(out, &shared.timers.set(self.pid, timer, first, every)?)
            }
            Request::GetTimer { timer } => payload(out, &shared.timers.get(self.pid, timer)?),
            Request::DropTimer { timer } => shared.timers.end(self.pid, timer).and_then(|()| value(0)),
            Request::GetSemaphores { key, len, flags, uid, gid } => {
                self.get_semaphores(key, len, flags, (uid, gid))
            }
            Request::ControlSemaphores { set, number, command, argument, uid, gid, data } => {
                self.control_semaphores(set, Command { number, command, argument, data }, (uid, gid), out)
            }
            // They have a way of their own, with the channel at hand.
            Request::Sleep { .. } | Request::OperateSemaphores { .. } => Err(Errno::EPROTO),
            Request::Ioctl { file, cmd, arg, claimed, staged, data, .. } => {
                let mut bytes = std::mem::take(&mut self.staged);
                bytes.truncate(staged as usize);
                bytes.extend_from_slice(data);
                self.ioctl(file, cmd, arg, carried(bytes, claimed), fd, out)
            }
            Request::Klog { from } => {
                let lines = world.machine().runtime().klog().since(from);
                let next = lines.last().map_or(from, |line| line.seq + 1);
                text_lines(out, next, lines.iter().map(|line| (line.seq, line.to_string())))
            }
            Request::Uevents { from } => {
                let events = world.machine().runtime().uevents().after(from);
                let next = events.last().map_or(from, |event| event.seqnum);
                text_lines(out, next, events.iter().map(|event| (event.seqnum - 1, format!("{event}\n"))))
            }
            Request::Release {} => payload(out, world.machine().runtime().personality().release.as_bytes()),
            Request::Devices {} => {
                let devices = world.devices();
                let line = |d: &dmlab_machine::DeviceInfo| {
                    let dm = d.dm.as_ref().map_or("-".into(), |dm| String::from_utf8_lossy(&dm.name));
                    format!(
                        "{} {} {} {} {dm}",
                        d.name,
                        d.dev,
                        d.size.0,
                        if d.read_only { "ro" } else { "rw" }
                    )
                };
                text_lines(out, 0, devices.iter().map(|device| (0, line(device))))
            }
            Request::Faults { from, command } => {
                let answer = match &shared.recorder {
                    Some(recorder) => recorder.rules(world.machine(), from, command),
                    None => run_command(world.machine().faults(), from, command),
                };
                match answer {
                    Ok(lines) => text_lines(out, 0, lines.into_iter()),
                    Err(wrong) => {
                        let (reply, fd) = payload(out, wrong.as_bytes())?;
                        Ok((Reply { extra: 1, ..reply }, fd))
                    }
                }
            }
            Request::Halt {} => {
                self.shared.halted_by.store(self.pid, Ordering::Release);
                self.shared.halt();
                value(0)
            }
            Request::DmIoctl { cmd, data } => {
                let control = shared.dmlabs_control();
                let memory = carried(data.to_vec(), data.len() as u64);
                self.call((0, cmd, 0), memory, None, out, |process, memory| {
                    control.ioctl(process, cmd, memory)
                })
            }
            Request::Read { .. } | Request::Write { .. } | Request::Fetch { .. } => Err(Errno::EPROTO),
        }
    }

    pub(super) fn file(&self, id: u64) -> Result<Arc<OpenFile>, Errno> {
        self.shared.files.get(id).ok_or(Errno::EBADF)
    }

    /// Changes the attributes of what a path names.
    fn change(&self, path: &[u8], follow: bool, out: &mut [u8], work: impl Fn(&mut Inode)) -> Answer {
        match self.shared.world.find(path, follow)? {
            Found::Node { inode, .. } => {
                work(&mut inode.lock());
                value(0)
            }
            Found::View { .. } => Err(Errno::EPERM),
            Found::Elsewhere(path) => elsewhere(out, &path),
        }
    }

    fn open(&mut self, path: &[u8], flags: i32, mode: u32, out: &mut [u8]) -> Answer {
        let shared = self.shared.clone();
        let world = &shared.world;
        let writes = flags & O_ACCMODE != 0;
        let found = match world
            .find(path, flags & O_NOFOLLOW == 0 && flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL)
        {
            Err(Errno::ENOENT) if flags & O_CREAT != 0 && area(path) == Area::Dev => {
                let backing = world.make_file(path)?;
                let mut real = rustix::fs::open(
                    &backing,
                    OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
                    Mode::from_raw_mode(mode & 0o7777),
                )
                .map(std::fs::File::from)
                .map_err(errno)?;
                let _ = real.flush();
                return elsewhere(out, backing.as_os_str().as_bytes());
            }
            found => found?,
        };
        if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL && !matches!(found, Found::Elsewhere(_)) {
            return Err(Errno::EEXIST);
        }
        match &found {
            Found::Elsewhere(path) => elsewhere(out, path),
            Found::Node { inode, path } => {
                let kind = inode.lock().kind.clone();
                match kind {
                    Kind::Dir if writes || flags & O_CREAT != 0 => Err(Errno::EISDIR),
                    Kind::Dir => self.open_directory(&found),
                    _ if flags & O_DIRECTORY != 0 => Err(Errno::ENOTDIR),
                    Kind::Link(_) if flags & O_PATH != 0 => self.open_link(path),
                    Kind::Link(_) => Err(Errno::ELOOP),
                    _ => self.open_node(path, inode, flags),
                }
            }
            Found::View { entry, path } => match entry {
                Entry::Dir(_) if writes => Err(Errno::EISDIR),
                Entry::Dir(_) => self.open_directory(&found),
                _ if flags & O_DIRECTORY != 0 => Err(Errno::ENOTDIR),
                Entry::Link(_) if flags & O_PATH != 0 => self.open_link(path),
                Entry::Link(_) => Err(Errno::ELOOP),
                Entry::Text(_) if writes && World::is_trigger(path) => self.open_trigger(path, flags),
                // Nothing else there takes a write.
                Entry::Text(_) if writes => Err(Errno::EACCES),
                Entry::Text(text) => {
                    let fd = text_file(text).map_err(errno)?;
                    Ok((Reply::default(), Some(fd)))
                }
            },
        }
    }

    fn open_directory(&self, found: &Found) -> Answer {
        let real = self.shared.mirror.directory(&self.shared.world, found).map_err(|_| Errno::EIO)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(real, flags, Mode::empty()).map_err(errno)?;
        Ok((Reply { kind: FileKind::Directory, ..Reply::default() }, Some(fd)))
    }

    /// A file of `/sys` that makes an event when it is written to.
    fn open_trigger(&self, path: &[u8], flags: i32) -> Answer {
        let body = Opened::new(Body::Trigger, 0, None);
        let inode = Arc::new(Mutex::new(Inode::new(1, Kind::File(std::path::PathBuf::new()), 0o644)));
        let kept = flags & !(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
        let (id, fd) = self.shared.files.add(body, kept, path.to_vec(), inode).map_err(errno)?;
        Ok((Reply { kind: FileKind::Char, extra: id, ..Reply::default() }, Some(fd)))
    }

    /// Opens a symlink itself, for programs that walk paths step by step (O_PATH with O_NOFOLLOW).
    fn open_link(&self, path: &[u8]) -> Answer {
        let parent = path.iter().rposition(|&b| b == b'/').map_or(&b"/"[..], |at| &path[..at]);
        let directory = self.shared.world.find(parent, true)?;
        let real = self.shared.mirror.directory(&self.shared.world, &directory).map_err(|_| Errno::EIO)?;
        let name = std::ffi::OsStr::from_bytes(&path[parent.len()..]);
        let link = real.join(name.as_bytes().strip_prefix(b"/").map_or(name, std::ffi::OsStr::from_bytes));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok((Reply::default(), Some(rustix::fs::open(link, flags, Mode::empty()).map_err(errno)?)))
    }

    fn open_node(&self, path: &[u8], inode: &Arc<Mutex<Inode>>, flags: i32) -> Answer {
        let machine = self.shared.world.machine();
        let kind = inode.lock().kind.clone();
        let control = DevT::new(10, 236);
        let loop_control = DevT::new(10, 237);
        let number = self.next_file();
        let recorder = self.shared.recorder.clone();
        let opened = match kind {
            _ if flags & O_PATH != 0 => Opened::new(Body::Path, 0, None),
            Kind::Block(dev) => {
                let mode = open_mode(flags);
                let call = || Call::OpenBlock { file: number, dev, mode: mode.bits() };
                let block = self.recorded_plainly(call, || machine.open_block(dev, mode), |_| 0)?;
                Opened::new(Body::Block(dev, block), number, recorder)
            }
            Kind::Char(dev) if dev == control => {
                let call = || Call::OpenControl { file: number };
                let control = self.recorded_plainly(call, || Ok(machine.open_control()), |_| 0)?;
                Opened::new(Body::Control(control), number, recorder)
            }
            Kind::Char(dev) if dev == DevT::new(1, 11) => Opened::new(Body::Kmsg(Reader::default()), 0, None),
            Kind::Char(dev) if dev == loop_control => {
                let call = || Call::OpenLoopControl { file: number };
                self.recorded_plainly(call, || Ok(()), |()| 0)?;
                Opened::new(Body::LoopControl, number, recorder)
            }
            _ => return Err(Errno::ENXIO),
        };
        let path = if path.is_empty() { self.name_of(inode) } else { path.to_vec() };
        let kept = flags & !(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
        let (id, fd) = self.shared.files.add(opened, kept, path, inode.clone()).map_err(errno)?;
        let kind = if matches!(kind, Kind::Block(_)) { FileKind::Block } else { FileKind::Char };
        Ok((Reply { kind, extra: id, ..Reply::default() }, Some(fd)))
    }

    /// The kernel's name of a node that was opened at a real path.
    fn name_of(&self, inode: &Mutex<Inode>) -> Vec<u8> {
        let dev = match inode.lock().kind {
            Kind::Block(dev) => dev,
            _ => return b"/dev/mapper/control".to_vec(),
        };
        let devices = self.shared.world.devices();
        let device = devices.iter().find(|device| device.dev == dev);
        device.map_or_else(|| b"/dev/?".to_vec(), |device| format!("/dev/{}", device.name).into_bytes())
    }

    fn ioctl(
        &mut self,
        file: u64,
        cmd: u32,
        arg: u64,
        memory: CarriedMemory,
        fd: Option<OwnedFd>,
        out: &mut [u8],
    ) -> Answer {
        let file = self.file(file)?;
        let shared = self.shared.clone();
        let listener = shared
            .on_refused_load
            .as_ref()
            .filter(|_| matches!(*file.body, Body::Control(_)) && cmd as u8 == TABLE_LOAD);
        let request = listener.map(|_| memory.sent().to_vec());
        let klog = shared.world.machine().klog();
        let seen = klog.next_seq();
        let mut refused = false;
        let answer =
            self.call((file.body.number(), cmd, arg), memory, fd, out, |process, memory| match &*file.body {
                Body::Control(control) => control.ioctl(process, cmd, memory).inspect_err(|_| refused = true),
                Body::Block(_, block) => block.ioctl(process, cmd, arg, memory),
                Body::LoopControl => shared.world.machine().loops().ioctl(cmd, arg),
                Body::Kmsg(_) | Body::Trigger => Err(Errno::ENOTTY),
                Body::Path => Err(Errno::EBADF),
            });
        self.shared.files.signal_controls();
        self.shared.world.run_udev();
        if let (true, Some(listener), Some(request)) = (refused, listener, request) {
            let lines: Vec<String> = klog.since(seen).into_iter().map(|line| line.text).collect();
            listener(&request, &lines);
        }
        answer
    }

    /// Calls the kernel side with the client's memory, and sends back what it wrote, whether or not it failed. The ioctl is
    /// named by its file's number, its request and its argument.
    fn call(
        &mut self,
        (file, request, argument): (u64, u32, u64),
        mut memory: CarriedMemory,
        fd: Option<OwnedFd>,
        out: &mut [u8],
        work: impl FnOnce(&Process<'_>, &mut CarriedMemory) -> Result<i32, Errno>,
    ) -> Answer {
        let shared = self.shared.clone();
        let call = {
            let (sent, room) = match &shared.recorder {
                Some(_) => (memory.sent().to_vec(), Bytes(memory.room() as u64)),
                None => (Vec::new(), Bytes(0)),
            };
            // Where the program keeps its memory is chance, and differs from run to run: what counts is what lies there.
            let argument = if room.0 == 0 { argument } else { u64::from(argument != 0) };
            move || Call::Ioctl { file, request, argument, sent, room }
        };
        let (result, memory) = self.recorded(
            call,
            |under| {
                let process = Process {
                    world: &shared.world,
                    files: &shared.files,
                    pid: self.pid,
                    interrupt: &self.interrupt,
                    under,
                    descriptor: Mutex::new(fd),
                };
                (work(&process, &mut memory), memory)
            },
            |(result, memory)| {
                let (begin, written) = memory.written();
                let written = (begin as u64, written.to_vec());
                Ended { written, ..Ended::with(result.map(i64::from)) }
            },
        );
        let (begin, written) = memory.written();
        let now = written.len().min(out.len());
        out[..now].copy_from_slice(&written[..now]);
        let value = match result {
            Ok(value) => i64::from(value as u32 & 0x7fff_ffff),
            Err(errno) => i64::from(errno.raw()) << 32,
        };
        let reply = Reply {
            value,
            len: now as u32,
            extra: begin as u64,
            total: written.len() as u64,
            ..Reply::default()
        };
        if written.len() > now {
            self.answer = written.to_vec();
        }
        Ok((reply, None))
    }
}

fn kind_of(file: &OpenFile) -> FileKind {
    match *file.body {
        Body::Block(..) => FileKind::Block,
        _ => FileKind::Char,
    }
}

fn open_mode(flags: i32) -> OpenMode {
    let mut mode = match flags & O_ACCMODE {
        0 => OpenMode::READ,
        1 => OpenMode::WRITE,
        2 => OpenMode::READ | OpenMode::WRITE,
        // Neither: such a descriptor is for ioctls.
        _ => OpenMode::empty(),
    };
    mode.set(OpenMode::EXCLUSIVE, flags & O_EXCL != 0);
    mode.set(OpenMode::NDELAY, flags & O_NONBLOCK != 0);
    mode.set(OpenMode::SYNC, flags & O_DSYNC != 0);
    mode
}

/// A reply with bytes.
fn payload(out: &mut [u8], bytes: &[u8]) -> Answer {
    out.get_mut(..bytes.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(bytes);
    Ok((Reply { len: bytes.len() as u32, ..Reply::default() }, None))
}

/// "Do it natively, there."
fn elsewhere(out: &mut [u8], path: &[u8]) -> Answer {
    let (mut reply, _) = payload(out, path)?;
    reply.place = Place::Elsewhere;
    Ok((reply, None))
}

/// Lines of text with their numbers, as many as fit; the value says where to go on.
fn text_lines(out: &mut [u8], next: u64, lines: impl Iterator<Item = (u64, String)>) -> Answer {
    let mut at = 0;
    for (seq, line) in lines {
        let Some(place) = out.get_mut(at..at + line.len() + 1) else {
            return Ok((Reply { value: seq as i64, len: at as u32, ..Reply::default() }, None));
        };
        place[..line.len()].copy_from_slice(line.as_bytes());
        place[line.len()] = b'\n';
        at += line.len() + 1;
    }
    Ok((Reply { value: next as i64, len: at as u32, ..Reply::default() }, None))
}

/// A file of its own that holds `text`, to be read and not to be changed.
fn text_file(text: &[u8]) -> rustix::io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("dmlab-text", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(text).map_err(|_| rustix::io::Errno::NOSPC)?;
    let memory = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(
        &memory,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    rustix::fs::seek(&memory, rustix::fs::SeekFrom::Start(0))?;
    Ok(memory)
}
