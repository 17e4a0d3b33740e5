//! `/run/udev`, as libudev reads it.

use super::Udev;
use crate::EntryKind;
use crate::sysfs::Entry;
use crate::tree::UDEV_SIGN;

/// What there is at a path of `/run/udev`; nothing without a udev that runs.
///
/// `/run/udev/queue` is never there: a program that asks for it waits until nothing is left to be done.
pub(crate) fn view(udev: &Udev, path: &[u8]) -> Option<Entry> {
    if !udev.is_running() {
        return None;
    }
    let directory = |names: &[(&str, EntryKind)]| {
        Some(Entry::Dir(names.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect()))
    };
    match path {
        b"/run/udev" => {
            directory(&[("control", EntryKind::Node), ("data", EntryKind::Dir), ("tags", EntryKind::Dir)])
        }
        UDEV_SIGN => Some(Entry::Text(Vec::new())),
        b"/run/udev/tags" => directory(&[("systemd", EntryKind::Dir)]),
        b"/run/udev/data" | b"/run/udev/tags/systemd" => {
            let known = udev.records.values().map(|record| (format!("b{}", record.number), EntryKind::File));
            Some(Entry::Dir(known.collect()))
        }
        _ => {
            let name = std::str::from_utf8(path).ok()?;
            if let Some(number) = name.strip_prefix("/run/udev/tags/systemd/b") {
                return udev
                    .records
                    .values()
                    .any(|record| record.number == number)
                    .then(|| Entry::Text(Vec::new()));
            }
            let number = name.strip_prefix("/run/udev/data/b")?;
            udev.records.values().find(|record| record.number == number).map(|record| {
                let mut text = String::new();
                for link in &record.links {
                    text.push_str(&format!("S:{link}\n"));
                }
                // When it was first seen, in microseconds. No program goes by more than that it was.
                text.push_str("I:1\n");
                for (name, value) in &record.properties {
                    match name.as_str() {
                        "TAGS" => {}
                        _ => text.push_str(&format!("E:{name}={value}\n")),
                    }
                }
                text.push_str("G:systemd\nQ:systemd\nV:1\n");
                Entry::Text(text.into_bytes())
            })
        }
    }
}
