//! `thin-pool`: the space that thin devices share.

use super::{Device, TargetLine, TargetParamsError};
use crate::form::{Argument, Bounds, Feature, Form, Item, Message, TargetError, Values};
use crate::status::TargetStatus;
use crate::{Params, decimal};
use dmlab_units::Sectors;

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid argument count"),
        TargetError::of("Error setting metadata or data device", &["DATA"]).right("another device than METADATA"),
        TargetError::of("Invalid number of pool feature arguments", &["N_FEATURES"]),
        TargetError::unknown_feature("Unrecognised pool feature requested"),
        TargetError::lookup("Error opening metadata block device", &["METADATA"]),
        TargetError::lookup("Error getting data device", &["DATA"]),
        TargetError::of("Invalid block size", &["BLOCK_SIZE"]),
        TargetError::of("Invalid low water mark", &["LOW_WATER"]),
        TargetError::of("metadata device already in use by a pool", &["METADATA"])
            .right("a device that no other pool has its metadata on"),
        TargetError::of("data device already in use by a pool", &["DATA"])
            .right("a device that no other pool has its data on"),
        TargetError::of("different pool cannot replace a pool", &["METADATA"])
            .right("the metadata device of the pool that this mapped device has"),
        TargetError::of("Error creating metadata object", &["METADATA"]).right(
            "a device with the sound metadata of a pool of this BLOCK_SIZE, which `dmlab thin check` judges, or with zeros in \
             its first block for a new one",
        ),
        TargetError::feature("Discard support cannot be disabled once enabled", &["ignore_discard"]).right(
            "not here: the pool that runs takes discards; no_discard_passdown keeps them from the data device",
        ),
    ],
    messages: &[
        Message { words: "create_thin ID", does: "makes an empty thin device" },
        Message {
            words: "create_snap ID ORIGIN",
            does: "makes one that shares all blocks of another, which must be suspended if it is active",
        },
        Message { words: "delete ID", does: "forgets one and frees what only it had" },
        Message {
            words: "set_transaction_id OLD NEW",
            does: "moves the number by which user space knows where it was",
        },
        Message { words: "reserve_metadata_snap", does: "holds the metadata as it is, for tools to read" },
        Message { words: "release_metadata_snap", does: "lets it go again" },
    ],
    status: |words| PoolStatus::parse(words).map(TargetStatus::ThinPool),
    ..Form::new(
        "thin-pool",
        &[
            Item::One(Argument::device("METADATA", "the device of the metadata")),
            Item::One(Argument::device("DATA", "the device of the data, another than METADATA")),
            Item::One(Argument::sectors(
                "BLOCK_SIZE",
                Bounds::multiples(128, 128, 1 << 21),
                "the size of a data block: a multiple of 128 sectors, from 128 (64 KiB) to 2097152 (1 GiB)",
            )),
            Item::One(Argument::number(
                "LOW_WATER",
                "blocks",
                Bounds::ANY,
                "a decimal number of data blocks: an event comes when fewer are free",
            )),
            Item::Optional(&[Item::Counted {
                count: Argument::count("N_FEATURES", Bounds::between(0, 4), "how many feature words follow, 0 to 4"),
                items: &[Item::Features(&[
                    Feature {
                        name: "skip_block_zeroing",
                        arguments: &[],
                        does: "blocks are not zeroed when they are taken",
                    },
                    Feature { name: "ignore_discard", arguments: &[], does: "there are no discards" },
                    Feature {
                        name: "no_discard_passdown",
                        arguments: &[],
                        does: "discards free blocks and do not reach the data device",
                    },
                    Feature { name: "read_only", arguments: &[], does: "nothing may be written" },
                    Feature {
                        name: "error_if_no_space",
                        arguments: &[],
                        does: "writes that find no space fail, in place of waiting for it",
                    },
                ])],
            }]),
        ],
    )
};

/// `thin-pool METADATA DATA BLOCK_SIZE LOW_WATER [N_FEATURES FEATURE…]`: the space that thin devices share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinPool {
    /// The device with the metadata.
    pub metadata: Device,
    /// The device with the data.
    pub data: Device,
    /// Length of a block: a multiple of 128 sectors.
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
        let values = Values::new().with("METADATA", &self.metadata).with("DATA", &self.data);
        let values = values.with("BLOCK_SIZE", self.block).with("LOW_WATER", self.low_water);
        FORM.write(&values.with_features(&self.features))
    }

    fn parse(params: &Params) -> Result<ThinPool, TargetParamsError> {
        FORM.parse(params, |values| {
            Some(ThinPool {
                metadata: values.device("METADATA")?,
                data: values.device("DATA")?,
                block: values.sectors("BLOCK_SIZE")?,
                low_water: values.number("LOW_WATER")?,
                features: values.features(),
            })
        })
    }
}

/// How much of something is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage<T = u64> {
    /// Taken.
    pub used: T,
    /// All there is.
    pub total: T,
}

impl Usage {
    pub(super) fn parse(word: &str) -> Option<Usage> {
        let (used, total) = word.split_once('/')?;
        Some(Usage { used: decimal(used)?, total: decimal(total)? })
    }
}

/// What a pool may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// Everything (`rw`).
    Write,
    /// Everything but taking data blocks (`out_of_data_space`).
    OutOfDataSpace,
    /// Only reading (`ro`).
    ReadOnly,
}

/// The status of a `thin-pool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolStatus {
    /// `Fail`: all IO ends with an error.
    Failed,
    /// `Error`: the status could not be found out.
    Unknown,
    /// It works, as far as its mode lets it.
    Working {
        /// The number that user space set last.
        transaction: u64,
        /// Metadata blocks of 4 KiB.
        metadata: Usage,
        /// Data blocks.
        data: Usage,
        /// Where the metadata snapshot begins, if one is held.
        held_root: Option<u64>,
        /// What it may do.
        mode: PoolMode,
        /// What it does with discards: the feature's word.
        discards: String,
        /// Whether writes fail that find no space, in place of waiting for it.
        errors_if_no_space: bool,
        /// Whether the metadata must be checked before it may be written again.
        needs_check: bool,
        /// Free metadata blocks at which an event comes.
        metadata_low_water: u64,
    },
}

impl PoolStatus {
    pub(super) fn parse(words: &[&str]) -> Option<PoolStatus> {
        match words {
            ["Fail"] => Some(PoolStatus::Failed),
            ["Error"] => Some(PoolStatus::Unknown),
            [transaction, metadata, data, held, mode, discards, no_space, check, low_water] => {
                Some(PoolStatus::Working {
                    transaction: decimal(transaction)?,
                    metadata: Usage::parse(metadata)?,
                    data: Usage::parse(data)?,
                    held_root: if *held == "-" { None } else { Some(decimal(held)?) },
                    mode: match *mode {
                        "rw" => PoolMode::Write,
                        "out_of_data_space" => PoolMode::OutOfDataSpace,
                        "ro" => PoolMode::ReadOnly,
                        _ => return None,
                    },
                    discards: (*discards).to_owned(),
                    errors_if_no_space: *no_space == "error_if_no_space",
                    needs_check: *check == "needs_check",
                    metadata_low_water: decimal(low_water)?,
                })
            }
            _ => None,
        }
    }
}
