//! How doc comments are written: each stands alone, with a first sentence that has its subject.

use super::Finding;
use super::source::{doc_comments, has_word};

/// Beginnings that mean nothing without the comment above, which rustdoc shows elsewhere or not at all.
const LEANING: &[&str] = &["The same", "Same as", "As above", "As before", "Likewise", "Ditto", "See above"];

/// First words that stand for something that is named elsewhere. On the kernel side a comment names its subject.
const PRONOUNS: &[&str] = &["It", "Its", "They", "Them", "Their"];

/// Words for people. Code is no person: say "the caller", "a waiter", "the layer that holds the bio".
const PEOPLE: &[&str] = &[
    "who", "Who", "whoever", "Whoever", "whom", "Whom", "nobody", "Nobody", "somebody", "Somebody", "anybody",
];

/// Doc comments that do not stand alone: they begin with "The same" or its like, or their first paragraph is no
/// sentence with an end; and, on the kernel side, those that begin with a pronoun, and words for people.
pub fn prose(file: &str, source: &str) -> Vec<Finding> {
    let is_kernel_side = file.starts_with("sim/");
    let mut findings = Vec::new();
    for block in doc_comments(source) {
        let mut say = |word: &str, text: String| findings.push(Finding::new(file, block.line_of(word), text));
        let begins =
            LEANING.iter().find(|begin| block.text.starts_with(**begin) && has_word(&block.text, begin));
        if let Some(begin) = begins {
            say(
                begin,
                format!("a doc comment that begins with `{begin}`: say what it does, for it is read alone"),
            );
        }
        let first = block.first_paragraph();
        if !first.ends_with(['.', ':', '?', '!', '…', ')', '`', '|', '"']) {
            say("", format!("a first line without an end: `…{}`", last_words(&first)));
        }
        if let (Some(word), true) =
            (PRONOUNS.iter().find(|word| first.split(' ').next() == Some(word)), is_kernel_side)
        {
            say(
                word,
                format!("a doc comment that begins with `{word}`: name its subject, for it is read alone"),
            );
        }
        let prose = without_inline_code(&block.text);
        let person = PEOPLE.iter().find(|word| has_word(&prose, word));
        if let (Some(word), true) = (person, is_kernel_side) {
            say(word, format!("`{word}` for code: name the caller, the waiter, the layer"));
        }
    }
    findings
}

fn last_words(text: &str) -> &str {
    let start = text.char_indices().rev().nth(30).map_or(0, |(at, _)| at);
    &text[start..]
}

/// `text` without what stands in backquotes.
fn without_inline_code(text: &str) -> String {
    text.split('`').step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str, source: &str) -> Vec<usize> {
        prose(file, source).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_doc_comment_stands_alone() {
        for right in [
            "/// Counts the bio in.\nfn a() {}",
            "/// Returns these bytes,\n/// shared.\n///\n/// The same holds for others\nfn a() {}",
            "// The same, in a comment that is no doc\nfn a() {}",
            "let s = \"/// The same\";",
            "//! Picture:\n//!\n//! ```text\n//! who\n//! ```",
        ] {
            assert_eq!(lines("crates/a.rs", right), [0; 0], "{right}");
        }
        for wrong in [
            "/// The same for writes.\nfn a() {}",
            "/// As above.\nfn a() {}",
            "/// Counts the bio in\nfn a() {}",
            "/// Counts the bio\n/// in\n///\n/// And more.\nfn a() {}",
        ] {
            assert_eq!(lines("crates/a.rs", wrong), [1], "{wrong}");
        }
    }

    #[test]
    fn code_is_no_person() {
        assert_eq!(lines("sim/a.rs", "/// Wakes all waiters.\n///\n/// Later nobody waits."), [3]);
        assert_eq!(lines("sim/a.rs", "//! Whoever holds it ends it."), [1]);
        assert_eq!(lines("sim/a.rs", "/// Its number.\nfn a() {}"), [1]);
        assert_eq!(lines("crates/a.rs", "/// Its number.\nfn a() {}"), [0; 0]);
        assert_eq!(lines("sim/a.rs", "/// The user `nobody`, whose number is 65534."), [0; 0]);
        assert_eq!(lines("crates/a.rs", "/// Whoever runs the tests."), [0; 0]);
    }
}
