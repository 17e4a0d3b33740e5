//! A seed is all that a run depends on: ten thousand random workloads, each run twice, and once more by a build with
//! optimisation, give the same log, events and bytes.

mod binary;

use std::process::Command;

const SEEDS: u64 = 10_000;

#[test]
fn ten_thousand_seeds_twice_and_in_both_builds() {
    let release = Command::new(binary::dmlab())
        .args(["prove", "--seeds", &SEEDS.to_string()])
        .output()
        .expect("the release binary runs");
    assert!(release.status.success(), "{}", String::from_utf8_lossy(&release.stderr));
    let here = dmlab::prove(0..SEEDS, |_| {});
    let printed = String::from_utf8_lossy(&release.stdout);
    assert_eq!(printed, format!("{SEEDS} seeds from 0 on, each run twice: {here}\n"));
}
