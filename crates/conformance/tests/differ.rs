//! Scripts of device mapper steps with what Linux printed, played here: the random ones of a fixed seed, and those in which ours
//! once was another. `differ/README.md` says how they were recorded.
#![allow(clippy::print_stdout, reason = "says why a test did nothing")]

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dmlab_conformance::differ::difference;
use dmlab_conformance::repository;

/// Which kernel of ours is held against a transcript's. User Mode Linux has a later 6.12 than the other cases.
const KERNELS: [(&str, &str); 5] =
    [("6.1", "6.1"), ("6.12.95", "6.12"), ("6.12", "6.12.113"), ("7.2", "7.2"), ("7.3", "7.3")];

fn folder() -> PathBuf {
    repository().join("crates/conformance/differ")
}

/// Compiles the player, or says why not. In CI a missing compiler is a failure.
fn player(into: &Path) -> Option<PathBuf> {
    let program = into.join("steps");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(folder().join("steps.c"));
    match cc.status() {
        Ok(status) => assert!(status.success(), "steps.c does not compile"),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "cc: {error}");
            println!("NOT RUN: cc: {error}; cargo xtask test installs it or says how");
            return None;
        }
    }
    Some(program)
}

/// What a script prints in a machine of its own.
fn play(dmlab: &Path, kernel: &str, player: &Path, script: &Path) -> String {
    let output = Command::new(dmlab)
        .args(["run", "--time", "virtual", "--kernel", kernel, "--"])
        .args([player, script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return text;
    }
    format!("{text}{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// The scripts of a folder, by name.
fn scripts(of: &str) -> Vec<PathBuf> {
    let mut scripts: Vec<PathBuf> = fs::read_dir(folder().join(of))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "steps"))
        .collect();
    scripts.sort();
    scripts
}

/// Plays each script of a folder on each kernel of which there is a transcript; gives how many were played.
fn compare(of: &str) -> usize {
    let scratch = std::env::temp_dir().join(format!("dmlab-differ-{}-{of}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let Some(player) = player(&scratch) else { return usize::MAX };
    let dmlab = binary::dmlab();
    let (mut played, mut wrong) = (0, Vec::new());
    for script in scripts(of) {
        let name = script.file_stem().unwrap().to_string_lossy().into_owned();
        let mut transcripts = 0;
        for (kernel, ours) in KERNELS {
            let Ok(want) = fs::read_to_string(script.with_file_name(format!("{name}.{kernel}.out"))) else {
                continue;
            };
            transcripts += 1;
            let got = play(&dmlab, ours, &player, &script);
            if let Some(why) = difference(&want, &got) {
                wrong.push(format!("{of}/{name} on {kernel}: {why}"));
            }
        }
        assert!(transcripts > 0, "{of}/{name} has no transcript");
        played += transcripts;
    }
    let _ = fs::remove_dir_all(&scratch);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    played
}

#[test]
fn random_scripts_print_what_linux_prints() {
    assert!(compare("random") >= 100, "50 scripts on two kernels were meant");
}

#[test]
fn scripts_that_once_differed_print_what_linux_prints() {
    assert!(compare("found") > 0);
}
