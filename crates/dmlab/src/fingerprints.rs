//! Fingerprints of every lab of a test run, in files: two runs of the same tests are the same run if the files are.
//!
//! With `DMLAB_FINGERPRINTS=DIR` each lab on virtual time writes a line as it goes: its seed, its clock, its fingerprint. There is a
//! file for each test, named by the test's program and thread. What an unnamed thread drops is not noted: there is no telling
//! which comes first.

use std::fs::{OpenOptions, create_dir_all};
use std::io::Write;
use std::path::PathBuf;

use dmlab_driver::Time;

use crate::Lab;

/// Where fingerprints go.
const VARIABLE: &str = "DMLAB_FINGERPRINTS";

/// The test program's name, without the number that cargo puts behind it.
fn program() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    let name = path.file_stem()?.to_string_lossy().into_owned();
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once('-') {
        Some((name, number)) if is_number(number) => Some(name.to_owned()),
        _ => Some(name),
    }
}

/// Writes down what a lab that goes has seen, if that is wanted.
pub(crate) fn note(lab: &Lab) {
    let Some(folder) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return };
    let (Time::Virtual, Some(program)) = (lab.driver.time(), program()) else { return };
    let thread = std::thread::current();
    let Some(test) = thread.name() else { return };
    let file = folder.join(format!("{program}.{}", test.replace("::", ".").replace('/', "_")));
    let line = format!("{} {} {}\n", lab.seed(), lab.now().as_nanos(), lab.fingerprint());
    let written = create_dir_all(&folder)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(&file))
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("{VARIABLE}: {}: {error}", file.display());
    }
}
