//! The pool: what all thin devices on one metadata device share.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use dmlab_block::{Bio, BlkStatus, BlockDevice};
use dmlab_dm::kit::{CellKey, InFlight, Prison, TargetLog, Worker};
use dmlab_dm::{MappedDevice, TableEvents};
use dmlab_runtime::{AsyncMutex, AsyncMutexGuard, Level, RateLimit, Runtime, WaitQueue};
use dmlab_units::{DevT, Errno, Sectors, ThinBlock, ThinId};
use parking_lot::Mutex;

use super::binding::{Binding, Features};
use super::commit_timer::CommitTimer;
use super::mapping_cache::MappingCache;
use super::metadata::ThinMetadata;
use super::modes::{CurrentMode, Mode};
use super::no_space::NoSpace;
use super::provision::NewMapping;

/// A thin device as its pool knows it, shared by its target and the worker.
pub(super) struct ThinDevice {
    pub(super) id: ThinId,
    pub(super) mapped_device: Weak<MappedDevice>,
    pub(super) origin: Option<Arc<BlockDevice>>,
    /// Size of the external origin, taken at each resume.
    pub(super) origin_size: Mutex<Sectors>,
    /// First sector of the target within its mapped device.
    pub(super) start: u64,
    pub(super) queue: Mutex<VecDeque<Bio<'static>>>,
    /// A suspend without flushing is under way: queued bios go back to the core.
    pub(super) is_requeueing: AtomicBool,
    pub(super) mappings: MappingCache,
}

/// All pools of a machine.
#[derive(Default)]
pub(super) struct Pools {
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Pools {
    fn all(&self) -> Vec<Arc<Pool>> {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.iter().filter_map(Weak::upgrade).filter(|pool| !pool.worker.is_stopped()).collect()
    }

    pub(super) fn add(&self, pool: &Arc<Pool>) {
        self.pools.lock().push(Arc::downgrade(pool));
    }

    pub(super) fn on_metadata(&self, metadata: DevT) -> Option<Arc<Pool>> {
        self.all().into_iter().find(|pool| pool.metadata_dev == metadata)
    }

    pub(super) fn of_device(&self, dev: DevT) -> Option<Arc<Pool>> {
        self.all().into_iter().find(|pool| pool.dev == dev)
    }
}

pub(super) struct Pool {
    this: Weak<Pool>,
    /// The pool's mapped device.
    pub(super) dev: DevT,
    pub(super) metadata_dev: DevT,
    pub(super) block_size: Sectors,
    /// log2 of the block size, if it is a power of two.
    block_shift: Option<u32>,
    /// The data device: another one makes another pool.
    pub(super) data: Arc<BlockDevice>,
    pub(super) mode: CurrentMode,
    /// No bio of a thin device comes, and there is no timed commit.
    pub(super) is_suspended: AtomicBool,
    pub(super) binding: Mutex<Binding>,
    /// IMPORTANT: locked before `binding` where both are; no other two of these locks are held together.
    pub(super) no_space: Mutex<NoSpace>,
    pub(super) commit_timer: Mutex<CommitTimer>,
    pub(super) active_thins: Mutex<Vec<Arc<ThinDevice>>>,
    /// Data blocks that are full and want to be mapped, in the order in which they became so.
    pub(super) prepared_mappings: Mutex<Vec<NewMapping>>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) lines: TargetLog,
    metadata: AsyncMutex<ThinMetadata>,
    /// Thin devices that were closed while the metadata was in use.
    closed: Mutex<Vec<ThinId>>,
    /// Blocks that the worker is at work on, or whose new data blocks are being filled.
    pub(super) prison: Prison<Queued>,
    /// Does all that takes more than a lookup, until no table uses the pool any more.
    pub(super) worker: Worker,
    /// Bios that thin devices have sent to the data device.
    in_flight: InFlight,
    /// Those of them that read a block which a snapshot shares.
    shared_reads: AtomicUsize,
    pub(super) quiet: WaitQueue,
    pub(super) error_limit: RateLimit,
    /// A block of zeros, made when one is first needed.
    pub(super) zero_block: OnceLock<Arc<[u8]>>,
}

/// A bio, and the thin device it was sent to.
pub(super) type Queued = (Arc<ThinDevice>, Bio<'static>);

impl Pool {
    pub(super) fn new(
        dev: DevT,
        metadata: ThinMetadata,
        data: Arc<BlockDevice>,
        features: Features,
        events: TableEvents,
    ) -> Arc<Pool> {
        let runtime = data.runtime().clone();
        let now = runtime.now();
        let block_size = metadata.data_block_size();
        Arc::new_cyclic(|this| Pool {
            this: this.clone(),
            dev,
            metadata_dev: metadata.device().dev(),
            block_size,
            block_shift: block_size.0.is_power_of_two().then(|| block_size.0.trailing_zeros()),
            data,
            mode: CurrentMode::default(),
            is_suspended: AtomicBool::new(true),
            binding: Mutex::new(Binding::new(features, events)),
            no_space: Mutex::default(),
            commit_timer: Mutex::new(CommitTimer::new(now)),
            active_thins: Mutex::default(),
            prepared_mappings: Mutex::default(),
            lines: TargetLog::new(runtime.clone(), "thin"),
            runtime: runtime.clone(),
            metadata: AsyncMutex::new(metadata),
            closed: Mutex::default(),
            prison: Prison::default(),
            worker: Worker::new(runtime.clone(), "thin-worker"),
            in_flight: InFlight::default(),
            shared_reads: AtomicUsize::new(0),
            quiet: WaitQueue::default(),
            error_limit: RateLimit::default(),
            zero_block: OnceLock::new(),
        })
    }

    pub(super) fn this(&self) -> Option<Arc<Pool>> {
        self.this.upgrade()
    }

    /// The mapped devices of all active thin devices.
    pub(super) fn thin_devices(&self) -> Vec<Arc<MappedDevice>> {
        let thins = self.active_thins.lock().clone();
        let mut devices: Vec<Arc<MappedDevice>> = Vec::new();
        for device in thins.iter().filter_map(|thin| thin.mapped_device.upgrade()) {
            if !devices.iter().any(|known| Arc::ptr_eq(known, &device)) {
                devices.push(device);
            }
        }
        devices
    }

    /// Gives the bios that a thin device has queued here back to the core, which queues them until its resume.
    pub(super) fn requeue(&self, thin: &Arc<ThinDevice>) {
        let mut back: Vec<Bio<'static>> = std::mem::take(&mut *thin.queue.lock()).into();
        back.extend(self.no_space.lock().take_of(thin));
        for bio in back {
            bio.end(BlkStatus::DmRequeue);
        }
    }

    /// A table of the pool went away; with the last one the worker ends, and so does the pool.
    pub(super) fn remove_table(&self) {
        let is_last = self.binding.lock().remove_table();
        if is_last {
            self.worker.stop();
        }
    }

    /// The metadata, for as long as the guard lives.
    pub(super) async fn metadata(&self) -> AsyncMutexGuard<'_, ThinMetadata> {
        let mut metadata = self.metadata.lock().await;
        self.close_closed(&mut metadata);
        metadata
    }

    /// The metadata, locked, if the lock is free.
    pub(super) fn try_metadata(&self) -> Option<AsyncMutexGuard<'_, ThinMetadata>> {
        let mut metadata = self.metadata.try_lock()?;
        self.close_closed(&mut metadata);
        Some(metadata)
    }

    fn close_closed(&self, metadata: &mut ThinMetadata) {
        let mut closed = self.closed.lock();
        for id in closed.drain(..) {
            metadata.close_thin(id);
        }
    }

    /// A thin device's target went away. The last one of a pool that no table uses any more is the end of it; its metadata is closed
    /// before the thin device is (`thin_dtr`), and says so.
    pub(super) fn remove_thin(&self, core: &Arc<ThinDevice>) {
        let is_without_thins = {
            let mut active = self.active_thins.lock();
            active.retain(|known| !Arc::ptr_eq(known, core));
            active.is_empty()
        };
        let is_last = is_without_thins && !self.binding.lock().has_tables();
        if is_last && self.try_metadata().is_some_and(|metadata| metadata.tells_of_open_thins()) {
            self.lines.warn("__pool_destroy: dm_pool_metadata_close() failed.");
        }
        self.close_thin(core.id);
    }

    /// A target has closed its thin device.
    pub(super) fn close_thin(&self, id: ThinId) {
        self.closed.lock().push(id);
        drop(self.try_metadata());
    }

    pub(super) fn log(&self, level: Level, text: impl std::fmt::Display) {
        self.lines.log(level, format_args!("{}: {text}", self.dev));
    }

    /// Logs an error that may come often, without the pool's number.
    pub(super) fn log_limited(&self, text: impl std::fmt::Display) {
        self.lines.err_limited(&self.error_limit, text);
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode.get()
    }

    /// Whether nothing goes any more.
    pub(super) fn has_failed(&self) -> bool {
        self.mode() == Mode::Fail
    }

    /// Which block a sector lies in, and where in it.
    #[inline]
    pub(super) fn split(&self, sector: u64) -> (u64, u64) {
        match self.block_shift {
            Some(shift) => (sector >> shift, sector & (self.block_size.0 - 1)),
            None => (sector / self.block_size.0, sector % self.block_size.0),
        }
    }

    /// The blocks that a bio lies in, as far as it reaches into them; it is no flush, which lies in none.
    pub(super) fn cell_key(&self, thin: &ThinDevice, bio: &Bio<'_>) -> CellKey {
        let (begin, _) = self.split(bio.sector.0 - thin.start);
        let (last, _) = self.split(bio.end_sector().0 - 1 - thin.start);
        CellKey::of_virtual(thin.id.0, begin..last + 1)
    }

    /// Forgets what is cached of a thin device's mappings, however many targets it has.
    pub(super) fn forget_mappings(&self, id: ThinId, blocks: Range<ThinBlock>) {
        for thin in self.active_thins.lock().iter().filter(|thin| thin.id == id) {
            thin.mappings.forget(blocks.clone());
        }
    }

    pub(super) fn raise_event(&self) {
        let events = self.binding.lock().events.clone();
        events.raise();
    }

    /// What bios get that the pool cannot serve.
    pub(super) fn generic_error(&self) -> BlkStatus {
        match self.mode() {
            Mode::OutOfDataSpace => BlkStatus::NoSpc,
            _ => BlkStatus::IoErr,
        }
    }

    // Bios on their way to the data device.

    pub(super) fn enter(&self) {
        self.in_flight.enter();
    }

    pub(super) fn leave(&self) {
        self.in_flight.leave();
    }

    pub(super) fn enter_shared_read(&self) {
        self.shared_reads.fetch_add(1, Ordering::SeqCst);
        self.enter();
    }

    pub(super) fn leave_shared_read(&self) {
        self.leave();
        if self.shared_reads.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.quiet.wake_all();
        }
    }

    /// Waits until no read of a shared block is in flight. Only the worker, which calls this, starts such reads.
    pub(super) async fn shared_reads_end(&self) {
        self.quiet.until(|| self.shared_reads.load(Ordering::SeqCst) == 0).await;
    }

    /// Waits until no bio of a thin device is under way. The caller holds the metadata, so none can start.
    pub(super) async fn quiesce(&self) {
        self.in_flight.drain().await;
    }

    // Metadata operations and what their failures mean.

    /// Commits, and looks at what space there is afterwards.
    pub(super) async fn commit(&self, metadata: &mut ThinMetadata) -> Result<(), Errno> {
        if self.mode() >= Mode::OutOfMetadataSpace {
            return Err(Errno::EINVAL);
        }
        if let Err(errno) = metadata.commit().await {
            self.metadata_failed(metadata, "dm_pool_commit_metadata", errno).await;
            return Err(errno);
        }
        self.check_metadata_space(metadata);
        self.check_data_space(metadata);
        Ok(())
    }

    fn check_metadata_space(&self, metadata: &mut ThinMetadata) {
        if metadata.free_metadata() == 0 {
            self.lines.err("No free metadata blocks");
            self.set_mode(metadata, Mode::OutOfMetadataSpace);
        }
    }

    fn check_data_space(&self, metadata: &mut ThinMetadata) {
        if self.mode() == Mode::OutOfDataSpace && metadata.free_data() > 0 {
            self.set_mode(metadata, Mode::Write);
            self.retry_waiting();
        }
    }

    /// A metadata operation failed: the transaction is lost, and the pool can only be read.
    pub(super) async fn metadata_failed(&self, metadata: &mut ThinMetadata, operation: &str, errno: Errno) {
        if self.error_limit.allows(self.runtime.now()) {
            let text = format!("metadata operation '{operation}' failed: error = -{}", errno.raw());
            self.log(Level::Err, text);
        }
        self.abort(metadata).await;
        self.set_mode(metadata, Mode::ReadOnly);
    }

    async fn abort(&self, metadata: &mut ThinMetadata) {
        if self.mode() >= Mode::ReadOnly {
            return;
        }
        self.log(Level::Err, "aborting current metadata transaction");
        for thin in &*self.active_thins.lock() {
            thin.mappings.clear();
        }
        if metadata.abort().await.is_err() {
            self.log(Level::Err, "failed to abort metadata transaction");
            self.set_mode(metadata, Mode::Fail);
            self.log(Level::Err, "failed to set 'needs_check' flag in metadata");
            return;
        }
        metadata.set_needs_check();
    }

    /// Gives the worker something to do.
    pub(super) fn wake(&self) {
        if let Some(pool) = self.this() {
            Worker::kick(&pool);
        }
    }

    /// Waits until the worker has done all that was queued.
    pub(super) async fn drain(&self) {
        self.wake();
        self.worker.until_idle_and(|| self.prison.is_empty()).await;
    }
}
