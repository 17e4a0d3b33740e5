//! `dmlab replay-log`: looks into logs of the log-writes target and replays them.

mod medium;

use crate::kernel::{Failure, Meant, Where};
use crate::output::outln;
use clap::Args;
use dmlab_replay_log::{EntryFlags, Log, Logged, Stop, find, replay, replay_entry};
use medium::{Media, Medium};
use std::process::{Command, ExitCode};

/// Look into logs of the log-writes target, and replay them.
#[derive(Args)]
pub(crate) struct ReplayLog {
    #[command(flatten)]
    kernel: Where,
    /// The log: a file, a device of the host, or a device of the machine.
    #[arg(long)]
    log: String,
    /// Replay onto this: a file, a device of the host, or a device of the machine.
    #[arg(long, value_name = "DISK", required_unless_present_any = ["find", "num_entries", "list"])]
    replay: Option<String>,
    /// Begin with this entry, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    start_entry: u64,
    /// Begin after this mark.
    #[arg(long, value_name = "MARK", conflicts_with = "start_entry")]
    start_mark: Option<String>,
    /// Take so many entries and no more.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Stop at this mark.
    #[arg(long, value_name = "MARK")]
    end_mark: Option<String>,
    /// Stop after the next flush.
    #[arg(long)]
    next_flush: bool,
    /// Stop after the next forced write.
    #[arg(long)]
    next_fua: bool,
    /// Leave out discards.
    #[arg(long)]
    no_discard: bool,
    /// Replay nothing; print the number of the entry at which a replay would stop.
    #[arg(long, conflicts_with_all = ["replay", "fsck"])]
    find: bool,
    /// Print how many entries the log has.
    #[arg(long, conflicts_with_all = ["replay", "find", "list", "fsck"])]
    num_entries: bool,
    /// Print the entries.
    #[arg(long, conflicts_with_all = ["replay", "find", "fsck"])]
    list: bool,
    /// Run this command each time that --check says, while replaying; if it fails, stop there.
    #[arg(long, value_name = "COMMAND", requires_all = ["replay", "check"])]
    fsck: Option<String>,
    /// When to run the command of --fsck: after every flush, every forced write (fua), or every so many entries.
    #[arg(long, value_name = "flush|fua|N", requires = "fsck")]
    check: Option<Check>,
    /// Print each entry that is replayed.
    #[arg(short, long)]
    verbose: bool,
}

/// When a replay is interrupted for a look at the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Flush,
    Fua,
    Every(u64),
}

impl std::str::FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Check, String> {
        match text {
            "flush" => Ok(Check::Flush),
            "fua" => Ok(Check::Fua),
            _ => match text.parse() {
                Ok(number) if number > 0 => Ok(Check::Every(number)),
                _ => Err(format!("`{text}` is neither flush nor fua nor a number of entries")),
            },
        }
    }
}

impl Check {
    fn is_due(self, logged: &Logged, nr_replayed: u64) -> bool {
        match self {
            Check::Flush => logged.entry.flags.contains(EntryFlags::FLUSH),
            Check::Fua => logged.entry.flags.contains(EntryFlags::FUA),
            Check::Every(number) => nr_replayed.is_multiple_of(number),
        }
    }
}

/// One line about an entry.
fn line(logged: &Logged) -> String {
    let entry = &logged.entry;
    let mut words: Vec<String> = Vec::new();
    for (flag, word) in [
        (EntryFlags::FLUSH, "flush"),
        (EntryFlags::FUA, "fua"),
        (EntryFlags::DISCARD, "discard"),
        (EntryFlags::METADATA, "metadata"),
    ] {
        if entry.flags.contains(flag) {
            words.push(word.to_owned());
        }
    }
    if entry.flags.contains(EntryFlags::MARK) {
        words.push(format!("mark {}", entry.text.escape_ascii()));
    }
    let unknown = entry.flags.difference(EntryFlags::all()).bits();
    if unknown != 0 {
        words.push(format!("flags {unknown:#x}"));
    }
    if words.is_empty() {
        words.push("write".to_owned());
    }
    let Logged { number, block, .. } = logged;
    let range =
        if entry.nr_sectors == 0 { String::new() } else { format!(" {}+{}", entry.sector, entry.nr_sectors) };
    format!("{number} @{block}:{range} {}", words.join(" "))
}

impl ReplayLog {
    fn stop(&self) -> Stop {
        Stop {
            limit: self.limit,
            mark: self.end_mark.as_ref().map(|mark| mark.as_bytes().to_vec()),
            at_flush: self.next_flush,
            at_fua: self.next_fua,
            ignores_discards: self.no_discard,
        }
    }

    pub(crate) fn run(&self, meant: &Meant) -> Result<ExitCode, Failure> {
        let media = Media::new(&self.kernel, meant);
        let mut log = Log::open(media.open(&self.log, false)?)?;
        if self.num_entries {
            outln!("{}", log.nr_entries())?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(mark) = &self.start_mark {
            find(&mut log, &Stop::at_mark(mark))?.ok_or_else(|| format!("there is no mark {mark}"))?;
        }
        log.seek(log.position().max(self.start_entry))?;
        if self.list {
            return self.list(&mut log);
        }
        if self.find {
            return self.find(&mut log);
        }
        let disk = self.replay.as_deref().ok_or("name a disk with --replay")?;
        let mut disk = media.open(disk, true)?;
        let is_whole = match self.fsck.as_deref().zip(self.check) {
            Some((fsck, check)) => self.replay_checking(&mut log, &mut disk, fsck, check)?,
            None if self.verbose => self.replay_telling(&mut log, &mut disk)?,
            None => replay(&mut log, &mut disk, &self.stop())?.is_found || !self.stop().names_a_place(),
        };
        disk.sync()?;
        if !is_whole {
            return Err(self.not_found());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn not_found(&self) -> Failure {
        match &self.end_mark {
            Some(mark) => format!("the log ends without a mark {mark}").into(),
            None => "the log ends without such an entry".into(),
        }
    }

    fn list(&self, log: &mut Log<Medium>) -> Result<ExitCode, Failure> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let mut nr_listed = 0;
        while nr_listed < limit
            && let Some(logged) = log.next_entry()?
        {
            outln!("{}", line(&logged))?;
            nr_listed += 1;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn find(&self, log: &mut Log<Medium>) -> Result<ExitCode, Failure> {
        if !self.stop().names_a_place() {
            return Err("say what to find: --end-mark, --next-flush or --next-fua".into());
        }
        let found = find(log, &self.stop())?.ok_or_else(|| self.not_found())?;
        outln!("{}", found.number)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Replays with a line for each entry. `false`: the place to stop at never came.
    fn replay_telling(&self, log: &mut Log<Medium>, disk: &mut Medium) -> Result<bool, Failure> {
        self.replay_by_step(log, disk, |_, logged, _| {
            outln!("{}", line(logged))?;
            Ok(())
        })
    }

    /// Replays and runs a command on the way; its first failure is the end.
    fn replay_checking(
        &self,
        log: &mut Log<Medium>,
        disk: &mut Medium,
        fsck: &str,
        check: Check,
    ) -> Result<bool, Failure> {
        self.replay_by_step(log, disk, |disk, logged, nr_replayed| {
            if self.verbose {
                outln!("{}", line(logged))?;
            }
            if !check.is_due(logged, nr_replayed) {
                return Ok(());
            }
            disk.sync()?;
            let status = Command::new("sh").args(["-c", fsck]).status()?;
            if status.success() {
                return Ok(());
            }
            Err(format!("`{fsck}` fails after entry {}: {status}", logged.number).into())
        })
    }

    fn replay_by_step(
        &self,
        log: &mut Log<Medium>,
        disk: &mut Medium,
        mut after: impl FnMut(&mut Medium, &Logged, u64) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let (stop, mut nr_replayed) = (self.stop(), 0);
        while stop.limit.is_none_or(|limit| nr_replayed < limit) {
            let Some(logged) = log.next_entry()? else { return Ok(!stop.names_a_place()) };
            if stop.is_before(&logged) {
                return Ok(true);
            }
            replay_entry(log, &logged, disk, self.no_discard)?;
            nr_replayed += 1;
            after(disk, &logged, nr_replayed)?;
            if stop.is_at(&logged) {
                return Ok(true);
            }
        }
        Ok(!stop.names_a_place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read() {
        assert_eq!("fua".parse(), Ok(Check::Fua));
        assert_eq!("12".parse(), Ok(Check::Every(12)));
        assert!("0".parse::<Check>().is_err() && "never".parse::<Check>().is_err());
    }
}
