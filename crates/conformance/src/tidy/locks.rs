//! In which order the kernel side takes its locks: docs/src/architecture.md#locks says why.

use super::Finding;
use super::source::code_only;

/// Plain locks of which one is taken while another is held: the file, the outer, the inner, and why. All others are held alone.
const NESTED: &[(&str, &str, &str, &str)] = &[
    (
        "sim/block/src/device/openers.rs",
        "openers",
        "cache",
        "the last close drops the page cache before the next open",
    ),
    ("sim/dm/src/device_mapper.rs", "devices", "names", "a device is found by the name that it has"),
    ("sim/faults/src/injector.rs", "rules", "state", "a rule is copied with how often it struck"),
    ("sim/faults/src/injector.rs", "rules", "rng", "rules are copied with their stream of chance"),
    ("sim/faults/src/injector.rs", "rules", "hits", "rules are copied with what they struck"),
    ("sim/runtime/src/executor.rs", "ready", "scheduler", "the scheduler picks among what is ready"),
    ("sim/runtime/src/executor.rs", "jobs", "shared", "a task takes it that is only spawned under the outer"),
    (
        "sim/targets/snapshot/src/handover.rs",
        "state",
        "state",
        "from the source to the destination, which nothing uses yet",
    ),
    (
        "sim/targets/thin/src/no_space.rs",
        "no_space",
        "binding",
        "whether a write waits for space is the table's to say",
    ),
];

/// Places of the kernel side where a lock is taken in the block in which another is held by name, and the two are no known pair.
pub fn nested_locks(file: &str, source: &str) -> Vec<Finding> {
    if !file.starts_with("sim/") || !file.contains("/src/") {
        return Vec::new();
    }
    let code = code_only(source);
    let mut held: Vec<Held<'_>> = Vec::new();
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !line.trim().is_empty() {
            held.retain(|guard| indent >= guard.indent);
        }
        held.retain(|guard| !line.contains(&format!("drop({})", guard.name)));
        for inner in locks(line) {
            for outer in &held {
                let is_known =
                    NESTED.iter().any(|(place, a, b, _)| (*place, *a, *b) == (file, outer.lock, inner));
                if !is_known {
                    let text = format!(
                        "`{inner}` is locked while `{}` is held: let go of it first, or say in the tidy rules why not",
                        outer.lock
                    );
                    findings.push(Finding::new(file, number + 1, text));
                }
            }
        }
        held.extend(guard(line, indent));
    }
    findings
}

/// A lock that is held under a name until its block ends.
struct Held<'a> {
    indent: usize,
    name: &'a str,
    lock: &'a str,
}

/// The guard that a line binds: `let [mut] NAME = … LOCK.lock();` and nothing behind it. One that is awaited is a lock of another kind.
fn guard(line: &str, indent: usize) -> Option<Held<'_>> {
    let rest = line.trim().strip_prefix("let ")?;
    let (name, value) = rest.strip_prefix("mut ").unwrap_or(rest).split_once(" = ")?;
    let is_kept = [".lock();", ".write();", ".read();"].iter().any(|end| value.ends_with(end));
    let lock = value.rsplit('.').nth(1)?;
    (is_kept && !value.starts_with('*') && is_name(name)).then_some(Held { indent, name, lock })
}

/// The locks that a line takes, by the last name before `.lock()`.
fn locks(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.match_indices(".lock()").filter(|(at, _)| !line[*at..].starts_with(".lock().await"));
    ends.map(|(at, _)| {
        let before = &line[..at];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        &before[start..]
    })
}

fn is_name(word: &str) -> bool {
    word.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str, source: &str) -> Vec<usize> {
        nested_locks(file, source).iter().map(|found| found.line).collect()
    }

    #[test]
    fn locks_within_locks_are_found() {
        let file = "sim/x/src/a.rs";
        assert_eq!(lines(file, "fn f() {\n    let a = self.a.lock();\n    self.b.lock().push(1);\n}\n"), [3]);
        assert_eq!(
            lines(file, "fn f() {\n    {\n        let a = self.a.lock();\n    }\n    self.b.lock();\n}\n"),
            [0; 0]
        );
        assert_eq!(
            lines(file, "fn f() {\n    let a = self.a.lock();\n    drop(a);\n    self.b.lock();\n}\n"),
            [0; 0]
        );
        assert_eq!(
            lines(file, "fn f() {\n    let n = self.a.lock().len();\n    self.b.lock();\n}\n"),
            [0; 0]
        );
        assert_eq!(
            lines(file, "fn f() {\n    let a = self.a.lock();\n    self.b.lock().await;\n}\n"),
            [0; 0]
        );
        assert_eq!(lines("crates/x/src/a.rs", "let a = self.a.lock();\nself.b.lock();\n"), [0; 0]);
        let known = "fn f() {\n    let no_space = self.no_space.lock();\n    self.binding.lock();\n}\n";
        assert_eq!(lines("sim/targets/thin/src/no_space.rs", known), [0; 0]);
        assert_eq!(lines("sim/targets/thin/src/pool.rs", known), [3]);
    }
}
