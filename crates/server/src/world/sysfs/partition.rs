//! The directory of a partition, inside that of its disk.

use dmlab_machine::{DeviceInfo, Machine};

use super::{Entry, dir, file, link, neighbour, neighbours, stat_line, subdir, text};

const PLAIN: [&str; 11] = [
    "alignment_offset",
    "dev",
    "discard_alignment",
    "inflight",
    "partition",
    "ro",
    "size",
    "start",
    "stat",
    "uevent",
    "power/control",
];

/// From a directory of the partition's to that of all disks.
const UP: &str = "../../..";

pub(super) fn entry(machine: &Machine, device: &DeviceInfo, attribute: &str) -> Option<Entry> {
    let part = device.partition.as_ref()?;
    let number = device.dev;
    match attribute {
        "" => {
            let mut names: Vec<_> =
                PLAIN.iter().filter(|name| !name.contains('/')).map(|name| file(name)).collect();
            names.push(link("subsystem", "../../../../../class/block"));
            names.extend(["holders", "power", "trace"].map(subdir));
            dir(names)
        }
        // Both go by the blocks of the disk (recorded: `partitions/numbers.txt`).
        "alignment_offset" | "discard_alignment" => text(device.limits.alignment_offset_at(part.start).0),
        "subsystem" => Some(Entry::Link("../../../../../class/block".into())),
        "dev" => text(number),
        "inflight" => text(format_args!("{:8} {:8}", 0, 0)),
        "partition" => text(part.number),
        "ro" => text(u8::from(device.read_only)),
        "size" => text(device.size.0),
        "start" => text(part.start),
        "stat" => text(stat_line(device)),
        "uevent" => {
            let mut lines = format!(
                "MAJOR={}\nMINOR={}\nDEVNAME={}\nDEVTYPE=partition\nDISKSEQ={}\nPARTN={}",
                number.major(),
                number.minor(),
                device.name,
                device.disk_seq,
                part.number
            );
            if !part.names.volume.is_empty() {
                lines.push_str("\nPARTNAME=");
                lines.push_str(&part.names.volume);
            }
            text(lines)
        }
        "holders" => dir(neighbours(machine, UP, &device.holders)),
        "power" => dir([file("control")]),
        "power/control" => text("auto"),
        "trace" => dir([file("enable")]),
        "trace/enable" => text(0),
        _ => neighbour(machine, UP, &device.holders, attribute.strip_prefix("holders/")?),
    }
}
