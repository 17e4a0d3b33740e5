//! The teller of the story: runs each command on the machine and shows it with what came of it.

use super::picture;
use crate::kernel::{Failure, device_name};
use dmlab::{InProcess, Lab};
use dmlab_control::{
    CreateOptions, DeviceId, Dm, Error, LoadOptions, Query, Surroundings, SuspendOptions, Table, explain,
};
use dmlab_units::{DevT, Sector};
use std::time::Duration;

/// Width of the story's text in characters.
const WIDTH: usize = 100;

/// A machine, and somewhere to tell of it.
pub(super) struct Teller {
    lab: Lab,
    dm: Dm<InProcess>,
    /// What was told, a text for each chapter.
    chapters: Vec<String>,
    color: bool,
}

/// A device by name.
pub(super) fn id(name: &str) -> Result<DeviceId, Failure> {
    Ok(DeviceId::Name(device_name(name)?))
}

impl Teller {
    pub(super) fn new(lab: Lab, color: bool) -> Teller {
        let dm = lab.dm();
        Teller { lab, dm, chapters: Vec::new(), color }
    }

    /// All that was told.
    pub(super) fn into_chapters(self) -> Vec<String> {
        self.chapters
    }

    /// Puts a line to the chapter at hand.
    fn put(&mut self, line: &str) {
        if let Some(chapter) = self.chapters.last_mut() {
            chapter.push_str(line);
            chapter.push('\n');
        }
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(super) fn dm(&mut self) -> &mut Dm<InProcess> {
        &mut self.dm
    }

    /// The number of a device by its kernel name or its mapped name.
    pub(super) fn dev(&self, name: &str) -> Result<DevT, Failure> {
        let found = self
            .lab
            .device(&format!("/dev/{name}"))
            .or_else(|_| self.lab.device(&format!("/dev/mapper/{name}")));
        Ok(found?)
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Begins a chapter.
    pub(super) fn title(&mut self, text: &str) {
        let number = self.chapters.len() + 1;
        if number > 1 {
            self.lab.advance(Duration::from_secs(1));
        }
        let title = self.painted("1", &format!("{number}. {text}"));
        self.chapters.push(String::new());
        if number > 1 {
            self.put("");
        }
        self.put(&title);
    }

    /// A paragraph of the story, in lines of at most [`WIDTH`] characters.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.put("");
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.put(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.put(&line);
        Ok(())
    }

    /// Commands and what they are good for.
    pub(super) fn list(&mut self, rows: &[(&str, &str)]) -> Result<(), Failure> {
        self.put("");
        rows.iter().try_for_each(|(command, what)| self.line(&format!("{command:<25}{what}")))
    }

    /// A line of the machine.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.put(&format!("    {text}"));
        Ok(())
    }

    /// Several.
    pub(super) fn lines(&mut self, text: &str) -> Result<(), Failure> {
        text.lines().try_for_each(|line| self.line(line))
    }

    /// Shows a command as one would type it.
    pub(super) fn command(&mut self, words: &str) -> Result<(), Failure> {
        self.shell(&format!("dmlab {words}"))
    }

    /// Shows a line as one would type it to a shell on the machine.
    pub(super) fn shell(&mut self, line: &str) -> Result<(), Failure> {
        let command = self.painted("36", &format!("$ {line}"));
        self.put("");
        self.put(&format!("    {command}"));
        Ok(())
    }

    pub(super) fn create(&mut self, name: &str, table: &str) -> Result<(), Failure> {
        self.command(&format!("create {name} --table '{}'", indented(table)))?;
        self.try_create(name, table)?;
        Ok(())
    }

    fn try_create(&mut self, name: &str, table: &str) -> Result<(), Failure> {
        let parsed: Table = table.parse()?;
        self.dm.create_with_table(
            &device_name(name)?,
            &CreateOptions::default(),
            &parsed,
            LoadOptions::default(),
        )?;
        Ok(())
    }

    /// Creates a device that the kernel refuses, and explains why it does.
    pub(super) fn create_refused(&mut self, name: &str, table: &str) -> Result<(), Failure> {
        self.command(&format!("create {name} --table '{}'", indented(table)))?;
        let parsed: Table = table.parse()?;
        let result = self.dm.create_with_table(
            &device_name(name)?,
            &CreateOptions::default(),
            &parsed,
            LoadOptions::default(),
        );
        let Err(Error::Refused(refusal)) = result else {
            return Err(format!("the kernel was to refuse `{table}`").into());
        };
        self.line(&format!("{} ioctl on {} failed: {}", refusal.command, refusal.device, refusal.errno))?;
        let has_device = |text: &str| self.lab.device(text).is_ok();
        let known = Surroundings { types: &[], has_device: Some(&has_device) };
        let Some(explanation) = explain(&parsed, &refusal.log, &known) else {
            return Err(format!("no explanation of {:?}", refusal.log).into());
        };
        self.lines(&explanation.to_string())
    }

    pub(super) fn load(&mut self, name: &str, table: &str) -> Result<(), Failure> {
        self.command(&format!("load {name} --table '{}'", indented(table)))?;
        self.dm.load(&id(name)?, &table.parse::<Table>()?, LoadOptions::default())?;
        Ok(())
    }

    pub(super) fn suspend(&mut self, name: &str) -> Result<(), Failure> {
        self.command(&format!("suspend {name}"))?;
        self.dm.suspend(&id(name)?, SuspendOptions::default())?;
        Ok(())
    }

    pub(super) fn resume(&mut self, name: &str) -> Result<(), Failure> {
        self.command(&format!("resume {name}"))?;
        self.dm.resume(&id(name)?, SuspendOptions::default())?;
        Ok(())
    }

    /// Sends a message to sector 0 of a device.
    pub(super) fn message(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        self.command(&format!("message {name} 0 {text}"))?;
        self.dm.message(&id(name)?, Sector(0), text)?;
        Ok(())
    }

    /// Removes a device, or tells why it can't go.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.command(&format!("remove {name}"))?;
        match self.dm.remove(&id(name)?, false) {
            Ok(_) => Ok(()),
            Err(error) => self.lines(&error.to_string()),
        }
    }

    pub(super) fn table(&mut self, name: &str) -> Result<(), Failure> {
        self.command(&format!("table {name}"))?;
        let report = self.dm.table(&id(name)?, Query::default())?;
        report.lines.iter().try_for_each(|line| self.line(&line.to_string()))
    }

    pub(super) fn status(&mut self, name: &str) -> Result<(), Failure> {
        self.command(&format!("status {name}"))?;
        let report = self.dm.status(&id(name)?, Query::default())?;
        report.lines.iter().try_for_each(|line| self.line(&line.to_string()))
    }

    pub(super) fn deps(&mut self, name: &str) -> Result<(), Failure> {
        self.command(&format!("deps {name}"))?;
        let deps = self.dm.deps(&id(name)?, Query::default())?;
        self.line(&crate::show::deps_line(&deps))
    }

    pub(super) fn info(&mut self, name: &str) -> Result<(), Failure> {
        self.command(&format!("info {name}"))?;
        let info = self.dm.info(&id(name)?, Query::default())?;
        self.lines(&crate::show::info_block(&info))
    }

    /// Fills blocks of 4 KiB from sector 0 on with letters in order, with one write.
    pub(super) fn write_letters(&mut self, name: &str, first: u8, count: u8) -> Result<(), Failure> {
        let bytes: Vec<u8> = (first..first + count).flat_map(|letter| [letter; picture::BLOCK]).collect();
        let (from, to) = (char::from(first), char::from(first + count - 1));
        self.shell(&format!(
            "for l in {{{from}..{to}}}; do head -c 4096 /dev/zero | tr '\\0' $l; done | dd of=/dev/mapper/{name} bs={}k iflag=fullblock",
            4 * u32::from(count)
        ))?;
        self.lab.write(&format!("/dev/mapper/{name}"), Sector(0), &bytes)?;
        self.line(&format!("(one write of {count} blocks at sector 0: {from} to {to})"))
    }

    /// Draws what the disks hold.
    pub(super) fn picture(&mut self, disks: &[&str]) -> Result<(), Failure> {
        let lines = picture::draw(&self.lab, disks)?;
        self.put("");
        for (at, line) in lines.iter().enumerate() {
            let line = if at == 0 { self.painted("2", line) } else { self.painted("33", line) };
            self.line(&line)?;
        }
        Ok(())
    }
}

/// A table's further lines stand below its first one.
fn indented(table: &str) -> String {
    table.replace('\n', "\n    ")
}
