//! What the tests of real programs share: a machine for one script, and C programs of their own.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod users;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A fresh empty directory that every user may write to; it goes with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("dmlab-test-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o1777)).unwrap();
        Scratch(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where programs are, root's among them.
fn search_path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin"
}

/// Fails with the Debian package of each program that is missing.
pub(crate) fn need(programs: &[(&str, &str)]) {
    let path = search_path();
    for (program, package) in programs {
        let found = path.split(':').any(|dir| Path::new(dir).join(program).is_file());
        assert!(found, "{program} is not installed: apt-get install {package}");
    }
}

/// The program under test.
pub(crate) fn dmlab() -> PathBuf {
    std::env::var_os("DMLAB_BIN").map_or_else(|| env!("CARGO_BIN_EXE_dmlab").into(), PathBuf::from)
}

/// A command of dmlab's in a directory of its own.
pub(crate) fn command(scratch: &Scratch, words: &[&str]) -> Command {
    let path = search_path();
    let mut command = Command::new(dmlab());
    command
        .args(words)
        .current_dir(&scratch.0)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("DMLAB", dmlab())
        .stdin(Stdio::null());
    command
}

/// Runs a script on a machine of its own, booted with `options`, and returns what it printed, errors among it.
pub(crate) fn run(scratch: &Scratch, options: &[&str], script: &str) -> String {
    let script = format!("exec 2>&1\n{script}");
    let words = [&["run"], options, &["--", "timeout", "-k", "5", "100", "bash", "-c", &script]].concat();
    let Output { stdout, stderr, .. } = command(scratch, &words).output().unwrap();
    let complaint = String::from_utf8_lossy(&stderr);
    assert_eq!(complaint, "", "script:\n{script}\nstdout: {}", String::from_utf8_lossy(&stdout));
    String::from_utf8_lossy(&stdout).into_owned()
}

/// Compiles a C program of the tests into the directory.
pub(crate) fn compile(scratch: &Scratch, source: &str) -> PathBuf {
    need(&[("cc", "gcc")]);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let program = scratch.0.join(from.file_stem().unwrap());
    let status = Command::new("cc").args(["-w", "-o"]).arg(&program).arg(&from).status().unwrap();
    assert!(status.success(), "cc {source}");
    program
}

/// Compares line by line, so that a failure shows the first that differs.
pub(crate) fn assert_lines(what: &str, printed: &str, expected: &str) {
    for (at, (have, want)) in printed.trim().lines().zip(expected.trim().lines()).enumerate() {
        assert_eq!(have.trim_end(), want.trim_end(), "{what}, line {}", at + 1);
    }
    assert_eq!(
        printed.trim().lines().count(),
        expected.trim().lines().count(),
        "{what}: lines of\n{printed}"
    );
}
