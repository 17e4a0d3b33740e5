//! Which Linux a machine is, is a value: the kernel side asks for a quirk, never for a release.

use super::Finding;
use super::source::code_and_literals;

/// Where kernels are told apart.
const PLACES: [&str; 3] =
    ["sim/runtime/src/personality.rs", "sim/machine/src/personality.rs", "sim/machine/src/personality/"];

/// Says where code of the kernel side names a release of Linux in a literal.
pub fn releases(file: &str, source: &str) -> Vec<Finding> {
    let is_meant = file.starts_with("sim/") && file.contains("/src/");
    if !is_meant || PLACES.iter().any(|place| file.starts_with(place)) {
        return Vec::new();
    }
    let code = code_and_literals(source);
    let lines = code.lines().enumerate().filter(|(_, line)| names_release(line));
    let text = "a release of Linux in code: name the behaviour, as a quirk of the machine's personality";
    lines.map(|(at, _)| Finding::new(file, at + 1, text)).collect()
}

/// Whether a line has `6.N` or `7.N` as a number of its own between quotation marks.
fn names_release(line: &str) -> bool {
    let quoted = line.split('"').skip(1).step_by(2);
    let is_release = |word: &str| {
        let Some((major, minor)) = word.split_once('.') else { return false };
        matches!(major, "6" | "7") && minor.starts_with(|c: char| c.is_ascii_digit())
    };
    quoted.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.')).any(is_release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_in_code_are_found() {
        let found = |file: &str, source: &str| releases(file, source).len();
        assert_eq!(found("sim/dm/src/a.rs", "let kernel = \"6.12\";"), 1);
        assert_eq!(found("sim/dm/src/a.rs", "if release == \"7.2.7\" {}"), 1);
        assert_eq!(found("sim/dm/src/a.rs", "// as Linux 6.12 does\nlet n = 6.12;"), 0);
        assert_eq!(found("sim/dm/src/a.rs", "log(\"takes 16.12 s\")"), 0);
        assert_eq!(found("sim/machine/src/personality/v7.rs", "name: \"7.2\""), 0);
        assert_eq!(found("crates/cli/src/a.rs", "\"6.12\""), 0);
        assert_eq!(
            found("sim/dm/src/a.rs", "#[cfg(test)]\nmod tests {\n    const K: &str = \"6.12\";\n}"),
            0
        );
    }
}
