//! Steps of a long run: one line each with its time, and a sum at the end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
        let child = command.stdout(Stdio::piped()).spawn();
        let is_ok = child.and_then(|mut child| {
            for line in BufReader::new(child.stdout.take().expect("piped above")).lines() {
                let line = line?;
                if let Some((p, f)) = test_result(&line) {
                    (passed, failed) = (passed + p, failed + f);
                }
                // The names of passing tests would bury the rest.
                let is_passing = line.starts_with("test ") && line.ends_with(" ok");
                if !is_passing && !line.trim().is_empty() {
                    self.say(&line);
                }
            }
            child.wait()
        });
        if !is_ok.is_ok_and(|status| status.success()) && failed == 0 {
            failed = 1;
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
    fn a_step_that_cannot_start_fails() {
        let mut steps = Steps::default();
        steps.check("nothing", &mut Command::new("/nowhere/nothing"));
        steps.tests("nothing", &mut Command::new("/nowhere/nothing"));
        steps.tests("false", &mut Command::new("false"));
        steps.tests("two", Command::new("echo").arg("test result: ok. 2 passed; 0 failed; 0 ignored"));
        assert_eq!((steps.passed, steps.failed), (2, 3));
    }
}
