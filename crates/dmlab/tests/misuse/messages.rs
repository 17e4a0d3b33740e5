//! Misuse of messages, statistics and geometry (kernel/misuse.md#rows-through-dmsetup, rows 47 to 57, and
//! kernel/misuse.md#malformed-ioctls).

use crate::*;
use dmlab_abi::Command;
use dmlab_control::{CreateOptions, MessageReply, Request};
use dmlab_units::{Errno, Sector};

/// Sends a message to a live device of 100 sectors.
fn message(sector: u64, text: &str) -> Result<MessageReply, dmlab_control::Error> {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 100 linear /dev/ram0 0");
    dm.message(&id("a"), Sector(sector), text)
}

#[test]
fn rows_47_to_53_messages() {
    let ioctl = |text: &str| format!("device-mapper: ioctl: {text}");
    refused(message(0, "x"), Errno::EINVAL, &[&ioctl("Target type does not support messages")]);
    refused(message(0, "@foo"), Errno::EINVAL, &[&ioctl("Unsupported message sent to DM core: @foo")]);
    refused(message(0, ""), Errno::EINVAL, &[&ioctl("Empty message received.")]);
    refused(message(100, "x"), Errno::EINVAL, &[&ioctl("Target message sector outside device.")]);
    let line = ioctl("Invalid arguments for @cancel_deferred_remove");
    refused(message(0, "@cancel_deferred_remove x"), Errno::EINVAL, &[&line]);
    refused(message(0, "@stats_print 7"), Errno::ENOENT, &[]);
}

#[test]
fn row_49_statistics_with_bad_parameters() {
    let line = "device-mapper: stats: Invalid parameters for message @stats_create";
    for rest in ["", " 5+0 50", " - 0", " - /0", " - 10 1 foo", " - 10 1 histogram:5,5", " - 10 p a x"] {
        refused(message(0, &format!("@stats_create{rest}")), Errno::EINVAL, &[line]);
    }
}

#[test]
fn statistics_of_too_many_areas() {
    refused(message(0, "@stats_create 0+8388609 1"), Errno::EOVERFLOW, &[]);
}

#[test]
fn row_54_a_message_to_no_table() {
    let lab = lab();
    let mut dm = lab.dm();
    dm.create(&name("a"), &CreateOptions::default()).unwrap();
    assert_eq!(dm.message(&id("a"), Sector(0), "x").unwrap(), MessageReply::NoTable);
}

#[test]
fn rows_55_to_57_geometry() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 100 zero");
    let mut set = |text: &str| {
        let request = Request::new(Command::DevSetGeometry).on(&id("a")).unwrap();
        dm.send(request.with_payload([text.as_bytes(), b"\0"].concat()))
    };
    refused(set("x y z 0"), Errno::EINVAL, &["device-mapper: ioctl: Unable to interpret geometry settings."]);
    refused(set("65536 1 1 0"), Errno::EINVAL, &["device-mapper: ioctl: Geometry exceeds range limits."]);
    refused(
        set("1 1 1 2"),
        Errno::EINVAL,
        &["device-mapper: core: Start sector is beyond the geometry limits."],
    );
    set("1 1 1 1").unwrap();
}
