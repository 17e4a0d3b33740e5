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

/// `source` without comments, and without the insides of literals unless they are kept.
fn blanked(source: &str, keeps_literals: bool) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let mut i = 0;
    while i < chars.len() {
        let rest = &chars[i..];
        let is_comment = rest.starts_with(&['/', '/']) || rest.starts_with(&['/', '*']);
        let end = if rest.starts_with(&['/', '/']) {
            i + rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
        } else if rest.starts_with(&['/', '*']) {
            i + block_comment(rest)
        } else if rest[0] == '"' {
            i + string(rest)
        } else if let Some(len) = raw_string(rest, i.checked_sub(1).map(|p| chars[p])) {
            i + len
        } else if let Some(len) = character(rest) {
            i + len
        } else {
            out.push(chars[i]);
            i += 1;
            continue;
        };
        let keeps = keeps_literals && !is_comment;
        out.extend(chars[i..end].iter().map(|&c| if keeps { c } else { blank(c) }));
        i = end;
    }
    out
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
    fn words_stand_alone() {
        assert!(has_word("use std::thread;", "std::thread"));
        assert!(!has_word("use std::thread_local;", "std::thread"));
        assert!(!has_word("let operand = 1;", "rand"));
        assert!(has_word("rand::random()", "rand"));
    }
}
