//! `syslog`, and `/dev/kmsg`: the kernel log record by record, as Linux 6.12 gives and takes it (recorded: `descriptors/kmsg.txt`).

use std::fmt::Write as _;

use dmlab_machine::{Klog, KlogLine, Level, Machine};
use dmlab_units::Errno;
use parking_lot::Mutex;

use super::admin::text_lines;
use super::session::{Answer, Session, value};

/// The longest text that one write brings.
const MAX_WRITE: usize = 1024;
/// The facility of programs that name none: user.
const USER: u8 = 1;
/// The level of a text that names none.
const DEFAULT_LEVEL: u32 = 4;

impl Session {
    /// Answers a command of dmlab's with lines from number `from` on.
    pub(super) fn klog(&self, from: u64, out: &mut [u8]) -> Answer {
        let lines = self.shared.view.machine().klog().since(from);
        let next = lines.last().map_or(from, |line| line.seq + 1);
        text_lines(out, next, lines.iter().map(|line| (line.seq, line.to_string())))
    }

    /// Lines from a number on as `syslog` gives them, each with its priority: `<5>[    0.000123] device-mapper: ...`.
    pub(super) fn syslog(&self, from: u64, out: &mut [u8]) -> Answer {
        let lines = self.shared.view.machine().klog().since(from);
        let next = lines.last().map_or(from, |line| line.seq + 1);
        let with_priority = |line: &KlogLine| {
            let priority = format!("<{}>", priority(line));
            format!("{priority}{}", line.to_string().replace('\n', &format!("\n{priority}")))
        };
        text_lines(out, next, lines.iter().map(|line| (line.seq, with_priority(line))))
    }

    /// Where the log was cleared; clears it then, if asked.
    pub(super) fn syslog_mark(&self, clear: bool) -> Answer {
        let klog = self.shared.view.machine().klog();
        let mark = klog.cleared();
        if clear {
            klog.clear();
        }
        value(mark as i64)
    }
}

/// Where in the log a reader is.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The number of the record that comes next.
    next: Mutex<u64>,
}

impl Reader {
    /// Whether there is a record to be read, or one that is lost.
    pub(super) fn is_ready(&self, klog: &Klog) -> bool {
        *self.next.lock() < klog.whole_until()
    }

    /// Reads one record; EPIPE when it is no longer there, EINVAL when it does not fit, which loses it.
    pub(super) fn read(&self, klog: &Klog, into: &mut [u8]) -> Result<usize, Errno> {
        let mut next = self.next.lock();
        if *next >= klog.whole_until() {
            return Err(Errno::EAGAIN);
        }
        let line = klog.first_since(*next).ok_or(Errno::EAGAIN)?;
        if line.seq > *next {
            *next = line.seq;
            return Err(Errno::EPIPE);
        }
        *next += 1;
        let record = record(&line);
        into.get_mut(..record.len()).ok_or(Errno::EINVAL)?.copy_from_slice(record.as_bytes());
        Ok(record.len())
    }

    /// Goes to the first record, or behind the last: to no other place.
    pub(super) fn seek(&self, klog: &Klog, offset: i64, whence: i32) -> Result<i64, Errno> {
        if offset != 0 {
            return Err(Errno::ESPIPE);
        }
        *self.next.lock() = match whence {
            libc::SEEK_SET => klog.first_since(0).map_or(0, |line| line.seq),
            libc::SEEK_DATA => klog.cleared(),
            libc::SEEK_END => klog.whole_until(),
            _ => return Err(Errno::EINVAL),
        };
        Ok(0)
    }
}

/// The facility and the level of a line as one number.
fn priority(line: &KlogLine) -> u32 {
    u32::from(line.facility) << 3 | line.level as u32
}

/// Priority, number, microseconds, and the text, in which other bytes than those of plain ASCII are escaped.
fn record(line: &KlogLine) -> String {
    let mut record = format!("{},{},{},-;", priority(line), line.seq, line.time.as_nanos() / 1000);
    for byte in line.text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'\\' => record.push(char::from(byte)),
            // A `String` takes all that is written.
            _ => drop(write!(record, "\\x{byte:02x}")),
        }
    }
    record.push('\n');
    record
}

/// Adds what a program writes to the log. It may begin with a priority, `<11>`; the kernel's own facility is not for programs.
pub(super) fn write(machine: &Machine, bytes: &[u8]) -> Result<usize, Errno> {
    if bytes.len() > MAX_WRITE {
        return Err(Errno::EINVAL);
    }
    let (priority, text) = split_priority(bytes).unwrap_or((DEFAULT_LEVEL, bytes));
    let facility = match (priority >> 3) as u8 {
        0 => USER,
        facility => facility,
    };
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    machine.runtime().log_for(Level::of(priority), facility, String::from_utf8_lossy(text));
    Ok(bytes.len())
}

/// The number between `<` and `>`, if that is how it begins. None at all is 0.
fn split_priority(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let rest = bytes.strip_prefix(b"<")?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let digits = &rest[..end];
    let number = digits
        .iter()
        .fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')));
    Some((number, rest[end..].strip_prefix(b">")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_split_off() {
        let split = |text: &'static str| split_priority(text.as_bytes());
        assert_eq!(split("<3>three"), Some((3, &b"three"[..])));
        assert_eq!(split("<>x"), Some((0, &b"x"[..])));
        for text in ["3>", "<5x>y", "<-1>y", "<5", ""] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
