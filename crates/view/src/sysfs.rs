//! The parts of `/sys` that tell of block devices, rendered when they are read
//! (kernel/program-surface.md#files-that-programs-read).

use std::sync::Arc;

use dmlab_machine::Features;
use dmlab_units::DevT;

mod partition;

use super::node::EntryKind;
use dmlab_machine::{
    BlockDevice, DeviceInfo, DmInfo, LOOP_MAJOR, LoopAttributes, Machine, Quirks, UNLIMITED_SECTORS,
};

/// Something at a path of `/sys` or `/proc`.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A directory and what is in it.
    Dir(Vec<(String, EntryKind)>),
    /// A symlink.
    Link(String),
    /// A text.
    Text(Vec<u8>),
}

fn text(value: impl std::fmt::Display) -> Option<Entry> {
    Some(Entry::Text(format!("{value}\n").into_bytes()))
}

fn line(bytes: &[u8]) -> Option<Entry> {
    Some(Entry::Text([bytes, b"\n"].concat()))
}

fn dir(names: impl IntoIterator<Item = (String, EntryKind)>) -> Option<Entry> {
    Some(Entry::Dir(names.into_iter().collect()))
}

fn file(name: &str) -> (String, EntryKind) {
    (name.to_owned(), EntryKind::File)
}

fn subdir(name: &str) -> (String, EntryKind) {
    (name.to_owned(), EntryKind::Dir)
}

fn link(name: &str, target: &str) -> (String, EntryKind) {
    (name.to_owned(), EntryKind::Link(target.as_bytes().to_vec()))
}

/// A file of a directory: its name, and what it shows of a `T`.
type Attribute<T> = (&'static str, fn(&T) -> Vec<u8>);

/// The files of a directory of `T`, and what each shows.
struct Directory<T: 'static>(&'static [Attribute<T>]);

impl<T> Directory<T> {
    fn files(&self) -> impl Iterator<Item = (String, EntryKind)> {
        self.0.iter().map(|(name, _)| file(name))
    }

    /// One of the files.
    fn file(&self, of: &T, name: &str) -> Option<Entry> {
        let (_, show) = self.0.iter().find(|(have, _)| *have == name)?;
        line(&show(of))
    }

    /// The directory itself, or one of its files.
    fn entry(&self, of: &T, name: &str) -> Option<Entry> {
        if name.is_empty() { dir(self.files()) } else { self.file(of, name) }
    }
}

fn say(value: impl std::fmt::Display) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Of every device.
const POWER: Directory<()> = Directory(&[("control", |()| say("auto"))]);
/// Of every device.
const TRACE: Directory<()> = Directory(&[("enable", |()| say(0))]);

/// What is at `path`, one of the simulated parts of `/sys`; symlinks on the way are the caller's to follow.
pub(super) fn lookup(machine: &Machine, path: &[u8]) -> Option<Entry> {
    let path = std::str::from_utf8(path).ok()?;
    for (root, up) in [
        ("/sys/block", "../devices/virtual/block"),
        ("/sys/class/block", "../../devices/virtual/block"),
        ("/sys/dev/block", "../../devices/virtual/block"),
        ("/sys/class/bdi", "../../devices/virtual/bdi"),
    ] {
        let Some(rest) = path.strip_prefix(root) else { continue };
        if rest.is_empty() || rest.starts_with('/') {
            return links(machine, root, up, rest.trim_start_matches('/'));
        }
    }
    if let Some(rest) = path.strip_prefix("/usr").unwrap_or(path).strip_prefix("/lib/modules") {
        return super::modules::lookup(machine, rest);
    }
    if let Some(rest) = path.strip_prefix("/sys/devices/virtual/block") {
        return devices(machine, rest.trim_start_matches('/'));
    }
    if let Some(rest) = path.strip_prefix("/sys/devices/virtual/bdi") {
        return bdi(machine, rest.trim_start_matches('/'));
    }
    let rest = path.strip_prefix("/sys/module/")?;
    match rest.split_once('/').unwrap_or((rest, "")) {
        ("dm_mod", rest) => dm_module(rest),
        (module, rest) => target_module(machine, module, rest),
    }
}

/// A directory of links to devices, or one of the links. Partitions are in those by class and by number only.
fn links(machine: &Machine, root: &str, up: &str, name: &str) -> Option<Entry> {
    let by_number = root != "/sys/block" && root != "/sys/class/block";
    let to_bdi = root == "/sys/class/bdi";
    let is_listed = |block: &BlockDevice| block.partition().is_none() || !(to_bdi || root == "/sys/block");
    let target = |block: &BlockDevice| match to_bdi {
        true => format!("{up}/{}", block.dev()),
        false => format!("{up}/{}", place(block)),
    };
    let own_name =
        |block: &BlockDevice| if by_number { block.dev().to_string() } else { block.name().to_owned() };
    if name.is_empty() {
        let all = machine.registry().all();
        let listed = all.iter().filter(|block| is_listed(block));
        return dir(listed.map(|block| link(&own_name(block), &target(block))));
    }
    let block = if by_number { by_dev(machine, name)? } else { by_name(machine, name)? };
    is_listed(&block).then(|| Entry::Link(target(&block)))
}

/// Where a device is below `/sys/devices/virtual/block`.
fn place(block: &BlockDevice) -> String {
    let whole = match block.partition() {
        Some(part) => part.whole(),
        None => None,
    };
    match whole {
        Some(whole) => format!("{}/{}", whole.name(), block.name()),
        None => block.name().to_owned(),
    }
}

fn by_dev(machine: &Machine, number: &str) -> Option<Arc<BlockDevice>> {
    let block = machine.registry().get(number.parse().ok()?)?;
    // `01:0` and the like are no names.
    (block.dev().to_string() == number).then_some(block)
}

fn by_name(machine: &Machine, name: &str) -> Option<Arc<BlockDevice>> {
    machine.registry().all().into_iter().find(|block| block.name() == name)
}

fn bdi(machine: &Machine, rest: &str) -> Option<Entry> {
    if rest.is_empty() {
        let all = machine.registry().all();
        let disks = all.iter().filter(|block| block.partition().is_none());
        return dir(disks.map(|block| subdir(&block.dev().to_string())));
    }
    let (number, attribute) = rest.split_once('/').unwrap_or((rest, ""));
    let block = by_dev(machine, number).filter(|block| block.partition().is_none())?;
    match attribute {
        "" => dir(BDI.files().chain([file("uevent"), link("subsystem", "../../../../class/bdi")])),
        "uevent" => Some(Entry::Text(Vec::new())),
        "subsystem" => Some(Entry::Link("../../../../class/bdi".into())),
        name => BDI.file(&block, name),
    }
}

const BDI: Directory<Arc<BlockDevice>> = Directory(&[
    ("max_bytes", |_| say(0)),
    ("max_ratio", |_| say(100)),
    ("max_ratio_fine", |_| say(1_000_000)),
    ("min_bytes", |_| say(0)),
    ("min_ratio", |_| say(0)),
    ("read_ahead_kb", |block| say(block.read_ahead().0 >> 1)),
    ("strict_limit", |_| say(0)),
]);

const DM_PARAMETERS: Directory<()> = Directory(&[
    ("dm_numa_node", |()| say(-1)),
    ("kcopyd_subjob_size_kb", |()| say(512)),
    ("reserved_bio_based_ios", |()| say(16)),
    ("reserved_rq_based_ios", |()| say(256)),
    ("stats_current_allocated_bytes", |()| say(0)),
    ("swap_bios", |()| say(2048)),
    ("use_blk_mq", |()| say("Y")),
]);

fn dm_module(rest: &str) -> Option<Entry> {
    match rest.trim_start_matches('/') {
        "" => dir([subdir("parameters"), file("uevent")]),
        "uevent" => Some(Entry::Text(Vec::new())),
        name => {
            let (directory, name) = name.split_once('/').unwrap_or((name, ""));
            if directory == "parameters" { DM_PARAMETERS.entry(&(), name) } else { None }
        }
    }
}

/// A module with parameters that a boot option can set; the files only show them.
fn target_module(machine: &Machine, module: &str, rest: &str) -> Option<Entry> {
    let parameters = machine.parameters();
    let own = |name: &String| Some(name.strip_prefix(module)?.strip_prefix('.')?.to_owned());
    let mut own = parameters.iter().filter_map(own).peekable();
    own.peek()?;
    match rest {
        "" => dir([subdir("parameters"), file("uevent")]),
        "uevent" => Some(Entry::Text(Vec::new())),
        "parameters" => dir(own.map(|name| file(&name))),
        name => text(machine.parameter(&format!("{module}.{}", name.strip_prefix("parameters/")?))?),
    }
}

fn devices(machine: &Machine, rest: &str) -> Option<Entry> {
    if rest.is_empty() {
        let all = machine.registry().all();
        return dir(all.iter().filter(|block| block.partition().is_none()).map(|block| subdir(block.name())));
    }
    let (name, attribute) = rest.split_once('/').unwrap_or((rest, ""));
    let block = by_name(machine, name).filter(|block| block.partition().is_none())?;
    let (inner, of_inner) = attribute.split_once('/').unwrap_or((attribute, ""));
    if let Some(part) = block.partitions().iter().find(|part| part.name() == inner) {
        return partition::entry(machine, &machine.device(part.dev())?, of_inner);
    }
    let device = machine.device(block.dev())?;
    device_entry(machine, &device, attribute)
}

const DISK: Directory<DeviceInfo> = Directory(&[
    ("alignment_offset", |device| say(device.limits.shown_alignment_offset())),
    ("capability", |_| say(0)),
    ("dev", |device| say(device.dev)),
    ("discard_alignment", |device| say(device.limits.shown_discard_alignment())),
    ("diskseq", |device| say(device.disk_seq)),
    ("events", |_| Vec::new()),
    ("events_async", |_| Vec::new()),
    ("events_poll_msecs", |_| say(-1)),
    ("ext_range", |device| say(if device.takes_partitions { 256 } else { 1 })),
    ("hidden", |_| say(0)),
    ("inflight", |_| say(IN_FLIGHT)),
    ("partscan", |device| say(u8::from(device.is_scanned))),
    ("range", |device| say(device.minors)),
    ("removable", |_| say(0)),
    ("ro", |device| say(u8::from(device.read_only))),
    ("size", |device| say(device.size.0)),
    ("stat", |device| say(stat_line(device))),
    ("uevent", |device| {
        let (major, minor) = (device.dev.major(), device.dev.minor());
        let DeviceInfo { name, disk_seq, .. } = device;
        say(format_args!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE=disk\nDISKSEQ={disk_seq}"))
    }),
]);

/// Reads and writes under way: nobody can look while there is one.
const IN_FLIGHT: &str = "       0        0";

fn device_entry(machine: &Machine, device: &DeviceInfo, attribute: &str) -> Option<Entry> {
    let number = device.dev;
    match attribute {
        "" => {
            let mut names: Vec<_> = DISK.files().collect();
            names.push(link("bdi", &format!("../../bdi/{number}")));
            names.push(link("subsystem", "../../../../class/block"));
            for name in ["holders", "integrity", "power", "queue", "slaves", "trace"] {
                names.push(subdir(name));
            }
            if device.dm.is_some() {
                names.push(subdir("dm"));
            }
            for part in device.partitions.iter().filter_map(|&dev| machine.registry().get(dev)) {
                names.push(subdir(part.name()));
            }
            if loop_device(machine, device, "").is_some() {
                names.push(subdir("loop"));
            }
            dir(names)
        }
        "bdi" => Some(Entry::Link(format!("../../bdi/{number}"))),
        "subsystem" => Some(Entry::Link("../../../../class/block".into())),
        "holders" => dir(neighbours(machine, "../..", &device.holders)),
        "slaves" => dir(neighbours(machine, "../..", &device.slaves)),
        "integrity" => dir([]),
        _ => {
            let (group, name) = attribute.split_once('/').unwrap_or((attribute, ""));
            match group {
                "queue" => queue(machine, device, name),
                "loop" => loop_device(machine, device, name),
                "dm" => DM.entry(device.dm.as_ref()?, name),
                "power" => POWER.entry(&(), name),
                "trace" => TRACE.entry(&(), name),
                "holders" => neighbour(machine, "../..", &device.holders, name),
                "slaves" => neighbour(machine, "../..", &device.slaves, name),
                _ => DISK.file(device, attribute),
            }
        }
    }
}

/// Devices below or above another, as links from its directory; `up` leads to the directory of all.
fn neighbours(machine: &Machine, up: &str, numbers: &[DevT]) -> Vec<(String, EntryKind)> {
    let blocks = numbers.iter().filter_map(|&dev| machine.registry().get(dev));
    blocks.map(|block| link(block.name(), &format!("{up}/{}", place(&block)))).collect()
}

fn neighbour(machine: &Machine, up: &str, numbers: &[DevT], name: &str) -> Option<Entry> {
    let block = by_name(machine, name)?;
    numbers.contains(&block.dev()).then(|| Entry::Link(format!("{up}/{}", place(&block))))
}

/// The seventeen numbers of `stat`. Nothing is merged, and no time is counted.
pub(super) fn stat_numbers(device: &DeviceInfo) -> [u64; 17] {
    let [reads, read_sectors, writes, write_sectors, discards, discard_sectors, flushes] = device.stat;
    [
        reads,
        0,
        read_sectors,
        0,
        writes,
        0,
        write_sectors,
        0,
        0,
        0,
        0,
        discards,
        0,
        discard_sectors,
        0,
        flushes,
        0,
    ]
}

fn stat_line(device: &DeviceInfo) -> String {
    stat_numbers(device).map(|n| format!("{n:8}")).join(" ")
}

const DM: Directory<DmInfo> = Directory(&[
    ("name", |dm| dm.name.clone()),
    ("uuid", |dm| dm.uuid.clone()),
    ("suspended", |dm| say(u8::from(dm.suspended))),
    ("rq_based_seq_io_merge_deadline", |_| say(0)),
    ("use_blk_mq", |_| say(1)),
]);

const LOOP: Directory<LoopAttributes> = Directory(&[
    ("autoclear", |bound| say(u8::from(bound.autoclear))),
    ("backing_file", |bound| bound.backing_file.clone()),
    ("dio", |bound| say(u8::from(bound.dio))),
    ("offset", |bound| say(bound.offset.0)),
    ("partscan", |bound| say(u8::from(bound.partscan))),
    ("sizelimit", |bound| say(bound.sizelimit.0)),
]);

/// The `loop` directory, which exists while the device is bound.
fn loop_device(machine: &Machine, device: &DeviceInfo, name: &str) -> Option<Entry> {
    if device.dev.major() != LOOP_MAJOR {
        return None;
    }
    LOOP.entry(&machine.loops().get(device.dev.minor())?.attributes()?, name)
}

/// What `queue` has besides for a device with a request queue, as Debian's Linux 6.12 shows it. There is none behind
/// these files.
fn request_values(device: &DeviceInfo) -> Vec<(&'static str, String)> {
    let (scheduler, requests) = match device.dm {
        Some(_) => ("none [mq-deadline] ", 256),
        None => ("[none] mq-deadline ", 128),
    };
    vec![
        ("nr_requests", requests.to_string()),
        ("rq_affinity", "1".to_owned()),
        ("scheduler", scheduler.to_owned()),
        ("wbt_lat_usec", "2000".to_owned()),
    ]
}

/// The `queue` directory. A bio-based device has no scheduler and no request files, unless the kernel is one that shows them
/// for every device.
fn queue(machine: &Machine, device: &DeviceInfo, name: &str) -> Option<Entry> {
    let runtime = machine.runtime();
    let mut values = queue_values(device);
    if device.takes_requests {
        values.extend(request_values(device));
    }
    if runtime.has(Quirks::QUEUES_SHOW_STREAMS) {
        let names = ["iostats_passthrough", "max_write_streams", "write_stream_granularity"];
        values.extend(names.map(|name| (name, "0".to_owned())));
        let depth = values.iter().find(|(name, _)| *name == "nr_requests").map(|(_, depth)| depth.clone());
        values.extend(depth.map(|depth| ("async_depth", depth)));
        // No disk unmaps what it writes zeroes to. A device that stands on none has no bound but the largest number.
        let zeroes = device.limits.max_write_zeroes_sectors;
        let unmap = if zeroes == UNLIMITED_SECTORS { zeroes.0 << 9 } else { 0 };
        let names = ["write_zeroes_unmap_max_bytes", "write_zeroes_unmap_max_hw_bytes"];
        values.extend(names.map(|name| (name, unmap.to_string())));
    }
    if runtime.has(Quirks::QUEUES_ARE_OLD) {
        as_old(device, &mut values);
    }
    if name.is_empty() {
        return dir(values.iter().map(|(name, _)| file(name)));
    }
    text(&values.into_iter().find(|(have, _)| *have == name)?.1)
}

/// Has `queue` look as it did before atomic writes, when every device had the files of requests. Linux 6.1.176 looks so; a
/// device that takes bios counts no IO there.
fn as_old(device: &DeviceInfo, values: &mut Vec<(&'static str, String)>) {
    values.retain(|(name, _)| !name.starts_with("atomic_write"));
    if !device.takes_requests {
        values.extend(
            [("nr_requests", "128"), ("rq_affinity", "0"), ("scheduler", "none")]
                .map(|(name, value)| (name, value.to_owned())),
        );
    }
    for (name, value) in values {
        let counts_nothing = *name == "iostats" && !device.takes_requests;
        if *name == "io_poll_delay" || counts_nothing {
            "0".clone_into(value);
        }
    }
}

fn queue_values(device: &DeviceInfo) -> Vec<(&'static str, String)> {
    let limits = &device.limits;
    let bytes = |sectors: u64| (sectors << 9).to_string();
    let has = |feature: Features| u8::from(limits.features.contains(feature)).to_string();
    let zero = || "0".to_owned();
    vec![
        ("add_random", zero()),
        ("atomic_write_boundary_bytes", zero()),
        ("atomic_write_max_bytes", zero()),
        ("atomic_write_unit_max_bytes", zero()),
        ("atomic_write_unit_min_bytes", zero()),
        ("chunk_sectors", limits.chunk_sectors.0.to_string()),
        ("dax", zero()),
        ("discard_granularity", limits.discard_granularity.0.to_string()),
        ("discard_max_bytes", bytes(limits.max_discard_sectors.0)),
        ("discard_max_hw_bytes", bytes(limits.max_hw_discard_sectors.0)),
        ("discard_zeroes_data", zero()),
        ("dma_alignment", limits.dma_alignment.to_string()),
        ("fua", u8::from(limits.has_fua()).to_string()),
        ("hw_sector_size", limits.logical_block_size.0.to_string()),
        ("io_poll", has(Features::POLL)),
        ("io_poll_delay", "-1".to_owned()),
        ("iostats", has(Features::IO_STAT)),
        ("logical_block_size", limits.logical_block_size.0.to_string()),
        ("max_discard_segments", limits.max_discard_segments.to_string()),
        ("max_hw_sectors_kb", (limits.max_hw_sectors.0 >> 1).to_string()),
        ("max_integrity_segments", limits.max_integrity_segments.to_string()),
        ("max_sectors_kb", (limits.max_sectors.0 >> 1).to_string()),
        ("max_segment_size", limits.max_segment_size.0.to_string()),
        ("max_segments", limits.max_segments.to_string()),
        ("minimum_io_size", limits.io_min.0.to_string()),
        ("nomerges", zero()),
        ("nr_zones", zero()),
        ("optimal_io_size", limits.io_opt.0.to_string()),
        ("physical_block_size", limits.physical_block_size.0.to_string()),
        ("read_ahead_kb", (device.read_ahead.0 >> 1).to_string()),
        ("rotational", has(Features::ROTATIONAL)),
        ("stable_writes", has(Features::STABLE_WRITES)),
        ("virt_boundary_mask", limits.virt_boundary_mask.to_string()),
        ("write_cache", if limits.has_write_cache() { "write back" } else { "write through" }.to_owned()),
        ("write_same_max_bytes", zero()),
        ("write_zeroes_max_bytes", bytes(limits.max_write_zeroes_sectors.0)),
        ("zone_append_max_bytes", zero()),
        ("zone_write_granularity", zero()),
        ("zoned", "none".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use dmlab_machine::{BootOptions, Machine};

    use super::{Entry, lookup};

    #[test]
    fn only_devices_with_request_queues_have_a_scheduler() {
        const LOOP_CTL_ADD: u32 = 0x4c80;
        let machine = Machine::boot(BootOptions::default()).unwrap();
        machine.loops().ioctl(LOOP_CTL_ADD, 0).unwrap();
        let shown = |device: &str| {
            let path = format!("/sys/devices/virtual/block/{device}/queue/scheduler");
            match lookup(&machine, path.as_bytes()) {
                Some(Entry::Text(text)) => Some(String::from_utf8(text).unwrap()),
                _ => None,
            }
        };
        assert_eq!(shown("loop0").as_deref(), Some("[none] mq-deadline \n"));
        assert_eq!(shown("ram0"), None);
    }
}
