//! IO and ioctls that have no path: they wait, fail, or go back.

use std::sync::Arc;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{BlkStatus, Registry};
use dmlab_dm::{MappedDevice, SuspendFlags};
use dmlab_machine::{BootOptions, Kernel, OpenMode};
use dmlab_runtime::Interrupt;
use dmlab_units::Errno;

use super::{BIOS, INFO, Pending, TABLE, kit, read, suspend};
use crate::kit::Kit;

/// The table and status lines of a two-path device, in short: whether it queues, and the letters.
fn queue_state(kit: &Kit) -> (bool, String) {
    let letters =
        kit.status("m", INFO).split_whitespace().filter(|word| ["A", "F", "E"].contains(word)).collect();
    (kit.status("m", TABLE).contains("queue_if_no_path"), letters)
}

#[test]
fn waiting_for_a_path() {
    let bios = "0 2048 multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 2 1 1:0 1 1:1 1";
    let requests = "0 2048 multipath 1 queue_if_no_path 0 1 1 round-robin 0 2 1 253:0 1 253:16 1";
    for (table, paths, is_bio) in [(bios, ["1:0", "1:1"], true), (requests, ["253:0", "253:16"], false)] {
        let kit = kit();
        let dev = kit.create("m", table);
        let fail_all = || {
            for path in paths {
                kit.message("m", &format!("fail_path {path}")).unwrap();
            }
        };
        let write = |sector| Pending::write(&kit, dev, sector, &[3; 4096]);
        let state = |queues, letters: &str| assert_eq!(queue_state(&kit), (queues, letters.to_owned()));
        fail_all();
        state(true, "EFF");
        let c = write(0);
        assert_eq!(c.end(), None);
        kit.message("m", &format!("reinstate_path {}", paths[0])).unwrap();
        assert_eq!(c.end(), Some(BlkStatus::Ok));
        state(true, "AAF");
        kit.message("m", &format!("fail_path {}", paths[0])).unwrap();
        state(true, "AFF");
        let d = write(8);
        assert_eq!(d.end(), None);
        kit.message("m", "fail_if_no_path").unwrap();
        assert_eq!(d.end(), Some(BlkStatus::IoErr));
        state(false, "EFF");

        // A suspend that flushes fails what waits.
        kit.message("m", "queue_if_no_path").unwrap();
        let e = write(8);
        assert_eq!(e.end(), None);
        suspend(&kit, "m", INFO);
        assert_eq!(e.end(), Some(BlkStatus::IoErr));
        state(false, "EFF");
        kit.resume("m").unwrap();
        state(true, "EFF");

        // One that does not lets it wait on.
        let f = write(8);
        suspend(&kit, "m", DmFlags::NOFLUSH);
        state(!is_bio, "EFF");
        let g = write(16);
        kit.resume("m").unwrap();
        state(true, "EFF");
        assert_eq!((f.end(), g.end()), (None, None));
        suspend(&kit, "m", DmFlags::NOFLUSH);
        kit.load("m", table).unwrap();
        kit.resume("m").unwrap();
        state(true, "AAA");
        assert_eq!((f.end(), g.end()), (Some(BlkStatus::Ok), Some(BlkStatus::Ok)));

        // What comes while it is suspended waits whether there is queueing or not.
        fail_all();
        kit.message("m", "fail_if_no_path").unwrap();
        suspend(&kit, "m", DmFlags::NOFLUSH);
        let h = write(8);
        assert_eq!(h.end(), None);
        state(false, "AFF");
        kit.resume("m").unwrap();
        assert_eq!(h.end(), Some(BlkStatus::IoErr));
        state(false, "EFF");
    }
}

#[test]
fn a_map_without_groups() {
    for mode in ["bio", "rq"] {
        let kit = kit();
        let dev = kit.create("m", &format!("0 2048 multipath 2 queue_mode {mode} 0 0 0"));
        assert_eq!(read(&kit, dev, 0, 1), Err(Errno::EIO));
        assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 0 0 ");
        kit.message("m", "queue_if_no_path").unwrap();
        let waits = Pending::write(&kit, dev, 0, &[1; 512]);
        assert_eq!(waits.end(), None);
        kit.message("m", "fail_if_no_path").unwrap();
        assert_eq!(waits.end(), Some(BlkStatus::IoErr));
    }
}

#[test]
fn queueing_comes_to_an_end_by_itself() {
    let kit = Kit::with(BootOptions {
        parameters: vec![("dm_multipath.queue_if_no_path_timeout_secs".to_owned(), "3".to_owned())],
        ..BootOptions::default()
    });
    let table = "0 2048 multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 2 1 1:0 1 1:1 1";
    let dev = kit.create("m", table);
    let secs = |n| kit.advance(Duration::from_secs(n));
    let timeouts = || {
        let line = "device-mapper: multipath: queue_if_no_path timeout on 254:0, failing queued IO";
        kit.log().iter().filter(|logged| *logged == line).count()
    };
    let queues = || queue_state(&kit).0;
    kit.message("m", "fail_path 1:0").unwrap();
    kit.message("m", "fail_path 1:1").unwrap();
    let waits = Pending::write(&kit, dev, 0, &[1; 512]);
    secs(2);
    assert_eq!(waits.end(), None);
    secs(2);
    assert_eq!((waits.end(), queues(), timeouts()), (Some(BlkStatus::IoErr), false, 1));
    // It runs from the last message on.
    kit.message("m", "queue_if_no_path").unwrap();
    secs(2);
    kit.message("m", "queue_if_no_path").unwrap();
    secs(2);
    assert_eq!((queues(), timeouts()), (true, 1));
    secs(2);
    assert_eq!((queues(), timeouts()), (false, 2));
    // A path that comes back stops it, and so does an end of queueing.
    kit.message("m", "queue_if_no_path").unwrap();
    kit.message("m", "reinstate_path 1:0").unwrap();
    secs(9);
    assert_eq!((queues(), timeouts()), (true, 2));
    kit.message("m", "fail_path 1:0").unwrap();
    kit.message("m", "fail_if_no_path").unwrap();
    secs(9);
    assert_eq!(timeouts(), 2);
    // A suspend does not.
    kit.message("m", "queue_if_no_path").unwrap();
    suspend(&kit, "m", INFO);
    secs(4);
    kit.resume("m").unwrap();
    assert_eq!((queues(), timeouts()), (false, 3));
    kit.create("empty", "0 2048 multipath 3 queue_if_no_path queue_mode bio 0 0 0");
    secs(4);
    assert!(!kit.status("empty", TABLE).contains("queue_if_no_path"));
}

const LOOP_CLR_FD: u32 = 0x4c01;

#[test]
fn ioctls_go_to_a_path() {
    let kit = kit();
    let dev = kit.create("m", BIOS);
    let file = kit.machine.open_block(dev, OpenMode::READ | OpenMode::WRITE).unwrap();
    let caller = Kernel(kit.machine.registry());
    let ioctl = || file.ioctl(&caller, LOOP_CLR_FD, 0, &mut Vec::new());
    // A RAM disk does not know it.
    assert_eq!(ioctl(), Err(Errno::ENOTTY));
    assert!(kit.status("m", INFO).contains(" 2 0 0 0 1 1 A "), "an ioctl chooses a group as IO does");
    kit.message("m", "fail_path 1:0").unwrap();
    kit.message("m", "fail_path 1:1").unwrap();
    assert_eq!(ioctl(), Err(Errno::EIO));
    kit.message("m", "queue_if_no_path").unwrap();
    // It would wait for ever, and on virtual time that can be told.
    assert_eq!(ioctl(), Err(Errno::EDEADLK));
    suspend(&kit, "m", INFO);
    assert_eq!(ioctl(), Err(Errno::EAGAIN));
}

/// What an ioctl answers that finds no path, and waits until something is done a second later.
fn ioctl_until<F: Future<Output = ()> + Send + 'static>(
    act: impl FnOnce(Arc<MappedDevice>, Arc<Registry>) -> F,
) -> Result<i32, Errno> {
    let kit = kit();
    let dev = kit.create(
        "m",
        "0 2048 multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 2 1 1:0 1 1:1 1",
    );
    kit.message("m", "fail_path 1:0").unwrap();
    kit.message("m", "fail_path 1:1").unwrap();
    let runtime = kit.machine.runtime().clone();
    let act = act(kit.machine.mapper().by_name(b"m").unwrap(), kit.machine.registry().clone());
    let later = async move {
        runtime.sleep(Duration::from_secs(1)).await;
        act.await;
    };
    kit.machine.runtime().spawn("later", later).detach();
    let file = kit.machine.open_block(dev, OpenMode::READ | OpenMode::WRITE).unwrap();
    file.ioctl(&Kernel(kit.machine.registry()), LOOP_CLR_FD, 0, &mut Vec::new())
}

#[test]
fn an_ioctl_that_waits_for_a_path_goes_on() {
    let message = |text: &'static str| {
        ioctl_until(move |device, registry| async move {
            let table = device.live_table().unwrap();
            let words: Vec<Vec<u8>> = text.split(' ').map(Vec::from).collect();
            let messages = table.lines()[0].target.messages().unwrap();
            messages.message(&words, &Kernel(&registry)).await.unwrap();
        })
    };
    assert_eq!(message("reinstate_path 1:0"), Err(Errno::ENOTTY), "the RAM disk has answered");
    assert_eq!(message("fail_if_no_path"), Err(Errno::EIO));
    for noflush in [false, true] {
        let flags = SuspendFlags { noflush, ..SuspendFlags::default() };
        let suspended = ioctl_until(move |device, _| async move {
            device.suspend(flags, None).await.unwrap();
        });
        assert_eq!(suspended, Err(Errno::EAGAIN));
    }
}

#[test]
fn module_parameters() {
    let kit = kit();
    let name = "dm_multipath.queue_if_no_path_timeout_secs";
    assert_eq!(kit.machine.parameter(name).as_deref(), Some("0"));
    kit.machine.set_parameter(name, "60").unwrap();
    assert_eq!(kit.machine.parameter(name).as_deref(), Some("60"));
    for value in ["xyz", "-1", ""] {
        assert_eq!(kit.machine.set_parameter(name, value), Err(Errno::EINVAL));
    }
    assert_eq!(kit.machine.set_parameter("dm_mod.nothing", "1"), Err(Errno::ENOENT));
}

/// A suspend that is given up leaves queueing off; the next one does not take that for what is to be kept.
#[test]
fn a_suspend_that_is_given_up_twice_loses_nothing() {
    let kit = kit();
    let slow = kit.create("slow", "0 2048 delay 1:0 0 60000");
    let table =
        format!("0 2048 multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 1 1 {slow} 1");
    let dev = kit.create("m", &table);
    let write = Pending::write(&kit, dev, 0, &[3; 4096]);
    assert_eq!((write.end(), queue_state(&kit).0), (None, true));
    let device = kit.machine.mapper().by_name(b"m").unwrap();
    let signal = Interrupt::default();
    signal.raise();
    let text = "device-mapper: multipath: 254:1: QIFNP disabled but saved as enabled, saving again loses state, not saving!";
    for times in 0..3 {
        let suspend = device.suspend(SuspendFlags::default(), Some(&signal));
        assert_eq!(kit.machine.runtime().block_on(suspend).unwrap(), Err(Errno::EINTR));
        assert!(!queue_state(&kit).0);
        assert_eq!(kit.log().iter().filter(|line| *line == text).count(), times);
    }
    kit.ask(Command::DevSuspend, "m", DmFlags::SUSPEND).unwrap();
    assert_eq!(write.end(), Some(BlkStatus::Ok));
    kit.resume("m").unwrap();
    assert!(queue_state(&kit).0, "what was saved the first time");
}
