//! The hook that sees each ioctl of the control node, and may have it fail: how faults get in at the kernel boundary.

use dmlab_abi::{Command, Header};
use dmlab_block::Caller;
use dmlab_units::{DevT, Errno};

use super::ControlFile;
use crate::BoxFuture;

/// An ioctl, as a hook sees it.
pub struct IoctlSeen<'a> {
    /// What it asks for.
    pub command: Command,
    /// The name of the device that it is about; empty when it names none, or one that isn't there.
    pub name: Vec<u8>,
    /// The number of that device, if it is there.
    pub dev: Option<DevT>,
    /// Whether the command has been carried out, well, and only its caller does not know yet.
    pub is_done: bool,
    /// The caller that makes it.
    pub caller: &'a dyn Caller,
}

/// Looks at each ioctl whose request has been read and found well-formed, before it is carried out and after.
pub trait IoctlHook: Send + Sync {
    /// Whether it wants to see any: what is asked at each ioctl.
    fn is_on(&self) -> bool;

    /// Looks at one, and waits if it likes.
    ///
    /// # Errors
    /// What the caller gets instead of an answer.
    fn look<'a>(&'a self, seen: IoctlSeen<'a>) -> BoxFuture<'a, Result<(), Errno>>;
}

impl ControlFile {
    /// Shows a request to the machine's hook, if there is one that wants to see it.
    pub(super) async fn show(
        &self,
        command: Command,
        header: Option<&Header>,
        caller: &dyn Caller,
        is_done: bool,
    ) -> Result<(), Errno> {
        let Some(hook) = self.mapper.ioctl_hook().filter(|hook| hook.is_on()) else { return Ok(()) };
        let (name, dev) = header.map(|header| self.named_by(header)).unwrap_or_default();
        hook.look(IoctlSeen { command, name, dev, is_done, caller }).await
    }

    /// The device that a request is about, looked up without a word in the log.
    fn named_by(&self, header: &Header) -> (Vec<u8>, Option<DevT>) {
        let found = if !header.uuid().is_empty() && header.name().is_empty() {
            self.mapper.by_uuid(header.uuid())
        } else if !header.name().is_empty() {
            self.mapper.by_name(header.name())
        } else {
            header.dev().and_then(|dev| self.mapper.by_dev(dev))
        };
        match found {
            Some(device) => (device.names().name, Some(device.dev())),
            None => (header.name().to_vec(), None),
        }
    }
}
