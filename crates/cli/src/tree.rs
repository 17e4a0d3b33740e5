//! Devices as a tree of what they are made of.

use std::collections::BTreeMap;

use clap::Args;
use dmlab_control::{DeviceId, Dm, Query, Stack};
use dmlab_units::DevT;
use serde_json::{Value, json};

use crate::json::{self, Format};
use crate::kernel::{Failure, Kernel, Meant, Where};
use crate::output::out;

/// Show what devices are made of, as a tree.
#[derive(Args)]
pub(crate) struct Tree {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    format: Format,
}

impl Tree {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let mut dm = self.kernel.open(meant)?;
        if self.format.json {
            return json::print(&nodes(&mut dm)?);
        }
        let mut stack = Stack::default();
        for disk in dm.transport().disks()? {
            stack.name(disk.dev, disk.name);
        }
        stack.read(&mut dm)?;
        out!("{}", stack.draw())?;
        Ok(())
    }
}

/// Mapped devices with what they map onto, and the other devices that are mapped onto: a graph, for a circle has no tree.
fn nodes(dm: &mut Dm<Box<dyn Kernel>>) -> Result<Value, Failure> {
    let mut nodes = Vec::new();
    let mut below: BTreeMap<DevT, String> = BTreeMap::new();
    let names: BTreeMap<DevT, String> =
        dm.transport().disks()?.into_iter().map(|disk| (disk.dev, disk.name)).collect();
    let mapped = dm.list()?;
    for device in &mapped {
        let on = dm.deps(&DeviceId::Dev(device.dev), Query::default())?;
        for dev in &on {
            below.insert(*dev, names.get(dev).cloned().unwrap_or_else(|| dev.to_string()));
        }
        let on: Vec<String> = on.iter().map(ToString::to_string).collect();
        let name = json::text(&device.name);
        nodes.push(json!({ "name": name, "device": device.dev.to_string(), "mapped": true, "on": on }));
    }
    below.retain(|dev, _| mapped.iter().all(|device| device.dev != *dev));
    let others = below.into_iter();
    nodes
        .extend(others.map(
            |(dev, name)| json!({ "name": name, "device": dev.to_string(), "mapped": false, "on": [] }),
        ));
    Ok(Value::Array(nodes))
}
