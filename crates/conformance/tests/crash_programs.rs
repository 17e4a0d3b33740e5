//! `dmlab crash`: the power goes at every point of a workload of programs.

mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of one's own with what the programs of a workload are.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let path = std::env::temp_dir().join(format!("dmlab-crash-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder in the temporary directory");
        for (name, text) in files {
            fs::write(path.join(name), text).expect("a file in it");
        }
        Folder(path)
    }

    fn crash(&self, words: &[&str]) -> (Output, String) {
        let mut command = Command::new(binary::dmlab());
        let output = command.arg("crash").args(words).current_dir(&self.0).output().expect("dmlab runs");
        let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        (output, text)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left in the temporary directory does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A block of data, and then one that says that the data are there.
fn workload(between: &str) -> String {
    format!(
        "yes data | dd of=/dev/ram0 bs=4096 seek=1 count=1 iflag=fullblock oflag=direct {between} status=none\n\
         yes commit | dd of=/dev/ram0 bs=4096 count=1 iflag=fullblock oflag=direct conv=fsync status=none\n"
    )
}

const CHECK: &str = "echo looking at $DMLAB_CRASH_STATE
case \"$(head -c 6 /dev/ram0)\" in commit) test \"$(tail -c +4097 /dev/ram0 | head -c 4)\" = data ;; esac
";

fn folder(name: &str) -> Folder {
    let files = [("hasty.sh", &*workload("")), ("right.sh", &workload("conv=fsync")), ("check.sh", CHECK)];
    Folder::new(name, &files)
}

#[test]
fn a_missing_flush_is_found_and_replayed() {
    if binary::lacks_programs() {
        return;
    }
    let folder = folder("flush");
    let base = ["--check", "check.sh", "--disk-size", "1", "--workload"];
    let (output, text) = folder.crash(&[&base[..], &["right.sh"]].concat());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("none broke"), "{text}");
    let (output, text) = folder.crash(&[&base[..], &["hasty.sh"]].concat());
    assert_eq!(output.status.code(), Some(1), "{text}");
    for line in [
        "state 2.2: check: check.sh ended with exit status: 1",
        "    lost: write on disk 0, sector 8+8",
        "  replay: dmlab crash --check check.sh --disk-size 1 --workload hasty.sh --state 2.-1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
    let (output, text) = folder.crash(&[&base[..], &["hasty.sh", "--state", "2.-1"]].concat());
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("looking at 2.-1\n1 of 1 states examined, 1 broke"), "{text}");
    let (output, text) = folder.crash(&[&base[..], &["hasty.sh", "--state", "99.all"]].concat());
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("there is no state 99.all"), "{text}");
}

#[test]
fn shards_of_one_recording_find_together_what_one_machine_finds() {
    if binary::lacks_programs() {
        return;
    }
    let folder = folder("shards");
    let (output, text) = folder.crash(&[
        "--workload",
        "hasty.sh",
        "--disk-size",
        "1",
        "--save",
        "run.crash",
        "--json",
        "none",
    ]);
    assert!(output.status.success() && !folder.path().join("none").exists(), "{text}");
    let explored = ["--recorded", "run.crash", "--check", "check.sh", "--enough", "1000", "--json"];
    folder.crash(&[&explored[..], &["whole.json"]].concat());
    for shard in ["1/3", "2/3", "3/3"] {
        let name = format!("{}.json", &shard[..1]);
        folder.crash(&[&explored[..], &[&name, "--shard", shard]].concat());
    }
    let (output, text) = folder.crash(&["merge", "3.json", "1.json", "--json", "some.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("shard 2/3 is missing"), "{text}");
    let (output, text) = folder.crash(&["merge", "3.json", "2.json", "1.json", "--json", "all.json"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let states = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).expect("a report");
        let mut states: Vec<String> = text
            .lines()
            .filter(|line| line.contains("\"state\":"))
            .map(|line| line.trim().to_owned())
            .collect();
        states.sort();
        states
    };
    assert!(states("whole.json").len() > 3);
    assert_eq!(states("all.json"), states("whole.json"));
    let (output, text) = folder.crash(&["merge", "1.json", "1.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("shard 1/3 is there twice"), "{text}");
}
