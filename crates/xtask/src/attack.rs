//! `cargo xtask attack`: programs that do their worst to machines, for as long as one likes.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::whole::binary;
use crate::{repository, whole};

/// A driver in `crates/conformance/attack`.
struct Driver {
    name: &'static str,
    /// How much it does, by default and with `--long`.
    counts: [u32; 2],
    /// What else it is told.
    words: &'static [&'static str],
}

const DRIVERS: &[Driver] = &[
    Driver { name: "hostile", counts: [3_000, 60_000], words: &[] },
    Driver { name: "ioctls", counts: [10_000, 200_000], words: &[] },
    Driver { name: "killstorm", counts: [300, 5_000], words: &[] },
    Driver { name: "programs", counts: [80, 800], words: &[] },
    Driver { name: "images", counts: [40, 1_000], words: &["all"] },
];

/// What `cargo xtask attack` was told.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    is_long: bool,
    seed: Option<u64>,
    names: Vec<&'a str>,
}

fn wanted<'a>(arguments: &[&'a str]) -> Result<Wanted<'a>, String> {
    let mut wanted = Wanted { is_long: false, seed: None, names: Vec::new() };
    let mut arguments = arguments.iter();
    while let Some(&argument) = arguments.next() {
        match argument {
            "--long" => wanted.is_long = true,
            "--seed" => {
                let seed = arguments.next().and_then(|seed| seed.parse().ok());
                wanted.seed = Some(seed.ok_or("attack: --seed takes a number")?);
            }
            name if DRIVERS.iter().any(|driver| driver.name == name) => wanted.names.push(name),
            other => {
                let names: Vec<&str> = DRIVERS.iter().map(|driver| driver.name).collect();
                return Err(format!(
                    "attack: `{other}` is none of {}, --long, --seed NUMBER",
                    names.join(", ")
                ));
            }
        }
    }
    Ok(wanted)
}

/// Runs the drivers that are named, or all, one after the other, on the binary that `DMLAB_BIN` names or a fresh release build.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let wanted = wanted(arguments)?;
    let dmlab = match std::env::var_os("DMLAB_BIN") {
        Some(path) => path.into(),
        None => {
            whole::build_release()?;
            binary()
        }
    };
    // Another one each time, and printed by each driver: the same seed brings the same inputs.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = wanted.seed.unwrap_or(now).to_string();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut failed = Vec::new();
    for driver in DRIVERS {
        if !wanted.names.is_empty() && !wanted.names.contains(&driver.name) {
            continue;
        }
        let script = repository().join("crates/conformance/attack").join(format!("{}.py", driver.name));
        let count = driver.counts[usize::from(wanted.is_long)].to_string();
        let mut command = Command::new("python3");
        command.env("PATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg("-u").arg(script).arg(&dmlab).args([&seed, &count]).args(driver.words);
        let status = command.status().map_err(|error| format!("python3: {error}"))?;
        if !status.success() {
            failed.push(driver.name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        let names = failed.join(" ");
        Err(format!("attack: harm was done; once more: cargo xtask attack --seed {seed} {names}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let expected = Wanted { is_long: true, seed: Some(7), names: vec!["images"] };
        assert_eq!(wanted(&["--long", "--seed", "7", "images"]), Ok(expected));
        assert!(wanted(&["--seed"]).is_err() && wanted(&["nothing"]).is_err());
    }

    #[test]
    fn every_driver_is_there() {
        for driver in DRIVERS {
            let script = repository().join("crates/conformance/attack").join(format!("{}.py", driver.name));
            assert!(script.is_file(), "{}", script.display());
        }
    }
}
