//! `thin`, the target: one thin device of a pool.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_block::{Bio, BioFlags, BlkStatus, End, Op, OpenMode, QueueLimits, Tag};
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, Map, OrRefuse, StatusKind, StatusResult,
    TableDevice, Target, TargetFeatures, TargetType, parse_u64_strict,
};
use dmlab_persistent_data::Cached;
use dmlab_units::{Bytes, DataBlock, Sector, Sectors, ThinBlock, ThinId};
use parking_lot::Mutex;

use super::mapping_cache::MappingCache;
use super::messages::MAX_ID;
use super::metadata::Lookup;
use super::modes::Mode;
use super::pool::{Pool, Pools, ThinDevice};
use super::pool_target::max_discard;
use super::worker::{SHARED_READ, UNDER_WAY};

/// `thin` 1.23.0.
pub static THIN: TargetType = TargetType {
    name: "thin",
    version: [1, 23, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Waiting(|ctr| Box::pin(construct(ctr))),
    module: &super::MODULE,
};

struct Thin {
    pool: Arc<Pool>,
    core: Arc<ThinDevice>,
    pool_device: TableDevice,
    origin: Option<TableDevice>,
}

async fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    if ctr.args.len() != 2 && ctr.args.len() != 3 {
        return Err(CtrError::invalid("Invalid argument count"));
    }
    let [pool_word, id] = ctr.args.take("Invalid argument count")?;
    let origin = match ctr.args.shift() {
        Some(word) if word == pool_word => return Err(CtrError::invalid("Error setting origin device")),
        Some(word) => {
            Some(ctr.device_with_mode(&word, OpenMode::READ).or_refuse("Error opening origin device")?)
        }
        None => None,
    };
    let pool_device = ctr.device(&pool_word).or_refuse("Error opening pool device")?;
    let id = match parse_u64_strict(&id) {
        Some(id) if id <= MAX_ID => ThinId(id),
        _ => return Err(CtrError::invalid("Invalid device id")),
    };
    if pool_device.dev().major() != ctr.dev().major() {
        return Err(CtrError::invalid("Couldn't get pool mapped device"));
    }
    let pool =
        ctr.machine_state::<Pools>().of_device(pool_device.dev()).or_refuse("Couldn't find pool object")?;
    if pool.mode() == Mode::Fail {
        return Err(CtrError::invalid("Couldn't open thin device, Pool is in fail mode"));
    }
    pool.metadata().await.open_thin(id).await.or_refuse("Couldn't open thin internal device")?;
    let core = Arc::new(ThinDevice {
        id,
        mapped_device: ctr.mapped_device(),
        origin: origin.as_ref().map(|origin| origin.device().clone()),
        origin_size: Mutex::new(Sectors::ZERO),
        start: ctr.start.0,
        queue: Mutex::default(),
        is_requeueing: AtomicBool::new(false),
        mappings: MappingCache::default(),
    });
    if pool.is_suspended.load(Ordering::Acquire) {
        pool.close_thin(id);
        return Err(CtrError::invalid("Unable to activate thin device while pool is suspended"));
    }
    pool.active_thins.lock().push(core.clone());

    ctr.settings.max_io_len = pool.block_size;
    ctr.settings.num_flush_bios = 1;
    ctr.settings.flush_supported = true;
    if pool.binding.lock().features.discards {
        ctr.settings.num_discard_bios = 1;
        ctr.settings.discards_supported = true;
        ctr.settings.max_discard_granularity = true;
    }
    Ok(Box::new(Thin { pool, core, pool_device, origin }))
}

/// Why a block cannot be had without waiting.
enum Missed {
    /// The block is not mapped, shared, or not in memory.
    NeedsWorker,
    /// A node on the way to it is damaged.
    Damaged,
}

impl Thin {
    /// Looks a block up in the metadata, if that is free and has the nodes in memory.
    fn look_up(&self, block: ThinBlock) -> Result<DataBlock, Missed> {
        let metadata = self.pool.try_metadata().ok_or(Missed::NeedsWorker)?;
        match metadata.lookup_cached(self.core.id, block) {
            Cached::Found(Lookup { block: data_block, is_shared: false }) => {
                self.core.mappings.put(block, data_block);
                Ok(data_block)
            }
            Cached::Bad(_) => Err(Missed::Damaged),
            Cached::Found(_) | Cached::Missing | Cached::Unknown => Err(Missed::NeedsWorker),
        }
    }

    /// Gives a bio to the worker.
    fn defer(&self, bio: &mut Bio<'_>) -> Map {
        self.core.queue.lock().push_back(bio.take_owned());
        self.pool.wake();
        Map::Submitted
    }

    async fn status_text(&self) -> String {
        let mut metadata = self.pool.metadata().await;
        let Some(details) = metadata.details(self.core.id) else { return "-".to_owned() };
        let mapped = details.mapped_blocks.wrapping_mul(self.pool.block_size.0);
        match metadata.highest_mapped(self.core.id).await {
            Ok(Some(block)) => format!(
                "{mapped} {}",
                block.0.wrapping_add(1).wrapping_mul(self.pool.block_size.0).wrapping_sub(1)
            ),
            Ok(None) => format!("{mapped} -"),
            Err(errno) => {
                let raw = errno.raw();
                self.pool.lines.err(format_args!("dm_thin_get_highest_mapped_block returned -{raw}"));
                "Error".to_owned()
            }
        }
    }
}

impl Target for Thin {
    /// What is mapped and not shared goes straight on; the rest is the worker's.
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        let pool = &self.pool;
        if pool.has_failed() {
            return Map::Kill;
        }
        if bio.op == Op::Flush || bio.op == Op::Discard || bio.flags.contains(BioFlags::FUA) {
            return self.defer(bio);
        }
        // Counted before the lookup, so that a change of a mapping can wait for those that looked before.
        pool.enter();
        let (block, inside) = pool.place(&self.core, bio);
        match self.core.mappings.get(block).map_or_else(|| self.look_up(block), Ok) {
            Ok(data_block) => {
                bio.tag_if_none(Tag::new("data", self.core.id.0, block.0));
                bio.set_dev(&pool.data);
                bio.sector = Sector(data_block.0.wrapping_mul(pool.block_size.0).wrapping_add(inside));
                Map::RemappedAndHear(UNDER_WAY)
            }
            Err(missed) => {
                pool.leave();
                match missed {
                    Missed::NeedsWorker => self.defer(bio),
                    Missed::Damaged => Map::Kill,
                }
            }
        }
    }

    fn end_io(&self, _bio: &mut Bio<'_>, how: u64, status: BlkStatus) -> End {
        match how {
            UNDER_WAY => self.pool.leave(),
            SHARED_READ => self.pool.leave_shared_read(),
            _ => {}
        }
        End::Done(status)
    }

    /// With noflush the bios that the worker has not begun go back to the core, to be queued again.
    fn presuspend(&self, noflush: bool) -> BoxFuture<'_, ()> {
        if noflush {
            self.core.is_requeueing.store(true, Ordering::Release);
            self.pool.requeue(&self.core);
        }
        Box::pin(async {})
    }

    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        self.core.is_requeueing.store(false, Ordering::Release);
        Box::pin(async {})
    }

    fn resume(&self) -> BoxFuture<'_, ()> {
        if let Some(origin) = &self.core.origin {
            *self.core.origin_size.lock() = origin.capacity();
        }
        Box::pin(async {})
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        if self.pool.mode() == Mode::Fail && kind != StatusKind::Ima {
            return out.write_str("Fail").into();
        }
        let written = match kind {
            StatusKind::Info => {
                return StatusResult::Waiting(Box::pin(async { out.write_str(&self.status_text().await) }));
            }
            StatusKind::Table => {
                let origin =
                    self.origin.as_ref().map_or(String::new(), |origin| format!(" {}", origin.dev()));
                write!(out, "{} {}{origin}", self.pool_device.dev(), self.core.id)
            }
            StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        // As long as the pool: a thin device may be longer than what it stands on.
        let pool_size = self.pool_device.device().capacity();
        let len = Sectors(pool_size.0 / self.pool.block_size.0 * self.pool.block_size.0);
        let area = DeviceRange::new(&self.pool_device, Sector::ZERO, len);
        Some(if len.is_zero() { Vec::new() } else { vec![area] })
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        if self.pool.binding.lock().features.discards {
            limits.discard_granularity = Bytes(self.pool.block_size.0 * 512);
            limits.max_hw_discard_sectors = max_discard(&self.pool);
            limits.max_discard_sectors = limits.max_hw_discard_sectors;
        }
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        self.pool.remove_thin(&self.core);
    }
}
