//! Parameters of kernel modules, as a boot line or `/sys/module` gives them.

use dmlab_dm::parse_u32_strict;
use dmlab_targets::multipath;
use dmlab_units::Errno;

use crate::Machine;

/// The one that there is: what others set is a constant of the reference machine.
const QUEUE_IF_NO_PATH_TIMEOUT: &str = "dm_multipath.queue_if_no_path_timeout_secs";

impl Machine {
    /// Names of the parameters that can be set: `MODULE.PARAMETER`.
    pub const PARAMETERS: &[&str] = &[QUEUE_IF_NO_PATH_TIMEOUT];

    /// The value of a parameter, as its file in `/sys/module` shows it.
    pub fn parameter(&self, name: &str) -> Option<String> {
        (name == QUEUE_IF_NO_PATH_TIMEOUT)
            .then(|| self.multipath_parameters().queue_if_no_path_timeout_secs().to_string())
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// ENOENT for one that there isn't, EINVAL for a value that it can't have.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<(), Errno> {
        if name != QUEUE_IF_NO_PATH_TIMEOUT {
            return Err(Errno::ENOENT);
        }
        let secs = parse_u32_strict(value.as_bytes()).ok_or(Errno::EINVAL)?;
        self.multipath_parameters().set_queue_if_no_path_timeout_secs(secs);
        Ok(())
    }

    fn multipath_parameters(&self) -> std::sync::Arc<multipath::Parameters> {
        self.mapper().states().get()
    }
}
