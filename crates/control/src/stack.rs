//! Devices as a tree of what they are made of.

use std::collections::{BTreeMap, BTreeSet};

use dmlab_units::DevT;

use crate::{DeviceId, Dm, Error, Query, Transport};

/// Which device maps onto which.
#[derive(Debug, Default)]
pub struct Stack {
    names: BTreeMap<DevT, String>,
    /// Mapped devices in the order of the list, with what they map onto.
    mapped: Vec<(DevT, Vec<DevT>)>,
}

impl Stack {
    /// Names a device that isn't mapped.
    pub fn name(&mut self, dev: DevT, name: String) {
        self.names.insert(dev, name);
    }

    /// Adds a mapped device and what it maps onto.
    pub fn add(&mut self, dev: DevT, name: String, deps: Vec<DevT>) {
        self.name(dev, name);
        self.mapped.push((dev, deps));
    }

    /// Adds every mapped device.
    ///
    /// # Errors
    /// Those of the transport; ENXIO when a device goes away meanwhile.
    pub fn read<T: Transport>(&mut self, dm: &mut Dm<T>) -> Result<(), Error> {
        for device in dm.list()? {
            let mut deps = dm.deps(&DeviceId::Dev(device.dev), Query::default())?;
            // The kernel lists the device opened last first; a reader wants the table's order.
            deps.reverse();
            self.add(device.dev, String::from_utf8_lossy(&device.name).into_owned(), deps);
        }
        Ok(())
    }

    /// The picture, a line for each device, as `dmsetup ls --tree` draws it: each device that no other maps onto, with what is below it.
    pub fn draw(&self) -> String {
        if self.mapped.is_empty() {
            return "No devices found\n".to_owned();
        }
        let used: BTreeSet<DevT> = self.mapped.iter().flat_map(|(_, deps)| deps.iter().copied()).collect();
        let mut picture = String::new();
        let mut roots: Vec<DevT> =
            self.mapped.iter().map(|(dev, _)| *dev).filter(|dev| !used.contains(dev)).collect();
        if roots.is_empty() {
            // Devices in a circle have no top; Linux lets them be made.
            roots = self.mapped.iter().take(1).map(|(dev, _)| *dev).collect();
        }
        for root in roots {
            self.draw_below(root, "", "", &mut Vec::new(), &mut picture);
        }
        picture
    }

    fn draw_below(&self, dev: DevT, own: &str, below: &str, path: &mut Vec<DevT>, picture: &mut String) {
        let name = self.names.get(&dev).map_or("", String::as_str);
        let again = path.contains(&dev);
        let end = if again { " ..." } else { "" };
        picture.push_str(&format!("{own}{name} ({dev}){end}\n"));
        if again {
            return;
        }
        path.push(dev);
        let deps = self.mapped.iter().find(|(d, _)| *d == dev).map_or(&[][..], |(_, deps)| deps);
        for (at, dep) in deps.iter().enumerate() {
            let (own, deeper) = if at + 1 == deps.len() { (" `-", "   ") } else { (" |-", " | ") };
            self.draw_below(*dep, &format!("{below}{own}"), &format!("{below}{deeper}"), path, picture);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_drawn_as_dmsetup_draws_it() {
        let (ram0, ram1, ram2) = (DevT::new(1, 0), DevT::new(1, 1), DevT::new(1, 2));
        let (bare, one, two) = (DevT::new(254, 2), DevT::new(254, 0), DevT::new(254, 1));
        let mut stack = Stack::default();
        stack.name(ram0, "ram0".into());
        stack.name(ram1, "ram1".into());
        stack.add(bare, "bare".into(), vec![]);
        stack.add(one, "one".into(), vec![ram0, ram1]);
        stack.add(two, "two".into(), vec![one, ram2]);
        let want = "\
bare (254:2)
two (254:1)
 |-one (254:0)
 |  |-ram0 (1:0)
 |  `-ram1 (1:1)
 `- (1:2)
";
        assert_eq!(stack.draw(), want);
        assert_eq!(Stack::default().draw(), "No devices found\n");
    }

    #[test]
    fn a_circle_ends() {
        let (a, b) = (DevT::new(254, 0), DevT::new(254, 1));
        let mut stack = Stack::default();
        stack.add(a, "a".into(), vec![b]);
        stack.add(b, "b".into(), vec![a]);
        assert_eq!(stack.draw(), "a (254:0)\n `-b (254:1)\n    `-a (254:0) ...\n");
    }
}
