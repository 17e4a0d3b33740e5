//! Devices as a tree of what they are made of.

use crate::kernel::{Failure, Where};
use clap::Args;
use dmlab_control::Stack;

/// Show what devices are made of, as a tree.
#[derive(Args)]
pub(crate) struct Tree {
    #[command(flatten)]
    kernel: Where,
}

impl Tree {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut dm = self.kernel.open()?;
        let mut stack = Stack::default();
        for disk in dm.transport().disks()? {
            stack.name(disk.dev, disk.name);
        }
        stack.read(&mut dm)?;
        print!("{}", stack.draw());
        Ok(())
    }
}
