//! Fork: a second machine whose disks hold what this one's hold at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dmlab_block::{BlockDevice, LOOP_MAJOR, LoopControl, Registry};
use dmlab_dm::{DeviceMapper, MappedDevice, SavedDevice};
use dmlab_runtime::{Driver, Runtime, Stalled};
use dmlab_units::{DevT, Errno};

use crate::fault_points::injector;
use crate::{Inner, Machine};

/// Why a machine cannot be forked. It goes on as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForkError {
    /// A disk whose bytes lie outside the machine, in a file, or a loop device that is bound.
    Disk(String),
    /// A device has bios that have not ended; a fork cannot say what they would have done.
    InFlight {
        /// The name of the disk.
        device: String,
        /// How many bios.
        bios: u64,
    },
    /// Buffered writes do not reach a device.
    WriteBack {
        /// The name of the device.
        device: String,
        /// What the writes ended with.
        errno: Errno,
    },
    /// Something that a device waits for while it stops cannot happen any more.
    Stalled,
}

impl std::fmt::Display for ForkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ForkError::Disk(name) => {
                write!(f, "{name} cannot be forked: its bytes lie in a file; disks in memory can be")
            }
            ForkError::InFlight { device, bios } => {
                write!(
                    f,
                    "{device} has {bios} bios in flight; a machine is forked when none is: let time pass first"
                )
            }
            ForkError::WriteBack { device, errno } => {
                write!(f, "buffered writes to {device} fail with {errno}")
            }
            ForkError::Stalled => f.write_str("a device cannot stop: what it waits for never happens"),
        }
    }
}

impl std::error::Error for ForkError {}

impl From<Stalled> for ForkError {
    fn from(_: Stalled) -> ForkError {
        ForkError::Stalled
    }
}

/// What [`Machine::fork_disks`] gives.
pub struct Forked {
    /// The second machine.
    pub machine: Machine,
    /// What each mapped device of the first one knew when its disks were forked, for those that are made again here.
    pub saved: BTreeMap<DevT, SavedDevice>,
}

impl Machine {
    /// A second machine on `driver`'s time, with forks of this one's disks under their numbers and no mapped devices; seed,
    /// targets and parameters are the same.
    ///
    /// Every mapped device here is stopped for that moment, the top of a stack first, so that the disks hold all that targets
    /// keep in memory (a pool commits); then they go on. No byte is copied.
    ///
    /// # Errors
    /// See [`ForkError`].
    pub fn fork_disks(&self, driver: Arc<dyn Driver>) -> Result<Forked, ForkError> {
        self.runtime().run_until_idle();
        let mapped = self.mapped_top_first();
        for device in &mapped {
            let name = || String::from_utf8_lossy(&device.names().name).into_owned();
            match device.in_flight() {
                0 => {}
                bios => return Err(ForkError::InFlight { device: name(), bios }),
            }
            let written = device.block().write_back();
            written.map_err(|errno| ForkError::WriteBack { device: name(), errno })?;
        }
        self.runtime().block_on(async {
            for device in &mapped {
                device.internal_suspend().await;
            }
        })?;
        let saved = mapped.iter().map(|device| (device.dev(), device.save())).collect();
        let forked = self.forked(driver);
        self.runtime().block_on(async {
            for device in mapped.iter().rev() {
                device.internal_resume().await;
            }
        })?;
        Ok(Forked { machine: forked?, saved })
    }

    /// All mapped devices, each before those that it stands on.
    pub fn mapped_top_first(&self) -> Vec<Arc<MappedDevice>> {
        let below = |device: &MappedDevice| -> Vec<DevT> {
            let tables = [device.live_table(), device.inactive_table()];
            let used = tables.iter().flatten().flat_map(|table| table.devices());
            used.map(|used| used.dev()).collect()
        };
        let (mut seen, mut below_first) = (BTreeSet::new(), Vec::new());
        // Without recursion: a stack of devices may be higher than the thread's.
        for device in self.mapper().all() {
            let mut path = Vec::new();
            if seen.insert(device.dev()) {
                let todo = below(&device);
                path.push((device, todo));
            }
            while let Some((device, todo)) = path.last_mut() {
                match todo.pop() {
                    Some(dev) if seen.insert(dev) => {
                        if let Some(device) = self.mapper().by_dev(dev) {
                            let todo = below(&device);
                            path.push((device, todo));
                        }
                    }
                    Some(_) => {}
                    None => {
                        below_first.push(device.clone());
                        path.pop();
                    }
                }
            }
        }
        below_first.reverse();
        below_first
    }

    fn forked(&self, driver: Arc<dyn Driver>) -> Result<Machine, ForkError> {
        let (seed, personality) = (self.runtime().seed(), self.runtime().personality());
        let runtime = Runtime::with_personality(seed, driver, personality);
        let registry = Arc::new(Registry::new(runtime.clone()));
        for block in self.registry().all() {
            let major = block.dev().major();
            // A loop device that is not bound has no size, and each machine has its own.
            if block.partition().is_some()
                || major == self.mapper().major()
                || (major == LOOP_MAJOR && block.capacity().0 == 0)
            {
                continue;
            }
            let forked = fork_block(&block, &registry)?;
            registry.add(forked.clone()).expect("each number is there once");
            for part in block.partitions() {
                copy_partition(&part, &forked)?;
            }
        }
        let mapper = DeviceMapper::new(registry.clone(), self.mapper().major());
        for kind in self.mapper().types().into_iter().rev() {
            mapper.register(kind).expect("each name is there once");
        }
        let loops = LoopControl::new(registry.clone());
        let faults = injector(&runtime, &mapper);
        let machine = Machine { inner: Arc::new(Inner { runtime, registry, mapper, loops, faults }) };
        for name in self.parameters() {
            let value = self.parameter(&name).unwrap_or_default();
            machine.set_parameter(&name, &value).expect("it was set here");
        }
        Ok(machine)
    }
}

/// Gives the forked disk the partition that the first one has.
fn copy_partition(part: &Arc<BlockDevice>, forked: &Arc<BlockDevice>) -> Result<(), ForkError> {
    let Some(place) = part.partition() else { return Ok(()) };
    let made = forked.make_partition(
        place.number,
        place.start,
        part.capacity(),
        place.names.clone(),
        Some(part.dev()),
    );
    made.map_err(|_| ForkError::Disk(part.name().to_owned()))
}

fn fork_block(block: &Arc<BlockDevice>, registry: &Registry) -> Result<Arc<BlockDevice>, ForkError> {
    let name = block.name();
    let refused = || ForkError::Disk(name.to_owned());
    for device in block.partitions().iter().chain([block]) {
        if let Err(errno) = device.write_back() {
            return Err(ForkError::WriteBack { device: device.name().to_owned(), errno });
        }
    }
    let ops = block.ops().fork().ok_or_else(refused)?;
    let (dev, seq): (DevT, u64) = (block.dev(), registry.next_disk_seq());
    let forked = BlockDevice::new(dev, name, seq, registry.runtime().clone(), ops, *block.limits());
    forked.set_capacity(block.capacity());
    forked.set_read_only(block.is_read_only());
    Ok(forked)
}
