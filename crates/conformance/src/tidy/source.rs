//! Rust source without what isn't code.

/// `source` with comments, the insides of string and character literals, and items under `#[cfg(test)]` blanked out.
///
/// Lines stay where they are, so a position in the answer is a position in the source. The rules of the kernel side
/// don't hold for its unit tests (a test of thread safety needs threads), so those are blanked as well.
pub fn code_only(source: &str) -> String {
    without_tests(&blanked(source, false))
}

/// `source` with comments and the lines of items under `#[cfg(test)]` blanked out, and with its literals.
pub(super) fn code_and_literals(source: &str) -> String {
    let (kept, code) = (blanked(source, true), blanked(source, false));
    let mut tests = vec![false; code.lines().count() + 1];
    let mut from = 0;
    while let Some(at) = code[from..].find(TEST_MARK) {
        let start = from + at;
        let end = start + item_end(&code[start..]);
        let line = |at: usize| code[..at].matches('\n').count();
        tests[line(start)..=line(end)].fill(true);
        from = end.max(start + TEST_MARK.len());
    }
    let lines = kept.lines().zip(tests).map(|(line, is_test)| if is_test { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Text that belongs together: the comment lines that follow each other, or a paragraph of a page.
pub(super) struct Block {
    /// The number of its first line, from 1.
    first: usize,
    /// Its lines, without the marks of comments.
    lines: Vec<String>,
    /// Its lines, joined with blanks.
    pub(super) text: String,
}

impl Block {
    fn new(first: usize, lines: Vec<String>) -> Block {
        let text = lines.join(" ");
        Block { first, lines, text }
    }

    /// Its first paragraph.
    pub(super) fn first_paragraph(&self) -> String {
        let lines: Vec<&str> =
            self.lines.iter().map(String::as_str).take_while(|line| !line.is_empty()).collect();
        lines.join(" ")
    }

    /// The number of the line on which `word` begins; the first one if the word spans two.
    pub(super) fn line_of(&self, word: &str) -> usize {
        self.first + self.lines.iter().position(|line| line.contains(word)).unwrap_or(0)
    }
}

/// The line comments of `source`, those on lines that follow each other as one.
pub(super) fn comments(source: &str) -> Vec<Block> {
    comments_with(source, |_| true)
}

/// The doc comments of `source` that are line comments.
pub(super) fn doc_comments(source: &str) -> Vec<Block> {
    comments_with(source, |piece| {
        piece.starts_with("///") && !piece.starts_with("////") || piece.starts_with("//!")
    })
}

fn comments_with(source: &str, is_meant: impl Fn(&str) -> bool) -> Vec<Block> {
    let mut marked = String::new();
    scan(source, |piece, is_comment| {
        if is_comment && piece.starts_with("//") {
            if !is_meant(piece) {
                return;
            }
            let text = piece.trim_start_matches('/').trim_start_matches('!');
            marked.push_str("//");
            marked.push_str(text);
        } else {
            marked.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
    });
    let lines = marked.lines().map(|line| Some(line.split_once("//")?.1.trim().to_owned()));
    blocks(lines)
}

/// The paragraphs of a page.
pub(super) fn paragraphs(page: &str) -> Vec<Block> {
    blocks(page.lines().map(|line| (!line.trim().is_empty()).then(|| line.trim().to_owned())))
}

/// Joins the lines that are there and follow each other.
fn blocks(lines: impl Iterator<Item = Option<String>>) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut first = 1;
    for (number, line) in lines.chain(std::iter::once(None)).enumerate() {
        match line {
            Some(line) => {
                if open.is_empty() {
                    first = number + 1;
                }
                open.push(line);
            }
            None if !open.is_empty() => found.push(Block::new(first, std::mem::take(&mut open))),
            None => {}
        }
    }
    found
}

/// `source` without comments, and without the insides of literals unless they are kept.
fn blanked(source: &str, keeps_literals: bool) -> String {
    let mut out = String::with_capacity(source.len());
    scan(source, |piece, is_comment| {
        let is_code = !is_comment && (keeps_literals || !is_literal(piece));
        out.extend(piece.chars().map(|c| if is_code || c == '\n' { c } else { ' ' }));
    });
    out
}

/// Whether a piece that [`scan`] found is a literal: of more than one character, or a lone quote that nothing ends.
fn is_literal(piece: &str) -> bool {
    piece.chars().nth(1).is_some() || piece == "\""
}

/// Goes through `source` piece by piece, each a comment (and told as such), a whole literal, or one character of code.
fn scan(source: &str, mut piece: impl FnMut(&str, bool)) {
    let chars: Vec<char> = source.chars().collect();
    let mut i = 0;
    while i < chars.len() {
        let rest = &chars[i..];
        let (len, is_comment) = if rest.starts_with(&['/', '/']) {
            (rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with(&['/', '*']) {
            (block_comment(rest), true)
        } else if rest[0] == '"' {
            (string(rest), false)
        } else if let Some(len) = raw_string(rest, i.checked_sub(1).map(|p| chars[p])) {
            (len, false)
        } else if let Some(len) = character(rest) {
            (len, false)
        } else {
            (1, false)
        };
        let text: String = rest[..len.min(rest.len())].iter().collect();
        piece(&text, is_comment);
        i += len;
    }
}

/// Length of the (nested) block comment at the start of `rest`.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < rest.len() {
        if rest[i..].starts_with(&['/', '*']) {
            depth += 1;
            i += 2;
        } else if rest[i..].starts_with(&['*', '/']) {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    rest.len()
}

/// Length of the string literal at the start of `rest`, quotes included.
fn string(rest: &[char]) -> usize {
    let mut i = 1;
    while i < rest.len() {
        match rest[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    rest.len()
}

/// Length of the raw string literal at the start of `rest`; `before` is the character in front of it.
fn raw_string(rest: &[char], before: Option<char>) -> Option<usize> {
    // The `r` of `for"` would be one; a raw string's `r` stands alone or behind a `b` or `c` that does.
    if rest[0] != 'r' || before.is_some_and(|c| (c.is_alphanumeric() || c == '_') && c != 'b' && c != 'c') {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = 2 + hashes;
    let len = rest[body..].windows(close.len()).position(|w| w == close).map(|at| body + at + close.len());
    Some(len.unwrap_or(rest.len()))
}

/// Length of the character literal at the start of `rest`; a lifetime is none.
fn character(rest: &[char]) -> Option<usize> {
    if rest[0] != '\'' {
        return None;
    }
    if rest.get(1) == Some(&'\\') {
        return rest[2..].iter().skip(1).position(|&c| c == '\'').map(|at| at + 4);
    }
    (rest.get(2) == Some(&'\'')).then_some(3)
}

const TEST_MARK: &str = "#[cfg(test)]";

fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(TEST_MARK) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let end = item_end(tail);
        out.extend(tail[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// Byte length of the item at the start of `code`: up to its `;` or the end of its braces.
fn item_end(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth <= 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Whether `word` stands in `line` with no identifier character on either side.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let starts_clean = !word.starts_with(is_part) || !before.is_some_and(is_part);
        let ends_clean = !word.ends_with(is_part) || !after.is_some_and(is_part);
        starts_clean && ends_clean
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left_and_lines_stay() {
        let source = "a(); // x\n/* y /* z */ */ b(\"s \\\" t\", r#\"raw \" in\"#, 'c', '\\n', '\\'');\nfn f<'a>() {}\n";
        let code = code_only(source);
        assert_eq!(code.lines().count(), source.lines().count());
        for gone in ["x", "y", "z", "s ", "raw", "'c'", "\\n"] {
            assert!(!code.contains(gone), "{gone} is still in {code}");
        }
        for kept in ["a();", "b(", "fn f<'a>() {}"] {
            assert!(code.contains(kept), "{kept} is gone from {code}");
        }
    }

    #[test]
    fn unit_tests_are_not_held_to_the_rules() {
        let code = code_only(
            "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { loop {} } }\nfn c() {}\n#[cfg(test)]\nmod t;\nfn d() {}",
        );
        assert!(!code.contains("fn b") && !code.contains("mod t"));
        assert!(code.contains("fn a") && code.contains("fn c") && code.contains("fn d"));
    }

    #[test]
    fn comments_are_found_and_joined() {
        let source = "//! a\n//! b\n\nlet s = \"// no\"; // c\n/// d\nfn f() {} /* e */\n";
        let found = comments(source);
        let texts: Vec<&str> = found.iter().map(|block| block.text.as_str()).collect();
        assert_eq!(texts, ["a b", "c d"]);
        assert_eq!((found[0].line_of("b"), found[1].line_of("c"), found[1].line_of("d")), (2, 4, 5));
        assert_eq!(paragraphs("a\nb\n\nc\n").len(), 2);
    }

    #[test]
    fn words_stand_alone() {
        assert!(has_word("use std::thread;", "std::thread"));
        assert!(!has_word("use std::thread_local;", "std::thread"));
        assert!(!has_word("let operand = 1;", "rand"));
        assert!(has_word("rand::random()", "rand"));
    }
}
