//! How far ahead of a reader to read.

use dmlab_units::Sectors;

/// What one open file remembers of its reads, to tell sequential reads from random ones.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// The page behind the last window.
    next: u64,
    /// Pages in the last window; 0 after a jump.
    size: u64,
}

impl ReadAhead {
    /// How many pages to read at once when page `index` is missing and `wanted` pages from there on are asked for.
    ///
    /// Observed on Linux 6.12 with 128 KiB of read-ahead: a first read of 4 KiB at the start of the device reads
    /// 16 KiB and one of 64 KiB reads 128 KiB, a 4 KiB read elsewhere reads 4 KiB, and large reads in order go in
    /// bios of 128 KiB. How windows grow in between is not observed but chosen, as is that a new window starts only
    /// where the last one ended (Linux starts it earlier, from a marked page).
    pub(crate) fn window(&mut self, index: u64, wanted: u64, read_ahead: Sectors) -> u64 {
        let max = read_ahead.0 / 8;
        if max == 0 {
            return 1;
        }
        let is_in_order = index == self.next && self.size != 0;
        self.size = if is_in_order {
            grow(self.size, max).max(wanted.min(max))
        } else if index == 0 {
            first(wanted, max)
        } else {
            // Remembered all the same: reading on from here is in order.
            self.next = index + wanted.min(max);
            self.size = wanted.min(max);
            return self.size;
        };
        self.next = index + self.size;
        self.size
    }
}

fn first(wanted: u64, max: u64) -> u64 {
    let size = wanted.min(max).next_power_of_two();
    let size = if size <= max / 32 {
        size * 4
    } else if size <= max / 4 {
        size * 2
    } else {
        max
    };
    size.min(max)
}

fn grow(size: u64, max: u64) -> u64 {
    let size = if size < max / 16 { size * 4 } else { size * 2 };
    size.min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_windows_as_observed() {
        let max = Sectors(256);
        assert_eq!(ReadAhead::default().window(0, 1, max), 4);
        assert_eq!(ReadAhead::default().window(0, 16, max), 32);
        assert_eq!(ReadAhead::default().window(0, 256, max), 32);
        assert_eq!(ReadAhead::default().window(100, 1, max), 1);
        assert_eq!(ReadAhead::default().window(7, 3, Sectors(0)), 1);
    }

    #[test]
    fn windows_grow_to_the_limit() {
        let max = Sectors(256);
        let mut in_order = ReadAhead::default();
        let sizes: Vec<_> = [0, 4, 12, 28, 60].map(|index| in_order.window(index, 1, max)).into();
        assert_eq!(sizes, [4, 8, 16, 32, 32]);
    }
}
