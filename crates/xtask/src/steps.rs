//! Steps of a long run: one line each with its time, and a sum at the end.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The longest that tests may print nothing. The slowest line comes after a few minutes; what takes longer hangs, and would keep
/// the whole run from ever telling the rest.
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// What passed and failed so far. A step that runs no tests counts as one.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    passed: usize,
    failed: usize,
    lines: Vec<String>,
}

impl Steps {
    /// Runs a command whose success is one check.
    pub(crate) fn check(&mut self, name: &str, command: &mut Command) {
        self.say(&format!("── {name}"));
        let start = Instant::now();
        let is_ok =
            command.status().map_err(|e| self.say(&format!("{name}: {e}"))).is_ok_and(|s| s.success());
        self.note(name, start.elapsed(), usize::from(is_ok), usize::from(!is_ok));
    }

    /// Runs something whose success is one check.
    pub(crate) fn done(&mut self, name: &str, run: impl FnOnce() -> Result<(), String>) {
        self.say(&format!("── {name}"));
        let start = Instant::now();
        let is_ok = run().map_err(|error| self.say(&format!("{name}: {error}"))).is_ok();
        self.note(name, start.elapsed(), usize::from(is_ok), usize::from(!is_ok));
    }

    /// Runs a command that prints `test result:` lines, and adds them up. Ending badly without a failed test (it did
    /// not compile, say) is one failure.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command) {
        self.say(&format!("── {name}"));
        let start = Instant::now();
        let (mut passed, mut failed) = (0, 0);
        let is_ok = command.stdout(Stdio::piped()).spawn().and_then(|child| {
            watch(child, SILENCE, |line| {
                if let Some((p, f)) = test_result(line) {
                    (passed, failed) = (passed + p, failed + f);
                }
                // The names of passing tests would bury the rest.
                let is_passing = line.starts_with("test ") && line.ends_with(" ok");
                if !is_passing && !line.trim().is_empty() {
                    self.say(line);
                }
            })
        });
        if let Err(error) = &is_ok {
            self.say(&format!("{name}: {error}"));
        }
        if is_ok.is_err() || (!is_ok.is_ok_and(|is_success| is_success) && failed == 0) {
            failed += 1;
        }
        self.note(name, start.elapsed(), passed, failed);
    }

    fn note(&mut self, name: &str, time: Duration, passed: usize, failed: usize) {
        let word = if failed == 0 { "ok" } else { "FAILED" };
        let line =
            format!("{word:<7}{:>6.1} s  {name} ({passed} passed, {failed} failed)", time.as_secs_f64());
        self.say(&line);
        (self.passed, self.failed) = (self.passed + passed, self.failed + failed);
        self.lines.push(line);
    }

    /// Says how each step went and, as the last line, the sum.
    ///
    /// # Errors
    /// When anything failed.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.say("── all steps");
        for line in &self.lines {
            self.say(line);
        }
        self.say(&format!("{} passed, {} failed", self.passed, self.failed));
        // The sum is the last line on stdout; the exit status says the rest.
        if self.failed == 0 { Ok(()) } else { std::process::exit(1) }
    }

    #[expect(clippy::print_stdout, reason = "a command's report")]
    fn say(&self, line: &str) {
        println!("{line}");
    }
}

/// Hands each line that a child prints to `line`, and says whether the child ended well. One that prints nothing for `silence` is
/// ended, with all that it has started.
///
/// # Errors
/// When its output cannot be read, or it printed nothing for too long.
fn watch(mut child: Child, silence: Duration, mut line: impl FnMut(&str)) -> io::Result<bool> {
    let output = child.stdout.take().expect("it was started with a pipe");
    let (sender, lines) = channel();
    std::thread::spawn(move || BufReader::new(output).lines().try_for_each(|line| sender.send(line)));
    loop {
        match lines.recv_timeout(silence) {
            Ok(text) => line(&text?),
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?.success()),
            Err(RecvTimeoutError::Timeout) => {
                for process in family(child.id()).iter().rev() {
                    // One that has ended meanwhile needs no end.
                    let _ = Command::new("kill")
                        .args(["-KILL", &process.to_string()])
                        .stderr(Stdio::null())
                        .status();
                }
                child.wait()?;
                let minutes = silence.as_secs_f64() / 60.0;
                return Err(io::Error::other(format!(
                    "it printed nothing for {minutes:.1} minutes, and was ended"
                )));
            }
        }
    }
}

/// A process and all that it has started, itself first.
fn family(first: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name before it, in brackets, may have spaces.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((process, parent))
        })
        .collect();
    let mut family = vec![first];
    let mut at = 0;
    while let Some(&one) = family.get(at) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(process, _)| *process));
        at += 1;
    }
    family
}

/// Passed and failed tests of a `test result: ok. 3 passed; 0 failed; …` line.
fn test_result(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let mut parts = counts.split("; ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read() {
        let line = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(test_result(line), Some((3, 2)));
        assert_eq!(test_result("test a ... ok"), None);
    }

    #[test]
    fn what_hangs_is_ended_with_all_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; sleep 1000 & sh -c 'echo $$; sleep 1000' & wait"]);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = Vec::new();
        let ended = watch(child, Duration::from_millis(500), |line| said.push(line.to_owned()));
        assert!(ended.unwrap_err().to_string().contains("printed nothing"));
        assert_eq!(said[0], "begun");
        // Whoever ended is a zombie of the first process at most.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", said[1])).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }

    #[test]
    fn a_step_that_cannot_start_fails() {
        let mut steps = Steps::default();
        steps.check("nothing", &mut Command::new("/nowhere/nothing"));
        steps.tests("nothing", &mut Command::new("/nowhere/nothing"));
        steps.tests("false", &mut Command::new("false"));
        steps.tests("two", Command::new("echo").arg("test result: ok. 2 passed; 0 failed; 0 ignored"));
        assert_eq!((steps.passed, steps.failed), (2, 3));
    }
}
