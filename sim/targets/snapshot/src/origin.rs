//! `snapshot-origin`: the device that snapshots were taken of, as its users see it.

use std::cmp::Reverse;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use dmlab_block::{Bio, Op, submit};
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, Map, OrRefuse, StatusKind, StatusResult,
    TableDevice, Target, TargetFeatures, TargetType,
};
use dmlab_runtime::Runtime;
use dmlab_units::{DevT, Sector, Sectors};

use super::cow::{Preserving, SnapshotDevice};
use super::handover::Role;

/// `snapshot-origin` 1.9.0.
pub static SNAPSHOT_ORIGIN: TargetType = TargetType {
    name: "snapshot-origin",
    version: [1, 9, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
    module: &super::MODULE,
};

/// Writes are cut at no boundary while an origin has no snapshot.
const NO_BOUNDARY: u64 = 1 << 31;

/// All snapshots of a machine, found by the device they are of.
#[derive(Default)]
pub(super) struct Origins {
    /// Read by every write to an origin, without a lock.
    snapshots: ArcSwap<Vec<Weak<SnapshotDevice>>>,
    /// Counts the handovers, so that a write notices one that came while it looked at one snapshot after the other.
    handovers: AtomicU64,
}

impl Origins {
    fn all(&self) -> Vec<Arc<SnapshotDevice>> {
        self.snapshots.load().iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn add(&self, core: &Arc<SnapshotDevice>) {
        self.snapshots.rcu(|snapshots| {
            let mut snapshots = Vec::clone(snapshots);
            snapshots.push(Arc::downgrade(core));
            snapshots
        });
    }

    /// Takes a snapshot off the list; whether it was there. It is known until its table goes, not for as long as some task
    /// still holds it.
    pub(super) fn remove(&self, core: &SnapshotDevice) -> bool {
        let is_it = |snapshot: &Weak<SnapshotDevice>| std::ptr::eq(snapshot.as_ptr(), core);
        let before = self.snapshots.rcu(|snapshots| {
            let mut snapshots = Vec::clone(snapshots);
            snapshots.retain(|snapshot| !is_it(snapshot));
            snapshots
        });
        before.iter().any(is_it)
    }

    /// Called while the state of neither side of the handover can be looked at.
    pub(super) fn note_handover(&self) {
        self.handovers.fetch_add(1, Ordering::AcqRel);
    }

    /// Snapshots of the device `origin`, those with the largest chunks first.
    pub(super) fn of(&self, origin: DevT) -> Vec<Arc<SnapshotDevice>> {
        let mut found: Vec<_> = self.all().into_iter().filter(|core| core.origin.dev() == origin).collect();
        found.sort_by_key(|core| Reverse(core.chunk()));
        found
    }

    /// The smallest chunk of the snapshots of a device.
    pub(super) fn smallest_chunk(&self, origin: DevT) -> Option<Sectors> {
        self.of(origin).iter().filter_map(|core| core.chunk()).min()
    }

    /// The snapshot that is being merged into a device.
    pub(super) fn merging_into(&self, origin: DevT) -> Option<Arc<SnapshotDevice>> {
        self.of(origin).into_iter().find(|core| core.merges)
    }

    /// Sends a write to the origin once no snapshot has to be waited for.
    pub(super) fn map_write(
        self: &Arc<Self>,
        runtime: &Arc<Runtime>,
        origin: &TableDevice,
        bio: &mut Bio<'_>,
    ) -> Map {
        bio.set_dev(origin.device());
        let dev = origin.dev();
        let mut begun = self.begin_preserving(dev, bio.sector);
        if begun.is_empty() {
            return Map::Remapped;
        }
        let (origins, bio) = (self.clone(), bio.take_owned());
        let write = async move {
            // Another snapshot may want a copy by now, or one that has taken over.
            while !begun.is_empty() {
                for (core, begun) in begun {
                    core.preserve(bio.sector, begun).await;
                }
                begun = origins.begin_preserving(dev, bio.sector);
            }
            submit(bio);
        };
        runtime.spawn("snapshot-origin-write", write).detach();
        Map::Submitted
    }

    /// Begins copies for all snapshots that a write to the origin at `sector` has to wait for. Empty, and nothing was
    /// allocated for it, if there are none.
    fn begin_preserving(&self, origin: DevT, sector: Sector) -> Vec<(Arc<SnapshotDevice>, Preserving)> {
        loop {
            let seen = self.handovers.load(Ordering::Acquire);
            let snapshots = self.snapshots.load();
            let wants = |core: &Arc<SnapshotDevice>| core.origin.dev() == origin && core.wants_copy(sector);
            let mut wanting: Vec<_> = snapshots.iter().filter_map(Weak::upgrade).filter(wants).collect();
            wanting.sort_by_key(|core| Reverse(core.chunk()));
            let begin = |core: Arc<SnapshotDevice>| {
                let begun = core.begin_preserving(sector);
                (core, begun)
            };
            let begun = wanting.into_iter().map(begin).collect();
            // A source that was looked at after it had given everything away, and its destination before.
            if self.handovers.load(Ordering::Acquire) == seen {
                return begun;
            }
        }
    }

    /// Another snapshot with the same origin and COW device that is active, or is not.
    fn twin(&self, core: &SnapshotDevice, is_active: bool) -> Option<Arc<SnapshotDevice>> {
        self.all().into_iter().find(|other| {
            !std::ptr::eq(&**other, core)
                && other.origin.dev() == core.origin.dev()
                && other.cow.dev() == core.cow.dev()
                && other.is_active() == is_active
        })
    }

    pub(super) fn role_of(&self, core: &SnapshotDevice) -> Role {
        let is_twin = |other: &&Arc<SnapshotDevice>| {
            other.origin.dev() == core.origin.dev() && other.cow.dev() == core.cow.dev()
        };
        let all = self.all();
        let twins: Vec<&Arc<SnapshotDevice>> = all.iter().filter(is_twin).collect();
        match twins[..] {
            [] => Role::Alone,
            [source] if source.is_active() => Role::Destination,
            // One that waits to take over, or one that another has taken over from and that is still there.
            _ => Role::Paired,
        }
    }

    /// The snapshot that a new one will take over from.
    pub(super) fn source_of(&self, core: &SnapshotDevice) -> Option<Arc<SnapshotDevice>> {
        self.twin(core, true)
    }

    /// The snapshot that `core`, which has no store of its own, takes over from.
    pub(super) fn source_for(&self, core: &SnapshotDevice) -> Option<Arc<SnapshotDevice>> {
        if core.is_active() || core.is_spent() || core.chunk().is_some() {
            None
        } else {
            self.twin(core, true)
        }
    }

    /// The snapshot that is to take over from `core`.
    pub(super) fn destination_for(&self, core: &SnapshotDevice) -> Option<Arc<SnapshotDevice>> {
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

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let (Some(device), true) = (ctr.args.shift(), ctr.args.is_empty()) else {
        return Err(CtrError::invalid("origin: incorrect number of arguments"));
    };
    let device = ctr.device(&device).or_refuse("Cannot get target device")?;
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

    fn resume(&self) -> BoxFuture<'_, ()> {
        let smallest = self.origins.smallest_chunk(self.device.dev());
        self.boundary.store(smallest.map_or(NO_BOUNDARY, |chunk| chunk.0), Ordering::Relaxed);
        Box::pin(async {})
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let written = match kind {
            StatusKind::Table => write!(out, "{}", self.device.dev()),
            StatusKind::Info | StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![DeviceRange::new(&self.device, Sector::ZERO, self.len)])
    }
}
