//! What comments and pages cite can be opened: sections of the book, recorded cases, files of the repository.

use super::Finding;
use super::source::{Block, comments, paragraphs};
use std::collections::BTreeSet;

/// What a citation may lead to.
pub struct Shelf<'a> {
    /// Every file of the repository, as paths from its top.
    pub files: &'a BTreeSet<String>,
    /// The anchors of the headings of a page, which is one of `files`.
    pub anchors: &'a dyn Fn(&str) -> Vec<String>,
}

/// Folders from which a citation may name a page or file, besides the top, the citing file's own and its crate's.
const ROOTS: &[&str] = &["docs/src/", "crates/conformance/", "crates/", "sim/"];

/// Where recordings lie. A case is named without its folder and without the end of its file's name.
const RECORDINGS: &[(&str, &str)] = &[
    ("crates/conformance/golden/cases/", ".sh"),
    ("crates/conformance/", ".out"),
    ("crates/conformance/", ".steps"),
    ("crates/conformance/golden/", ".sh"),
    ("crates/conformance/golden/", ""),
    ("crates/cli/tests/", ""),
    ("", ""),
];

/// Folders of the repository: a word that begins with one of them is a path.
const TOP_FOLDERS: &[&str] = &["sim/", "crates/", "docs/", "benches/", "findings/"];

impl Shelf<'_> {
    /// The file that `path` means where `file` cites it.
    fn resolve(&self, file: &str, path: &str) -> Option<String> {
        let own = file.match_indices('/').map(|(at, _)| &file[..=at]).rev();
        let all = std::iter::once("").chain(ROOTS.iter().copied()).chain(own);
        all.map(|root| format!("{root}{path}")).find(|path| self.files.contains(path))
    }

    /// Whether there is a folder or file of this path; `*` and words in capitals stand for anything.
    fn has_path(&self, path: &str) -> bool {
        let wanted: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let stands_for_all = |part: &str| part.contains('*') || part.chars().any(char::is_uppercase);
        self.files.iter().any(|file| {
            let mut parts = file.split('/');
            wanted.iter().all(|want| parts.next().is_some_and(|part| part == *want || stands_for_all(want)))
        })
    }

    /// Whether `case` names a recording, or with `*` at its end several.
    fn is_recorded(&self, case: &str) -> bool {
        RECORDINGS.iter().any(|(folder, end)| match case.strip_suffix('*') {
            Some(start) => {
                let start = format!("{folder}{start}");
                start.contains('/')
                    && self.files.range(start.clone()..).next().is_some_and(|f| f.starts_with(&start))
            }
            None => self.files.contains(&format!("{folder}{case}{end}")),
        })
    }

    /// What is wrong with a word of a comment in `file`, if it is a page, a path, or neither.
    fn judge_word(&self, file: &str, word: &str) -> Option<String> {
        if word.contains("://") || word.contains(['{', '*']) {
            return None;
        }
        let (path, anchor) = word.split_once('#').map_or((word, None), |(path, anchor)| (path, Some(anchor)));
        if path.ends_with(".md") && path.len() > ".md".len() {
            let Some(page) = self.resolve(file, path) else {
                return Some(format!("there is no page `{path}`"));
            };
            let missing = anchor.filter(|anchor| !(self.anchors)(&page).iter().any(|a| a == anchor))?;
            return Some(format!("`{page}` has no heading `#{missing}`"));
        }
        if TOP_FOLDERS.iter().any(|top| path.starts_with(top)) {
            return (!self.has_path(path)).then(|| format!("there is no `{path}` in the repository"));
        }
        let is_source = path.ends_with(".rs") && path.contains('/') && !path.starts_with('/');
        (is_source && self.resolve(file, path).is_none())
            .then(|| format!("there is no `{path}` here: name it from the top of the repository"))
    }

    fn judge(&self, file: &str, block: &Block) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |word: &str, text: String| findings.push(Finding::new(file, block.line_of(word), text));
        for word in block.text.split(|c: char| c.is_whitespace() || "()`\"',;|[]<>".contains(c)) {
            let word = word.trim_end_matches(['.', ':']).trim_start_matches("../");
            if let Some(text) = self.judge_word(file, word) {
                say(word, text);
            }
        }
        for (at, mark) in block.text.match_indices("(recorded") {
            if !block.text[at + mark.len()..].starts_with(": `") {
                say(mark, "name what shows it: (recorded: `THEME/CASE`)".to_owned());
            }
        }
        for mark in ["ecorded: `", "ecorded cases `"] {
            for (at, _) in block.text.match_indices(mark) {
                for case in listed(&block.text[at + mark.len() - 1..]) {
                    if !self.is_recorded(case) {
                        say(case, format!("there is no recording `{case}`"));
                    }
                }
            }
        }
        findings
    }
}

/// The words in backquotes at the start of `text`, as many as follow each other with commas, semicolons and "and".
fn listed(mut text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    while let Some((word, rest)) = text.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        words.push(word);
        text = rest.trim_start_matches([',', ';', ' ']).trim_start_matches("and ");
    }
    words
}

/// Comments of a Rust file that cite what is not there: a page, a heading, a recording, a path; a bare "recorded" that
/// names nothing; and sections by number, which no reader can follow.
pub fn citations(file: &str, source: &str, shelf: &Shelf<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for block in comments(source) {
        findings.extend(shelf.judge(file, &block));
        let numbered = |word: &str| {
            block
                .text
                .match_indices(word)
                .any(|(at, _)| block.text[at + word.len()..].starts_with(|c: char| c.is_ascii_digit()))
        };
        if let Some(word) = ["section ", "sections "].into_iter().find(|word| numbered(word)) {
            let text = "a section by its number: cite `kernel/PAGE.md#heading`";
            findings.push(Finding::new(file, block.line_of(word.trim_end()), text));
        }
    }
    findings
}

/// A page of the book that names a recording that is not there. Another test follows its links.
pub fn recordings_of_page(file: &str, page: &str, shelf: &Shelf<'_>) -> Vec<Finding> {
    let recorded = |finding: &Finding| finding.text.contains("record");
    paragraphs(page).iter().flat_map(|block| shelf.judge(file, block)).filter(recorded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(comment: &str) -> Vec<String> {
        let files: BTreeSet<String> = [
            "docs/src/kernel/dm-core.md",
            "crates/conformance/golden/cases/linear/bad-args.sh",
            "crates/conformance/raw/ioctls.out",
            "crates/cli/tests/descriptors/flags.txt",
            "sim/dm/src/live.rs",
            "sim/dm/src/target.rs",
        ]
        .map(str::to_owned)
        .into();
        let anchors = |_: &str| vec!["flags".to_owned()];
        let shelf = Shelf { files: &files, anchors: &anchors };
        let findings = citations("sim/dm/src/target.rs", comment, &shelf);
        findings.into_iter().map(|f| format!("{}: {}", f.line, f.text)).collect()
    }

    #[test]
    fn what_is_there_may_be_cited() {
        for right in [
            "// See kernel/dm-core.md#flags, and `docs/src/kernel/dm-core.md`.",
            "/// It wraps (recorded: `linear/bad-args`, `raw/ioctls` and `descriptors/flags.txt`).",
            "//! Behaviour: recorded cases `linear/*`.",
            "// As `sim/dm/src/live.rs`, src/live.rs and sim/dm say, or sim/NAME/src.",
            "let s = \"(recorded) nowhere.md section 5\";",
            "// What was recorded is compared.",
        ] {
            assert_eq!(found(right), [""; 0], "{right}");
        }
    }

    #[test]
    fn what_is_not_there_may_not() {
        for (wrong, finding) in [
            ("// kernel/thin.md says so", "1: there is no page `kernel/thin.md`"),
            (
                "fn a() {}\n/// As in\n/// kernel/dm-core.md#flag.",
                "3: `docs/src/kernel/dm-core.md` has no heading `#flag`",
            ),
            ("// Wraps (recorded).", "1: name what shows it: (recorded: `THEME/CASE`)"),
            ("// Wraps (recorded: often).", "1: name what shows it: (recorded: `THEME/CASE`)"),
            ("// (recorded: `linear/bad-args`, `linear/none`)", "1: there is no recording `linear/none`"),
            ("// recorded cases `striped/*`", "1: there is no recording `striped/*`"),
            ("//! In section 5.4.", "1: a section by its number: cite `kernel/PAGE.md#heading`"),
            (
                "// dmlab-dm/src/live.rs",
                "1: there is no `dmlab-dm/src/live.rs` here: name it from the top of the repository",
            ),
            ("// see sim/dm/src/dead.rs.", "1: there is no `sim/dm/src/dead.rs` in the repository"),
        ] {
            assert_eq!(found(wrong), [finding], "{wrong}");
        }
    }

    #[test]
    fn pages_name_recordings_that_exist() {
        let files = BTreeSet::from(["crates/conformance/golden/cases/linear/bad-args.sh".to_owned()]);
        let shelf = Shelf { files: &files, anchors: &|_| Vec::new() };
        let lines = |page: &str| -> Vec<usize> {
            recordings_of_page("docs/src/a.md", page, &shelf).iter().map(|f| f.line).collect()
        };
        assert_eq!(lines("# A\n\nIt wraps (recorded:\n`linear/bad-args`), see [b](gone.md)."), [0; 0]);
        assert_eq!(lines("# A\n\nIt wraps\n(recorded: `linear/gone`)."), [4]);
    }
}
