//! The command that has one state again.

use std::ffi::OsString;
use std::path::Path;

/// Options with a value that say which states are looked at, or what becomes of the report: not those of a replay.
const DROPPED: [&str; 6] = ["--shard", "--limit", "--enough", "--patience", "--json", "--jobs"];
/// What makes a recording: a recording that was kept takes its place.
const MAKES: [&str; 4] = ["--script", "--workload", "--disks", "--disk-size"];

/// The words of the command line, without its program's name, as a command to which `--state ID` can be put. A recording that
/// was saved is used in place of a new one, which might differ.
pub(super) fn command(words: impl IntoIterator<Item = OsString>, saved: Option<&Path>) -> String {
    let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut kept = vec!["dmlab".to_owned()];
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        let is_dropped = DROPPED.contains(&name)
            || matches!(name, "--save" | "--state")
            || (saved.is_some() && MAKES.contains(&name));
        if !is_dropped {
            kept.push(quoted(&word));
        } else if !word.contains('=') {
            // Its value.
            words.next();
        }
    }
    if let Some(saved) = saved {
        kept.extend(["--recorded".to_owned(), quoted(&saved.to_string_lossy())]);
    }
    kept.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+%@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &[&str], saved: Option<&str>) -> String {
        command(line.iter().map(OsString::from), saved.map(Path::new))
    }

    #[test]
    fn what_makes_the_state_stays() {
        let line =
            ["crash", "--workload", "w.sh", "--check", "test -e 'a b'", "--shard", "1/3", "--json=r.json"];
        assert_eq!(of(&line, None), r"dmlab crash --workload w.sh --check 'test -e '\''a b'\'''");
        let line =
            ["crash", "--script=s.sh", "--workload", "w", "--save", "run", "--check", "c", "--disks", "2"];
        assert_eq!(of(&line, Some("run")), "dmlab crash --check c --recorded run");
    }
}
