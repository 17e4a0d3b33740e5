//! Judges: what is right on a disk whatever a program does.
//!
//! They read the bytes themselves and share no code with the targets that wrote them.

mod mirror;
mod snapshot;
mod thin;

pub use mirror::MirrorLog;
pub use snapshot::SnapshotStore;
pub use thin::ThinCheck;

use std::str::FromStr;
use std::sync::Arc;

use super::Moment;

/// Says whether what is on the disks is sound.
pub trait Judge: Send + Sync {
    /// Its name, for reports.
    fn name(&self) -> &str;

    /// Looks at the disks, before any machine has seen them.
    ///
    /// # Errors
    /// What is wrong.
    fn judge(&self, moment: &Moment<'_>) -> Result<(), String>;
}

impl<J: Judge + ?Sized> Judge for Arc<J> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn judge(&self, moment: &Moment<'_>) -> Result<(), String> {
        (**self).judge(moment)
    }
}

/// A kind of judge that a command line can ask for.
pub struct JudgeKind {
    /// Its name there.
    pub name: &'static str,
    /// The form of its words.
    pub form: &'static str,
    /// Such words.
    pub example: &'static str,
    /// What it checks, as a clause: `the metadata of the thin pool on /dev/ramN`.
    pub checks: &'static str,
    of_words: fn(&str) -> Option<Arc<dyn Judge>>,
}

/// All kinds of judges.
pub static JUDGES: &[&JudgeKind] = &[&thin::KIND, &mirror::KIND, &snapshot::KIND];

impl JudgeKind {
    /// The judge that these words ask for.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn judge(&self, words: &str) -> Result<Arc<dyn Judge>, String> {
        let wrong = || format!("{words:?} is not {}, such as {}", self.form, self.example);
        (self.of_words)(words).ok_or_else(wrong)
    }
}

/// The judge that `NAME:WORDS` asks for.
///
/// # Errors
/// Says which kinds there are, or what a kind's words are.
pub fn judge(text: &str) -> Result<Arc<dyn Judge>, String> {
    let (name, words) = text.split_once(':').unwrap_or((text, ""));
    let kind = JUDGES.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let all: Vec<String> = JUDGES.iter().map(|kind| format!("{}:{}", kind.name, kind.form)).collect();
        format!("no judge is named {name:?}; there are {}", all.join(", "))
    })?;
    kind.judge(words)
}

/// A number in a judge's words.
fn number<T: FromStr>(word: &str) -> Option<T> {
    // `parse` alone would take a `+` in front.
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_judges_or_say_what_would_be() {
        for kind in JUDGES {
            assert!(judge(&format!("{}:{}", kind.name, kind.example)).is_ok(), "{}", kind.name);
            for wrong in ["", "x", ":", "1:2:3"] {
                let error = judge(&format!("{}:{wrong}", kind.name)).map(drop).unwrap_err();
                assert!(
                    error.ends_with(&format!("is not {}, such as {}", kind.form, kind.example)),
                    "{error}"
                );
            }
        }
        assert!(judge("mirror-log:9:0,1,2:1024:2048").is_ok());
        for wrong in
            ["2", "2:0:16:64", "2:0,1:0:64", "2:0,x:16:64", "2:0,1:16", "+2:0,1:16:64", "2:0,1:16:64:"]
        {
            assert!(judge(&format!("mirror-log:{wrong}")).is_err(), "{wrong}");
        }
        for wrong in ["1", "1:", ":1", "x:1"] {
            assert!(judge(&format!("snapshot-store:{wrong}")).is_err(), "{wrong}");
        }
        let error = judge("odd").map(drop).unwrap_err();
        assert!(error.contains("thin-check:N, mirror-log:LOG:LEG,LEG:REGION:LEN"), "{error}");
    }
}
