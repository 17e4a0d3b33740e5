//! Suspend, resume, swap: how a device changes its table under running IO (kernel/dm-core.md#life-of-a-target).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_block::submit;
use dmlab_runtime::{AsyncMutexGuard, Interrupt, Interrupted, Level, UeventAction, interruptible};
use dmlab_units::Errno;

use crate::io_state::{BLOCKED, NOFLUSH, SUSPENDED};
use crate::limits;
use crate::{MappedDevice, Table};

/// How to suspend.
#[derive(Clone, Copy, Debug, Default)]
pub struct SuspendFlags {
    /// Do not wait for what targets have queued; let them have bios queued again.
    pub noflush: bool,
    /// Do not freeze the file system on it.
    pub skip_lockfs: bool,
}

impl MappedDevice {
    /// Stops the device: no bio is in flight when this returns, and those that come wait.
    ///
    /// # Errors
    /// EINTR when a signal ends the wait for bios in flight; EIO when buffered writes cannot reach the table that is
    /// about to stop. Then everything is as it was.
    pub async fn suspend(&self, flags: SuspendFlags, interrupt: Option<&Interrupt>) -> Result<(), Errno> {
        let _held = match interruptible(interrupt, self.lock_for_state()).await {
            Ok(held) => held,
            Err(Interrupted) => return Err(Errno::EINTR),
        };
        if self.is_suspended() {
            return Ok(());
        }
        self.suspend_locked(flags, interrupt).await
    }

    /// Takes the lock once no other device has this one stopped.
    async fn lock_for_state(&self) -> AsyncMutexGuard<'_, ()> {
        loop {
            let held = self.suspend_lock.lock().await;
            if !self.is_suspended_internally() {
                return held;
            }
            drop(held);
            self.internal_changed.until(|| !self.is_suspended_internally()).await;
        }
    }

    async fn suspend_locked(&self, flags: SuspendFlags, interrupt: Option<&Interrupt>) -> Result<(), Errno> {
        let table = self.live_table();
        self.io.set(NOFLUSH, flags.noflush);
        if let Some(table) = &table {
            for line in table.lines() {
                line.target.presuspend(flags.noflush).await;
            }
        }
        // What Linux does here is to freeze the file system, if one is mounted, and to write the device's page cache
        // back. None is ever mounted from a simulated device.
        if table.is_some()
            && !flags.noflush
            && !flags.skip_lockfs
            && let Err(errno) = self.block.write_back()
        {
            self.give_up(table.as_ref()).await;
            return Err(errno);
        }
        self.io.set(BLOCKED, true);
        let drained = self.io.in_flight.drain();
        let waited = interruptible(interrupt, drained).await;
        if waited == Err(Interrupted) {
            self.give_up(table.as_ref()).await;
            return Err(Errno::EINTR);
        }
        self.io.set(SUSPENDED, true);
        if let Some(table) = &table {
            for line in table.lines() {
                line.target.postsuspend().await;
            }
        }
        Ok(())
    }

    /// Undoes a suspend that did not come to its end.
    async fn give_up(&self, table: Option<&Arc<Table>>) {
        self.release_bios();
        for line in table.iter().flat_map(|table| table.lines()) {
            line.target.presuspend_undo().await;
        }
    }

    /// Starts the device again with the table it has.
    ///
    /// # Errors
    /// EINVAL without a live table; a target's refusal. The device stays suspended.
    pub async fn resume(&self) -> Result<(), Errno> {
        let _held = self.lock_for_state().await;
        if !self.is_suspended() {
            return Ok(());
        }
        let table = self.live_table().ok_or(Errno::EINVAL)?;
        for line in table.lines() {
            if let Err(errno) = line.target.preresume().await {
                let (dev, kind) = (self.dev, line.kind.name);
                let text = format!("{dev}: {kind}: preresume failed, error = -{}", errno.raw());
                self.io.runtime.log(Level::Err, format!("device-mapper: table: {text}"));
                return Err(errno);
            }
        }
        for line in table.lines() {
            line.target.resume().await;
        }
        self.io.set(SUSPENDED, false);
        self.release_bios();
        Ok(())
    }

    /// Stops the device on behalf of another (a pool stops its thin devices), without flushing; such stops nest.
    ///
    /// A device that is suspended already only takes note.
    pub async fn internal_suspend(&self) {
        let _held = self.suspend_lock.lock().await;
        if self.internal_suspends.fetch_add(1, Ordering::AcqRel) > 0 || self.is_suspended() {
            return;
        }
        let table = self.live_table();
        self.io.set(NOFLUSH, true);
        for line in table.iter().flat_map(|table| table.lines()) {
            line.target.presuspend(true).await;
        }
        self.io.set(BLOCKED, true);
        self.io.in_flight.drain().await;
        for line in table.iter().flat_map(|table| table.lines()) {
            line.target.postsuspend().await;
        }
    }

    /// Ends one such stop; the last lets the device go on, unless it is suspended by itself too.
    pub async fn internal_resume(&self) {
        let _held = self.suspend_lock.lock().await;
        if self.internal_suspends.fetch_sub(1, Ordering::AcqRel) == 1 {
            if !self.is_suspended() {
                for line in self.live_table().iter().flat_map(|table| table.lines()) {
                    line.target.resume().await;
                }
                self.release_bios();
            }
            self.internal_changed.wake_all();
        }
    }

    /// Whether another device has stopped this one.
    pub fn is_suspended_internally(&self) -> bool {
        self.internal_suspends.load(Ordering::Acquire) > 0
    }

    /// Sends the deferred bios to the table in their order, and lets further ones through.
    fn release_bios(&self) {
        self.io.set(BLOCKED | NOFLUSH, false);
        while let Some(bio) = self.io.next_deferred() {
            submit(bio);
        }
    }

    /// Makes `table` the live one of a suspended device and returns the one before.
    ///
    /// # Errors
    /// EINVAL when the table does not fit its devices; the old one then stays.
    pub(crate) fn swap_table(&self, table: &Arc<Table>) -> Result<Option<Arc<Table>>, Errno> {
        let live = self.live_table();
        // A table without data devices keeps what the live one had (kernel/dm-core.md#queue-limits).
        let base = match live {
            Some(_) if table.has_no_data_devices() => *self.block.limits(),
            _ => limits::calculate(self, table)?,
        };
        self.bind(table, base)
    }

    fn bind(&self, table: &Arc<Table>, base: dmlab_block::QueueLimits) -> Result<Option<Arc<Table>>, Errno> {
        let mut limits = base;
        limits::restrict(table, &mut limits, self.io.runtime.personality())?;
        if table.size() != self.block.capacity() {
            *self.disk.geometry.lock() = Default::default();
        }
        self.block.set_capacity(table.size());
        self.block.set_limits(limits);
        Ok(self.set_live(Some(table.clone())))
    }

    /// Sets the disk's read-only state from its new table, and says so if it changed.
    pub(crate) fn follow_table_mode(&self, table: &Table) {
        let read_only = table.is_read_only();
        if self.block.set_read_only(read_only) {
            self.uevent(UeventAction::Change, vec![("DISK_RO", u32::from(read_only).to_string())]);
        }
    }
}
