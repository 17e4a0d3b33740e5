//! Path selectors: which path of a group the next bio takes.
//!
//! A selector knows the paths of its group by their number within it. It is told of a path that fails or comes back, and
//! chooses among those that work, its **valid list**; some also hear of each bio's beginning and end.

mod historical;
mod io_affinity;
mod queue_length;
mod round_robin;
mod service_time;

use std::fmt::{Result as Written, Write};
use std::sync::Arc;

use dmlab_dm::{Ctr, scan_u32};
use dmlab_runtime::{Level, RateLimit, Runtime};

/// A path selector of one group.
pub(super) trait Selector: Send + Sync {
    /// Another one that will choose as this one would.
    fn copy(&self) -> Box<dyn Selector>;

    /// The name of the selector in a table.
    fn name(&self) -> &'static str;

    /// Adds the next path, with its arguments.
    ///
    /// # Errors
    /// The text for the kernel log; the errno is EINVAL.
    fn add(&mut self, args: &[Vec<u8>], notices: &Notices) -> Result<(), &'static str>;

    /// A path is not to be chosen any more.
    fn fail(&mut self, path: usize);

    /// A path may be chosen again.
    fn reinstate(&mut self, path: usize);

    /// Chooses a path for that many bytes at `now`, in nanoseconds since boot.
    fn select(&mut self, bytes: u64, now: u64) -> Option<usize>;

    /// Whether it wants to hear of beginnings and ends.
    fn tracks_io(&self) -> bool {
        false
    }

    /// Whether it wants to know the time.
    fn tracks_time(&self) -> bool {
        false
    }

    /// A bio goes off on a path.
    fn begin(&mut self, path: usize, bytes: u64) {
        let _ = (path, bytes);
    }

    /// A bio that went off at `started` has ended.
    fn end(&mut self, path: usize, bytes: u64, started: u64, now: u64) {
        let _ = (path, bytes, started, now);
    }

    /// Writes its own arguments and their number, for both lines.
    fn write_arguments(&self, out: &mut String) -> Written {
        out.write_str("0 ")
    }

    /// How many arguments each path has in the table line.
    fn table_words(&self) -> u32 {
        1
    }

    /// Writes them.
    fn write_table(&self, path: usize, out: &mut String) -> Written;

    /// How many words each path has in the status line.
    fn info_words(&self) -> u32 {
        0
    }

    /// Writes them.
    fn write_info(&self, path: usize, out: &mut String) -> Written {
        let _ = (path, out);
        Ok(())
    }
}

/// Makes a selector from its arguments; `None` when they are wrong.
type Build = fn(&[Vec<u8>], &Notices) -> Option<Box<dyn Selector>>;

/// The selector with this name.
pub(super) fn by_name(name: &[u8]) -> Option<Build> {
    Some(match name {
        b"round-robin" => |_, _| Some(Box::new(round_robin::RoundRobin::default())),
        b"queue-length" => |_, _| Some(Box::new(queue_length::QueueLength::default())),
        b"service-time" => |_, _| Some(Box::new(service_time::ServiceTime::default())),
        b"historical-service-time" => {
            |args, notices| Some(Box::new(historical::Historical::new(args, notices)?))
        }
        b"io-affinity" => |_, _| Some(Box::new(io_affinity::IoAffinity::default())),
        _ => return None,
    })
}

/// What selectors have to say to the kernel log while a table is being loaded.
pub(super) struct Notices {
    runtime: Arc<Runtime>,
    limit: Arc<NoticeLimit>,
}

/// All selectors of a machine together may only say so much.
#[derive(Default)]
struct NoticeLimit(RateLimit);

impl Notices {
    pub(super) fn of(ctr: &Ctr<'_>) -> Notices {
        Notices { runtime: ctr.runtime().clone(), limit: ctr.machine_state() }
    }

    fn warn(&self, selector: &str, text: std::fmt::Arguments<'_>) {
        self.runtime.log(Level::Warning, format!("device-mapper: multipath {selector}: {text}"));
    }

    /// Reads a repeat count: how many bios in turn a path is to get. All but 0 and 1 are history.
    fn repeat_count(&self, word: &[u8], selector: &str) -> Option<u32> {
        let count = scan_u32(word, self.runtime.personality())?;
        if count > 1 {
            if self.limit.0.allows(self.runtime.now()) {
                self.warn(selector, format_args!("repeat_count > 1 is deprecated, using 1 instead"));
            }
            return Some(1);
        }
        Some(count)
    }
}

/// The paths that work, in an order that each selector keeps in its own way.
#[derive(Clone, Default)]
struct ValidList(Vec<usize>);

impl ValidList {
    fn push(&mut self, path: usize) {
        self.0.push(path);
    }

    fn remove(&mut self, path: usize) {
        self.0.retain(|&valid| valid != path);
    }

    /// The path for which nothing better is found, in list order, moved to the list's end.
    fn take_best(&mut self, mut is_better: impl FnMut(usize, usize) -> bool) -> Option<usize> {
        let mut best = 0;
        for at in 1..self.0.len() {
            if is_better(self.0[at], self.0[best]) {
                best = at;
            }
        }
        if self.0.is_empty() {
            return None;
        }
        let best = self.0.remove(best);
        self.0.push(best);
        Some(best)
    }
}
