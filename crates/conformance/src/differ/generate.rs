//! Scripts from seeds. What is kept of them is kept as text, so this may change without making that worthless.

use super::tables::{Around, table};
use super::{Script, THEMES};
use crate::dice::Dice;

/// Names that devices get.
const NAMES: &[&str] = &["a", "b", "c", "d", "e"];

/// What a script has done so far, as far as it went well.
pub(super) struct Writer {
    pub(super) dice: Dice,
    steps: Vec<String>,
    /// Devices that should be there, the newest last, with their sectors.
    devices: Vec<(String, u64)>,
    /// Messages that one of its devices may take, with the device.
    messages: Vec<(&'static str, String)>,
    /// The theme that the script is about, when it is about one.
    pub(super) theme: &'static str,
    /// The tables that made the devices of the theme.
    pub(super) tables: Vec<(String, String)>,
}

/// The script of a seed that is about some of the [`THEMES`](super::THEMES).
pub fn generate(seed: u64, themes: &[&str]) -> Script {
    let mut writer = Writer {
        dice: Dice::new(seed),
        steps: Vec::new(),
        devices: Vec::new(),
        messages: Vec::new(),
        theme: "",
        tables: Vec::new(),
    };
    let is_about = |theme: &str| themes.contains(&theme);
    // One theme is what the script is about; of many, each comes now and then.
    let is_one = themes.len() == 1;
    if is_about("tables") {
        writer.make();
    }
    if is_about("thin") && (writer.dice.chance(25) || is_one) {
        writer.pool();
    }
    if is_about("snapshot") && (writer.dice.chance(20) || is_one) {
        writer.snapshot();
    }
    if is_about("mirror") && (writer.dice.chance(15) || is_one) {
        writer.mirror();
    }
    if is_about("multipath") && (writer.dice.chance(15) || is_one) {
        writer.multipath();
    }
    if let (true, Some(theme)) = (is_one, THEMES.iter().find(|theme| is_about(theme))) {
        writer.theme = theme;
        writer.tables = writer.made();
    }
    for _ in 0..writer.dice.from(8, 30) {
        // In scripts about all there is, a theme gets a table and no more: those stay what they were.
        if writer.theme.is_empty() || writer.theme == "tables" || writer.dice.chance(65) {
            writer.step();
        } else {
            writer.turn();
        }
    }
    for (name, _) in writer.devices.clone() {
        writer.say(format!("info {name}"));
        writer.say(format!("table {name}"));
        writer.say(format!("status {name}"));
    }
    writer.say("list".to_owned());
    Script { seed, steps: writer.steps }
}

impl Writer {
    /// The devices that the steps so far make, with their tables.
    fn made(&self) -> Vec<(String, String)> {
        let made = self.steps.iter().filter_map(|step| step.strip_prefix("make ")?.split_once(" : "));
        made.map(|(name, table)| (name.to_owned(), table.to_owned())).collect()
    }

    /// Notes the table that a device of the theme has now.
    pub(super) fn remember(&mut self, name: &str, table: String) {
        self.tables.retain(|(its, _)| its != name);
        self.tables.push((name.to_owned(), table));
    }

    pub(super) fn say(&mut self, step: String) {
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

    pub(super) fn add(&mut self, name: &str, sectors: u64) {
        if !self.devices.iter().any(|(known, _)| *known == name) {
            self.devices.push((name.to_owned(), sectors));
        }
    }

    fn table(&mut self) -> (String, u64) {
        table(&mut self.dice, &Around { devices: &self.devices })
    }

    fn make(&mut self) {
        let name = self.dice.one_of(NAMES).to_owned();
        let (table, size) = self.table();
        let options = self.dice.one_of(&["", "", "", "", " ro", " uuid=id-$N"]).replace("$N", &name);
        if self.dice.chance(6) {
            self.say(format!("create {name}{options}"));
        } else {
            self.say(format!("make {name}{options} : {table}"));
        }
        self.add(&name, size);
    }

    fn pool(&mut self) {
        let block = self.dice.one_of(&[128, 128, 256, 384]);
        let features = self.dice.one_of(&[
            "1 error_if_no_space",
            "2 skip_block_zeroing error_if_no_space",
            "2 ignore_discard error_if_no_space",
            "2 no_discard_passdown error_if_no_space",
            "2 read_only error_if_no_space",
        ]);
        let blocks = self.dice.from(4, 40);
        let low_water = self.dice.one_of(&[0, 0, 1, 4, 100]);
        let pool = format!(
            "0 {} thin-pool /dev/mapper/meta /dev/ram7 {block} {low_water} {features}",
            block * blocks
        );
        self.say("make meta : 0 8192 linear /dev/ram6 0".to_owned());
        self.say(format!("make pool : {pool}"));
        if features.contains("read_only") && self.dice.chance(70) {
            // A pool that may not write has made no thin device.
            let writable = pool.replace("2 read_only", "1");
            self.say(format!("load pool : {writable}"));
            self.say("suspend pool".to_owned());
            self.say("resume pool".to_owned());
        }
        self.add("pool", block * blocks);
        for thin in 0..self.dice.from(1, 2) {
            let size = block * self.dice.from(2, 30);
            self.say(format!("message pool 0: create_thin {thin}"));
            let origin = if self.dice.chance(10) { " /dev/ram4" } else { "" };
            self.say(format!("make t{thin} : 0 {size} thin /dev/mapper/pool {thin}{origin}"));
            self.add(&format!("t{thin}"), size);
        }
        let thin = self.dice.from(0, 3);
        let from = self.dice.from(0, 1);
        for text in [
            format!("create_thin {thin}"),
            format!("create_snap {} {from}", thin + 2),
            format!("delete {}", thin + 1),
            format!("set_transaction_id {from} {thin}"),
            "reserve_metadata_snap".to_owned(),
            "release_metadata_snap".to_owned(),
        ] {
            self.messages.push(("pool", text));
        }
    }

    fn snapshot(&mut self) {
        let size = self.dice.one_of(&[512, 1024, 4096]);
        let chunk = self.dice.one_of(&[8, 16, 32]);
        let cow = self.dice.one_of(&[64, 256, 1024]);
        let kind = self.dice.one_of(&["P", "N", "PO"]);
        self.say(format!("make base : 0 {size} linear /dev/ram5 0"));
        self.say(format!("make cow : 0 {cow} linear /dev/ram5 8192"));
        self.say(format!("make origin : 0 {size} snapshot-origin /dev/mapper/base"));
        self.say(format!("make snap : 0 {size} snapshot /dev/mapper/base /dev/mapper/cow {kind} {chunk}"));
        self.add("origin", size);
        self.add("snap", size);
        if self.dice.chance(30) {
            self.say(format!("make cow2 : 0 {cow} linear /dev/ram5 16384"));
            self.say(format!("make snap2 : 0 {size} snapshot /dev/mapper/base /dev/mapper/cow2 P 16"));
            self.add("snap2", size);
        }
    }

    fn mirror(&mut self) {
        let size = self.dice.one_of(&[512, 1024, 4096]);
        let region = self.dice.one_of(&[8, 64, 128]);
        let features = self.dice.one_of(&["", " 1 handle_errors", " 2 handle_errors keep_log"]);
        let log = self.dice.one_of(&["core 1", "core 2", "disk 2 /dev/ram3", "disk 3 /dev/ram3"]);
        let sync =
            if log.ends_with('3') && !log.starts_with("core") || log == "core 2" { " nosync" } else { "" };
        // `disk 2 /dev/ram3`: two words, and no third.
        let sync = if log == "disk 2 /dev/ram3" { "" } else { sync };
        self.say(format!("make leg : 0 {size} linear /dev/ram2 1024"));
        self.say(format!(
            "make mir : 0 {size} mirror {log} {region}{sync} 2 /dev/mapper/leg 0 /dev/ram1 64{features}"
        ));
        self.say("synced mir".to_owned());
        self.add("leg", size);
        self.add("mir", size);
    }

    fn multipath(&mut self) {
        let size = self.dice.one_of(&[512, 1024]);
        // RAM disks and mapped devices take bios, no requests: a multipath of requests is refused.
        let queue = self.dice.one_of(&[
            "2 queue_mode bio",
            "2 queue_mode bio",
            "4 pg_init_retries 2 queue_mode bio",
            "4 queue_mode bio pg_init_delay_msecs 0",
            "3 queue_mode bio retain_attached_hw_handler",
            "0",
        ]);
        let selector = self.dice.one_of(&["round-robin", "queue-length", "service-time"]);
        let (arguments, few) = match selector {
            "round-robin" => (["1 100", "1 5"], "1 1"),
            "queue-length" => (["1 1", "1 2"], "1 1"),
            _ => (["2 1 1", "2 1 2"], "2 1 1"),
        };
        // Linux warns of counts above one no oftener than ten times in five seconds, and scripts share a machine.
        let arguments = if self.dice.chance(94) { arguments.map(|_| few) } else { arguments };
        self.say(format!("make path : 0 {size} linear /dev/ram0 0"));
        let counts = |arguments: &str| arguments.split_once(' ').map_or("", |(_, rest)| rest).to_owned();
        let count = arguments[0].split(' ').next().unwrap_or("1");
        self.say(format!(
            "make mp : 0 {size} multipath {queue} 0 2 1 {selector} 0 1 {count} /dev/mapper/path {} {selector} 0 1 {count} /dev/ram1 {}",
            counts(arguments[0]),
            counts(arguments[1])
        ));
        self.add("path", size);
        self.add("mp", size);
        for text in [
            "fail_path /dev/ram1",
            "reinstate_path /dev/ram1",
            "fail_path /dev/mapper/path",
            "reinstate_path /dev/mapper/path",
            "disable_group 1",
            "enable_group 1",
            "switch_group 2",
            "switch_group 3",
            "fail_if_no_path",
            "disable_group 2",
            "enable_group x",
            "switch_group 0",
            "FAIL_PATH /dev/ram1",
            "fail_path",
            "fail_path 1:1",
            "reinstate_path 1:7",
            "switch_group 1 1",
        ] {
            self.messages.push(("mp", text.to_owned()));
        }
    }

    pub(super) fn io(&mut self) {
        let (name, size) = self.any();
        let count = self.dice.one_of(&[1, 7, 8, 8, 16, 33, 64, 128, 256, 1000]);
        let most = size.saturating_sub(count);
        let at = match self.dice.from(0, 9) {
            0 => most,
            1 => size,
            2..=4 => self.dice.from(0, most),
            _ => self.dice.from(0, most) / 8 * 8,
        };
        let seed = self.dice.from(0, 999);
        let place = format!("/dev/mapper/{name} {at} {count}");
        match self.dice.from(0, 11) {
            0..=3 => self.say(format!("put {place} {seed}")),
            4..=7 => self.say(format!("get {place}")),
            8 | 9 => self.say(format!("discard {place}")),
            10 => self.say(format!("zeroout {place}")),
            _ => self.say(format!("flush /dev/mapper/{name}")),
        }
    }

    fn message(&mut self) {
        let any = self.any().0;
        let sector = self.dice.one_of(&[0, 0, 0, 8, 100_000]);
        if !self.messages.is_empty() && self.dice.chance(75) {
            let at = self.dice.from(0, self.messages.len() as u64 - 1) as usize;
            let (name, text) = self.messages[at].clone();
            self.say(format!("message {name} 0: {text}"));
            return;
        }
        let text = self.dice.one_of(&[
            "set_region_mappings 0:0 1:0",
            "set_region_mappings R2,4",
            "addbadblock 3",
            "removebadblock 3",
            "queryblock 3",
            "countbadblocks",
            "clearbadblocks",
            "enable",
            "disable",
            "mark one",
            "create_thin 1",
            "delete 7",
            "fail_path 1:1",
            "@cancel_deferred_remove",
            "@cancel_deferred_remove",
            "@nothing",
            "hello",
            "",
        ]);
        self.say(format!("message {any} {sector}: {text}"));
    }

    pub(super) fn step(&mut self) {
        let (name, _) = self.any();
        match self.dice.from(0, 99) {
            0..=9 => self.make(),
            10..=17 => {
                let (table, _) = self.table();
                let flag = if self.dice.chance(10) { " ro" } else { "" };
                self.say(format!("load {name}{flag} : {table}"));
            }
            18..=23 => {
                let flags = self.dice.one_of(&["", "", " noflush", " nolockfs"]);
                self.say(format!("suspend {name}{flags}"));
            }
            24..=33 => {
                let flags = self.dice.one_of(&["", "", "", " noflush"]);
                self.say(format!("resume {name}{flags}"));
            }
            34..=36 => self.say(format!("clear {name}")),
            37..=41 => {
                let flag = self.dice.one_of(&["", "", " deferred"]);
                self.say(format!("remove {name}{flag}"));
            }
            42..=43 => {
                let new = self.dice.one_of(NAMES);
                self.say(format!("rename {name} {new}"));
            }
            44 => self.say(format!("setuuid {name} other-{name}")),
            45..=52 => self.message(),
            53..=54 => self.say(format!("synced {name}")),
            55..=57 => {
                let flag = self.dice.one_of(&["", " noflush", " inactive"]);
                self.say(format!("status {name}{flag}"));
            }
            58..=60 => {
                let flag = self.dice.one_of(&["", " inactive"]);
                self.say(format!("table {name}{flag}"));
            }
            61 => self.say(format!("deps {name}")),
            62..=63 => self.say(format!("limits {name}")),
            64 => {
                let cylinders = self.dice.from(1, 64);
                self.say(format!("geometry {name} {cylinders}"));
            }
            65..=66 => self.say(format!("open {name}")),
            67 => self.say(format!("close {name}")),
            68 => self.say(format!("info {name}")),
            69 => self.say("list".to_owned()),
            _ => self.io(),
        }
    }
}
