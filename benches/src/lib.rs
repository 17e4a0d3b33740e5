//! Criterion benches of the bio path, ioctls and disks; run them with `cargo bench -p dmlab-benches`.
#![forbid(unsafe_code)]
