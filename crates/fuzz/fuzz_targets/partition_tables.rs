//! libFuzzer's way into the entry of the same name.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (dmlab_fuzz_entries::entry("partition_tables").expect("it exists").run)(bytes));
