//! The words of a rule: `KEY=VALUE`, one grammar for files and for command lines.
//!
//! ```text
//! name=WORD
//! device=DEVICE  sectors=A..B  op=read,write,flush,discard  meaning=NAME  owner=N  index=N      a bio
//! ioctl=COMMAND|any  device=DEVICE  moment=before|done                                         an ioctl
//! uevent=add|change|remove|any  device=DEVICE                                                  an event
//! fail=ERRNO | drop | torn=SECTORS|any [then=ERRNO] | flip=BIT|any | misdirect=SECTOR|any
//!            | delay=TIME | hang | kill | watch                                                what happens
//! from=TIME  until=TIME  from_rule=NAME  until_rule=NAME                                       when it is awake
//! skip=N  nth=N  every=N  chance=P  times=N  once                                              which matches
//! ```

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use dmlab_abi::Command;
use dmlab_runtime::{Instant, UeventAction};
use dmlab_units::{Errno, Sector, Sectors};

use crate::{
    Action, Aim, BioPlace, DeviceName, IoctlPlace, Meanings, Moment, Ops, Place, Rule, RuleError, Timing,
    UeventPlace,
};

/// Every key, in the order in which a rule is written.
pub(crate) const KEYS: [&str; 30] = [
    "name",
    "device",
    "sectors",
    "op",
    "meaning",
    "owner",
    "index",
    "ioctl",
    "moment",
    "uevent",
    "fail",
    "drop",
    "torn",
    "then",
    "flip",
    "misdirect",
    "delay",
    "hang",
    "kill",
    "watch",
    "from",
    "until",
    "from_rule",
    "until_rule",
    "skip",
    "nth",
    "every",
    "chance",
    "times",
    "once",
];

/// The keys that say what happens.
pub(crate) const ACTION_KEYS: [&str; 9] =
    ["fail", "drop", "torn", "flip", "misdirect", "delay", "hang", "kill", "watch"];

/// Keys that are complete without a value.
const FLAGS: [&str; 5] = ["drop", "hang", "kill", "watch", "once"];

pub(crate) fn key_list() -> String {
    KEYS.join(", ")
}

impl FromStr for Rule {
    type Err = RuleError;

    /// Words with blanks between. A value that holds a blank can only come by [`Rule::from_words`]. Whether there is a
    /// meaning of the name that the rule aims at is not looked at: a target of one's own may have any.
    fn from_str(text: &str) -> Result<Rule, RuleError> {
        Rule::read(pairs(text.split_whitespace()), None)
    }
}

impl Rule {
    /// Reads a rule from words of the form `KEY=VALUE` or `KEY`.
    ///
    /// # Errors
    /// See [`RuleError`]: it says which word is wrong, and what would be right.
    pub fn from_words<'a>(
        words: impl IntoIterator<Item = &'a str>,
        meanings: &Meanings,
    ) -> Result<Rule, RuleError> {
        Rule::read(pairs(words), Some(meanings))
    }

    /// Reads a rule from keys and values.
    ///
    /// # Errors
    /// As [`Rule::from_words`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, String)>,
        meanings: &Meanings,
    ) -> Result<Rule, RuleError> {
        Rule::read(pairs, Some(meanings))
    }

    fn read<'a>(
        pairs: impl IntoIterator<Item = (&'a str, String)>,
        meanings: Option<&Meanings>,
    ) -> Result<Rule, RuleError> {
        let mut words = Words { given: Vec::new() };
        for (key, value) in pairs {
            let Some(&known) = KEYS.iter().find(|known| **known == key) else {
                return Err(RuleError::UnknownKey { key: key.to_owned(), close: closest(key) });
            };
            if words.given.iter().any(|(given, _)| *given == known) {
                return Err(RuleError::Twice(key.to_owned()));
            }
            words.given.push((known, value));
        }
        let action = words.action()?;
        let rule = Rule {
            name: words.take("name"),
            place: words.place(action, meanings)?,
            action,
            timing: words.timing()?,
        };
        rule.check()?;
        Ok(rule)
    }

    /// The words that it would be read from, in order. Predicates have none.
    pub fn to_words(&self) -> Vec<(&'static str, String)> {
        let mut words = Vec::new();
        let mut say =
            |key: &'static str, value: Option<String>| words.extend(value.map(|value| (key, value)));
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        say("name", self.name.clone());
        match &self.place {
            Place::Bio(place) => {
                say("device", place.device.as_ref().map(DeviceName::to_string));
                let sectors = place.sectors.as_ref();
                say("sectors", sectors.map(|range| format!("{}..{}", range.start, range.end)));
                say("op", (place.ops != Ops::all()).then(|| op_words(place.ops)));
                say("meaning", place.aim.as_ref().map(|aim| aim.what.clone()));
                say("owner", text(place.aim.as_ref().and_then(|aim| aim.owner)));
                say("index", text(place.aim.as_ref().and_then(|aim| aim.index)));
            }
            Place::Ioctl(place) => {
                say("ioctl", Some(place.command.map_or("any".to_owned(), |c| c.name().to_ascii_lowercase())));
                say("device", place.device.as_ref().map(DeviceName::to_string));
                say("moment", (place.moment == Moment::Done).then(|| "done".to_owned()));
            }
            Place::Uevent(place) => {
                say("uevent", Some(place.action.map_or("any".to_owned(), |action| action.to_string())));
                say("device", place.device.as_ref().map(DeviceName::to_string));
            }
        }
        let open = |number: Option<u64>| Some(text(number).unwrap_or_else(|| "any".to_owned()));
        let yes = || Some("true".to_owned());
        match self.action {
            Action::Watch => say("watch", yes()),
            Action::Fail(errno) => say("fail", Some(errno_word(errno))),
            Action::Drop => say("drop", yes()),
            Action::Torn { keep, then } => {
                say("torn", open(keep.map(|keep| keep.0)));
                say("then", then.map(errno_word));
            }
            Action::Flip { bit } => say("flip", open(bit)),
            Action::Misdirect { to } => say("misdirect", open(to.map(|to| to.0))),
            Action::Delay(time) => say("delay", Some(time_word(time))),
            Action::Hang => say("hang", yes()),
            Action::Kill => say("kill", yes()),
        }
        let timing = &self.timing;
        let time = |at: Option<Instant>| at.map(|at| time_word(Duration::from_nanos(at.as_nanos())));
        say("from", time(timing.from));
        say("until", time(timing.until));
        say("from_rule", timing.from_rule.clone());
        say("until_rule", timing.until_rule.clone());
        say("skip", (timing.skip > 0).then(|| timing.skip.to_string()));
        say("nth", text(timing.nth));
        say("every", text(timing.every));
        say("chance", timing.chance.map(|chance| chance.to_string()));
        say("times", text(timing.times));
        words
    }
}

/// Words as keys and values.
fn pairs<'a>(words: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = (&'a str, String)> {
    words.into_iter().map(|word| match word.split_once('=') {
        Some((key, value)) => (key, value.to_owned()),
        None if FLAGS.contains(&word) => (word, "true".to_owned()),
        None => (word, String::new()),
    })
}

/// The words of one rule.
struct Words {
    given: Vec<(&'static str, String)>,
}

impl Words {
    fn has(&self, key: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == key)
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.given.iter().position(|(given, _)| *given == key)?;
        Some(self.given.swap_remove(at).1)
    }

    /// Takes a value and reads it with `read`; `want` is what it must be.
    fn read<T>(
        &mut self,
        key: &'static str,
        want: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, RuleError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(RuleError::Value { key, value, want: want.to_owned() }),
        }
    }

    fn number(&mut self, key: &'static str) -> Result<Option<u64>, RuleError> {
        self.read(key, "a number", |text| text.parse().ok())
    }

    /// A number, or `any`.
    fn open_number(&mut self, key: &'static str, what: &str) -> Result<Option<u64>, RuleError> {
        let want = format!("{what}, or any");
        let read = |text: &str| if text == "any" { Some(None) } else { text.parse().ok().map(Some) };
        Ok(self.read(key, &want, read)?.flatten())
    }

    fn errno(&mut self, key: &'static str) -> Result<Option<Errno>, RuleError> {
        self.read(key, "the name or number of an error, such as EIO", read_errno)
    }

    fn time(&mut self, key: &'static str) -> Result<Option<Duration>, RuleError> {
        self.read(key, "a time with its unit, such as 250ms, 1.5s or 2m", read_time)
    }

    fn device(&mut self) -> Result<Option<DeviceName>, RuleError> {
        self.read("device", "a device: /dev/ram1, /dev/mapper/NAME, MAJOR:MINOR, or a name alone", |text| {
            if text.is_empty() { None } else { text.parse().ok() }
        })
    }

    fn refuse(&self, keys: &[&str], why: &str) -> Result<(), RuleError> {
        match keys.iter().find(|key| self.has(key)) {
            Some(key) => Err(RuleError::Senseless(format!("`{key}` {why}"))),
            None => Ok(()),
        }
    }

    fn action(&mut self) -> Result<Action, RuleError> {
        for key in FLAGS {
            let given = self.given.iter_mut().find(|(given, _)| *given == key);
            let Some((_, value)) = given else { continue };
            match value.as_str() {
                "true" => {}
                "false" => {
                    self.take(key);
                }
                _ => {
                    let value = std::mem::take(value);
                    return Err(RuleError::Value { key, value, want: "true or false".to_owned() });
                }
            }
        }
        let given: Vec<&'static str> = ACTION_KEYS.into_iter().filter(|key| self.has(key)).collect();
        let [key] = given[..] else { return Err(RuleError::Actions(given)) };
        if key != "torn" {
            self.refuse(&["then"], "is how a torn write ends: it goes with torn")?;
        }
        Ok(match key {
            // The errno of `fail` is there: its key is.
            "fail" => Action::Fail(self.errno("fail")?.unwrap_or(Errno::EIO)),
            "torn" => Action::Torn {
                keep: self.open_number("torn", "how many sectors are written")?.map(Sectors),
                then: self.errno("then")?,
            },
            "flip" => Action::Flip { bit: self.open_number("flip", "the number of a bit")? },
            "misdirect" => Action::Misdirect { to: self.open_number("misdirect", "a sector")?.map(Sector) },
            "delay" => Action::Delay(self.time("delay")?.unwrap_or_default()),
            flag => {
                self.take(flag);
                match flag {
                    "drop" => Action::Drop,
                    "hang" => Action::Hang,
                    "kill" => Action::Kill,
                    _ => Action::Watch,
                }
            }
        })
    }

    fn place(&mut self, action: Action, meanings: Option<&Meanings>) -> Result<Place, RuleError> {
        const BIO_KEYS: [&str; 5] = ["sectors", "op", "meaning", "owner", "index"];
        if self.has("ioctl") {
            self.refuse(&BIO_KEYS, "is of bios, and this rule is for an ioctl")?;
            self.refuse(&["uevent"], "and `ioctl` are two places: make two rules")?;
            let command = self.read("ioctl", &command_want(), read_command)?.flatten();
            let moment = self.read("moment", "before or done", |text| match text {
                "before" => Some(Moment::Before),
                "done" => Some(Moment::Done),
                _ => None,
            })?;
            let (device, moment) = (self.device()?, moment.unwrap_or_default());
            if let Some(device @ DeviceName::Kernel(name)) = &device
                && !name.starts_with("dm-")
            {
                return Err(RuleError::Senseless(format!(
                    "`device={device}` is no mapped device, and ioctls are about those: name it as `dmsetup` does"
                )));
            }
            return Ok(Place::Ioctl(IoctlPlace { command, device, moment }));
        }
        self.refuse(&["moment"], "is of ioctls: it goes with ioctl")?;
        if self.has("uevent") {
            self.refuse(&BIO_KEYS, "is of bios, and this rule is for an event")?;
            let action = self.read("uevent", "add, change, remove or any", |text| match text {
                "any" => Some(None),
                "add" => Some(Some(UeventAction::Add)),
                "change" => Some(Some(UeventAction::Change)),
                "remove" => Some(Some(UeventAction::Remove)),
                _ => None,
            })?;
            return Ok(Place::Uevent(UeventPlace { action: action.flatten(), device: self.device()? }));
        }
        if action == Action::Kill {
            return Err(RuleError::Senseless(
                "only an ioctl can kill its caller: add ioctl = \"any\" or a command".to_owned(),
            ));
        }
        let want = format!("one of the meanings {}", meanings.map(Meanings::names).unwrap_or_default());
        let known = |text: &str| meanings.is_none_or(|meanings| meanings.has(text)).then(|| text.to_owned());
        let what = self.read("meaning", &want, known)?;
        if what.is_none() {
            self.refuse(&["owner", "index"], "narrows a meaning: it goes with meaning")?;
        }
        let (owner, index) = (self.number("owner")?, self.number("index")?);
        let aim = what.map(|what| Aim { what, owner, index });
        let sectors = self.read("sectors", "a range of sectors A..B, B not included", read_sectors)?;
        let ops = self.read("op", "any of read, write, flush, discard, with commas between", read_ops)?;
        let device = self.device()?;
        Ok(Place::Bio(BioPlace { device, sectors, ops: ops.unwrap_or(Ops::all()), aim }))
    }

    fn timing(&mut self) -> Result<Timing, RuleError> {
        let at = |time: Option<Duration>| time.map(|time| Instant::default() + time);
        let mut times = self.number("times")?;
        if self.take("once").is_some() {
            if times.is_some() {
                return Err(RuleError::Senseless("once is times=1: give one of the two".to_owned()));
            }
            times = Some(1);
        }
        Ok(Timing {
            from: at(self.time("from")?),
            until: at(self.time("until")?),
            from_rule: self.take("from_rule"),
            until_rule: self.take("until_rule"),
            predicate: None,
            skip: self.number("skip")?.unwrap_or(0),
            nth: self.number("nth")?,
            every: self.number("every")?,
            chance: self.read("chance", "a probability above 0 and at most 1", |text| text.parse().ok())?,
            times,
        })
    }
}

/// The key that looks most like `word`, if one does.
fn closest(word: &str) -> Option<&'static str> {
    let near = KEYS.iter().map(|key| (distance(word, key), *key)).min()?;
    (near.0 <= 1 + near.1.len() / 3).then_some(near.1)
}

/// How many letters to change, add or take away between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let changed = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

fn read_errno(text: &str) -> Option<Errno> {
    match text.parse() {
        Ok(number) => Errno::from_raw(number),
        Err(_) => (1..=4095).filter_map(Errno::from_raw).find(|errno| errno.name() == Some(text)),
    }
}

fn errno_word(errno: Errno) -> String {
    errno.name().map_or_else(|| errno.raw().to_string(), str::to_owned)
}

/// The units of times, the largest first, in nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

fn read_time(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) || part.len() > 9 {
        return None;
    }
    let mut nanos = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if !part.is_empty() {
        let scale = 10u64.pow(part.len() as u32);
        let fraction = u128::from(part.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
        nanos = nanos.checked_add(u64::try_from(fraction).ok()?)?;
    }
    Some(Duration::from_nanos(nanos))
}

fn time_word(time: Duration) -> String {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let whole = UNITS.iter().find(|(_, unit)| nanos >= *unit && nanos.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{nanos}ns"), |(name, unit)| format!("{}{name}", nanos / unit))
}

fn read_sectors(text: &str) -> Option<Range<Sector>> {
    let (from, to) = text.split_once("..")?;
    Some(Sector(from.parse().ok()?)..Sector(to.parse().ok()?))
}

fn read_ops(text: &str) -> Option<Ops> {
    if text == "any" {
        return Some(Ops::all());
    }
    let op = |word: &str| Ops::WORDS.iter().find(|(known, _)| *known == word).map(|(_, op)| *op);
    text.split(',').try_fold(Ops::empty(), |ops, word| Some(ops | op(word.trim())?))
}

fn op_words(ops: Ops) -> String {
    let words = Ops::WORDS.iter().filter(|(_, op)| ops.contains(*op));
    words.map(|(word, _)| *word).collect::<Vec<_>>().join(",")
}

/// A command as `table_load`, `TABLE_LOAD` or `DM_TABLE_LOAD`; `any` is all of them.
fn read_command(text: &str) -> Option<Option<Command>> {
    if text == "any" {
        return Some(None);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("DM_").unwrap_or(&upper);
    Command::ALL.into_iter().find(|command| command.name() == name).map(Some)
}

fn command_want() -> String {
    let names: Vec<String> = Command::ALL.iter().map(|command| command.name().to_ascii_lowercase()).collect();
    format!("any, or one of {}", names.join(", "))
}

#[cfg(test)]
mod tests;
