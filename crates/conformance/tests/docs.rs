//! The documentation is true: links lead somewhere, tables name what exists, examples do what they show.

mod binary;

use dmlab_conformance::{architecture, docs, golden, repository, tidy};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

fn pages() -> Vec<(String, String)> {
    let files = tidy::tracked_files(&repository()).expect("the repository's files can be listed");
    let pages = files.into_iter().filter(|f| f.ends_with(".md"));
    pages.map(|f| (f.clone(), fs::read_to_string(repository().join(&f)).expect("listed just now"))).collect()
}

/// The pages that say what is held against Linux: those of targets, and those of all that is no target.
fn conformance_pages() -> Vec<(String, String)> {
    let folders = ["docs/src/targets/", "docs/src/conformance/"];
    pages().into_iter().filter(|(file, _)| folders.iter().any(|folder| file.starts_with(folder))).collect()
}

#[test]
fn links_lead_somewhere() {
    let broken: Vec<String> =
        pages().iter().flat_map(|(file, page)| docs::broken_links(&repository().join(file), page)).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_summary_lists_every_page() {
    let summary = fs::read_to_string(repository().join("docs/src/SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> =
        docs::links(&summary).into_iter().map(|link| format!("docs/src/{}", link.path)).collect();
    let all = pages().into_iter().map(|(file, _)| file);
    let unlisted: Vec<String> = all
        .filter(|f| f.starts_with("docs/src/") && !f.ends_with("SUMMARY.md") && !listed.contains(f))
        .collect();
    assert!(unlisted.is_empty(), "pages that SUMMARY.md does not list: {unlisted:?}");
}

#[test]
fn conformance_tables_name_cases_that_exist_and_miss_none() {
    let cases = golden::cases(&golden::cases_dir()).unwrap();
    let expected = golden::Expected::load().unwrap();
    let mut named = BTreeSet::new();
    for (file, page) in conformance_pages() {
        for (line, word) in docs::table_words(&page) {
            let is_case =
                word.contains('/') && cases.iter().any(|c| c.split('/').next() == word.split('/').next());
            if is_case {
                assert!(cases.contains(&word), "{file}:{line}: no recorded case `{word}`");
                named.insert(word);
            }
        }
    }
    let missed: Vec<&String> =
        cases.iter().filter(|c| expected.must_pass(c) && !named.contains(*c)).collect();
    assert!(missed.is_empty(), "recorded cases that no conformance table names: {missed:?}");
}

/// The row of `docs/src/targets/README.md` that names a target links to its page.
#[test]
fn every_target_has_a_page_with_what_is_held_against_linux() {
    let folder = repository().join("docs/src/targets");
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    let dmlab = binary::dmlab();
    let output = Command::new(&dmlab).args(["run", "--"]).arg(&dmlab).arg("targets").output();
    let output = output.expect("dmlab runs");
    let targets = String::from_utf8(output.stdout).unwrap();
    let targets: Vec<&str> = targets.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(targets.contains(&"linear") && targets.contains(&"snapshot-origin"), "{targets:?}");
    for target in targets {
        let names =
            |cell: &str| cell.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == target);
        let row = list.lines().find(|line| line.starts_with("| [") && names(line.split('|').nth(1).unwrap()));
        let row = row.unwrap_or_else(|| panic!("{target}: no row of targets/README.md names it"));
        let own =
            docs::links(row).into_iter().map(|link| fs::read_to_string(folder.join(link.path)).unwrap());
        let own: Vec<String> = own.filter(|page| names(page)).collect();
        assert!(!own.is_empty(), "{target}: its row leads to no page that names it");
        for page in own {
            let anchors = docs::headings(&page);
            assert!(anchors.iter().any(|a| a == "what-is-held-against-linux"), "{target}: {anchors:?}");
        }
    }
}

#[test]
fn the_control_page_lists_every_command() {
    let page = fs::read_to_string(repository().join("docs/src/conformance/core.md")).unwrap();
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let all: BTreeSet<&str> = dmlab_abi::Command::ALL.iter().map(|command| command.name()).collect();
    assert_eq!(rows, all);
}

#[test]
fn commands_in_the_text_exist() {
    let dmlab = binary::dmlab();
    let help = Command::new(&dmlab).arg("--help").output().expect("dmlab runs");
    let help = String::from_utf8(help.stdout).unwrap();
    let known: BTreeSet<&str> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    let xtask = fs::read_to_string(repository().join("crates/xtask/src/main.rs")).unwrap();
    for (file, page) in pages() {
        for (program, list) in [("dmlab ", help.as_str()), ("cargo xtask ", xtask.as_str())] {
            for piece in page.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix(program)) {
                let word =
                    piece.split(|c: char| !(c.is_alphanumeric() || c == '-')).next().unwrap_or_default();
                let exists = if program == "dmlab " { known.contains(word) } else { list.contains(word) };
                assert!(
                    exists || word.is_empty() || word.starts_with('-'),
                    "{file}: there is no `{program}{word}`"
                );
            }
        }
    }
}

#[test]
fn the_architecture_page_shows_the_crates_as_they_are() {
    let files = tidy::tracked_files(&repository()).expect("the repository's files can be listed");
    let manifests = files.iter().filter(|f| f.ends_with("/Cargo.toml")).map(|f| {
        tidy::Manifest::parse(f, &fs::read_to_string(repository().join(f)).expect("listed just now")).unwrap()
    });
    let crates = architecture::crates(&manifests.collect::<Vec<_>>());
    let file = repository().join("docs/src/architecture.md");
    let page = fs::read_to_string(&file).unwrap();
    let right = architecture::with_crates(&page, &crates).expect("the page has the marks");
    if std::env::var_os("DMLAB_UPDATE").is_some() {
        fs::write(&file, &right).unwrap();
    } else {
        assert!(
            page == right,
            "crates have changed: DMLAB_UPDATE=1 cargo test -p dmlab-conformance --test docs"
        );
    }
}

#[test]
fn the_walk_through_linear_shows_linear() {
    let squeezed = |code: &str| tidy::code_only(code).split_whitespace().collect::<Vec<_>>().join(" ");
    let read = |file: &str| squeezed(&fs::read_to_string(repository().join(file)).unwrap());
    let sides = ["sim/targets/basic/src/linear.rs", "crates/control/src/targets/linear.rs"].map(read);
    let page = fs::read_to_string(repository().join("docs/src/adding-a-target.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        let is_shown = sides.iter().any(|linear| linear.contains(squeezed(block).trim()));
        assert!(is_shown, "linear.rs has changed; the page shows\n{block}");
    }
}

#[test]
fn console_examples_print_what_they_show() {
    let blocks: Vec<(String, docs::Step)> = pages()
        .iter()
        .flat_map(|(file, page)| {
            docs::console(page).into_iter().flatten().map(|step| (file.clone(), step)).collect::<Vec<_>>()
        })
        .collect();
    assert!(!blocks.is_empty(), "the README shows examples");
    if binary::lacks_programs() {
        return;
    }
    let dmlab = binary::dmlab();
    let folder = std::env::temp_dir().join(format!("dmlab-docs-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // Examples are named as they lie in the repository.
    std::os::unix::fs::symlink(repository().join("docs"), folder.join("docs")).unwrap();
    let path =
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dmlab.parent().expect("a file in a folder").display());
    for (file, step) in blocks {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 2>&1; {}", step.command)]).current_dir(&folder);
        let output = command.env_clear().env("PATH", &path).env("HOME", &folder).output().expect("sh runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = printed.lines().collect();
        // A blank line at the end of a block only sets it off from the next command.
        let shown: Vec<String> = step
            .output
            .iter()
            .rev()
            .skip_while(|l| l.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        assert!(docs::shows(&shown, &lines), "{file}:{}: `{}` prints\n{printed}", step.line, step.command);
    }
    fs::remove_dir_all(&folder).unwrap();
}
