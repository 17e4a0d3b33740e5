//! The process that a library call looks like to the kernel.

use dmlab_machine::{Caller, Kernel, Machine};
use dmlab_units::{DevT, Errno};
use std::sync::atomic::{AtomicBool, Ordering};

/// A process of the test itself: it sees the machine's devices where Linux has them, without a file system between.
pub(crate) struct Insider<'a> {
    machine: &'a Machine,
    is_admin: bool,
    is_killed: AtomicBool,
}

impl Insider<'_> {
    /// Root.
    pub(crate) fn new(machine: &Machine) -> Insider<'_> {
        Insider { machine, is_admin: true, is_killed: AtomicBool::new(false) }
    }

    /// A caller without privileges.
    pub(crate) fn unprivileged(machine: &Machine) -> Insider<'_> {
        Insider { machine, is_admin: false, is_killed: AtomicBool::new(false) }
    }

    /// Whether a fault has killed it.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::Relaxed)
    }
}

impl Caller for Insider<'_> {
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        lookup(self.machine, path)
    }

    fn is_admin(&self) -> bool {
        self.is_admin
    }

    fn kill(&self) {
        self.is_killed.store(true, Ordering::Relaxed);
    }
}

/// The block device at `path`. Below `/dev/mapper` names are looked up as they are; the nodes that libdevmapper would
/// make there are not needed.
pub(crate) fn lookup(machine: &Machine, path: &[u8]) -> Result<DevT, Errno> {
    match path.strip_prefix(b"/dev/mapper/") {
        Some(b"control") => Err(Errno::ENOTBLK),
        Some(name) => machine.mapper().by_name(name).map(|device| device.dev()).ok_or(Errno::ENOENT),
        None => Kernel(machine.registry()).lookup_bdev(path),
    }
}
