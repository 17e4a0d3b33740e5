//! A bounded number of inputs through each entry, so that every test run feeds the decoders some.

use dmlab_fuzz_entries::mutate::Mutator;
use dmlab_fuzz_entries::{ENTRIES, entry};

const INPUTS: usize = 20_000;

#[test]
fn samples_are_taken() {
    for entry in ENTRIES {
        assert!(!(entry.samples)().is_empty());
        (entry.samples)().iter().for_each(|sample| (entry.run)(sample));
        (entry.run)(&[]);
    }
}

#[test]
fn the_ioctl_decoder_takes_anything() {
    feed("ioctl_decode", INPUTS);
}

#[test]
fn the_table_parser_takes_anything() {
    feed("table_parse", INPUTS);
}

#[test]
fn the_shim_protocol_takes_anything() {
    feed("shim_protocol", INPUTS);
}

#[test]
fn a_machine_takes_any_ioctls() {
    // Each input boots a machine, so there are fewer.
    feed("machine_ioctls", INPUTS / 20);
}

#[test]
fn any_log_can_be_replayed() {
    feed("replay_log", INPUTS / 10);
}

#[test]
fn the_grammar_of_faults_takes_anything() {
    feed("fault_rules", INPUTS);
}

#[test]
fn any_recording_can_be_replayed() {
    feed("recording", INPUTS / 40);
}

#[test]
fn a_snapshot_takes_any_store() {
    feed("snapshot_store", INPUTS / 20);
}

#[test]
fn a_pool_takes_any_metadata() {
    feed("thin_metadata", INPUTS / 20);
}

#[test]
fn a_pool_takes_any_messages() {
    feed("thin_messages", INPUTS / 10);
}

fn feed(name: &str, inputs: usize) {
    let entry = entry(name).expect("an entry of this name");
    let mut mutator = Mutator::new(7, (entry.samples)(), entry.len_max);
    for _ in 0..inputs {
        (entry.run)(&mutator.next_input());
    }
}

#[test]
fn every_entry_has_a_libfuzzer_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz_targets");
    let manifest = std::fs::read_to_string(folder.join("../Cargo.toml")).expect("crates/fuzz/Cargo.toml");
    for entry in ENTRIES {
        let file = folder.join(format!("{}.rs", entry.name));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(text.contains(&format!("\"{}\"", entry.name)), "{} runs another entry", file.display());
        assert!(manifest.contains(&format!("name = \"{}\"", entry.name)), "no [[bin]] for {}", entry.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_inputs() {
    let inputs = |seed| {
        let mut mutator = Mutator::new(seed, vec![b"sample".to_vec()], 100);
        (0..50).map(|_| mutator.next_input()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(3), inputs(3));
    assert_ne!(inputs(3), inputs(4));
}
