//! The repository's own rules, each a function from text to findings.

mod citations;
mod files;
mod layers;
mod locks;
mod manifests;
mod prose;
mod releases;
mod source;
mod targets;
mod words;

pub use citations::{Shelf, citations, recordings_of_page};
pub use files::{dead_files, file_name, length, tracked_files};
pub use layers::{arrows, target_independence};
pub use locks::nested_locks;
pub use manifests::{Manifest, outside_reasons, shared_versions};
pub use prose::prose;
pub use releases::releases;
pub use source::code_only;
pub use targets::{target_names, target_parts};
pub use words::{banned_paths, banned_words, kernel_side_bans, unsafe_code};

use std::fmt;

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path of the file from the top of the repository.
    pub file: String,
    /// Line number from 1, or 0 when it is about the file as a whole.
    pub line: usize,
    /// What is wrong and what would be right.
    pub text: String,
}

impl Finding {
    /// A finding about `line` (from 1; 0 for the whole file) of `file`.
    pub fn new(file: &str, line: usize, text: impl Into<String>) -> Finding {
        Finding { file: file.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}
