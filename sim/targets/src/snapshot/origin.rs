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
    pub(super) fn of(&self, origin: DevT) -> Vec<Arc<Core>> {
        let mut found: Vec<_> = self.all().into_iter().filter(|core| core.origin.dev() == origin).collect();
        found.sort_by_key(|core| std::cmp::Reverse(core.chunk()));
        found
    }

    /// The smallest chunk of the snapshots of a device.
    pub(super) fn smallest_chunk(&self, origin: DevT) -> Option<Sectors> {
        self.of(origin).iter().filter_map(|core| core.chunk()).min()
    }

    /// The snapshot that is being merged into a device.
    pub(super) fn merging_into(&self, origin: DevT) -> Option<Arc<Core>> {
        self.of(origin).into_iter().find(|core| core.merges)
    }

    /// Sends a write to the origin once every snapshot that still shares its chunk has a copy.
    pub(super) fn map_write(&self, runtime: &Arc<Runtime>, origin: &TableDevice, bio: &mut Bio<'_>) -> Map {
        bio.set_dev(origin.device());
        let mut snapshots = self.of(origin.dev());
        snapshots.retain(|core| core.wants_copy(bio.sector));
        if snapshots.is_empty() {
            return Map::Remapped;
        }
        let bio = bio.take_owned();
        let begun: Vec<_> = snapshots
            .into_iter()
            .map(|core| {
                let begun = core.begin_preserving(bio.sector);
                (core, begun)
            })
            .collect();
        let write = async move {
            for (core, begun) in begun {
                core.preserve(bio.sector, begun).await;
            }
            submit(bio);
        };
        runtime.spawn("snapshot-origin-write", write).detach();
        Map::Submitted
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
        let is_twin =
            |other: &&Arc<Core>| other.origin.dev() == core.origin.dev() && other.cow.dev() == core.cow.dev();
        let all = self.all();
        let twins: Vec<&Arc<Core>> = all.iter().filter(is_twin).collect();
        match twins[..] {
            [] => Role::Alone,
            [source] if source.is_active() => Role::Destination,
            // One that waits to take over, or one that another has taken over from and that is still there.
            _ => Role::Paired,
        }
    }

    /// The snapshot that a new one will take over from.
    pub(super) fn source_of(&self, core: &Core) -> Option<Arc<Core>> {
        self.twin(core, true)
    }

    /// The snapshot that `core`, which has no store of its own, takes over from.
    pub(super) fn source_for(&self, core: &Core) -> Option<Arc<Core>> {
        if core.is_active() || core.is_spent() || core.chunk().is_some() {
            None
        } else {
            self.twin(core, true)
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
        if bio.op == Op::Write {
            return self.origins.map_write(&self.runtime, &self.device, bio);
        }
        bio.set_dev(self.device.device());
        Map::Remapped
    }

    fn resume(&self) -> Later<'_, ()> {
        let smallest = self.origins.smallest_chunk(self.device.dev());
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
