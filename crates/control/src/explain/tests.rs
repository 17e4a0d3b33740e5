use super::*;

/// Explains `text` with one log line; the marks below the table line and the advice.
fn explained(text: &str, line: &str) -> (String, String) {
    let table: Table = text.parse().unwrap();
    let log = vec![
        format!("device-mapper: table: {line}"),
        "device-mapper: ioctl: error adding target to table".into(),
    ];
    let found =
        explain(&table, &log, &Surroundings { types: &["linear".into(), "zero".into()], has_device: None })
            .unwrap_or_else(|| panic!("no explanation of {line}"));
    let marked: String =
        found.table_line.chars().skip(found.span.0).take(found.span.1 - found.span.0).collect();
    (marked, found.right)
}

#[test]
fn the_word_at_fault_is_marked() {
    let cases = [
        ("0 8 linear /dev/ram0", "254:0: linear: Invalid argument count (-EINVAL)", ""),
        ("0 8 linear /dev/ram0 0 7 8", "254:0: linear: Invalid argument count (-EINVAL)", "7 8"),
        ("0 8 zero\n8 8 linear /dev/ram0 -1", "254:0: linear: Invalid device sector (-EINVAL)", "-1"),
        ("0 8 linear /dev/ram9 0", "254:0: linear: Device lookup failed (-ENOENT)", "/dev/ram9"),
        ("0 8 linear 1:0 0\n8 8 linear /nope 0", "254:0: linear: Device lookup failed (-ENOENT)", "/nope"),
        ("0 8 linear 5000:1 0", "254:0: linear: Device lookup failed (-EOVERFLOW)", "5000:1"),
        ("0 8 nosuch", "254:3: nosuch: unknown target type", "nosuch"),
        ("0 8 zero\n9 8 zero", "254:0: zero: Gap in table (-EINVAL)", "9"),
        ("8 8 zero", "254:0: zero: Gap in table (-EINVAL)", "8"),
        ("0 8 zero\n8 0 zero", "254:0: zero-length target", "0"),
        ("0 18014398509481984 zero", "254:0: too large device", "0 18014398509481984"),
        ("0 8 zero a b", "254:0: zero: No arguments required (-EINVAL)", "a b"),
        (
            "0 10 striped 3 1 a 0 b 0 c 0",
            "254:0: striped: Target length not divisible by number of stripes (-EINVAL)",
            "10",
        ),
        (
            "0 12 striped 2 4 a 0 b 0",
            "254:0: striped: Target length not divisible by chunk size (-EINVAL)",
            "12",
        ),
        ("0 16 striped 2 4 a 0", "254:0: striped: Not enough destinations specified (-EINVAL)", ""),
        ("0 16 striped 1 4 a 0 b 0", "254:0: striped: Not enough destinations specified (-EINVAL)", "b 0"),
        ("0 16 striped 0 4", "254:0: striped: Invalid stripe count (-EINVAL)", "0"),
        ("0 16 striped 2 x a 0 b 0", "254:0: striped: Invalid chunk_size (-EINVAL)", "x"),
        ("0 16 striped", "254:0: striped: Not enough arguments (-EINVAL)", ""),
        ("0 16 striped 2 4 a 0 b y", "254:0: striped: Couldn't parse stripe destination (-EINVAL)", "y"),
        ("0 16 striped 2 4 1:0 0 /b 0", "254:0: striped: Couldn't parse stripe destination (-ENOENT)", "/b"),
        (
            "0 16 striped 1 4 /dev/mapper/a 0",
            "254:0: striped: Couldn't parse stripe destination (-EINVAL)",
            "/dev/mapper/a",
        ),
        ("0 64 error /dev/nope 0", "254:3: error: Device lookup failed (-ENOENT)", "/dev/nope"),
        (
            "0 1000000 linear /dev/ram0 0",
            "254:0: ram0 too small for target: start=0, len=1000000, dev_size=524288",
            "1000000",
        ),
        (
            "0 8 linear /dev/ram0 524288",
            "254:0: ram0 too small for target: start=524288, len=8, dev_size=524288",
            "524288",
        ),
        (
            "0 1048576 striped 2 8 a 0 b 8",
            "254:0: ram1 too small for target: start=8, len=524288, dev_size=524288",
            "1048576",
        ),
        ("0 8 linear /dev/n 1", "254:0: start=1 not aligned to h/w logical block size 4096 of nullb0", "1"),
        ("0 9 linear /dev/n 0", "254:0: len=9 not aligned to h/w logical block size 4096 of nullb0", "9"),
    ];
    for (table, line, want) in cases {
        assert_eq!(explained(table, line).0, want, "{table} | {line}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each target")]
fn of_every_target_the_argument_at_fault_is_marked() {
    let pool = |said: &str| format!("254:2: thin-pool: {said} (-EINVAL)");
    let cases = [
        ("0 8 thin-pool a b 100 0", pool("Invalid block size"), "100", "multiple of 128"),
        ("0 8 thin-pool a b 300 0", pool("Invalid block size"), "300", "256 or 384"),
        ("0 8 thin-pool a a 128 0", pool("Error setting metadata or data device"), "a", "another device"),
        ("0 8 thin-pool a b 128 x", pool("Invalid low water mark"), "x", "data blocks"),
        ("0 8 thin-pool a b 128 0 9", pool("Invalid number of pool feature arguments"), "9", "0 to 4"),
        (
            "0 8 thin-pool a b 128 0 2 read_only odd",
            pool("Unrecognised pool feature requested"),
            "odd",
            "ignore_discard",
        ),
        ("0 8 thin p 99999999", "254:3: thin: Invalid device id (-EINVAL)".into(), "99999999", "16777215"),
        (
            "0 8 thin p 7",
            "254:3: thin: Couldn't open thin internal device (-ENODATA)".into(),
            "7",
            "create_thin",
        ),
        (
            "0 8 snapshot a b P 7",
            "254:0: snapshot: Couldn't create exception store (-EINVAL)".into(),
            "7",
            "4 or 8",
        ),
        (
            "0 8 snapshot a b Q 8",
            "254:0: snapshot: Couldn't create exception store (-EINVAL)".into(),
            "Q",
            "PO",
        ),
        (
            "0 8 snapshot a a P 8",
            "254:0: snapshot: COW device cannot be the same as origin device (-EINVAL)".into(),
            "a",
            "ORIGIN",
        ),
        ("0 8 delay a 0 abc", "254:0: delay: Invalid delay (-EINVAL)".into(), "abc", "milliseconds"),
        ("0 8 delay a 0 1 b x 1", "254:0: delay: Invalid device sector (-EINVAL)".into(), "x", "sectors"),
        ("0 8 delay a 0", "254:0: delay: Requires exactly 3, 6 or 9 arguments (-EINVAL)".into(), "", "MS"),
        (
            "0 8 flakey a 0 0 0",
            "254:0: flakey: Total (up + down) interval is zero (-EINVAL)".into(),
            "0",
            "not both 0",
        ),
        (
            "0 8 flakey a 0 1 1 2 drop_writes nope",
            "254:0: flakey: Unrecognised flakey feature requested (-EINVAL)".into(),
            "nope",
            "error_reads",
        ),
        (
            "0 8 dust a 0 1000",
            "254:0: dust: Block size must be a power of 2 (-EINVAL)".into(),
            "1000",
            "512 or 1024",
        ),
        ("0 8 switch 0 8 0", "254:0: switch: Invalid number of paths (-EINVAL)".into(), "0", "at least 1"),
        (
            "0 8 unstriped 2 8 2 a 0",
            "254:0: unstriped: Please provide stripe between [0, # of stripes] (-EINVAL)".into(),
            "2",
            "0 to 1",
        ),
        (
            "0 8 mirror core 1 8 1 a 0",
            "254:0: mirror: Invalid number of mirrors (-EINVAL)".into(),
            "1",
            "2 to 9",
        ),
        (
            "0 8 mirror cor 1 8 2 a 0 b 0",
            "254:0: mirror: Error creating mirror dirty log (-EINVAL)".into(),
            "cor",
            "did you mean core?",
        ),
        (
            "0 8 multipath 2 queue_mode zz 0 1 1 round-robin 0 1 0 a",
            "254:0: multipath: Unknown 'queue_mode' requested (-EINVAL)".into(),
            "zz",
            "bio",
        ),
    ];
    for (table, line, word, advice) in cases {
        let (marked, right) = explained(table, &line);
        assert_eq!(marked, word, "{table} | {line}");
        assert!(right.contains(advice), "{table} | {line}: {right}");
    }
}

#[test]
fn a_misspelt_target_has_a_likely_one() {
    let right = |table: &str, word: &str| explained(table, &format!("254:3: {word}: unknown target type")).1;
    assert_eq!(
        right("0 8 Linear a 0", "Linear"),
        "did you mean linear? The kernel's target types: linear, zero"
    );
    assert_eq!(right("0 8 crypt a 0", "crypt"), "one of the kernel's target types: linear, zero");
}

#[test]
fn the_advice_holds_the_numbers() {
    let right = |table, line| explained(table, line).1;
    let line = "254:0: ram0 too small for target: start=8, len=1000000, dev_size=524288";
    let advice =
        "LENGTH: ram0 has 524288 sectors, so from sector 8 on at most 524280; the table needs 1000000";
    assert_eq!(right("0 1000000 linear /dev/ram0 8", line), advice);
    let line = "254:0: striped: Target length not divisible by number of stripes (-EINVAL)";
    assert_eq!(
        right("0 10 striped 3 1 a 0 b 0 c 0", line),
        "LENGTH: a multiple of STRIPES = 3 sectors: 9 or 12"
    );
    assert_eq!(
        right("0 8 nosuch", "254:3: nosuch: unknown target type"),
        "one of the kernel's target types: linear, zero"
    );
}

#[test]
fn it_reads_as_a_picture() {
    let table: Table = "0 8 linear /dev/ram0 x".parse().unwrap();
    let log = ["device-mapper: table: 254:0: linear: Invalid device sector (-EINVAL)".to_owned()];
    let text = explain(&table, &log, &Surroundings::default()).unwrap().to_string();
    let want = "kernel log: device-mapper: table: 254:0: linear: Invalid device sector (-EINVAL)
  0 8 linear /dev/ram0 x
                       ^
  OFFSET: where on its device the target begins, a decimal number of sectors without sign or unit";
    assert_eq!(text, want);
}

#[test]
fn what_is_not_understood_is_left_alone() {
    let table: Table = "0 8 zero".parse().unwrap();
    for line in [
        "",
        "device-mapper: ioctl: error adding target to table",
        "device-mapper: table: 254:0: thin: odd (-EINVAL)",
    ] {
        assert_eq!(explain(&table, &[line.to_owned()], &Surroundings::default()), None, "{line}");
    }
}

#[test]
fn of_several_devices_the_missing_one_is_marked() {
    let table: Table = "0 8 linear /dev/ram7 0\n8 8 linear /dev/rom7 0".parse().unwrap();
    let log = ["device-mapper: table: 254:0: linear: Device lookup failed (-ENOENT)".to_owned()];
    let has = |text: &str| text == "/dev/ram7";
    let found = explain(&table, &log, &Surroundings { types: &[], has_device: Some(&has) }).unwrap();
    assert_eq!((found.table_line.as_str(), found.span), ("8 8 linear /dev/rom7 0", (11, 20)));
    assert_eq!(found.right, "DEVICE: a path that exists, or MAJOR:MINOR");
    let unsure = explain(&table, &log, &Surroundings::default()).unwrap();
    assert!(unsure.right.contains("one of /dev/ram7, /dev/rom7"));
}

#[test]
fn a_text_that_no_form_has_shows_the_whole_line() {
    let (marked, right) = explained("0 8 dust /dev/ram0 0", "254:0: dust: Invalid argument count (-EINVAL)");
    assert_eq!(marked, "");
    assert!(right.starts_with("BLOCK_SIZE is missing: the size of a block in bytes"), "{right}");
    assert!(right.ends_with("; dust takes DEVICE OFFSET BLOCK_SIZE"), "{right}");
    let (marked, right) =
        explained("0 8 dust /dev/ram0 0 512", "254:0: dust: What nobody has seen (-EINVAL)");
    assert_eq!(marked, "/dev/ram0 0 512");
    assert!(right.ends_with("the kernel says \"What nobody has seen\""), "{right}");
    let (marked, _) = explained(
        "0 8 snapshot-origin",
        "254:0: snapshot-origin: origin: incorrect number of arguments (-EINVAL)",
    );
    assert_eq!(marked, "");
    let mirror = "0 8 mirror core 1 8 2 /dev/ram0 0 /dev/nope 0";
    let has_device = |text: &str| text == "/dev/ram0";
    let known = Surroundings { types: &[], has_device: Some(&has_device) };
    let log = ["device-mapper: table: 254:0: mirror: Device lookup failure (-ENOENT)".to_owned()];
    let found = explain(&mirror.parse().unwrap(), &log, &known).unwrap();
    assert_eq!(&found.table_line[found.span.0..found.span.1], "/dev/nope");
    let (marked, right) = explained(
        "0 1000000 delay /dev/ram0 8 5",
        "254:0: ram0 too small for target: start=8, len=1000000, dev_size=524288",
    );
    assert_eq!(marked, "1000000");
    assert!(right.contains("at most 524280"), "{right}");
}
