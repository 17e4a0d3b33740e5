//! What a machine's `/dev`, `/proc` and `/sys` look like: one tree that all fronts ask, derived from the machine's state.
//!
//! `/dev` is kept here, since programs change it; `/sys` and `/proc` are rendered when they are read. All paths are
//! absolute. A path that leaves the simulated tree is answered with where it goes ([`Found::Elsewhere`]).
#![forbid(unsafe_code)]

mod modules;
mod node;
mod procfs;
mod resolve;
mod retold;
mod stat;
mod sysfs;
mod tree;
mod udev;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmlab_shim_proto::host_dev_shows;
pub use dmlab_shim_proto::{Area, area};
use dmlab_units::{DevT, Errno};
use parking_lot::{Condvar, Mutex, MutexGuard};

pub use node::{EntryKind, Inode, Kind};
pub use resolve::Found;
pub use stat::Stat;
pub use sysfs::Entry;

use dmlab_machine::{DeviceInfo, Machine, OpenMode, UeventAction};
use resolve::Sources;
use tree::Tree;

/// The System V semaphores of a run, as far as its view has to do with them.
pub trait Semaphores: Send + Sync {
    /// Counts the semaphore behind a udev cookie down by one, as `dmsetup udevcomplete` does; `cookie` is the DM_COOKIE of an event. A
    /// cookie without a semaphore is passed over.
    fn complete(&self, cookie: u32);

    /// The text of `/proc/sysvipc/sem`.
    fn listing(&self) -> String;
}

/// The view of one machine.
pub struct View {
    machine: Machine,
    semaphores: Arc<dyn Semaphores>,
    /// `st_dev` of `/dev`: that of the host's, so that its own nodes and ours agree.
    dev_dev: u64,
    /// Where regular files that programs make under `/dev` really are.
    files: PathBuf,
    has_udev: bool,
    state: Mutex<State>,
    /// Told when udev has something to look into, and when it has nothing left.
    udev_turns: Condvar,
}

/// How long a caller waits for udev to be through: what it looks into may be stuck.
const UDEV_PATIENCE: Duration = Duration::from_secs(10);

struct State {
    tree: Tree,
    /// Nodes at real paths, by device and inode of the file that stands for each.
    markers: HashMap<(u64, u64), Arc<Mutex<Inode>>>,
}

impl View {
    /// The view of `machine`. Files that programs make under `/dev` go into the directory `files`. Programs find a udev
    /// that runs, or none; one that `looks` looks into devices, and it completes cookies of `semaphores`.
    pub fn new(
        machine: Machine,
        semaphores: Arc<dyn Semaphores>,
        files: PathBuf,
        has_udev: bool,
        looks: bool,
    ) -> View {
        let dev_dev = rustix::fs::stat("/dev").map_or(6, |stat| stat.st_dev);
        View {
            machine,
            semaphores,
            dev_dev,
            files,
            has_udev,
            state: Mutex::new(State { tree: Tree::new(has_udev, looks), markers: HashMap::new() }),
            udev_turns: Condvar::new(),
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Does `work` with the state as the kernel's events have left it. Cookies that these complete are completed when the state is
    /// free again: who waits for one may be a call that is about to look at the state.
    fn caught_up<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        state.tree.catch_up(&self.machine);
        let result = work(&mut state);
        self.complete_cookies(state);
        result
    }

    fn complete_cookies(&self, mut state: MutexGuard<'_, State>) {
        let completed = state.tree.take_completed();
        drop(state);
        for cookie in completed {
            self.semaphores.complete(cookie);
        }
    }

    fn sources<'a>(&'a self, state: &'a State) -> Sources<'a> {
        Sources { tree: &state.tree, machine: &self.machine, semaphores: &*self.semaphores }
    }

    /// The block devices of now.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        self.machine.devices()
    }

    /// Does at once what a udev that runs does for events as they come.
    pub fn run_udev(&self) {
        if self.has_udev {
            self.caught_up(|state| {
                if !state.tree.is_udev_idle() {
                    self.udev_turns.notify_all();
                }
            });
        }
    }

    /// Looks into the next device that udev is to look into, and waits up to `patience` for one. `work` is around the look.
    pub fn look_for_udev<G>(&self, patience: Duration, work: impl Fn() -> G) {
        let mut state = self.state.lock();
        let Some(job) = state.tree.take_udev_job() else {
            self.udev_turns.notify_all();
            self.udev_turns.wait_for(&mut state, patience);
            return;
        };
        drop(state);
        let _at_work = work();
        let block = self.machine.registry().all().into_iter().find(|block| block.name() == job.name);
        let content = block.map(|block| udev::look(&block)).unwrap_or_default();
        let mut state = self.state.lock();
        state.tree.found_by_udev(&self.machine, &job, content);
        self.complete_cookies(state);
    }

    /// What udev does when a device that may have been written is closed: a disk's partition table is read again if
    /// the disk is not in use, and the device's content is looked into again.
    pub fn device_written(&self, dev: DevT) {
        let is_watched = |device: &DeviceInfo| self.state.lock().tree.is_watched_by_udev(device);
        if !self.has_udev || !self.machine.device(dev).as_ref().is_some_and(is_watched) {
            return;
        }
        let Some(block) = self.machine.registry().get(dev) else { return };
        if block.partition().is_none()
            && let Ok(file) = self.machine.open_block(dev, OpenMode::READ)
        {
            let _nobody_may = file.reread_partitions();
        }
        block.send_uevent(UeventAction::Change, vec![("SYNTH_UUID", "0".to_owned())]);
        self.run_udev();
    }

    /// Whether a text of `/sys` is one that makes an event when something is written to it.
    pub fn is_trigger(path: &[u8]) -> bool {
        path.starts_with(b"/sys/devices/virtual/b") && path.ends_with(b"/uevent")
    }

    /// What was written to the `uevent` at a path of `/sys`: an action, of which the event is sent.
    ///
    /// # Errors
    /// EINVAL: it is none of those that there are here. ENODEV: the device is gone.
    pub fn trigger(&self, path: &[u8], text: &[u8]) -> Result<(), Errno> {
        let word = text.split(|byte| byte.is_ascii_whitespace() || *byte == 0).next().unwrap_or_default();
        let action = match word {
            b"add" => UeventAction::Add,
            b"change" => UeventAction::Change,
            b"remove" => UeventAction::Remove,
            _ => return Err(Errno::EINVAL),
        };
        let path = std::str::from_utf8(path).map_err(|_| Errno::ENODEV)?;
        let place =
            path.strip_suffix("/uevent").and_then(|path| path.strip_prefix("/sys")).ok_or(Errno::ENODEV)?;
        let extra = vec![("SYNTH_UUID", "0".to_owned())];
        if place.starts_with("/devices/virtual/bdi/") {
            self.machine.runtime().uevents().send(action, place.to_owned(), "bdi", extra);
            return Ok(());
        }
        let name = place.rsplit('/').next().unwrap_or_default();
        let block = self.machine.registry().all().into_iter().find(|block| block.name() == name);
        block.ok_or(Errno::ENODEV)?.send_uevent(action, extra);
        self.run_udev();
        Ok(())
    }

    /// Waits until udev is through, if what lies at `path` is its work.
    fn wait_for_udev(&self, path: &[u8]) {
        let is_its_work = path.starts_with(b"/dev/disk") || path.starts_with(b"/run/udev");
        if !self.has_udev || !is_its_work {
            return;
        }
        let until = Instant::now() + UDEV_PATIENCE;
        self.caught_up(|_| ());
        let mut state = self.state.lock();
        while !state.tree.is_udev_idle() && Instant::now() < until {
            self.udev_turns.notify_all();
            self.udev_turns.wait_for(&mut state, Duration::from_millis(50));
        }
    }

    /// Follows a path. `follow`: also through a symlink at its end.
    ///
    /// # Errors
    /// As `open`'s: ENOENT, ENOTDIR, ELOOP.
    pub fn find(&self, path: &[u8], follow: bool) -> Result<Found, Errno> {
        self.wait_for_udev(path);
        self.caught_up(|state| resolve::find(self.sources(state), path, follow))
    }

    /// `stat` of what was found; `None` when it is elsewhere.
    pub fn stat(&self, found: &Found) -> Option<Stat> {
        match found {
            Found::Node { inode, .. } => Some(inode.lock().stat(self.dev_dev)),
            Found::View { path, entry } => Some(node::view_stat(path, entry)),
            Found::Elsewhere(_) => None,
        }
    }

    /// The names in a directory, each with what it is. For `/dev` the host's own entries are added.
    pub fn list(&self, found: &Found) -> Option<Vec<(Vec<u8>, EntryKind)>> {
        match found {
            Found::Node { path, inode } if inode.lock().kind == Kind::Dir => {
                let mut names = self.state.lock().tree.children(path);
                if path == b"/dev" {
                    add_host_entries(&mut names);
                }
                Some(names)
            }
            Found::View { entry: Entry::Dir(names), .. } => {
                Some(names.iter().map(|(name, kind)| (name.clone().into_bytes(), kind.clone())).collect())
            }
            _ => None,
        }
    }

    /// The device that a path names to a process whose current directory is `cwd`.
    ///
    /// # Errors
    /// ENOENT, ENOTBLK when it is no block device.
    pub fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        match self.find(path, true)? {
            Found::Node { inode, .. } => match inode.lock().kind {
                Kind::Block(dev) => Ok(dev),
                _ => Err(Errno::ENOTBLK),
            },
            Found::View { .. } => Err(Errno::ENOTBLK),
            Found::Elsewhere(path) => {
                let stat = rustix::fs::stat(path.as_slice()).map_err(errno)?;
                let marker = self.marker(stat.st_dev, stat.st_ino);
                match marker.map(|inode| inode.lock().kind.clone()) {
                    Some(Kind::Block(dev)) => Ok(dev),
                    _ => Err(Errno::ENOTBLK),
                }
            }
        }
    }

    /// Makes a node, directory, symlink or file.
    ///
    /// # Errors
    /// EEXIST, ENOENT without the directory, EPERM outside `/dev`.
    pub fn make(&self, path: &[u8], kind: Kind, mode: u32) -> Result<(), Errno> {
        self.caught_up(|state| {
            let path = resolve::place(self.sources(state), path)?;
            state.tree.make(&path, kind, mode)
        })
    }

    /// Makes a regular file for an `open` that creates one; the file really lies at the returned path.
    ///
    /// # Errors
    /// As [`View::make`].
    pub fn make_file(&self, path: &[u8]) -> Result<PathBuf, Errno> {
        let mut state = self.state.lock();
        let path = resolve::place(self.sources(&state), path)?;
        let backing = self.files.join(format!("{}", state.tree.next_ino()));
        state.tree.make(&path, Kind::File(backing.clone()), 0o644)?;
        Ok(backing)
    }

    /// Removes a name.
    ///
    /// # Errors
    /// As `unlink` and `rmdir`.
    pub fn remove(&self, path: &[u8], directory: bool) -> Result<(), Errno> {
        self.caught_up(|state| {
            let path = resolve::place(self.sources(state), path)?;
            state.tree.remove(&path, directory)
        })
    }

    /// Renames.
    ///
    /// # Errors
    /// As `renameat2`.
    pub fn rename(&self, from: &[u8], to: &[u8], flags: u32) -> Result<(), Errno> {
        self.caught_up(|state| {
            let from = resolve::place(self.sources(state), from)?;
            let to = resolve::place(self.sources(state), to)?;
            state.tree.rename(&from, &to, flags)
        })
    }

    /// Gives a node a second name.
    ///
    /// # Errors
    /// As `link`.
    pub fn link(&self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        self.caught_up(|state| {
            let from = resolve::place(self.sources(state), from)?;
            let to = resolve::place(self.sources(state), to)?;
            state.tree.link(&from, &to)
        })
    }

    /// Remembers that the real file (`dev`, `ino`) stands for a device node.
    pub fn add_marker(&self, dev: u64, ino: u64, kind: Kind, mode: u32) {
        let mut state = self.state.lock();
        let inode = Inode::new(ino, kind, mode);
        state.markers.insert((dev, ino), Arc::new(Mutex::new(inode)));
    }

    /// The node that a real file stands for.
    pub fn marker(&self, dev: u64, ino: u64) -> Option<Arc<Mutex<Inode>>> {
        self.state.lock().markers.get(&(dev, ino)).cloned()
    }

    /// `stat` of a node.
    pub fn stat_inode(&self, inode: &Mutex<Inode>) -> Stat {
        inode.lock().stat(self.dev_dev)
    }
}

/// A host error as the kernel's number.
pub fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error()).unwrap_or(Errno::EIO)
}

/// Adds the host's own entries of `/dev`, except its block devices, which do not exist here.
fn add_host_entries(names: &mut Vec<(Vec<u8>, EntryKind)>) {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::FileTypeExt;
    let Ok(entries) = std::fs::read_dir("/dev") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().into_vec();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_block_device()
            || !host_dev_shows(&name, kind.is_dir())
            || names.iter().any(|(have, _)| *have == name)
        {
            continue;
        }
        let kind = if kind.is_dir() {
            EntryKind::Dir
        } else if kind.is_symlink() {
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            EntryKind::Link(target.into_os_string().into_vec())
        } else {
            EntryKind::Node
        };
        names.push((name, kind));
    }
}
