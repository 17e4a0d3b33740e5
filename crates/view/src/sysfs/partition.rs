//! The directory of a partition, inside that of its disk.

use dmlab_machine::{DeviceInfo, Machine, PartitionInfo};

use super::{
    Directory, Entry, IN_FLIGHT, POWER, TRACE, dir, link, neighbour, neighbours, say, stat_line, subdir,
};

/// The device, and where it is on its disk.
type Partition = (DeviceInfo, PartitionInfo);

const PARTITION: Directory<Partition> = Directory(&[
    ("alignment_offset", alignment),
    ("dev", |(device, _)| say(device.dev)),
    ("discard_alignment", alignment),
    ("inflight", |_| say(IN_FLIGHT)),
    ("partition", |(_, part)| say(part.number)),
    ("ro", |(device, _)| say(u8::from(device.read_only))),
    ("size", |(device, _)| say(device.size.0)),
    ("start", |(_, part)| say(part.start)),
    ("stat", |(device, _)| say(stat_line(device))),
    ("uevent", |(device, part)| {
        let (major, minor) = (device.dev.major(), device.dev.minor());
        let DeviceInfo { name, disk_seq, .. } = device;
        let mut lines = format!(
            "MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE=partition\nDISKSEQ={disk_seq}\nPARTN={}",
            part.number
        );
        if !part.names.volume.is_empty() {
            lines.push_str("\nPARTNAME=");
            lines.push_str(&part.names.volume);
        }
        say(lines)
    }),
]);

/// Both alignments go by the blocks of the disk (recorded: `partitions/numbers.txt`).
fn alignment((device, part): &Partition) -> Vec<u8> {
    say(device.limits.alignment_offset_at(part.start).0)
}

/// From a directory of the partition's to that of all disks.
const UP: &str = "../../..";

pub(super) fn entry(machine: &Machine, device: &DeviceInfo, attribute: &str) -> Option<Entry> {
    let part = device.partition.clone()?;
    match attribute {
        "" => {
            let above = [link("subsystem", "../../../../../class/block")];
            dir(PARTITION.files().chain(above).chain(["holders", "power", "trace"].map(subdir)))
        }
        "subsystem" => Some(Entry::Link("../../../../../class/block".into())),
        "holders" => dir(neighbours(machine, UP, &device.holders)),
        _ => {
            let (group, name) = attribute.split_once('/').unwrap_or((attribute, ""));
            match group {
                "power" => POWER.entry(&(), name),
                "trace" => TRACE.entry(&(), name),
                "holders" => neighbour(machine, UP, &device.holders, name),
                _ => PARTITION.file(&(device.clone(), part), attribute),
            }
        }
    }
}
