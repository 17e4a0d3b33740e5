//! `snapshot`, `snapshot-origin` and `snapshot-merge`: the state of a device at one moment, kept by copying what changes.
//!
//! ```text
//! START LEN snapshot ORIGIN COW P|PO|N CHUNK [N_FEATURES FEATURE...]
//! START LEN snapshot-origin ORIGIN
//! START LEN snapshot-merge ORIGIN COW P|PO CHUNK [N_FEATURES FEATURE...]
//!
//! 0 2147483648 snapshot /dev/mapper/zero /dev/ram0 P 16
//!
//!   write to the snapshot ──> its chunk is copied to COW once, then written there
//!   read from the snapshot ─> COW if the chunk was copied, else ORIGIN
//!   write to the origin ────> first copied to the COW of every snapshot that lacks it, then written
//! ```
//!
//! The unit is a **chunk**, a power of two of sectors. Which chunk was copied where is an **exception**, kept by an
//! exception store (`store`): `P` persistent, `PO` persistent and able to show that it overflowed, `N` transient.
//! A snapshot sees only those writes to its origin that pass through a `snapshot-origin` of the same device.
//!
//! | | |
//! |---|---|
//! | status line | `ALLOCATED/TOTAL METADATA` in sectors of the COW device, or `Invalid`, `Merge failed`, `Overflow` |
//! | table line | `ORIGIN COW STORE CHUNK[ N FEATURES]` |
//! | features | `discard_zeroes_cow`, `discard_passdown_origin` |
//! | events | one when the snapshot becomes invalid |
//!
//! Loading a second table on the COW device of an active snapshot makes it a **handover** destination: it takes over
//! the exceptions when it is resumed, and reads nothing from the disk (kernel/snapshot.md#handover).
//!
//! `merge` gives the chunks of a snapshot back to its origin.
//!
//! Behaviour: kernel/snapshot.md.
#![forbid(unsafe_code)]

mod area;
mod cow;
mod handover;
mod merge;
mod origin;
mod store;

use std::fmt::Write;
use std::sync::Arc;

use dmlab_block::{Bio, BlkStatus, End, Meaning, OpenMode, QueueLimits};
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, DeviceRange, Map, Module, OrRefuse, Saved, StatusKind,
    StatusResult, Target, TargetFeatures, TargetType, parse_u32_strict,
};
use dmlab_runtime::Quirks;
use dmlab_units::{Bytes, Errno, Sector, Sectors};

use cow::{Devices, Features, SnapshotDevice, SnapshotState};
use handover::Role;
#[doc(hidden)]
pub use store::EXCEPTION_BEFORE_COPY;

pub use merge::SNAPSHOT_MERGE;
use origin::Origins;
pub use origin::SNAPSHOT_ORIGIN;
use store::{Loaded, Store, StoreKind, check_chunk};

const MODULE: Module = Module {
    meanings: &[
        Meaning::new("exception-header", "the header of a snapshot's store", "", ""),
        Meaning::new("exception-area", "a chunk of a snapshot's store that lists exceptions", "", "the area"),
        Meaning::new(
            "exception",
            "a chunk on its way from an origin to a snapshot's store, or a user's IO to one there",
            "",
            "the origin's chunk",
        ),
        Meaning::new(
            "merge",
            "chunks on their way from a snapshot's store back to the origin",
            "",
            "the first chunk of the origin",
        ),
    ],
    ..Module::named("dm_snapshot")
};

/// `snapshot` 1.16.0.
pub static SNAPSHOT: TargetType = TargetType {
    name: "snapshot",
    version: [1, 16, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Waiting(|ctr| {
        Box::pin(async {
            let snapshot: Box<dyn Target> = Box::new(construct(ctr, false).await?);
            Ok(snapshot)
        })
    }),
    module: &MODULE,
};

/// One snapshot line of a table.
struct Snapshot {
    core: Arc<SnapshotDevice>,
    /// The chunk size that bios are cut by; a handover destination has its source's.
    chunk: Sectors,
    len: Sectors,
}

/// Builds what `snapshot` and `snapshot-merge` have in common.
async fn construct(ctr: &mut Ctr<'_>, merges: bool) -> Result<Snapshot, CtrError> {
    if ctr.args.len() < 4 {
        return Err(CtrError::invalid("requires 4 or more arguments"));
    }
    let [origin, cow, store, chunk] = std::array::from_fn(|_| ctr.args.shift().unwrap_or_default());
    let features = parse_features(ctr)?;
    let mode = if merges { OpenMode::READ | OpenMode::WRITE } else { OpenMode::READ };
    let origin = ctr.device_with_mode(&origin, mode).or_refuse("Cannot get origin device")?;
    let cow = ctr.device(&cow).or_refuse("Cannot get COW device")?;
    if origin.dev() == cow.dev() {
        return Err(CtrError::invalid("COW device cannot be the same as origin device"));
    }
    let no_store = CtrError::invalid("Couldn't create exception store");
    let kind = parse_store(ctr, &store).ok_or(no_store)?;
    let chunk = u64::from(parse_u32_strict(&chunk).ok_or(no_store)?);
    if chunk != 0 {
        check_chunk(chunk, origin.device(), cow.device()).map_err(|_| no_store)?;
    }

    let origins = ctr.machine_state::<Origins>();
    let core = Arc::new(SnapshotDevice::new(ctr, Devices { origin, cow, merges }, kind, features));
    match origins.role_of(&core) {
        Role::Paired => {
            return Err(CtrError::invalid("Snapshot cow pairing for exception table handover failed"));
        }
        Role::Destination if merges => merge::check_destination(&core, &origins)?,
        Role::Destination => {}
        // A store that was never filled: there is nothing to merge.
        Role::Alone if merges && kind == StoreKind::Transient => return Err(merge::UNSUPPORTED),
        Role::Alone => open_store(&core, kind, chunk).await?,
    }
    origins.add(&core);
    let chunk = core.chunk().or_else(|| origins.source_of(&core).and_then(|source| source.chunk()));
    let chunk = chunk.unwrap_or(Sectors::ZERO);

    ctr.settings.max_io_len = chunk;
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = match features {
        Features { passdown: true, .. } => 2,
        Features { zeroes_cow: true, .. } => 1,
        _ => 0,
    };
    let vouches = !ctr.runtime().has(Quirks::SNAPSHOT_DISCARDS_NEED_DEVICES);
    ctr.settings.discards_supported = features.zeroes_cow && vouches;
    Ok(Snapshot { core, chunk, len: ctr.len })
}

/// Opens the exception store of a snapshot that takes over from no other.
async fn open_store(core: &Arc<SnapshotDevice>, kind: StoreKind, chunk: u64) -> Result<(), CtrError> {
    let cow = core.cow.device().clone();
    let (store, loaded) = match kind {
        StoreKind::Transient if chunk == 0 => return Err(CtrError::invalid("Chunk size not set")),
        StoreKind::Transient => {
            let store = Store::transient(cow, Sectors(chunk));
            (store, Loaded { exceptions: Default::default(), is_valid: true })
        }
        StoreKind::Persistent { .. } => Store::open(kind, core.origin.device(), cow, chunk).await?,
    };
    if !loaded.is_valid {
        core.lines.warn("Snapshot is marked invalid.");
    }
    core.set_store(Arc::new(store), loaded);
    Ok(())
}

fn parse_features(ctr: &mut Ctr<'_>) -> Result<Features, CtrError> {
    let mut features = Features::default();
    if ctr.args.is_empty() {
        return Ok(features);
    }
    let count = ctr.args.group(0, 2, "Invalid number of feature arguments")?;
    for _ in 0..count {
        let word = ctr.args.shift().unwrap_or_default();
        if word.eq_ignore_ascii_case(b"discard_zeroes_cow") {
            features.zeroes_cow = true;
        } else if word.eq_ignore_ascii_case(b"discard_passdown_origin") {
            features.passdown = true;
        } else {
            return Err(CtrError::invalid("Unrecognised feature requested"));
        }
    }
    if features.passdown && !features.zeroes_cow {
        let text = "discard_passdown_origin feature depends on discard_zeroes_cow";
        return Err(CtrError::invalid(text));
    }
    Ok(features)
}

/// Only the first letter of the store's name counts, and for `P` the second.
fn parse_store(ctr: &Ctr<'_>, word: &[u8]) -> Option<StoreKind> {
    match (word.first().map(u8::to_ascii_uppercase), word.get(1)) {
        (Some(b'N'), _) => Some(StoreKind::Transient),
        (Some(b'P'), None) => Some(StoreKind::Persistent { shows_overflow: false }),
        (Some(b'P'), Some(b'O' | b'o')) => Some(StoreKind::Persistent { shows_overflow: true }),
        (Some(b'P'), Some(_)) => {
            let option = String::from_utf8_lossy(&word[1..]);
            let text = format!("Unsupported persistent store option: {option}");
            ctr.log(store::PREFIX).err(text);
            None
        }
        _ => None,
    }
}

impl Drop for Snapshot {
    /// [`Target::destroy`] has done it, unless the whole machine ends.
    fn drop(&mut self) {
        self.core.withdraw();
    }
}

impl Target for Snapshot {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        self.core.map(bio)
    }

    fn end_io(&self, _bio: &mut Bio<'_>, chunk: u64, status: BlkStatus) -> End {
        self.core.end_tracked(chunk);
        End::Done(status)
    }

    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        self.core.set_suspended();
        Box::pin(async {})
    }

    fn preresume(&self) -> BoxFuture<'_, Result<(), Errno>> {
        let allowed = self.core.may_resume();
        Box::pin(async move { allowed })
    }

    fn resume(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Between two runs of a merge into the same origin: a snapshot that shares a chunk from now on is heeded by
            // the next.
            let merging = self.core.merging_neighbour();
            let _turn = match &merging {
                Some(merging) => Some(merging.merge_turn.lock().await),
                None => None,
            };
            self.core.start().await;
        })
    }

    fn destroy(&self) -> BoxFuture<'_, ()> {
        self.core.withdraw();
        Box::pin(self.core.until_quiet())
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let core = &self.core;
        let written = match kind {
            StatusKind::Info => write!(out, "{}", core.usage_text()),
            StatusKind::Table => {
                let (origin, cow) = (core.origin.dev(), core.cow.dev());
                let chunk = core.chunk().unwrap_or(Sectors::ZERO);
                let letters = core.state.lock().kind.letters();
                write!(out, "{origin} {cow} {letters} {chunk}").and_then(|()| core.features.write(out))
            }
            StatusKind::Ima => core.write_measurement(out),
        };
        written.into()
    }

    /// What a transient store holds, and that the snapshot is lost if its store may not say so.
    fn save(&self) -> Option<Saved> {
        Some(Saved::new(self.core.save()))
    }

    fn restore(&self, saved: &Saved) {
        self.core.restore(saved.get::<SnapshotState>());
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        let cow_size = self.core.cow.device().capacity();
        Some(vec![
            DeviceRange::new(&self.core.origin, Sector::ZERO, self.len),
            DeviceRange::new(&self.core.cow, Sector::ZERO, cow_size),
        ])
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        if self.core.features.zeroes_cow {
            // The kernel gives the chunk size in sectors where bytes are meant (recorded: `snapshot/limits`);
            // validation then raises it to a physical block.
            limits.discard_granularity = Bytes(self.chunk.0);
            limits.max_hw_discard_sectors = self.chunk;
            limits.max_discard_sectors = self.chunk;
        }
    }
}
