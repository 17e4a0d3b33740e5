//! The repository's own commands: `cargo xtask test` does everything that CI does.
#![forbid(unsafe_code)]

mod attack;
mod differ;
mod fuzz;
mod needs;
mod new_target;
mod oracle;
mod sequences;
mod steps;
mod twice;
mod whole;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  test                        set up this machine, then every check and test (ci is the same)
  ci
  golden [-k PATTERN]         run recorded cases through `dmlab run`, as an ordinary user
  oracle setup                build the virtual machine with the real Linux device mapper
  oracle run SCRIPT […]       run a script in it (crates/conformance/oracle/oracle says how)
  oracle record [CASE…]       record cases on it (crates/conformance/golden/record says how)
  oracle record-thin-sequences FIRST LAST [EVERY]
                              record random sequences of pool operations on it (seeds FIRST to LAST)
  new-target NAME             write a target's files, which compile and say what to fill in
  twice                       run every lab test twice, and compare what each lab saw
  fuzz [TARGET] [SECONDS]     feed random bytes to the decoders (all targets, 10 s each)
  differ [--cases N] [--seed S] [--kernel 6.1|6.12|7.2]
                              run random scripts here and on a real Linux, and show the shortest of each difference
  attack [--long] [--seed N] [NAME…]
                              damaged images, lying clients, random ioctls, programs that are killed or many at once
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.split_first() {
        Some((&("test" | "ci"), [])) => whole::run(),
        Some((&"golden", rest)) => whole::golden(rest),
        Some((&"oracle", ["record-thin-sequences", rest @ ..])) => sequences::record(rest),
        Some((&"oracle", rest)) => oracle::run(rest),
        Some((&"new-target", [name])) => new_target::run(name),
        Some((&"twice", [])) => twice::run(),
        Some((&"fuzz", rest)) => fuzz::run(rest),
        Some((&"attack", rest)) => attack::run(rest),
        Some((&"differ", rest)) => differ::run(rest),
        _ => {
            eprint(USAGE);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint(&format!("xtask: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// The top folder of the repository.
fn repository() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("crates/xtask lies two folders below the top").to_path_buf()
}

/// The cargo that runs this.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

#[expect(clippy::print_stderr, reason = "a command says on stderr what went wrong")]
fn eprint(text: &str) {
    eprint!("{text}");
}
