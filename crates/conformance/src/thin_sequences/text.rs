//! Sequences and recordings as text.

use super::{Fill, Io, Recording, Sequence, Step};
use std::fmt;

/// A line that is none of the format's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(pub String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a line of a sequence: `{}`", self.0)
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Io::Write(block, 1) => write!(f, "w{block}"),
            Io::Write(block, count) => write!(f, "w{block}+{count}"),
            Io::Unsynced(block) => write!(f, "u{block}"),
            Io::Part(block) => write!(f, "p{block}"),
            Io::Trim(block, count) => write!(f, "t{block}+{count}"),
            Io::Sync => write!(f, "s"),
            Io::Fill(fill) => {
                let letter = if fill.is_grouped { 'g' } else { 'f' };
                write!(f, "{letter}{}+{}*{}%{}", fill.first, fill.count, fill.stride, fill.modulus)
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Create(id) => write!(f, "create {id}"),
            Step::Snap(id, origin) => write!(f, "snap {id} {origin}"),
            Step::Delete(id) => write!(f, "delete {id}"),
            Step::On(id) => write!(f, "on {id}"),
            Step::Off(id) => write!(f, "off {id}"),
            Step::Io(list) => {
                f.write_str("io")?;
                list.iter().try_for_each(|(id, io)| write!(f, " {id}{io}"))
            }
            Step::Hold => f.write_str("hold"),
            Step::Release => f.write_str("release"),
            Step::TransId(old, new) => write!(f, "transid {old} {new}"),
            Step::Suspend => f.write_str("suspend"),
            Step::Resume => f.write_str("resume"),
            Step::Reload(features) => write!(f, "reload {}", features.join(" ")),
            Step::GrowData(blocks) => write!(f, "growdata {blocks}"),
            Step::GrowMetadata(blocks) => write!(f, "growmeta {blocks}"),
            Step::Reopen => f.write_str("reopen"),
            Step::Status => f.write_str("status"),
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, block_size) = (&self.name, self.block_size);
        write!(f, "sequence {name} {block_size} {} {}", self.metadata_blocks, self.data_blocks)?;
        self.features.iter().try_for_each(|feature| write!(f, " {feature}"))?;
        writeln!(f)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{}", step.to_string().trim_end()))
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.failed.is_empty() {
            let failed: Vec<String> = self.failed.iter().map(usize::to_string).collect();
            writeln!(f, "= failed {}", failed.join(" "))?;
        }
        self.status.iter().try_for_each(|line| writeln!(f, "= status {line}"))?;
        writeln!(f, "= sha256 {}", self.sha256)
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn io(word: &str) -> Option<(u64, Io)> {
    let at = word.find(|c: char| c.is_ascii_alphabetic())?;
    let id = number(&word[..at])?;
    let (letter, rest) = word[at..].split_at(1);
    let pair = || match rest.split_once('+') {
        Some((a, b)) => Some((number(a)?, number(b)?)),
        None => Some((number(rest)?, 1)),
    };
    let io = match letter {
        "w" => pair().map(|(block, count)| Io::Write(block, count))?,
        "u" => Io::Unsynced(number(rest)?),
        "p" => Io::Part(number(rest)?),
        "t" => pair().map(|(block, count)| Io::Trim(block, count))?,
        "s" if rest.is_empty() => Io::Sync,
        "f" | "g" => {
            let (first, rest) = rest.split_once('+')?;
            let (count, rest) = rest.split_once('*')?;
            let (stride, modulus) = rest.split_once('%')?;
            Io::Fill(Fill {
                first: number(first)?,
                count: number(count)?,
                stride: number(stride)?,
                modulus: number(modulus).filter(|&modulus| modulus > 0)?,
                is_grouped: letter == "g",
            })
        }
        _ => return None,
    };
    Some((id, io))
}

fn step(line: &str) -> Option<Step> {
    let words: Vec<&str> = line.split(' ').collect();
    Some(match words[..] {
        ["create", id] => Step::Create(number(id)?),
        ["snap", id, origin] => Step::Snap(number(id)?, number(origin)?),
        ["delete", id] => Step::Delete(number(id)?),
        ["on", id] => Step::On(number(id)?),
        ["off", id] => Step::Off(number(id)?),
        ["io", ref list @ ..] => Step::Io(list.iter().map(|word| io(word)).collect::<Option<_>>()?),
        ["hold"] => Step::Hold,
        ["release"] => Step::Release,
        ["transid", old, new] => Step::TransId(number(old)?, number(new)?),
        ["suspend"] => Step::Suspend,
        ["resume"] => Step::Resume,
        ["reload", ref features @ ..] => Step::Reload(features.iter().map(|&f| f.to_owned()).collect()),
        ["growdata", blocks] => Step::GrowData(number(blocks)?),
        ["growmeta", blocks] => Step::GrowMetadata(number(blocks)?),
        ["reopen"] => Step::Reopen,
        ["status"] => Step::Status,
        _ => return None,
    })
}

fn header(line: &str) -> Option<Sequence> {
    let mut words = line.strip_prefix("sequence ")?.split(' ');
    let name = words.next()?.to_owned();
    let mut next = || number(words.next()?);
    let (block_size, metadata_blocks, data_blocks) = (next()?, next()?, next()?);
    let features = words.map(str::to_owned).collect();
    Some(Sequence { name, block_size, metadata_blocks, data_blocks, features, steps: Vec::new() })
}

fn note(line: &str, recording: &mut Recording) -> Option<()> {
    let (kind, rest) = line.split_once(' ')?;
    match kind {
        "failed" => {
            recording.failed = rest.split(' ').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        }
        "status" => recording.status.push(rest.to_owned()),
        "sha256" => recording.sha256 = rest.to_owned(),
        _ => return None,
    }
    Some(())
}

/// Reads sequences, each with what was recorded of it (an empty recording where nothing was).
///
/// # Errors
/// The first line that is none.
pub fn parse_all(text: &str) -> Result<Vec<(Sequence, Recording)>, ParseError> {
    let mut all: Vec<(Sequence, Recording)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let wrong = || ParseError(line.to_owned());
        if let Some(sequence) = header(line) {
            all.push((sequence, Recording::default()));
            continue;
        }
        let (sequence, recording) = all.last_mut().ok_or_else(wrong)?;
        match line.strip_prefix("= ") {
            Some(rest) => note(rest, recording).ok_or_else(wrong)?,
            None => sequence.steps.push(step(line).ok_or_else(wrong)?),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_there_and_back() {
        for seed in 0..60 {
            let sequence = super::super::generate(seed);
            let recording = Recording { failed: vec![1, 2], status: vec!["a b ".into()], sha256: "0".into() };
            let text = format!("{sequence}{recording}");
            assert_eq!(parse_all(&text), Ok(vec![(sequence, recording)]), "{text}");
        }
        assert_eq!(parse_all("create 1"), Err(ParseError("create 1".to_owned())));
    }
}
