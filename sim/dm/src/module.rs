//! The kernel module that a type of target is in, as far as others must know of it.

use dmlab_block::Meaning;
use dmlab_units::Errno;

use crate::MachineStates;

/// A kernel module. Several types of target may share one.
#[derive(Clone, Copy)]
pub struct Module {
    /// The name below `/sys/module`: `dm_multipath`.
    pub name: &'static str,
    /// The parameters that can be set.
    pub parameters: &'static [ModuleParameter],
    /// The meanings that its targets give their bios, for rules of faults.
    pub meanings: &'static [Meaning],
}

/// A parameter of a module: one value for each machine.
#[derive(Clone, Copy)]
pub struct ModuleParameter {
    /// The name below `parameters`.
    pub name: &'static str,
    /// Shows the value, as its file does.
    pub get: fn(&MachineStates) -> String,
    /// Sets the value, or refuses it with EINVAL.
    pub set: fn(&MachineStates, &str) -> Result<(), Errno>,
}

impl Module {
    /// The core's own module, in which its simplest targets are.
    pub const DM_MOD: Module = Module::named("dm_mod");

    /// A module without parameters, whose targets give their bios no meaning.
    pub const fn named(name: &'static str) -> Module {
        Module { name, parameters: &[], meanings: &[] }
    }
}
