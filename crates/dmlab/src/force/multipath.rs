//! States of a multipath.

use dmlab_control::Multipath;

use super::{Force, wrong};
use crate::Error;

impl Force<'_> {
    /// All paths of a multipath are down.
    ///
    /// # Errors
    /// EINVAL when it is no multipath.
    pub fn multipath_all_paths_down(&self, name: &str) -> Result<(), Error> {
        let (_, multipath) = self.line::<Multipath>(name)?;
        let devices = multipath.paths();
        if devices.is_empty() {
            return Err(wrong());
        }
        for device in devices {
            self.lab.message(name, &format!("fail_path {device}"))?;
        }
        Ok(())
    }
}
