//! What is done with the devices of a theme, some steps at a time: tables that are loaded anew with another size, snapshots that are
//! merged, legs and paths that fail and come back.

use super::generate::Writer;
use super::tables::spoil;

/// The sectors of the first line of a table.
fn sectors(table: &str) -> u64 {
    table.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(1024)
}

/// A table of one line with so many sectors.
fn resized(table: &str, sectors: u64) -> String {
    let mut words: Vec<String> = table.split(' ').map(str::to_owned).collect();
    words[1] = sectors.to_string();
    words.join(" ")
}

/// Messages to a pool, most of them with a word that is wrong.
const ODD_MESSAGES: &[&str] = &[
    "create_thin",
    "create_thin x",
    "create_thin 16777215",
    "create_thin 16777216",
    "CREATE_THIN 7",
    "  create_thin   8  ",
    "create_thin 9 9",
    "create_thin 0x3",
    "create_thin -1",
    "create_thin \\7",
    "create_snap 1",
    "create_snap 4 4",
    "create_snap x 0",
    "create_snap 4 x",
    "delete",
    "delete x",
    "delete 0 0",
    "set_transaction_id 0",
    "set_transaction_id x 0",
    "set_transaction_id 0 x",
    "set_transaction_id 0 18446744073709551615",
    "reserve_metadata_snap now",
    "release_metadata_snap now",
];

impl Writer {
    /// Loads a table and brings it to life.
    fn swap(&mut self, name: &str, table: &str) {
        let flag = if self.dice.chance(8) { " ro" } else { "" };
        self.say(format!("load {name}{flag} : {table}"));
        let how = self.dice.one_of(&["", "", "", " noflush", " nolockfs"]);
        self.say(format!("suspend {name}{how}"));
        self.say(format!("resume {name}"));
    }

    /// One of the theme's devices with the table that made it.
    fn known(&mut self) -> Option<(String, String)> {
        let most = self.tables.len().checked_sub(1)?;
        let at = self.dice.from(0, most as u64) as usize;
        Some(self.tables[at].clone())
    }

    fn table_of(&self, name: &str) -> Option<String> {
        self.tables.iter().find(|(its, _)| its == name).map(|(_, table)| table.clone())
    }

    /// A few steps about the theme.
    pub(super) fn turn(&mut self) {
        let Some((name, table)) = self.known() else { return self.step() };
        match self.dice.from(0, 9) {
            0 | 1 => {
                let spoiled = spoil(&mut self.dice, &table);
                self.say(format!("load {name} : {spoiled}"));
            }
            2 => {
                let spoiled = spoil(&mut self.dice, &table);
                self.say(format!("make e : {spoiled}"));
                self.say("remove e".to_owned());
            }
            3 => self.swap(&name, &table),
            4 => {
                for step in
                    ["open $", "open $", "remove $", "remove $ deferred", "close $", "info $", "close $"]
                {
                    if self.dice.chance(60) {
                        self.say(step.replace('$', &name));
                    }
                }
                self.say(format!("make {name} : {table}"));
            }
            5 => {
                self.say(format!("remove {name}"));
                self.say(format!("make {name} : {table}"));
            }
            _ => match self.theme {
                "thin" => self.thin_turn(),
                "snapshot" => self.snapshot_turn(),
                "mirror" => self.leg_turn("mir", "leg"),
                _ => self.leg_turn("mp", "path"),
            },
        }
    }

    fn thin_turn(&mut self) {
        let Some(pool) = self.table_of("pool") else { return };
        let block: u64 = pool.split(' ').nth(5).and_then(|word| word.parse().ok()).unwrap_or(128);
        match self.dice.from(0, 7) {
            0 | 1 => {
                let by = self.dice.one_of(&[1, 3, block, 10 * block, 40 * block]);
                let size =
                    if self.dice.chance(20) { sectors(&pool) - by.min(block) } else { sectors(&pool) + by };
                let pool = resized(&pool, size);
                self.swap("pool", &pool);
                if size > block {
                    self.remember("pool", pool);
                }
            }
            2 => {
                let size = self.dice.one_of(&[8192, 8200, 12288, 16384, 65536, 4096]);
                self.swap("meta", &format!("0 {size} linear /dev/ram6 0"));
                self.swap("pool", &pool);
                self.say("status pool".to_owned());
            }
            3 | 4 => {
                let (new, from) = (self.dice.from(2, 5), self.dice.from(0, 5));
                let size = block * self.dice.from(2, 30);
                self.say(format!("message pool 0: create_snap {new} {from}"));
                let table = format!("0 {size} thin /dev/mapper/pool {new}");
                self.say(format!("make t{new} : {table}"));
                self.add(&format!("t{new}"), size);
                self.remember(&format!("t{new}"), table);
            }
            5 => {
                let (size, outer) =
                    (block * self.dice.from(2, 12) + self.dice.one_of(&[0, 8, 1]), self.dice.from(1, 12));
                let outer = block * outer + self.dice.one_of(&[0, 0, 8, 64, 3]);
                self.say(format!("make ext : 0 {outer} linear /dev/ram4 0"));
                self.say("put /dev/ram4 0 2048 77".to_owned());
                self.say("message pool 0: create_thin 6".to_owned());
                let table = format!("0 {size} thin /dev/mapper/pool 6 /dev/mapper/ext");
                self.say(format!("make t6 : {table}"));
                self.add("t6", size);
                self.remember("t6", table);
            }
            6 => {
                let Some(thin) = self.table_of("t0") else { return };
                let size = block * self.dice.from(1, 40) + self.dice.one_of(&[0, 0, 1, 8]);
                self.swap("t0", &resized(&thin, size));
            }
            _ => {
                let text = self.dice.one_of(ODD_MESSAGES);
                self.say(format!("message pool 0: {text}"));
            }
        }
    }

    fn snapshot_turn(&mut self) {
        let (Some(snap), Some(origin)) = (self.table_of("snap"), self.table_of("origin")) else { return };
        match self.dice.from(0, 5) {
            0 | 1 => {
                let merge = snap.replace(" snapshot ", " snapshot-merge ");
                if self.dice.chance(85) {
                    self.say("remove snap".to_owned());
                }
                self.swap("origin", &merge);
                self.say("synced origin".to_owned());
                self.say("status origin".to_owned());
                if self.dice.chance(70) {
                    self.swap("origin", &origin);
                    self.say(format!("make snap : {snap}"));
                }
            }
            2 => {
                let size = self.dice.one_of(&[64, 72, 512, 2048]);
                self.swap("cow", &format!("0 {size} linear /dev/ram5 8192"));
                self.say("status snap".to_owned());
            }
            3 => {
                // What was written takes the place of it: the exceptions go from one to the other.
                self.say("suspend origin".to_owned());
                self.say("suspend snap".to_owned());
                self.say(format!("load snap : {snap}"));
                self.say("resume snap".to_owned());
                self.say("resume origin".to_owned());
            }
            4 => {
                let size = sectors(&snap);
                let feature = self.dice.one_of(&[
                    "",
                    "",
                    " 1 discard_zeroes_cow",
                    " 2 discard_zeroes_cow discard_passdown_origin",
                    " 1 discard_passdown_origin",
                    " 0",
                ]);
                let chunk = self.dice.one_of(&[8, 16, 64]);
                self.say("make cow3 : 0 1024 linear /dev/ram5 32768".to_owned());
                let kind = self.dice.one_of(&["P", "N", "PO", "p", "NO"]);
                let table =
                    format!("0 {size} snapshot /dev/mapper/base /dev/mapper/cow3 {kind} {chunk}{feature}");
                self.say(format!("make snap3 : {table}"));
                self.add("snap3", size);
                self.remember("snap3", table);
            }
            _ => {
                let size = sectors(&snap) + self.dice.one_of(&[8, 64, 3]);
                self.swap("base", &format!("0 {size} linear /dev/ram5 0"));
                self.swap("origin", &resized(&origin, size));
                self.swap("snap", &resized(&snap, size));
            }
        }
    }

    /// What is below fails and comes back, or what is above gets another size.
    fn leg_turn(&mut self, above: &str, below: &str) {
        let (Some(top), Some(leg)) = (self.table_of(above), self.table_of(below)) else { return };
        let size = sectors(&top);
        match self.dice.from(0, 5) {
            0..=2 => {
                let failing = match self.dice.from(0, 2) {
                    0 => format!("0 {size} error"),
                    1 => leg.replace("linear", "flakey") + " 0 1000 1 error_writes",
                    _ => leg.replace("linear", "flakey") + " 0 1000 1 error_reads",
                };
                self.swap(below, &failing);
                for _ in 0..self.dice.from(1, 4) {
                    self.io();
                    self.say(format!("status {above}"));
                }
                if self.dice.chance(80) {
                    self.swap(below, &leg);
                }
                if self.dice.chance(60) {
                    self.swap(above, &top);
                    self.say(format!("synced {above}"));
                }
            }
            3 | 4 => {
                let size = self.dice.one_of(&[size / 2, size - 8, size - 3, size + 8, size * 2]);
                self.swap(above, &resized(&top, size));
                self.say(format!("synced {above}"));
            }
            _ => {
                self.say(format!("remove {above}"));
                let places = self.dice.one_of(&[0, 8, 64, 1024]);
                self.swap(below, &format!("0 {size} linear /dev/ram2 {places}"));
                self.say(format!("make {above} : {top}"));
                self.say(format!("synced {above}"));
            }
        }
    }
}
