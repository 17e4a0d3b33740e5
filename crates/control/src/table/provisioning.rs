//! Table lines of thin provisioning and snapshots.

use super::Params;
use super::targets::{Device, TargetLine, TargetParamsError, decimal};
use dmlab_units::Sectors;

/// `thin-pool METADATA DATA BLOCK_SIZE LOW_WATER [N_FEATURES FEATURE…]`: the space that thin devices share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinPool {
    /// The device with the metadata.
    pub metadata: Device,
    /// The device with the data.
    pub data: Device,
    /// Length of a block: a multiple of 128 sectors, or a power of two from 128 on.
    pub block: Sectors,
    /// Free blocks at which the pool raises an event.
    pub low_water: u64,
    /// Feature words, as the table has them: `skip_block_zeroing`, `error_if_no_space`, `ignore_discard`,
    /// `no_discard_passdown`, `read_only`.
    pub features: Vec<String>,
}

impl ThinPool {
    /// A pool without features that raises its low water event when nothing is free.
    pub fn new(metadata: impl Into<Device>, data: impl Into<Device>, block: Sectors) -> ThinPool {
        let (metadata, data) = (metadata.into(), data.into());
        ThinPool { metadata, data, block, low_water: 0, features: Vec::new() }
    }

    /// The event comes at `blocks` free blocks.
    #[must_use]
    pub fn low_water(mut self, blocks: u64) -> ThinPool {
        self.low_water = blocks;
        self
    }

    /// With one more feature word.
    #[must_use]
    pub fn feature(mut self, word: &str) -> ThinPool {
        self.features.push(word.to_owned());
        self
    }
}

impl TargetLine for ThinPool {
    const TYPE: &'static str = "thin-pool";

    fn params(&self) -> Params {
        let mut words = vec![
            self.metadata.to_string(),
            self.data.to_string(),
            self.block.to_string(),
            self.low_water.to_string(),
        ];
        push_features(&mut words, &self.features);
        Params::from_words(words)
    }

    fn parse(params: &Params) -> Result<ThinPool, TargetParamsError> {
        const RIGHT: &str = "thin-pool takes METADATA DATA BLOCK_SIZE LOW_WATER [N_FEATURES FEATURE…], sizes in sectors and blocks";
        let wrong = || TargetParamsError { target: Self::TYPE, found: params.to_string(), right: RIGHT };
        let parse = || {
            Some(ThinPool {
                metadata: params.word(0)?.into(),
                data: params.word(1)?.into(),
                block: Sectors(decimal(params.word(2)?)?),
                low_water: decimal(params.word(3)?)?,
                features: features(params, 4)?,
            })
        };
        parse().ok_or_else(wrong)
    }
}

/// `thin POOL ID [ORIGIN]`: a device that takes space from a pool when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thin {
    /// The pool.
    pub pool: Device,
    /// The number that the pool knows it by: below 2^24.
    pub id: u64,
    /// What blocks that were never written show, in place of zeros.
    pub external_origin: Option<Device>,
}

impl Thin {
    /// Device `id` of `pool`.
    pub fn new(pool: impl Into<Device>, id: u64) -> Thin {
        Thin { pool: pool.into(), id, external_origin: None }
    }

    /// What was never written shows the bytes of `origin`.
    #[must_use]
    pub fn with_external_origin(mut self, origin: impl Into<Device>) -> Thin {
        self.external_origin = Some(origin.into());
        self
    }
}

impl TargetLine for Thin {
    const TYPE: &'static str = "thin";

    fn params(&self) -> Params {
        let origin = self.external_origin.iter().map(Device::to_string);
        Params::from_words([self.pool.to_string(), self.id.to_string()].into_iter().chain(origin))
    }

    fn parse(params: &Params) -> Result<Thin, TargetParamsError> {
        let right = "thin takes POOL ID [EXTERNAL_ORIGIN]";
        let wrong = || TargetParamsError { target: Self::TYPE, found: params.to_string(), right };
        match (params.word(0), params.word(1).and_then(decimal), params.len()) {
            (Some(pool), Some(id), 2 | 3) => {
                Ok(Thin { pool: pool.into(), id, external_origin: params.word(2).map(Device::from) })
            }
            _ => Err(wrong()),
        }
    }
}

/// `snapshot ORIGIN COW P|PO|N CHUNK [N_FEATURES FEATURE…]`: a device as it was, with what changed since on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The device whose past it shows.
    pub origin: Device,
    /// Where what changed is kept.
    pub cow: Device,
    /// `P` persistent, `PO` persistent and able to show that it overflowed, `N` gone with the device.
    pub store: String,
    /// Length of a chunk: a power of two.
    pub chunk: Sectors,
    /// `discard_zeroes_cow`, `discard_passdown_origin`.
    pub features: Vec<String>,
}

impl Snapshot {
    /// A persistent snapshot.
    pub fn persistent(origin: impl Into<Device>, cow: impl Into<Device>, chunk: Sectors) -> Snapshot {
        let store = "P".to_owned();
        Snapshot { origin: origin.into(), cow: cow.into(), store, chunk, features: Vec::new() }
    }

    /// One that is gone when it is removed.
    pub fn transient(origin: impl Into<Device>, cow: impl Into<Device>, chunk: Sectors) -> Snapshot {
        Snapshot { store: "N".to_owned(), ..Snapshot::persistent(origin, cow, chunk) }
    }
}

impl TargetLine for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn params(&self) -> Params {
        let mut words =
            vec![self.origin.to_string(), self.cow.to_string(), self.store.clone(), self.chunk.to_string()];
        push_features(&mut words, &self.features);
        Params::from_words(words)
    }

    fn parse(params: &Params) -> Result<Snapshot, TargetParamsError> {
        let right = "snapshot takes ORIGIN COW P|PO|N CHUNK [N_FEATURES FEATURE…], the chunk in sectors";
        let wrong = || TargetParamsError { target: Self::TYPE, found: params.to_string(), right };
        let parse = || {
            Some(Snapshot {
                origin: params.word(0)?.into(),
                cow: params.word(1)?.into(),
                store: params.word(2)?.to_owned(),
                chunk: Sectors(decimal(params.word(3)?)?),
                features: features(params, 4)?,
            })
        };
        parse().ok_or_else(wrong)
    }
}

/// `snapshot-merge`, with the parameters of a snapshot: gives what changed back to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMerge(pub Snapshot);

impl TargetLine for SnapshotMerge {
    const TYPE: &'static str = "snapshot-merge";

    fn params(&self) -> Params {
        self.0.params()
    }

    fn parse(params: &Params) -> Result<SnapshotMerge, TargetParamsError> {
        let snapshot = Snapshot::parse(params);
        snapshot.map(SnapshotMerge).map_err(|error| TargetParamsError { target: Self::TYPE, ..error })
    }
}

/// `snapshot-origin DEVICE`: a device whose writes its snapshots hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOrigin {
    /// The device.
    pub device: Device,
}

impl SnapshotOrigin {
    /// The way to `device` past its snapshots.
    pub fn new(device: impl Into<Device>) -> SnapshotOrigin {
        SnapshotOrigin { device: device.into() }
    }
}

impl TargetLine for SnapshotOrigin {
    const TYPE: &'static str = "snapshot-origin";

    fn params(&self) -> Params {
        Params::from_words([self.device.to_string()])
    }

    fn parse(params: &Params) -> Result<SnapshotOrigin, TargetParamsError> {
        match (params.word(0), params.len()) {
            (Some(device), 1) => Ok(SnapshotOrigin::new(device)),
            _ => Err(TargetParamsError {
                target: Self::TYPE,
                found: params.to_string(),
                right: "snapshot-origin takes DEVICE",
            }),
        }
    }
}

fn push_features(words: &mut Vec<String>, features: &[String]) {
    if !features.is_empty() {
        words.push(features.len().to_string());
        words.extend(features.iter().cloned());
    }
}

/// `[N FEATURE×N]` from word `at` on, and nothing after.
fn features(params: &Params, at: usize) -> Option<Vec<String>> {
    let rest: Vec<String> =
        (at..params.len()).map(|i| params.word(i).map(str::to_owned)).collect::<Option<_>>()?;
    match rest.split_first() {
        None => Some(Vec::new()),
        Some((count, features)) => (decimal(count)? == features.len() as u64).then(|| features.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::same;

    #[test]
    fn lines_come_back_as_they_were() {
        let pool = ThinPool::new("/dev/ram0", "1:1", Sectors(128));
        same(&pool, "/dev/ram0 1:1 128 0");
        same(&pool.low_water(7).feature("skip_block_zeroing"), "/dev/ram0 1:1 128 7 1 skip_block_zeroing");
        same(&Thin::new("254:0", 3), "254:0 3");
        same(&Thin::new("254:0", 3).with_external_origin("1:2"), "254:0 3 1:2");
        same(&Snapshot::persistent("1:0", "1:1", Sectors(16)), "1:0 1:1 P 16");
        same(&Snapshot::transient("1:0", "1:1", Sectors(8)), "1:0 1:1 N 8");
        same(&SnapshotOrigin::new("1:0"), "1:0");
        same(&SnapshotMerge(Snapshot::persistent("1:0", "1:1", Sectors(16))), "1:0 1:1 P 16");
    }

    #[test]
    fn wrong_lines_say_what_would_be_right() {
        for text in ["", "a b", "a b 128", "a b x 0", "a b 128 0 2 skip_block_zeroing", "a b 128 0 x"] {
            let error = ThinPool::parse(&Params::from_text(text.as_bytes())).unwrap_err();
            assert!(error.to_string().starts_with(&format!("thin-pool {text}: thin-pool takes")), "{error}");
        }
        assert!(Thin::parse(&Params::from_text(b"254:0 x")).is_err());
        assert!(Thin::parse(&Params::from_text(b"254:0 1 1:0 2")).is_err());
        assert!(Snapshot::parse(&Params::from_text(b"1:0 1:1 P")).is_err());
        assert!(SnapshotOrigin::parse(&Params::from_text(b"1:0 1:1")).is_err());
    }
}
