//! Programs and scripts of `raw/`, recorded on Linux 6.12 and run here: what they print and what the kernel logs must
//! be the same to the byte. `raw/record.sh` says how they were recorded.
#![allow(clippy::print_stdout, reason = "says why a test did nothing")]

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dmlab_conformance::repository;

/// Lines of the log in which a boot differs from a module that was loaded long ago.
const BOOT: [&str; 3] = ["uevent: version", "initialised:", "CONFIG_IMA_DISABLE_HTABLE"];

fn raw(name: &str) -> PathBuf {
    repository().join("crates/conformance/raw").join(name)
}

/// Compiles a program of `raw/`, or says why not. In CI a missing compiler is a failure.
fn compile(name: &str, into: &Path) -> Option<PathBuf> {
    let program = into.join(name);
    let compiled = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(raw(&format!("{name}.c")))
        .status();
    match compiled {
        Ok(status) => assert!(status.success(), "{name}.c does not compile"),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "cc: {error}");
            println!("NOT RUN: cc: {error}; cargo xtask test installs it or says how");
            return None;
        }
    }
    Some(program)
}

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("dmlab-raw-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a place for the test's files");
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `command` on a new machine and compares with what `name` printed and logged on Linux.
fn replay(name: &str, scratch: &Path, command: &mut Command) {
    let klog = scratch.join("klog");
    let mut run = Command::new(binary::dmlab());
    run.arg("run").arg("--klog").arg(&klog).args(["--", "sh", "-c", "exec \"$0\" \"$@\" 2>&1"]);
    run.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        run.env(key, value.unwrap_or_default());
    }
    let output = run.current_dir(scratch).output().expect("dmlab runs");
    compare(name, "out", &String::from_utf8_lossy(&output.stdout));
    let log = fs::read_to_string(&klog).expect("a kernel log");
    let texts = log.lines().map(|line| line.split_once("] ").map_or(line, |(_, text)| text));
    // How many failures of buffered IO are logged is a matter of speed where there are many.
    let is_paced = |text: &str| {
        name == "attributes"
            && ["Buffer I/O error", "buffer_io_error"].iter().any(|start| text.starts_with(start))
    };
    let is_left_out = |text: &str| is_paced(text) || BOOT.iter().any(|boot| text.contains(boot));
    let texts: Vec<&str> = texts.filter(|text| !is_left_out(text)).collect();
    compare(name, "klog", &(texts.join("\n") + "\n"));
}

/// Fails with the first lines that differ.
fn compare(name: &str, kind: &str, ours: &str) {
    let path = raw(&format!("{name}.{kind}"));
    let recorded = fs::read(&path).expect("a recording");
    let recorded = String::from_utf8_lossy(&recorded);
    let differing = recorded.lines().zip(ours.lines()).enumerate().find(|(_, (linux, here))| linux != here);
    if let Some((i, (linux, here))) = differing {
        panic!("{name}.{kind}, line {}:\nLinux: {linux}\nhere:  {here}", i + 1);
    }
    assert_eq!(
        recorded.lines().count(),
        ours.lines().count(),
        "{name}.{kind}: one goes on after the other has ended"
    );
}

#[test]
fn every_ioctl_in_every_shape_answers_as_linux_does() {
    let scratch = Scratch::new("ioctls");
    let Some(program) = compile("ioctls", &scratch.0) else { return };
    replay("ioctls", &scratch.0, &mut Command::new(program));
}

#[test]
fn tables_look_and_read_as_on_linux() {
    if binary::lacks_programs() {
        return;
    }
    let scratch = Scratch::new("attributes");
    let Some(program) = compile("blocks", &scratch.0) else { return };
    let mut script = Command::new("sh");
    replay("attributes", &scratch.0, script.arg(raw("attributes.sh")).env("BLOCKS", program));
}

#[test]
fn user_space_hears_what_it_hears_on_linux() {
    if binary::lacks_programs() {
        return;
    }
    let scratch = Scratch::new("uevents");
    let events = format!("{} uevents", binary::dmlab().display());
    replay("uevents", &scratch.0, Command::new("sh").arg(raw("uevents.sh")).env("EVENTS", events));
}

#[test]
fn suspend_writes_back_as_linux_does() {
    if binary::lacks_programs() {
        return;
    }
    let scratch = Scratch::new("suspend");
    replay("suspend", &scratch.0, Command::new("sh").arg(raw("suspend.sh")));
}
