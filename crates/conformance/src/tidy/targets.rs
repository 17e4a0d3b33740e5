//! What belongs to one target stands in the places that are the target's own.

use super::Finding;
use super::source::code_and_literals;

/// Names that are words of the language or of the field as well, so that where they stand says nothing.
const ORDINARY: &[&str] = &["linear", "zero", "error", "delay", "switch", "thin", "snapshot", "striped"];

/// Places that are about targets one by one, or that list them, each with its reason.
const PLACES: &[(&str, &str)] = &[
    ("crates/control/src/targets.rs", "the list of what user space knows of targets"),
    ("crates/control/src/status.rs", "the list of typed status lines"),
    ("crates/dmlab/src/force.rs", "the list of forced states"),
    ("crates/dmlab/src/crash/judge.rs", "the list of judges"),
    ("crates/dmlab/src/crash.rs", "the names that this module gives away"),
    ("crates/dmlab/src/prove.rs", "the list of the stacks that random workloads run on"),
    ("crates/cli/src/json.rs", "the list of typed status lines as JSON"),
    ("crates/cli/src/tour", "a story that is told with certain targets"),
    ("crates/conformance/src/differ", "the list of random tables"),
    ("crates/fuzz/", "the list of what is fuzzed"),
];

/// Names in places that are not theirs, each with its reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("mirror", "crates/server/src/front", "the folder in which a front mirrors simulated paths"),
    ("mirror", "crates/fronts/preload", "the folder in which a front mirrors simulated paths"),
    ("mirror", "crates/shim-proto", "the folder in which a front mirrors simulated paths"),
    ("multipath", "crates/view/src", "the parameters of its module, which the machine answers"),
    ("multipath", "crates/shim-proto/src/areas.rs", "the folder of its module below /sys"),
    ("multipath", "crates/fronts/preload/src/layer.rs", "folders below /run of the program of this name"),
    ("multipath", "crates/shim-proto/src/hosts.rs", "the host's program and module of this name"),
    ("log-writes", "crates/replay-log/", "the tool that reads and replays its logs"),
    ("multipath", "crates/xtask/src/needs.rs", "the program of this name"),
    ("thin-pool", "crates/control/src/targets/thin.rs", "its other half"),
    ("thin-pool", "crates/dmlab/src/pool.rs", "pools of a lab"),
    ("thin-pool", "crates/cli/src/thin", "the tools of pools"),
    ("thin-pool", "crates/conformance/src/thin_sequences", "sequences of messages to pools"),
    ("thin-pool", "crates/shim-proto/src/hosts.rs", "the host's module of this name"),
    ("log-writes", "crates/replay-log/", "the tool that replays its logs"),
    ("snapshot-merge", "crates/control/src/targets/snapshot.rs", "a text of the constructor that they share"),
];

/// Parts of a target that are found elsewhere than its name says: the target, the part, where it is or why there is none.
const ELSEWHERE: &[(&str, Part, &str)] = &[
    ("snapshot-origin", Part::Page, "docs/src/targets/snapshot.md"),
    ("snapshot-merge", Part::Page, "docs/src/targets/snapshot.md"),
    ("snapshot-origin", Part::Cases, "crates/conformance/golden/cases/snapshot/"),
    ("snapshot-merge", Part::Cases, "crates/conformance/golden/cases/snapshot/"),
    ("thin-pool", Part::Cases, "crates/conformance/golden/cases/thin/"),
    ("error", Part::Cases, "crates/conformance/golden/cases/error-zero/"),
    ("zero", Part::Cases, "crates/conformance/golden/cases/error-zero/"),
    ("switch", Part::Cases, "crates/conformance/golden/cases/switch-unstriped/"),
    ("unstriped", Part::Cases, "crates/conformance/golden/cases/switch-unstriped/"),
    // Random sequences and tables of it were compared with Linux; its texts, messages and status are held by unit tests.
    ("ebs", Part::Cases, "sim/targets/basic/src/ebs"),
];

/// What each target has outside of the kernel side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Its parameters, status, messages and form.
    Control,
    /// Its page.
    Page,
    /// Its recorded cases.
    Cases,
}

impl Part {
    const ALL: [Part; 3] = [Part::Control, Part::Page, Part::Cases];

    /// Where it is by its target's name; a folder ends with a slash.
    fn place(self, target: &str) -> String {
        match self {
            Part::Control => format!("crates/control/src/targets/{}.rs", target.replace('-', "_")),
            Part::Page => format!("docs/src/targets/{target}.md"),
            Part::Cases => format!("crates/conformance/golden/cases/{target}/"),
        }
    }
}

/// Parts that a target type of the machine lacks, among all `files`.
pub fn target_parts(target: &str, files: &[String]) -> Vec<Finding> {
    let lacks = Part::ALL.into_iter().filter_map(|part| {
        let elsewhere = ELSEWHERE.iter().find(|(name, other, _)| *name == target && *other == part);
        let place = elsewhere.map_or_else(|| part.place(target), |(_, _, place)| (*place).to_owned());
        let is_there = files.iter().any(|file| file.starts_with(&place));
        (!is_there).then(|| {
            let text =
                format!("the target `{target}` has none: write it, or say in the tidy rules where it is");
            Finding::new(&place, 0, text)
        })
    });
    lacks.collect()
}

/// Lines of a file outside of tests that name one of `targets` in a place which is not the target's own.
pub fn target_names(file: &str, source: &str, targets: &[&str]) -> Vec<Finding> {
    if PLACES.iter().any(|(place, _)| file.starts_with(place)) {
        return Vec::new();
    }
    let code = code_and_literals(source);
    let mut findings = Vec::new();
    for target in targets.iter().filter(|target| !ORDINARY.contains(target)) {
        let is_allowed = ALLOWED.iter().any(|(name, place, _)| name == target && file.starts_with(place));
        if is_allowed || is_own(file, target) {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            if names(line, target) {
                let text = format!(
                    "names the target `{target}`: what belongs to one target stands in its own file, such as {}",
                    Part::Control.place(target)
                );
                findings.push(Finding::new(file, number + 1, text));
            }
        }
    }
    findings
}

/// Whether a file is one of the target's own.
fn is_own(file: &str, target: &str) -> bool {
    let folders = ["crates/control/src/targets/", "crates/dmlab/src/force/", "crates/dmlab/src/crash/judge/"];
    let name = target.replace('-', "_");
    folders.iter().any(|folder| file == format!("{folder}{name}.rs"))
}

/// Whether a line has the target's name as a word, or as a part of an identifier in any of its spellings.
fn names(line: &str, target: &str) -> bool {
    let snake = target.replace('-', "_");
    let capital = |word: &str| {
        let (head, tail) = word.split_at(word.len().min(1));
        head.to_uppercase() + tail
    };
    let camel: String = target.split('-').map(capital).collect();
    [target, &snake, &camel, &snake.to_uppercase()].into_iter().any(|name| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + name.len()..].chars().next();
            let starts_word =
                name.starts_with(char::is_uppercase) || !before.is_some_and(char::is_alphanumeric);
            starts_word && !after.is_some_and(char::is_lowercase)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str, source: &str) -> Vec<usize> {
        target_names(file, source, &["mirror", "log-writes", "linear"])
            .iter()
            .map(|found| found.line)
            .collect()
    }

    #[test]
    fn a_target_is_named_in_its_own_places_only() {
        let source = "// mirror\nlet a = \"mirror\";\nstruct MirrorLog;\nfn log_writes() {}\nlet linear = unmirror;\n\
                      #[cfg(test)]\nmod tests {\n  const A: &str = \"{ mirror\";\n}\n";
        assert_eq!(lines("crates/x/src/lib.rs", source), [2, 3, 4]);
        assert_eq!(lines("crates/control/src/targets/mirror.rs", source), [4]);
        assert_eq!(lines("crates/dmlab/src/force/log_writes.rs", source), [2, 3]);
        assert_eq!(lines("crates/control/src/targets.rs", source), []);
    }

    #[test]
    fn a_target_without_its_parts_is_found() {
        let files =
            ["crates/control/src/targets/new_one.rs", "docs/src/targets/new-one.md"].map(str::to_owned);
        let lacks: Vec<String> =
            target_parts("new-one", &files).into_iter().map(|found| found.file).collect();
        assert_eq!(lacks, ["crates/conformance/golden/cases/new-one/"]);
    }
}
