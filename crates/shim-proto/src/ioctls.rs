//! What each ioctl reads and writes of its caller's memory. The number does not say it: many block ioctls predate the
//! encoding, and a DM ioctl names its own length.

/// The type byte of device-mapper ioctls.
pub const DM_IOCTL_TYPE: u32 = 0xfd;
/// Bytes of `struct dm_ioctl`.
pub const DM_HEADER_LEN: usize = 312;
/// No more than this of an ioctl argument is carried; longer readable arguments are answered ENOMEM.
pub const STAGING_LIMIT: u64 = 64 << 20;

/// How an ioctl uses its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoctlShape {
    /// It is a number, or nothing.
    Value,
    /// It points to memory.
    Memory {
        /// Bytes the kernel reads.
        reads: u32,
        /// Bytes the kernel writes.
        writes: u32,
    },
    /// It points to a `struct dm_ioctl`, whose `data_size` says how long it is.
    DeviceMapper,
    /// It is a descriptor of the caller.
    Descriptor,
    /// It points to memory that holds a pointer to more, which is carried behind it.
    Pointing {
        /// Bytes the kernel reads.
        reads: u32,
        /// Where among them the pointer is.
        pointer: u32,
        /// Bytes the kernel reads there.
        more: u32,
    },
    /// It points to memory that begins with a descriptor of the caller.
    DescriptorInMemory {
        /// Bytes the kernel reads.
        reads: u32,
    },
}

const fn reads(reads: u32) -> IoctlShape {
    IoctlShape::Memory { reads, writes: 0 }
}

const fn writes(writes: u32) -> IoctlShape {
    IoctlShape::Memory { reads: 0, writes }
}

/// How ioctl `cmd` uses its argument. Unknown ones are taken as numbers: the kernel side refuses them unread.
pub const fn ioctl_shape(cmd: u32) -> IoctlShape {
    if (cmd >> 8) & 0xff == DM_IOCTL_TYPE {
        return IoctlShape::DeviceMapper;
    }
    match cmd {
        0x125d => reads(4),                                                   // BLKROSET
        0x125e => writes(4),                                                  // BLKROGET
        0x1260 | 0x1263 | 0x1265 => writes(8), // BLKGETSIZE, BLKRAGET, BLKFRAGET
        0x1267 | 0x127e => writes(2),          // BLKSECTGET, BLKROTATIONAL
        0x1268 | 0x1278 | 0x1279 | 0x127a | 0x127b | 0x127c => writes(4), // BLKSSZGET … BLKDISCARDZEROES
        0x1269 => IoctlShape::Pointing { reads: 24, pointer: 16, more: 152 }, // BLKPG
        0x8008_1270 => writes(4),              // BLKBSZGET: an int, whatever the number says
        0x4008_1271 => reads(4),               // BLKBSZSET
        0x8008_1272 | 0x8008_1280 => writes(8), // BLKGETSIZE64, BLKGETDISKSEQ
        0x1277 | 0x127d | 0x127f => reads(16), // BLKDISCARD, BLKSECDISCARD, BLKZEROOUT
        0xc010_1282 => IoctlShape::Memory { reads: 16, writes: 16 }, // BLKREPORTZONE
        0x4010_1283 | 0x4010_1286 | 0x4010_1287 | 0x4010_1288 => reads(16), // zone management
        0x8004_1284 | 0x8004_1285 => writes(4), // BLKGETZONESZ, BLKGETNRZONES
        0x0301 => writes(16),                  // HDIO_GETGEO
        0x4c00 | 0x4c06 => IoctlShape::Descriptor, // LOOP_SET_FD, LOOP_CHANGE_FD
        0x4c02 => reads(168),                  // LOOP_SET_STATUS
        0x4c03 => writes(168),                 // LOOP_GET_STATUS
        0x4c04 => reads(232),                  // LOOP_SET_STATUS64
        0x4c05 => writes(232),                 // LOOP_GET_STATUS64
        0x4c0a => IoctlShape::DescriptorInMemory { reads: 304 }, // LOOP_CONFIGURE
        0x0000_0002 => writes(4),              // FIGETBSZ
        _ => IoctlShape::Value,
    }
}
