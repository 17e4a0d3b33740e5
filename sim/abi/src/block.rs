//! Numbers of the ioctls that block devices and loop devices answer (kernel/program-surface.md#ioctls-of-block-devices).

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = $number;)*

        /// The name of a block or loop ioctl, for messages: `BLKDISCARD`.
        pub const fn block_ioctl_name(request: u32) -> Option<&'static str> {
            match request {
                $($number => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

numbers! {
    /// Set read-only, from an `int`.
    BLKROSET = 0x125d;
    /// Get read-only, into an `int`.
    BLKROGET = 0x125e;
    /// Read the partition table again.
    BLKRRPART = 0x125f;
    /// Size in sectors, into an `unsigned long`.
    BLKGETSIZE = 0x1260;
    /// Write back and drop the page cache.
    BLKFLSBUF = 0x1261;
    /// Set read-ahead in sectors, by value.
    BLKRASET = 0x1262;
    /// Get read-ahead in sectors, into a `long`.
    BLKRAGET = 0x1263;
    /// As BLKRASET, for the file system.
    BLKFRASET = 0x1264;
    /// As BLKRAGET, for the file system.
    BLKFRAGET = 0x1265;
    /// Largest request in sectors, into an `unsigned short`.
    BLKSECTGET = 0x1267;
    /// Logical block size in bytes, into an `int`.
    BLKSSZGET = 0x1268;
    /// Partition changes.
    BLKPG = 0x1269;
    /// Soft block size in bytes, into an `int`.
    BLKBSZGET = 0x8008_1270;
    /// Set the soft block size in bytes, from an `int`.
    BLKBSZSET = 0x4008_1271;
    /// Size in bytes, into a `u64`.
    BLKGETSIZE64 = 0x8008_1272;
    /// Starts a trace that was set up.
    BLKTRACESTART = 0x1274;
    /// Stops a trace.
    BLKTRACESTOP = 0x1275;
    /// Ends a trace.
    BLKTRACETEARDOWN = 0x1276;
    /// Discard a range, from `u64[2]` in bytes.
    BLKDISCARD = 0x1277;
    /// Smallest efficient IO in bytes, into an `unsigned`.
    BLKIOMIN = 0x1278;
    /// Best IO size in bytes, into an `unsigned`.
    BLKIOOPT = 0x1279;
    /// Alignment offset in bytes, into an `int`; -1 when misaligned.
    BLKALIGNOFF = 0x127a;
    /// Physical block size in bytes, into an `unsigned`.
    BLKPBSZGET = 0x127b;
    /// Always 0 in an `unsigned`.
    BLKDISCARDZEROES = 0x127c;
    /// Securely discard a range, from `u64[2]` in bytes.
    BLKSECDISCARD = 0x127d;
    /// Rotational, into an `unsigned short`.
    BLKROTATIONAL = 0x127e;
    /// Zero a range, from `u64[2]` in bytes.
    BLKZEROOUT = 0x127f;
    /// Sequence number of the disk, into a `u64`.
    BLKGETDISKSEQ = 0x8008_1280;
    /// Zone report.
    BLKREPORTZONE = 0xc010_1282;
    /// Zone size in sectors, into a `u32`; 0 when not zoned.
    BLKGETZONESZ = 0x8004_1284;
    /// Number of zones, into a `u32`.
    BLKGETNRZONES = 0x8004_1285;
    /// Geometry, into `struct hd_geometry`.
    HDIO_GETGEO = 0x0301;
    /// Soft block size in bytes, into an `int`.
    FIGETBSZ = 0x0002;
    /// Bind a file to a loop device, by descriptor.
    LOOP_SET_FD = 0x4c00;
    /// Unbind.
    LOOP_CLR_FD = 0x4c01;
    /// Set the old `struct loop_info`.
    LOOP_SET_STATUS = 0x4c02;
    /// Get the old `struct loop_info`.
    LOOP_GET_STATUS = 0x4c03;
    /// Set `struct loop_info64`.
    LOOP_SET_STATUS64 = 0x4c04;
    /// Get `struct loop_info64`.
    LOOP_GET_STATUS64 = 0x4c05;
    /// Change the file of a read-only loop device.
    LOOP_CHANGE_FD = 0x4c06;
    /// Take the file's size again.
    LOOP_SET_CAPACITY = 0x4c07;
    /// Direct IO on the file, by value.
    LOOP_SET_DIRECT_IO = 0x4c08;
    /// Logical block size in bytes, by value.
    LOOP_SET_BLOCK_SIZE = 0x4c09;
    /// Bind and set up at once, from `struct loop_config`.
    LOOP_CONFIGURE = 0x4c0a;
    /// Make loop device N, by value, on `/dev/loop-control`.
    LOOP_CTL_ADD = 0x4c80;
    /// Remove loop device N.
    LOOP_CTL_REMOVE = 0x4c81;
    /// Number of a free loop device.
    LOOP_CTL_GET_FREE = 0x4c82;
}
