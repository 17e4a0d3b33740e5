//! Commands that bring a table.

use crate::kernel::{Failure, Kernel, Named, Where, device_name};
use clap::Args;
use dmlab_control::{
    CreateOptions, DeviceId, Dm, Error, LoadOptions, Refusal, Surroundings, SuspendOptions, Table, explain,
};
use dmlab_units::DmUuid;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Where a table comes from.
#[derive(Args)]
struct Source {
    /// The table: its text, a file that holds it, or `-` for stdin (the default).
    #[arg(long, value_name = "TEXT|FILE|-")]
    table: Option<String>,
    /// Load it read-only.
    #[arg(short, long)]
    readonly: bool,
}

impl Source {
    fn read(&self) -> Result<Table, Failure> {
        let text = match self.table.as_deref() {
            None | Some("-") => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                text
            }
            Some(path) if Path::new(path).is_file() => std::fs::read_to_string(path)?,
            Some(text) => text.to_owned(),
        };
        Ok(text.parse::<Table>()?)
    }
}

/// Create a mapped device, load its table and resume it.
#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    kernel: Where,
    /// The new device's name.
    name: String,
    #[command(flatten)]
    source: Source,
    /// Its uuid.
    #[arg(short, long)]
    uuid: Option<String>,
    /// Its minor number.
    #[arg(short, long, value_name = "N")]
    minor: Option<u32>,
    /// Without a table.
    #[arg(short, long, conflicts_with = "table")]
    notable: bool,
}

impl Create {
    /// Creates, loads and resumes; explains a table that the kernel refuses.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let name = device_name(&self.name)?;
        let uuid =
            self.uuid.as_ref().map(|uuid| DmUuid::new(uuid).map_err(|e| format!("uuid `{uuid}`: {e}")));
        let options = CreateOptions { uuid: uuid.transpose()?, minor: self.minor };
        let table = if self.notable { Table::new() } else { self.source.read()? };
        let mut dm = self.kernel.open()?;
        if table.lines.is_empty() {
            // As dmsetup: an empty table makes a device without one.
            dm.create(&name, &options)?;
            return Ok(());
        }
        let load = LoadOptions { read_only: self.source.readonly, secure: false };
        let result = dm.create_with_table(&name, &options, &table, load);
        result.map_err(|error| explained(&mut dm, &table, error))?;
        Ok(())
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
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (device, table) = (self.device.id()?, self.source.read()?);
        let mut dm = self.kernel.open()?;
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
