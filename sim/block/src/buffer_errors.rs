//! The kernel log's lines about failed buffered IO.

use std::time::Duration;

use dmlab_runtime::{Instant, Level};
use parking_lot::Mutex;

use crate::BlockDevice;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// A page could not be read.
    Read,
    /// A page could not be written back; its data will not reach the disk.
    Write,
}

/// The log of blocks that failed, for all devices of a machine together at most ten times in five seconds; the first line
/// after that says how many were left out. Texts and levels as seen on Linux 6.12.95.
#[derive(Default)]
pub(crate) struct BufferErrors {
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    begin: Option<Instant>,
    printed: u32,
    suppressed: u32,
}

const INTERVAL: Duration = Duration::from_secs(5);
const BURST: u32 = 10;

impl BufferErrors {
    /// Logs that IO of soft block `block` of `dev` failed.
    pub(crate) fn report(&self, dev: &BlockDevice, block: u64, failed: Failed) {
        let runtime = dev.runtime();
        let mut window = self.window.lock();
        let now = runtime.now();
        if window.begin.is_none_or(|begin| now.saturating_since(begin) > INTERVAL) {
            if window.suppressed > 0 {
                let text = format!("buffer_io_error: {} callbacks suppressed", window.suppressed);
                runtime.log(Level::Warning, text);
            }
            *window = Window { begin: Some(now), ..Window::default() };
        }
        if window.printed == BURST {
            window.suppressed += 1;
            return;
        }
        window.printed += 1;
        let what = match failed {
            Failed::Read => "async page read",
            Failed::Write => "lost async page write",
        };
        let name = dev.name();
        runtime.log(Level::Err, format!("Buffer I/O error on dev {name}, logical block {block}, {what}"));
    }
}
