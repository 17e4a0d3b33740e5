//! Opening: what a path, a marker or another open file leads to.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use dmlab_kernel_calls::Node;
use dmlab_machine::OpenMode;
use dmlab_shim_proto::{FileKind, Reply};
use dmlab_units::{DevT, Errno};
use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::files::{Body, OpenFile, open_flags};
use super::kmsg::Reader;
use super::session::{Answer, Session, elsewhere, payload, value};
use dmlab_view::{Area, Entry, Found, Inode, Kind, View, area, errno};

/// `/dev/mapper/control`.
const CONTROL: DevT = DevT::new(10, 236);
/// `/dev/loop-control`.
const LOOP_CONTROL: DevT = DevT::new(10, 237);
/// `/dev/kmsg`.
const KMSG: DevT = DevT::new(1, 11);

/// What an open does once, and an open file does not keep.
const OF_THE_OPEN: OFlags =
    OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOCTTY).union(OFlags::TRUNC).union(OFlags::CLOEXEC);

impl Session {
    pub(super) fn open(&self, path: &[u8], flags: i32, mode: u32, out: &mut [u8]) -> Answer {
        let flags = open_flags(flags);
        let view = &self.shared.view;
        let writes = flags.intersects(OFlags::RWMODE);
        let is_exclusive = flags.contains(OFlags::CREATE | OFlags::EXCL);
        let found = match view.find(path, !flags.contains(OFlags::NOFOLLOW) && !is_exclusive) {
            Err(Errno::ENOENT) if flags.contains(OFlags::CREATE) && area(path) == Area::Dev => {
                let backing = view.make_file(path)?;
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
        if is_exclusive && !matches!(found, Found::Elsewhere(_)) {
            return Err(Errno::EEXIST);
        }
        match &found {
            Found::Elsewhere(path) => elsewhere(out, path),
            Found::Node { inode, path } => {
                let kind = inode.lock().kind.clone();
                match kind {
                    Kind::Dir if writes || flags.contains(OFlags::CREATE) => Err(Errno::EISDIR),
                    Kind::Dir => self.open_directory(&found),
                    _ if flags.contains(OFlags::DIRECTORY) => Err(Errno::ENOTDIR),
                    Kind::Link(_) if flags.contains(OFlags::PATH) => self.open_link(path),
                    Kind::Link(_) => Err(Errno::ELOOP),
                    _ => self.open_node(path, inode, flags),
                }
            }
            Found::View { entry, path } => match entry {
                Entry::Dir(_) if writes => Err(Errno::EISDIR),
                Entry::Dir(_) => self.open_directory(&found),
                _ if flags.contains(OFlags::DIRECTORY) => Err(Errno::ENOTDIR),
                Entry::Link(_) if flags.contains(OFlags::PATH) => self.open_link(path),
                Entry::Link(_) => Err(Errno::ELOOP),
                Entry::Text(_) if writes && View::is_trigger(path) => self.open_trigger(path, flags),
                // Nothing else there takes a write.
                Entry::Text(_) if writes => Err(Errno::EACCES),
                Entry::Text(text) => {
                    let fd = text_file(text).map_err(errno)?;
                    Ok((Reply::default(), Some(fd)))
                }
            },
        }
    }

    pub(super) fn open_marker(&self, dev: u64, ino: u64, flags: i32) -> Answer {
        self.open_node(b"", &self.marker(dev, ino)?, open_flags(flags))
    }

    /// A new open file of the same node.
    pub(super) fn reopen(&self, id: u64, flags: i32) -> Answer {
        let file = self.file(id)?;
        self.open_node(&file.path, &file.inode, open_flags(flags))
    }

    /// What a placeholder stands for.
    pub(super) fn identify(&self, id: u64) -> Answer {
        Ok((Reply { kind: kind_of(&*self.file(id)?), ..Reply::default() }, None))
    }

    pub(super) fn path_of(&self, id: u64, out: &mut [u8]) -> Answer {
        payload(out, &self.file(id)?.path)
    }

    /// Waits for the end of a close, however long it takes.
    pub(super) fn closed(&self, id: u64) -> Answer {
        self.shared.files.wait_closed(id);
        value(0)
    }

    fn open_directory(&self, found: &Found) -> Answer {
        let real = self.shared.mirror.directory(&self.shared.view, found).map_err(|_| Errno::EIO)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(real, flags, Mode::empty()).map_err(errno)?;
        Ok((Reply { kind: FileKind::Directory, ..Reply::default() }, Some(fd)))
    }

    /// A file of `/sys` that makes an event when it is written to.
    fn open_trigger(&self, path: &[u8], flags: OFlags) -> Answer {
        let inode = Arc::new(Mutex::new(Inode::new(1, Kind::File(std::path::PathBuf::new()), 0o644)));
        let kept = flags.difference(OF_THE_OPEN);
        let (id, fd) = self.shared.files.add(Body::Trigger, kept, path.to_vec(), inode).map_err(errno)?;
        Ok((Reply { kind: FileKind::Char, extra: id, ..Reply::default() }, Some(fd)))
    }

    /// Opens a symlink itself, for programs that walk paths step by step (O_PATH with O_NOFOLLOW).
    fn open_link(&self, path: &[u8]) -> Answer {
        let parent = path.iter().rposition(|&b| b == b'/').map_or(&b"/"[..], |at| &path[..at]);
        let directory = self.shared.view.find(parent, true)?;
        let real = self.shared.mirror.directory(&self.shared.view, &directory).map_err(|_| Errno::EIO)?;
        let name = std::ffi::OsStr::from_bytes(&path[parent.len()..]);
        let link = real.join(name.as_bytes().strip_prefix(b"/").map_or(name, std::ffi::OsStr::from_bytes));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok((Reply::default(), Some(rustix::fs::open(link, flags, Mode::empty()).map_err(errno)?)))
    }

    fn open_node(&self, path: &[u8], inode: &Arc<Mutex<Inode>>, flags: OFlags) -> Answer {
        let kind = inode.lock().kind.clone();
        let open = |node| self.shared.kernel.open(self.client, node).map(Body::Kernel);
        let body = match kind {
            _ if flags.contains(OFlags::PATH) => Body::Path,
            Kind::Block(dev) => open(Node::Block { dev, mode: open_mode(flags) })?,
            Kind::Char(CONTROL) => open(Node::Control)?,
            Kind::Char(LOOP_CONTROL) => open(Node::LoopControl)?,
            Kind::Char(KMSG) => Body::Kmsg(Reader::default()),
            _ => return Err(Errno::ENXIO),
        };
        let path = if path.is_empty() { self.name_of(inode) } else { path.to_vec() };
        let kept = flags.difference(OF_THE_OPEN);
        let (id, fd) = self.shared.files.add(body, kept, path, inode.clone()).map_err(errno)?;
        let kind = if matches!(kind, Kind::Block(_)) { FileKind::Block } else { FileKind::Char };
        Ok((Reply { kind, extra: id, ..Reply::default() }, Some(fd)))
    }

    /// The kernel's name of a node that was opened at a real path.
    fn name_of(&self, inode: &Mutex<Inode>) -> Vec<u8> {
        let Kind::Block(dev) = inode.lock().kind else { return b"/dev/mapper/control".to_vec() };
        let devices = self.shared.view.devices();
        let device = devices.iter().find(|device| device.dev == dev);
        device.map_or_else(|| b"/dev/?".to_vec(), |device| format!("/dev/{}", device.name).into_bytes())
    }
}

fn kind_of(file: &OpenFile) -> FileKind {
    match file.body.node() {
        Some(Node::Block { .. }) => FileKind::Block,
        _ => FileKind::Char,
    }
}

fn open_mode(flags: OFlags) -> OpenMode {
    let access = flags & OFlags::RWMODE;
    let mut mode = OpenMode::empty();
    mode.set(OpenMode::READ, access == OFlags::RDONLY || access == OFlags::RDWR);
    mode.set(OpenMode::WRITE, access == OFlags::WRONLY || access == OFlags::RDWR);
    // Neither: such a descriptor is for ioctls.
    mode.set(OpenMode::EXCLUSIVE, flags.contains(OFlags::EXCL));
    mode.set(OpenMode::NDELAY, flags.contains(OFlags::NONBLOCK));
    mode.set(OpenMode::SYNC, flags.intersects(OFlags::DSYNC));
    mode
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
