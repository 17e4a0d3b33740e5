//! Rules in a TOML file.
//!
//! ```toml
//! [[fault]]
//! name = "third"
//! device = "/dev/ram1"
//! op = "write"
//! fail = "EIO"
//! nth = 3
//! ```
//!
//! Each `[[fault]]` is one rule; its keys are those of the grammar, its values strings, numbers or booleans.

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{Meanings, Rule, RuleError};

/// Why a file holds no rules.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct FileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there, and what would be right.
    pub what: String,
}

/// Reads the rules of a file.
///
/// # Errors
/// For the first thing that is wrong: no TOML, something else than `[[fault]]`, or a rule that is none.
pub fn read_rules(text: &str, meanings: &Meanings) -> Result<Vec<Rule>, FileError> {
    let at = |span: std::ops::Range<usize>, what: String| FileError { line: line_of(text, span.start), what };
    let table = DeTable::parse(text).map_err(|error| {
        let what = error.message().lines().next().unwrap_or("this is no TOML").to_owned();
        at(error.span().unwrap_or_default(), what)
    })?;
    let mut rules = Vec::new();
    for (key, value) in table.get_ref() {
        if key.get_ref() != "fault" {
            let what =
                format!("`{}` is nothing here: a file of faults holds [[fault]] tables", key.get_ref());
            return Err(at(key.span(), what));
        }
        let DeValue::Array(list) = value.get_ref() else {
            let what = "each fault is a table of its own: write [[fault]], with two brackets".to_owned();
            return Err(at(value.span(), what));
        };
        for entry in list {
            rules.push(rule(entry, meanings).map_err(|(span, what)| at(span, what))?);
        }
    }
    Ok(rules)
}

type Wrong = (std::ops::Range<usize>, String);

fn rule(entry: &Spanned<DeValue<'_>>, meanings: &Meanings) -> Result<Rule, Wrong> {
    let DeValue::Table(table) = entry.get_ref() else {
        return Err((entry.span(), "a fault is a table of keys and values".to_owned()));
    };
    let mut pairs = Vec::new();
    for (key, value) in table {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(yes) => yes.to_string(),
            // Numbers are read again by the grammar, from the words that a command line would have.
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => {
                let what = format!("`{}` takes a string, a decimal number or true", key.get_ref());
                return Err((value.span(), what));
            }
        };
        pairs.push((key, text));
    }
    Rule::from_pairs(pairs.iter().map(|(key, text)| (key.get_ref().as_ref(), text.clone())), meanings)
        .map_err(|error| {
            // The place of the key that the error is about, or of the whole rule.
            let about = match &error {
                RuleError::UnknownKey { key, .. } | RuleError::Twice(key) => Some(key.as_str()),
                RuleError::Value { key, .. } => Some(*key),
                _ => None,
            };
            let found = pairs.iter().find(|(key, _)| Some(key.get_ref().as_ref()) == about);
            (found.map_or_else(|| entry.span(), |(key, _)| key.span()), error.to_string())
        })
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&b| b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Meaning;

    fn read(text: &str) -> Result<Vec<Rule>, FileError> {
        static SUPERBLOCK: Meaning = Meaning::new("superblock", "", "", "");
        read_rules(text, &Meanings::new([&SUPERBLOCK]))
    }

    #[track_caller]
    fn wrong(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_a_list_of_rules() {
        let text = "# what goes wrong\n[[fault]]\nname = \"third\"\ndevice = \"/dev/ram1\"\nop = \"write\"\nfail = \"EIO\"\nnth = 3\n\n[[fault]]\nmeaning = \"superblock\"\ntorn = 3\nonce = true\nchance = 0.5\n";
        let rules: Vec<String> = read(text).unwrap().iter().map(Rule::to_string).collect();
        let want = [
            "name=third device=/dev/ram1 op=write fail=EIO nth=3",
            "meaning=superblock torn=3 chance=0.5 times=1",
        ];
        assert_eq!(rules, want);
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn an_error_names_its_line() {
        assert!(
            wrong("[[fault]]\ndrop = true\nnht = 3\n")
                .starts_with("line 3: unknown key `nht`, perhaps `nth`")
        );
        assert!(
            wrong("\n[[fault]]\nfail = \"EOOPS\"").starts_with("line 3: fail = \"EOOPS\" is not the name")
        );
        assert!(wrong("[[fault]]\nname = \"a\"\n\n[[fault]]\n").starts_with("line 1: a rule does one thing"));
        assert!(wrong("[fault]\ndrop = true\n").contains("[[fault]], with two brackets"));
        assert!(wrong("[[fualt]]\ndrop = true\n").starts_with("line 1: `fualt` is nothing here"));
        assert!(wrong("[[fault]]\nsectors = [0, 8]\n").contains("takes a string"));
        assert!(wrong("[[fault]]\nnth = 0x10\ndrop = true").contains("decimal"));
        assert!(wrong("[[fault]\n").starts_with("line 1: "));
        assert!(wrong("fault = 3").contains("two brackets"));
        assert!(wrong("fault = [3]").contains("a table of keys"));
    }
}
