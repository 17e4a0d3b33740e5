//! Names of mapped devices and target types, checked where they enter.
//!
//! Names are bytes, not text: the kernel takes every byte but NUL and `/`. What cannot be shown is shown escaped.

use std::fmt;

/// Longest name of a mapped device in bytes (`DM_NAME_LEN` less the NUL).
pub const DM_NAME_MAX: usize = 127;
/// Longest uuid of a mapped device in bytes (`DM_UUID_LEN` less the NUL).
pub const DM_UUID_MAX: usize = 128;
/// Longest target type name in bytes (`DM_MAX_TYPE_NAME` less the NUL).
pub const TARGET_TYPE_MAX: usize = 15;

/// Why bytes are no valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// Longer than the limit (the second number), in bytes.
    TooLong(usize, usize),
    /// A NUL byte inside.
    Nul,
    /// A `/` in a device name.
    Slash,
    /// `control`, `.` or `..`, which are other things in `/dev/mapper`.
    Reserved,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "the name is empty"),
            NameError::TooLong(len, max) => write!(f, "the name has {len} bytes, at most {max} fit"),
            NameError::Nul => write!(f, "the name contains a NUL byte"),
            NameError::Slash => write!(f, "the name contains '/'"),
            NameError::Reserved => write!(f, "the name is \"control\", \".\" or \"..\", which are taken"),
        }
    }
}

impl std::error::Error for NameError {}

macro_rules! byte_name {
    ($(#[$doc:meta])* $type:ident, $max:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Box<[u8]>);

        impl $type {
            /// Checks and takes `bytes`.
            ///
            /// # Errors
            /// Says which rule the bytes break.
            pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
                let bytes = bytes.as_ref();
                let check: fn(&[u8]) -> Result<(), NameError> = $check;
                match bytes.len() {
                    0 => return Err(NameError::Empty),
                    len if len > $max => return Err(NameError::TooLong(len, $max)),
                    _ => {}
                }
                if bytes.contains(&0) {
                    return Err(NameError::Nul);
                }
                check(bytes)?;
                Ok(Self(bytes.into()))
            }

            /// The bytes, without a NUL.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                String::from_utf8_lossy(&self.0).fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", String::from_utf8_lossy(&self.0))
            }
        }
    };
}

byte_name! {
    /// Name of a mapped device: 1 to 127 bytes, no `/`, not `control`, `.` or `..` (kernel/dm-core.md#dev_create).
    DmName, DM_NAME_MAX, |bytes| {
        if bytes.contains(&b'/') {
            Err(NameError::Slash)
        } else if matches!(bytes, b"control" | b"." | b"..") {
            Err(NameError::Reserved)
        } else {
            Ok(())
        }
    }
}

byte_name! {
    /// UUID of a mapped device: 1 to 128 bytes of any kind.
    DmUuid, DM_UUID_MAX, |_| Ok(())
}

byte_name! {
    /// Name of a target type: 1 to 15 bytes.
    TargetName, TARGET_TYPE_MAX, |_| Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_follow_the_kernels_rules() {
        assert!(DmName::new("q r\\x20\u{e9}").is_ok());
        assert_eq!(DmName::new("x/y"), Err(NameError::Slash));
        assert_eq!(DmName::new("control"), Err(NameError::Reserved));
        assert_eq!(DmName::new(""), Err(NameError::Empty));
        assert!(DmName::new([b'a'; 127]).is_ok());
        assert_eq!(DmName::new([b'a'; 128]), Err(NameError::TooLong(128, 127)));
        assert!(DmUuid::new([b'a'; 128]).is_ok());
    }
}
