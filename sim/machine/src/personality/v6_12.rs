//! Linux 6.12 in a later point release than the reference's: 6.12.113.

use dmlab_runtime::{Personality, Quirks};

pub(super) static LATER: Personality = Personality {
    name: "6.12.113",
    release: "6.12.113",
    quirks: Quirks::MESSAGE_NEEDS_TABLE.union(Quirks::METADATA_SNAPSHOT_CHECKED_FIRST),
    ..*Personality::REFERENCE
};
