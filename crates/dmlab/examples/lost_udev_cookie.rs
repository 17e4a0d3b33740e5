//! A udev cookie that is never completed: the command hangs though its work is done.
//!
//! libdevmapper waits after a resume until udev's rules have made the nodes: it puts a number, the cookie, into the ioctl; the kernel
//! puts it into the event; udev's last rule gives it back. Where no udev runs, or it drops an event under load, a
//! program that waits without a limit waits for ever: `dmsetup` and `lvm` that never return in containers. The cure is
//! a wait with an end, and then a look at what matters, which is the device itself.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::control::{CreateOptions, DeviceId, LoadOptions, SuspendOptions, Table, UDEV_PRIMARY_SOURCE};
use dmlab::machine::UeventAction;
use dmlab::units::{DmName, Sector, Sectors};
use dmlab::{Lab, TimedOut};
use std::error::Error;
use std::time::Duration;

const COOKIE: u32 = UDEV_PRIMARY_SOURCE | 0x4242;

/// Creates a device as libdevmapper does; the event of its resume carries the cookie.
fn create(lab: &Lab, name: &str) -> Result<(), Box<dyn Error>> {
    let (name, table): (DmName, Table) = (DmName::new(name)?, "0 8 linear /dev/ram0 0".parse()?);
    let (device, mut dm) = (DeviceId::from(&name), lab.dm());
    dm.create(&name, &CreateOptions::default())?;
    dm.load(&device, &table, LoadOptions::default())?;
    dm.set_udev_cookie(COOKIE);
    dm.resume(&device, SuspendOptions::default())?;
    Ok(())
}

/// Waits until udev has seen the event with the cookie.
fn wait_for_udev(lab: &Lab, limit: Duration) -> Result<(), TimedOut> {
    lab.wait_until(limit, |lab| {
        let cookie = COOKIE.to_string();
        lab.uevents().iter().any(|event| event.var("DM_COOKIE") == Some(&cookie))
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let hour = Duration::from_secs(3600);
    let lab = Lab::new(1);
    create(&lab, "seen")?;
    wait_for_udev(&lab, hour)?;

    let lab = Lab::new(1);
    lab.faults().uevent(Some(UeventAction::Change)).lose().once().add()?;
    create(&lab, "lost")?;
    let waited = wait_for_udev(&lab, hour);
    println!("after an hour: {}", waited.unwrap_err());
    assert_eq!(waited, Err(TimedOut(hour)));
    // The device has been there all along.
    assert!(lab.info("lost")?.has_live_table());

    let lab = Lab::new(1);
    lab.faults().uevent(Some(UeventAction::Change)).lose().once().add()?;
    create(&lab, "lost")?;
    if wait_for_udev(&lab, Duration::from_secs(10)).is_err() {
        println!("no word from udev in 10 s: looking at the device itself");
    }
    assert_eq!(lab.read("/dev/mapper/lost", Sector(0), Sectors(1))?, [0; 512]);
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("what it asserts holds");
}
