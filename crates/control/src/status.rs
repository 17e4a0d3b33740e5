//! Lines of a status or table reply.

use crate::form_of;
use crate::table::{Params, TableLine};
use crate::targets::{MirrorStatus, MultipathStatus, PoolStatus, SnapshotStatus, StripedStatus, ThinStatus};
use dmlab_abi::TargetSpec;
use dmlab_units::{NameError, Sector, Sectors, TargetName};
use std::fmt;

/// One line of `dmsetup status` or `dmsetup table`, byte for byte as the kernel wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// First sector that the target serves.
    pub start: Sector,
    /// How many.
    pub len: Sectors,
    /// Target type.
    pub target_type: Vec<u8>,
    /// Status or parameters.
    pub text: Vec<u8>,
}

impl From<TargetSpec> for StatusLine {
    fn from(spec: TargetSpec) -> StatusLine {
        StatusLine { start: spec.start, len: spec.len, target_type: spec.target_type, text: spec.params }
    }
}

impl fmt::Display for StatusLine {
    /// `START LEN TYPE TEXT`; without text the blank before it stays, as dmsetup prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, text) =
            (String::from_utf8_lossy(&self.target_type), String::from_utf8_lossy(&self.text));
        write!(f, "{} {} {target} {text}", self.start, self.len)
    }
}

/// A status line's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetStatus {
    /// `linear` has nothing to say.
    Linear,
    /// `zero` has nothing to say.
    Zero,
    /// `error` has nothing to say.
    Error,
    /// `striped`.
    Striped(StripedStatus),
    /// `thin-pool`.
    ThinPool(PoolStatus),
    /// `thin`.
    Thin(ThinStatus),
    /// `snapshot` and `snapshot-merge`.
    Snapshot(SnapshotStatus),
    /// `mirror`.
    Mirror(MirrorStatus),
    /// `multipath`.
    Multipath(MultipathStatus),
    /// Another target, or a line that is not what its type writes: its words.
    Other(Vec<String>),
}

impl StatusLine {
    /// The meaning of a status (not table) line.
    pub fn status(&self) -> TargetStatus {
        let text = String::from_utf8_lossy(&self.text);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let known = form_of(&self.target_type).and_then(|form| (form.status)(&words));
        known.unwrap_or_else(|| TargetStatus::Other(words.into_iter().map(str::to_owned).collect()))
    }

    /// The line of a table reply as a table line that can be loaded again.
    ///
    /// # Errors
    /// When the target type is no valid name.
    pub fn table_line(&self) -> Result<TableLine, NameError> {
        let target = TargetName::new(&self.target_type)?;
        Ok(TableLine { start: self.start, len: self.len, target, params: Params::from_text(&self.text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_units::DevT;

    fn line(target_type: &str, text: &str) -> StatusLine {
        StatusLine { start: Sector(0), len: Sectors(128), target_type: target_type.into(), text: text.into() }
    }

    #[test]
    fn lines_look_as_dmsetup_prints_them() {
        assert_eq!(line("error", "").to_string(), "0 128 error ");
        assert_eq!(line("linear", "1:0 8").to_string(), "0 128 linear 1:0 8");
    }

    #[test]
    fn stripes_say_their_health() {
        let want = StripedStatus { stripes: vec![(DevT::new(1, 0), true), (DevT::new(254, 0), false)] };
        assert_eq!(line("striped", "2 1:0 254:0 1 AD").status(), TargetStatus::Striped(want));
        for odd in ["", "2 1:0 1 AA", "2 1:0 1:1 1 AX", "2 1:0 1:1 2 AA", "x"] {
            assert!(matches!(line("striped", odd).status(), TargetStatus::Other(_)), "{odd}");
        }
        assert_eq!(line("zero", "").status(), TargetStatus::Zero);
        let words = TargetStatus::Other(vec!["0".into(), "-".into()]);
        assert_eq!(line("unknown", "0 -").status(), words);
    }
}
