//! Parameters of kernel modules, as a boot line or `/sys/module` gives them: those that the types of targets list.

use dmlab_dm::ModuleParameter;
use dmlab_units::Errno;

use crate::Machine;

impl Machine {
    /// Names of the parameters that can be set: `MODULE.PARAMETER`.
    pub fn parameters(&self) -> Vec<String> {
        self.modules().into_iter().map(|(module, parameter)| format!("{module}.{}", parameter.name)).collect()
    }

    /// The value of a parameter, as its file in `/sys/module` shows it.
    pub fn parameter(&self, name: &str) -> Option<String> {
        Some((self.find_parameter(name)?.get)(self.mapper().states()))
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// ENOENT for one that there isn't, EINVAL for a value that it can't have.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<(), Errno> {
        let parameter = self.find_parameter(name).ok_or(Errno::ENOENT)?;
        (parameter.set)(self.mapper().states(), value)
    }

    fn find_parameter(&self, name: &str) -> Option<&'static ModuleParameter> {
        let (module, name) = name.split_once('.')?;
        let found =
            self.modules().into_iter().find(|(of, parameter)| *of == module && parameter.name == name);
        found.map(|(_, parameter)| parameter)
    }

    /// Every parameter with the name of its module.
    fn modules(&self) -> Vec<(&'static str, &'static ModuleParameter)> {
        let mut found: Vec<(&str, &ModuleParameter)> = Vec::new();
        for module in self.mapper().types().into_iter().map(|kind| kind.module) {
            if !found.iter().any(|(name, _)| *name == module.name) {
                found.extend(module.parameters.iter().map(|parameter| (module.name, parameter)));
            }
        }
        found
    }
}
