//! The messages. `multipathd` and `dmsetup message` send them.

use dmlab_block::Caller;
use dmlab_dm::{device_number, scan_u32};
use dmlab_units::Errno;

use super::paths::MultipathDevice;

impl MultipathDevice {
    /// Carries out a message.
    ///
    /// # Errors
    /// EBUSY while the device is suspended; EINVAL for what is no message or names no group or path of this device;
    /// the errno of a device that can't be found.
    pub(super) fn message(&self, words: &[Vec<u8>], caller: &dyn Caller) -> Result<(), Errno> {
        if self.state.lock().is_suspended {
            return Err(Errno::EBUSY);
        }
        let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match words {
            [only] if is(only, "queue_if_no_path") => self.set_queueing(true),
            [only] if is(only, "fail_if_no_path") => self.set_queueing(false),
            [name, group] if is(name, "disable_group") => {
                self.bypass_group(self.group(group, "bypass_pg")?, true);
            }
            [name, group] if is(name, "enable_group") => {
                self.bypass_group(self.group(group, "bypass_pg")?, false);
            }
            [name, group] if is(name, "switch_group") => {
                self.switch_group(self.group(group, "switch_pg_num")?);
            }
            [name, device] if is(name, "fail_path") => {
                self.for_each_path(device, caller, MultipathDevice::fail_path)?;
            }
            [name, device] if is(name, "reinstate_path") => {
                self.for_each_path(device, caller, MultipathDevice::reinstate_path)?;
            }
            [name, _] => {
                let name = String::from_utf8_lossy(name);
                return self.refuse(format_args!("Unrecognised multipath message received: {name}"));
            }
            _ => {
                let count = words.len();
                return self.refuse(format_args!(
                    "Invalid multipath message arguments. Expected 2 arguments, got {count}."
                ));
            }
        }
        Ok(())
    }

    fn refuse<T>(&self, text: std::fmt::Arguments<'_>) -> Result<T, Errno> {
        self.log.warn(text);
        Err(Errno::EINVAL)
    }

    /// The group that a word names by its number from 1 on.
    fn group(&self, word: &[u8], what: &str) -> Result<usize, Errno> {
        let count = self.state.lock().groups.len();
        match scan_u32(word, self.runtime.personality()).and_then(|number| (number as usize).checked_sub(1)) {
            Some(group) if group < count => Ok(group),
            _ => self.refuse(format_args!("invalid PG number supplied to {what}")),
        }
    }

    /// Applies `change` to each path on the device that a word names. However many change, that is one event.
    fn for_each_path(
        &self,
        word: &[u8],
        caller: &dyn Caller,
        change: impl Fn(&MultipathDevice, usize) -> bool,
    ) -> Result<(), Errno> {
        let dev = device_number(caller, word, self.runtime.personality()).inspect_err(|_| {
            let word = String::from_utf8_lossy(word);
            self.log.warn(format_args!("message: error getting device {word}"));
        })?;
        let (mut found, mut changed) = (Err(Errno::EINVAL), false);
        for path in (0..self.paths.len()).filter(|&path| self.paths[path].dev() == dev) {
            changed |= change(self, path);
            found = Ok(());
        }
        if changed {
            self.paths_changed();
        }
        found
    }
}
