//! `snapshot-merge`: gives what changed since a snapshot back to the origin.

use super::snapshot::{ERRORS, ITEMS};
use super::{Snapshot, SnapshotStatus, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::Form;
use crate::status::TargetStatus;

/// The form of its line: that of a snapshot.
pub(crate) static FORM: Form = Form {
    errors: ERRORS,
    status: |words| SnapshotStatus::parse(words).map(TargetStatus::Snapshot),
    ..Form::new("snapshot-merge", ITEMS)
};

/// `snapshot-merge`, with the parameters of a snapshot: gives what changed back to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMerge(pub Snapshot);

impl TargetLine for SnapshotMerge {
    const TYPE: &'static str = "snapshot-merge";

    fn params(&self) -> Params {
        self.0.to_params(&FORM)
    }

    fn parse(params: &Params) -> Result<SnapshotMerge, TargetParamsError> {
        FORM.parse(params, |values| Snapshot::of_values(values).map(SnapshotMerge))
    }
}
