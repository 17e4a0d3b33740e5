//! The recorded cases, and running them against a `dmlab` binary.
//!
//! The comparing itself is `golden/check`, the same script that anyone runs by hand; here is which cases it gets,
//! and as whom: an ordinary user, because `dmlab run` must need no privilege.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user (and group) that cases run as when the caller is root: `nobody` of most Linuxes.
const ORDINARY_USER: u32 = 65534;
/// Where the programs of the cases lie; an ordinary user's own PATH often lacks the sbin folders.
const PROGRAM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Programs that cases call besides the shell's own words (golden/README.md).
pub const PROGRAMS: &[&str] = &[
    "bash",
    "dmsetup",
    "dash",
    "dd",
    "mawk",
    "blkdiscard",
    "blockdev",
    "mkfs.ext4",
    "debugfs",
    "thin_check",
    "setpriv",
];

/// Folder of the recorded cases in this repository.
pub fn cases_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases")
}

/// Names (`THEME/NAME`) of all cases below `dir`, sorted.
///
/// # Errors
/// When a folder cannot be read.
pub fn cases(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for theme in fs::read_dir(dir)? {
        let theme = theme?;
        for file in fs::read_dir(theme.path())? {
            let path = file?.path();
            if let (Some("sh"), Some(stem)) = (path.extension().and_then(|e| e.to_str()), path.file_stem()) {
                names.push(format!("{}/{}", theme.file_name().to_string_lossy(), stem.to_string_lossy()));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Which cases must pass today, and which can't yet and why (`golden-expected.txt`).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Names or `THEME/*`.
    pass: Vec<String>,
    /// Names or `THEME/*`, with the reason.
    not_yet: Vec<(String, String)>,
    /// Kernels, each with a name or `THEME/*` and the reason.
    not_on: Vec<(String, String, String)>,
}

impl Expected {
    /// Reads the list: `pass PATTERN`, `not yet PATTERN: REASON` and `not on KERNEL PATTERN: REASON` lines, `#` comments.
    ///
    /// # Errors
    /// The number of the line that is neither, and what it holds.
    pub fn parse(text: &str) -> Result<Expected, String> {
        let mut expected = Expected::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(pattern) = line.strip_prefix("pass ") {
                expected.pass.push(pattern.trim().to_owned());
            } else if let Some((pattern, reason)) =
                line.strip_prefix("not yet ").and_then(|rest| rest.split_once(": "))
            {
                expected.not_yet.push((pattern.trim().to_owned(), reason.trim().to_owned()));
            } else if let Some((place, reason)) =
                line.strip_prefix("not on ").and_then(|rest| rest.split_once(": "))
                && let Some((kernel, pattern)) = place.split_once(' ')
            {
                let (pattern, reason) = (pattern.trim().to_owned(), reason.trim().to_owned());
                expected.not_on.push((kernel.to_owned(), pattern, reason));
            } else {
                return Err(format!(
                    "line {}: `{line}` is none of `pass PATTERN`, `not yet PATTERN: REASON`, `not on KERNEL PATTERN: REASON`",
                    number + 1
                ));
            }
        }
        Ok(expected)
    }

    /// Reads this repository's list.
    ///
    /// # Errors
    /// When it cannot be read or parsed.
    pub fn load() -> Result<Expected, String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden-expected.txt");
        Expected::parse(&fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?)
    }

    /// Whether `case` must pass today. The more exact pattern (a whole name) wins over a theme.
    pub fn must_pass(&self, case: &str) -> bool {
        let exact = |pattern: &str| pattern == case;
        if self.pass.iter().any(|p| exact(p)) {
            return true;
        }
        !self.not_yet.iter().any(|(p, _)| exact(p)) && self.pass.iter().any(|p| matches(p, case))
    }

    /// Whether `case` must pass today on a kernel.
    pub fn must_pass_on(&self, kernel: &str, case: &str) -> bool {
        let is_out =
            |(other, pattern, _): &(String, String, String)| other == kernel && matches(pattern, case);
        self.must_pass(case) && !self.not_on.iter().any(is_out)
    }

    /// Why `case` need not pass yet, if the list says so.
    pub fn reason(&self, case: &str) -> Option<&str> {
        if self.must_pass(case) {
            return None;
        }
        self.not_yet.iter().find(|(p, _)| matches(p, case)).map(|(_, reason)| reason.as_str())
    }

    /// What is wrong with the list itself: cases it does not speak of, and lines that match no case.
    pub fn gaps(&self, cases: &[String]) -> Vec<String> {
        let mut gaps = Vec::new();
        for case in cases.iter().filter(|c| !self.must_pass(c) && self.reason(c).is_none()) {
            gaps.push(format!("{case}: neither `pass` nor `not yet`"));
        }
        let elsewhere = self.not_on.iter().map(|(_, pattern, _)| pattern);
        for pattern in self.pass.iter().chain(self.not_yet.iter().map(|(p, _)| p)).chain(elsewhere) {
            if !cases.iter().any(|case| matches(pattern, case)) {
                gaps.push(format!("`{pattern}` matches no case"));
            }
        }
        gaps
    }

    /// One line per pattern that is not built yet, with the number of its cases.
    pub fn not_yet(&self, cases: &[String]) -> String {
        let mut text = String::new();
        for (kernel, pattern, reason) in &self.not_on {
            let _ = writeln!(text, "not on {kernel}: {pattern}: {reason}");
        }
        for (pattern, reason) in &self.not_yet {
            let count = cases.iter().filter(|case| matches(pattern, case) && !self.must_pass(case)).count();
            let _ = writeln!(text, "not yet: {pattern} ({count} cases): {reason}");
        }
        text
    }
}

/// Whether a shell pattern with `*` (any characters, `/` too) covers `name`; as `check -k` matches.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// How a run of cases went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Cases with the recorded bytes.
    pub passed: usize,
    /// Cases with others.
    pub failed: usize,
}

/// The kernels that cases are run on. What a case prints is in `cases`, unless `kernels/KERNEL` has it otherwise.
pub const KERNELS: [&str; 4] = ["6.12", "6.1", "7.2", "7.3"];

/// The file with a part of a case (`sh`, `out`, `log`) as it is on a kernel. Linux 7.3 is what 7.2 is where nothing was recorded
/// there: all that was recorded on both agrees.
pub fn transcript(kernel: &str, case: &str, ext: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let of = |kernel: &str| golden.join(format!("kernels/{kernel}/{case}.{ext}"));
    let like = if kernel == "7.3" { "7.2" } else { kernel };
    let found = [of(kernel), of(like)].into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| golden.join(format!("cases/{case}.{ext}")))
}

/// Runs `names` through `golden/check` against `binary run --kernel KERNEL --time TIME --`, as an ordinary user, `jobs` at a time.
///
/// Each line that `check` prints goes to `say`. The binary, and what lies beside it with `dmlab` in its name, are
/// copied where that user can read them.
///
/// # Errors
/// When the run could not be set up, or `check` ended without its last line.
pub fn run(
    binary: &Path,
    kernel: &str,
    time: &str,
    names: &[String],
    jobs: usize,
    mut say: impl FnMut(&str),
) -> Result<Outcome, String> {
    let stage = Stage::new(binary, kernel, names)
        .map_err(|e| format!("cannot set up a folder for the cases: {e}"))?;
    let mut command = stage.command()?;
    command.args(["-j", &jobs.to_string()]).arg(stage.dir.join("cases")).arg("--");
    command.arg(stage.dir.join("bin/dmlab")).args(["run", "--kernel", kernel, "--time", time, "--"]);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("check: {e}"))?;
    let mut last = String::new();
    for line in BufReader::new(child.stdout.take().expect("piped above")).lines() {
        last = line.map_err(|e| format!("check: {e}"))?;
        say(&last);
    }
    child.wait().map_err(|e| format!("check: {e}"))?;
    outcome(&last).ok_or_else(|| format!("check ended without its summary; its last line: `{last}`"))
}

/// Reads `N passed, N failed`.
pub fn outcome(line: &str) -> Option<Outcome> {
    let (passed, failed) = line.trim().split_once(" passed, ")?;
    Some(Outcome { passed: passed.parse().ok()?, failed: failed.strip_suffix(" failed")?.parse().ok()? })
}

/// A folder that an ordinary user can enter, with the binary, `check` and the chosen cases; gone when dropped.
struct Stage {
    dir: PathBuf,
    is_root: bool,
}

impl Stage {
    fn new(binary: &Path, kernel: &str, names: &[String]) -> io::Result<Stage> {
        let dir = std::env::temp_dir().join(format!("dmlab-golden-{}-{kernel}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let is_root = fs::metadata("/proc/self")?.uid() == 0;
        let stage = Stage { dir, is_root };
        for folder in ["bin", "cases", "tmp"] {
            fs::create_dir_all(stage.dir.join(folder))?;
        }
        let beside = binary.parent().unwrap_or(Path::new("."));
        for entry in fs::read_dir(beside)? {
            let entry = entry?;
            let name = entry.file_name();
            let wanted =
                name.to_str().is_some_and(|n| n == "dmlab" || (n.contains("dmlab") && n.ends_with(".so")));
            if wanted && entry.path().is_file() {
                fs::copy(entry.path(), stage.dir.join("bin").join(name))?;
            }
        }
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        fs::copy(golden.join("check"), stage.dir.join("check"))?;
        for name in names {
            let theme = name.split('/').next().unwrap_or_default();
            fs::create_dir_all(stage.dir.join("cases").join(theme))?;
            for ext in ["sh", "out", "log"] {
                fs::copy(transcript(kernel, name, ext), stage.dir.join(format!("cases/{name}.{ext}")))?;
            }
        }
        if stage.is_root {
            chown(stage.dir.join("tmp"), Some(ORDINARY_USER), Some(ORDINARY_USER))?;
        }
        Ok(stage)
    }

    /// `check` as an ordinary user with a clean environment, up to its own arguments.
    fn command(&self) -> Result<Command, String> {
        let check = self.dir.join("check");
        let mut command = if self.is_root {
            let mut command = Command::new("setpriv");
            let user = ORDINARY_USER;
            command.args([
                format!("--reuid={user}"),
                format!("--regid={user}"),
                "--clear-groups".to_owned(),
                "--".to_owned(),
            ]);
            command.arg(check);
            command
        } else {
            Command::new(check)
        };
        let tmp = self.dir.join("tmp");
        command
            .env_clear()
            .env("PATH", PROGRAM_PATH)
            .env("DMLAB_KLOG", "1")
            .env("TMPDIR", &tmp)
            .env("HOME", &tmp);
        command.current_dir(&tmp).stdin(Stdio::null());
        Ok(command)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Best effort: a folder left in the temporary directory does no harm.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Programs of [`PROGRAMS`] that this machine lacks.
pub fn missing_programs() -> Vec<&'static str> {
    let has = |program: &str| PROGRAM_PATH.split(':').any(|folder| Path::new(folder).join(program).exists());
    PROGRAMS.iter().copied().filter(|program| !has(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, want) in [
            ("core/*", "core/too-small", true),
            ("core/*", "linear/concat", false),
            ("*small*", "core/too-small", true),
            ("core/too-small", "core/too-small", true),
            ("core/too", "core/too-small", false),
            ("*", "a/b", true),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn the_list_speaks_of_every_case() {
        let cases: Vec<String> = ["core/a", "core/b", "thin/c", "nesting/d"].map(str::to_owned).into();
        let list =
            Expected::parse("# x\npass core/*\nnot yet core/b: broken\nnot yet thin/*: no thin\n").unwrap();
        assert!(list.must_pass("core/a") && !list.must_pass("core/b") && !list.must_pass("thin/c"));
        assert_eq!(list.reason("core/b"), Some("broken"));
        assert_eq!(list.gaps(&cases), ["nesting/d: neither `pass` nor `not yet`"]);
        assert_eq!(Expected::parse("pass gone/*").unwrap().gaps(&[]), ["`gone/*` matches no case"]);
        assert!(Expected::parse("perhaps core/*").is_err());
        let list = Expected::parse("pass core/*\nnot on 6.1 core/b: no such disk\n").unwrap();
        assert!(list.must_pass_on("6.1", "core/a") && list.must_pass_on("7.2", "core/b"));
        assert!(!list.must_pass_on("6.1", "core/b") && list.must_pass("core/b"));
    }

    #[test]
    fn summaries_are_read() {
        assert_eq!(outcome("12 passed, 3 failed"), Some(Outcome { passed: 12, failed: 3 }));
        assert_eq!(outcome("check: no cases"), None);
    }
}
