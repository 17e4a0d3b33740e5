//! Rules of faults: files and words.

use dmlab::machine::faults::{Rule, meanings, read_rules};

/// Takes `bytes` for a file of rules, and for the words of one.
pub(crate) fn parse(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let meanings = meanings();
    let from_file = read_rules(&text, &meanings).unwrap_or_default();
    let from_words = Rule::from_words(text.split('\n'), &meanings);
    for rule in from_file.into_iter().chain(from_words) {
        assert_eq!(rule.check(), Ok(()));
        let words: Vec<String> =
            rule.to_words().iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(Rule::from_words(words.iter().map(String::as_str), &meanings), Ok(rule));
    }
}

/// Files and lists of words that hold all there is.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let words = [
        "name=third\ndevice=/dev/ram1\nsectors=0..8\nop=write,flush\nfail=EIO\nnth=3",
        "device=/dev/vg/lv\nmeaning=data\nowner=3\nindex=7\ntorn=any\nthen=ENODATA\nchance=0.25",
        "ioctl=table_load\ndevice=254:0\nmoment=done\ndelay=1.5s\nfrom=1m\nuntil=1h",
        "uevent=change\ndrop\nonce",
        "flip=4095\nskip=3\nevery=7\ntimes=9\nfrom_rule=a\nuntil_rule=b",
        "misdirect=any",
        "hang",
    ];
    let file = "# what goes wrong\n[[fault]]\nname = \"a\"\nmeaning = \"superblock\"\nop = \"write\"\ntorn = 3\nonce = true\n\n[[fault]]\nioctl = \"any\"\nkill = true\nchance = 0.5\nfrom_rule = \"a\"\n";
    words.iter().map(|text| text.as_bytes().to_vec()).chain([file.as_bytes().to_vec()]).collect()
}
