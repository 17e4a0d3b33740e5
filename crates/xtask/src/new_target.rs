//! A new target's first files: they compile, pass IO through, and say what to fill in.

use crate::repository;
use std::fs;
use std::path::Path;

/// Longest target type name in bytes (`DM_MAX_TYPE_NAME` less the NUL).
const NAME_MAX: usize = 15;
/// The kernel side's list of targets.
const LIST: &str = "sim/machine/src/targets.rs";
/// Where the workspace names its crates, and where the machine names those of the targets.
const WORKSPACE: &str = "Cargo.toml";
const MACHINE: &str = "sim/machine/Cargo.toml";
/// The user side's list of targets.
const FORMS: &str = "crates/control/src/targets.rs";
const SUMMARY: &str = "docs/src/SUMMARY.md";
const EXPECTED: &str = "crates/conformance/golden-expected.txt";

/// Writes what a new target has, on both sides, and lists it.
pub(crate) fn run(name: &str) -> Result<(), String> {
    let files = add(&repository(), name)?;
    let [_, kernel, control, page, case] = &files;
    crate::eprint(&format!(
        "{kernel} compiles and passes IO through; {control} has its table line. Next:\n  \
         1. fill both in, top to bottom; docs/src/adding-a-target.md walks through linear\n  \
         2. write cases beside {case} and record them: cargo xtask oracle record {name}\n  \
         3. say `pass {name}/*` in {EXPECTED}\n  \
         4. write {page}; DMLAB_UPDATE=1 cargo test -p dmlab-conformance --test forms --test explained fills in its form\n     \
         and takes the tables over that the cases have refused\n  \
         5. end {page} with the table of what is held against Linux, and list it in {SUMMARY}\n"
    ));
    Ok(())
}

/// Adds target `name` to the repository at `top`; the paths of its files.
fn add(top: &Path, name: &str) -> Result<[String; 5], String> {
    let is_valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.len() <= NAME_MAX;
    if !is_valid {
        return Err(format!(
            "`{name}` is no target name: lower-case letters, digits and `-`, {NAME_MAX} at most"
        ));
    }
    let module = name.replace('-', "_");
    let type_name: String = name.split('-').map(capitalized).collect();
    let files = [
        (format!("sim/targets/{name}/Cargo.toml"), include_str!("../skeleton/crate.toml.txt")),
        (format!("sim/targets/{name}/src/lib.rs"), include_str!("../skeleton/target.rs.txt")),
        (format!("crates/control/src/targets/{module}.rs"), include_str!("../skeleton/control.rs.txt")),
        (format!("docs/src/targets/{name}.md"), include_str!("../skeleton/page.md.txt")),
        (
            format!("crates/conformance/golden/cases/{name}/bad-args.sh"),
            include_str!("../skeleton/case.sh.txt"),
        ),
    ];
    let there = |path: &str| top.join(path).exists();
    if let Some((file, _)) = files.iter().find(|(file, _)| there(file)) {
        return Err(format!("{file} exists already"));
    }
    if let Some(file) = [format!("sim/targets/{name}"), format!("sim/targets/basic/src/{module}.rs")]
        .into_iter()
        .find(|file| there(file))
    {
        return Err(format!("{file} exists already"));
    }
    let lists = [
        (LIST, listed(&read(top, LIST)?, &module), "no list `TARGETS`"),
        (
            WORKSPACE,
            with_crate(
                &read(top, WORKSPACE)?,
                &format!("dmlab-targets-{name} = {{ path = \"sim/targets/{name}\", version = \"0.1.0\" }}"),
            ),
            "no crates of targets",
        ),
        (
            MACHINE,
            with_crate(&read(top, MACHINE)?, &format!("dmlab-targets-{name}.workspace = true")),
            "no crates of targets",
        ),
        (FORMS, with_form(&read(top, FORMS)?, &module, &type_name), "no `mod` lines and `FORMS` list"),
        (SUMMARY, with_page(&read(top, SUMMARY)?, name), "no pages of targets"),
        (
            EXPECTED,
            Some(read(top, EXPECTED)? + &format!("not yet {name}/*: the {name} target is being built\n")),
            "",
        ),
    ];
    for (file, text, lacks) in lists {
        let text = text.ok_or_else(|| format!("{file}: {lacks} to add to"))?;
        fs::write(top.join(file), text).map_err(|e| format!("{file}: {e}"))?;
    }
    for (file, skeleton) in &files {
        let text = skeleton
            .replace("{name}", name)
            .replace("{TYPE}", &module.to_uppercase())
            .replace("{Type}", &type_name);
        let path = top.join(file);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(files.map(|(file, _)| file))
}

fn read(top: &Path, file: &str) -> Result<String, String> {
    fs::read_to_string(top.join(file)).map_err(|e| format!("{file}: {e}"))
}

/// The user side's list with `module` in it: declared in order, its type given away, its form listed last.
fn with_form(list: &str, module: &str, type_name: &str) -> Option<String> {
    let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
    for (prefix, line) in
        [("mod ", format!("mod {module};")), ("pub use ", format!("pub use {module}::{type_name};"))]
    {
        // Up to the first line of another kind: the tests' module stands at the end.
        let first = lines.iter().position(|l| l.starts_with(prefix))?;
        let end = first + lines[first..].iter().position(std::string::String::is_empty)?;
        let after = lines[first..end].iter().rposition(|l| l.starts_with(prefix) && *l < line);
        let at = after.map_or(first, |at| first + at + 1);
        // A list of names in braces may go over several lines.
        let at = at + lines[at..end].iter().position(|l| l.starts_with(prefix)).unwrap_or(end - at);
        lines.insert(at, line);
    }
    let start = lines.iter().position(|l| l.starts_with("pub static FORMS"))?;
    let close = start + lines[start..].iter().position(|l| l == "];")?;
    lines.insert(close, format!("    &{module}::FORM,"));
    Some(lines.join("\n") + "\n")
}

/// The summary with the target's page behind those of the others.
fn with_page(summary: &str, name: &str) -> Option<String> {
    let mut lines: Vec<String> = summary.lines().map(str::to_owned).collect();
    let last = lines.iter().rposition(|l| l.contains("](targets/"))?;
    lines.insert(last + 1, format!("  - [{name}](targets/{name}.md)"));
    Some(lines.join("\n") + "\n")
}

fn capitalized(word: &str) -> String {
    let (head, tail) = word.split_at(word.len().min(1));
    head.to_uppercase() + tail
}

/// A Cargo.toml with `line`, which names a crate of targets, among the lines that do.
fn with_crate(manifest: &str, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = manifest.lines().collect();
    let is_crate = |l: &&str| l.starts_with("dmlab-targets-");
    let first = lines.iter().position(is_crate)?;
    let others = lines[first..].iter().take_while(|l| is_crate(l) && **l < line).count();
    lines.insert(first + others, line);
    Some(lines.join("\n") + "\n")
}

/// The list of targets with that of crate `module` in it, registered last.
fn listed(list: &str, module: &str) -> Option<String> {
    let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
    let start = lines.iter().position(|l| l.starts_with("pub const TARGETS"))?;
    let close = start + lines[start..].iter().position(|l| l == "];")?;
    lines.insert(close, format!("    &dmlab_targets_{module}::{},", module.to_uppercase()));
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    #[test]
    fn a_target_is_listed_and_its_crate_named() {
        let list = "pub const TARGETS: &[&T] = &[\n    &error::ERROR,\n];\n";
        let want = "pub const TARGETS: &[&T] = &[\n    &error::ERROR,\n    &dmlab_targets_a_b::A_B,\n];\n";
        assert_eq!(listed(list, "a_b").unwrap(), want);
        assert_eq!(listed("", "a"), None);
        let manifest = "dmlab-a.x\ndmlab-targets-b.x\ndmlab-targets-d.x\n\n[dev]\n";
        let want = "dmlab-a.x\ndmlab-targets-b.x\ndmlab-targets-c.x\ndmlab-targets-d.x\n\n[dev]\n";
        assert_eq!(with_crate(manifest, "dmlab-targets-c.x").unwrap(), want);
        assert!(with_crate(manifest, "dmlab-targets-e.x").unwrap().contains("d.x\ndmlab-targets-e.x\n\n"));
        assert_eq!(with_crate("dmlab-a.x\n", "dmlab-targets-b.x"), None);
    }

    #[test]
    fn names_are_checked() {
        for name in ["", "Linear", "a_b", "a/b", "sixteen-letters-", "9p"] {
            assert!(
                add(Path::new("nowhere"), name).is_err_and(|e| e.contains("is no target name")),
                "{name}"
            );
        }
    }

    #[test]
    fn a_form_is_listed_in_three_places() {
        let list = "mod error;\nmod zero;\n\npub use error::{\n    ErrorTarget, Other,\n};\npub use zero::Zero;\n\n\
                    pub static FORMS: &[&Form] = &[\n    &zero::FORM,\n];\n\n#[cfg(test)]\nmod tests;\n";
        let want = "mod error;\nmod new_one;\nmod zero;\n\npub use error::{\n    ErrorTarget, Other,\n};\n\
                    pub use new_one::NewOne;\npub use zero::Zero;\n\n\
                    pub static FORMS: &[&Form] = &[\n    &zero::FORM,\n    &new_one::FORM,\n];\n\n#[cfg(test)]\nmod tests;\n";
        assert_eq!(with_form(list, "new_one", "NewOne").unwrap(), want);
        assert_eq!(with_form("", "a", "A"), None);
        let summary = "- [Targets](targets/README.md)\n  - [zero](targets/zero.md)\n- [More](more.md)\n";
        assert!(with_page(summary, "a-b").unwrap().contains("zero.md)\n  - [a-b](targets/a-b.md)\n- [More]"));
    }

    /// A copy of the kernel side and of the user side's targets in which a new target can be tried.
    fn copy() -> PathBuf {
        let top = std::env::temp_dir().join(format!("dmlab-new-target-{}", std::process::id()));
        let mut waiting =
            vec![PathBuf::from("sim"), PathBuf::from("crates/control"), PathBuf::from("docs/src/targets")];
        while let Some(folder) = waiting.pop() {
            fs::create_dir_all(top.join(&folder)).unwrap();
            for entry in fs::read_dir(repository().join(&folder)).unwrap() {
                let path = folder.join(entry.unwrap().file_name());
                if repository().join(&path).is_dir() {
                    waiting.push(path);
                } else {
                    fs::copy(repository().join(&path), top.join(&path)).unwrap();
                }
            }
        }
        let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
        let is_left_out = |line: &&str| {
            let member = line.trim_start().trim_start_matches('"');
            let is_copied = member.starts_with("sim/") || member.starts_with("crates/control\"");
            line.starts_with("    \"") && !is_copied || line.starts_with("default-members")
        };
        let text: Vec<&str> = manifest.lines().filter(|line| !is_left_out(line)).collect();
        fs::write(top.join("Cargo.toml"), text.join("\n") + "\n").unwrap();
        fs::create_dir_all(top.join("crates/conformance")).unwrap();
        for file in ["Cargo.lock", SUMMARY, EXPECTED] {
            fs::copy(repository().join(file), top.join(file)).unwrap();
        }
        top
    }

    #[test]
    fn the_skeleton_compiles_without_a_warning() {
        let top = copy();
        let files = add(&top, "brand-new").unwrap();
        assert_eq!(
            files[1..3],
            ["sim/targets/brand-new/src/lib.rs", "crates/control/src/targets/brand_new.rs"]
        );
        assert!(files.iter().all(|file| top.join(file).is_file()));
        assert!(add(&top, "brand-new").unwrap_err().contains("exists already"));
        let check = ["check", "--quiet", "--offline", "-p", "dmlab-machine", "-p", "dmlab-control"];
        let target = repository().join("target/new-target");
        let output = Command::new(crate::cargo())
            .args(check)
            .current_dir(&top)
            .env("CARGO_TARGET_DIR", target)
            .env("RUSTFLAGS", "-D warnings")
            .output()
            .unwrap();
        fs::remove_dir_all(&top).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
