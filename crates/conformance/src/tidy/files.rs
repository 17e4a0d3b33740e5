//! Rules about files: which there are, how they are named, how long they get.

use super::Finding;
use super::source::code_only;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest Rust file in lines. Past about 600 a file wants to be split by meaning; past this the test insists.
const LINES_MAX: usize = 900;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "misc", "common", "helpers", "stuff"];

/// Every file of the repository at `top` that git tracks or would track, as paths from the top, sorted.
///
/// # Errors
/// What `git` said when it could not list them.
pub fn tracked_files(top: &Path) -> Result<Vec<String>, String> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    // The repository may belong to another user than the one who tests it (a mounted folder in a container).
    let safe = format!("safe.directory={}", top.display());
    let output = Command::new("git").args(["-c", &safe]).args(list).current_dir(top).output();
    let output = output.map_err(|e| format!("git: {e}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let names = output.stdout.split(|&b| b == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
    let unique: BTreeSet<String> = names.filter(|name| top.join(name).is_file()).collect();
    Ok(unique.into_iter().collect())
}

/// Says when a Rust file or one of its folders is named after nothing, or a module's first file is not beside its folder.
pub fn file_name(file: &str) -> Vec<Finding> {
    if file.ends_with("/mod.rs") && file.contains("/src/") {
        return vec![Finding::new(file, 0, "a module is NAME.rs beside the folder NAME")];
    }
    let hollow = Path::new(file).with_extension("");
    let hollow = hollow.iter().filter_map(|part| part.to_str()).find(|part| EMPTY_NAMES.contains(part));
    hollow
        .map(|part| Finding::new(file, 0, format!("`{part}` says nothing: name it after what is inside")))
        .into_iter()
        .collect()
}

/// Says when a Rust file has grown too long.
pub fn length(file: &str, source: &str) -> Vec<Finding> {
    let lines = source.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![Finding::new(file, LINES_MAX, format!("{lines} lines, at most {LINES_MAX}: split it by meaning"))]
}

/// Rust files below a `src` folder that no `mod` reaches from a crate's root.
///
/// `files` are paths from the top of the repository; `read` gives a file's text.
pub fn dead_files(files: &[String], read: impl Fn(&str) -> String) -> Vec<Finding> {
    let all: BTreeSet<&str> = files.iter().map(String::as_str).filter(|f| f.ends_with(".rs")).collect();
    let in_src: Vec<&str> = all.iter().copied().filter(|f| f.contains("/src/")).collect();
    let mut waiting: Vec<&str> = in_src.iter().copied().filter(|f| is_root(f)).collect();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    while let Some(file) = waiting.pop() {
        if !reached.insert(file) {
            continue;
        }
        let text = read(file);
        for candidate in children(file, &text) {
            waiting.extend(all.get(candidate.to_str().unwrap_or_default()));
        }
    }
    let dead = in_src.into_iter().filter(|f| !reached.contains(f));
    dead.map(|f| Finding::new(f, 0, "no `mod` reaches this file: it is never compiled")).collect()
}

fn is_root(file: &str) -> bool {
    let inside = file.rsplit_once("/src/").map(|(_, inside)| inside).unwrap_or_default();
    matches!(inside, "lib.rs" | "main.rs")
        || inside.strip_prefix("bin/").is_some_and(|name| !name.contains('/'))
}

/// Every file that `file` may pull in by `mod NAME;`.
fn children(file: &str, source: &str) -> Vec<PathBuf> {
    let path = Path::new(file);
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let below = if matches!(stem, "lib" | "main" | "mod") || is_root(file) {
        folder.to_path_buf()
    } else {
        folder.join(stem)
    };
    let mut found = Vec::new();
    // `#[cfg(test)] mod tests;` counts as well, so the mark is taken out before tests are blanked.
    let code = code_only(&source.replace("#[cfg(test)]", ""));
    let words: Vec<&str> = code.split_whitespace().collect();
    for pair in words.windows(2) {
        if let ("mod", Some(name)) = (pair[0], pair[1].strip_suffix(';')) {
            found.push(below.join(format!("{name}.rs")));
            found.push(below.join(name).join("mod.rs"));
        }
    }
    for line in source.lines() {
        if let Some(rest) = line.trim().strip_prefix("#[path = \"") {
            found.extend(rest.split('"').next().map(|name| folder.join(name)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hollow_names_are_found() {
        assert_eq!(file_name("sim/dm/src/utils.rs").len(), 1);
        assert_eq!(file_name("sim/common/src/lib.rs").len(), 1);
        assert_eq!(file_name("sim/dm/src/table.rs").len(), 0);
        assert_eq!(file_name("sim/dm/src/stats/mod.rs").len(), 1);
        assert_eq!(file_name("sim/machine/tests/machine/kit/mod.rs").len(), 0);
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(length("a.rs", &"x\n".repeat(LINES_MAX)).len(), 0);
        assert_eq!(length("a.rs", &"x\n".repeat(LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn dead_files_are_found() {
        let files = [
            ("a/src/lib.rs", "mod b; pub mod c;\n#[cfg(test)]\nmod tests;\n// mod dead;"),
            ("a/src/b.rs", "mod deep;"),
            ("a/src/b/deep.rs", ""),
            ("a/src/c/mod.rs", "mod inner;"),
            ("a/src/c/inner.rs", ""),
            ("a/src/tests.rs", ""),
            ("a/src/dead.rs", ""),
            ("a/src/bin/tool.rs", ""),
            ("a/tests/whole.rs", ""),
        ];
        let names: Vec<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        let read = |name: &str| files.iter().find(|(n, _)| *n == name).unwrap().1.to_owned();
        let dead = dead_files(&names, read);
        assert_eq!(dead.iter().map(|f| f.file.as_str()).collect::<Vec<_>>(), ["a/src/dead.rs"]);
    }
}
