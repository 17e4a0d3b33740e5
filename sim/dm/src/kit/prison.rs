//! Where bios wait for blocks that another bio is changing.
//!
//! ```text
//!   bio ── detain(key) ──> no cell on any of the blocks: a Cell, which the bio holds and which goes on
//!                     └──> a cell is there:              the bio waits in it, an inmate
//!
//!   release(cell) ──> the holder, and the inmates in the order in which they came
//! ```
//!
//! The blocks of a cell are a range, so that a discard of many blocks waits for a write to one of them, and the other way
//! round. No two cells overlap.

use std::collections::BTreeMap;
use std::ops::Range;

use parking_lot::Mutex;

/// The blocks that a cell is for (`struct dm_cell_key`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellKey {
    /// Whether the blocks are those of a device as it is seen, or those of the data device below.
    pub is_virtual: bool,
    /// The number of the device whose blocks they are.
    pub dev: u64,
    /// The blocks; never none.
    pub blocks: Range<u64>,
}

impl CellKey {
    /// A key of blocks of a virtual device.
    pub fn of_virtual(dev: u64, blocks: Range<u64>) -> CellKey {
        CellKey { is_virtual: true, dev, blocks }
    }

    fn place(&self, block: u64) -> Place {
        (self.is_virtual, self.dev, block)
    }
}

/// A cell in the hands of its holder (`struct dm_bio_prison_cell`). It is given back to [`Prison::release`]; until then
/// bios to its blocks wait.
#[derive(Debug)]
#[must_use = "bios wait in a cell until it is released"]
pub struct Cell<I> {
    key: CellKey,
    /// The bio that was first.
    pub holder: I,
}

impl<I> Cell<I> {
    /// The blocks that the cell is for.
    pub fn key(&self) -> &CellKey {
        &self.key
    }
}

/// The first block of a cell, with what else orders cells.
type Place = (bool, u64, u64);

/// The cells of a pool or a cache, and the bios that wait in them (`struct dm_bio_prison`). An inmate is a bio with what its
/// target knows of it.
pub struct Prison<I> {
    cells: Mutex<BTreeMap<Place, Inmates<I>>>,
}

struct Inmates<I> {
    /// End of the cell's blocks.
    end: u64,
    waiting: Vec<I>,
}

impl<I> Default for Prison<I> {
    fn default() -> Prison<I> {
        Prison { cells: Mutex::default() }
    }
}

impl<I> Prison<I> {
    /// Makes a cell that `inmate` holds, if there is none on any of the key's blocks. Otherwise `inmate` waits in the cell that is
    /// there, the first of several, and the answer is `None` (`dm_bio_detain`).
    pub fn detain(&self, key: CellKey, inmate: I) -> Option<Cell<I>> {
        debug_assert!(!key.blocks.is_empty(), "a cell for no block: {key:?}");
        let mut cells = self.cells.lock();
        if let Some(cell) = first_overlapping(&mut cells, &key) {
            cell.waiting.push(inmate);
            return None;
        }
        let inmates = Inmates { end: key.blocks.end, waiting: Vec::new() };
        cells.insert(key.place(key.blocks.start), inmates);
        Some(Cell { key, holder: inmate })
    }

    /// Ends a cell: its holder, and the bios that waited in it in the order in which they came (`dm_cell_release`).
    pub fn release(&self, cell: Cell<I>) -> (I, Vec<I>) {
        let inmates = self.cells.lock().remove(&cell.key.place(cell.key.blocks.start));
        debug_assert!(inmates.is_some(), "a cell of another prison: {:?}", cell.key);
        (cell.holder, inmates.map_or_else(Vec::new, |inmates| inmates.waiting))
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.cells.lock().is_empty()
    }
}

/// The cell with the lowest blocks that has one of the key's.
fn first_overlapping<'a, I>(
    cells: &'a mut BTreeMap<Place, Inmates<I>>,
    key: &CellKey,
) -> Option<&'a mut Inmates<I>> {
    let (begin, end) = (key.place(key.blocks.start), key.place(key.blocks.end));
    // Cells do not overlap each other, so of those that begin before the key only the last can reach into it.
    let before = cells.range(key.place(0)..begin).next_back();
    let first = match before.filter(|(_, cell)| cell.end > key.blocks.start) {
        Some((place, _)) => *place,
        None => *cells.range(begin..end).next()?.0,
    };
    cells.get_mut(&first)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key(blocks: Range<u64>) -> CellKey {
        CellKey::of_virtual(1, blocks)
    }

    #[test]
    fn who_comes_second_waits_and_is_given_back_in_order() {
        let prison = Prison::default();
        let cell = prison.detain(key(3..4), "first").unwrap();
        assert!(prison.detain(key(3..4), "second").is_none());
        assert!(prison.detain(key(0..9), "discard").is_none());
        assert!(!prison.is_empty());
        assert_eq!(*cell.key(), key(3..4));
        assert_eq!(prison.release(cell), ("first", vec!["second", "discard"]));
        assert!(prison.is_empty());
        let again = prison.detain(key(3..4), "second").unwrap();
        assert_eq!(prison.release(again), ("second", vec![]));
    }

    #[test]
    fn other_devices_and_data_blocks_are_other_cells() {
        let prison = Prison::default();
        let cells = [
            key(3..4),
            CellKey::of_virtual(2, 3..4),
            CellKey { is_virtual: false, ..key(3..4) },
            key(0..3),
            key(4..u64::MAX),
        ]
        .map(|key| prison.detain(key, ()).expect("no cell of the others has its blocks"));
        for cell in cells {
            prison.release(cell);
        }
        assert!(prison.is_empty());
    }

    #[test]
    fn of_several_cells_the_first_is_waited_for() {
        let prison = Prison::default();
        let [low, high] = [2..5, 7..9].map(|blocks| prison.detain(key(blocks), 0).unwrap());
        assert!(prison.detain(key(4..8), 1).is_none());
        assert!(prison.detain(key(5..8), 2).is_none());
        assert_eq!(prison.release(high), (0, vec![2]));
        assert_eq!(prison.release(low), (0, vec![1]));
    }

    /// A step of a random run: a bio comes, or one of the cells that there are ends.
    #[derive(Clone, Debug)]
    enum Step {
        Detain { dev: u64, begin: u64, len: u64 },
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..2u64, 0..20u64, 1..6u64).prop_map(|(dev, begin, len)| Step::Detain { dev, begin, len }),
            1 => any::<usize>().prop_map(Step::Release),
        ]
    }

    proptest! {
        /// A list that is searched from end to end answers the same.
        #[test]
        fn cells_are_found_as_in_a_list(steps in vec(step(), 1..200)) {
            let prison = Prison::default();
            let mut held: Vec<Cell<usize>> = Vec::new();
            let mut model: Vec<(CellKey, Vec<usize>)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Detain { dev, begin, len } => {
                        let key = CellKey::of_virtual(dev, begin..begin + len);
                        let overlaps = |other: &CellKey| {
                            other.dev == dev
                                && other.blocks.start < key.blocks.end
                                && key.blocks.start < other.blocks.end
                        };
                        let first = model
                            .iter_mut()
                            .filter(|(other, _)| overlaps(other))
                            .min_by_key(|(other, _)| other.blocks.start);
                        let cell = prison.detain(key.clone(), number);
                        prop_assert_eq!(cell.is_none(), first.is_some());
                        match (first, cell) {
                            (Some((_, waiting)), _) => waiting.push(number),
                            (None, Some(cell)) => {
                                held.push(cell);
                                model.push((key, vec![number]));
                            }
                            (None, None) => {}
                        }
                    }
                    Step::Release(which) if !held.is_empty() => {
                        let at = which % held.len();
                        let (holder, inmates) = prison.release(held.swap_remove(at));
                        let (_, bios) = model.swap_remove(at);
                        prop_assert_eq!([vec![holder], inmates].concat(), bios);
                    }
                    Step::Release(_) => {}
                }
                prop_assert_eq!(prison.is_empty(), model.is_empty());
            }
        }
    }
}
