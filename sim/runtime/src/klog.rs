//! The kernel log.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::Instant;

/// Priority of a line, as syslog numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// 0: the system is unusable.
    Emerg = 0,
    /// 1: action must be taken at once.
    Alert = 1,
    /// 2: critical.
    Crit = 2,
    /// 3: an error.
    Err = 3,
    /// 4: a warning.
    Warning = 4,
    /// 5: worth a notice.
    Notice = 5,
    /// 6: information.
    Info = 6,
    /// 7: messages for debugging.
    Debug = 7,
}

impl Level {
    /// The level in a priority's last three bits.
    pub fn of(priority: u32) -> Level {
        match priority & 7 {
            0 => Level::Emerg,
            1 => Level::Alert,
            2 => Level::Crit,
            3 => Level::Err,
            4 => Level::Warning,
            5 => Level::Notice,
            6 => Level::Info,
            _ => Level::Debug,
        }
    }
}

/// One line of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KlogLine {
    /// The number of the line; the first line of a machine has 0.
    pub seq: u64,
    /// When it was written.
    pub time: Instant,
    /// How bad it is.
    pub level: Level,
    /// The writer of the line, as syslog numbers them: 0 is the kernel, all others are programs.
    pub facility: u8,
    /// The text without its end: one line, or what a program has written.
    pub text: String,
    /// Whether it had an end. One without could go on, and is whole when the next line comes.
    pub is_ended: bool,
}

impl fmt::Display for KlogLine {
    /// Writes the line as `dmesg` prints it: `[    0.000123] device-mapper: ...`, before each of its lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.text.split('\n').enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}[{}] {line}", self.time)?;
        }
        Ok(())
    }
}

type Sink = Arc<dyn Fn(&KlogLine) + Send + Sync>;
type Listener = Box<dyn Fn() + Send + Sync>;

/// The log of one machine: its last lines, and the subscribers that get each line as it comes.
#[derive(Default)]
pub struct Klog {
    ring: Mutex<Ring>,
    listener: OnceLock<Listener>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<KlogLine>,
    next_seq: u64,
    /// The number of the first line since the log was cleared.
    cleared: u64,
    sink: Option<Sink>,
}

impl Klog {
    /// Lines kept; older ones go.
    pub const CAPACITY: usize = 16_384;
    /// Most bytes of a line (recorded: `core/long-words`); a longer one loses its end.
    pub const MAX_LINE: usize = 1021;

    pub(crate) fn push(&self, time: Instant, level: Level, facility: u8, mut text: String) {
        let is_ended = facility == 0 || text.ends_with('\n');
        if facility != 0 && is_ended {
            text.pop();
        }
        let mut len = text.len().min(Self::MAX_LINE);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        text.truncate(len);
        let mut ring = self.ring.lock();
        let line = KlogLine { seq: ring.next_seq, time, level, facility, text, is_ended };
        ring.next_seq += 1;
        // The sink is called under the lock so that it sees lines in their order.
        if let Some(sink) = &ring.sink {
            sink(&line);
        }
        if ring.lines.len() == Self::CAPACITY {
            ring.lines.pop_front();
        }
        ring.lines.push_back(line);
        drop(ring);
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }

    /// Lines from number `seq` on, as far as they are still kept.
    pub fn since(&self, seq: u64) -> Vec<KlogLine> {
        let ring = self.ring.lock();
        let skip = ring.lines.partition_point(|line| line.seq < seq);
        ring.lines.iter().skip(skip).cloned().collect()
    }

    /// The first line that is still kept, from number `seq` on.
    pub fn first_since(&self, seq: u64) -> Option<KlogLine> {
        let ring = self.ring.lock();
        let skip = ring.lines.partition_point(|line| line.seq < seq);
        ring.lines.get(skip).cloned()
    }

    /// The number behind the last line that is whole.
    pub fn whole_until(&self) -> u64 {
        let ring = self.ring.lock();
        let is_open = ring.lines.back().is_some_and(|line| !line.is_ended);
        ring.next_seq - u64::from(is_open)
    }

    /// Marks the log as cleared: its lines are not gone, but a reader that asks for what came since gets none of them
    /// (`SYSLOG_ACTION_CLEAR`).
    pub fn clear(&self) {
        let mut ring = self.ring.lock();
        ring.cleared = ring.next_seq;
    }

    /// The number of the first line since the log was cleared; 0 if it never was.
    pub fn cleared(&self) -> u64 {
        self.ring.lock().cleared
    }

    /// Calls `listener` after each coming line: it may look at the log. There can be one for all of the log's life.
    pub fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        let _there_is_one = self.listener.set(Box::new(listener));
    }

    /// The number that the next line will get.
    pub fn next_seq(&self) -> u64 {
        self.ring.lock().next_seq
    }

    /// Hands every coming line to `sink`, in order. It must not log.
    pub fn set_sink(&self, sink: impl Fn(&KlogLine) + Send + Sync + 'static) {
        self.ring.lock().sink = Some(Arc::new(sink));
    }
}

/// Lets a few of many equal lines through: ten in five seconds, as the kernel's rate-limited messages.
pub struct RateLimit {
    state: Mutex<RateState>,
}

struct RateState {
    begin: Option<Instant>,
    printed: u32,
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        RateLimit { state: Mutex::new(RateState { begin: None, printed: 0 }) }
    }
}

impl RateLimit {
    /// Lines let through in one interval.
    pub const BURST: u32 = 10;
    /// Length of the interval.
    pub const INTERVAL: Duration = Duration::from_secs(5);

    /// Whether a line may be written at `now`.
    pub fn allows(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        match state.begin {
            Some(begin) if now.saturating_since(begin) <= Self::INTERVAL => {}
            _ => *state = RateState { begin: Some(now), printed: 0 },
        }
        state.printed += 1;
        state.printed <= Self::BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_its_numbers() {
        let log = Klog::default();
        for i in 0..Klog::CAPACITY as u64 + 5 {
            log.push(Instant::from_nanos(i), Level::Info, 0, format!("line {i}"));
        }
        assert_eq!(log.since(0)[0].seq, 5);
        assert_eq!(log.since(log.next_seq() - 1).len(), 1);
        assert_eq!(log.since(5)[0].to_string(), "[    0.000000] line 5");
    }

    #[test]
    fn each_line_of_a_programs_text_has_its_time() {
        let log = Klog::default();
        log.push(Instant::from_nanos(0), Level::of(11), 1, "three\nfour".to_owned());
        let line = log.first_since(0).unwrap();
        assert_eq!((line.level, line.facility), (Level::Err, 1));
        assert_eq!(log.whole_until(), 0, "it may go on");
        log.push(Instant::from_nanos(0), Level::Info, 0, "a line of the kernel's".to_owned());
        assert_eq!(log.whole_until(), 2);
        assert_eq!(line.to_string(), "[    0.000000] three\n[    0.000000] four");
        assert_eq!(log.first_since(2), None);
    }

    #[test]
    fn a_long_line_loses_its_end() {
        let log = Klog::default();
        for text in ["z".repeat(1021), "z".repeat(1022), format!("{}\u{e4}", "z".repeat(1020))] {
            log.push(Instant::from_nanos(0), Level::Err, 0, text);
        }
        let lens: Vec<usize> = log.since(0).iter().map(|line| line.text.len()).collect();
        assert_eq!(lens, [1021, 1021, 1020]);
    }

    #[test]
    fn ten_lines_in_five_seconds() {
        let limit = RateLimit::default();
        let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
        assert_eq!((0..20).filter(|_| limit.allows(at(1))).count(), 10);
        assert!(!limit.allows(at(6)));
        assert!(limit.allows(at(7)));
    }
}
