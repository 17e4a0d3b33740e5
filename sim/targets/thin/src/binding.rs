//! What a pool is told by the table that it follows (`bind_control_target`).

use dmlab_dm::TableEvents;

/// Features of a pool, as its table line asks for them (`struct pool_features`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) zeroes_new_blocks: bool,
    pub(super) discards: bool,
    pub(super) passes_discards_down: bool,
    pub(super) read_only: bool,
    pub(super) errors_if_no_space: bool,
}

impl Default for Features {
    fn default() -> Features {
        Features {
            zeroes_new_blocks: true,
            discards: true,
            passes_discards_down: true,
            read_only: false,
            errors_if_no_space: false,
        }
    }
}

/// What the pool has of its table, and the tables that there are.
pub(super) struct Binding {
    pub(super) features: Features,
    pub(super) events: TableEvents,
    low_water: u64,
    is_low_water_reached: bool,
    /// Which table the pool follows; 0 before the first resume.
    table: u64,
    /// Tables, live and inactive, that use the pool.
    tables: u32,
    last_table: u64,
    /// Tables that a pool in fail mode still takes: in the machine that this one was forked from it had them.
    taken_back: u32,
}

impl Binding {
    /// The binding of a pool that was just opened for a table with these features.
    pub(super) fn new(features: Features, events: TableEvents) -> Binding {
        Binding {
            features,
            events,
            low_water: 0,
            is_low_water_reached: false,
            table: 0,
            tables: 0,
            last_table: 0,
            taken_back: 0,
        }
    }

    /// Counts a table that was made. Returns its number among all that the pool ever had, from 1.
    pub(super) fn add_table(&mut self) -> u64 {
        self.tables += 1;
        self.last_table += 1;
        self.last_table
    }

    /// Counts a table that went away. Returns whether none is left.
    pub(super) fn remove_table(&mut self) -> bool {
        self.tables -= 1;
        self.tables == 0
    }

    /// How many tables use the pool.
    pub(super) fn tables(&self) -> u32 {
        self.tables
    }

    /// Lets as many tables be made as the pool lacks of `tables`, though it is in fail mode.
    pub(super) fn take_back_tables(&mut self, tables: u32) {
        self.taken_back = tables.saturating_sub(self.tables);
    }

    /// Whether a table that is made now is one of those; it is one less then.
    pub(super) fn takes_back_table(&mut self) -> bool {
        let is_one = self.taken_back > 0;
        self.taken_back = self.taken_back.saturating_sub(1);
        is_one
    }

    /// Whether a table uses the pool.
    pub(super) fn has_tables(&self) -> bool {
        self.tables > 0
    }

    /// Follows a table from now on. Returns whether it is another one than before.
    pub(super) fn bind(
        &mut self,
        table: u64,
        features: Features,
        low_water: u64,
        events: TableEvents,
    ) -> bool {
        let is_new = std::mem::replace(&mut self.table, table) != table;
        let has_timed_out = self.features.errors_if_no_space && !is_new;
        self.features = features;
        self.features.errors_if_no_space |= has_timed_out;
        self.low_water = low_water;
        self.events = events;
        is_new
    }

    /// Notes how many data blocks are free. Returns whether that is to be told: the first time since a resume that the low water
    /// mark is reached.
    pub(super) fn reaches_low_water(&mut self, free: u64) -> bool {
        let is_news = free <= self.low_water && !self.is_low_water_reached;
        self.is_low_water_reached |= is_news;
        is_news
    }

    /// Tells of low water anew.
    pub(super) fn forget_low_water(&mut self) {
        self.is_low_water_reached = false;
    }
}
