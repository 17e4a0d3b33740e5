//! `dmlab thin ls`, `delta`, `rmap`, `stat`, `map` and `tree`.

use super::source::{Source, View};
use crate::json::{self, Format};
use crate::kernel::Failure;
use crate::output::{out, outln};
use clap::Args;
use dmlab_thin_tools::{
    Column, MapRun, RmapRun, Scope, Statistics, Survey, TreeStatistics, delta, draw_svg, draw_text, ls,
    ls_table, map, metadata_reserve, picture, rmap, statistics,
};
use dmlab_units::{SECTOR_SIZE, ThinId};
use serde_json::{Value, json};
use std::path::PathBuf;

/// `dmlab thin ls`.
#[derive(Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    view: View,
    /// Columns, with commas between them.
    #[arg(short = 'o', long, value_delimiter = ',', value_parser = Column::parse)]
    format: Vec<Column>,
    /// No first line with the columns' names.
    #[arg(long)]
    no_headers: bool,
    /// Print JSON, for programs (its schema: the chapter "JSON" of the book).
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let columns = if self.format.is_empty() { &Column::DEFAULT[..] } else { &self.format[..] };
        let rows = ls(&self.source.open()?, self.view.which(), columns)?;
        if self.json {
            return json::print(&rows.iter().map(|row| row_value(columns, row)).collect());
        }
        out!("{}", ls_table(columns, &rows, !self.no_headers))?;
        Ok(())
    }
}

/// A row by the names of its columns; what is a number is one.
fn row_value(columns: &[Column], row: &[String]) -> Value {
    let cell = |cell: &String| cell.parse::<u64>().map_or_else(|_| json!(cell), |number| json!(number));
    let named = columns.iter().zip(row).map(|(column, value)| (column.name().to_lowercase(), cell(value)));
    Value::Object(named.collect())
}

/// `dmlab thin delta`.
#[derive(Args)]
pub(crate) struct Delta {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    view: View,
    /// The one device.
    #[arg(long, visible_alias = "snap1", value_name = "ID")]
    thin1: u64,
    /// The other device.
    #[arg(long, visible_alias = "snap2", value_name = "ID")]
    thin2: u64,
    /// Say where the data is.
    #[arg(long)]
    verbose: bool,
}

fn no_device(id: ThinId, known: impl Iterator<Item = ThinId>) -> Failure {
    let known: Vec<String> = known.take(20).map(|id| id.to_string()).collect();
    format!("no thin device {id}; the pool has {}", known.join(", ")).into()
}

impl Delta {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let metadata = self.source.open()?;
        let survey = Survey::new(&metadata, Scope::Mappings)?;
        let view = survey.view(self.view.which())?;
        let found = delta(&survey, view, ThinId(self.thin1), ThinId(self.thin2))?;
        let found = found.map_err(|id| no_device(id, view.roots.keys().copied()))?;
        out!("{}", found.xml(self.verbose))?;
        Ok(())
    }
}

/// `dmlab thin rmap`.
#[derive(Args)]
pub(crate) struct Rmap {
    #[command(flatten)]
    source: Source,
    /// Data blocks, FIRST..END with END not among them; may be given several times.
    #[arg(long, required = true, value_parser = region)]
    region: Vec<std::ops::Range<u64>>,
    #[command(flatten)]
    format: Format,
}

fn region(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("it should be FIRST..END")?;
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("`{text}`: {e}"));
    let region = number(first)?..number(end)?;
    if region.is_empty() {
        return Err(format!("it is empty: the end must be above {}", region.start));
    }
    Ok(region)
}

impl Rmap {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let metadata = self.source.open()?;
        let survey = Survey::new(&metadata, Scope::Mappings)?;
        let runs = rmap(&survey, &survey.live, &self.region)?;
        if self.format.json {
            let one = |run: &RmapRun| json!({ "data": run.data.0, "device": run.device.0, "begin": run.begin.0, "length": run.length });
            return json::print(&runs.iter().map(one).collect());
        }
        for run in runs {
            outln!("{run}")?;
        }
        Ok(())
    }
}

/// `dmlab thin stat`.
#[derive(Args)]
pub(crate) struct Stat {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    format: Format,
}

impl Stat {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let statistics = statistics(&self.source.open()?, self.view.which())?;
        if self.format.json {
            return json::print(&statistics_value(&statistics));
        }
        let s = &statistics.superblock;
        let mut text = format!("{}\n", self.source.path().display());
        let mut line = |name: &str, value: String| text.push_str(&format!("{name:<22}{value}\n"));
        line("transaction id", s.trans_id.to_string());
        line("time", s.time.to_string());
        line("needs_check", if s.needs_check() { "yes" } else { "no" }.to_owned());
        let held = if s.held_root.0 == 0 { "none".to_owned() } else { format!("block {}", s.held_root) };
        line("metadata snapshot", held);
        let bytes = s.data_block_size.0.saturating_mul(SECTOR_SIZE);
        line("data block", format!("{} sectors ({} KiB)", s.data_block_size, bytes / 1024));
        line("data blocks", of(statistics.nr_data_allocated, s.data_space_map.nr_blocks));
        let nr_blocks = s.metadata_space_map.nr_blocks;
        line("metadata blocks", of(statistics.nr_metadata_allocated, nr_blocks));
        let (used, reserve) = (statistics.nr_metadata_allocated, metadata_reserve(nr_blocks));
        line(
            "metadata reserve",
            format!(
                "{reserve} blocks (the pool's status line counts them as used: {}/{nr_blocks})",
                used + reserve
            ),
        );
        line("devices", statistics.nr_devices.to_string());
        line("mappings", statistics.nr_mappings.to_string());
        line(
            "mapped data blocks",
            format!("{}, {} of them shared by devices", statistics.nr_data_used, statistics.nr_data_shared),
        );
        line("device tree", tree(&statistics.devices));
        line("details tree", tree(&statistics.details));
        line("mapping trees", tree(&statistics.mappings));
        out!("{text}")?;
        Ok(())
    }
}

fn statistics_value(statistics: &Statistics) -> Value {
    let s = &statistics.superblock;
    let tree = |tree: &TreeStatistics| {
        json!({
            "depth": tree.depth,
            "internal": tree.nr_internal,
            "leaves": tree.nr_leaves,
            "shared": tree.nr_shared,
            "fill_percent": tree.fill_percent(),
        })
    };
    let usage = |used: u64, total: u64| json!({ "used": used, "total": total });
    json!({
        "transaction": s.trans_id,
        "time": s.time,
        "needs_check": s.needs_check(),
        "held_metadata_root": Some(s.held_root.0).filter(|&root| root != 0),
        "data_block_sectors": s.data_block_size.0,
        "data_blocks": usage(statistics.nr_data_allocated, s.data_space_map.nr_blocks),
        "metadata_blocks": usage(statistics.nr_metadata_allocated, s.metadata_space_map.nr_blocks),
        "metadata_reserve_blocks": metadata_reserve(s.metadata_space_map.nr_blocks),
        "devices": statistics.nr_devices,
        "mappings": statistics.nr_mappings,
        "mapped_data_blocks": statistics.nr_data_used,
        "shared_data_blocks": statistics.nr_data_shared,
        "device_tree": tree(&statistics.devices),
        "details_tree": tree(&statistics.details),
        "mapping_trees": tree(&statistics.mappings),
    })
}

fn of(used: u64, all: u64) -> String {
    let percent = if all == 0 { 0.0 } else { used as f64 * 100.0 / all as f64 };
    format!("{used} of {all} in use ({percent:.1} %)")
}

fn tree(tree: &TreeStatistics) -> String {
    format!(
        "{} level(s), {} internal, {} leaves {:.0} % full, {} node(s) shared",
        tree.depth,
        tree.nr_internal,
        tree.nr_leaves,
        tree.fill_percent(),
        tree.nr_shared
    )
}

/// `dmlab thin map`.
#[derive(Args)]
pub(crate) struct Map {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    view: View,
    /// The device's number in its pool; not needed when a thin device of a machine is named.
    device_id: Option<u64>,
    /// The picture only.
    #[arg(long, conflicts_with = "runs")]
    picture: bool,
    /// The runs only.
    #[arg(long)]
    runs: bool,
    /// Print JSON, for programs (its schema: the chapter "JSON" of the book).
    #[arg(long, conflicts_with_all = ["picture", "runs"])]
    json: bool,
}

impl Map {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (metadata, named) = self.source.open_with_id()?;
        let survey = Survey::new(&metadata, Scope::Mappings)?;
        let view = survey.view(self.view.which())?;
        let id = self.device_id.map(ThinId).or(named).ok_or("which device of the pool? Give its number")?;
        let Some(runs) = map(&survey, view, id)? else {
            survey.expect_devices(view, &[id])?;
            return Err(no_device(id, view.roots.keys().copied()));
        };
        if self.json {
            let one = |MapRun { run, state }: &MapRun| {
                json!({
                    "begin": run.begin.0,
                    "data": run.data.0,
                    "length": run.length,
                    "time": run.time,
                    "state": state.to_string(),
                })
            };
            json::print(&runs.iter().map(one).collect())?;
            return Ok(survey.expect_whole(view)?);
        }
        if !self.picture {
            outln!("{:>20}  {:>20}  {:>5}  STATE", "VIRTUAL", "DATA", "SINCE")?;
            for MapRun { run, state } in &runs {
                let range = |begin: u64| match run.length {
                    1 => begin.to_string(),
                    length => format!("{begin}-{}", begin + length - 1),
                };
                let (begin, data) = (range(run.begin.0), range(run.data.0));
                outln!("{begin:>20}  {data:>20}  {:>5}  {state}", run.time)?;
            }
        }
        if !self.runs {
            out!("{}", picture(&runs))?;
        }
        // Whose a block is depends on every device.
        Ok(survey.expect_whole(view)?)
    }
}

/// `dmlab thin tree`.
#[derive(Args)]
pub(crate) struct Tree {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    view: View,
    /// Draw into an SVG file instead.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Tree {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let metadata = self.source.open()?;
        let survey = Survey::new(&metadata, Scope::Mappings)?;
        let view = survey.view(self.view.which())?;
        match &self.svg {
            Some(path) => std::fs::write(path, draw_svg(&survey, view))
                .map_err(|e| format!("{}: {e}", path.display()))?,
            None => out!("{}", draw_text(&survey, view))?,
        }
        // What is damaged is drawn as such.
        Ok(survey.expect_whole(view)?)
    }
}
