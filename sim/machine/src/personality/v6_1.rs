//! Linux 6.1, as recorded in `golden/kernels/6.1` from 6.1.176.

use dmlab_runtime::{Personality, Quirks};

pub(super) static PERSONALITY: Personality = Personality {
    name: "6.1",
    release: "6.1.176",
    dm_version: [4, 47, 0],
    dm_version_date: "2022-07-28",
    dm_contact: "dm-devel@redhat.com",
    target_versions: &[
        ("delay", [1, 3, 0]),
        ("error", [1, 5, 0]),
        ("thin", [1, 22, 0]),
        ("thin-pool", [1, 22, 0]),
        ("zero", [1, 1, 0]),
    ],
    quirks: Quirks::LOOKUP_TAKES_HEX_NUMBERS
        .union(Quirks::SELF_REFERENCE_ALLOWED)
        .union(Quirks::ZERO_REFUSES_DISCARDS)
        .union(Quirks::ERROR_IGNORES_ARGUMENTS)
        .union(Quirks::FLAKEY_LACKS_FEATURES)
        .union(Quirks::RAM_DISKS_LACK_DISCARD)
        .union(Quirks::QUEUES_ARE_OLD)
        .union(Quirks::STRIPED_CHUNKS_HIDDEN)
        .union(Quirks::LIMITS_STAY_STACKED)
        .union(Quirks::SNAPSHOT_DISCARDS_NEED_DEVICES)
        .union(Quirks::POOL_CHECKS_DISCARDS_EARLY),
};
