//! A udev for the machine's block devices: links in `/dev`, and the database that libudev reads.
//!
//! It does what the rules of udev and of the device mapper do for these devices, and nothing else: no rules files are read,
//! no programs but `blkid` are run, and its events are not sent to programs. Programs that make their own nodes say so
//! in the cookie.
//!
//! Links by name are made at once. What needs a look into a device (`disk/by-uuid` and its kin) is done by a thread, and a
//! cookie is completed when that is through.

use std::collections::{BTreeMap, VecDeque};

use dmlab_machine::{DeviceInfo, Uevent, UeventAction};

use super::node::Kind;
use super::tree::Tree;

mod database;
mod probe;
mod rules;

pub(super) use database::view;
pub(super) use probe::{Content, look};

/// Flags of libdevmapper, where it puts them in the cookie.
#[derive(Clone, Copy, Default)]
struct Flags(u32);

impl Flags {
    /// `DM_UDEV_DISABLE_DM_RULES_FLAG`.
    const NO_DM_RULES: u32 = 0x1 << 16;
    /// `DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG`.
    const NO_SUBSYSTEM_RULES: u32 = 0x2 << 16;
    /// `DM_UDEV_DISABLE_DISK_RULES_FLAG`.
    const NO_DISK_RULES: u32 = 0x4 << 16;

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// What is known of a device.
#[derive(Default)]
struct Record {
    /// Its number, as the database's file names it.
    number: String,
    flags: Flags,
    /// Whether a resume with a cookie was seen; before that mapped devices are left alone.
    is_active: bool,
    /// What was found in it.
    content: Content,
    /// Links that point to it, below `/dev`.
    links: Vec<String>,
    /// The lines of the database.
    properties: Vec<(String, String)>,
    /// How many events it has had.
    serial: u64,
}

/// A device to be looked into.
pub(super) struct Job {
    pub(super) name: String,
    serial: u64,
    cookie: Option<u32>,
}

/// The state of udev.
#[derive(Default)]
pub(super) struct Udev {
    /// Whether it runs for all to see, and completes cookies.
    is_running: bool,
    /// Whether it looks into devices.
    looks: bool,
    /// By device name (`dm-0`).
    records: BTreeMap<String, Record>,
    jobs: VecDeque<Job>,
    is_at_work: bool,
    /// Cookies that are complete: whoever holds the semaphores is yet to hear of them.
    completed: Vec<u32>,
}

impl Udev {
    pub(super) fn new(is_running: bool, looks: bool) -> Udev {
        Udev { is_running, looks: is_running && looks, ..Udev::default() }
    }

    /// Whether programs can see that it runs.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Whether nothing is left to be looked into.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && !self.is_at_work
    }

    pub(super) fn handle(&mut self, tree: &mut Tree, events: &[Uevent], devices: &[DeviceInfo]) {
        for event in events.iter().filter(|event| event.subsystem == "block") {
            let Some(name) = event.var("DEVNAME") else { continue };
            let cookie = event.var("DM_COOKIE").and_then(|cookie| cookie.parse::<u32>().ok());
            let device = devices.iter().find(|device| device.name == name);
            let is_left = match (event.action, device) {
                (UeventAction::Remove, _) | (_, None) => {
                    self.forget(tree, name);
                    false
                }
                (_, Some(device)) => self.came(tree, device, event.action, cookie),
            };
            // The last rule: the waiter finds the nodes made.
            if let (true, false, Some(cookie)) = (self.is_running, is_left, cookie) {
                self.completed.push(cookie);
            }
        }
    }

    /// The cookies that are complete since this was last asked.
    pub(super) fn take_completed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.completed)
    }

    /// Whether it watches a device, so that it hears of writes to it.
    pub(super) fn watches(&self, device: &DeviceInfo) -> bool {
        let record = self.records.get(&device.name);
        self.looks && record.is_some_and(|record| rules::are_looked_into(device, record))
    }

    /// Brings in devices that were there before the first event.
    pub(super) fn begin(&mut self, tree: &mut Tree, devices: &[DeviceInfo]) {
        for device in devices.iter().filter(|device| device.dm.is_none()) {
            self.came(tree, device, UeventAction::Add, None);
        }
    }

    /// A device has come or changed. Returns whether its cookie is left to the look into it.
    fn came(
        &mut self,
        tree: &mut Tree,
        device: &DeviceInfo,
        action: UeventAction,
        cookie: Option<u32>,
    ) -> bool {
        let record = self.records.entry(device.name.clone()).or_default();
        record.number = device.dev.to_string();
        record.serial += 1;
        if let (UeventAction::Change, Some(cookie)) = (action, cookie) {
            record.flags = Flags(cookie);
            record.is_active = true;
        }
        let wants = self.looks && rules::are_looked_into(device, record);
        let is_suspended = device.dm.as_ref().is_some_and(|dm| dm.suspended);
        if !wants && !is_suspended {
            record.content = Content::default();
        }
        let job = Job { name: device.name.clone(), serial: record.serial, cookie };
        self.settle(tree, device);
        if wants {
            self.jobs.push_back(job);
        }
        wants
    }

    /// Makes the links that a device has now, and removes those that it had.
    fn settle(&mut self, tree: &mut Tree, device: &DeviceInfo) {
        let Some(record) = self.records.get_mut(&device.name) else { return };
        let wanted = rules::links(device, record, self.is_running);
        for old in std::mem::take(&mut record.links).iter().filter(|old| !wanted.contains(old)) {
            unlink(tree, old, &device.name);
        }
        let made = wanted.into_iter().filter(|link| make(tree, link, &device.name));
        record.links = made.collect();
        record.properties = rules::properties(device, record);
    }

    fn forget(&mut self, tree: &mut Tree, name: &str) {
        let Some(record) = self.records.remove(name) else { return };
        for link in &record.links {
            unlink(tree, link, name);
        }
    }

    /// The next device to be looked into.
    pub(super) fn take_job(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front();
        self.is_at_work = job.is_some();
        job
    }

    /// What was found in a device.
    pub(super) fn found(
        &mut self,
        tree: &mut Tree,
        job: &Job,
        content: Content,
        device: Option<&DeviceInfo>,
    ) {
        self.is_at_work = false;
        let is_latest = |record: &&mut Record| record.serial == job.serial;
        if let (Some(record), Some(device)) = (self.records.get_mut(&job.name).filter(is_latest), device) {
            record.content = content;
            self.settle(tree, device);
        }
        self.completed.extend(job.cookie);
    }
}

/// Makes a link below `/dev` with the directories on its way. Whether it is there now.
fn make(tree: &mut Tree, link: &str, name: &str) -> bool {
    let path = format!("/dev/{link}").into_bytes();
    let target = target_of(link, name);
    match tree.get(&path).map(|inode| inode.lock().kind.clone()) {
        Some(Kind::Link(old)) if old == target => return true,
        // A link to another device: the one that came last has it.
        Some(Kind::Link(_)) => {
            let _ = tree.remove(&path, false);
        }
        Some(_) => return false,
        None => {}
    }
    for (at, _) in link.match_indices('/') {
        let _is_there = tree.make(format!("/dev/{}", &link[..at]).as_bytes(), Kind::Dir, 0o755);
    }
    tree.make(&path, Kind::Link(target), 0o777).is_ok()
}

fn target_of(link: &str, name: &str) -> Vec<u8> {
    format!("{}{name}", "../".repeat(link.matches('/').count())).into_bytes()
}

/// Removes a link that leads to `name`, and directories that it leaves empty.
fn unlink(tree: &mut Tree, link: &str, name: &str) {
    let path = format!("/dev/{link}").into_bytes();
    let kind = tree.get(&path).map(|inode| inode.lock().kind.clone());
    if kind != Some(Kind::Link(target_of(link, name))) || tree.remove(&path, false).is_err() {
        return;
    }
    let mut directory = link;
    while let Some((above, _)) = directory.rsplit_once('/') {
        if above == "mapper" || tree.remove(format!("/dev/{above}").as_bytes(), true).is_err() {
            return;
        }
        directory = above;
    }
}
