use super::*;
use crate::Meaning;

static SUPERBLOCK: Meaning = Meaning::new("superblock", "", "", "");
static DATA: Meaning = Meaning::new("data", "", "", "");

fn meanings() -> Meanings {
    Meanings::new([&SUPERBLOCK, &DATA])
}

#[track_caller]
fn refused(text: &str) -> String {
    Rule::from_words(text.split(' '), &meanings()).unwrap_err().to_string()
}

#[test]
fn rules_are_read_as_they_are_written() {
    for text in [
        "device=/dev/ram1 sectors=0..8 op=write fail=EIO nth=3",
        "name=third meaning=superblock torn=3 then=ENOSPC times=1",
        "device=254:0 op=read,flush delay=250ms from=1m until=61s every=2",
        "op=write misdirect=any skip=4 chance=0.25",
        "meaning=data owner=3 index=7 flip=12 from_rule=a until_rule=b",
        "ioctl=table_load device=/dev/mapper/pool moment=done fail=EINTR nth=2",
        "ioctl=any kill=true nth=5",
        "uevent=change device=/dev/dm-0 drop=true",
        "hang=true",
    ] {
        assert_eq!(text.parse::<Rule>().map(|rule| rule.to_string()).as_deref(), Ok(text));
    }
}

#[test]
fn words_have_more_than_one_form() {
    let same = [
        ("drop once", "drop=true times=1"),
        ("watch=true op=any", "watch"),
        ("drop=false hang", "hang"),
        ("ioctl=DM_DEV_REMOVE fail=16", "ioctl=dev_remove fail=EBUSY"),
        ("delay=1.5s", "delay=1500ms"),
        ("delay=0.000001ms", "delay=1ns"),
        ("device=/dev/vg/lv hang", "device=/dev/mapper/vg-lv hang"),
    ];
    for (one, other) in same {
        assert_eq!(one.parse::<Rule>(), other.parse::<Rule>(), "{one} and {other}");
        assert!(one.parse::<Rule>().is_ok(), "{one}");
    }
}

#[test]
fn an_error_says_what_would_be_right() {
    assert!(refused("fial=EIO").starts_with("unknown key `fial`, perhaps `fail`; the keys are name, device"));
    assert!(refused("zzzzzz=1").starts_with("unknown key `zzzzzz`; the keys"));
    assert_eq!(refused("fail=EIO fail=EIO"), "`fail` is given twice");
    assert_eq!(refused("fail=EWHAT"), "fail = \"EWHAT\" is not the name or number of an error, such as EIO");
    assert!(refused("fail=EPERM").contains("is not an error that a block device reports: EIO, ENOSPC"));
    assert!(refused("device=/dev/ram0").contains("this one has none"));
    assert!(refused("drop hang").ends_with("this one has drop, hang"));
    assert!(refused("op=read drop").contains("op write, flush, discard"));
    assert!(refused("op=reed drop").contains("any of read, write, flush, discard"));
    assert!(refused("torn=0").contains("use drop"));
    assert!(refused("drop then=EIO").contains("goes with torn"));
    assert!(refused("meaning=superblok drop").contains("superblock"));
    assert!(refused("owner=3 drop").contains("goes with meaning"));
    assert!(refused("sectors=8..8 drop").contains("8..8 are none"));
    assert!(refused("sectors=8 drop").contains("A..B"));
    assert!(refused("kill").contains("add ioctl"));
    assert!(refused("ioctl=any torn=1").contains("an ioctl can be"));
    assert!(refused("ioctl=reboot fail=EIO").contains("table_load"));
    assert!(refused("ioctl=any op=read fail=EIO").contains("is of bios"));
    assert!(refused("uevent=any fail=EIO").contains("watched or dropped"));
    assert!(refused("hang moment=done").contains("goes with ioctl"));
    assert!(refused("hang delay=5").contains("this one has delay, hang"));
    assert!(refused("delay=5").contains("with its unit"));
    assert!(refused("hang nth=0").contains("counts from 1"));
    assert!(refused("hang nth=1 every=2").contains("one of the two"));
    assert!(refused("hang chance=1.5").contains("above 0 and at most 1"));
    assert!(refused("hang from=2s until=1s").contains("never be awake"));
    assert!(refused("hang name=17").contains("not all digits"));
    assert!(refused("hang=maybe").contains("true or false"));
}

#[test]
fn every_key_is_of_the_grammar() {
    for key in ACTION_KEYS.iter().chain(&FLAGS) {
        assert!(KEYS.contains(key));
    }
    assert!(distance("nht", "nth") <= 2 && distance("", "abc") == 3);
}

mod random {
    use super::*;
    use proptest::prelude::*;

    /// Some word of each part of the grammar, sensible or not.
    fn words() -> impl Strategy<Value = Vec<String>> {
        let some = |words: &'static [&'static str]| prop::option::of(prop::sample::select(words));
        let number =
            |key: &'static str| prop::option::of(0..9u64).prop_map(move |n| n.map(|n| format!("{key}={n}")));
        let place = (
            some(&["device=/dev/ram0", "device=a b", "device=1:3", "device=/dev/v-g/l"]),
            some(&["op=read", "op=write,flush", "op=discard", "op=any"]),
            some(&["sectors=0..8", "sectors=9..9", "sectors=7..99"]),
            some(&["meaning=data", "meaning=superblock"]),
            some(&["ioctl=any", "ioctl=dev_wait", "uevent=remove"]),
        );
        let what = some(&[
            "fail=EIO",
            "fail=EPERM",
            "fail=ENODATA",
            "drop",
            "torn=any",
            "torn=3",
            "flip=any",
            "flip=7",
            "misdirect=8",
            "misdirect=any",
            "delay=1500us",
            "delay=3h",
            "hang",
            "kill",
            "watch",
        ]);
        let when = (
            some(&["from=3s", "from=1m"]),
            some(&["until=1m", "until=62001ms"]),
            some(&["chance=0.125", "chance=2", "chance=1"]),
            some(&["until_rule=x", "moment=done", "then=EIO", "once"]),
            number("owner"),
            number("index"),
            number("skip"),
            number("nth"),
            number("every"),
        );
        (place, what, when).prop_map(|(p, what, w)| {
            let fixed = [p.0, p.1, p.2, p.3, p.4, what, w.0, w.1, w.2, w.3];
            let fixed = fixed.into_iter().flatten().map(str::to_owned);
            fixed.chain([w.4, w.5, w.6, w.7, w.8].into_iter().flatten()).collect()
        })
    }

    proptest! {
        /// What is a rule is written as it is read, and what is none says why.
        #[test]
        fn a_rule_survives_its_words(words in words()) {
            match Rule::from_words(words.iter().map(String::as_str), &meanings()) {
                Ok(rule) => {
                    let again: Vec<String> =
                        rule.to_words().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
                    prop_assert_eq!(Rule::from_words(again.iter().map(String::as_str), &meanings()), Ok(rule));
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
