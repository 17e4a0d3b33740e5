//! `dmlab thin dump`, `restore` and `repair`.

use super::source::{Source, View, named};
use crate::kernel::Failure;
use crate::output::Stdout;
use clap::Args;
use dmlab_thin_tools::{
    DumpOptions, FileMetadata, Metadata, Overrides, Salvage, Sink, XmlSink, dump, read_xml, repair, restore,
    salvage,
};
use dmlab_units::{Sectors, ThinId};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// `dmlab thin dump`.
#[derive(Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    view: View,
    /// Only this device; may be given several times.
    #[arg(long, value_name = "ID")]
    dev_id: Vec<u64>,
    /// Write what survives damage, also when the superblock is lost.
    #[arg(short, long, conflicts_with_all = ["metadata_snap", "dev_id", "skip_mappings"])]
    repair: bool,
    /// Devices without their mappings.
    #[arg(long)]
    skip_mappings: bool,
    /// Write to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    told: Told,
}

/// What a lost superblock can't say any more.
#[derive(Args, Clone, Debug)]
struct Told {
    /// The pool's transaction id; needed when the superblock is lost.
    #[arg(long, value_name = "NUMBER")]
    transaction_id: Option<u64>,
    /// Sectors of a data block; needed when the superblock is lost.
    #[arg(long, value_name = "SECTORS")]
    data_block_size: Option<u64>,
    /// Data blocks there are; if the superblock is lost and this not given, as many as are needed.
    #[arg(long, value_name = "NUMBER")]
    nr_data_blocks: Option<u64>,
}

impl Told {
    fn overrides(&self) -> Overrides {
        Overrides {
            transaction: self.transaction_id,
            data_block_size: self.data_block_size.map(Sectors),
            nr_data_blocks: self.nr_data_blocks,
        }
    }
}

impl Dump {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let out: Box<dyn Write> = match &self.output {
            Some(path) => Box::new(File::create(path).map_err(|e| format!("{}: {e}", path.display()))?),
            None => Box::new(Stdout),
        };
        let mut sink = XmlSink::new(out);
        let metadata = self.source.open()?;
        if self.repair {
            report(&salvage(&metadata, self.told.overrides(), &mut sink)?);
            return Ok(());
        }
        let options = DumpOptions {
            which: self.view.which(),
            devices: self.dev_id.iter().map(|&id| ThinId(id)).collect(),
            repair: false,
            skip_mappings: self.skip_mappings,
        };
        Ok(dump(&metadata, &options, &mut sink)?)
    }
}

/// `dmlab thin restore`.
#[derive(Args)]
pub(crate) struct Restore {
    /// The XML; `-` is stdin.
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Where the metadata goes: a device, a file whose size is kept, or a new file of 16 MiB.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Restore {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let input: Box<dyn BufRead> = if self.input == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(&self.input).map_err(|e| format!("{}: {e}", self.input.display()))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        };
        let mut out = output(&self.output, NEW_BLOCKS)?;
        let mut sink: Box<dyn Sink + '_> = Box::new(restore(&mut out)?);
        read_xml(input, &mut *sink).map_err(|e| format!("{}: {e}", self.input.display()))?;
        Ok(())
    }
}

/// Blocks of a new file.
const NEW_BLOCKS: u64 = 4096;

/// Opens where metadata is to go; a file that is not there, or empty, gets `nr_blocks` blocks.
fn output(path: &Path, nr_blocks: u64) -> Result<FileMetadata, Failure> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut metadata = named(path, file.and_then(FileMetadata::new))?;
    if metadata.nr_blocks() == 0 {
        metadata.resize(nr_blocks).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(metadata)
}

/// `dmlab thin repair`.
#[derive(Args)]
pub(crate) struct Repair {
    /// The damaged metadata; it is not changed.
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Where the new metadata goes: a device, a file whose size is kept, or a new file as large as the damaged one.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    told: Told,
}

impl Repair {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let input = named(&self.input, FileMetadata::open(&self.input))?;
        if same_file(&self.input, &self.output) {
            return Err(
                "input and output are one file; what survives would be overwritten while it is read".into()
            );
        }
        let mut out = output(&self.output, input.nr_blocks())?;
        report(&repair(&input, self.told.overrides(), &mut out)?);
        Ok(())
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Says what was saved, beside what is written to stdout.
fn report(salvage: &Salvage) {
    if salvage.superblock_was_lost {
        crate::output::noteln!("the superblock was lost; a new one was made");
    }
    if let Some((mapping, details)) = salvage.found_roots {
        crate::output::noteln!(
            "roots found by their looks: mapping tree at block {mapping}, details at block {details}"
        );
    }
    for (id, left, said) in &salvage.damaged {
        crate::output::noteln!("thin device {id}: {left} mappings left, its details say {said}");
    }
    for id in &salvage.lost {
        crate::output::noteln!(
            "thin device {id}: only its mappings or only its details are left, it can't be saved"
        );
    }
    crate::output::noteln!(
        "{} device(s) whole, {} damaged, {} lost",
        salvage.nr_whole,
        salvage.damaged.len(),
        salvage.lost.len()
    );
}
