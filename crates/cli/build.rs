//! Builds the preload library and hands it to the binary, which carries it inside.
//!
//! `front/` holds the library's sources, as links into its own crates: a package of this crate has them as files, so that it
//! builds without the workspace around it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates that the library is made of: a folder of `front/`, the package's name, what else its manifest says.
const CRATES: [(&str, &str, &str); 2] = [
    ("shim-proto", "dmlab-shim-proto", ""),
    (
        "shim",
        "dmlab-shim",
        "[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\nlibc = \"0.2\"\n\
         dmlab-shim-proto = { path = \"../shim-proto\" }\n",
    ),
];

/// How it is built: small, without what only a developer reads.
const PROFILE: &str = "[profile.release]\nopt-level = 3\ndebug = 0\nstrip = true\npanic = \"abort\"\nlto = \"fat\"\n\
                       codegen-units = 1\n";

fn main() {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    let workspace = out.join("front");
    for (folder, package, rest) in CRATES {
        let sources = here.join("front").join(folder);
        // The folder behind the link: a link's own time stamp never changes.
        let sources = sources.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", sources.display()));
        println!("cargo::rerun-if-changed={}", sources.display());
        let to = workspace.join(folder);
        copy(&sources, &to.join("src"));
        let version = variable("CARGO_PKG_VERSION");
        let manifest =
            format!("[package]\nname = \"{package}\"\nversion = \"{version}\"\nedition = \"2024\"\n{rest}");
        write(&to.join("Cargo.toml"), &manifest);
    }
    let top = format!("[workspace]\nresolver = \"3\"\nmembers = [\"shim\", \"shim-proto\"]\n{PROFILE}");
    write(&workspace.join("Cargo.toml"), &top);
    // The same versions of outside crates as all else: from the workspace's lock file, or from the package's.
    for lock in [here.join("../../Cargo.lock"), here.join("Cargo.lock")] {
        if let Ok(text) = fs::read_to_string(&lock) {
            println!("cargo::rerun-if-changed={}", lock.display());
            write(&workspace.join("Cargo.lock"), &text);
            break;
        }
    }
    let library = build(&workspace, &out.join("shim"), &variable("TARGET"));
    println!("cargo::rustc-env=DMLAB_SHIM={}", library.display());
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name}: {error}"))
}

/// Writes a file, unless it holds that already: a new time stamp would have it built again.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a file lies in a folder"))
        .and_then(|()| fs::write(path, text))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Copies Rust sources, and removes what is no longer among them.
fn copy(from: &Path, to: &Path) {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for gone in entries(to).filter(|entry| !from.join(entry.file_name()).exists()) {
        let path = gone.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    for entry in entries(from) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            write(&to, &text);
        }
    }
}

/// Builds the library, with a target folder of its own: the outer cargo holds the lock of its own one.
fn build(workspace: &Path, target_folder: &Path, target: &str) -> PathBuf {
    let mut build = Command::new(variable("CARGO"));
    // What the outer cargo tells its compilers (wrappers such as clippy, flags, its job server) is not for this build.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_cargos = text.starts_with("CARGO") && text != "CARGO_HOME" && !text.starts_with("CARGO_NET");
        if is_cargos || text.starts_with("RUSTC") || matches!(&*text, "RUSTFLAGS" | "RUSTDOC" | "MAKEFLAGS") {
            build.env_remove(name);
        }
    }
    build.args(["build", "--package", "dmlab-shim", "--release", "--quiet", "--target", target]);
    build.arg("--target-dir").arg(target_folder).current_dir(workspace);
    // Its one outside crate is one of the outer build's as well, which has fetched it.
    let is_built = |build: &mut Command| build.status().expect("cargo can be started").success();
    let mut offline = Command::new(build.get_program());
    offline.args(build.get_args()).arg("--offline").current_dir(workspace);
    for (name, value) in build.get_envs() {
        match value {
            Some(value) => offline.env(name, value),
            None => offline.env_remove(name),
        };
    }
    assert!(is_built(&mut offline) || is_built(&mut build), "the preload library does not build: {build:?}");
    target_folder.join(target).join("release/libdmlab_shim.so")
}
