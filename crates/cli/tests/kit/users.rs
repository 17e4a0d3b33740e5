//! Runs of `dmlab` as root or as an ordinary user.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::dmlab;

/// An ordinary user's number, where the tests run as root.
const NOBODY: &str = "65534";
/// Where programs are, for an ordinary user too.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

/// Runs a program that has to succeed.
pub(crate) fn run(program: &str, words: &[&str]) -> Output {
    let output = Command::new(program).args(words).env("PATH", PROGRAMS).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The user that starts `dmlab`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum User {
    /// The user that runs the tests.
    Same,
    /// An ordinary user.
    Ordinary,
}

/// `dmlab` with these words, in `dir`.
pub(crate) fn start(user: User, dir: &Path, words: &[&str]) -> Output {
    let binary = dmlab();
    let mut command = if user == User::Ordinary && is_root() {
        // The build directory may be closed to others.
        let copy = dir.join("dmlab");
        if !copy.exists() {
            std::fs::copy(&binary, &copy).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(copy);
        command
    } else {
        Command::new(binary)
    };
    command
        .args(words)
        .current_dir(dir)
        .env("PATH", PROGRAMS)
        .env("HOME", dir)
        .env("LC_ALL", "C")
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a script prints on both streams, run as the program of a machine.
pub(crate) fn script(user: User, dir: &Path, text: &str) -> String {
    let text = format!("exec 2>&1\n{text}");
    let output = start(user, dir, &["run", "--", "timeout", "120", "sh", "-c", &text]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}
