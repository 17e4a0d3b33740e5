//! The little that udev's rules for the device mapper do, for programs that leave the nodes to udev: a link in
//! `/dev/mapper` for each device whose uevent asks for it. Programs that make their own nodes say so in the cookie.

use std::collections::BTreeMap;

use dmlab_machine::{DeviceInfo, Uevent, UeventAction};

use crate::semaphore;

use super::node::Kind;
use super::tree::Tree;

/// `DM_UDEV_DISABLE_DM_RULES_FLAG`, where libdevmapper puts it in the cookie.
const DISABLE_DM_RULES: u32 = 0x1 << 16;

/// Which links were made.
#[derive(Default)]
pub(super) struct Udev {
    /// Whether it runs for all to see, and completes cookies.
    is_running: bool,
    /// By device name (`dm-0`).
    links: BTreeMap<String, Vec<u8>>,
}

impl Udev {
    pub(super) fn new(is_running: bool) -> Udev {
        Udev { is_running, links: BTreeMap::new() }
    }

    /// Whether programs can see that it runs.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    pub(super) fn handle(&mut self, tree: &mut Tree, events: &[Uevent], devices: &[DeviceInfo]) {
        for event in events.iter().filter(|event| event.subsystem == "block") {
            let Some(name) = event.var("DEVNAME") else { continue };
            let cookie = event.var("DM_COOKIE").and_then(|cookie| cookie.parse::<u32>().ok());
            match event.action {
                UeventAction::Change => {
                    if cookie.is_some_and(|cookie| cookie & DISABLE_DM_RULES == 0) {
                        self.link(tree, name, devices);
                    }
                }
                UeventAction::Remove => self.unlink(tree, name),
                UeventAction::Add => {}
            }
            // The last rule: whoever waits finds the nodes made.
            if let (true, Some(cookie)) = (self.is_running, cookie) {
                semaphore::complete(cookie);
            }
        }
    }

    fn link(&mut self, tree: &mut Tree, name: &str, devices: &[DeviceInfo]) {
        let device = devices.iter().find(|device| device.name == name);
        let Some(dm) = device.and_then(|device| device.dm.as_ref()) else { return };
        let path = [b"/dev/mapper/", encode(&dm.name).as_slice()].concat();
        if self.links.get(name) == Some(&path) && tree.get(&path).is_some() {
            return;
        }
        self.unlink(tree, name);
        let target = format!("../{name}").into_bytes();
        if tree.make(&path, Kind::Link(target), 0o777).is_ok() {
            self.links.insert(name.into(), path);
        }
    }

    fn unlink(&mut self, tree: &mut Tree, name: &str) {
        if let Some(path) = self.links.remove(name) {
            let is_ours = tree.get(&path).is_some_and(|inode| matches!(inode.lock().kind, Kind::Link(_)));
            if is_ours {
                let _ = tree.remove(&path, false);
            }
        }
    }
}

/// A device name as a file name, as udev writes it: other bytes than these as `\xHH`.
fn encode(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &b in name {
        if b.is_ascii_alphanumeric() || b"#+-.:=@_\\".contains(&b) || !b.is_ascii() {
            out.push(b);
        } else {
            out.extend_from_slice(format!("\\x{b:02x}").as_bytes());
        }
    }
    out
}
