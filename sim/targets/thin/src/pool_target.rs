//! `thin-pool`, the target: a table's hold on a pool.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_block::{Bio, Caller, Op, QueueLimits};
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, Map, MessageResult, Messages, OrRefuse,
    Saved, StatusKind, StatusResult, TableDevice, TableEvents, Target, TargetFeatures, TargetType,
    parse_u64_strict,
};
use dmlab_runtime::{Level, Quirks};
use dmlab_units::{Bytes, Errno, SECTOR_SIZE, Sector, Sectors};

use super::binding::Features;
use super::discard::MAX_RUN;
use super::metadata::ThinMetadata;
use super::modes::Mode;
use super::pool::{Pool, Pools};

/// `thin-pool` 1.23.0.
pub static THIN_POOL: TargetType = TargetType {
    name: "thin-pool",
    version: [1, 23, 0],
    features: TargetFeatures::SINGLETON
        .union(TargetFeatures::ALWAYS_WRITEABLE)
        .union(TargetFeatures::IMMUTABLE),
    ctr: Constructor::Waiting(|ctr| Box::pin(construct(ctr))),
    module: &super::MODULE,
};

const MIN_BLOCK: u64 = 128;
const MAX_BLOCK: u64 = 2_097_152;
/// Sectors of metadata from which on a device is larger than can be used.
const WARN_METADATA_SECTORS: u64 = 33_554_432;
/// Sectors of metadata that can be used.
const MAX_METADATA_SECTORS: u64 = 33_292_800;

/// What a pool that has failed knows.
struct MetadataLost {
    /// How many tables the pool had, live and inactive: they were there before it failed.
    tables: u32,
}

/// A table's hold on a pool.
struct PoolTarget {
    pool: Arc<Pool>,
    metadata: TableDevice,
    data: TableDevice,
    asked: Features,
    low_water: u64,
    len: Sectors,
    events: TableEvents,
    /// Which of the pool's tables this is.
    number: u64,
    /// Whether it was looked at, and said, that discards can't be passed down.
    has_checked_discards: AtomicBool,
}

async fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let [metadata, data, block_size, low_water] = ctr.args.take("Invalid argument count")?;
    if metadata == data {
        return Err(CtrError::invalid("Error setting metadata or data device"));
    }
    let features = parse_features(ctr)?;
    let metadata = ctr.device(&metadata).or_refuse("Error opening metadata block device")?;
    let data = ctr.device(&data).or_refuse("Error getting data device")?;
    if metadata.device().capacity().0 > WARN_METADATA_SECTORS {
        let name = metadata.device().name().to_owned();
        let text = format!(
            "Metadata device {name} is larger than {MAX_METADATA_SECTORS} sectors: excess space will not be used."
        );
        ctr.log("thin").warn(text);
    }
    let block_size = match parse_u64_strict(&block_size) {
        Some(n) if (MIN_BLOCK..=MAX_BLOCK).contains(&n) && n.is_multiple_of(MIN_BLOCK) => Sectors(n),
        _ => return Err(CtrError::invalid("Invalid block size")),
    };
    let low_water = parse_u64_strict(&low_water).or_refuse("Invalid low water mark")?;

    let pool = find_or_open(ctr, &metadata, &data, block_size, features).await?;
    let switches_discards = {
        let binding = pool.binding.lock();
        binding.has_tables() && binding.features.discards != features.discards
    };
    if switches_discards {
        return Err(CtrError::invalid("Discard support cannot be disabled once enabled"));
    }
    if pool.has_failed() && !pool.binding.lock().takes_back_table() {
        return Err(CtrError::invalid("Error registering metadata threshold"));
    }
    let number = pool.binding.lock().add_table();
    ctr.settings.num_flush_bios = 1;
    if features.discards && features.passes_discards_down {
        // Discards of the pool device itself go straight to the data device.
        ctr.settings.num_discard_bios = 1;
        ctr.settings.discards_supported = true;
    }
    Ok(Box::new(PoolTarget {
        pool,
        metadata,
        data,
        asked: features,
        low_water,
        len: ctr.len,
        events: ctr.events(),
        number,
        has_checked_discards: AtomicBool::new(false),
    }))
}

fn parse_features(ctr: &mut Ctr<'_>) -> Result<Features, CtrError> {
    let mut features = Features::default();
    if ctr.args.is_empty() {
        return Ok(features);
    }
    let count = ctr.args.group(0, 4, "Invalid number of pool feature arguments")?;
    for _ in 0..count {
        let word = ctr.args.shift().unwrap_or_default();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("skip_block_zeroing") {
            features.zeroes_new_blocks = false;
        } else if is("ignore_discard") {
            features.discards = false;
        } else if is("no_discard_passdown") {
            features.passes_discards_down = false;
        } else if is("read_only") {
            features.read_only = true;
        } else if is("error_if_no_space") {
            features.errors_if_no_space = true;
        } else {
            return Err(CtrError::invalid("Unrecognised pool feature requested"));
        }
    }
    Ok(features)
}

/// The pool on this metadata device, or a new one.
async fn find_or_open(
    ctr: &Ctr<'_>,
    metadata: &TableDevice,
    data: &TableDevice,
    block_size: Sectors,
    features: Features,
) -> Result<Arc<Pool>, CtrError> {
    let pools = ctr.machine_state::<Pools>();
    if let Some(pool) = pools.on_metadata(metadata.dev()) {
        if pool.dev != ctr.dev() {
            return Err(CtrError::new(Errno::EBUSY, "metadata device already in use by a pool"));
        }
        if pool.data.dev() != data.dev() {
            return Err(CtrError::new(Errno::EBUSY, "data device already in use by a pool"));
        }
        return Ok(pool);
    }
    if pools.of_device(ctr.dev()).is_some() {
        return Err(CtrError::invalid("different pool cannot replace a pool"));
    }
    let opened = ThinMetadata::open(metadata.device().clone(), block_size, !features.read_only).await;
    let mut opened = opened.or_refuse("Error creating metadata object")?;
    opened.set_data_device(data.device().clone());
    let pool = Pool::new(ctr.dev(), opened, data.device().clone(), features, ctr.events());
    pools.add(&pool);
    {
        let weak = Arc::downgrade(&pool);
        let mut opened = pool.metadata().await;
        let mark = threshold(&opened);
        opened.set_metadata_low_water(mark, move || {
            let Some(pool) = weak.upgrade() else { return };
            pool.log(Level::Warning, "reached low water mark for metadata device: sending event.");
            pool.raise_event();
        });
    }
    Ok(pool)
}

/// Free metadata blocks at which the pool says that metadata runs low.
fn threshold(metadata: &ThinMetadata) -> u64 {
    1024.min(ThinMetadata::usable_blocks(metadata.device()) / 4)
}

impl PoolTarget {
    /// Size of the data device in blocks, as the table's length gives it.
    fn wanted_data_blocks(&self) -> u64 {
        self.len.0 / self.pool.block_size.0
    }

    /// Grows the data device if the table is longer than before. Returns whether a commit is due.
    async fn fit_data(&self, metadata: &mut ThinMetadata) -> Result<bool, Errno> {
        let (pool, wanted) = (&self.pool, self.wanted_data_blocks());
        if pool.mode() == Mode::Fail {
            pool.log(Level::Err, "failed to retrieve data device size");
            return Err(Errno::EINVAL);
        }
        let have = metadata.data_blocks();
        if wanted < have {
            pool.log(Level::Err, format_args!("pool target ({wanted} blocks) too small: expected {have}"));
            return Err(Errno::EINVAL);
        }
        if wanted == have {
            return Ok(false);
        }
        if metadata.needs_check() {
            pool.log(Level::Err, "unable to grow the data device until repaired.");
            return Ok(false);
        }
        if have > 0 {
            pool.log(Level::Info, format_args!("growing the data device from {have} to {wanted} blocks"));
        }
        if let Err(errno) = metadata.resize_data(wanted).await {
            pool.metadata_failed(metadata, "dm_pool_resize_data_dev", errno).await;
            return Err(errno);
        }
        Ok(true)
    }

    /// Grows the metadata device if it is larger than before. Returns whether a commit is due.
    async fn fit_metadata(&self, metadata: &mut ThinMetadata) -> Result<bool, Errno> {
        let pool = &self.pool;
        let wanted = ThinMetadata::usable_blocks(self.metadata.device());
        let have = metadata.metadata_blocks();
        if wanted < have {
            pool.log(
                Level::Err,
                format_args!("metadata device ({wanted} blocks) too small: expected {have}"),
            );
            return Err(Errno::EINVAL);
        }
        if wanted == have {
            return Ok(false);
        }
        if metadata.needs_check() {
            pool.log(Level::Err, "unable to grow the metadata device until repaired.");
            return Ok(false);
        }
        pool.log(Level::Info, format_args!("growing the metadata device from {have} to {wanted} blocks"));
        if pool.mode() == Mode::OutOfMetadataSpace {
            pool.set_mode(metadata, Mode::Write);
        }
        if let Err(errno) = metadata.resize_metadata(wanted).await {
            pool.metadata_failed(metadata, "dm_pool_resize_metadata_dev", errno).await;
            return Err(errno);
        }
        Ok(true)
    }

    /// Gives the pool what this table asks for.
    fn bind(&self, metadata: &mut ThinMetadata) {
        let features = self.effective_features();
        let is_new_table =
            self.pool.binding.lock().bind(self.number, features, self.low_water, self.events.clone());
        // A plain suspend and resume keeps the mode; a new table asks for its own.
        let wanted = if !is_new_table {
            self.pool.mode()
        } else if self.asked.read_only {
            Mode::ReadOnly
        } else {
            Mode::Write
        };
        metadata.set_data_device(self.data.device().clone());
        self.pool.set_mode(metadata, wanted);
    }

    /// What is asked for, less what the data device can't do.
    fn effective_features(&self) -> Features {
        let mut features = self.asked;
        if !features.discards {
            features.passes_discards_down = false;
        }
        if features.passes_discards_down && self.discard_obstacle().is_some() {
            features.passes_discards_down = false;
        }
        features
    }

    /// Why discards can't be passed down to the data device.
    fn discard_obstacle(&self) -> Option<&'static str> {
        let device = self.data.device();
        if !device.supports(Op::Discard) {
            Some("discard unsupported")
        } else if device.limits().max_discard_sectors < self.pool.block_size {
            Some("max discard sectors smaller than a block")
        } else {
            None
        }
    }

    /// Says that discards are not passed down, if they are asked to be and can't.
    fn warn_of_discards(&self) {
        let is_asked = self.asked.discards && self.asked.passes_discards_down;
        if let Some(obstacle) = self.discard_obstacle().filter(|_| is_asked) {
            let name = self.data.device().name();
            self.pool
                .lines
                .warn(format_args!("Data device ({name}) {obstacle}: Disabling discard passdown."));
        }
    }

    async fn status_text(&self, noflush: bool) -> String {
        let pool = &self.pool;
        if pool.mode() == Mode::Fail {
            return "Fail".to_owned();
        }
        let mut metadata = pool.metadata().await;
        if !noflush && !pool.is_suspended.load(Ordering::Acquire) {
            let _ = pool.commit(&mut metadata).await;
            pool.note_changes(&metadata);
        }
        let (metadata_blocks, data_blocks) = (metadata.metadata_blocks(), metadata.data_blocks());
        let used_metadata = metadata_blocks.saturating_sub(metadata.free_metadata());
        let used_data = data_blocks.saturating_sub(metadata.free_data());
        let held = metadata.held_root().map_or("-".to_owned(), |root| root.to_string());
        let features = pool.binding.lock().features;
        let discard = match features {
            Features { discards: false, .. } => "ignore_discard",
            Features { passes_discards_down: true, .. } => "discard_passdown",
            _ => "no_discard_passdown",
        };
        let no_space = if features.errors_if_no_space { "error_if_no_space" } else { "queue_if_no_space" };
        let check = if metadata.needs_check() { "needs_check" } else { "-" };
        format!(
            "{} {used_metadata}/{metadata_blocks} {used_data}/{data_blocks} {held} {} {discard} {no_space} {check} {} ",
            metadata.transaction_id(),
            pool.mode().shown(),
            threshold(&metadata),
        )
    }

    fn table_text(&self, out: &mut String) -> std::fmt::Result {
        let (metadata, data) = (self.metadata.dev(), self.data.dev());
        write!(out, "{metadata} {data} {} {} ", self.pool.block_size, self.low_water)?;
        let asked = [
            (!self.asked.zeroes_new_blocks, "skip_block_zeroing "),
            (!self.asked.discards, "ignore_discard "),
            (!self.asked.passes_discards_down, "no_discard_passdown "),
            (self.asked.read_only, "read_only "),
            (self.asked.errors_if_no_space, "error_if_no_space "),
        ];
        write!(out, "{} ", asked.iter().filter(|(is_asked, _)| *is_asked).count())?;
        for (_, name) in asked.iter().filter(|(is_asked, _)| *is_asked) {
            out.push_str(name);
        }
        Ok(())
    }
}

impl Target for PoolTarget {
    /// Bios to the pool device itself go to the data device as they are.
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        bio.set_dev(self.data.device());
        Map::Remapped
    }

    fn presuspend(&self, _noflush: bool) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.pool.is_suspended.store(true, Ordering::Release);
            for thin in self.pool.thin_devices() {
                thin.internal_suspend().await;
            }
        })
    }

    fn presuspend_undo(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.pool.is_suspended.store(false, Ordering::Release);
            for thin in self.pool.thin_devices() {
                thin.internal_resume().await;
            }
        })
    }

    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let pool = &self.pool;
            pool.no_space.lock().end_round();
            pool.drain().await;
            let mut metadata = pool.metadata().await;
            let _ = pool.commit(&mut metadata).await;
            if pool.mode() != Mode::Fail && metadata.needs_check() {
                // The mark must be on the disk when the pool goes.
                let _ = metadata.write_mark().await;
            }
        })
    }

    fn preresume(&self) -> BoxFuture<'_, Result<(), Errno>> {
        Box::pin(async {
            let pool = &self.pool;
            let mut metadata = pool.metadata().await;
            self.bind(&mut metadata);
            if !pool.runtime.has(Quirks::POOL_CHECKS_DISCARDS_EARLY) {
                self.warn_of_discards();
            }
            if pool.mode() == Mode::Fail {
                pool.log(Level::Err, "failed to retrieve data device size");
                return Ok(());
            }
            let grew_data = self.fit_data(&mut metadata).await?;
            let grew_metadata = self.fit_metadata(&mut metadata).await?;
            if grew_data || grew_metadata {
                let _ = pool.commit(&mut metadata).await;
            }
            Ok(())
        })
    }

    fn resume(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let pool = &self.pool;
            pool.is_suspended.store(false, Ordering::Release);
            pool.binding.lock().forget_low_water();
            pool.commit_timer.lock().resume(pool.runtime.now());
            pool.retry_waiting();
            for thin in pool.thin_devices() {
                thin.internal_resume().await;
            }
            pool.wake();
        })
    }

    /// That its metadata are lost; other modes follow from the metadata and from what is tried.
    fn save(&self) -> Option<Saved> {
        let tables = self.pool.binding.lock().tables();
        self.pool.has_failed().then(|| Saved::new(MetadataLost { tables }))
    }

    fn restore(&self, saved: &Saved) {
        let MetadataLost { tables } = saved.get();
        self.pool.begin_failed(*tables);
    }

    fn status<'a>(&'a self, kind: StatusKind, noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let written = match kind {
            StatusKind::Info => {
                return StatusResult::Waiting(Box::pin(async move {
                    out.write_str(&self.status_text(noflush).await)
                }));
            }
            StatusKind::Table => self.table_text(out),
            StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    fn messages(&self) -> Option<&dyn Messages> {
        Some(self)
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![DeviceRange::new(&self.data, Sector::ZERO, self.len)])
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        if self.pool.runtime.has(Quirks::POOL_CHECKS_DISCARDS_EARLY)
            && !self.has_checked_discards.swap(true, Ordering::Relaxed)
        {
            self.warn_of_discards();
        }
        let block = self.pool.block_size.0;
        // Mostly for what follows: most kernels compute the queue's own maximum again from the hardware's.
        let mut max_sectors = limits.max_sectors.0;
        if max_sectors < block {
            max_sectors = prev_power_of_two(max_sectors);
            while max_sectors > 1 && !block.is_multiple_of(max_sectors) {
                max_sectors /= 2;
            }
            limits.max_sectors = Sectors(max_sectors);
        }
        let optimal = limits.io_opt.sectors_floor().0;
        if optimal < block || !optimal.is_multiple_of(block) {
            let minimum =
                if max_sectors > 0 && block.is_multiple_of(max_sectors) { max_sectors } else { block };
            limits.io_min = Bytes(minimum * SECTOR_SIZE);
            limits.io_opt = Bytes(block * SECTOR_SIZE);
        }
        if !self.asked.discards {
            limits.discard_granularity = Bytes(0);
        }
        if !self.effective_features().passes_discards_down {
            limits.max_hw_discard_sectors = Sectors::ZERO;
            limits.max_discard_sectors = Sectors::ZERO;
        }
    }
}

impl Messages for PoolTarget {
    fn message<'a>(&'a self, words: &'a [Vec<u8>], _caller: &'a dyn Caller) -> BoxFuture<'a, MessageResult> {
        Box::pin(self.pool.message(words))
    }
}

fn prev_power_of_two(n: u64) -> u64 {
    n.checked_ilog2().map_or(0, |log| 1 << log)
}

impl Drop for PoolTarget {
    fn drop(&mut self) {
        self.pool.remove_table();
    }
}

/// Longest discard of a thin device, in sectors.
pub(super) fn max_discard(pool: &Pool) -> Sectors {
    Sectors(MAX_RUN * pool.block_size.0)
}
