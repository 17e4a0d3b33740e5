//! The kernels that a machine can be. Each file is a table: what tells that kernel from the reference.

mod v6_1;
mod v6_12;
mod v7;

use std::fmt;
use std::str::FromStr;

use dmlab_runtime::Personality;

/// A Linux kernel that a machine can be: `6.12` if nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KernelVersion {
    /// Linux 6.1 (6.1.176).
    V6_1,
    /// Linux 6.12 as most cases are recorded from it (6.12.95).
    #[default]
    V6_12,
    /// A later point release of Linux 6.12 (6.12.113).
    V6_12_113,
    /// Linux 7.2 (7.2.7).
    V7_2,
    /// Linux 7.3 (7.3.4).
    V7_3,
}

impl KernelVersion {
    /// All of them, the oldest first.
    pub const ALL: [KernelVersion; 5] = [
        KernelVersion::V6_1,
        KernelVersion::V6_12,
        KernelVersion::V6_12_113,
        KernelVersion::V7_2,
        KernelVersion::V7_3,
    ];

    /// What the kernel does, and which versions it shows.
    pub fn personality(self) -> &'static Personality {
        match self {
            KernelVersion::V6_1 => &v6_1::PERSONALITY,
            KernelVersion::V6_12 => Personality::REFERENCE,
            KernelVersion::V6_12_113 => &v6_12::LATER,
            KernelVersion::V7_2 => &v7::V7_2,
            KernelVersion::V7_3 => &v7::V7_3,
        }
    }

    /// The kernel's name on a command line: `6.12`, and `6.12.113` for a point release that differs.
    pub fn name(self) -> &'static str {
        self.personality().name
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such kernel: what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKernel(String);

impl fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = KernelVersion::ALL.map(KernelVersion::name).join(", ");
        write!(f, "`{}` is no kernel that a machine can be: there are {known}", self.0)
    }
}

impl std::error::Error for UnknownKernel {}

impl FromStr for KernelVersion {
    type Err = UnknownKernel;

    /// Reads a name (`6.12`) or a whole release (`6.12.95`).
    fn from_str(text: &str) -> Result<KernelVersion, UnknownKernel> {
        let is_it = |kernel: &KernelVersion| text == kernel.name() || text == kernel.personality().release;
        KernelVersion::ALL.into_iter().find(is_it).ok_or_else(|| UnknownKernel(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_by_version_and_by_release() {
        for kernel in KernelVersion::ALL {
            assert_eq!(kernel.name().parse(), Ok(kernel));
            assert_eq!(kernel.personality().release.parse(), Ok(kernel));
            assert!(kernel.personality().release.starts_with(kernel.name()));
            assert_eq!(kernel.to_string(), kernel.name());
        }
        assert_eq!(KernelVersion::default().name(), "6.12");
        let refused = "6.6".parse::<KernelVersion>().unwrap_err().to_string();
        assert_eq!(
            refused,
            "`6.6` is no kernel that a machine can be: there are 6.1, 6.12, 6.12.113, 7.2, 7.3"
        );
    }

    #[test]
    fn every_version_that_a_table_changes_is_of_a_target_that_there_is_and_differs() {
        for kernel in KernelVersion::ALL {
            for (name, version) in kernel.personality().target_versions {
                let kind = crate::TARGETS.iter().find(|kind| kind.name == *name);
                let kind = kind.unwrap_or_else(|| panic!("{kernel}: no target {name}"));
                assert_ne!(kind.version, *version, "{kernel}: {name}");
            }
        }
    }
}
