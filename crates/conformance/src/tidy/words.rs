//! Words that may not stand in the sources, and where.

use super::Finding;
use super::source::{code_only, has_word};

/// A word that the kernel side may not use, and what to use instead.
struct Ban {
    word: &'static str,
    instead: &'static str,
    /// Files below `sim/` in which it is right, each with its reason.
    allowed: &'static [(&'static str, &'static str)],
}

const DISK_FILES: &[(&str, &str)] = &[
    ("sim/block/src/disk/file.rs", "a disk whose bytes are a file of the host"),
    ("sim/block/src/disk/mmap.rs", "a disk whose bytes are a mapped file of the host"),
    ("sim/block/src/loop_device/backing.rs", "a loop device stands on a file of the host"),
    ("sim/machine/src/boot.rs", "a boot option takes a file that its caller opened"),
];

/// What the kernel side may not touch: everything it knows comes from its machine (same seed, same bytes).
const KERNEL_SIDE: &[Ban] = &[
    Ban { word: "std::time::Instant", instead: "the machine's clock", allowed: &[] },
    Ban { word: "Instant::now", instead: "the machine's clock", allowed: &[] },
    Ban {
        word: "std::time::{",
        instead: "one `use` for each type of std::time, so that clocks show",
        allowed: &[],
    },
    Ban { word: "SystemTime", instead: "the machine's clock", allowed: &[] },
    Ban { word: "std::thread", instead: "a task on the machine's executor", allowed: &[] },
    Ban { word: "thread_local", instead: "a field of the machine", allowed: &[] },
    Ban { word: "std::env", instead: "a boot option", allowed: &[] },
    Ban { word: "std::net", instead: "a driver on the user side", allowed: &[] },
    Ban { word: "std::process", instead: "a driver on the user side", allowed: &[] },
    Ban { word: "std::fs", instead: "a disk module named in the tidy rules", allowed: DISK_FILES },
    Ban { word: "rand", instead: "the machine's rng streams", allowed: &[] },
    Ban { word: "thread_rng", instead: "the machine's rng streams", allowed: &[] },
    Ban { word: "getrandom", instead: "the machine's rng streams", allowed: &[] },
    Ban { word: "RandomState", instead: "an ordered map", allowed: &[] },
    Ban { word: "println!", instead: "the kernel log", allowed: &[] },
    Ban { word: "print!", instead: "the kernel log", allowed: &[] },
    Ban { word: "eprintln!", instead: "the kernel log", allowed: &[] },
    Ban { word: "eprint!", instead: "the kernel log", allowed: &[] },
    Ban { word: "dbg!", instead: "a trace point", allowed: &[] },
    Ban {
        word: "HashMap",
        instead: "BTreeMap, or a comment `// tidy: never iterated` on the line",
        allowed: &[],
    },
    Ban {
        word: "HashSet",
        instead: "BTreeSet, or a comment `// tidy: never iterated` on the line",
        allowed: &[],
    },
];

/// What a line says that declares a hash map or set whose order is never seen.
const NEVER_ITERATED: &str = "// tidy: never iterated";

/// Words in a file of `sim/` that reach out of the machine: clocks, threads, the environment, chance, output, files.
pub fn kernel_side_bans(file: &str, source: &str) -> Vec<Finding> {
    let code = code_only(source);
    let mut findings = Vec::new();
    for (number, (line, original)) in code.lines().zip(source.lines()).enumerate() {
        for ban in KERNEL_SIDE {
            let excused = match ban.word {
                // Where a declaration says so, its import and its construction need not say it again.
                "HashMap" | "HashSet" => {
                    original.contains(NEVER_ITERATED)
                        || source.contains(NEVER_ITERATED)
                            && (line.starts_with("use ") || line.contains(&format!("{}::new()", ban.word)))
                }
                // It asks whether this thread unwinds; it starts none.
                "std::thread" => line.contains("std::thread::panicking"),
                _ => false,
            };
            if has_word(line, ban.word) && !excused && !ban.allowed.iter().any(|(name, _)| *name == file) {
                let text = format!("`{}` on the kernel side: use {}", ban.word, ban.instead);
                findings.push(Finding::new(file, number + 1, text));
            }
        }
    }
    findings
}

/// Words that no file may hold: work left undone. In pieces here, so that this file passes its own rule.
const UNDONE: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it, or open an issue"),
    (concat!("FIX", "ME"), "finish it, or open an issue"),
    (concat!("to", "do!"), "write it"),
    (concat!("unimple", "mented!"), "write it, or return an error"),
    (concat!("#[ig", "nore"), "a test runs or is deleted"),
];

/// Marks of unfinished work in any file.
pub fn banned_words(file: &str, text: &str) -> Vec<Finding> {
    lines_with(file, text, |line| {
        let (word, instead) = UNDONE.iter().find(|(word, _)| has_word(line, word))?;
        Some(format!("`{word}`: {instead}"))
    })
}

/// Folders that exist on one machine only.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Paths of one machine in any file; a path below a variable or another folder is none.
pub fn banned_paths(file: &str, text: &str) -> Vec<Finding> {
    lines_with(file, text, |line| {
        MACHINE_FOLDERS.iter().find_map(|folder| {
            let hit = line.match_indices(folder).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + folder.len()..].chars().next();
                !before.is_some_and(|c| c.is_alphanumeric() || "_.$}/-*)".contains(c))
                    && after.is_some_and(|c| c.is_alphanumeric() || c == '.')
            });
            hit.then(|| format!("a path of one machine below {folder}: make it relative or a parameter"))
        })
    })
}

/// Crates whose root may say `deny(unsafe_code)` in place of `forbid`, and the files that may then allow it.
const UNSAFE_CRATES: &[(&str, &[&str], &str)] = &[
    ("crates/fronts/preload", &["*"], "stands in front of the C library: raw pointers are its interface"),
    (
        "crates/server",
        &["crates/server/src/shared.rs", "crates/server/src/signals.rs"],
        "data of the clients lies in shared memory; signals with a value have no safe wrapper",
    ),
    ("crates/shim-proto", &["*"], "rings in shared memory"),
    ("crates/control", &["crates/control/src/real.rs"], "ioctl(2) on a real /dev/mapper/control"),
    (
        "sim/block",
        &["sim/block/src/buffer.rs", "sim/block/src/disk/mmap.rs", "sim/block/src/disk/chunk_memory.rs"],
        "aligned pages, borrowed buffers, mapped files, memory given back to the host",
    ),
];

/// Unsafe code outside the places named for it: `forbid` in a crate's root, `allow` in no other file.
pub fn unsafe_code(file: &str, source: &str) -> Vec<Finding> {
    let code = code_only(source);
    let crate_folder = file.split("/src/").next().unwrap_or_default();
    let place = UNSAFE_CRATES.iter().find(|(folder, ..)| *folder == crate_folder);
    let mut findings = Vec::new();
    let is_root = file.ends_with("/src/lib.rs") || file.ends_with("/src/main.rs");
    let forbids = code.contains("#![forbid(unsafe_code)]");
    let denies = code.contains("#![deny(unsafe_code)]");
    let whole_crate = place.is_some_and(|(_, files, _)| files.contains(&"*"));
    let strict_enough = forbids || whole_crate || (denies && place.is_some());
    if is_root && !strict_enough {
        findings.push(Finding::new(file, 0, "a crate's root begins with #![forbid(unsafe_code)]"));
    }
    let named = place.is_some_and(|(_, files, _)| files.contains(&"*") || files.contains(&file));
    for (number, line) in code.lines().enumerate() {
        if line.contains("allow(unsafe_code)") && !named && !(is_root && place.is_some()) {
            let text = "allows unsafe code outside the files that the tidy rules name for it";
            findings.push(Finding::new(file, number + 1, text));
        }
    }
    findings
}

fn lines_with(file: &str, text: &str, check: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let found = text.lines().enumerate().filter_map(|(number, line)| Some((number, check(line)?)));
    found.map(|(number, text)| Finding::new(file, number + 1, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|f| f.line).collect()
    }

    #[test]
    fn every_banned_word_is_found() {
        for ban in KERNEL_SIDE {
            let source = format!("fn f() {{}}\nlet x = {};\n", ban.word);
            assert_eq!(lines(&kernel_side_bans("sim/dm/src/table.rs", &source)), [2], "{}", ban.word);
        }
    }

    #[test]
    fn comments_strings_and_named_files_are_no_breach() {
        let source =
            "// std::env says\nlet s = \"println! HashMap\";\n#[cfg(test)]\nmod tests { use std::thread; }\n";
        assert_eq!(kernel_side_bans("sim/dm/src/table.rs", source), []);
        assert_eq!(kernel_side_bans("sim/block/src/disk/file.rs", "use std::fs::File;"), []);
        assert_eq!(lines(&kernel_side_bans("sim/block/src/registry.rs", "use std::fs::File;")), [1]);
        let excused = "index: HashMap<u64, u64>, // tidy: never iterated\n";
        assert_eq!(kernel_side_bans("sim/dm/src/table.rs", excused), []);
        let import = "use std::collections::HashMap;\n";
        assert_eq!(lines(&kernel_side_bans("sim/dm/src/table.rs", import)), [1]);
        assert_eq!(kernel_side_bans("sim/dm/src/table.rs", &format!("{import}{excused}")), []);
    }

    #[test]
    fn unfinished_work_is_found() {
        for (word, _) in UNDONE {
            assert_eq!(lines(&banned_words("docs/a.md", &format!("\n  // {word}: later"))), [2], "{word}");
        }
        assert_eq!(banned_words("docs/a.md", "mastodons"), []);
    }

    #[test]
    fn machine_paths_are_found() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(lines(&banned_paths("a.sh", &format!("cd {folder}me\n"))), [1]);
            assert_eq!(banned_paths("a.sh", &format!("cp $x{folder}me /job/in{folder}. .")), []);
        }
    }

    #[test]
    fn unsafe_code_has_its_places() {
        assert_eq!(lines(&unsafe_code("sim/dm/src/lib.rs", "//! Hi.\n")), [0]);
        assert_eq!(lines(&unsafe_code("sim/dm/src/lib.rs", "#![deny(unsafe_code)]\n")), [0]);
        assert_eq!(unsafe_code("sim/dm/src/lib.rs", "#![forbid(unsafe_code)]\n"), []);
        assert_eq!(unsafe_code("sim/block/src/lib.rs", "#![deny(unsafe_code)]\n"), []);
        assert_eq!(unsafe_code("sim/block/src/buffer.rs", "#![allow(unsafe_code)]\n"), []);
        assert_eq!(lines(&unsafe_code("sim/block/src/bio.rs", "#![allow(unsafe_code)]\n")), [1]);
        assert_eq!(lines(&unsafe_code("sim/dm/src/table.rs", "\n#[allow(unsafe_code)]\n")), [2]);
    }
}
