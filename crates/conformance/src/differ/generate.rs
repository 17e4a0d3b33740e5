//! Scripts from seeds. What is kept of them is kept as text, so this may change without making that worthless.

use super::Script;
use super::tables::{Around, table};
use crate::dice::Dice;

/// Names that devices get.
const NAMES: &[&str] = &["a", "b", "c", "d", "e"];

/// What a script has done so far, as far as it went well.
struct Writer {
    dice: Dice,
    steps: Vec<String>,
    /// Devices that should be there, the newest last, with their sectors.
    devices: Vec<(String, u64)>,
}

/// The script of a seed.
pub fn generate(seed: u64) -> Script {
    let mut writer = Writer { dice: Dice::new(seed), steps: Vec::new(), devices: Vec::new() };
    writer.create();
    if writer.dice.chance(25) {
        writer.pool();
    }
    if writer.dice.chance(20) {
        writer.snapshot();
    }
    for _ in 0..writer.dice.from(8, 25) {
        writer.step();
    }
    writer.say("dm info -c -o name,open,segments,events,suspended,tables_loaded,readonly".to_owned());
    writer.say("dm table".to_owned());
    writer.say("calm dm status".to_owned());
    Script { seed, steps: writer.steps }
}

impl Writer {
    fn say(&mut self, step: String) {
        self.steps.push(step);
    }

    /// A device that should be there, or now and then any name.
    fn any(&mut self) -> (String, u64) {
        if self.devices.is_empty() || self.dice.chance(5) {
            return (self.dice.one_of(NAMES).to_owned(), 1024);
        }
        let at = self.dice.from(0, self.devices.len() as u64 - 1) as usize;
        self.devices[at].clone()
    }

    fn table(&mut self) -> (String, u64) {
        table(&mut self.dice, &Around { devices: &self.devices })
    }

    fn create(&mut self) {
        let name = self.dice.one_of(NAMES).to_owned();
        let (table, size) = self.table();
        let options =
            self.dice.one_of(&["", "", "", "", " -r", " -u id-$N", " --notable", " --addnodeoncreate"]);
        let options = options.replace("$N", &name);
        if options == " --notable" {
            self.say(format!("dm create {name} --notable"));
            return;
        }
        self.say(format!("calm dm create {name}{options} --table \"$(printf -- '{table}')\""));
        if !self.devices.iter().any(|(known, _)| *known == name) {
            self.devices.push((name, size));
        }
    }

    fn pool(&mut self) {
        let block = self.dice.one_of(&[128, 128, 256, 384]);
        let features = self.dice.one_of(&[
            "1 error_if_no_space",
            "2 skip_block_zeroing error_if_no_space",
            "2 ignore_discard error_if_no_space",
        ]);
        let blocks = self.dice.from(4, 40);
        self.say("calm dm create meta --table '0 8192 linear /dev/ram6 0'".to_owned());
        self.say(format!(
            "calm dm create pool --table '0 {} thin-pool {}/meta /dev/ram7 {block} 0 {features}'",
            block * blocks,
            "/dev/mapper"
        ));
        for thin in 0..self.dice.from(1, 2) {
            let size = block * self.dice.from(2, 30);
            self.say(format!("calm dm message pool 0 'create_thin {thin}'"));
            self.say(format!("calm dm create t{thin} --table '0 {size} thin /dev/mapper/pool {thin}'"));
            self.devices.push((format!("t{thin}"), size));
        }
    }

    fn snapshot(&mut self) {
        let size = self.dice.one_of(&[512, 1024, 4096]);
        let chunk = self.dice.one_of(&[8, 16, 32]);
        let cow = self.dice.one_of(&[64, 256, 1024]);
        let kind = self.dice.one_of(&["P", "N", "PO"]);
        self.say(format!("calm dm create base --table '0 {size} linear /dev/ram5 0'"));
        self.say(format!("calm dm create cow --table '0 {cow} linear /dev/ram5 8192'"));
        self.say(format!("calm dm create origin --table '0 {size} snapshot-origin /dev/mapper/base'"));
        self.say(format!(
            "calm dm create snap --table '0 {size} snapshot /dev/mapper/base /dev/mapper/cow {kind} {chunk}'"
        ));
        for name in ["origin", "snap"] {
            self.devices.push((name.to_owned(), size));
        }
    }

    fn io(&mut self) {
        let (name, size) = self.any();
        let kib = self.dice.one_of(&[4, 4, 8, 16, 64]);
        let most = (size / 2 / kib).max(1);
        let at = if self.dice.chance(10) { most } else { self.dice.from(0, most - 1) };
        let count = self.dice.from(1, 4);
        let seed = self.dice.from(0, 999);
        match self.dice.from(0, 9) {
            0..=3 => self.say(format!("calm put /dev/mapper/{name} {kib} {at} {count} s{seed}")),
            4..=7 => self.say(format!("calm get /dev/mapper/{name} {kib} {at} {count}")),
            _ => self.say(format!("calm disc /dev/mapper/{name} {} {}", at * kib, count * kib)),
        }
    }

    fn message(&mut self) {
        let (name, _) = self.any();
        let message = match self.dice.from(0, 8) {
            0 => "set_region_mappings 0:0 1:0".to_owned(),
            1 => "set_region_mappings R2,4".to_owned(),
            2 => "drop_writes".to_owned(),
            3 => format!("create_thin {}", self.dice.from(0, 3)),
            4 => format!("create_snap {} {}", self.dice.from(0, 5), self.dice.from(0, 1)),
            5 => format!("delete {}", self.dice.from(0, 5)),
            6 => format!("set_transaction_id {} {}", self.dice.from(0, 1), self.dice.from(0, 2)),
            7 => "@cancel_deferred_remove".to_owned(),
            _ => "hello".to_owned(),
        };
        let name = if self.dice.chance(40) && self.devices.iter().any(|(name, _)| name == "t0") {
            "pool"
        } else {
            &name
        };
        let sector = self.dice.one_of(&[0, 0, 0, 8, 100_000]);
        self.say(format!("calm live {name} dm message {name} {sector} '{message}'"));
    }

    fn step(&mut self) {
        let (name, _) = self.any();
        match self.dice.from(0, 99) {
            0..=11 => self.create(),
            12..=19 => {
                let (table, _) = self.table();
                self.say(format!("calm dm load {name} --table \"$(printf -- '{table}')\""));
            }
            20..=26 => {
                let flags = self.dice.one_of(&["", "", " --noflush", " --nolockfs"]);
                self.say(format!("calm dm suspend{flags} {name}"));
            }
            27..=36 => self.say(format!("dm resume {name}")),
            37..=39 => self.say(format!("dm clear {name}")),
            40..=44 => {
                let force = self.dice.one_of(&["", "", " --force", " --deferred"]);
                self.say(format!("calm dm remove{force} {name}"));
            }
            45..=46 => {
                let new = self.dice.one_of(NAMES);
                self.say(format!("dm rename {name} {new}"));
            }
            47 => self.say(format!("dm rename {name} --setuuid other-{name}")),
            48..=54 => self.message(),
            55..=57 => self.say(format!("calm synced {name}; calm dm status {name}")),
            58..=60 => self.say(format!("dm table {name}")),
            61..=62 => self.say(format!("dm deps {name}")),
            63..=64 => self.say(format!("limits {name}")),
            65 => self.say(format!("dm wipe_table {name}; dm table {name}")),
            66 => {
                let cylinders = self.dice.from(1, 64);
                self.say(format!("dm setgeometry {name} {cylinders} 2 16 0"));
            }
            67 => self.say(format!("calm dm status --noflush {name}")),
            68 => self.say("dm ls".to_owned()),
            _ => self.io(),
        }
    }
}
