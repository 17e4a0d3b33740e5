//! Calls on their way into the machine, past the recorder.

use dmlab_recording::{Call, Ended, Under};
use dmlab_units::Errno;

use super::session::Session;

impl Session {
    /// Does `work`, which is the call `what`: written down with its turn and its outcome, where there is a recording.
    pub(super) fn recorded<T>(
        &self,
        what: impl FnOnce() -> Call,
        work: impl FnOnce(Option<&Under<'_>>) -> T,
        ended: impl FnOnce(&T) -> Ended,
    ) -> T {
        let Some(recorder) = &self.shared.recorder else { return work(None) };
        recorder.call(self.client, what(), |under| {
            let value = work(Some(under));
            let ended = ended(&value);
            (value, ended)
        })
    }

    /// Does `work` as [`Session::recorded`] does, for a call that brings nothing but its result.
    pub(super) fn recorded_plainly<T>(
        &self,
        what: impl FnOnce() -> Call,
        work: impl FnOnce() -> Result<T, Errno>,
        number: impl FnOnce(&T) -> i64,
    ) -> Result<T, Errno> {
        self.recorded(what, |_| work(), |result| Ended::with(result.as_ref().map(number).map_err(|e| *e)))
    }

    /// The number of the next open file, for the recording.
    pub(super) fn next_file(&self) -> u64 {
        self.shared.recorder.as_ref().map_or(0, |recorder| recorder.next_file())
    }
}
