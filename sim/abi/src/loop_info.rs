//! The structs of the loop device's ioctls.
//!
//! ```text
//! struct loop_info64  0 device (u64)  8 inode (u64)  16 rdevice (u64)  24 offset (u64)  32 sizelimit (u64)
//!                    40 number  44 encrypt_type  48 encrypt_key_size  52 flags (u32 each)
//!                    56 file_name[64]  120 crypt_name[64]  184 encrypt_key[32]  216 init[2] (u64)            = 232
//! struct loop_config  0 fd (u32)  4 block_size (u32)  8 info  240 reserved[8] (u64)                          = 304
//! struct loop_info    0 number (i32), 4 unused  8 device (u64)  16 inode (u64)  24 rdevice (u64)
//!                    32 offset  36 encrypt_type  40 encrypt_key_size  44 flags (i32 each)
//!                    48 name[64]  112 encrypt_key[32]  144 init[2] (u64)  160 reserved[4], 164 unused        = 168
//! ```

use crate::bytes::{u32_at, u64_at};

bitflags::bitflags! {
    /// `lo_flags`. Bits that have no name here travel unchanged.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LoopFlags: u32 {
        /// The device is read-only.
        const READ_ONLY = 1;
        /// The last close unbinds it.
        const AUTOCLEAR = 4;
        /// Look for partitions.
        const PARTSCAN = 8;
        /// Go past the page cache of the backing file.
        const DIRECT_IO = 16;
        const _ = !0;
    }
}

/// `struct loop_info64`, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names are the interface's own; those with a meaning beyond it are documented"
)]
pub struct LoopInfo64 {
    /// Device number of the file system of the backing file.
    pub device: u64,
    pub inode: u64,
    /// Device number of the backing file, if it is a device.
    pub rdevice: u64,
    /// Where the device begins in the file, in bytes.
    pub offset: u64,
    /// Most bytes of the file that are used; 0 = all.
    pub sizelimit: u64,
    pub number: u32,
    pub encrypt_type: u32,
    pub encrypt_key_size: u32,
    pub flags: LoopFlags,
    /// What the program says the file is called, ended by NUL.
    pub file_name: [u8; 64],
    pub crypt_name: [u8; 64],
    pub encrypt_key: [u8; 32],
    pub init: [u64; 2],
}

impl Default for LoopInfo64 {
    fn default() -> LoopInfo64 {
        LoopInfo64::decode(&[0; LoopInfo64::SIZE])
    }
}

impl LoopInfo64 {
    /// Bytes of the struct.
    pub const SIZE: usize = 232;

    /// Reads the struct.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> LoopInfo64 {
        LoopInfo64 {
            device: u64_in(bytes, 0),
            inode: u64_in(bytes, 8),
            rdevice: u64_in(bytes, 16),
            offset: u64_in(bytes, 24),
            sizelimit: u64_in(bytes, 32),
            number: u32_in(bytes, 40),
            encrypt_type: u32_in(bytes, 44),
            encrypt_key_size: u32_in(bytes, 48),
            flags: LoopFlags::from_bits_retain(u32_in(bytes, 52)),
            file_name: array_in(bytes, 56),
            crypt_name: array_in(bytes, 120),
            encrypt_key: array_in(bytes, 184),
            init: [u64_in(bytes, 216), u64_in(bytes, 224)],
        }
    }

    /// Writes the struct.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (at, value) in [
            (0, self.device),
            (8, self.inode),
            (16, self.rdevice),
            (24, self.offset),
            (32, self.sizelimit),
            (216, self.init[0]),
            (224, self.init[1]),
        ] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in
            [(40, self.number), (44, self.encrypt_type), (48, self.encrypt_key_size), (52, self.flags.bits())]
        {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes[56..120].copy_from_slice(&self.file_name);
        bytes[120..184].copy_from_slice(&self.crypt_name);
        bytes[184..216].copy_from_slice(&self.encrypt_key);
        bytes
    }
}

/// `struct loop_config`, byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopConfig {
    /// Descriptor of the backing file, in the caller's table.
    pub fd: u32,
    /// Logical block size in bytes; 0 = the default.
    pub block_size: u32,
    /// The rest.
    pub info: LoopInfo64,
    /// Not looked at.
    pub reserved: [u64; 8],
}

impl LoopConfig {
    /// Bytes of the struct.
    pub const SIZE: usize = 304;

    /// Reads the struct.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> LoopConfig {
        LoopConfig {
            fd: u32_in(bytes, 0),
            block_size: u32_in(bytes, 4),
            info: LoopInfo64::decode(&array_in(bytes, 8)),
            reserved: std::array::from_fn(|i| u64_in(bytes, 240 + 8 * i)),
        }
    }

    /// Writes the struct.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..4].copy_from_slice(&self.fd.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.block_size.to_le_bytes());
        bytes[8..240].copy_from_slice(&self.info.encode());
        for (slot, value) in bytes[240..].chunks_exact_mut(8).zip(self.reserved) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

/// The old `struct loop_info`, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the interface's own")]
pub struct LoopInfo {
    pub number: i32,
    pub unused: u32,
    pub device: u64,
    pub inode: u64,
    pub rdevice: u64,
    pub offset: i32,
    pub encrypt_type: i32,
    pub encrypt_key_size: i32,
    pub flags: i32,
    pub name: [u8; 64],
    pub encrypt_key: [u8; 32],
    pub init: [u64; 2],
    pub reserved: [u8; 8],
}

impl LoopInfo {
    /// Bytes of the struct.
    pub const SIZE: usize = 168;

    /// Reads the struct.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> LoopInfo {
        LoopInfo {
            number: u32_in(bytes, 0) as i32,
            unused: u32_in(bytes, 4),
            device: u64_in(bytes, 8),
            inode: u64_in(bytes, 16),
            rdevice: u64_in(bytes, 24),
            offset: u32_in(bytes, 32) as i32,
            encrypt_type: u32_in(bytes, 36) as i32,
            encrypt_key_size: u32_in(bytes, 40) as i32,
            flags: u32_in(bytes, 44) as i32,
            name: array_in(bytes, 48),
            encrypt_key: array_in(bytes, 112),
            init: [u64_in(bytes, 144), u64_in(bytes, 152)],
            reserved: array_in(bytes, 160),
        }
    }

    /// Writes the struct.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (at, value) in [
            (0, self.number as u32),
            (4, self.unused),
            (32, self.offset as u32),
            (36, self.encrypt_type as u32),
            (40, self.encrypt_key_size as u32),
            (44, self.flags as u32),
        ] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in
            [(8, self.device), (16, self.inode), (24, self.rdevice), (144, self.init[0]), (152, self.init[1])]
        {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes[48..112].copy_from_slice(&self.name);
        bytes[112..144].copy_from_slice(&self.encrypt_key);
        bytes[160..168].copy_from_slice(&self.reserved);
        bytes
    }
}

impl From<&LoopInfo> for LoopInfo64 {
    /// As the kernel widens it: the sign of an old offset is kept, so a negative one is far too large.
    fn from(old: &LoopInfo) -> LoopInfo64 {
        LoopInfo64 {
            device: old.device,
            inode: old.inode,
            rdevice: old.rdevice,
            offset: i64::from(old.offset) as u64,
            sizelimit: 0,
            number: old.number as u32,
            encrypt_type: old.encrypt_type as u32,
            encrypt_key_size: old.encrypt_key_size as u32,
            flags: LoopFlags::from_bits_retain(old.flags as u32),
            file_name: old.name,
            crypt_name: [0; 64],
            encrypt_key: old.encrypt_key,
            init: old.init,
        }
    }
}

impl LoopInfo64 {
    /// The old struct with the same content, or `None` when a number does not fit (EOVERFLOW).
    pub fn to_old(&self) -> Option<LoopInfo> {
        Some(LoopInfo {
            number: self.number as i32,
            unused: 0,
            device: self.device,
            inode: self.inode,
            rdevice: self.rdevice,
            offset: i32::try_from(self.offset).ok()?,
            encrypt_type: self.encrypt_type as i32,
            encrypt_key_size: self.encrypt_key_size as i32,
            flags: self.flags.bits() as i32,
            name: self.file_name,
            encrypt_key: self.encrypt_key,
            init: self.init,
            reserved: [0; 8],
        })
    }
}

const IN_RANGE: &str = "the offset is a constant inside the struct";

fn u32_in(bytes: &[u8], at: usize) -> u32 {
    u32_at(bytes, at).expect(IN_RANGE)
}

fn u64_in(bytes: &[u8], at: usize) -> u64 {
    u64_at(bytes, at).expect(IN_RANGE)
}

fn array_in<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect(IN_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte different from its neighbours, so that nothing can be dropped or swapped unseen.
    fn counting<const N: usize>() -> [u8; N] {
        std::array::from_fn(|i| (i * 7 + 1) as u8)
    }

    #[test]
    fn structs_are_lossless() {
        assert_eq!(LoopInfo64::decode(&counting()).encode(), counting());
        assert_eq!(LoopConfig::decode(&counting()).encode(), counting());
        assert_eq!(LoopInfo::decode(&counting()).encode(), counting());
    }

    #[test]
    fn fields_lie_where_the_c_structs_have_them() {
        let mut bytes = [0; LoopInfo64::SIZE];
        bytes[24] = 1;
        bytes[52] = 4;
        bytes[56] = b'x';
        let info = LoopInfo64::decode(&bytes);
        assert_eq!((info.offset, info.flags, info.file_name[0]), (1, LoopFlags::AUTOCLEAR, b'x'));
        let mut bytes = [0; LoopInfo::SIZE];
        bytes[32..36].copy_from_slice(&(-4096i32).to_le_bytes());
        let old = LoopInfo::decode(&bytes);
        assert_eq!(LoopInfo64::from(&old).offset, 4096u64.wrapping_neg());
        assert_eq!(LoopInfo64 { offset: 1 << 32, ..LoopInfo64::default() }.to_old(), None);
    }
}
