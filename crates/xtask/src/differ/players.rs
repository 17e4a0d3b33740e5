//! The two who play scripts: a real Linux, in User Mode, and machines of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use dmlab_conformance::differ::Script;

use crate::{repository, whole};

/// Seconds that one start of the machine may take.
const LINUX_SECONDS: &str = "600";
/// Seconds that one of our runs may take: what takes longer hangs.
const OUR_SECONDS: &str = "20";
/// Runs of ours at a time.
const JOBS: usize = 2;

/// A Linux and a `dmlab`, and the program that plays scripts on each.
pub(super) struct Players {
    kernel: String,
    oracle: PathBuf,
    dmlab: PathBuf,
    folder: PathBuf,
}

impl Players {
    /// Compiles the player for both.
    ///
    /// # Errors
    /// When a part is missing.
    pub(super) fn new(kernel: &str) -> Result<Players, String> {
        let folder = repository().join("target/differ").join(format!("play-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let oracle = std::env::var_os("ORACLE")
            .map_or_else(|| repository().join("../shared/oracle/oracle"), PathBuf::from);
        if !oracle.exists() {
            return Err(format!("no real Linux: {} is not there; ORACLE names another", oracle.display()));
        }
        let dmlab = match std::env::var_os("DMLAB_BIN") {
            Some(binary) => PathBuf::from(binary),
            None => {
                whole::build_release()?;
                whole::binary()
            }
        };
        let players = Players { kernel: kernel.to_owned(), oracle, dmlab, folder };
        // Nothing of its machine is in that of the real Linux, and the preload library needs one that is linked when it starts.
        players.compile("linux", &["-static"])?;
        players.compile("ours", &[])?;
        Ok(players)
    }

    fn compile(&self, name: &str, more: &[&str]) -> Result<(), String> {
        let source = repository().join("crates/conformance/differ/steps.c");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-Werror", "-o"]).arg(self.folder.join(name)).args(more).arg(source);
        let is_compiled = cc.status().map_err(|error| format!("cc: {error}"))?.success();
        if is_compiled { Ok(()) } else { Err("steps.c does not compile".to_owned()) }
    }

    /// What each script printed on Linux, `None` for one that ended or stopped the machine, and what it printed here.
    pub(super) fn play(&self, scripts: &[Script]) -> Result<(Vec<Option<String>>, Vec<String>), String> {
        std::thread::scope(|scope| {
            let linux = scope.spawn(|| self.on_linux(scripts));
            let ours = self.here(scripts);
            let linux = linux.join().map_err(|_| "the thread of the real Linux panicked".to_owned())?;
            Ok((linux?, ours?))
        })
    }

    /// Plays them on Linux, and goes on behind one at which it stops.
    fn on_linux(&self, scripts: &[Script]) -> Result<Vec<Option<String>>, String> {
        let mut printed = vec![None; scripts.len()];
        let mut from = 0;
        while from < scripts.len() {
            let (input, output) = (self.folder.join("in"), self.folder.join("out"));
            for folder in [&input, &output] {
                let _ = fs::remove_dir_all(folder);
            }
            for (at, script) in scripts.iter().enumerate().skip(from) {
                write(&input.join(format!("scripts/{at:05}")), &script.to_string())?;
            }
            fs::create_dir_all(&output).map_err(|error| format!("{}: {error}", output.display()))?;
            fs::copy(self.folder.join("linux"), input.join("steps"))
                .map_err(|error| format!("steps: {error}"))?;
            let inside = self.folder.join("inside");
            write(&inside, "/job/in/steps all /job/in/scripts /job/out\n")?;
            let started = Command::new(&self.oracle)
                .arg("run")
                .arg(&inside)
                .arg("-i")
                .arg(&input)
                .arg("-o")
                .arg(&output)
                .args(["-t", LINUX_SECONDS])
                .env("ORACLE_ENGINE", "uml")
                .env("ORACLE_KERNEL", &self.kernel)
                .stdin(Stdio::null())
                .output()
                .map_err(|error| format!("{}: {error}", self.oracle.display()))?;
            let mut done = 0;
            for (at, printed) in printed.iter_mut().enumerate().skip(from) {
                if let Ok(text) = fs::read(output.join(format!("{at:05}"))) {
                    *printed = Some(String::from_utf8_lossy(&text).into_owned());
                    done += 1;
                }
            }
            let begun = fs::read_to_string(output.join("begun")).ok();
            let stopped = begun.and_then(|name| name.trim().parse::<usize>().ok());
            from = match stopped {
                Some(at) => at + 1,
                None if done == scripts.len() - from => scripts.len(),
                // A machine that ends of itself leaves nothing: the half of it may.
                None if scripts.len() - from > 1 => {
                    let half = from + (scripts.len() - from) / 2;
                    for (at, text) in self.on_linux(&scripts[from..half])?.into_iter().enumerate() {
                        printed[from + at] = text;
                    }
                    half
                }
                None if String::from_utf8_lossy(&started.stderr).contains("did not finish") => from + 1,
                None => {
                    let said = String::from_utf8_lossy(&started.stderr);
                    let said: Vec<&str> = said.lines().rev().take(5).collect();
                    return Err(format!("the real Linux did not start: {}", said.join(" / ")));
                }
            };
        }
        Ok(printed)
    }

    /// Plays each in a machine of its own.
    fn here(&self, scripts: &[Script]) -> Result<Vec<String>, String> {
        let printed = Mutex::new(vec![String::new(); scripts.len()]);
        let next = Mutex::new(0..scripts.len());
        let take = || next.lock().ok().and_then(|mut next| next.next());
        let worker = || -> Result<(), String> {
            while let Some(at) = take() {
                let path = self.folder.join(format!("ours-{at:05}"));
                write(&path, &scripts[at].to_string())?;
                let text = play_one(&self.dmlab, ours(&self.kernel), &self.folder.join("ours"), &path)?;
                let _ = fs::remove_file(&path);
                if let Ok(mut printed) = printed.lock() {
                    printed[at] = text;
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..JOBS).map(|_| scope.spawn(worker)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
        })?;
        printed.into_inner().map_err(|error| error.to_string())
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        // What is left of it is in nobody's way.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a machine of ours is told to be, to be held against a kernel of User Mode Linux: that has a later 6.12 than the cases.
fn ours(kernel: &str) -> &str {
    if kernel == "6.12" { "6.12.113" } else { kernel }
}

/// What the player prints of one script in a machine of ours, with the exit status when it is not 0.
fn play_one(dmlab: &Path, kernel: &str, player: &Path, script: &Path) -> Result<String, String> {
    let output = Command::new("timeout")
        .args(["-k", "5", OUR_SECONDS])
        .arg(dmlab)
        .args(["run", "--time", "virtual", "--kernel", kernel, "--"])
        .arg(player)
        .arg(script)
        // The preload library of the real machine's program is none of ours.
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", dmlab.display()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text += &format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}
