//! Which kernel a machine is: what tells one Linux from another, as values.
//!
//! The reference is Linux 6.12.95, from which most cases are recorded. Another kernel is described by what it does
//! otherwise: its version numbers, and its [`Quirks`]. Code asks for a quirk, never for a release.

bitflags::bitflags! {
    /// What a kernel does otherwise than the reference. Each is named after the behaviour.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Quirks: u32 {
        /// A message to a device without a live table is refused with EINVAL, and the log says so; else nothing happens.
        const MESSAGE_NEEDS_TABLE = 1 << 0;
        /// A number with too many digits is the largest one of 64 bits; else what is left of it modulo 2^64.
        const LARGE_NUMBERS_SATURATE = 1 << 1;
        /// Multipath's table line doesn't show `retain_attached_hw_handler`.
        const HW_HANDLER_FEATURE_HIDDEN = 1 << 2;
        /// Flakey counts the parameters of `corrupt_bio_byte` before it reads them, takes no corruption twice, refuses to
        /// corrupt what it drops or fails at random too, and names the down interval where that is wrong.
        const FLAKEY_CHECKS_MORE = 1 << 3;
        /// A queue that nothing bounds takes 4096 KiB at once; else 1280.
        const LARGE_DEFAULT_IO = 1 << 4;
        /// A striped device takes discards of whole chunks of all its stripes at once, or of 4 GiB when that is too long for
        /// 32 bits; else as long as one of its stripes.
        const STRIPED_DISCARD_SUMMED = 1 << 5;
        /// Queues have attributes for write streams and for unmapping write-zeroes.
        const QUEUES_SHOW_STREAMS = 1 << 6;
        /// What is no path of a block device may be a device number in hex; what is none either is ENODEV. Else it fails for
        /// the reason of the path.
        const LOOKUP_TAKES_HEX_NUMBERS = 1 << 7;
        /// A table may name the mapped device that it is for.
        const SELF_REFERENCE_ALLOWED = 1 << 8;
        /// The `zero` target takes no discards.
        const ZERO_REFUSES_DISCARDS = 1 << 9;
        /// The `error` target ignores its arguments, and takes no discards.
        const ERROR_IGNORES_ARGUMENTS = 1 << 10;
        /// Flakey knows no `error_reads` and no random corruption; without features it fails everything, and its table line
        /// ends with a blank.
        const FLAKEY_LACKS_FEATURES = 1 << 11;
        /// RAM disks take no discards.
        const RAM_DISKS_LACK_DISCARD = 1 << 12;
        /// Queues have attributes of request queues, and none of atomic writes.
        const QUEUES_ARE_OLD = 1 << 13;
        /// A striped device doesn't say how long its chunks are.
        const STRIPED_CHUNKS_HIDDEN = 1 << 14;
        /// The limits of a stacked queue stay as stacking has made them: its longest request is the shortest of those below, and
        /// without any has no bound; the unit of its discards may be smaller than a physical block.
        const LIMITS_STAY_STACKED = 1 << 15;
        /// A snapshot takes discards only if its origin and its store do.
        const SNAPSHOT_DISCARDS_NEED_DEVICES = 1 << 16;
        /// A pool says that it can't pass discards down when the limits of a table are first computed; else whenever it is
        /// resumed.
        const POOL_CHECKS_DISCARDS_EARLY = 1 << 17;
        /// A second metadata snapshot of a pool is refused before a block is taken for it; else after (recorded:
        /// `differ/found/second-metadata-snapshot`).
        const METADATA_SNAPSHOT_CHECKED_FIRST = 1 << 18;
    }
}

/// A Linux kernel, as far as the device mapper shows which it is.
#[derive(Debug)]
pub struct Personality {
    /// The kernel's name on a command line: `6.12`.
    pub name: &'static str,
    /// The kernel's release, as `uname -r` begins: `6.12.95`.
    pub release: &'static str,
    /// Version of the ioctl interface.
    pub dm_version: [u32; 3],
    /// The date that stands behind that version in the log.
    pub dm_version_date: &'static str,
    /// The address that stands behind the date in the log.
    pub dm_contact: &'static str,
    /// Versions of target types that differ from those of the reference.
    pub target_versions: &'static [(&'static str, [u32; 3])],
    /// What the kernel does otherwise than the reference.
    pub quirks: Quirks,
}

impl Personality {
    /// Linux 6.12.95: the reference. The version of a target type is what the type says.
    pub const REFERENCE: &'static Personality = &Personality {
        name: "6.12",
        release: "6.12.95",
        dm_version: [4, 48, 0],
        dm_version_date: "2023-03-01",
        dm_contact: "dm-devel@lists.linux.dev",
        target_versions: &[],
        quirks: Quirks::empty(),
    };

    /// Whether this kernel has a quirk.
    #[inline]
    pub fn has(&self, quirk: Quirks) -> bool {
        self.quirks.contains(quirk)
    }

    /// The version of a target type, of which the reference has version `reference`.
    pub fn target_version(&self, name: &str, reference: [u32; 3]) -> [u32; 3] {
        self.target_versions
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(reference, |(_, version)| *version)
    }
}
