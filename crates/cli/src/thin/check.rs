//! `dmlab thin check`.

use super::source::Source;
use crate::json::{self, Format};
use crate::kernel::Failure;
use crate::output::outln;
use clap::Args;
use dmlab_thin_tools::{CheckOptions, Problem, Report, check, clear_needs_check, fix_leaks};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Findings that are printed if not asked for all.
const SHOWN: usize = 100;

/// `dmlab thin check`.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    source: Source,
    /// Print nothing; the exit status says it.
    #[arg(short, long)]
    quiet: bool,
    /// Check the superblock only.
    #[arg(long)]
    super_block_only: bool,
    /// Don't walk the mappings, and compare no counts.
    #[arg(long, conflicts_with_all = ["fix_leaks"])]
    skip_mappings: bool,
    /// Correct counts that are too high and sums that are wrong, and clear the needs-check flag, if nothing worse is wrong.
    #[arg(long, visible_alias = "auto-repair", conflicts_with_all = ["super_block_only"])]
    fix_leaks: bool,
    /// Clear the needs-check flag if nothing is wrong.
    #[arg(long, visible_alias = "clear-needs-check-flag")]
    clear_needs_check: bool,
    /// Leaked space alone is no failure.
    #[arg(long)]
    ignore_non_fatal_errors: bool,
    /// Print every finding, not only the first hundred.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: Format,
}

impl Check {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let options =
            CheckOptions { super_block_only: self.super_block_only, skip_mappings: self.skip_mappings };
        let report = check(&self.source.open()?, options)?;
        if self.format.json && !self.quiet {
            json::print(&value(&report))?;
        } else if !self.quiet {
            self.print(&report)?;
        }
        let is_sound = report.is_clean() || (self.ignore_non_fatal_errors && report.has_only_leaks());
        let needs_check = report.superblock.as_ref().is_some_and(dmlab_thin_tools::Superblock::needs_check);
        let has_findings = !report.is_clean() || !report.remarks.is_empty();
        if self.fix_leaks && report.has_only_leaks() && (has_findings || needs_check) {
            let fixed = fix_leaks(&mut self.source.open_rw()?)?;
            if self.speaks() {
                outln!("{} finding(s) mended, needs_check is clear", fixed.len())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if !is_sound {
            return Ok(ExitCode::FAILURE);
        }
        if self.clear_needs_check && clear_needs_check(&mut self.source.open_rw()?)? && self.speaks() {
            outln!("needs_check cleared")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Whether it says in words what it did.
    fn speaks(&self) -> bool {
        !self.quiet && !self.format.json
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        if let Some(superblock) = &report.superblock {
            outln!(
                "transaction id {}, time {}, {} data blocks of {} sectors{}",
                superblock.trans_id,
                superblock.time,
                superblock.data_space_map.nr_blocks,
                superblock.data_block_size,
                if superblock.needs_check() { ", needs_check is set" } else { "" }
            )?;
            if !self.super_block_only {
                let (devices, mappings) = (report.nr_devices, report.nr_mappings);
                outln!("{devices} device(s), {mappings} mapping(s), {} node(s) read", report.nr_nodes)?;
            }
        }
        let shown = if self.all { usize::MAX } else { SHOWN };
        // What is lost comes first.
        let mut problems: Vec<&Problem> = report.problems.iter().collect();
        problems.sort_by_key(|problem| problem.is_leak());
        for problem in problems.iter().take(shown) {
            outln!("  {problem}")?;
        }
        for remark in report.remarks.iter().take(shown) {
            outln!("  harmless: {remark}")?;
        }
        if problems.len() > shown {
            outln!("  … and {} more (--all shows them)", problems.len() - shown)?;
        }
        let damaged = report.damaged_devices();
        if !damaged.is_empty() {
            let ids: Vec<String> = damaged.iter().take(shown).map(ToString::to_string).collect();
            outln!("{} damaged device(s): {}", damaged.len(), ids.join(", "))?;
        }
        match report.problems.len() {
            0 if report.remarks.is_empty() => outln!("nothing is wrong")?,
            0 => outln!("nothing is wrong; the sums are those of another program, on the careful side")?,
            found if report.has_only_leaks() => {
                outln!("{found} finding(s), no data is affected; --fix-leaks mends them")?;
            }
            found if report.superblock.is_none() => {
                outln!(
                    "{found} finding(s): this is no metadata of a thin pool, or its superblock is damaged"
                )?;
            }
            found => outln!("{found} finding(s); `dmlab thin repair` makes new metadata of what survives")?,
        }
        let is_whole = self.super_block_only || self.skip_mappings || report.superblock.is_none();
        if !is_whole && !report.counts_compared {
            outln!("reference counts were not compared: with part of a tree lost they can't be known")?;
        }
        Ok(())
    }
}

/// What was found, as JSON.
fn value(report: &Report) -> Value {
    let problem = |problem: &Problem| json!({ "text": problem.to_string(), "leak": problem.is_leak() });
    json!({
        "clean": report.is_clean(),
        "only_leaks": report.has_only_leaks(),
        "needs_check": report.superblock.as_ref().map(dmlab_thin_tools::Superblock::needs_check),
        "devices": report.nr_devices,
        "mappings": report.nr_mappings,
        "counts_compared": report.counts_compared,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "remarks": report.remarks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "damaged_devices": report.damaged_devices().iter().map(|id| id.0).collect::<Vec<_>>(),
    })
}
