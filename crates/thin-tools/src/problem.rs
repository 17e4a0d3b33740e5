//! What can be wrong with metadata.

use crate::metadata::BlockError;
use crate::walk::{Loss, Tree};
use dmlab_units::{DataBlock, MetaBlock, ThinBlock, ThinId};
use std::fmt;

/// One of the two space maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpaceMapKind {
    /// Of the data device.
    Data,
    /// Of the metadata device.
    Metadata,
}

impl fmt::Display for SpaceMapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpaceMapKind::Data => "data",
            SpaceMapKind::Metadata => "metadata",
        })
    }
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "fields are found, wanted, and where")]
pub enum Problem {
    /// The superblock can't be used, so nothing can.
    Superblock(BlockError),
    /// The copy of the superblock that a metadata snapshot is can't be used.
    SnapshotSuperblock { block: MetaBlock, why: BlockError },
    /// A field of the superblock that Linux would refuse, or that can't be.
    Field { name: &'static str, found: u64, wanted: String },
    /// A node; `device` is whose mappings, for the mapping tree.
    Node { tree: Tree, device: Option<ThinId>, loss: Loss },
    /// A bitmap or the index block of a space map.
    Bitmap { map: SpaceMapKind, index: u64, block: MetaBlock, why: BlockError },
    /// Too many or too few bitmaps.
    NrBitmaps { map: SpaceMapKind, found: u64, wanted: u64 },
    /// A device with mappings and no details.
    NoDetails(ThinId),
    /// A device with details and no mappings, not even an empty tree of them.
    NoMappings(ThinId),
    /// Details that count other mappings than there are.
    MappedBlocks { device: ThinId, found: u64, wanted: u64 },
    /// A mapping to a data block that doesn't exist.
    Beyond { leaf: MetaBlock, block: ThinBlock, data: DataBlock, nr_blocks: u64 },
    /// Counts of `nr_blocks` blocks from `begin` on.
    Count { map: SpaceMapKind, begin: u64, nr_blocks: u64, found: u64, wanted: u64 },
    /// A bitmap that points to the overflow tree, where nothing is.
    NoOverflow { map: SpaceMapKind, block: u64 },
    /// An index entry's number of free blocks; `inside` counts those that the device has.
    NrFree { map: SpaceMapKind, index: u64, found: u32, wanted: u32, inside: u32 },
    /// An index entry that hides free blocks from the allocator.
    NoneFreeBefore { map: SpaceMapKind, index: u64, found: u32, first_free: u32, hidden: u32 },
    /// The number of blocks in use.
    NrAllocated { map: SpaceMapKind, found: u64, wanted: u64 },
}

impl Problem {
    /// Whether nothing is lost by it and [`fix_leaks`](crate::fix_leaks) mends it: counts that are too high (space is
    /// never used again), and sums that do not add up.
    pub fn is_leak(&self) -> bool {
        match self {
            Problem::Count { found, wanted, .. } => found > wanted,
            Problem::NrFree { .. } | Problem::NoneFreeBefore { .. } | Problem::NrAllocated { .. } => true,
            _ => false,
        }
    }

    /// Whether it is harmless, since sound writers leave it: `thin_restore` and `thin_repair` 0.9 count the last bitmap's
    /// free blocks up to the end of the device (which stays in the sum when a pool grows), and one metadata block that
    /// they gave up again as in use (observed). Both are on the careful side; the allocator still finds all other space.
    pub fn is_remark(&self) -> bool {
        match *self {
            Problem::NrFree { found, wanted, inside, .. } => found < wanted && (found > 0 || inside <= 1),
            Problem::NoneFreeBefore { map: SpaceMapKind::Metadata, hidden, .. } => hidden == 1,
            Problem::NrAllocated { map: SpaceMapKind::Metadata, found, wanted } => found == wanted + 1,
            _ => false,
        }
    }

    /// Whether Debian's `thin_check` 0.9 accepts metadata with this problem (observed: it does not look at the data
    /// space map's counts, at sums, at details' numbers of mappings, or at whether the device sets agree).
    pub fn passes_thin_check(&self) -> bool {
        match self {
            Problem::Count { map, .. } | Problem::NoOverflow { map, .. } => *map == SpaceMapKind::Data,
            Problem::Field { .. }
            | Problem::NrBitmaps { .. }
            | Problem::NoDetails(_)
            | Problem::NoMappings(_)
            | Problem::MappedBlocks { .. }
            | Problem::Beyond { .. }
            | Problem::NrFree { .. }
            | Problem::NoneFreeBefore { .. }
            | Problem::NrAllocated { .. } => true,
            _ => false,
        }
    }

    /// Whether something of the pool can't be read, so that an answer without it would be wrong.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            Problem::Node { loss, .. } => loss.keys.is_some(),
            Problem::NoDetails(_) | Problem::NoMappings(_) => true,
            _ => false,
        }
    }

    /// Whether counts can't be compared any more, since part of a tree is missing.
    pub(crate) fn hides_counts(&self) -> bool {
        match self {
            Problem::Node { loss, .. } => loss.keys.is_some(),
            Problem::Superblock(_) | Problem::SnapshotSuperblock { .. } => true,
            _ => false,
        }
    }
}

fn blocks(f: &mut fmt::Formatter<'_>, begin: u64, nr_blocks: u64) -> fmt::Result {
    if nr_blocks == 1 {
        write!(f, "block {begin}")
    } else {
        write!(f, "blocks {begin} to {}", begin + nr_blocks - 1)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Superblock(why) => write!(f, "the superblock can't be used: {why}"),
            Problem::SnapshotSuperblock { block, why } => {
                write!(f, "the metadata snapshot's superblock at block {block} can't be used: {why}")
            }
            Problem::Field { name, found, wanted } => {
                write!(f, "superblock: {name} is {found}, it should be {wanted}")
            }
            Problem::Node { tree, device, loss } => {
                match (device, loss.keys) {
                    (Some(id), Some(keys)) => {
                        write!(f, "thin device {id} lost its {}: ", range(*tree, keys))?;
                    }
                    (None, Some(keys)) => write!(f, "lost: {}: ", range(*tree, keys))?,
                    (Some(id), None) => write!(f, "thin device {id}, nothing lost: ")?,
                    (None, None) => write!(f, "nothing lost: ")?,
                }
                write!(f, "{tree}, block {}", loss.block)?;
                if !loss.path.is_empty() {
                    let path: Vec<String> = loss.path.iter().map(ToString::to_string).collect();
                    write!(f, " below {}", path.join(" → "))?;
                }
                write!(f, ": {}", loss.why)
            }
            Problem::Bitmap { map, index, block, why } => {
                write!(f, "{map} space map: bitmap {index} at block {block} can't be used: {why}")
            }
            Problem::NrBitmaps { map, found, wanted } => {
                write!(f, "{map} space map: {found} bitmaps, its size needs {wanted}")
            }
            Problem::NoDetails(id) => write!(f, "thin device {id} has mappings but no details"),
            Problem::NoMappings(id) => write!(f, "thin device {id} has details but no mapping tree"),
            Problem::MappedBlocks { device, found, wanted } => {
                write!(f, "thin device {device}: details count {found} mapped blocks, there are {wanted}")
            }
            Problem::Beyond { leaf, block, data, nr_blocks } => write!(
                f,
                "virtual block {block} (leaf {leaf}) maps to data block {data}, the data device has {nr_blocks}"
            ),
            Problem::Count { map, begin, nr_blocks, found, wanted } => {
                write!(f, "{map} space map: ")?;
                blocks(f, *begin, *nr_blocks)?;
                let kind = if found > wanted { "leaked" } else { "too low" };
                write!(f, " counted {found} times, used {wanted} times ({kind})")
            }
            Problem::NoOverflow { map, block } => {
                write!(f, "{map} space map: block {block} is counted above 2, but the overflow tree lacks it")
            }
            Problem::NrFree { map, index, found, wanted, .. } => {
                write!(f, "{map} space map: bitmap {index} says {found} blocks are free, {wanted} are")
            }
            Problem::NoneFreeBefore { map, index, found, first_free, .. } => write!(
                f,
                "{map} space map: bitmap {index} says none is free before {found}, but {first_free} is"
            ),
            Problem::NrAllocated { map, found, wanted } => {
                write!(f, "{map} space map: says {found} blocks are allocated, {wanted} are")
            }
        }
    }
}

fn range(tree: Tree, (first, last): (u64, u64)) -> String {
    match (first, last) {
        (0, u64::MAX) => format!("{} (all)", tree.keys()),
        (_, u64::MAX) => format!("{} from {first} on", tree.keys()),
        _ => format!("{} {first} to {last}", tree.keys()),
    }
}
