//! Linux 7.2 and 7.3, which agree in all that was recorded on both (7.2.7, 7.3.4).

use dmlab_runtime::{Personality, Quirks};

pub(super) static V7_2: Personality = Personality {
    name: "7.2",
    release: "7.2.7",
    dm_version: [4, 50, 0],
    dm_version_date: "2025-04-28",
    dm_contact: "dm-devel@lists.linux.dev",
    target_versions: &[
        ("delay", [1, 5, 0]),
        ("linear", [1, 5, 0]),
        ("mirror", [1, 15, 0]),
        ("multipath", [1, 15, 0]),
        ("striped", [1, 7, 0]),
        ("thin", [1, 24, 0]),
        ("thin-pool", [1, 24, 0]),
    ],
    quirks: Quirks::MESSAGE_NEEDS_TABLE
        .union(Quirks::LARGE_NUMBERS_SATURATE)
        .union(Quirks::HW_HANDLER_FEATURE_HIDDEN)
        .union(Quirks::FLAKEY_CHECKS_MORE)
        .union(Quirks::LARGE_DEFAULT_IO)
        .union(Quirks::STRIPED_DISCARD_SUMMED)
        .union(Quirks::QUEUES_SHOW_STREAMS)
        .union(Quirks::METADATA_SNAPSHOT_CHECKED_FIRST),
};

pub(super) static V7_3: Personality = Personality { name: "7.3", release: "7.3.4", ..V7_2 };
