//! What the rules say: which devices are looked into, which links they get, and what the database says of them.

use dmlab_machine::{DeviceInfo, LOOP_MAJOR};

use super::{Flags, Record};

/// Whether the content of a device matters: virtual disks, loops and mapped devices; not RAM disks, as on Debian.
pub(super) fn are_looked_into(device: &DeviceInfo, record: &Record) -> bool {
    if device.size.0 == 0 {
        return false;
    }
    match &device.dm {
        Some(dm) => {
            let is_disk = !record.flags.has(Flags::NO_DM_RULES) && !record.flags.has(Flags::NO_DISK_RULES);
            record.is_active && is_disk && !dm.suspended
        }
        None => has_disk_links(device),
    }
}

/// Whether a device that is not mapped gets links in `disk`.
fn has_disk_links(device: &DeviceInfo) -> bool {
    let disk = device.partition.as_ref().map_or(&device.name, |part| &part.disk);
    disk.starts_with("vd") || disk.starts_with("loop")
}

/// The links of a device, below `/dev`. Without a udev for all to see, only those that programs can't do without.
pub(super) fn links(device: &DeviceInfo, record: &Record, all: bool) -> Vec<String> {
    let mut links = Vec::new();
    let is_mapped = device.dm.as_ref().filter(|_| record.is_active && !record.flags.has(Flags::NO_DM_RULES));
    if let Some(dm) = is_mapped {
        links.push(format!("mapper/{}", encode(&dm.name)));
    }
    if !all {
        return links;
    }
    links.push(format!("block/{}", device.dev));
    if let Some(dm) = is_mapped {
        if let Some((group, volume)) = logical_volume(record, &dm.name, &dm.uuid) {
            links.push(format!("{}/{}", encode(&group), encode(&volume)));
        }
        if record.flags.has(Flags::NO_DISK_RULES) {
            return links;
        }
        links.push(format!("disk/by-id/dm-name-{}", encode(&dm.name)));
        if !dm.uuid.is_empty() {
            links.push(format!("disk/by-id/dm-uuid-{}", encode(&dm.uuid)));
        }
    } else if device.dm.is_some() || !has_disk_links(device) {
        return links;
    }
    let part = device.partition.as_ref();
    if device.dm.is_none() && device.size.0 > 0 {
        let end = part.map_or_else(String::new, |part| format!("-part{}", part.number));
        links.push(format!("disk/by-diskseq/{}{end}", device.disk_seq));
    }
    if let Some(part) = part {
        if !part.names.uuid.is_empty() {
            links.push(format!("disk/by-partuuid/{}", encode(part.names.uuid.as_bytes())));
        }
        if !part.names.volume.is_empty() {
            links.push(format!("disk/by-partlabel/{}", encode(part.names.volume.as_bytes())));
        }
    }
    let content = |name: &str| record.content.get(name);
    if matches!(content("ID_FS_USAGE"), Some("filesystem" | "other" | "crypto")) {
        links.extend(content("ID_FS_UUID_ENC").map(|uuid| format!("disk/by-uuid/{uuid}")));
        if content("ID_FS_USAGE") != Some("crypto") {
            links.extend(content("ID_FS_LABEL_ENC").map(|label| format!("disk/by-label/{label}")));
        }
    }
    if content("ID_FS_TYPE") == Some("LVM2_member") {
        links.extend(content("ID_FS_UUID_ENC").map(|uuid| format!("disk/by-id/lvm-pv-uuid-{uuid}")));
    }
    links.retain(|link| !link.split('/').any(|part| matches!(part, "" | "." | "..")));
    links
}

/// The volume group and volume that a mapped device is, unless it is a hidden part of one.
fn logical_volume(record: &Record, name: &[u8], uuid: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if record.flags.has(Flags::NO_SUBSYSTEM_RULES) || !uuid.starts_with(b"LVM-") {
        return None;
    }
    match &split(name)[..] {
        [group, volume] if !volume.is_empty() => Some((group.clone(), volume.clone())),
        _ => None,
    }
}

/// The parts of a mapped device's name: hyphens between them, two hyphens for one inside a part.
fn split(name: &[u8]) -> Vec<Vec<u8>> {
    let (mut parts, mut part, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(&byte) = name.get(at) {
        match (byte, name.get(at + 1)) {
            (b'-', Some(b'-')) => {
                part.push(b'-');
                at += 1;
            }
            (b'-', _) => parts.push(std::mem::take(&mut part)),
            _ => part.push(byte),
        }
        at += 1;
    }
    parts.push(part);
    parts
}

/// What the database says of a device.
pub(super) fn properties(device: &DeviceInfo, record: &Record) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| out.push((name.to_owned(), value.to_owned()));
    if let Some(dm) = device.dm.as_ref().filter(|_| record.is_active) {
        add("DM_NAME", &encode(&dm.name));
        if !dm.uuid.is_empty() {
            add("DM_UUID", &encode(&dm.uuid));
        }
        add("DM_SUSPENDED", if dm.suspended { "1" } else { "0" });
        add("DM_UDEV_RULES_VSN", "2");
        for (flag, name) in [
            (Flags::NO_DM_RULES, "DM_UDEV_DISABLE_DM_RULES_FLAG"),
            (Flags::NO_SUBSYSTEM_RULES, "DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG"),
            (Flags::NO_DISK_RULES, "DM_UDEV_DISABLE_DISK_RULES_FLAG"),
        ] {
            if record.flags.has(flag) {
                add(name, "1");
            }
        }
        if let Some((group, volume)) = logical_volume(record, &dm.name, &dm.uuid) {
            add("DM_VG_NAME", &encode(&group));
            add("DM_LV_NAME", &encode(&volume));
        }
    }
    if let Some(part) = device.partition.as_ref().filter(|_| has_disk_links(device)) {
        add("ID_PART_ENTRY_NUMBER", &part.number.to_string());
        add("ID_PART_ENTRY_OFFSET", &part.start.0.to_string());
        add("ID_PART_ENTRY_SIZE", &device.size.0.to_string());
        if !part.names.uuid.is_empty() {
            add("ID_PART_ENTRY_UUID", &part.names.uuid);
        }
        if !part.names.volume.is_empty() {
            add("ID_PART_ENTRY_NAME", &encode(part.names.volume.as_bytes()));
        }
    }
    for (name, value) in record.content.all() {
        add(name, value);
    }
    if device.dev.major() != LOOP_MAJOR || device.size.0 > 0 {
        add("TAGS", ":systemd:");
    }
    out
}

/// A name as a file name, as udev writes it: other bytes than these as `\xHH`.
pub(super) fn encode(name: &[u8]) -> String {
    let mut out = String::new();
    for part in name.utf8_chunks() {
        for letter in part.valid().chars() {
            match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' => out.push(letter),
                '#' | '+' | '-' | '.' | ':' | '=' | '@' | '_' | '\\' => out.push(letter),
                _ if !letter.is_ascii() => out.push(letter),
                _ => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
            }
        }
        for byte in part.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{encode, split};

    #[test]
    fn a_volumes_name_is_taken_apart() {
        let parts = |name: &str| -> Vec<String> {
            split(name.as_bytes()).into_iter().map(|part| String::from_utf8(part).unwrap()).collect()
        };
        assert_eq!(parts("vg0-lv1"), ["vg0", "lv1"]);
        assert_eq!(parts("my--vg-an--lv"), ["my-vg", "an-lv"]);
        assert_eq!(parts("vg-pool-tpool"), ["vg", "pool", "tpool"]);
        assert_eq!(parts("plain"), ["plain"]);
    }

    #[test]
    fn names_are_encoded_as_udev_does() {
        assert_eq!(encode(b"my label/2"), r"my\x20label\x2f2");
        assert_eq!(encode("gr\u{fc}n\u{fc}".as_bytes()), "gr\u{fc}n\u{fc}");
        assert_eq!(encode(b"\xff-a"), r"\xff-a");
    }
}
