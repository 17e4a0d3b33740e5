//! Looking into a device: the `blkid` of the host is asked what the bytes at both ends of it are.
//!
//! The bytes are read from the device itself and put into a file, so that the device is not found open for the look, and
//! no program of the host meets a simulated device.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use dmlab_machine::BlockDevice;
use dmlab_machine::read_async;
use dmlab_units::{SECTOR_SIZE, Sector, Sectors};
use rustix::fs::MemfdFlags;

/// How much of a device is looked at, at each of its ends: what blkid reads of those it knows.
const END: u64 = 2 << 20;
/// Where `blkid` is.
const FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What was found in a device: variables as udev has them (`ID_FS_TYPE`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content(Vec<(String, String)>);

impl Content {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Looks into a device. Nothing is found in one that can't be read, and nothing at all without a `blkid`.
pub(crate) fn look(device: &Arc<BlockDevice>) -> Content {
    copy(device).and_then(|copy| ask(&copy)).unwrap_or_default()
}

/// A file as large as the device, with the bytes of both its ends.
fn copy(device: &Arc<BlockDevice>) -> Option<File> {
    let size = device.capacity().0 * SECTOR_SIZE;
    let file = File::from(rustix::fs::memfd_create("dmlab-udev", MemfdFlags::CLOEXEC).ok()?);
    file.set_len(size).ok()?;
    let put = |from: u64, to: u64| -> Option<()> {
        let (sector, len) = (Sector(from / SECTOR_SIZE), Sectors((to - from) / SECTOR_SIZE));
        let bytes = device.runtime().block_on(read_async(device, sector, len)).ok()?.ok()?;
        // What is zero is left a hole.
        if bytes.iter().any(|&byte| byte != 0) {
            file.write_all_at(&bytes, from).ok()?;
        }
        Some(())
    };
    put(0, size.min(END))?;
    if size > END {
        put(END.max(size - END), size)?;
    }
    Some(file)
}

fn ask(copy: &File) -> Option<Content> {
    let program = FOLDERS
        .iter()
        .map(|folder| format!("{folder}/blkid"))
        .find(|path| std::path::Path::new(path).exists())?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), copy.as_raw_fd());
    let mut asked = Command::new(program)
        .args(["-p", "-o", "udev", &path])
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut text = String::new();
    let read = asked.stdout.take().map(|mut out| out.read_to_string(&mut text));
    // Its end may have been waited for by another: only what it said counts.
    let _ = asked.wait();
    read?.ok()?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    Some(Content(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}
