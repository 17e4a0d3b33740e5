//! The metadata of a thin pool: its superblock, mappings and device details (kernel/thin-metadata.md#the-superblock).
//!
//! ```text
//! superblock
//!   0 csum u32     4 flags u32    8 blocknr u64   16 uuid[16]    32 magic u64   40 version u32
//!  44 time u32    48 trans_id u64   56 held_root u64
//!  64 data space map root[128]   192 metadata space map root[128]
//! 320 mapping root u64   328 details root u64   336 data block size u32 (sectors)
//! 340 metadata block size u32 (sectors)   344 metadata blocks u64
//! 352 compat u32   356 compat_ro u32   360 incompat u32
//! mapping
//!   u64: data block << 24 | time
//! device details
//!   0 mapped blocks u64   8 transaction id u64   16 creation time u32   20 snapshotted time u32
//! ```

use dmlab_units::{DataBlock, MetaBlock, Sectors};

use crate::btree_node::Value;
use crate::space_map_root::SpaceMapRoot;
use crate::{Block, Magic, Validator, put_u32, put_u64, u32_at, u64_at};

/// The validator of the superblock, and of its copy in a metadata snapshot.
pub static SUPERBLOCK: Validator = Validator {
    magic: Some(Magic { at: 32, value: SUPERBLOCK_MAGIC }),
    log_prefix: "thin metadata",
    failed: "sb_check failed",
    wanted: ": wanted",
    ..Validator::new("superblock", 160_774)
};

/// `magic` of a thin pool's metadata.
pub const SUPERBLOCK_MAGIC: u64 = 27_022_010;
/// The version that is written.
pub const THIN_VERSION: u32 = 2;
/// Bit of `flags`: the metadata must be checked before the pool may be written.
pub const NEEDS_CHECK: u32 = 1;

const ROOT_ROOM: usize = 128;

/// Most metadata blocks kept in reserve, so that deleting is possible when all others are used.
const MAX_RESERVE: u64 = 4096;

/// Metadata blocks that a pool keeps back of `nr_blocks`; its status line shows them as used.
pub fn metadata_reserve(nr_blocks: u64) -> u64 {
    MAX_RESERVE.min(nr_blocks / 10)
}

/// A superblock. What it does not name (checksum, number, spare bytes) is kept by editing the block in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Bit 0: needs check.
    pub flags: u32,
    /// Always zero in what Linux writes.
    pub uuid: [u8; 16],
    /// The format's version.
    pub version: u32,
    /// The clock that snapshots move.
    pub time: u32,
    /// The user's transaction id.
    pub trans_id: u64,
    /// Block of the metadata snapshot; 0 is none.
    pub held_root: MetaBlock,
    /// Space map of the data device.
    pub data_space_map: SpaceMapRoot,
    /// Space map of this device.
    pub metadata_space_map: SpaceMapRoot,
    /// Top of the mapping tree.
    pub mapping_root: MetaBlock,
    /// Root of the device details.
    pub details_root: MetaBlock,
    /// Size of a data block.
    pub data_block_size: Sectors,
    /// Size of a metadata block.
    pub metadata_block_size: Sectors,
    /// Metadata blocks there were when it was formatted; not kept up to date.
    pub metadata_nr_blocks: u64,
    /// Features that any version can ignore.
    pub compat_flags: u32,
    /// Features without which metadata may only be read.
    pub compat_ro_flags: u32,
    /// Features without which metadata can't be used.
    pub incompat_flags: u32,
}

impl Superblock {
    /// From a block that was checked.
    pub fn decode(block: &Block) -> Superblock {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&block[16..32]);
        Superblock {
            flags: u32_at(block, 4),
            uuid,
            version: u32_at(block, 40),
            time: u32_at(block, 44),
            trans_id: u64_at(block, 48),
            held_root: MetaBlock(u64_at(block, 56)),
            data_space_map: SpaceMapRoot::decode(&block[64..]),
            metadata_space_map: SpaceMapRoot::decode(&block[192..]),
            mapping_root: MetaBlock(u64_at(block, 320)),
            details_root: MetaBlock(u64_at(block, 328)),
            data_block_size: Sectors(u64::from(u32_at(block, 336))),
            metadata_block_size: Sectors(u64::from(u32_at(block, 340))),
            metadata_nr_blocks: u64_at(block, 344),
            compat_flags: u32_at(block, 352),
            compat_ro_flags: u32_at(block, 356),
            incompat_flags: u32_at(block, 360),
        }
    }

    /// Into a block, whose other bytes stay as they are. Sizes beyond 32 bits do not fit the format and are cut.
    pub fn encode(&self, block: &mut Block) {
        put_u32(block, 4, self.flags);
        block[16..32].copy_from_slice(&self.uuid);
        put_u64(block, 32, SUPERBLOCK_MAGIC);
        put_u32(block, 40, self.version);
        put_u32(block, 44, self.time);
        put_u64(block, 48, self.trans_id);
        put_u64(block, 56, self.held_root.0);
        self.data_space_map.encode(&mut block[64..64 + ROOT_ROOM]);
        self.metadata_space_map.encode(&mut block[192..192 + ROOT_ROOM]);
        put_u64(block, 320, self.mapping_root.0);
        put_u64(block, 328, self.details_root.0);
        put_u32(block, 336, self.data_block_size.0 as u32);
        put_u32(block, 340, self.metadata_block_size.0 as u32);
        put_u64(block, 344, self.metadata_nr_blocks);
        put_u32(block, 352, self.compat_flags);
        put_u32(block, 356, self.compat_ro_flags);
        put_u32(block, 360, self.incompat_flags);
    }

    /// Whether the needs-check flag is set.
    pub fn needs_check(&self) -> bool {
        self.flags & NEEDS_CHECK != 0
    }
}

/// A mapping: which data block, and at what time of the pool's snapshot clock it was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The data block, 40 bits.
    pub block: DataBlock,
    /// The time, 24 bits.
    pub time: u32,
}

impl Value for Mapping {
    const SIZE: usize = 8;
    fn decode(bytes: &[u8]) -> Mapping {
        let packed = u64_at(bytes, 0);
        Mapping { block: DataBlock(packed >> 24), time: (packed & 0xff_ffff) as u32 }
    }
    fn encode(&self, bytes: &mut [u8]) {
        put_u64(bytes, 0, self.block.0 << 24 | u64::from(self.time & 0xff_ffff));
    }
}

/// What the pool knows of a thin device besides its mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceDetails {
    /// Blocks mapped.
    pub mapped_blocks: u64,
    /// The pool's transaction id when it was made.
    pub transaction_id: u64,
    /// The snapshot clock when it was made.
    pub creation_time: u32,
    /// The snapshot clock when it was last part of a snapshot.
    pub snapshotted_time: u32,
}

impl Value for DeviceDetails {
    const SIZE: usize = 24;
    fn decode(bytes: &[u8]) -> DeviceDetails {
        DeviceDetails {
            mapped_blocks: u64_at(bytes, 0),
            transaction_id: u64_at(bytes, 8),
            creation_time: u32_at(bytes, 16),
            snapshotted_time: u32_at(bytes, 20),
        }
    }
    fn encode(&self, bytes: &mut [u8]) {
        put_u64(bytes, 0, self.mapped_blocks);
        put_u64(bytes, 8, self.transaction_id);
        put_u32(bytes, 16, self.creation_time);
        put_u32(bytes, 20, self.snapshotted_time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_pack_block_and_time() {
        let mut bytes = [0; 8];
        let mapping = Mapping { block: DataBlock(0xff_ffff_ffff), time: 5 };
        mapping.encode(&mut bytes);
        assert_eq!(bytes, [5, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Mapping::decode(&bytes), mapping);
    }
}
