//! A target's lines of the kernel log.

use std::fmt::Display;
use std::sync::Arc;

use dmlab_runtime::{Level, RateLimit, Runtime};

/// Writes lines `device-mapper: PREFIX: TEXT`, as the kernel's `DMERR`, `DMWARN` and `DMINFO` do with a module's
/// `DM_MSG_PREFIX`.
#[derive(Clone)]
pub struct TargetLog {
    runtime: Arc<Runtime>,
    prefix: &'static str,
}

impl TargetLog {
    /// A log whose lines begin with `prefix`.
    pub fn new(runtime: Arc<Runtime>, prefix: &'static str) -> TargetLog {
        TargetLog { runtime, prefix }
    }

    /// Logs an error (`DMERR`).
    pub fn err(&self, text: impl Display) {
        self.log(Level::Err, text);
    }

    /// Logs a warning (`DMWARN`).
    pub fn warn(&self, text: impl Display) {
        self.log(Level::Warning, text);
    }

    /// Logs what is worth knowing (`DMINFO`).
    pub fn info(&self, text: impl Display) {
        self.log(Level::Info, text);
    }

    /// Logs an error if its place in the code has not logged too many of late (`DMERR_LIMIT`).
    pub fn err_limited(&self, limit: &RateLimit, text: impl Display) {
        if limit.allows(self.runtime.now()) {
            self.err(text);
        }
    }

    /// Logs a warning if its place in the code has not logged too many of late (`DMWARN_LIMIT`).
    pub fn warn_limited(&self, limit: &RateLimit, text: impl Display) {
        if limit.allows(self.runtime.now()) {
            self.warn(text);
        }
    }

    /// Logs a line of some level.
    pub fn log(&self, level: Level, text: impl Display) {
        self.runtime.log(level, format!("device-mapper: {}: {text}", self.prefix));
    }
}
