//! The metadata of a thin pool, as the thin tools check them: they share the target's codec, not its mechanism.

use std::io;
use std::sync::Arc;

use dmlab_faults::power::LeftDisk;
use dmlab_thin_tools::{BLOCK_SIZE, Block, CheckOptions, Metadata, check};
use dmlab_units::{MetaBlock, SECTOR_SIZE, Sector, Sectors};

use super::{Judge, JudgeKind, number};
use crate::crash::Moment;

pub(super) static KIND: JudgeKind = JudgeKind {
    name: "thin-check",
    form: "N",
    example: "0",
    checks: "the metadata of the thin pool on /dev/ramN",
    of_words: |words| {
        let disk = number(words).filter(|_| !words.is_empty())?;
        Some(Arc::new(ThinCheck::on(disk)))
    },
};

/// Checks the metadata of a thin pool, as `thin_check` does and more. Metadata whose first block is zeros is that of a pool
/// which was never made, and sound.
#[derive(Clone, Copy, Debug)]
pub struct ThinCheck {
    disk: usize,
    start: Sector,
    len: Option<Sectors>,
    refuses_leaks: bool,
}

impl ThinCheck {
    /// The metadata fill this disk.
    pub fn on(disk: usize) -> ThinCheck {
        ThinCheck { disk, start: Sector::ZERO, len: None, refuses_leaks: false }
    }

    /// The metadata are this part of the disk.
    #[must_use]
    pub fn within(mut self, start: Sector, len: Sectors) -> ThinCheck {
        (self.start, self.len) = (start, Some(len));
        self
    }

    /// Refuses data blocks that are taken and not used. A discard that is passed down leaves such when the power goes
    /// between its two commits, here as on Linux; so only without such discards.
    #[must_use]
    pub fn refuses_leaks(mut self) -> ThinCheck {
        self.refuses_leaks = true;
        self
    }
}

struct OnDisk<'a> {
    disk: &'a LeftDisk,
    start: u64,
    nr_blocks: u64,
}

impl Metadata for OnDisk<'_> {
    fn nr_blocks(&self) -> u64 {
        self.nr_blocks
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()> {
        if block.0 >= self.nr_blocks {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.disk.read(self.start + block.0 * BLOCK_SIZE as u64, into);
        Ok(())
    }
}

impl Judge for ThinCheck {
    fn name(&self) -> &'static str {
        "thin check"
    }

    fn judge(&self, moment: &Moment<'_>) -> Result<(), String> {
        let disk = moment.disk(self.disk)?;
        let rest = disk.capacity().0.saturating_sub(self.start.0);
        let sectors = self.len.map_or(rest, |len| len.0.min(rest));
        let (start, nr_blocks) = (self.start.0 * SECTOR_SIZE, sectors * SECTOR_SIZE / BLOCK_SIZE as u64);
        let metadata = OnDisk { disk, start, nr_blocks };
        let mut first = [0; BLOCK_SIZE];
        metadata.read(MetaBlock(0), &mut first).map_err(|_| "the disk is shorter than a block")?;
        if first == [0; BLOCK_SIZE] {
            return Ok(());
        }
        let report = check(&metadata, CheckOptions::default()).map_err(|e| e.to_string())?;
        if report.is_clean() || (!self.refuses_leaks && report.has_only_leaks()) {
            return Ok(());
        }
        let problems: Vec<String> = report.problems.iter().take(8).map(ToString::to_string).collect();
        Err(problems.join("; "))
    }
}
