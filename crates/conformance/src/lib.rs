//! What the repository is held to: transcripts recorded on a real Linux, and its own rules.
//!
//! - [`golden`] runs the recorded cases in `golden/cases` against a `dmlab` binary, as an ordinary user.
//! - [`tidy`] checks the repository's rules: which crate may use which, what the kernel side may not touch,
//!   how files are named. Each rule is a function from text to findings, so that each is shown able to fail.
//! - [`thin_sequences`] makes random sequences of pool operations, recorded on a real Linux and replayed.
//! - [`differ`] makes random scripts to run here and on a real Linux.
//! - [`architecture`] makes the map of the crates from their Cargo.toml files.
//! - [`docs`] reads the documentation: its links, its conformance tables and its console examples.
#![forbid(unsafe_code)]

pub mod architecture;
pub mod dice;
pub mod differ;
pub mod docs;
pub mod golden;
pub mod thin_sequences;
pub mod tidy;

use std::path::PathBuf;

/// The top folder of the repository this crate was built in.
pub fn repository() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("crates/conformance lies two folders below the top").to_path_buf()
}
