//! The scripts that made the recorded thin metadata, run by the real dmsetup, dd and fio under `dmlab run`: the whole
//! metadata device comes out byte for byte (golden/thin-metadata/README.md), and so do the status lines.

mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/thin-metadata")
}

/// Images and the hashes of their whole devices: the first of the two in each line of the README's table.
fn hashes() -> BTreeMap<String, String> {
    let readme = fs::read_to_string(folder().join("README.md")).expect("the recordings have a README");
    let is_hash = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let row = |line: &str| {
        let name = line.strip_prefix("| ")?.split(' ').next()?;
        let hash = line.split('`').find(is_hash)?;
        Some((name.to_owned(), hash.to_owned()))
    };
    readme.lines().filter_map(row).collect()
}

fn scripts() -> Vec<PathBuf> {
    let list = fs::read_dir(folder()).expect("the recordings are there");
    let paths = list.map(|entry| entry.expect("a readable folder").path());
    let is_script = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".sh") && name != "lib.sh"
    };
    let mut scripts: Vec<PathBuf> = paths.filter(is_script).collect();
    scripts.sort();
    scripts
}

/// What is wrong with what a script left in `out`.
fn compare(out: &Path, hashes: &BTreeMap<String, String>, seen: &mut Vec<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(out).expect("made above") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let bytes = fs::read(&path).expect("the script made it");
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("img") => {
                let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
                if hashes.get(&name) != Some(&hash) {
                    wrong.push(format!("{name}: another image"));
                }
                seen.push(name);
            }
            Some("status") => {
                let want = fs::read(folder().join(format!("{name}.status"))).unwrap_or_default();
                if want != bytes {
                    let [want, got] = [want, bytes].map(|b| String::from_utf8_lossy(&b).into_owned());
                    wrong.push(format!("{name}: status\n{got}and not\n{want}"));
                }
            }
            _ => {}
        }
    }
    wrong
}

#[test]
fn every_image_comes_out_byte_for_byte() {
    if binary::lacks_programs() {
        return;
    }
    let has_fio = Command::new("fio").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_fio {
        assert!(std::env::var_os("CI").is_none(), "fio is missing");
        return;
    }
    let (dmlab, hashes) = (binary::dmlab(), hashes());
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for script in scripts() {
        let name = script.file_stem().and_then(|stem| stem.to_str()).expect("listed as text").to_owned();
        let out = std::env::temp_dir().join(format!("dmlab-images-{}-{name}", std::process::id()));
        fs::create_dir_all(&out).expect("a folder of one's own");
        let mut command = Command::new(&dmlab);
        command.args(["run", "--", "sh"]).arg(&script).current_dir(folder()).env("OUT", &out);
        let output = command.output().expect("dmlab starts");
        if !output.status.success() || !output.stderr.is_empty() {
            wrong.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        wrong.extend(compare(&out, &hashes, &mut seen));
        // Best effort: a folder left in the temporary directory does no harm.
        let _ = fs::remove_dir_all(&out);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    seen.sort();
    assert!(seen.iter().eq(hashes.keys()), "made {seen:?}");
}
