//! Random tables: most of them right, some with a word that is wrong.

use crate::dice::Dice;

/// Sectors that a device may have.
const SIZES: &[u64] = &[8, 64, 128, 1000, 1024, 2048, 4096, 8192, 16384];
/// Words that are wrong in most places.
const WRONG: &[&str] = &[
    "x",
    "-1",
    "0",
    "1",
    "3",
    "7",
    "9",
    "128",
    "1000000",
    "1:0",
    "254:0",
    "/dev/ram9",
    "core",
    "+5",
    "0x10",
    "1x",
];

/// Where a table takes its devices from.
pub(super) struct Around<'a> {
    /// Names of devices that the script has made, and their sizes.
    pub(super) devices: &'a [(String, u64)],
}

impl Around<'_> {
    /// A device below, and so many sectors as it surely has.
    fn below(&self, dice: &mut Dice) -> (String, u64) {
        if !self.devices.is_empty() && dice.chance(35) {
            let at = dice.from(0, self.devices.len() as u64 - 1) as usize;
            let (name, size) = &self.devices[at];
            return (format!("/dev/mapper/{name}"), *size);
        }
        (ram(dice), 524_288)
    }
}

/// One of the disks.
fn ram(dice: &mut Dice) -> String {
    format!("/dev/ram{}", dice.from(0, 5))
}

/// An offset that leaves room for `len` sectors on a device of `size`, or now and then does not.
fn offset(dice: &mut Dice, len: u64, size: u64) -> u64 {
    if dice.chance(5) {
        return size.saturating_sub(dice.from(0, len));
    }
    let room = size.saturating_sub(len);
    dice.one_of(&[0, 0, 8, 64, 1024, 2048]).min(room)
}

fn delay(dice: &mut Dice, len: u64, around: &Around<'_>) -> (&'static str, String) {
    let (device, size) = around.below(dice);
    let read = format!("{device} {} {}", offset(dice, len, size), dice.one_of(&[0, 0, 1, 5]));
    match dice.from(0, 2) {
        0 => ("delay", read),
        1 => {
            let (device, size) = around.below(dice);
            ("delay", format!("{read} {device} {} {}", offset(dice, len, size), dice.one_of(&[0, 1])))
        }
        _ => {
            let (device, size) = around.below(dice);
            let write = format!("{device} {} 0", offset(dice, len, size));
            ("delay", format!("{read} {write} {device} {} 1", offset(dice, len, size)))
        }
    }
}

fn mirror(dice: &mut Dice, len: u64) -> (&'static str, String) {
    let legs = dice.one_of(&[2, 2, 3]);
    let region = dice.one_of(&[8, 16, 64, 1024]);
    let sync = dice.one_of(&["", " nosync", " sync"]);
    let words = 1 + u64::from(!sync.is_empty());
    let legs_text: Vec<String> = (0..legs)
        .map(|_| {
            let device = ram(dice);
            format!("{device} {}", offset(dice, len, 524_288))
        })
        .collect();
    let features = dice.one_of(&["", "", " 1 handle_errors", " 2 handle_errors keep_log"]);
    ("mirror", format!("core {words} {region}{sync} {legs} {}{features}", legs_text.join(" ")))
}

/// A target and its parameters for `len` sectors.
fn target(dice: &mut Dice, len: u64, around: &Around<'_>) -> (&'static str, String) {
    match dice.from(0, 15) {
        0..=3 => {
            let (device, size) = around.below(dice);
            ("linear", format!("{device} {}", offset(dice, len, size)))
        }
        4 | 5 => {
            let stripes = dice.one_of(&[1, 2, 2, 3, 4]);
            let chunk = dice.one_of(&[8, 8, 16, 32, 64, 128]);
            let legs: Vec<String> = (0..stripes)
                .map(|_| {
                    let (device, size) = around.below(dice);
                    format!("{device} {}", offset(dice, len, size))
                })
                .collect();
            ("striped", format!("{stripes} {chunk} {}", legs.join(" ")))
        }
        6 => ("zero", String::new()),
        7 => ("error", String::new()),
        8 => delay(dice, len, around),
        9 => {
            let (device, size) = around.below(dice);
            let times = dice.one_of(&["1000 0", "0 1000", "1000 1000"]);
            let features = dice.one_of(&[
                "",
                "",
                " 1 drop_writes",
                " 1 error_writes",
                " 1 error_reads",
                " 0",
                " 2 error_reads error_writes",
            ]);
            ("flakey", format!("{device} {} {times}{features}", offset(dice, len, size)))
        }
        10 => mirror(dice, len),
        11 => {
            let (device, size) = around.below(dice);
            let paths = dice.one_of(&[1, 2]);
            let paths: Vec<String> =
                (0..paths).map(|_| format!("{device} {}", offset(dice, len, size))).collect();
            ("switch", format!("{} {} 0 {}", paths.len(), dice.one_of(&[8, 64, 128]), paths.join(" ")))
        }
        12 => {
            let (device, size) = around.below(dice);
            ("dust", format!("{device} {} {}", offset(dice, len, size), dice.one_of(&[512, 1024, 4096])))
        }
        13 => {
            let (device, _) = around.below(dice);
            ("log-writes", format!("{device} {}", ram(dice)))
        }
        14 => {
            let (device, _) = around.below(dice);
            ("snapshot-origin", device)
        }
        _ => {
            let (device, size) = around.below(dice);
            let stripes = dice.one_of(&[2, 3, 4]);
            let which = dice.from(0, stripes);
            (
                "unstriped",
                format!("{stripes} {} {which} {device} {}", dice.one_of(&[8, 64]), offset(dice, len, size)),
            )
        }
    }
}

/// Changes one word, leaves it out or doubles it.
pub(super) fn spoil(dice: &mut Dice, line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let at = dice.from(0, words.len() as u64 - 1) as usize;
    match dice.from(0, 3) {
        0 => {
            words.remove(at);
        }
        1 => words.insert(at, words[at]),
        _ => words[at] = dice.one_of(WRONG),
    }
    words.join(" ")
}

/// A table, its lines with `; ` between, and the sectors that it has if it is right.
pub(super) fn table(dice: &mut Dice, around: &Around<'_>) -> (String, u64) {
    let parts = dice.one_of(&[1, 1, 1, 1, 2, 3]);
    let (mut start, mut lines) = (0, Vec::new());
    for _ in 0..parts {
        let len = dice.one_of(SIZES);
        let (kind, parameters) = target(dice, len, around);
        let at = if dice.chance(2) { start + 8 } else { start };
        let line = format!("{at} {len} {kind} {parameters}").trim_end().to_owned();
        lines.push(if dice.chance(10) { spoil(dice, &line) } else { line });
        start += len;
    }
    (lines.join("; "), start)
}
