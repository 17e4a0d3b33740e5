//! Events as lines to read: calls much as strace prints them, bios much as blktrace does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags, TargetSpecs, block_ioctl_name, nul_terminated};
use dmlab_kernel_calls::FIRST_TIMER;
use dmlab_machine::{Instant, IoFlags, OpenMode, TracePoint};
use dmlab_units::{DevT, Errno};

use crate::event::{Answer, Backing, Bio, Call, Ended, Event};

/// How many bytes of a difference are shown.
const DUMP: usize = 16;
/// How the lines of a call's own lists are set off.
const INDENT: &str = "    ";

/// Turns events into lines, in their order: it remembers what files were opened as, and what calls asked.
#[derive(Clone, Default)]
pub struct Lines {
    now: Duration,
    files: BTreeMap<u64, String>,
    /// What calls that are under way asked of the control node.
    commands: BTreeMap<u64, Command>,
}

impl Lines {
    /// An event as lines. The first begins with the time.
    pub fn lines(&mut self, event: &Event) -> Vec<String> {
        let mut lines = match event {
            Event::Begin { call, client, what } => self.begin(*call, *client, what),
            Event::End { call, ended } => self.end(*call, ended),
            Event::Told { call, answer } => vec![format!("#{call} was told: {}", told(answer))],
            Event::Size { number, size } => {
                let bytes = result(size.map(|size| size.0));
                vec![format!("host file {number} has {bytes} bytes")]
            }
            Event::GoOn { call } => vec![format!("#{call} goes on")],
            Event::Interrupt { client } => vec![format!("{} is interrupted or gone", who(*client))],
            Event::Clock { since_boot } => {
                self.now = *since_boot;
                vec!["the clock moves".to_owned()]
            }
            Event::Rules { command } => {
                vec![format!("faults: {}", String::from_utf8_lossy(command).replace('\0', " "))]
            }
            Event::Bio(seen) => vec![bio(seen)],
            Event::Log { level, text } => vec![format!("<{level}> {text}")],
            Event::Uevent { text } => vec![format!("uevent {}", text.replace('\n', " "))],
            Event::Finish => vec!["the programs are done".to_owned()],
        };
        if let Some(first) = lines.first_mut() {
            let nanos = u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX);
            *first = format!("[{}] {first}", Instant::from_nanos(nanos));
        }
        lines.iter().map(|line| escaped(line)).collect()
    }

    fn file(&self, file: u64) -> String {
        let name = if file == 0 { Some("control") } else { self.files.get(&file).map(String::as_str) };
        format!("{file}:{}", name.unwrap_or("?"))
    }

    fn begin(&mut self, call: u64, client: u64, what: &Call) -> Vec<String> {
        let mut more = Vec::new();
        let opened = match what {
            Call::OpenControl { file } => Some((*file, "control".to_owned())),
            Call::OpenLoopControl { file } => Some((*file, "loop-control".to_owned())),
            Call::OpenBlock { file, dev, .. } => Some((*file, dev.to_string())),
            _ => None,
        };
        if let Some((file, name)) = opened {
            self.files.insert(file, name);
        }
        let file = what.file().map(|file| self.file(file)).unwrap_or_default();
        let text = match what {
            Call::OpenControl { .. } | Call::OpenLoopControl { .. } => format!("open {file}"),
            Call::OpenBlock { mode, .. } => {
                format!("open {file} {}", bits(OpenMode::from_bits_truncate(*mode).iter_names()))
            }
            Call::Close { .. } => format!("close {file}"),
            Call::WriteBack { start, end, .. } => format!("write back {file} {} to {}", start.0, end.0),
            Call::Sync { .. } => format!("fsync {file}"),
            Call::Read { at, len, how, .. } => format!("read {file} {}+{}{}", at.0, len.0, manner(*how)),
            Call::Write { at, data, how, .. } => {
                format!("write {file} {}+{}{}", at.0, data.len(), manner(*how))
            }
            Call::Fallocate { mode, offset, len, .. } => {
                format!("fallocate {file} mode {mode:#x} {offset}+{len}")
            }
            Call::Sleep { time } => format!("sleep {time:?}"),
            Call::Ioctl { request, argument, sent, .. } => {
                let is_control = file.ends_with(":control");
                let control = is_control.then(|| Command::from_number(*request as u8)).flatten();
                if let Some(command) = control {
                    self.commands.insert(call, command);
                }
                match control {
                    Some(command) => {
                        more = request_lines(command, sent);
                        format!("ioctl {file} DM_{}{}", command.name(), header_words(sent))
                    }
                    None => {
                        let name = block_ioctl_name(*request).filter(|_| !is_control);
                        let name = name.map_or_else(|| format!("{request:#x}"), str::to_owned);
                        let value = if sent.is_empty() { format!(" {argument:#x}") } else { String::new() };
                        format!("ioctl {file} {name}{value}")
                    }
                }
            }
        };
        let who = who(client);
        let mut lines = vec![format!("#{call} {who}: {text}")];
        lines.extend(more);
        lines
    }

    fn end(&mut self, call: u64, ended: &Ended) -> Vec<String> {
        let command = self.commands.remove(&call);
        let mut line = format!("#{call} = {}", result(ended.result));
        if let Some(sum) = ended.sum {
            let _ = write!(line, ", data {sum:08x}");
        }
        let mut lines = vec![line];
        if let (Some(command), Ok(_), 0) = (command, ended.result, ended.written.0) {
            lines.extend(reply_lines(command, &ended.written.1));
        }
        lines
    }

    /// Two ends of one call that differ: in what can be read, or else in the first bytes.
    pub(crate) fn both_ends(&mut self, call: u64, old: &Ended, new: &Ended) -> (Vec<String>, Vec<String>) {
        let mut beside = self.clone();
        let (mut old_lines, mut new_lines) = (
            self.lines(&Event::End { call, ended: old.clone() }),
            beside.lines(&Event::End { call, ended: new.clone() }),
        );
        if old_lines == new_lines {
            let (old_dump, new_dump) = dumps(&old.written, &new.written);
            old_lines.push(format!("{INDENT}{old_dump}"));
            new_lines.push(format!("{INDENT}{new_dump}"));
        }
        (old_lines, new_lines)
    }
}

/// A line in which nothing speaks to a terminal: a recording may come from a stranger.
pub fn escaped(line: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    line.chars().map(escape).collect()
}

/// Where two answers begin to differ, with some bytes of each.
fn dumps(old: &(u64, Vec<u8>), new: &(u64, Vec<u8>)) -> (String, String) {
    let same = if old.0 == new.0 { old.1.iter().zip(&new.1).take_while(|(a, b)| a == b).count() } else { 0 };
    let dump = |(start, bytes): &(u64, Vec<u8>)| {
        let rest = bytes.get(same..).unwrap_or_default();
        let hex: String = rest.iter().take(DUMP).map(|byte| format!(" {byte:02x}")).collect();
        format!("bytes from {} of {}:{hex}", start + same as u64, start + bytes.len() as u64)
    };
    (dump(old), dump(new))
}

fn result<T: std::fmt::Display>(result: Result<T, Errno>) -> String {
    result.map_or_else(|errno| format!("-1 {errno}"), |value| value.to_string())
}

fn bits<'a, F>(names: impl Iterator<Item = (&'a str, F)>) -> String {
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    if names.is_empty() { "-".to_owned() } else { names.join("|") }
}

fn manner(how: IoFlags) -> String {
    let words = [(how.is_direct, " direct"), (how.is_nowait, " nowait"), (how.is_dsync, " dsync")];
    words.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| *word).collect()
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Path { path, dev } => format!("{} is {}", String::from_utf8_lossy(path), result(*dev)),
        Answer::Backing(Ok(Backing::Host { number, host, path, .. })) => format!(
            "the descriptor is host file {number}, {} of {} bytes",
            String::from_utf8_lossy(path),
            host.contents.len.0
        ),
        Answer::Backing(Ok(Backing::Device { dev, .. })) => format!("the descriptor is device {dev}"),
        Answer::Backing(Err(errno)) => format!("the descriptor is none: {errno:?}"),
    }
}

fn bio(seen: &Bio) -> String {
    let Bio { dev, point, op, sector, len, sum } = seen;
    let (action, more) = match point {
        TracePoint::Queue => ('Q', String::new()),
        TracePoint::Remap { to, to_sector } => ('A', format!(" -> {to} {to_sector}")),
        TracePoint::Split => ('X', String::new()),
        TracePoint::Defer => ('S', String::new()),
        TracePoint::Complete { errno } => ('C', format!(" [{errno}]")),
    };
    let data = sum.map_or_else(String::new, |sum| format!(", data {sum:08x}"));
    format!("bio {dev} {action} {op} {sector} + {len}{more}{data}")
}

/// The device that a request of the control node is about.
fn header_words(sent: &[u8]) -> String {
    let Ok(header) = dmlab_abi::Header::decode(sent) else { return String::new() };
    let mut words = String::new();
    for (what, text) in [("name", header.name()), ("uuid", header.uuid())] {
        if !text.is_empty() {
            let _ = write!(words, " {what}={}", String::from_utf8_lossy(text));
        }
    }
    if header.name().is_empty() && header.uuid().is_empty() && header.dev_huge() != 0 {
        let _ = write!(words, " dev={}", DevT::from_huge(header.dev_huge()));
    }
    let flags = header.flags() - DmFlags::EXISTS;
    if !flags.is_empty() {
        let _ = write!(words, " {}", bits(flags.iter_names()));
    }
    words
}

/// What else a request of the control node says.
fn request_lines(command: Command, sent: &[u8]) -> Vec<String> {
    let Ok(header) = dmlab_abi::Header::decode(sent) else { return Vec::new() };
    let start = header.data_start();
    match command {
        Command::TableLoad => TargetSpecs::new(sent, start, header.target_count())
            .map_while(Result::ok)
            .map(|spec| spec_line(&spec))
            .collect(),
        Command::TargetMsg => {
            // The sector stands before the text.
            let sector = sent.get(start as usize..).and_then(|rest| rest.first_chunk::<8>());
            let text = nul_terminated(sent, start.saturating_add(8));
            match (sector, text) {
                (Some(sector), Some(text)) => {
                    let sector = u64::from_le_bytes(*sector);
                    vec![format!("{INDENT}{sector} {}", String::from_utf8_lossy(text))]
                }
                _ => Vec::new(),
            }
        }
        Command::DevRename | Command::DevSetGeometry => {
            let text = nul_terminated(sent, start).map(|text| String::from_utf8_lossy(text).into_owned());
            text.map(|text| format!("{INDENT}{text}")).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn spec_line(spec: &dmlab_abi::TargetSpec) -> String {
    format!(
        "{INDENT}{} {} {} {}",
        spec.start,
        spec.len,
        String::from_utf8_lossy(&spec.target_type),
        String::from_utf8_lossy(&spec.params)
    )
}

/// What an answer of the control node says.
fn reply_lines(command: Command, written: &[u8]) -> Vec<String> {
    let Ok(header) = dmlab_abi::Header::decode(written) else { return Vec::new() };
    let payload = written.get(header.data_start() as usize..).unwrap_or_default();
    if header.flags().contains(DmFlags::BUFFER_FULL) {
        return vec![format!("{INDENT}(the buffer was too small)")];
    }
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match command {
        Command::TableStatus => {
            dmlab_abi::decode_status(payload, header.target_count()).iter().map(spec_line).collect()
        }
        Command::ListDevices => dmlab_abi::decode_names(payload)
            .unwrap_or_default()
            .iter()
            .map(|entry| format!("{INDENT}{} {} event {}", entry.dev, lossy(&entry.name), entry.event_nr))
            .collect(),
        Command::TableDeps => {
            let deps = dmlab_abi::decode_deps(payload).unwrap_or_default();
            vec![format!("{INDENT}{}", deps.iter().map(DevT::to_string).collect::<Vec<_>>().join(" "))]
        }
        Command::TargetMsg if header.flags().contains(DmFlags::DATA_OUT) => {
            let text = payload.split(|&byte| byte == 0).next().unwrap_or_default();
            vec![format!("{INDENT}{}", lossy(text))]
        }
        Command::DevCreate | Command::DevStatus | Command::DevSuspend | Command::DevWait => {
            let flags = header.flags() - DmFlags::EXISTS;
            vec![format!(
                "{INDENT}{} open {} event {} targets {} {}",
                DevT::from_huge(header.dev_huge()),
                header.open_count(),
                header.event_nr(),
                header.target_count(),
                bits(flags.iter_names())
            )]
        }
        _ => Vec::new(),
    }
}

/// The client that makes a call.
fn who(client: u64) -> String {
    match client {
        0 => "nobody".to_owned(),
        FIRST_TIMER.. => format!("timer {}", client - FIRST_TIMER + 1),
        _ => format!("client {client}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_abi::Header;
    use dmlab_units::Bytes;

    #[test]
    fn calls_read_like_calls() {
        let mut show = Lines::default();
        let mut sent = Header::request([4, 0, 0], 400, DmFlags::SUSPEND);
        sent.set_name(b"a").unwrap();
        let what = Call::Ioctl {
            file: 0,
            request: Command::DevSuspend.request(),
            argument: 0,
            sent: sent.as_bytes().to_vec(),
            room: Bytes(400),
        };
        let lines = show.lines(&Event::Begin { call: 1, client: 2, what });
        assert_eq!(lines, ["[    0.000000] #1 client 2: ioctl 0:control DM_DEV_SUSPEND name=a SUSPEND"]);
        let failed = Event::End { call: 1, ended: Ended::with(Err(Errno::ENXIO)) };
        assert_eq!(show.lines(&failed), ["[    0.000000] #1 = -1 No such device or address (ENXIO)"]);
    }

    #[test]
    fn nothing_speaks_to_a_terminal() {
        let text = "\u{1b}[2J\u{9b}é".to_owned();
        let lines = Lines::default().lines(&Event::Log { level: 6, text });
        assert_eq!(lines, ["[    0.000000] <6> \\u{1b}[2J\\u{9b}é"]);
    }

    #[test]
    fn a_difference_that_cannot_be_read_is_dumped() {
        let (old, new) = dumps(&(8, vec![1, 2, 3]), &(8, vec![1, 9]));
        assert_eq!((old.as_str(), new.as_str()), ("bytes from 9 of 11: 02 03", "bytes from 9 of 10: 09"));
    }
}
