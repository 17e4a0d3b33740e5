//! Tables are loaded and cleared.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_abi::{DmFlags, MAX_TARGETS, SpecError, TargetSpecs};
use dmlab_runtime::Level;
use dmlab_units::Errno;

use super::{ControlFile, Request};
use crate::mapped_device::QueueMode;
use crate::table::TableBuilder;
use crate::{MappedDevice, Table, limits};

impl ControlFile {
    /// TABLE_LOAD: builds a table and puts it into the inactive slot. The first load also makes the disk.
    pub(super) async fn table_load(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        let table = Arc::new(self.populate(&device, request).await?);
        if let Some(immutable) = device.immutable_type()
            && table.immutable_type().is_none_or(|new| !std::ptr::eq(new, immutable))
            && !table.has_wildcard()
        {
            self.log(format_args!("can't replace immutable target type {}", immutable.name));
            table.destroy().await;
            return Err(Errno::EINVAL);
        }
        if let Err(errno) = self.set_up_queue(&device, &table) {
            table.destroy().await;
            return Err(errno);
        }
        let before = device.inactive.lock().replace(table);
        if let Some(before) = before {
            before.destroy().await;
        }
        request.header.set_flag(DmFlags::INACTIVE_PRESENT, true);
        self.fill_status(&device, request);
        Ok(())
    }

    async fn populate(&self, device: &Arc<MappedDevice>, request: &Request<'_>) -> Result<Table, Errno> {
        let count = request.header.target_count();
        if count > MAX_TARGETS {
            return Err(Errno::EOVERFLOW);
        }
        if count == 0 {
            self.log(format_args!("{}", SpecError::NoTargets));
            return Err(Errno::EINVAL);
        }
        let read_only = request.has(DmFlags::READONLY);
        let mut builder = TableBuilder::new(device, self.mapper.states().clone(), read_only);
        let added = self.add_lines(&mut builder, request, count).await;
        match added.and_then(|()| builder.queue_mode(device)) {
            Ok(queue_mode) => Ok(builder.finish(queue_mode)),
            Err(errno) => {
                builder.abandon().await;
                Err(errno)
            }
        }
    }

    async fn add_lines(
        &self,
        builder: &mut TableBuilder,
        request: &Request<'_>,
        count: u32,
    ) -> Result<(), Errno> {
        for spec in TargetSpecs::new(&request.input, request.header.data_start(), count) {
            let spec = spec.map_err(|error| {
                self.log(format_args!("{error}"));
                if error.is_not_found() {
                    self.log(format_args!("unable to find target"));
                }
                Errno::EINVAL
            })?;
            let find = |name: &[u8]| self.mapper.find_type(name);
            builder
                .add(request.caller, find, spec.start, spec.len, &spec.target_type, &spec.params)
                .await
                .inspect_err(|_| self.log(format_args!("error adding target to table")))?;
        }
        Ok(())
    }

    /// At the first load: fixes how IO comes in, computes the limits, and makes the disk known. Later tables must take
    /// IO in the same form.
    fn set_up_queue(&self, device: &Arc<MappedDevice>, table: &Table) -> Result<(), Errno> {
        let (old, new) = (*device.mode.lock(), table.queue_mode());
        if old != QueueMode::None {
            if old == new {
                return Ok(());
            }
            let (old, new) = (old as u32, new as u32);
            self.log(format_args!(
                "can't change device type (old={old} vs new={new}) after initial table load."
            ));
            return Err(Errno::EINVAL);
        }
        let set_up = limits::calculate(device, table).and_then(|mut limits| {
            limits::restrict(table, &mut limits, device.block.runtime().personality())?;
            Ok(limits)
        });
        match set_up {
            Ok(limits) => device.block().set_limits(limits),
            Err(errno) => {
                let runtime = self.mapper.runtime();
                runtime.log(Level::Err, "device-mapper: core: Cannot calculate initial queue limits");
                self.log(format_args!("unable to set up device queue for new table."));
                return Err(errno);
            }
        }
        *device.mode.lock() = new;
        device.disk.takes_requests.store(new == QueueMode::Request, Ordering::Relaxed);
        device.add_disk()
    }

    /// TABLE_CLEAR: empties the inactive slot.
    pub(super) async fn table_clear(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        let before = device.inactive.lock().take();
        if let Some(before) = before {
            before.destroy().await;
        }
        request.header.set_flag(DmFlags::INACTIVE_PRESENT, false);
        self.fill_status(&device, request);
        Ok(())
    }
}
