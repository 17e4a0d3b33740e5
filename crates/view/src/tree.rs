//! The tree of `/dev`, as devtmpfs keeps it: the kernel adds and removes nodes of its devices, programs do what they like.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use dmlab_units::{DevT, Errno};
use libc::{RENAME_EXCHANGE, RENAME_NOREPLACE};
use parking_lot::Mutex;

use super::node::{EntryKind, Inode, Kind};
use super::sysfs::Entry;
use super::udev::{self, Content, Job, Udev};
use dmlab_machine::{DeviceInfo, Machine};

/// `/dev`.
pub(super) struct Tree {
    /// By clean absolute path.
    nodes: BTreeMap<Vec<u8>, Arc<Mutex<Inode>>>,
    next_ino: u64,
    /// Uevents up to this number are in the tree.
    seen: Option<u64>,
    /// What the kernel itself made: path and device.
    made_by_kernel: BTreeMap<Vec<u8>, DevT>,
    udev: Udev,
}

/// What programs look for to know whether udev runs.
pub(super) const UDEV_SIGN: &[u8] = b"/run/udev/control";

/// The group that owns disks.
const DISK_GROUP: u32 = 6;

impl Tree {
    /// The nodes that are always there. `has_udev`: links are udev's, and `looks`: it looks into devices.
    pub(super) fn new(has_udev: bool, looks: bool) -> Tree {
        let mut tree = Tree {
            nodes: BTreeMap::new(),
            next_ino: 0x1_0000,
            seen: None,
            made_by_kernel: BTreeMap::new(),
            udev: Udev::new(has_udev, looks),
        };
        for (path, kind, mode) in [
            (&b"/dev"[..], Kind::Dir, 0o755),
            (b"/dev/mapper", Kind::Dir, 0o755),
            (b"/dev/mapper/control", Kind::Char(DevT::new(10, 236)), 0o600),
            (b"/dev/loop-control", Kind::Char(DevT::new(10, 237)), 0o600),
            (b"/dev/kmsg", Kind::Char(DevT::new(1, 11)), 0o644),
        ] {
            tree.insert(path.to_vec(), kind, mode);
        }
        tree
    }

    /// What there is at a path of `/run/udev`.
    pub(super) fn udev_view(&self, path: &[u8]) -> Option<Entry> {
        udev::view(&self.udev, path)
    }

    /// Whether udev has nothing left to look into.
    pub(super) fn is_udev_idle(&self) -> bool {
        self.udev.is_idle()
    }

    /// The cookies that udev has completed since this was last asked.
    pub(super) fn take_completed(&mut self) -> Vec<u32> {
        self.udev.take_completed()
    }

    /// Whether udev watches a device.
    pub(super) fn is_watched_by_udev(&self, device: &DeviceInfo) -> bool {
        self.udev.watches(device)
    }

    /// The next device that udev is to look into.
    pub(super) fn take_udev_job(&mut self) -> Option<Job> {
        self.udev.take_job()
    }

    /// What udev found in a device.
    pub(super) fn found_by_udev(&mut self, machine: &Machine, job: &Job, content: Content) {
        let device = machine.devices().into_iter().find(|device| device.name == job.name);
        let mut udev = std::mem::take(&mut self.udev);
        udev.found(self, job, content, device.as_ref());
        self.udev = udev;
    }

    /// The next inode number, which the next new node gets.
    pub(super) fn next_ino(&self) -> u64 {
        self.next_ino
    }

    fn insert(&mut self, path: Vec<u8>, kind: Kind, mode: u32) -> Arc<Mutex<Inode>> {
        let inode = Arc::new(Mutex::new(Inode::new(self.next_ino, kind, mode)));
        self.next_ino += 1;
        self.nodes.insert(path, inode.clone());
        inode
    }

    /// Brings in what happened in the kernel since the last time.
    pub(super) fn catch_up(&mut self, machine: &Machine) {
        let last = machine.runtime().uevents().last_seqnum();
        if self.seen == Some(last) {
            return;
        }
        let is_first = self.seen.is_none();
        let events = machine.runtime().uevents().after(self.seen.unwrap_or(0));
        self.seen = Some(last);
        let devices = machine.devices();
        let wanted: BTreeMap<Vec<u8>, DevT> =
            devices.iter().map(|device| ([b"/dev/", device.name.as_bytes()].concat(), device.dev)).collect();
        let gone: Vec<Vec<u8>> =
            self.made_by_kernel.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect();
        for path in gone {
            self.made_by_kernel.remove(&path);
            self.nodes.remove(&path);
        }
        for (path, dev) in wanted {
            if self.made_by_kernel.get(&path) == Some(&dev) {
                continue;
            }
            let is_dm = dev.major() == machine.mapper().major();
            let inode = self.insert(path.clone(), Kind::Block(dev), if is_dm { 0o600 } else { 0o660 });
            if !is_dm {
                inode.lock().gid = DISK_GROUP;
            }
            self.made_by_kernel.insert(path, dev);
        }
        let mut udev = std::mem::take(&mut self.udev);
        if is_first && udev.is_running() {
            udev.begin(self, &devices);
        }
        udev.handle(self, &events, &devices);
        self.udev = udev;
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<&Arc<Mutex<Inode>>> {
        self.nodes.get(path)
    }

    /// Names in a directory.
    pub(super) fn children(&self, dir: &[u8]) -> Vec<(Vec<u8>, EntryKind)> {
        self.below(dir)
            .filter(|(path, _)| !path[dir.len() + 1..].contains(&b'/'))
            .map(|(path, inode)| (path[dir.len() + 1..].to_vec(), inode.lock().entry_kind()))
            .collect()
    }

    fn below<'a>(&'a self, dir: &'a [u8]) -> impl Iterator<Item = (&'a Vec<u8>, &'a Arc<Mutex<Inode>>)> {
        let start = [dir, b"/"].concat();
        self.nodes
            .range::<Vec<u8>, _>((Bound::Excluded(start.clone()), Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(&start))
    }

    fn check_parent(&self, path: &[u8]) -> Result<(), Errno> {
        let parent = parent(path);
        match self.nodes.get(parent) {
            Some(inode) if inode.lock().kind == Kind::Dir => Ok(()),
            Some(_) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    pub(super) fn make(&mut self, path: &[u8], kind: Kind, mode: u32) -> Result<(), Errno> {
        if self.nodes.contains_key(path) {
            return Err(Errno::EEXIST);
        }
        self.check_parent(path)?;
        self.insert(path.to_vec(), kind, mode);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &[u8], directory: bool) -> Result<(), Errno> {
        let inode = self.nodes.get(path).ok_or(Errno::ENOENT)?;
        let kind = inode.lock().kind.clone();
        match (kind, directory) {
            (Kind::Dir, false) => return Err(Errno::EISDIR),
            (Kind::Dir, true) if self.below(path).next().is_some() => return Err(Errno::ENOTEMPTY),
            (Kind::Dir, true) => {}
            (_, true) => return Err(Errno::ENOTDIR),
            (Kind::File(backing), false) => {
                let _ = std::fs::remove_file(backing);
            }
            (_, false) => {}
        }
        if let Some(inode) = self.nodes.remove(path) {
            inode.lock().nr_links -= 1;
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &[u8], to: &[u8], flags: u32) -> Result<(), Errno> {
        let moving = self.nodes.get(from).ok_or(Errno::ENOENT)?.clone();
        self.check_parent(to)?;
        if from == to {
            return Ok(());
        }
        let is_dir = moving.lock().kind == Kind::Dir;
        if is_dir && to.starts_with(&[from, b"/"].concat()) {
            return Err(Errno::EINVAL);
        }
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0 {
            return Err(Errno::EINVAL);
        }
        if flags & RENAME_EXCHANGE != 0 {
            let other = self.nodes.get(to).ok_or(Errno::ENOENT)?.clone();
            if is_dir || other.lock().kind == Kind::Dir {
                return Err(Errno::EINVAL);
            }
            self.nodes.insert(from.to_vec(), other);
            self.nodes.insert(to.to_vec(), moving);
            return Ok(());
        }
        if let Some(target) = self.nodes.get(to) {
            if flags & RENAME_NOREPLACE != 0 {
                return Err(Errno::EEXIST);
            }
            let onto_dir = target.lock().kind == Kind::Dir;
            match (is_dir, onto_dir) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if self.below(to).next().is_some() => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        let inside: Vec<Vec<u8>> = self.below(from).map(|(path, _)| path.clone()).collect();
        for old in inside {
            if let Some(inode) = self.nodes.remove(&old) {
                self.nodes.insert([to, &old[from.len()..]].concat(), inode);
            }
        }
        self.nodes.remove(from);
        self.nodes.insert(to.to_vec(), moving);
        Ok(())
    }

    pub(super) fn link(&mut self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let inode = self.nodes.get(from).ok_or(Errno::ENOENT)?.clone();
        if inode.lock().kind == Kind::Dir {
            return Err(Errno::EPERM);
        }
        if self.nodes.contains_key(to) {
            return Err(Errno::EEXIST);
        }
        self.check_parent(to)?;
        inode.lock().nr_links += 1;
        self.nodes.insert(to.to_vec(), inode);
        Ok(())
    }
}

/// The directory that holds a path.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&b| b == b'/') {
        Some(0) | None => b"/",
        Some(at) => &path[..at],
    }
}
