//! The drivers of `cargo xtask attack`, each for a moment and with a fixed seed: no panic, no hang, nothing left behind.

mod binary;

use std::path::Path;
use std::process::Command;

use dmlab_conformance::repository;

/// Runs a driver, which exits with 1 after it did harm.
fn attack(driver: &str, count: u32, words: &[&str]) {
    let script = repository().join("crates/conformance/attack").join(format!("{driver}.py"));
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    for (program, package) in [
        ("python3", "python3"),
        ("dmsetup", "dmsetup"),
        ("fio", "fio"),
        ("thin_check", "thin-provisioning-tools"),
    ] {
        let found = path.split(':').any(|dir| Path::new(dir).join(program).is_file());
        assert!(found, "{program} is not installed: apt-get install {package}");
    }
    let output = Command::new("python3")
        .arg(script)
        .arg(binary::dmlab())
        .args(["7", &count.to_string()])
        .args(words)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{driver} {words:?}: {}\n{said}", output.status);
}

#[test]
fn clients_that_lie() {
    attack("hostile", 500, &[]);
}

#[test]
fn random_ioctls() {
    attack("ioctls", 2_000, &[]);
}

#[test]
fn programs_that_are_killed() {
    attack("killstorm", 40, &[]);
}

#[test]
fn programs_that_run_at_once() {
    attack("programs", 40, &[]);
}

#[test]
fn damaged_thin_metadata() {
    attack("images", 8, &["thin"]);
    attack("images", 4, &["thinrun"]);
    attack("images", 40, &["xml"]);
}

#[test]
fn damaged_stores_and_logs() {
    attack("images", 5, &["snap"]);
    attack("images", 8, &["mirror"]);
    attack("images", 20, &["logw"]);
}

#[test]
fn damaged_files_and_tables() {
    attack("images", 30, &["faults"]);
    attack("images", 20, &["replay"]);
    attack("images", 40, &["tables"]);
}
