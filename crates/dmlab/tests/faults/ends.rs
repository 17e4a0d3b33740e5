//! What a rule holds when the rule, or the whole machine, goes.

use std::time::Duration;

use dmlab::units::{Errno, Sector};
use dmlab::{Lab, OrErrno};

#[test]
fn a_machine_ends_with_what_is_held_and_delayed() {
    let lab = Lab::new(1);
    lab.create("a", "0 64 linear /dev/ram0 0").unwrap();
    lab.faults().on("/dev/ram0").writes().hang().times(2).add().unwrap();
    lab.faults().on("/dev/ram0").writes().delay(Duration::from_secs(9)).add().unwrap();
    let runtime = std::sync::Arc::downgrade(lab.machine().runtime());
    let pending: Vec<_> =
        (0..4).map(|i| lab.start_write("/dev/mapper/a", Sector(i), &[7; 512]).unwrap()).collect();
    assert!(pending.iter().all(|write| write.result().is_none()));
    drop((pending, lab));
    // Bios hold devices, and devices the machine: none of it is left.
    assert!(runtime.upgrade().is_none());
}

#[test]
fn a_cleared_delay_goes_on_at_once() {
    let lab = Lab::new(1);
    lab.faults().on("/dev/ram0").writes().delay(Duration::from_secs(9)).add().unwrap();
    let write = lab.start_write("/dev/ram0", Sector(0), &[7; 512]).unwrap();
    assert_eq!(lab.faults().clear(), 1);
    assert_eq!(write.result(), Some(Ok(())));
    // The timer finds nothing to do.
    lab.advance(Duration::from_secs(10));
}

#[test]
fn a_fork_has_the_rules_for_itself() {
    let lab = Lab::new(1);
    lab.faults().on("/dev/ram0").fail(Errno::EIO).add().unwrap();
    let fork = lab.fork().unwrap();
    assert_eq!(fork.write("/dev/ram0", Sector(0), &[7; 512]).or_errno(), Err(Errno::EIO));
    assert_eq!(fork.faults().clear(), 1);
    assert_eq!(fork.write("/dev/ram0", Sector(0), &[7; 512]).or_errno(), Ok(()));
    assert_eq!(lab.write("/dev/ram0", Sector(0), &[7; 512]).or_errno(), Err(Errno::EIO));
}
