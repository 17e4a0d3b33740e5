//! Where the rules of faults touch the machine: names of devices, ioctls, events. Bios the injector sees by itself.

use std::sync::{Arc, Weak};

use dmlab_dm::{BoxFuture, DeviceMapper, IoctlHook, IoctlSeen, TargetType};
use dmlab_faults::{EventSeen, Injector, IoctlCall, Meanings, Moment, Names, Verdict};
use dmlab_runtime::{Runtime, Uevent};
use dmlab_units::{DevT, Errno};

/// The mapped devices by name. The machine owns both, so this may not keep the mapper alive.
struct MappedNames {
    mapper: Weak<DeviceMapper>,
    meanings: Meanings,
}

impl Names for MappedNames {
    fn mapped(&self, name: &str) -> Option<DevT> {
        self.mapper.upgrade()?.by_name(name.as_bytes()).map(|device| device.dev())
    }

    fn meanings(&self) -> &Meanings {
        &self.meanings
    }
}

/// Shows ioctls to the rules.
struct Ioctls(Arc<Injector>);

impl IoctlHook for Ioctls {
    fn is_on(&self) -> bool {
        self.0.wants_ioctls()
    }

    fn look<'a>(&'a self, seen: IoctlSeen<'a>) -> BoxFuture<'a, Result<(), Errno>> {
        Box::pin(async move {
            let moment = if seen.is_done { Moment::Done } else { Moment::Before };
            let call = IoctlCall { command: seen.command, name: &seen.name, dev: seen.dev, moment };
            match self.0.ioctl(call, seen.caller.interrupt()).await {
                Verdict::Go => Ok(()),
                Verdict::Fail(errno) => Err(errno),
                Verdict::Kill => {
                    seen.caller.kill();
                    // What a process that is being killed would see, if it could.
                    Err(Errno::EINTR)
                }
            }
        })
    }
}

/// The rules of a machine, none at first, where they see all that they are for.
pub(crate) fn injector(runtime: &Arc<Runtime>, mapper: &Arc<DeviceMapper>) -> Arc<Injector> {
    let meanings = meanings(mapper.types().into_iter().rev());
    let names = MappedNames { mapper: Arc::downgrade(mapper), meanings };
    let injector = Injector::new(runtime, Box::new(names));
    mapper.set_ioctl_hook(Arc::new(Ioctls(injector.clone())));
    let (rules, mapper) = (Arc::downgrade(&injector), Arc::downgrade(mapper));
    runtime.uevents().set_filter(move |event| match rules.upgrade() {
        Some(rules) if rules.wants_uevents() => passes(&rules, &mapper, event),
        _ => true,
    });
    injector
}

/// The meanings that targets of these types give their bios, each module's once.
pub(crate) fn meanings(types: impl IntoIterator<Item = &'static TargetType>) -> Meanings {
    let mut seen: Vec<&str> = Vec::new();
    let modules = types.into_iter().map(|kind| kind.module);
    let new = modules.filter(|module| {
        let is_new = !seen.contains(&module.name);
        seen.push(module.name);
        is_new
    });
    Meanings::new(new.flat_map(|module| module.meanings))
}

fn passes(rules: &Injector, mapper: &Weak<DeviceMapper>, event: &Uevent) -> bool {
    let number = |key| event.var(key).and_then(|text| text.parse().ok());
    let dev = number("MAJOR").zip(number("MINOR")).map(|(major, minor)| DevT::new(major, minor));
    let name = dev.and_then(|dev| mapper.upgrade()?.name_of(dev));
    let name = name.as_deref().map(String::from_utf8_lossy);
    let device = event.var("DEVNAME").or_else(|| event.devpath.rsplit('/').next()).unwrap_or_default();
    rules.uevent(EventSeen { action: event.action, device, dev, dm_name: name.as_deref() })
}
