//! The page of what changed between kernels shows what the values and the recorded cases say. With DMLAB_UPDATE set, it is written
//! anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dmlab::machine::{KernelVersion, Quirks, TARGETS};
use dmlab_conformance::golden::{Expected, cases, cases_dir};
use dmlab_conformance::repository;

const PAGE: &str = "docs/src/kernels.md";
const BEGIN: &str = "<!-- kernels: begin -->\n";
const END: &str = "<!-- kernels: end -->";

/// What each quirk is, from its documentation.
fn quirks() -> Vec<(Quirks, String)> {
    let source = fs::read_to_string(repository().join("sim/runtime/src/personality.rs")).unwrap();
    let (mut quirks, mut doc) = (Vec::new(), String::new());
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc += if doc.is_empty() { "" } else { " " };
            doc += text;
        } else if let Some(name) = line.strip_prefix("const ").and_then(|rest| rest.split(" =").next()) {
            let quirk = Quirks::from_name(name).unwrap_or_else(|| panic!("no quirk {name}"));
            quirks.push((quirk, std::mem::take(&mut doc)));
        } else {
            doc.clear();
        }
    }
    assert_eq!(quirks.len(), Quirks::all().iter().count());
    quirks
}

fn version([major, minor, patch]: [u32; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

fn versions(text: &mut String) {
    let kernels = KernelVersion::ALL;
    let heads: String = kernels.iter().map(|kernel| format!(" {kernel} |")).collect();
    let rule = "---|".repeat(kernels.len());
    let _ = writeln!(text, "### Versions\n\n| |{heads}\n|---|{rule}");
    let row = |name: &str, of: &dyn Fn(KernelVersion) -> String| {
        let cells: String = kernels.iter().map(|kernel| format!(" {} |", of(*kernel))).collect();
        format!("| {name} |{cells}\n")
    };
    *text += &row("recorded on", &|kernel| kernel.personality().release.to_owned());
    *text += &row("ioctl interface", &|kernel| version(kernel.personality().dm_version));
    let mut same = Vec::new();
    for kind in TARGETS {
        let of = |kernel: KernelVersion| kernel.personality().target_version(kind.name, kind.version);
        if kernels.iter().all(|kernel| of(*kernel) == kind.version) {
            same.push(format!("{} {}", kind.name, version(kind.version)));
        } else {
            *text += &row(kind.name, &|kernel| version(of(kernel)));
        }
    }
    same.sort();
    let _ = writeln!(text, "\nThe same on all: {}.\n", same.join(", "));
}

fn quirk_table(text: &mut String) {
    *text += "### Quirks\n\n| on | what | name |\n|---|---|---|\n";
    for (quirk, what) in quirks() {
        let on: Vec<&str> =
            KernelVersion::ALL.iter().filter(|k| k.personality().has(quirk)).map(|k| k.name()).collect();
        assert!(!on.is_empty(), "no kernel has {quirk:?}");
        let name = quirk.iter_names().next().map_or("", |(name, _)| name);
        let _ = writeln!(text, "| {} | {what} | `{name}` |", on.join(", "));
    }
}

/// The first line in which two transcripts differ, of each.
fn first_difference(reference: &str, other: &str) -> (String, String) {
    let (mut a, mut b) = (reference.lines(), other.lines());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return (String::new(), String::new()),
            (a, b) if a == b => {}
            (a, b) => return (a.unwrap_or("(end)").to_owned(), b.unwrap_or("(end)").to_owned()),
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Of each case that differs on a kernel: the first line that does, in what it prints or else in the log.
fn differences(kernel: &str) -> BTreeMap<String, (String, String)> {
    let folder = cases_dir().parent().unwrap().join("kernels").join(kernel);
    let mut found = BTreeMap::new();
    for file in files_below(&folder) {
        let name = file.strip_prefix(&folder).unwrap().with_extension("").display().to_string();
        let is_log = file.extension().is_some_and(|extension| extension == "log");
        if is_log && found.contains_key(&name) {
            continue;
        }
        let reference = cases_dir().join(file.strip_prefix(&folder).unwrap());
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let difference = first_difference(&read(&reference), &read(&file));
        assert_ne!(difference.0, difference.1, "{} is what the reference has", file.display());
        if !is_log || !file.with_extension("out").exists() {
            found.insert(name, difference);
        }
    }
    found
}

fn cell(text: &str) -> String {
    let short: String = text.chars().take(90).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    let text = format!("{short}{more}").replace('|', "\\|").replace('`', "'");
    if text.trim().is_empty() { "(empty)".to_owned() } else { format!("`{}`", text.trim_end()) }
}

fn case_tables(text: &mut String) {
    let expected = Expected::load().unwrap();
    let all = cases(&cases_dir()).unwrap();
    for kernel in ["6.1", "7.2", "7.3"] {
        let found = differences(kernel);
        let (held, rest): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(case, _)| expected.must_pass_on(kernel, case));
        let total = all.iter().filter(|case| expected.must_pass_on(kernel, case)).count();
        let _ = writeln!(
            text,
            "\n### Cases that differ on {kernel}\n\n{} of the {total} cases that pass there print something else than on 6.12. \
             The first line of each that does:\n\n| case | 6.12 | {kernel} |\n|---|---|---|",
            held.len()
        );
        for (case, (reference, other)) in held {
            let _ = writeln!(text, "| {case} | {} | {} |", cell(&reference), cell(&other));
        }
        let names: Vec<String> = rest.into_iter().map(|(case, _)| case).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "\nRecorded there too, and not compared yet: {}.", names.join(", "));
        }
    }
}

#[test]
fn the_page_shows_what_differs() {
    let path = repository().join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{PAGE} has no {BEGIN}"));
    let (shown, after) = rest.split_once(END).unwrap_or_else(|| panic!("{PAGE} has no {END}"));
    let mut made = "\n".to_owned();
    versions(&mut made);
    quirk_table(&mut made);
    case_tables(&mut made);
    made.push('\n');
    if shown != made {
        assert!(
            std::env::var_os("DMLAB_UPDATE").is_some(),
            "{PAGE} is old; DMLAB_UPDATE=1 cargo test -p dmlab-conformance --test kernels writes it anew"
        );
        fs::write(path, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
    }
}
