//! Questions that change nothing.

use dmlab_abi::{
    DmFlags, HEADER_SIZE, NamesWriter, StatusWriter, TargetSpec, TargetVersion, encode_deps,
    encode_versions_over,
};
use dmlab_runtime::{Interrupted, interruptible};
use dmlab_units::{DevT, Errno};

use super::{ControlFile, Request};
use crate::{MappedDevice, StatusKind, Table, TargetType};

impl ControlFile {
    /// LIST_DEVICES: name and uuid of the request are prefixes that both must match.
    pub(super) fn list_devices(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let wants_uuid = request.has(DmFlags::UUID);
        let (name_prefix, uuid_prefix) = (request.header.name(), request.header.uuid());
        let mut writer = NamesWriter::new(request.under());
        self.mapper.each_named(|name, device| {
            let uuid = device.uuid.as_deref();
            if name.starts_with(name_prefix) && uuid.unwrap_or(b"").starts_with(uuid_prefix) {
                writer.push(device.dev, name, device.events.number(), wants_uuid.then_some(uuid));
            }
        });
        let payload = writer.finish();
        request.header.set_data_start(HEADER_SIZE as u32);
        // Even an empty list wants room for the marker of its end, which it does not count.
        if request.room() < payload.len().max(8) {
            request.buffer_full();
        } else {
            request.payload = Some(payload);
        }
        Ok(())
    }

    /// LIST_VERSIONS: all kinds of target, the one registered last first.
    pub(super) fn list_versions(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let versions: Vec<TargetVersion> =
            self.mapper.types().into_iter().map(|kind| self.version_of(kind)).collect();
        request.reply(encode_versions_over(&versions, request.under()));
        Ok(())
    }

    /// GET_TARGET_VERSION: the name of the request is a kind of target.
    pub(super) fn target_version(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let kind = self.mapper.find_type(request.header.name()).ok_or(Errno::EINVAL)?;
        request.reply(encode_versions_over(&[self.version_of(kind)], request.under()));
        Ok(())
    }

    fn version_of(&self, kind: &TargetType) -> TargetVersion {
        let version = self.mapper.runtime().personality().target_version(kind.name, kind.version);
        TargetVersion { name: kind.name.into(), version }
    }

    /// DEV_STATUS.
    pub(super) fn dev_status(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        self.fill_status(&device, request);
        Ok(())
    }

    /// TABLE_DEPS: the devices of a table, the one opened last first (recorded: `core/deps-forms`).
    pub(super) fn table_deps(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        self.fill_status(&device, request);
        let Some(table) = chosen_table(&device, request) else { return Ok(()) };
        let mut devs: Vec<DevT> = table.devices().iter().map(|device| device.dev()).collect();
        devs.reverse();
        // The word behind the count is the request's own (recorded: `raw/ioctls`).
        let pad = request.under().get(4..8);
        let pad = pad.map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        request.reply(encode_deps(&devs, pad));
        Ok(())
    }

    /// TABLE_STATUS.
    pub(super) async fn table_status(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        self.fill_status(&device, request);
        if let Some(table) = chosen_table(&device, request) {
            self.retrieve_status(&table, request).await;
        }
        Ok(())
    }

    /// DEV_WAIT: until the device's event number is another than the request's, then as TABLE_STATUS.
    pub(super) async fn dev_wait(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        // A device that is removed meanwhile is still answered for with the table it had.
        let table = chosen_table(&device, request);
        let moved = device.events().moved_from(request.header.event_nr());
        match interruptible(request.caller.interrupt(), moved).await {
            Ok(()) => {}
            Err(Interrupted) => return Err(Errno::EINTR),
        }
        self.fill_status(&device, request);
        if let Some(table) = chosen_table(&device, request).or(table) {
            self.retrieve_status(&table, request).await;
        }
        Ok(())
    }

    async fn retrieve_status(&self, table: &Table, request: &mut Request<'_>) {
        let kind = if request.has(DmFlags::STATUS_TABLE) {
            StatusKind::Table
        } else if request.has(DmFlags::IMA_MEASUREMENT) {
            StatusKind::Ima
        } else {
            StatusKind::Info
        };
        request.header.set_data_start(HEADER_SIZE as u32);
        request.header.set_target_count(table.lines().len() as u32);
        let mut writer = StatusWriter::new(request.under());
        let mut is_full = false;
        let personality = self.mapper.runtime().personality();
        for line in table.lines() {
            let text = line.status(kind, request.has(DmFlags::NOFLUSH), personality).await;
            let spec = TargetSpec {
                start: line.start,
                len: line.len,
                target_type: line.kind.name.into(),
                params: text.map_or_else(|| writer.text_under().to_vec(), String::into_bytes),
            };
            if !writer.push(&spec) {
                is_full = true;
                break;
            }
        }
        let payload = writer.finish();
        if is_full {
            request.buffer_full();
        }
        if !payload.is_empty() {
            request.payload = Some(payload);
        }
    }
}

fn chosen_table(device: &MappedDevice, request: &Request<'_>) -> Option<std::sync::Arc<Table>> {
    if request.has(DmFlags::QUERY_INACTIVE_TABLE) { device.inactive_table() } else { device.live_table() }
}
