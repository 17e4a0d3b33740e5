//! Random sequences of pool operations, recorded on the reference machine.

use crate::repository;
use dmlab_conformance::thin_sequences::{Sequence, folder, generate, job, parse_all};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// Seconds that the reference machine may take: it is emulated, and a sequence takes some seconds.
const TIME_LIMIT: &str = "3000";

/// `FIRST LAST`: records the sequences of these seeds; `FIRST LAST EVERY`: of every so-manyth of them, which are of
/// one kind. `FILE`: records the sequences of that file again.
pub(crate) fn record(arguments: &[&str]) -> Result<(), String> {
    let (name, sequences): (String, Vec<Sequence>) = match arguments {
        [file] => {
            let path = folder().join(format!("{file}.txt"));
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let all = parse_all(&text).map_err(|e| e.to_string())?;
            ((*file).to_owned(), all.into_iter().map(|(sequence, _)| sequence).collect())
        }
        [first, last, every @ ..] if every.len() < 2 => {
            let number = |text: &str| text.parse::<u64>().map_err(|e| format!("seed `{text}`: {e}"));
            let (name, step) = match every.first() {
                Some(every) => (format!("{first}-{last}-by-{every}"), number(every)?.max(1)),
                None => (format!("{first}-{last}"), 1),
            };
            (name, (number(first)?..=number(last)?).step_by(step as usize).map(generate).collect())
        }
        _ => {
            let usage = "oracle record-thin-sequences FIRST LAST [EVERY], or a file's name without .txt";
            return Err(usage.to_owned());
        }
    };
    let output = run(&sequences)?;
    let (mut text, mut missing) = (String::new(), Vec::new());
    for sequence in &sequences {
        match recording_of(&output, &sequence.name) {
            Some(recording) => {
                let _ = writeln!(text, "{sequence}{recording}");
            }
            None => missing.push(sequence.name.as_str()),
        }
    }
    let path = folder().join(format!("{name}.txt"));
    fs::create_dir_all(folder()).and_then(|()| fs::write(&path, text)).map_err(|e| e.to_string())?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("no recording of {}; the machine printed:\n{output}", missing.join(" ")))
}

/// The `= …` lines below `sequence NAME`. Between them may be what programs said that failed.
fn recording_of(output: &str, name: &str) -> Option<String> {
    let lines = output.lines().skip_while(|line| *line != format!("sequence {name}")).skip(1);
    let own = lines.take_while(|line| !line.starts_with("sequence "));
    let mut text = String::new();
    for line in own.filter(|line| line.starts_with("= ") && *line != "= failed") {
        let _ = writeln!(text, "{line}");
    }
    text.contains("= sha256 ").then_some(text)
}

fn run(sequences: &[Sequence]) -> Result<String, String> {
    let dir = std::env::temp_dir().join(format!("dmlab-sequences-{}", std::process::id()));
    let job = job(sequences);
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(dir.join("in"))?;
        fs::write(dir.join("run.sh"), &job.script)?;
        job.files.iter().try_for_each(|(name, text)| fs::write(dir.join("in").join(name), text))
    };
    write().map_err(|e| format!("{}: {e}", dir.display()))?;
    let oracle = repository().join("crates/conformance/oracle/oracle");
    let output = Command::new(&oracle)
        .arg("run")
        .arg(dir.join("run.sh"))
        .args(["-t", TIME_LIMIT, "-i"])
        .arg(dir.join("in"))
        .output()
        .map_err(|e| format!("{}: {e}", oracle.display()))?;
    // Best effort: a folder left in the temporary directory does no harm.
    let _ = fs::remove_dir_all(&dir);
    if !output.status.success() {
        return Err(format!("the machine failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
