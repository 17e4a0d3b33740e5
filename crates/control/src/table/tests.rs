use super::*;
use crate::{ErrorTarget, Linear, Striped, Zero};
use proptest::prelude::*;

#[test]
fn text_reads_back() {
    let text = "0 8 linear /dev/ram0 0\n8 16 striped 2 8 1:0 0 /dev/ram1 8\n24 8 zero\n32 8 error\n";
    let table: Table = text.parse().unwrap();
    assert_eq!(table.to_string(), text);
    assert_eq!(table.end(), Sector(40));
    let built = Table::new()
        .then(Sectors(8), Linear::new("/dev/ram0", Sector(0)))
        .then(Sectors(16), Striped::new(Sectors(8), [("1:0", Sector(0)), ("/dev/ram1", Sector(8))]))
        .then(Sectors(8), Zero)
        .then(Sectors(8), ErrorTarget::default());
    assert_eq!(built, table);
    assert_eq!(Table::from_specs(&table.to_specs()), Ok(table));
}

#[test]
fn blanks_and_comments_are_left_out() {
    let table: Table = "# a table\n\n  0\t8  linear   /dev/ram0\t\x0b 0  \n".parse().unwrap();
    assert_eq!(table.to_string(), "0 8 linear /dev/ram0 0\n");
}

#[test]
fn errors_name_the_line_and_the_word() {
    let error = |text: &str| text.parse::<Table>().unwrap_err().to_string();
    assert_eq!(error("foo"), "table line 1: `foo` is not START LENGTH TYPE [PARAMETERS…]");
    assert_eq!(error("\n0 x zero"), "table line 2: `x` is no number of sectors (decimal, below 2^64)");
    assert_eq!(error("0 -1 zero"), "table line 1: `-1` is no number of sectors (decimal, below 2^64)");
    let long = error("0 8 zeroxxxxxxxxxxxx");
    assert_eq!(long, "table line 1: target type `zeroxxxxxxxxxxxx`: the name has 16 bytes, at most 15 fit");
}

#[test]
fn a_backslash_of_the_text_reaches_the_constructor() {
    // What golden case core/escape shows through dmsetup: three words, the first ending in a backslash.
    let table: Table = "0 8 linear /dev/ram0\\ 0 0".parse().unwrap();
    assert_eq!(table.lines[0].params.to_kernel(), b"/dev/ram0\\\\ 0 0");
    assert_eq!(Params::from_kernel(b"/dev/ram0\\\\ 0 0"), table.lines[0].params);
}

#[test]
fn the_kernel_splits_as_recorded() {
    // kernel/dm-core.md#splitting-parameters: a real tab, one backslash, a real newline.
    let words = |text: &[u8]| Params::from_kernel(text).words().map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(words(b"\t/dev/r\\am0\n 8  "), [b"/dev/ram0".to_vec(), b"8".to_vec()]);
    assert_eq!(words(b"8\\"), [b"8\\".to_vec()]);
    assert_eq!(words(b"a\\ b\xa0c"), [b"a b".to_vec(), b"c".to_vec()]);
    assert_eq!(words(b" \x0b\x0c "), Vec::<Vec<u8>>::new());
}

#[test]
fn parameters_of_known_targets_are_checked() {
    let parse = |text: &str| Linear::parse(&Params::from_text(text.as_bytes()));
    assert_eq!(parse("1:0 8"), Ok(Linear::new("1:0", Sector(8))));
    let message = parse("/dev/ram0 x").unwrap_err().to_string();
    assert_eq!(
        message,
        "linear x: OFFSET is where on its device the target begins, a decimal number of sectors without sign or unit; linear \
         takes DEVICE OFFSET"
    );
    for wrong in ["2 8 1:0 0", "x 8", "", "1 8 1:0 y", "18446744073709551615 8", "0 8 1:0 0"] {
        assert!(Striped::parse(&Params::from_text(wrong.as_bytes())).is_err(), "{wrong}");
    }
    assert!(Zero::parse(&Params::from_text(b"a")).is_err());
    assert_eq!(ErrorTarget::parse(&Params::from_text(b"a")), Ok(ErrorTarget::default()));
}

proptest! {
    #[test]
    fn any_words_reach_the_constructor(words in prop::collection::vec(prop::collection::vec(1u8.., 1..9), 0..6)) {
        let params = Params::from_words(&words);
        prop_assert_eq!(Params::from_kernel(&params.to_kernel()), params);
    }

    #[test]
    fn any_text_parses_or_says_why(text in "\\PC*|[0-9 a-z\\\\\n]*") {
        if let Ok(table) = text.parse::<Table>() {
            prop_assert_eq!(table.to_string().parse::<Table>().unwrap(), table);
        }
    }

    #[test]
    fn typed_lines_read_back(chunk in 1u64.., offsets in prop::collection::vec(any::<u64>(), 1..5)) {
        let striped = Striped::new(Sectors(chunk), offsets.into_iter().map(|o| ("/dev/x", Sector(o))));
        prop_assert_eq!(Striped::parse(&striped.params()), Ok(striped));
    }
}
