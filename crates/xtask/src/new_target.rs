//! A new target's first file: it compiles, passes IO through, and says what to fill in.

use crate::repository;
use std::fs;
use std::path::Path;

/// Longest target type name in bytes (`DM_MAX_TYPE_NAME` less the NUL).
const NAME_MAX: usize = 15;
const SKELETON: &str = include_str!("../skeleton/target.rs.txt");
const LIST: &str = "sim/targets/src/lib.rs";

/// Writes `sim/targets/src/NAME.rs` and lists the target.
pub(crate) fn run(name: &str) -> Result<(), String> {
    let file = add(&repository(), name)?;
    crate::eprint(&format!(
        "{file} compiles and passes IO through. Next:\n  \
         1. fill it in, top to bottom; docs/src/adding-a-target.md walks through linear\n  \
         2. write cases in crates/conformance/golden/cases/{name}/ and record them: cargo xtask oracle record {name}\n  \
         3. say `pass {name}/*` in crates/conformance/golden-expected.txt\n  \
         4. describe it in docs/src/targets/{name}.md and list that page in docs/src/SUMMARY.md\n"
    ));
    Ok(())
}

/// Adds target `name` to the repository at `top`; the path of its file.
fn add(top: &Path, name: &str) -> Result<String, String> {
    let is_valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.len() <= NAME_MAX;
    if !is_valid {
        return Err(format!(
            "`{name}` is no target name: lower-case letters, digits and `-`, {NAME_MAX} at most"
        ));
    }
    let module = name.replace('-', "_");
    let file = format!("sim/targets/src/{module}.rs");
    if top.join(&file).exists() || top.join("sim/targets/src").join(&module).exists() {
        return Err(format!("{file} exists already"));
    }
    let list = fs::read_to_string(top.join(LIST)).map_err(|e| format!("{LIST}: {e}"))?;
    let list = listed(&list, &module)
        .ok_or_else(|| format!("{LIST}: no `pub mod` lines and `ALL` list to add to"))?;
    let type_name: String = name.split('-').map(capitalized).collect();
    let text = SKELETON
        .replace("{name}", name)
        .replace("{TYPE}", &module.to_uppercase())
        .replace("{Type}", &type_name);
    fs::write(top.join(&file), text).map_err(|e| format!("{file}: {e}"))?;
    fs::write(top.join(LIST), list).map_err(|e| format!("{LIST}: {e}"))?;
    Ok(file)
}

fn capitalized(word: &str) -> String {
    let (head, tail) = word.split_at(word.len().min(1));
    head.to_uppercase() + tail
}

/// The list of targets with `module` in it: declared in order, registered last.
fn listed(list: &str, module: &str) -> Option<String> {
    let declaration = format!("pub mod {module};");
    let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
    let after = lines.iter().rposition(|l| l.starts_with("pub mod ") && *l < declaration);
    let first = lines.iter().position(|l| l.starts_with("pub mod "))?;
    lines.insert(after.map_or(first, |at| at + 1), declaration);
    let start = lines.iter().position(|l| l.starts_with("pub const ALL"))?;
    let end = start + lines[start..].iter().position(|l| l.trim_end().ends_with("];"))?;
    let close = lines[end].rfind(']')?;
    let entry = format!("&{module}::{}", module.to_uppercase());
    let before = lines[end][..close].trim_end();
    // One line or many: the last entry may carry its comma already.
    let comma = if before.is_empty() || before.ends_with(',') || before.ends_with('[') { "" } else { ", " };
    lines[end] = format!("{before}{comma}{entry}{}", &lines[end][close..]);
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    #[test]
    fn a_target_is_listed_in_both_places() {
        let list = "pub mod error;\npub mod zero;\n\npub const ALL: &[&T] = &[&zero::ZERO, &error::ERROR];\n";
        let want = "pub mod error;\npub mod log_writes;\npub mod zero;\n\n\
                    pub const ALL: &[&T] = &[&zero::ZERO, &error::ERROR, &log_writes::LOG_WRITES];\n";
        assert_eq!(listed(list, "log_writes").unwrap(), want);
        let many = "pub mod b;\npub const ALL: &[&T] = &[\n    &b::B,\n];\n";
        assert_eq!(
            listed(many, "a").unwrap(),
            "pub mod a;\npub mod b;\npub const ALL: &[&T] = &[\n    &b::B,\n&a::A];\n"
        );
        assert_eq!(listed("", "a"), None);
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

    /// A copy of the kernel side in which a new target can be tried.
    fn copy_of_the_kernel_side() -> PathBuf {
        let top = std::env::temp_dir().join(format!("dmlab-new-target-{}", std::process::id()));
        let mut waiting = vec![PathBuf::from("sim")];
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
        let (head, rest) = manifest.split_once("members = [").unwrap();
        let (_, rest) = rest.split_once(']').unwrap();
        let keep = |line: &&str| !line.starts_with("default-members");
        let text: Vec<&str> = rest.lines().filter(keep).collect();
        fs::write(top.join("Cargo.toml"), format!("{head}members = [\"sim/*\"]{}\n", text.join("\n")))
            .unwrap();
        fs::copy(repository().join("Cargo.lock"), top.join("Cargo.lock")).unwrap();
        top
    }

    #[test]
    fn the_skeleton_compiles_without_a_warning() {
        let top = copy_of_the_kernel_side();
        assert_eq!(add(&top, "brand-new").unwrap(), "sim/targets/src/brand_new.rs");
        assert!(add(&top, "brand-new").unwrap_err().contains("exists already"));
        let check = ["check", "--quiet", "--offline", "-p", "dmlab-targets"];
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
