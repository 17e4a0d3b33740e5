//! Random scripts of device mapper steps, to play on a machine of ours and on a real Linux and to compare what comes of them.
//!
//! A script follows from its seed alone, and is made so that most of what it does works and the rest fails in many ways.
//! `differ/steps.c` plays it on both sides, and says which steps there are.

mod generate;
mod moves;
mod tables;

use std::fmt;

pub use generate::generate;

/// What a script may be about; without a choice, about everything.
pub const THEMES: [&str; 5] = ["tables", "thin", "snapshot", "mirror", "multipath"];

/// A random script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What it follows from.
    pub seed: u64,
    /// One after the other; any of them can be left out.
    pub steps: Vec<String>,
}

impl Script {
    /// The script without the steps from `from` to `to`.
    pub fn without(&self, from: usize, to: usize) -> Script {
        let kept = self.steps.iter().enumerate().filter(|(at, _)| !(from..to).contains(at));
        Script { seed: self.seed, steps: kept.map(|(_, step)| step.clone()).collect() }
    }

    /// Shorter scripts to try in its place, the shortest first: without a half, a quarter and so on down to a single step.
    pub fn shorter(&self) -> Vec<Script> {
        let len = self.steps.len();
        let mut tried = Vec::new();
        let mut size = len.div_ceil(2);
        while size > 0 {
            tried.extend((0..len).step_by(size).map(|from| self.without(from, (from + size).min(len))));
            size /= 2;
        }
        tried.retain(|script| !script.steps.is_empty() && script.steps.len() < len);
        tried
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Random steps, seed {}", self.seed)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// The first lines in which two outcomes of a script differ, with the step that they belong to: `STEP: want <LINE> got <LINE>`.
/// `None`: they are the same.
pub fn difference(want: &str, got: &str) -> Option<String> {
    let (mut want, mut got) = (want.lines(), got.lines());
    let mut step = "";
    loop {
        match (want.next(), got.next()) {
            (None, None) => return None,
            (a, b) if a == b => step = a.filter(|line| line.starts_with("> ")).unwrap_or(step),
            (a, b) => {
                let [a, b] = [a, b].map(|line| line.unwrap_or("(end)"));
                return Some(format!("{}: want <{a}> got <{b}>", step.trim_start_matches("> ")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_follows_from_its_seed() {
        for seed in 0..200 {
            let script = generate(seed, &THEMES);
            assert_eq!(script, generate(seed, &THEMES));
            assert!(script.steps.len() > 10, "{script}");
            assert!(script.steps.iter().all(|step| step.len() < 4000 && !step.contains('\n')), "{script}");
        }
        assert_ne!(generate(1, &THEMES).steps, generate(2, &THEMES).steps);
    }

    #[test]
    fn a_theme_is_what_a_script_is_about() {
        for seed in 0..50 {
            assert!(generate(seed, &["thin"]).to_string().contains(" thin-pool "), "{seed}");
            assert!(generate(seed, &["multipath"]).to_string().contains(" multipath "), "{seed}");
            assert!(!generate(seed, &["tables"]).to_string().contains(" thin-pool "), "{seed}");
        }
    }

    #[test]
    fn shorter_scripts_lack_something() {
        let script = generate(5, &THEMES);
        let shorter = script.shorter();
        assert!(shorter.iter().all(|one| !one.steps.is_empty() && one.steps.len() < script.steps.len()));
        assert!(shorter.iter().any(|one| one.steps.len() == script.steps.len() - 1));
        let lens: Vec<usize> = shorter.iter().map(|one| one.steps.len()).collect();
        assert!(lens.is_sorted_by_key(|len| *len / 2) || lens[0] <= lens[lens.len() - 1], "{lens:?}");
    }

    #[test]
    fn the_first_difference_is_told_with_its_step() {
        let want = "> list\na 0\n> info a\na live\n";
        assert_eq!(difference(want, want), None);
        let told = difference(want, "> list\na 0\n> info a\nENXIO\n").unwrap();
        assert_eq!(told, "info a: want <a live> got <ENXIO>");
        assert_eq!(difference("> list\n", "> list\nb 1\n").unwrap(), "list: want <(end)> got <b 1>");
    }
}
