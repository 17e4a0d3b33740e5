//! `snapshot-origin`: the device that snapshots were taken of, as its users see it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dmlab_block::{Bio, Op, submit};
use dmlab_dm::{
    Area, Built, Constructor, Ctr, CtrError, Later, Map, StatusKind, TableDevice, Target, TargetFeatures,
    TargetType,
};
use dmlab_runtime::Runtime;
use dmlab_units::{DevT, Sectors};
use parking_lot::Mutex;

use super::cow::{Core, Role};

/// `snapshot-origin` 1.9.0.
pub static SNAPSHOT_ORIGIN: TargetType = TargetType {
    name: "snapshot-origin",
    version: [1, 9, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
};

/// Writes are cut at no boundary while an origin has no snapshot.
const NO_BOUNDARY: u64 = 1 << 31;

/// All snapshots of a machine, found by the device they are of.
#[derive(Default)]
pub(super) struct Origins {
    snapshots: Mutex<Vec<Weak<Core>>>,
}

impl Origins {
    fn all(&self) -> Vec<Arc<Core>> {
        let mut snapshots = self.snapshots.lock();
        snapshots.retain(|snapshot| snapshot.strong_count() > 0);
        snapshots.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn add(&self, core: &Arc<Core>) {
        self.snapshots.lock().push(Arc::downgrade(core));
    }

    /// Snapshots of the device `origin`, those with the largest chunks first.
    fn of(&self, origin: DevT) -> Vec<Arc<Core>> {
        let mut found: Vec<_> = self.all().into_iter().filter(|core| core.origin.dev() == origin).collect();
        found.sort_by_key(|core| std::cmp::Reverse(core.chunk()));
        found
    }

    /// Another snapshot with the same origin and COW device that is active, or is not.
    fn twin(&self, core: &Core, is_active: bool) -> Option<Arc<Core>> {
        self.all().into_iter().find(|other| {
            !std::ptr::eq(&**other, core)
                && other.origin.dev() == core.origin.dev()
                && other.cow.dev() == core.cow.dev()
                && other.is_active() == is_active
        })
    }

    pub(super) fn role_of(&self, core: &Core) -> Role {
        match (self.twin(core, true), self.twin(core, false)) {
            (_, Some(_)) => Role::Paired,
            (Some(_), None) => Role::Destination,
            (None, None) => Role::Alone,
        }
    }

    /// The snapshot that a new one will take over from.
    pub(super) fn source_of(&self, core: &Core) -> Option<Arc<Core>> {
        self.twin(core, true)
    }

    /// The snapshot that `core`, which has no store of its own, takes over from.
    pub(super) fn source_for(&self, core: &Core) -> Option<Arc<Core>> {
        if core.chunk().is_some() {
            None
        } else {
            self.twin(core, true).filter(|source| source.chunk().is_some())
        }
    }

    /// The snapshot that is to take over from `core`.
    pub(super) fn destination_for(&self, core: &Core) -> Option<Arc<Core>> {
        self.twin(core, false).filter(|destination| destination.chunk().is_none())
    }
}

struct Origin {
    device: TableDevice,
    len: Sectors,
    origins: Arc<Origins>,
    /// Writes are cut at multiples of this: the smallest chunk there was at the last resume, in sectors.
    boundary: AtomicU64,
    runtime: Arc<Runtime>,
}

fn construct(ctr: &mut Ctr<'_>) -> Built {
    let (Some(device), true) = (ctr.args.shift(), ctr.args.is_empty()) else {
        return Err(CtrError::invalid("origin: incorrect number of arguments"));
    };
    let device = ctr.device(&device).map_err(|errno| CtrError::new(errno, "Cannot get target device"))?;
    ctr.settings.num_flush_bios = 1;
    Ok(Box::new(Origin {
        device,
        len: ctr.len,
        origins: ctr.machine_state(),
        boundary: AtomicU64::new(NO_BOUNDARY),
        runtime: ctr.runtime().clone(),
    }))
}

impl Target for Origin {
    fn accept(&self, bio: &Bio<'_>) -> Sectors {
        if bio.op != Op::Write {
            return bio.len();
        }
        let boundary = self.boundary.load(Ordering::Relaxed);
        Sectors(boundary - bio.sector.0 % boundary).min(bio.len())
    }

    /// A write waits until every snapshot that still shares its chunk has a copy.
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        bio.set_dev(self.device.device());
        if bio.op != Op::Write {
            return Map::Remapped;
        }
        let mut snapshots = self.origins.of(self.device.dev());
        snapshots.retain(|core| core.wants_copy(bio.sector));
        if snapshots.is_empty() {
            return Map::Remapped;
        }
        let bio = bio.take_owned();
        let write = async move {
            for core in snapshots {
                core.preserve(bio.sector).await;
            }
            submit(bio);
        };
        self.runtime.spawn("snapshot-origin-write", write).detach();
        Map::Submitted
    }

    fn resume(&self) -> Later<'_, ()> {
        let chunks = self.origins.of(self.device.dev());
        let smallest = chunks.iter().filter_map(|core| core.chunk()).min();
        self.boundary.store(smallest.map_or(NO_BOUNDARY, |chunk| chunk.0), Ordering::Relaxed);
        Box::pin(async {})
    }

    fn status(&self, kind: StatusKind, out: &mut String) {
        if kind == StatusKind::Table {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", self.device.dev());
        }
    }

    fn devices(&self) -> Option<Vec<Area<'_>>> {
        Some(vec![Area { dev: &self.device, start: Default::default(), len: self.len }])
    }
}
