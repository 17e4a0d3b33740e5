//! Where a command's metadata is.

use super::active::{self, ActiveMetadata};
use crate::kernel::Failure;
use clap::Args;
use dmlab_thin_tools::{BLOCK_SIZE, Block, FileMetadata, Metadata, Which, read_superblock};
use dmlab_units::{MetaBlock, ThinId};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Metadata to read.
#[derive(Args, Clone, Debug)]
pub(super) struct Source {
    /// A file or device that holds a pool's metadata: the pool should not be active, or hold a metadata snapshot. Inside a
    /// machine also a pool or a thin device by its name, which is shown as it was committed last.
    metadata: PathBuf,
}

/// The pool, or its snapshot.
#[derive(Args, Clone, Debug)]
pub(super) struct View {
    /// Show the pool's metadata snapshot, which also an active pool keeps as it is.
    #[arg(short = 'm', long)]
    metadata_snap: bool,
}

impl View {
    pub(super) fn which(&self) -> Which {
        if self.metadata_snap { Which::Snapshot } else { Which::Live }
    }
}

pub(super) fn named(path: &Path, result: io::Result<FileMetadata>) -> Result<FileMetadata, Failure> {
    result.map_err(|e| format!("{}: {e}", path.display()).into())
}

impl Source {
    pub(super) fn path(&self) -> &Path {
        &self.metadata
    }

    /// Opens it; with a bar that shows how much has been read, if stderr is a terminal.
    pub(super) fn open(&self) -> Result<Watched, Failure> {
        Ok(self.open_with_id()?.0)
    }

    /// Opens it. A thin device that was named has a number in its pool.
    pub(super) fn open_with_id(&self) -> Result<(Watched, Option<ThinId>), Failure> {
        if let Some((active, id)) = active::behind(&self.metadata)? {
            return Ok((Watched::new(Place::Active(active)), id));
        }
        let file = named(&self.metadata, FileMetadata::open(&self.metadata))?;
        if file.nr_blocks() == 0 {
            let path = self.metadata.display();
            return Err(format!(
                "{path}: it has less than {BLOCK_SIZE} bytes, the size of one metadata block"
            )
            .into());
        }
        Ok((Watched::new(Place::File(file)), None))
    }

    /// Opens it to be changed.
    pub(super) fn open_rw(&self) -> Result<FileMetadata, Failure> {
        named(&self.metadata, FileMetadata::open_rw(&self.metadata))
    }
}

/// Metadata with a progress bar on stderr, if that is a terminal.
pub(super) struct Watched {
    place: Place,
    bar: ProgressBar,
}

enum Place {
    File(FileMetadata),
    Active(ActiveMetadata),
}

impl Metadata for Place {
    fn nr_blocks(&self) -> u64 {
        match self {
            Place::File(file) => file.nr_blocks(),
            Place::Active(active) => active.nr_blocks(),
        }
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()> {
        match self {
            Place::File(file) => file.read(block, into),
            Place::Active(active) => active.read(block, into),
        }
    }
}

impl Watched {
    fn new(place: Place) -> Watched {
        let bar = if io::stderr().is_terminal() {
            // What is in use is about what will be read; a lost superblock leaves all of it to be looked at.
            let used = read_superblock(&place, MetaBlock(0)).map(|s| s.metadata_space_map.nr_allocated);
            let bar = ProgressBar::new(used.unwrap_or(place.nr_blocks()).min(place.nr_blocks()));
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} metadata blocks, {eta} left");
            style.map_or(bar.clone(), |style| bar.with_style(style))
        } else {
            ProgressBar::hidden()
        };
        Watched { place, bar }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Metadata for Watched {
    fn nr_blocks(&self) -> u64 {
        self.place.nr_blocks()
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()> {
        if !self.bar.is_hidden() {
            self.bar.inc(1);
        }
        self.place.read(block, into)
    }
}
