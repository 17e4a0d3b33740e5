//! The type of a table: whether its device takes bios or the requests of a request queue
//! (kernel/dm-core.md#the-type-of-a-table).
//!
//! Bios carry the IO here in either case. What the type decides is what may stand in one table, on which devices it
//! may stand, and which tables may take its place later.

use dmlab_runtime::Level;
use dmlab_units::Errno;

use crate::{MappedDevice, QueueMode, QueueType, TableBuilder, TableDevice, TableEntry, TargetFeatures};

impl TableBuilder {
    /// The type that the lines make together, for a device that may have a type already.
    ///
    /// # Errors
    /// EINVAL when they contradict each other or their devices; the log says how.
    pub(crate) fn determine_type(
        &self,
        device: &MappedDevice,
        lines: &[TableEntry],
        devices: &[TableDevice],
    ) -> Result<QueueMode, Errno> {
        let refuse = |text: &str| {
            for text in [text, "unable to determine table type"] {
                self.runtime().log(Level::Err, format!("device-mapper: table: {text}"));
            }
            Err(Errno::EINVAL)
        };
        let has = |queue_type| lines.iter().any(|line| line.settings.queue_type == queue_type);
        let (bios, requests) = (has(QueueType::Bios), has(QueueType::Requests));
        if bios && requests {
            return refuse("Inconsistent table: different target types can't be mixed up");
        }
        // What can be either is what the device is already.
        let follows_device = !bios && !requests && *device.mode.lock() == QueueMode::Request;
        if !requests && !follows_device {
            return Ok(QueueMode::Bio);
        }
        let [line] = lines else {
            return refuse("request-based DM doesn't support multiple targets");
        };
        if devices.is_empty() {
            // A line without devices has none to ask, and keeps the mode that its line says. A device of the other mode
            // refuses it.
            return Ok(QueueMode::Request);
        }
        if !line.kind.features.contains(TargetFeatures::IMMUTABLE) {
            return refuse("table load rejected: immutable target is required");
        }
        if !line.settings.max_io_len.is_zero() {
            return refuse("table load rejected: immutable target that splits IO is not supported");
        }
        if !devices.iter().all(|device| device.device().ops().takes_requests()) {
            return refuse("table load rejected: including non-request-stackable devices");
        }
        Ok(QueueMode::Request)
    }
}
