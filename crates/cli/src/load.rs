//! Commands that bring a table.

use crate::kernel::{Failure, Kernel, Meant, Named, Where, device_name, device_uuid};
use crate::output::errln;
use clap::Args;
use dmlab_control::{
    CreateOptions, DeviceId, Dm, Error, LoadOptions, Refusal, Surroundings, SuspendOptions, Table, explain,
};
use dmlab_units::{DmName, Errno};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where a table comes from.
#[derive(Args)]
struct Source {
    /// The table: its text, a file that holds it, or `-` for stdin (the default).
    #[arg(long, value_name = "TEXT|FILE|-", allow_hyphen_values = true)]
    table: Option<OsString>,
    /// Load it read-only.
    #[arg(short, long)]
    readonly: bool,
}

impl Source {
    /// Reads the table, which has at least one line.
    fn read(&self) -> Result<Table, Failure> {
        let text = match self.table.as_deref() {
            Some(text) if text != "-" && Path::new(text).is_file() => std::fs::read(text)?,
            Some(text) if text != "-" => text.as_bytes().to_vec(),
            _ => {
                let mut stdin = std::io::stdin();
                if stdin.is_terminal() {
                    errln!("type the table, lines of START LENGTH TARGET and its parameters; Ctrl-D ends it");
                }
                let mut text = Vec::new();
                stdin.read_to_end(&mut text)?;
                text
            }
        };
        let text = String::from_utf8(text).map_err(|error| {
            format!("the table is no UTF-8 from byte {} on", error.utf8_error().valid_up_to())
        })?;
        let table = text.parse::<Table>()?;
        if table.lines.is_empty() {
            return Err(
                "the table has no line: START LENGTH TARGET and its parameters, such as `0 8 zero`; \
                        `dmlab create --notable` makes a device without a table"
                    .into(),
            );
        }
        Ok(table)
    }
}

/// Create a mapped device, load its table and resume it.
#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    kernel: Where,
    /// The new device's name.
    name: OsString,
    #[command(flatten)]
    source: Source,
    /// Its uuid.
    #[arg(short, long)]
    uuid: Option<OsString>,
    /// Its minor number.
    #[arg(short, long, value_name = "N")]
    minor: Option<u32>,
    /// Without a table.
    #[arg(short, long, conflicts_with = "table")]
    notable: bool,
}

impl Create {
    /// Creates, loads and resumes; explains a table that the kernel refuses.
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let name = device_name(&self.name)?;
        let uuid = self.uuid.as_deref().map(device_uuid).transpose()?;
        let options = CreateOptions { uuid, minor: self.minor };
        // No table should be typed for a machine that is not there.
        let mut dm = self.kernel.open(meant)?;
        if self.notable {
            return match dm.create(&name, &options) {
                Ok(_) => Ok(()),
                Err(error) => Err(taken(&mut dm, &name, &options, error)),
            };
        }
        let table = self.source.read()?;
        let load = LoadOptions { read_only: self.source.readonly, secure: false };
        match dm.create_with_table(&name, &options, &table, load) {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == Some(Errno::EBUSY) && error.log().is_empty() => {
                Err(taken(&mut dm, &name, &options, error))
            }
            Err(error) => Err(explained(&mut dm, &table, error)),
        }
    }
}

/// `error`, and what holds the name, the uuid or the number that was to be the new device's, if something does.
fn taken(dm: &mut Dm<Box<dyn Kernel>>, name: &DmName, options: &CreateOptions, error: Error) -> Failure {
    let Ok(devices) = dm.list() else { return error.into() };
    let hint = devices.iter().find_map(|device| {
        let other = String::from_utf8_lossy(&device.name);
        if device.name == name.as_bytes() {
            return Some(format!(
                "a device of that name exists: `dmlab load {other} --resume` gives it another table, `dmlab remove {other}` \
                 removes it"
            ));
        }
        let has_uuid = options.uuid.as_ref().is_some_and(|uuid| device.uuid.as_deref() == Some(uuid.as_bytes()));
        if has_uuid {
            return Some(format!("{other} has that uuid"));
        }
        let has_minor = options.minor == Some(device.dev.minor());
        has_minor.then(|| format!("{other} has minor {}", device.dev.minor()))
    });
    match hint {
        Some(hint) => format!("{error}\n  {hint}").into(),
        None => error.into(),
    }
}

/// Load a table into a device's inactive slot; `resume` makes it live.
#[derive(Args)]
pub(crate) struct Load {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    device: Named,
    #[command(flatten)]
    source: Source,
    /// Make it live at once: suspend, swap, resume.
    #[arg(long)]
    resume: bool,
}

impl Load {
    /// Loads; explains a table that the kernel refuses.
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let device = self.device.id()?;
        let mut dm = self.kernel.open(meant)?;
        let table = self.source.read()?;
        let load = LoadOptions { read_only: self.source.readonly, secure: false };
        load_and_resume(&mut dm, &device, &table, load, self.resume)
            .map_err(|error| explained(&mut dm, &table, error))
    }
}

fn load_and_resume(
    dm: &mut Dm<Box<dyn Kernel>>,
    device: &DeviceId,
    table: &Table,
    load: LoadOptions,
    resume: bool,
) -> Result<(), Error> {
    dm.load(device, table, load)?;
    if resume {
        dm.resume(device, SuspendOptions::default())?;
    }
    Ok(())
}

/// `error` with the table's words at fault underlined, where the kernel's log says enough.
fn explained(dm: &mut Dm<Box<dyn Kernel>>, table: &Table, error: Error) -> Failure {
    let types = dm.versions().unwrap_or_default();
    let types: Vec<String> = types.iter().map(|v| String::from_utf8_lossy(&v.name).into_owned()).collect();
    let devices = device_names(dm);
    let has_device = |text: &str| devices.contains(text);
    let known = Surroundings { types: &types, has_device: (!devices.is_empty()).then_some(&has_device) };
    match (explain(table, error.log(), &known), error) {
        (Some(explanation), Error::Refused(refusal)) => {
            let short = Refusal { log: Vec::new(), ..*refusal };
            format!("{short}\n{explanation}").into()
        }
        (_, error) => error.into(),
    }
}

/// Every word that names a block device of the kernel; none when it can't list them.
fn device_names(dm: &mut Dm<Box<dyn Kernel>>) -> BTreeSet<String> {
    let disks = dm.transport().disks().unwrap_or_default();
    let mut names: BTreeSet<String> =
        disks.iter().flat_map(|d| [format!("/dev/{}", d.name), d.dev.to_string()]).collect();
    if !names.is_empty() {
        let mapped = dm.list().unwrap_or_default();
        names.extend(mapped.iter().map(|d| format!("/dev/mapper/{}", String::from_utf8_lossy(&d.name))));
    }
    names
}
