//! `dmlab thin check`.

use super::source::Source;
use crate::kernel::Failure;
use clap::Args;
use dmlab_thin_tools::{CheckOptions, Problem, Report, check, clear_needs_check, fix_leaks};
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
}

impl Check {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let options =
            CheckOptions { super_block_only: self.super_block_only, skip_mappings: self.skip_mappings };
        let report = check(&self.source.open()?, options)?;
        if !self.quiet {
            self.print(&report);
        }
        let is_sound = report.is_clean() || (self.ignore_non_fatal_errors && report.has_only_leaks());
        let needs_check = report.superblock.as_ref().is_some_and(|superblock| superblock.needs_check());
        let has_findings = !report.is_clean() || !report.remarks.is_empty();
        if self.fix_leaks && report.has_only_leaks() && (has_findings || needs_check) {
            let fixed = fix_leaks(&mut self.source.open_rw()?)?;
            if !self.quiet {
                println!("{} finding(s) mended, needs_check is clear", fixed.len());
            }
            return Ok(ExitCode::SUCCESS);
        }
        if !is_sound {
            return Ok(ExitCode::FAILURE);
        }
        if self.clear_needs_check && clear_needs_check(&mut self.source.open_rw()?)? && !self.quiet {
            println!("needs_check cleared");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, report: &Report) {
        if let Some(superblock) = &report.superblock {
            println!(
                "transaction id {}, time {}, {} data blocks of {} sectors{}",
                superblock.trans_id,
                superblock.time,
                superblock.data_space_map.nr_blocks,
                superblock.data_block_size,
                if superblock.needs_check() { ", needs_check is set" } else { "" }
            );
            if !self.super_block_only {
                let (devices, mappings) = (report.nr_devices, report.nr_mappings);
                println!("{devices} device(s), {mappings} mapping(s), {} node(s) read", report.nr_nodes);
            }
        }
        let shown = if self.all { usize::MAX } else { SHOWN };
        // What is lost comes first.
        let mut problems: Vec<&Problem> = report.problems.iter().collect();
        problems.sort_by_key(|problem| problem.is_leak());
        for problem in problems.iter().take(shown) {
            println!("  {problem}");
        }
        for remark in report.remarks.iter().take(shown) {
            println!("  harmless: {remark}");
        }
        if problems.len() > shown {
            println!("  … and {} more (--all shows them)", problems.len() - shown);
        }
        let damaged = report.damaged_devices();
        if !damaged.is_empty() {
            let ids: Vec<String> = damaged.iter().take(shown).map(ToString::to_string).collect();
            println!("{} damaged device(s): {}", damaged.len(), ids.join(", "));
        }
        match report.problems.len() {
            0 if report.remarks.is_empty() => println!("nothing is wrong"),
            0 => println!("nothing is wrong; the sums are those of another program, on the careful side"),
            found if report.has_only_leaks() => {
                println!("{found} finding(s), no data is affected; --fix-leaks mends them");
            }
            found if report.superblock.is_none() => {
                println!(
                    "{found} finding(s): this is no metadata of a thin pool, or its superblock is damaged"
                );
            }
            found => println!("{found} finding(s); `dmlab thin repair` makes new metadata of what survives"),
        }
        let is_whole = self.super_block_only || self.skip_mappings || report.superblock.is_none();
        if !is_whole && !report.counts_compared {
            println!("reference counts were not compared: with part of a tree lost they can't be known");
        }
    }
}
