//! Builds the preload library and hands it to the binary, which carries it inside.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let top = here.join("../..");
    for source in
        ["crates/shim/src", "crates/shim/Cargo.toml", "crates/shim-proto/src", "crates/shim-proto/Cargo.toml"]
    {
        println!("cargo::rerun-if-changed={}", top.join(source).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    // A target directory of its own: the outer cargo holds the lock of its own one.
    let target_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("shim");
    let target = env::var("TARGET").expect("cargo sets it");
    let mut build = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    // What the outer cargo tells its compilers (wrappers such as clippy, flags, its job server) is not for this build.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_cargos = text.starts_with("CARGO") && text != "CARGO_HOME" && !text.starts_with("CARGO_NET");
        if is_cargos || text.starts_with("RUSTC") || matches!(&*text, "RUSTFLAGS" | "RUSTDOC" | "MAKEFLAGS") {
            build.env_remove(name);
        }
    }
    build
        .args(["build", "--package", "dmlab-shim", "--release", "--locked", "--quiet", "--target", &target])
        .arg("--manifest-path")
        .arg(top.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    let status = build.status().expect("cargo can be started");
    assert!(status.success(), "the preload library does not build: {build:?}");
    let library = target_dir.join(&target).join("release/libdmlab_shim.so");
    println!("cargo::rustc-env=DMLAB_SHIM={}", library.display());
}
