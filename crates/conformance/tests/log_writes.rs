//! Logs of log-writes that Linux left (golden/log-writes-images): they open here, replaying them gives the data that Linux
//! had, and the scripts that made them give the same bytes under `dmlab run`.

mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use dmlab_replay_log::{Log, Stop, replay};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/log-writes-images")
}

/// The scripts' names, in order.
fn names() -> Vec<String> {
    let list = fs::read_dir(folder()).expect("the recordings are there");
    let files = list.map(|entry| entry.expect("a readable folder").file_name().into_string().expect("text"));
    let scripts = files.filter(|file| file.ends_with(".sh") && file != "lib.sh");
    let mut names: Vec<String> = scripts.map(|file| file.trim_end_matches(".sh").to_owned()).collect();
    names.sort();
    names
}

/// A log as Linux left it.
fn image(name: &str) -> Vec<u8> {
    let packed = fs::read(folder().join(format!("{name}.img.gz"))).expect("each script has an image");
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("a whole image");
    bytes
}

/// What `dmsetup status` said on the way, and last the hash of the data device.
fn status(name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder().join(format!("{name}.status"))).expect("each script has a status");
    text.lines().map(str::to_owned).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Recordings whose log does not tell all of the data, each with the reason.
const NOT_WHOLE: &[(&str, &str)] = &[
    ("09-full", "what came after the log was full is not in it"),
    ("11-reload", "the second table began a new log"),
];

#[test]
fn replaying_a_log_from_linux_gives_the_data_that_linux_had() {
    let mut nr_compared = 0;
    for name in names() {
        let lines = status(&name);
        let want = lines.last().expect("a status ends with a hash");
        let mut log = Log::open(image(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut disk = vec![0; disk_len(&name)];
        let replayed =
            replay(&mut log, &mut disk, &Stop::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(replayed.nr_entries, log.nr_entries(), "{name}");
        if !NOT_WHOLE.iter().any(|(other, _)| *other == name) {
            assert_eq!(hash(&disk), *want, "{name}");
            nr_compared += 1;
        }
    }
    assert!(nr_compared >= 10, "only {nr_compared} recordings");
}

/// How many bytes of the data device were hashed: as the script says, else as lib.sh does.
fn disk_len(name: &str) -> usize {
    let script = fs::read_to_string(folder().join(format!("{name}.sh"))).expect("listed just now");
    let told = script.lines().find_map(|line| line.strip_prefix("DS=")?.parse().ok());
    let usual = 8192;
    told.unwrap_or(usual) * 512
}

#[test]
fn a_copy_up_to_a_mark_is_the_disk_at_that_mark() {
    // The file system is whole when mke2fs has ended; what was written later destroys it.
    let mut log = Log::open(image("12-mkfs")).unwrap();
    let mut disk = vec![0; 16384 * 512];
    assert!(replay(&mut log, &mut disk, &Stop::at_mark("mkfs")).unwrap().is_found);
    assert_eq!(disk[1024 + 56..1024 + 58], [0x53, 0xef], "the magic number of ext4");
    let before = hash(&disk);
    let rest = replay(&mut log, &mut disk, &Stop::default()).unwrap();
    assert!(rest.nr_entries > 0 && hash(&disk) != before);
}

/// What is wrong with what a script left in `out`.
fn compare(name: &str, out: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let read = |extension: &str| fs::read(out.join(format!("{name}.{extension}"))).unwrap_or_default();
    if read("img") != image(name) {
        wrong.push(format!("{name}: another log"));
    }
    let got = String::from_utf8_lossy(&read("status")).into_owned();
    let want = status(name);
    if !got.lines().eq(want.iter().map(String::as_str)) {
        wrong.push(format!("{name}: status\n{got}and not\n{}", want.join("\n")));
    }
    wrong
}

#[test]
fn every_log_comes_out_byte_for_byte() {
    if binary::lacks_programs() {
        return;
    }
    let has_fio = Command::new("fio").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_fio {
        assert!(std::env::var_os("CI").is_none(), "fio is missing");
        return;
    }
    let dmlab = binary::dmlab();
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names() {
        let out = std::env::temp_dir().join(format!("dmlab-logs-{}-{name}", std::process::id()));
        fs::create_dir_all(&out).expect("a folder of one's own");
        let mut command = Command::new(&dmlab);
        command.args(["run", "--", "sh", &format!("{name}.sh")]).current_dir(folder()).env("OUT", &out);
        let output = command.output().expect("dmlab starts");
        let mut found = compare(&name, &out);
        if !output.status.success() || !output.stderr.is_empty() {
            found.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        if !found.is_empty() {
            wrong.insert(name, found);
        }
        // Best effort: a folder left in the temporary directory does no harm.
        let _ = fs::remove_dir_all(&out);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
