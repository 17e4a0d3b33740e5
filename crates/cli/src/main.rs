//! The `dmlab` command.
fn main() {}
