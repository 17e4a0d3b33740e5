//! What table and status lines say. Each word has a blank behind it, the last one, too.

use std::fmt::{Result, Write};

use dmlab_runtime::Quirks;

use super::paths::{Group, Mode, MultipathDevice, State};

impl MultipathDevice {
    /// `QUEUE_IO` and the pg_init count, which is always 0; handlers, of which there are none; the groups.
    pub(super) fn write_info(&self, out: &mut String) -> Result {
        let state = self.state.lock();
        write!(out, "2 {} 0 0 {} {} ", u8::from(state.queue_io), state.groups.len(), state.shown_group())?;
        for (number, group) in state.groups.iter().enumerate() {
            write!(out, "{} ", state.letter(number))?;
            group.selector.write_arguments(out)?;
            write!(out, "{} {} ", group.paths.len(), group.selector.info_words())?;
            for path in group.paths.clone() {
                let entry = &state.paths[path];
                let letter = active_letter(entry.is_active);
                write!(out, "{} {letter} {} ", self.paths[path].dev(), entry.failures)?;
                group.selector.write_info(path - group.paths.start, out)?;
            }
        }
        Ok(())
    }

    /// The line as it could be loaded again. What the kernel set by itself counts as a feature, too: a device that takes
    /// bios retains handlers.
    pub(super) fn write_table(&self, out: &mut String) -> Result {
        let state = self.state.lock();
        let mut features = String::new();
        if state.queues {
            features += "queue_if_no_path ";
        }
        if let Some(retries) = self.settings.pg_init_retries {
            write!(features, "pg_init_retries {retries} ")?;
        }
        if let Some(delay) = self.settings.pg_init_delay_msecs {
            write!(features, "pg_init_delay_msecs {delay} ")?;
        }
        if self.settings.retains_handler && !self.runtime.has(Quirks::HW_HANDLER_FEATURE_HIDDEN) {
            features += "retain_attached_hw_handler ";
        }
        if self.settings.mode == Mode::Bio {
            features += "queue_mode bio ";
        }
        let count = features.split_whitespace().count();
        write!(out, "{count} {features}0 {} {} ", state.groups.len(), state.shown_group())?;
        for Group { selector, paths, .. } in &state.groups {
            write!(out, "{} ", selector.name())?;
            selector.write_arguments(out)?;
            write!(out, "{} {} ", paths.len(), selector.table_words())?;
            for path in paths.clone() {
                write!(out, "{} ", self.paths[path].dev())?;
                selector.write_table(path - paths.start, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn write_measurement(&self, out: &mut String) -> Result {
        let state = self.state.lock();
        let count = state.groups.len();
        write!(out, "nr_priority_groups={count}")?;
        for (g, group) in state.groups.iter().enumerate() {
            let (letter, paths, name) = (state.letter(g), group.paths.len(), group.selector.name());
            write!(out, ",pg_state_{g}={letter},nr_pgpaths_{g}={paths},path_selector_name_{g}={name}")?;
            for (p, path) in group.paths.clone().enumerate() {
                let entry = &state.paths[path];
                let (dev, failures) = (self.paths[path].dev(), entry.failures);
                let letter = active_letter(entry.is_active);
                // No selector has anything to measure.
                write!(
                    out,
                    ",path_name_{g}_{p}={dev},is_active_{g}_{p}={letter},fail_count_{g}_{p}={failures},\
                     path_selector_status_{g}_{p}="
                )?;
            }
        }
        out.push(';');
        Ok(())
    }
}

impl State {
    fn letter(&self, group: usize) -> char {
        if self.groups[group].is_bypassed {
            'D'
        } else if self.current == Some(group) {
            'A'
        } else {
            'E'
        }
    }
}

fn active_letter(is_active: bool) -> char {
    if is_active { 'A' } else { 'F' }
}
