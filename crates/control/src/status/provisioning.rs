//! What pools, thin devices and snapshots say of themselves.

use dmlab_units::{Sector, Sectors};

use crate::table::decimal;

/// How much of something is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage<T = u64> {
    /// Taken.
    pub used: T,
    /// All there is.
    pub total: T,
}

impl Usage {
    fn parse(word: &str) -> Option<Usage> {
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

/// The status of a `thin-pool` (kernel/thin.md#status-of-a-pool).
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

/// The status of a `thin` device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinStatus {
    /// `Fail`: its pool failed.
    Failed,
    /// `Error`: the status could not be found out.
    Unknown,
    /// It works.
    Working {
        /// How much is mapped.
        mapped: Sectors,
        /// The last sector that is.
        highest: Option<Sector>,
    },
}

impl ThinStatus {
    pub(super) fn parse(words: &[&str]) -> Option<ThinStatus> {
        match words {
            ["Fail"] => Some(ThinStatus::Failed),
            ["Error"] => Some(ThinStatus::Unknown),
            [mapped, highest] => Some(ThinStatus::Working {
                mapped: Sectors(decimal(mapped)?),
                highest: if *highest == "-" { None } else { Some(Sector(decimal(highest)?)) },
            }),
            _ => None,
        }
    }
}

/// The status of a `snapshot` or `snapshot-merge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// `Invalid`: it lost track of its origin, and every IO to it fails.
    Invalid,
    /// `Overflow`: a store that can tell (`PO`) is full.
    Overflow,
    /// `Merge failed`.
    MergeFailed,
    /// It works.
    Working {
        /// Of the copy-on-write device.
        cow: Usage<Sectors>,
        /// Of that, for the store's own use.
        metadata: Sectors,
    },
}

impl SnapshotStatus {
    pub(super) fn parse(words: &[&str]) -> Option<SnapshotStatus> {
        match words {
            ["Invalid"] => Some(SnapshotStatus::Invalid),
            ["Overflow"] => Some(SnapshotStatus::Overflow),
            ["Merge", "failed"] => Some(SnapshotStatus::MergeFailed),
            [cow, metadata] => {
                let Usage { used, total } = Usage::parse(cow)?;
                let cow = Usage { used: Sectors(used), total: Sectors(total) };
                Some(SnapshotStatus::Working { cow, metadata: Sectors(decimal(metadata)?) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_ascii_whitespace().collect()
    }

    #[test]
    fn a_pool_says_all_it_knows() {
        let line = "5 14/1024 3/16 - out_of_data_space discard_passdown error_if_no_space needs_check 256";
        let want = PoolStatus::Working {
            transaction: 5,
            metadata: Usage { used: 14, total: 1024 },
            data: Usage { used: 3, total: 16 },
            held_root: None,
            mode: PoolMode::OutOfDataSpace,
            discards: "discard_passdown".into(),
            errors_if_no_space: true,
            needs_check: true,
            metadata_low_water: 256,
        };
        assert_eq!(PoolStatus::parse(&words(line)), Some(want));
        assert_eq!(PoolStatus::parse(&words("Fail")), Some(PoolStatus::Failed));
        assert_eq!(PoolStatus::parse(&words("5 14/1024 3/16 - rw")), None);
    }

    #[test]
    fn thin_devices_and_snapshots_do_too() {
        let working = ThinStatus::Working { mapped: Sectors(256), highest: Some(Sector(383)) };
        assert_eq!(ThinStatus::parse(&words("256 383")), Some(working));
        let empty = ThinStatus::Working { mapped: Sectors(0), highest: None };
        assert_eq!(ThinStatus::parse(&words("0 -")), Some(empty));
        let cow = Usage { used: Sectors(32), total: Sectors(1024) };
        let working = SnapshotStatus::Working { cow, metadata: Sectors(16) };
        assert_eq!(SnapshotStatus::parse(&words("32/1024 16")), Some(working));
        assert_eq!(SnapshotStatus::parse(&words("Merge failed")), Some(SnapshotStatus::MergeFailed));
    }
}
