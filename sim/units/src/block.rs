//! Block numbers of persistent metadata.

use std::fmt;

macro_rules! numbers {
    ($($(#[$doc:meta])* $type:ident($int:ty);)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $type(pub $int);

            impl fmt::Display for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }
        )*
    };
}

numbers! {
    /// A block of a metadata device, 4096 bytes; the superblock is block 0.
    MetaBlock(u64);
    /// A block of a pool's data device, as large as the pool says.
    DataBlock(u64);
    /// A block of a thin device, as large as its pool's data blocks.
    ThinBlock(u64);
    /// A thin device's number in its pool, below 2^24.
    ThinId(u64);
}
