//! Faults at the kernel boundary: ioctls and events.

use std::time::Duration;

use dmlab::Lab;
use dmlab::control::{CreateOptions, DeviceId, Error, LoadOptions, Query, SuspendOptions, Table};
use dmlab::machine::UeventAction;
use dmlab::units::{DmName, Errno};

fn name(text: &str) -> DmName {
    DmName::new(text).unwrap()
}

fn id(text: &str) -> DeviceId {
    DeviceId::Name(name(text))
}

#[test]
fn an_ioctl_fails_before_anything_is_done() {
    let lab = Lab::new(1);
    lab.faults().ioctl("dev_create").on("a").fail(Errno::EINTR).once().add().unwrap();
    assert_eq!(lab.create("a", "0 8 zero").unwrap_err().errno(), Some(Errno::EINTR));
    assert!(lab.info("a").is_err());
    lab.create("a", "0 8 zero").unwrap();
    lab.faults().ioctl("DM_TABLE_LOAD").fail(Errno::ENOMEM).nth(2).add().unwrap();
    lab.create("b", "0 8 zero").unwrap();
    assert_eq!(lab.create("c", "0 8 zero").unwrap_err().errno(), Some(Errno::ENOMEM));
}

#[test]
fn an_ioctl_fails_when_all_is_done() {
    let lab = Lab::new(1);
    lab.create("a", "0 8 zero").unwrap();
    lab.faults().ioctl("dev_remove").on("a").when_done().fail(Errno::EINTR).add().unwrap();
    assert_eq!(lab.remove("a").unwrap_err().errno(), Some(Errno::EINTR));
    assert_eq!(lab.info("a").unwrap_err().errno(), Some(Errno::ENXIO));
    let hit = lab.faults().hits()[0].to_string();
    assert_eq!(hit, "[    0.000000] #1: DEV_REMOVE of a: failed with EINTR");
}

#[test]
fn an_ioctl_is_known_by_name_uuid_or_number() {
    let lab = Lab::new(1);
    lab.create("a", "0 8 zero").unwrap();
    let dev = lab.device("/dev/mapper/a").unwrap();
    for device in ["a", "/dev/mapper/a", "/dev/dm-0", "254:0"] {
        lab.faults().clear();
        let rule = lab.faults().ioctl("dev_status").on(device).watch().add().unwrap();
        lab.dm().info(&id("a"), Query::default()).unwrap();
        lab.dm().info(&DeviceId::Dev(dev), Query::default()).unwrap();
        assert_eq!(lab.faults().hits_of(rule), 2, "{device}");
    }
}

#[test]
fn an_ioctl_is_slow_or_hangs() {
    let lab = Lab::new(1);
    lab.create("a", "0 8 zero").unwrap();
    lab.faults().ioctl("dev_suspend").delay(Duration::from_secs(30)).once().add().unwrap();
    let before = lab.now();
    lab.dm().suspend(&id("a"), SuspendOptions::default()).unwrap();
    assert_eq!(lab.now() - before, Duration::from_secs(30));
    lab.faults().ioctl("dev_suspend").hang().add().unwrap();
    // Nothing is there to release it, and on virtual time nothing else can happen.
    assert_eq!(lab.resume("a").unwrap_err().errno(), Some(Errno::EDEADLK));
    assert_eq!(lab.faults().list()[1].held, 0);
}

#[test]
fn a_hanging_ioctl_is_released() {
    let lab = Lab::new(1);
    lab.create("a", "0 8 zero").unwrap();
    let rule = lab.faults().ioctl("dev_status").on("a").hang().once().add().unwrap();
    let result = lab.run_clients([
        dmlab::Client::new("caller", |lab: &Lab| drop(lab.info("a").unwrap())),
        dmlab::Client::new("helper", |lab: &Lab| {
            while lab.faults().release(rule) == 0 {
                lab.tree();
            }
        }),
    ]);
    assert_eq!(result, Ok(()));
}

#[test]
fn a_client_is_killed_between_two_ioctls() {
    let lab = Lab::new(1);
    // create is three: DEV_CREATE, TABLE_LOAD, DEV_SUSPEND. It dies with a table that is never resumed.
    lab.faults().ioctl("dev_suspend").on("a").kill().add().unwrap();
    let table: Table = "0 8 zero".parse().unwrap();
    let mut client = lab.dm();
    let made =
        client.create_with_table(&name("a"), &CreateOptions::default(), &table, LoadOptions::default());
    let Err(Error::Transport(error)) = made else { panic!("{made:?}") };
    assert_eq!(error.to_string(), "the client: killed by a fault");
    // Not even the clean-up that follows a failure comes from a client that is dead.
    assert!(matches!(client.list(), Err(Error::Transport(_))));
    let info = lab.info("a").unwrap();
    assert!(info.has_inactive_table() && !info.has_live_table(), "{info:?}");
}

#[test]
fn an_event_is_lost() {
    let lab = Lab::new(1);
    let rule = lab.faults().uevent(Some(UeventAction::Change)).on("a").lose().add().unwrap();
    lab.create("b", "0 8 zero").unwrap();
    lab.create("a", "0 8 zero").unwrap();
    lab.remove("a").unwrap();
    let told: Vec<String> = lab
        .uevents()
        .iter()
        .filter(|event| event.subsystem == "block")
        .map(|event| format!("{} {}", event.action, event.var("DEVNAME").unwrap()))
        .collect();
    assert_eq!(told, ["add dm-0", "change dm-0", "add dm-1", "remove dm-1", "remove dm-1"]);
    assert_eq!(lab.faults().hits_of(rule), 1);
    // A listener sees the gap.
    let numbers: Vec<u64> = lab.uevents().iter().map(|event| event.seqnum).collect();
    assert!(numbers.windows(2).any(|pair| pair[1] == pair[0] + 2), "{numbers:?}");
}
