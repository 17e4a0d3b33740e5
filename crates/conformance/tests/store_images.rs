//! Exception stores and mirror logs go to Linux and back: what the scripts of golden/store-images leave is byte for byte
//! what Linux left, what Linux left reads here as it did there, and what was made here was opened by Linux.

mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/store-images")
}

fn names(extension: &str) -> Vec<String> {
    let list = fs::read_dir(folder()).expect("the recordings are there");
    let names = list.map(|entry| entry.expect("a readable folder").file_name());
    let mut names: Vec<String> = names
        .filter_map(|name| name.to_str()?.strip_suffix(extension).map(str::to_owned))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    names.sort();
    names
}

fn unpack(name: &str) -> Vec<u8> {
    let file = fs::File::open(folder().join(format!("{name}.img.gz"))).expect("it was listed");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("a whole archive");
    bytes
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The images that Linux opened while it was recorded (recorded: `store-images/accepted.sums`).
fn accepted() -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join("accepted.sums")).expect("it is recorded");
    let row = |line: &str| {
        let (hash, name) = line.split_once(' ')?;
        Some((name.trim().strip_suffix(".img")?.to_owned(), hash.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// A folder of one's own, emptied.
fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("dmlab-stores-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).expect("a folder in the temporary directory");
    path
}

#[test]
fn every_image_comes_out_byte_for_byte() {
    if binary::lacks_programs() {
        return;
    }
    let (dmlab, out) = (binary::dmlab(), scratch("made"));
    for script in names(".sh") {
        let mut command = Command::new(&dmlab);
        command.args(["run", "--", "sh", &format!("{script}.sh")]).current_dir(folder()).env("OUT", &out);
        let output = command.env("DM_DISABLE_UDEV", "1").output().expect("dmlab starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{script}: {said}");
    }
    let accepted = accepted();
    for image in names(".img.gz") {
        let made = fs::read(out.join(format!("{image}.img"))).expect("the script made it");
        assert!(made == unpack(&image), "{image} is not what Linux left");
        assert_eq!(accepted.get(&image), Some(&hash(&made)), "{image} is not what Linux opened");
    }
    for status in names(".status") {
        let read = |folder: &Path| fs::read_to_string(folder.join(format!("{status}.status"))).expect("made");
        assert_eq!(read(&out), read(&folder()), "{status}");
    }
    // Best effort: a folder left in the temporary directory does no harm.
    let _ = fs::remove_dir_all(&out);
}

#[test]
fn every_image_reads_as_on_linux() {
    if binary::lacks_programs() {
        return;
    }
    let (dmlab, images) = (binary::dmlab(), scratch("opened"));
    for image in names(".img.gz") {
        fs::write(images.join(format!("{image}.img")), unpack(&image)).expect("room for it");
    }
    let mut command = Command::new(&dmlab);
    command.args(["run", "--", "sh"]).arg(folder().join("accept.sh")).current_dir(&images);
    let output = command.env("IMAGES", &images).env("DM_DISABLE_UDEV", "1").output().expect("dmlab starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
    let want = fs::read_to_string(folder().join("accepted.out")).expect("it is recorded");
    assert_eq!(String::from_utf8_lossy(&output.stdout), want);
    // Best effort, as above.
    let _ = fs::remove_dir_all(&images);
}
