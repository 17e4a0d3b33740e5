//! Which crate may use which: arrows go down only.

use super::source::{code_only, has_word};
use super::{Finding, Manifest};

/// Each crate of the repository and the crates of the repository that it may use; a name that ends with `*` is all that begin so.
///
/// Kernel side: machine → targets → dm and persistent-data → block → runtime → units, with the codecs `abi` and `formats`
/// beside it.
/// User side: everything → control → abi → units; control knows nothing of the kernel side, so that it drives a real
/// Linux as well; the preload library knows its messages and nothing else. Nothing on the kernel side uses the user side.
const MAY_USE: &[(&str, &[&str])] = &[
    ("dmlab-units", &[]),
    ("dmlab-abi", &["dmlab-units"]),
    ("dmlab-runtime", &["dmlab-units"]),
    ("dmlab-block", &["dmlab-units", "dmlab-abi", "dmlab-runtime"]),
    ("dmlab-faults", &["dmlab-units", "dmlab-abi", "dmlab-runtime", "dmlab-block"]),
    // What both sides must agree on: targets write these bytes, tools and judges read them.
    ("dmlab-formats", &["dmlab-units"]),
    ("dmlab-bufio", &["dmlab-units", "dmlab-runtime", "dmlab-block"]),
    (
        "dmlab-persistent-data",
        &["dmlab-units", "dmlab-runtime", "dmlab-block", "dmlab-bufio", "dmlab-formats"],
    ),
    ("dmlab-dm", &["dmlab-units", "dmlab-abi", "dmlab-runtime", "dmlab-block"]),
    // A crate for each family of targets: none uses another.
    (
        "dmlab-targets-*",
        &[
            "dmlab-units",
            "dmlab-runtime",
            "dmlab-block",
            "dmlab-dm",
            "dmlab-bufio",
            "dmlab-formats",
            "dmlab-persistent-data",
        ],
    ),
    (
        "dmlab-machine",
        &[
            "dmlab-units",
            "dmlab-abi",
            "dmlab-runtime",
            "dmlab-block",
            "dmlab-faults",
            "dmlab-dm",
            "dmlab-targets-*",
        ],
    ),
    // Tools that read what stands still: bytes, and nothing that moves.
    ("dmlab-thin-tools", &["dmlab-units", "dmlab-formats"]),
    ("dmlab-replay-log", &["dmlab-formats"]),
    ("dmlab-control", &["dmlab-units", "dmlab-abi"]),
    ("dmlab-shim-proto", &["dmlab-units"]),
    ("dmlab-shim", &["dmlab-shim-proto"]),
    ("dmlab-driver", &["dmlab-units", "dmlab-runtime", "dmlab-machine"]),
    // The trait below all fronts: it knows no front, and nothing of what may stand between a front and the machine.
    ("dmlab-kernel-calls", &["dmlab-units", "dmlab-machine"]),
    // What is written down is what crosses the kernel's boundary, whatever carried it there.
    (
        "dmlab-recording",
        &[
            "dmlab-units",
            "dmlab-abi",
            "dmlab-machine",
            "dmlab-driver",
            "dmlab-kernel-calls",
            "dmlab-shim-proto",
        ],
    ),
    // Every front asks it; which paths are simulated is known to both sides of the preload front.
    ("dmlab-view", &["dmlab-units", "dmlab-machine", "dmlab-shim-proto"]),
    (
        "dmlab-server",
        &[
            "dmlab-view",
            "dmlab-units",
            "dmlab-abi",
            "dmlab-runtime",
            "dmlab-block",
            "dmlab-machine",
            "dmlab-driver",
            // Not the recording: it stands between the server and the machine, and the server must not see it.
            "dmlab-kernel-calls",
            "dmlab-shim-proto",
        ],
    ),
    (
        "dmlab",
        &[
            "dmlab-units",
            "dmlab-abi",
            "dmlab-runtime",
            "dmlab-block",
            "dmlab-formats",
            "dmlab-faults",
            "dmlab-machine",
            "dmlab-driver",
            "dmlab-control",
            "dmlab-recording",
            "dmlab-thin-tools",
        ],
    ),
    (
        "dmlab-cli",
        &[
            "dmlab-units",
            "dmlab-abi",
            "dmlab-control",
            "dmlab",
            "dmlab-machine",
            "dmlab-recording",
            "dmlab-server",
            "dmlab-shim-proto",
            "dmlab-thin-tools",
            "dmlab-replay-log",
        ],
    ),
    (
        "dmlab-conformance",
        &[
            "dmlab-units",
            "dmlab-abi",
            "dmlab-runtime",
            "dmlab-block",
            "dmlab-formats",
            // A test looks at a target's metadata without a machine around it.
            "dmlab-targets-thin",
            "dmlab-control",
            "dmlab",
            "dmlab-thin-tools",
            "dmlab-replay-log",
        ],
    ),
    ("xtask", &["dmlab-conformance"]),
    (
        "dmlab-fuzz-entries",
        &[
            "dmlab-units",
            "dmlab-abi",
            "dmlab-control",
            "dmlab-formats",
            "dmlab-machine",
            "dmlab",
            "dmlab-shim-proto",
            "dmlab-server",
            "dmlab-replay-log",
        ],
    ),
    ("dmlab-fuzz", &["dmlab-fuzz-entries"]),
    (
        "dmlab-benches",
        &[
            "dmlab-units",
            "dmlab-abi",
            "dmlab-runtime",
            "dmlab-block",
            "dmlab-dm",
            "dmlab-machine",
            "dmlab-control",
            "dmlab",
            "dmlab-thin-tools",
        ],
    ),
];

/// Arrows between crates of the repository that point up or sideways, for every kind of dependency.
pub fn arrows(manifest: &Manifest) -> Vec<Finding> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| is_meant(name, &manifest.package)) else {
        let text = format!(
            "crate `{}` has no place in the layers: add it to the table of the tidy rules",
            manifest.package
        );
        return vec![Finding::new(&manifest.file, 0, text)];
    };
    let ours = |name: &&String| MAY_USE.iter().any(|(known, _)| known == name) || name.starts_with("dmlab");
    let may_not = |name: &&String| !allowed.iter().any(|known| is_meant(known, name));
    let wrong = manifest.dependencies.iter().filter(ours).filter(may_not);
    wrong
        .map(|name| {
            let may =
                if allowed.is_empty() { "no crate of the repository".to_owned() } else { allowed.join(", ") };
            let text =
                format!("`{}` may not use `{name}`: arrows go down only, it may use {may}", manifest.package);
            Finding::new(&manifest.file, 0, text)
        })
        .collect()
}

/// Whether a name of the table means a crate.
fn is_meant(known: &str, package: &str) -> bool {
    known.strip_suffix('*').map_or(known == package, |beginning| package.starts_with(beginning))
}

/// Places where the target module `own` names another module of its crate that is a target too.
///
/// `modules` are all target modules. `source` is one file of `own`.
pub fn target_independence(file: &str, source: &str, own: &str, modules: &[&str]) -> Vec<Finding> {
    let code = code_only(source);
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for other in modules.iter().filter(|m| **m != own) {
            let direct = ["crate", "super"].iter().any(|root| has_word(line, &format!("{root}::{other}")));
            let grouped = line.split_once("crate::{").is_some_and(|(_, names)| has_word(names, other));
            if direct || grouped {
                let text = format!(
                    "target `{own}` names target `{other}`: a target never names another; shared code belongs below"
                );
                findings.push(Finding::new(file, number + 1, text));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(package: &str, dependencies: &str) -> Manifest {
        let text = format!("[package]\nname = \"{package}\"\n[dependencies]\n{dependencies}");
        Manifest::parse("x/Cargo.toml", &text).unwrap()
    }

    #[test]
    fn arrows_go_down_only() {
        let down = manifest("dmlab-dm", "dmlab-block.workspace = true\nsmallvec.workspace = true\n");
        assert_eq!(arrows(&down), []);
        for (package, wrong) in [
            ("dmlab-dm", "dmlab-targets-basic"),
            ("dmlab-targets-thin", "dmlab-targets-basic"),
            ("dmlab", "dmlab-targets-thin"),
            ("dmlab-control", "dmlab-dm"),
            ("dmlab-machine", "dmlab-control"),
            ("dmlab-block", "dmlab-dm"),
            ("dmlab-shim", "dmlab-server"),
            ("dmlab-thin-tools", "dmlab-persistent-data"),
            ("dmlab-formats", "dmlab-block"),
            ("dmlab-server", "dmlab-unheard-of"),
        ] {
            let findings = arrows(&manifest(package, &format!("{wrong}.workspace = true\n")));
            assert_eq!(findings.len(), 1, "{package} → {wrong}");
        }
        assert_eq!(arrows(&manifest("newcomer", "")).len(), 1);
    }

    #[test]
    fn the_table_itself_has_no_loop() {
        for (at, (name, allowed)) in MAY_USE.iter().enumerate() {
            let below =
                |lower: &&str| MAY_USE.iter().position(|(n, _)| is_meant(n, lower)).is_some_and(|p| p < at);
            for lower in *allowed {
                assert!(below(lower), "{name} → {lower} points up in the table");
            }
        }
    }

    #[test]
    fn targets_do_not_name_each_other() {
        let modules = ["linear", "striped", "zero"];
        let check = |source| {
            target_independence("sim/targets/basic/src/striped.rs", source, "striped", &modules).len()
        };
        assert_eq!(check("use crate::linear::Linear;"), 1);
        assert_eq!(check("fn f() { super::zero::map() }"), 1);
        assert_eq!(check("use crate::{args, linear};"), 1);
        assert_eq!(check("// like crate::linear\nuse crate::args;\nlet linear = crate::striped::X;"), 0);
    }
}
