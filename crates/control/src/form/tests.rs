use super::*;
use crate::targets::FORMS;
use crate::{Surroundings, Table, explain, form_of};
use proptest::prelude::*;

fn usage(target: &str) -> String {
    form_of(target.as_bytes()).unwrap().usage()
}

#[test]
fn a_form_reads_as_a_line() {
    assert_eq!(usage("zero"), "");
    assert_eq!(usage("error"), "[DEVICE OFFSET]");
    assert_eq!(usage("striped"), "STRIPES CHUNK (DEVICE OFFSET)×STRIPES");
    assert_eq!(usage("thin-pool"), "METADATA DATA BLOCK_SIZE LOW_WATER [N_FEATURES FEATURE…]");
    assert_eq!(
        usage("mirror"),
        "core|disk N_LOG [LOG_DEVICE] REGION_SIZE [sync|nosync] LEGS (DEVICE OFFSET)×LEGS [N_FEATURES FEATURE…]"
    );
    assert_eq!(
        usage("multipath"),
        "N_FEATURES FEATURE… N_HANDLER HANDLER… GROUPS FIRST (SELECTOR N_ARGUMENTS SELECTOR_ARGUMENT… PATHS PER_PATH \
         (DEVICE PATH_ARGUMENT×PER_PATH)×PATHS)×GROUPS"
    );
}

/// What is wrong with a line's words, and where.
fn mistake(target: &str, text: &str) -> Option<(usize, Flaw, String)> {
    let reading = form_of(target.as_bytes()).unwrap().read(&Params::from_text(text.as_bytes()));
    reading.mistake.map(|m| (m.word, m.flaw, m.label().unwrap_or_default()))
}

#[test]
fn the_first_word_that_is_wrong_is_found() {
    let cases = [
        ("linear", "/dev/a", 1, Flaw::Missing, "OFFSET"),
        ("linear", "/dev/a 0 1", 2, Flaw::Surplus, "OFFSET"),
        ("linear", "/dev/a x", 1, Flaw::Bad, "OFFSET"),
        ("striped", "2 8 a 0 b", 5, Flaw::Missing, "OFFSET of STRIPE 2"),
        ("striped", "2 8 a 0 b 0 c", 6, Flaw::Surplus, "OFFSET of STRIPE 2"),
        ("delay", "a 0 1 b", 4, Flaw::Missing, "WRITE_OFFSET"),
        ("thin-pool", "a b 128 0 2 read_only", 4, Flaw::Bad, "N_FEATURES"),
        ("mirror", "disk 1 8 2 a 0 b 0", 3, Flaw::Missing, "REGION_SIZE"),
        ("mirror", "core 3 8 sync x 2 a 0 b 0", 4, Flaw::Surplus, "SYNC"),
        ("mirror", "core 1 8 3 a 0 b 0", 8, Flaw::Missing, "DEVICE of LEG 3"),
        ("multipath", "0 0 1 1 round-robin 0 2 1 1:0 1 1:1", 11, Flaw::Missing, "PATH_ARGUMENT of PATH 2"),
        (
            "multipath",
            "0 0 1 1 round-robin 0 18446744073709551615 0 1:0",
            9,
            Flaw::Missing,
            "DEVICE of PATH 2",
        ),
        ("zero", "a", 0, Flaw::Surplus, ""),
    ];
    for (target, text, word, flaw, label) in cases {
        assert_eq!(mistake(target, text), Some((word, flaw, label.to_owned())), "{target} {text}");
    }
    for (target, text) in [
        ("delay", "a 0 1"),
        ("mirror", "disk 3 1:2 8 nosync 2 a 0 b 0 1 handle_errors"),
        ("multipath", "2 queue_mode bio 0 2 1 round-robin 0 1 0 1:0 service-time 0 2 2 1:1 1 9 1:2 1 9"),
    ] {
        assert_eq!(mistake(target, text), None, "{target} {text}");
    }
}

#[test]
fn numbers_have_neighbours_that_are_right() {
    let near = |target: &str, argument: &str, word: &str| {
        let form = form_of(target.as_bytes()).unwrap();
        let Some(argument) = form.items.iter().find_map(|item| match item {
            Item::One(one) if one.name == argument => Some(*one),
            _ => None,
        }) else {
            panic!("{argument}")
        };
        let right = argument.right_for(word, Sectors(1024));
        right.strip_prefix(argument.right).unwrap().to_owned()
    };
    assert_eq!(near("thin-pool", "BLOCK_SIZE", "300"), ": 256 or 384");
    assert_eq!(near("thin-pool", "BLOCK_SIZE", "100"), ": 128");
    assert_eq!(near("thin-pool", "BLOCK_SIZE", "128"), "");
    assert_eq!(near("thin-pool", "BLOCK_SIZE", "18446744073709551615"), "");
    assert_eq!(near("dust", "BLOCK_SIZE", "1000"), ": 512 or 1024");
    assert_eq!(near("snapshot", "CHUNK", "7"), ": 4 or 8");
    assert_eq!(near("snapshot", "CHUNK", "x"), "");
}

#[test]
fn a_page_is_written_between_its_marks() {
    let form = form_of(b"thin-pool").unwrap();
    let (begin, end) = form.marks();
    let page = format!("# thin-pool\n\n{begin}\nformerly\n{end}\n\nMore.\n");
    let written = form.write_into(&page).unwrap();
    assert!(
        written
            .contains("| `BLOCK_SIZE` | sectors, 128 to 2097152, in steps of 128 | the size of a data block")
    );
    assert!(written.contains("| `read_only` | nothing may be written |"));
    assert!(written.ends_with(&format!("\n{end}\n\nMore.\n")) && !written.contains("formerly"));
    assert_eq!(form.write_into(&written).unwrap(), written);
    assert_eq!(form.write_into("# another\n"), None);
}

#[test]
fn a_refused_message_has_its_form_or_a_likely_one() {
    let right = |target: &str, message: &str| form_of(target.as_bytes()).unwrap().explain_message(message);
    assert_eq!(right("zero", "a"), "zero takes no messages");
    assert_eq!(
        right("thin-pool", "create_thin"),
        "thin-pool takes create_thin ID: makes an empty thin device"
    );
    assert!(
        right("thin-pool", "create_thn 0")
            .starts_with("did you mean create_thin? thin-pool takes create_thin ID, ")
    );
    assert!(right("dust", "").starts_with("dust takes addbadblock BLOCK [COUNT], "));
}

/// Each name that an error of a constructor has is that of an argument or of a feature.
#[test]
fn errors_are_about_what_there_is() {
    for form in FORMS {
        let page = form.page();
        let has =
            |name: &str| page.contains(&format!("| `{name}` |")) || page.contains(&format!("| `{name} "));
        for error in form.errors {
            let names: Vec<&str> = match error.about {
                About::Arguments(names) | About::Lookup(names) | About::Length(names) => names.to_vec(),
                About::NoNumber(name) => vec![name],
                About::Below(name, count) => vec![name, count],
                About::Feature(names) => names.to_vec(),
                About::FeatureArgument(names, name) => [names, &[name]].concat(),
                About::Shape | About::UnknownFeature => Vec::new(),
            };
            for name in names {
                assert!(has(name), "{}: `{}` is about {name}", form.target, error.text);
            }
        }
    }
}

proptest! {
    /// Whatever a line says, reading and explaining it ends, and marks something in it.
    #[test]
    fn any_words_are_explained(
        at in 0..FORMS.len(),
        words in prop::collection::vec("[0-9]{1,3}|a|core|disk|sync|queue_mode|bio|corrupt_bio_byte|read_only|18446744073709551615", 0..14),
        errno in prop::sample::select(vec!["EINVAL", "ENOENT", "ENXIO", "EOVERFLOW", "EBUSY"]),
    ) {
        let form = FORMS[at];
        let line = format!("0 96 {} {}", form.target, words.join(" "));
        let table: Table = line.parse().unwrap();
        for text in form.errors.iter().map(|error| error.text).chain(["something new"]) {
            let log = format!("device-mapper: table: 254:0: {}: {text} (-{errno})", form.target);
            if let Some(found) = explain(&table, &[log], &Surroundings::default()) {
                prop_assert!(found.span.0 < found.span.1);
            }
        }
    }
}
