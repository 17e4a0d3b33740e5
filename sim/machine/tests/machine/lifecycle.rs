//! Devices come, swap tables under IO, stop, nest, and go.

use crate::kit;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use dmlab_abi::{Command, DmFlags, HDIO_GETGEO};
use dmlab_block::{Bio, BioFlags, BlkStatus, Caller, Holder, IoFailed, OpenMode, SyncIo, submit};
use dmlab_machine::{Kernel, UeventAction};
use dmlab_runtime::Interrupt;
use dmlab_units::{DevT, Errno, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::FaultDisk;

fn read_first_byte(kit: &Kit, dev: DevT, sector: u64) -> u8 {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = [0; 512];
    SyncIo::default().read(&dev, Sector(sector), &mut buf, |bio| bio).unwrap();
    buf[0]
}

#[test]
fn a_new_device_is_running_without_a_table_or_a_disk() {
    let kit = Kit::new();
    let header = kit.ask(Command::DevCreate, "a", DmFlags::empty()).unwrap();
    assert!(
        !header.flags().intersects(DmFlags::SUSPEND | DmFlags::ACTIVE_PRESENT | DmFlags::INACTIVE_PRESENT)
    );
    assert!(kit.machine.device(DevT::new(254, 0)).is_none());
    assert!(kit.machine.uevents().after(0).is_empty());
    // A resume does nothing, a suspend stops even this, and then there is nothing to resume.
    kit.resume("a").unwrap();
    kit.ask(Command::DevSuspend, "a", DmFlags::SUSPEND).unwrap();
    assert_eq!(kit.resume("a").err(), Some(Errno::EINVAL));
    assert!(kit.ask(Command::DevStatus, "a", DmFlags::empty()).unwrap().flags().contains(DmFlags::SUSPEND));
}

#[test]
fn the_first_load_makes_the_disk_and_the_resume_its_size() {
    let kit = Kit::new();
    kit.ask(Command::DevCreate, "a", DmFlags::empty()).unwrap();
    kit.load("a", "0 64 linear 1:0 0").unwrap();
    let info = kit.machine.device(DevT::new(254, 0)).unwrap();
    assert_eq!((info.size.0, info.slaves.len()), (0, 1));
    assert_eq!(kit.machine.device(DevT::new(1, 0)).unwrap().holders, [DevT::new(254, 0)]);
    let header = kit.resume("a").unwrap();
    assert!(header.flags().contains(DmFlags::UEVENT_GENERATED | DmFlags::ACTIVE_PRESENT));
    assert_eq!(kit.machine.device(DevT::new(254, 0)).unwrap().size.0, 64);
    assert!(kit.machine.uevents().after(0).iter().all(|event| event.var("DM_COOKIE").is_none()));
    let events: Vec<_> =
        kit.machine.uevents().after(0).into_iter().map(|e| (e.action, e.subsystem)).collect();
    let want = [(UeventAction::Add, "bdi"), (UeventAction::Add, "block"), (UeventAction::Change, "block")];
    assert_eq!(events, want);
}

#[test]
fn io_to_a_suspended_device_waits_and_goes_to_the_new_table() {
    let kit = Kit::new();
    let dev = kit.create("a", "0 64 linear 1:0 0");
    kit.ask(Command::DevSuspend, "a", DmFlags::SUSPEND | DmFlags::NOFLUSH).unwrap();
    let block = kit.machine.registry().get(dev).unwrap();
    let ended = Arc::new(AtomicU32::new(0));
    for byte in [1u8, 2] {
        let ended = ended.clone();
        let data: Arc<[u8]> = vec![byte; 512].into();
        submit(Bio::write_owned(Sector(0), data).to(&block).on_end(move |status, _| {
            assert!(status.is_ok());
            ended.fetch_add(1, Ordering::Relaxed);
        }));
    }
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    // Those that may not wait don't.
    let nowait = Bio::write(Sector(0), &[9; 512]).with_flags(BioFlags::NOWAIT);
    assert_eq!(SyncIo::default().submit(&block, nowait), Err(IoFailed::Status(BlkStatus::Again)));
    // On virtual time a caller that would wait for ever is told.
    assert_eq!(SyncIo::default().submit(&block, Bio::write(Sector(8), &[9; 512])), Err(IoFailed::Stalled));
    kit.load("a", "0 64 linear 1:1 0").unwrap();
    kit.resume("a").unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 2);
    // In their order: the second write won. The stalled one was carried out too.
    assert_eq!(read_first_byte(&kit, DevT::new(1, 1), 0), 2);
    assert_eq!(read_first_byte(&kit, DevT::new(1, 1), 8), 9);
    assert_eq!(read_first_byte(&kit, DevT::new(1, 0), 0), 0);
}

#[test]
fn a_table_that_does_not_fit_leaves_the_device_suspended_with_the_old_one() {
    let kit = Kit::new();
    kit.create("a", "0 64 linear 1:0 0");
    kit.load("a", "0 1000000 linear 1:0 0").unwrap();
    assert_eq!(kit.resume("a").err(), Some(Errno::EINVAL));
    let header = kit.ask(Command::DevStatus, "a", DmFlags::empty()).unwrap();
    assert!(header.flags().contains(DmFlags::SUSPEND | DmFlags::ACTIVE_PRESENT));
    assert!(!header.flags().contains(DmFlags::INACTIVE_PRESENT));
    assert_eq!(
        kit.log(),
        ["device-mapper: table: 254:0: ram0 too small for target: start=0, len=1000000, dev_size=32768"]
    );
    kit.resume("a").unwrap();
    assert_eq!(kit.status("a", DmFlags::STATUS_TABLE), "0 64 linear 1:0 0");
}

/// Recorded: what its targets have opened, they let go of.
#[test]
fn a_table_that_cannot_go_live_lets_go_of_what_it_has_open() {
    let kit = Kit::new();
    kit.create("pool", "0 16384 thin-pool 1:0 1:1 128 0");
    kit.message("pool", "create_thin 0").unwrap();
    kit.create("a", "0 2048 linear 1:2 0");
    kit.load("a", "0 2048 thin 254:0 0\n2048 99999999 linear 1:2 0").unwrap();
    assert_eq!(kit.message("pool", "delete 0"), Err(Errno::EBUSY));
    assert_eq!(kit.resume("a").err(), Some(Errno::EINVAL));
    assert_eq!(kit.message("pool", "delete 0"), Ok(()));
    assert_eq!(kit.machine.device(DevT::new(254, 0)).unwrap().open_count, 0);
}

/// Recorded: they are taken apart as those of a table that was live, and a log of writes gets its last mark.
#[test]
fn targets_of_a_table_that_cannot_go_live_are_taken_apart() {
    let kit = Kit::new();
    kit.create("a", "0 2048 linear 1:2 0");
    kit.load("a", "0 2048 log-writes 1:3 1:4\n2048 99999999 linear 1:2 0").unwrap();
    assert!(!has_end_mark(&kit, DevT::new(1, 4)));
    assert_eq!(kit.resume("a").err(), Some(Errno::EINVAL));
    assert!(has_end_mark(&kit, DevT::new(1, 4)));
    // So are those of a table of which only a part could be made.
    assert!(kit.load("a", "0 64 log-writes 1:5 1:6\n64 8 bogus").is_err());
    assert!(has_end_mark(&kit, DevT::new(1, 6)));
}

/// Whether all that a log of writes holds is the mark of its end.
fn has_end_mark(kit: &Kit, log: DevT) -> bool {
    let log = kit.machine.registry().get(log).unwrap();
    let mut buf = [0; 1024];
    SyncIo::default().read(&log, Sector(0), &mut buf, |bio| bio).unwrap();
    let (superblock, entry) = buf.split_at(512);
    let (has_one_entry, is_mark) =
        (superblock.starts_with(b"rhswfsj") && superblock[16] == 1, entry[16] == 8);
    has_one_entry && is_mark && entry[32..].starts_with(b"dm-log-writes-end\0")
}

/// A process that a signal can reach.
struct Process<'a>(Kernel<'a>, Interrupt);

impl Caller for Process<'_> {
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        self.0.lookup_bdev(path)
    }

    fn interrupt(&self) -> Option<&Interrupt> {
        Some(&self.1)
    }
}

/// Recorded: a signal ends a resume that waits for IO to the old table. Its table is kept for the next one, unless another
/// was loaded meanwhile: then it is taken apart.
#[test]
fn a_resume_that_is_interrupted_gives_its_table_back() {
    for other in [None, Some("0 64 zero")] {
        let kit = Kit::new();
        let (_, disk) = FaultDisk::add(&kit, 0, Sectors(64));
        let dev = kit.create("a", "0 64 linear 7:0 0");
        disk.hold(true);
        let block = kit.machine.registry().get(dev).unwrap();
        submit(Bio::write_owned(Sector(0), vec![1; 512].into()).to(&block).on_end(|_, _| ()));
        kit.load("a", "0 64 log-writes 1:3 1:4").unwrap();

        let process = Process(Kernel(kit.machine.registry()), Interrupt::default());
        let mut request = kit.named("a", DmFlags::NOFLUSH).as_bytes().to_vec();
        let mut resume = pin!(kit.control.ioctl_async(&process, Command::DevSuspend.request(), &mut request));
        // As far as it comes by itself.
        let first = poll_once(&kit, resume.as_mut());
        assert_eq!(first, None);
        if let Some(other) = other {
            kit.load("a", other).unwrap();
        }
        process.1.raise();
        assert!(kit.machine.runtime().block_on(resume).unwrap().is_err());

        let table = |flags| kit.status("a", DmFlags::STATUS_TABLE | flags);
        assert_eq!(table(DmFlags::empty()), "0 64 linear 7:0 0");
        let expected = other.map_or("0 64 log-writes 1:3 1:4", |_| "0 64 zero ");
        assert_eq!(table(DmFlags::QUERY_INACTIVE_TABLE), expected);
        assert_eq!(has_end_mark(&kit, DevT::new(1, 4)), other.is_some());
        let header = kit.ask(Command::DevStatus, "a", DmFlags::empty()).unwrap();
        assert!(!header.flags().contains(DmFlags::SUSPEND));
        disk.let_go(0);
        kit.resume("a").unwrap();
        assert_eq!(table(DmFlags::empty()), expected);
    }
}

/// Polls a future once, and runs what that has made runnable; its outcome if it has one.
fn poll_once<T>(kit: &Kit, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let once = poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        Poll::Ready(match polled {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        })
    });
    let outcome = kit.machine.runtime().block_on(once).unwrap();
    kit.machine.runtime().run_until_idle();
    outcome
}

#[test]
fn a_failed_load_keeps_the_inactive_table() {
    let kit = Kit::new();
    kit.create("a", "0 64 linear 1:0 0");
    kit.load("a", "0 64 linear 1:1 0").unwrap();
    assert!(kit.load("a", "0 64 nosuch").is_err());
    let inactive = DmFlags::STATUS_TABLE | DmFlags::QUERY_INACTIVE_TABLE;
    assert_eq!(kit.status("a", inactive), "0 64 linear 1:1 0");
    kit.ask(Command::TableClear, "a", DmFlags::empty()).unwrap();
    assert_eq!(kit.status("a", inactive), "");
    // The devices of tables that are gone are closed again.
    assert_eq!(kit.machine.device(DevT::new(1, 1)).unwrap().open_count, 0);
    assert_eq!(kit.machine.device(DevT::new(1, 0)).unwrap().open_count, 1);
}

#[test]
fn names_are_reused_and_renamed() {
    let kit = Kit::new();
    kit.create("a", "0 8 zero");
    kit.create("b", "0 8 zero");
    assert_eq!(kit.ask(Command::DevCreate, "a", DmFlags::empty()).err(), Some(Errno::EBUSY));
    let mut request = kit.named("a", DmFlags::empty());
    request.set_data_size(400);
    let answer = kit.send(Command::DevRename, request, b"c\0").unwrap();
    let header = dmlab_abi::Header::decode(&answer).unwrap();
    assert_eq!((header.name(), header.event_nr()), (&b"a"[..], 1));
    assert!(kit.ask(Command::DevStatus, "c", DmFlags::empty()).is_ok());
    kit.ask(Command::DevRemove, "c", DmFlags::empty()).unwrap();
    assert_eq!(kit.create("d", "0 8 zero"), DevT::new(254, 0));
}

#[test]
fn a_device_in_use_stays_and_a_marked_one_goes_later() {
    let kit = Kit::new();
    let low = kit.create("low", "0 64 linear 1:0 0");
    kit.create("top", &format!("0 64 linear {low} 0"));
    assert_eq!(kit.ask(Command::DevRemove, "low", DmFlags::empty()).err(), Some(Errno::EBUSY));
    let header = kit.ask(Command::DevRemove, "low", DmFlags::DEFERRED_REMOVE).unwrap();
    assert!(header.flags().contains(DmFlags::DEFERRED_REMOVE));
    assert!(kit.ask(Command::DevStatus, "low", DmFlags::empty()).is_ok());
    kit.ask(Command::DevRemove, "top", DmFlags::empty()).unwrap();
    kit.machine.runtime().run_until_idle();
    assert_eq!(kit.ask(Command::DevStatus, "low", DmFlags::empty()).err(), Some(Errno::ENXIO));
    assert_eq!(kit.machine.devices().len(), 8);
}

#[test]
fn a_device_with_only_an_inactive_table_can_be_removed() {
    let kit = Kit::new();
    let low = kit.create("low", "0 64 linear 1:0 0");
    kit.ask(Command::DevCreate, "top", DmFlags::empty()).unwrap();
    kit.load("top", &format!("0 64 linear {low} 0")).unwrap();
    kit.ask(Command::DevRemove, "low", DmFlags::DEFERRED_REMOVE).unwrap();
    kit.ask(Command::DevRemove, "top", DmFlags::empty()).unwrap();
    kit.machine.runtime().run_until_idle();
    assert_eq!(kit.machine.devices().len(), 8);
}

#[test]
fn remove_all_takes_stacks_apart_and_names_what_is_left() {
    let kit = Kit::new();
    let low = kit.create("a-low", "0 64 linear 1:0 0");
    kit.create("b-top", &format!("0 64 linear {low} 0"));
    let held = kit.create("held", "0 8 zero");
    let open = kit.machine.registry().get(held).unwrap().open(OpenMode::READ, Some(Holder::File(1))).unwrap();
    kit.ask(Command::RemoveAll, "", DmFlags::empty()).unwrap();
    assert_eq!(kit.log(), ["device-mapper: ioctl: remove_all left 1 open device(s)"]);
    assert_eq!(kit.machine.devices().len(), 9);
    drop(open);
}

#[test]
fn ten_thousand_devices_on_one_another_work() {
    let kit = Kit::new();
    let mut below = DevT::new(1, 0);
    for i in 0..10_000 {
        below = kit.create(&format!("d{i}"), &format!("0 64 linear {below} 0"));
    }
    let dev = kit.machine.registry().get(below).unwrap();
    SyncIo::default().submit(&dev, Bio::write(Sector(3), &[5; 512])).unwrap();
    assert_eq!(read_first_byte(&kit, DevT::new(1, 0), 3), 5);
    assert_eq!(read_first_byte(&kit, below, 3), 5);
    kit.ask(Command::RemoveAll, "", DmFlags::empty()).unwrap();
    assert_eq!(kit.machine.devices().len(), 8);
}

#[test]
fn devices_that_map_each_other_fail_their_io() {
    let kit = Kit::new();
    let a = kit.create("a", "0 64 linear 1:0 0");
    let b = kit.create("b", &format!("0 64 linear {a} 0"));
    kit.load("a", &format!("0 64 linear {b} 0")).unwrap();
    kit.resume("a").unwrap();
    let dev = kit.machine.registry().get(a).unwrap();
    let written = SyncIo::default().submit(&dev, Bio::write(Sector(0), &[1; 512]));
    assert_eq!(written, Err(IoFailed::Status(BlkStatus::IoErr)));
    assert_eq!(kit.ask(Command::DevRemove, "a", DmFlags::empty()).err(), Some(Errno::EBUSY));
    // Only the device itself is refused.
    assert_eq!(kit.load("a", &format!("0 64 linear {a} 0")).err(), Some(Errno::EINVAL));
}

/// Recorded: a write to a read-only disk below goes through, with one line for ever.
#[test]
fn a_read_only_disk_below_is_written_with_a_word() {
    let kit = Kit::new();
    let dev = kit.create("a", "0 2048 linear 1:2 0");
    let block = kit.machine.registry().get(dev).unwrap();
    let disk = kit.machine.registry().get(DevT::new(1, 2)).unwrap();
    for read_only in [true, true, false, true] {
        disk.set_read_only(read_only);
        SyncIo::default().submit(&block, Bio::write(Sector(0), &[1; 512])).unwrap();
    }
    assert_eq!(kit.log(), ["Trying to write to read-only block-device ram2"]);
}

/// Recorded, but for the bytes of padding, in which Linux leaves what was there.
#[test]
fn a_geometry_is_shown_as_it_was_set() {
    let kit = Kit::new();
    let dev = kit.create("a", "0 2048 linear 1:2 0");
    let mut request = kit.named("a", DmFlags::empty());
    request.set_data_size(400);
    kit.send(Command::DevSetGeometry, request, b"300 16 63 5\0").unwrap();
    let file = kit.machine.open_block(dev, OpenMode::READ).unwrap();
    let mut shown = vec![0xa5; 24];
    file.ioctl(&Kernel(kit.machine.registry()), HDIO_GETGEO, 1, &mut shown).unwrap();
    let expected = [&[16, 63, 0x2c, 1, 0, 0, 0, 0, 5][..], &[0; 7], &[0xa5; 8]].concat();
    assert_eq!(shown, expected);
}

#[test]
fn a_message_to_a_sector_behind_the_last_line_is_refused() {
    for table in ["0 8 linear 1:1 0", "0 8 linear 1:1 0\n8 8 linear 1:2 0"] {
        let kit = Kit::new();
        kit.create("a", table);
        let payload = [&16u64.to_le_bytes()[..], b"hello\0"].concat();
        let mut request = kit.named("a", DmFlags::empty());
        request.set_data_size(400);
        request.set_data_start(312);
        assert_eq!(kit.send(Command::TargetMsg, request, &payload).err(), Some(Errno::EINVAL));
        assert_eq!(kit.log(), ["device-mapper: ioctl: Target message sector outside device."]);
    }
}

/// A read of the kernel's own, such as that of metadata, that two lines answer.
#[test]
fn a_read_that_is_cut_comes_back_whole() {
    let kit = Kit::new();
    let dev = kit.create("a", "0 8 linear 1:1 0\n8 8 linear 1:2 0");
    let block = kit.machine.registry().get(dev).unwrap();
    let bytes: Vec<u8> = (0..16 * 512).map(|at| (at / 100) as u8).collect();
    SyncIo::default().submit(&block, Bio::write(Sector(0), &bytes)).unwrap();
    for (at, len) in [(0, 16), (7, 2), (0, 8)] {
        let read = dmlab_block::read_async(&block, Sector(at), Sectors(len));
        let read = kit.machine.runtime().block_on(read).unwrap().unwrap();
        assert_eq!(read[..], bytes[at as usize * 512..][..len as usize * 512]);
    }
}

#[test]
fn flushes_end_where_nothing_is_volatile() {
    let kit = Kit::new();
    let dev = kit.create("a", "0 64 linear 1:0 0\n64 64 striped 2 8 1:1 0 1:2 0");
    let block = kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&block, Bio::flush()).unwrap();
    let flagged = Bio::write(Sector(60), &[3; 4096]).with_flags(BioFlags::PREFLUSH | BioFlags::FUA);
    SyncIo::default().submit(&block, flagged).unwrap();
    assert_eq!(read_first_byte(&kit, DevT::new(1, 0), 60), 3);
    assert_eq!(read_first_byte(&kit, DevT::new(1, 1), 0), 3);
}

#[test]
fn stripes_count_their_errors_and_raise_fourteen_events() {
    let kit = Kit::new();
    let bad = kit.create("bad", "0 64 error");
    let dev = kit.create("s", &format!("0 128 striped 2 8 1:0 0 {bad} 0"));
    let block = kit.machine.registry().get(dev).unwrap();
    assert_eq!(kit.status("s", DmFlags::empty()), format!("0 128 striped 2 1:0 {bad} 1 AA"));
    for _ in 0..20 {
        let mut buf = [0; 512];
        assert!(SyncIo::default().read(&block, Sector(8), &mut buf, |bio| bio).is_err());
        kit.machine.runtime().run_until_idle();
    }
    assert_eq!(kit.status("s", DmFlags::empty()), format!("0 128 striped 2 1:0 {bad} 1 AD"));
    assert_eq!(kit.ask(Command::DevStatus, "s", DmFlags::empty()).unwrap().event_nr(), 14);
}

#[test]
fn a_poll_sees_what_it_should() {
    let kit = Kit::new();
    let poll = kit.machine.open_control();
    let changed = |what: &str| {
        let ready = poll.poll_ready();
        let mut buf = kit.named("", DmFlags::empty()).as_bytes().to_vec();
        let caller = dmlab_machine::Kernel(kit.machine.registry());
        poll.ioctl(&caller, Command::DevArmPoll.request(), &mut buf).unwrap();
        assert!(!poll.poll_ready(), "{what}");
        ready
    };
    kit.ask(Command::DevCreate, "a", DmFlags::empty()).unwrap();
    assert!(changed("create"));
    kit.load("a", "0 8 zero").unwrap();
    assert!(!changed("load"));
    kit.resume("a").unwrap();
    assert!(changed("swap"));
    kit.ask(Command::DevSuspend, "a", DmFlags::SUSPEND).unwrap();
    assert!(!changed("suspend"));
    kit.resume("a").unwrap();
    assert!(!changed("resume"));
    kit.ask(Command::DevRemove, "a", DmFlags::empty()).unwrap();
    assert!(changed("remove"));
}

/// Devices that stand on one another, a loop of devices, one that is suspended with IO waiting, one with a table that
/// was never made live: none of them outlives its machine.
#[test]
fn a_machine_takes_its_devices_with_it() {
    let kit = Kit::new();
    let low = kit.create("low", "0 64 striped 2 8 1:0 0 1:1 0");
    kit.create("top", &format!("0 64 linear {low} 0"));
    kit.load("low", "0 64 zero").unwrap();
    kit.create("origin", "0 64 snapshot-origin 1:2");
    let a = kit.create("a", "0 8 linear 1:3 0");
    let b = kit.create("b", &format!("0 8 linear {a} 0"));
    kit.load("a", &format!("0 8 linear {b} 0")).unwrap();
    kit.resume("a").unwrap();
    kit.ask(Command::DevSuspend, "top", DmFlags::SUSPEND).unwrap();
    let top = kit.machine.registry().get(DevT::new(254, 1)).unwrap();
    submit(Bio::read_owned(Sector(0), dmlab_units::Sectors(1)).to(&top).on_end(|_, _| ()));
    let devices: Vec<_> = kit.machine.registry().all().iter().map(Arc::downgrade).collect();
    let registry = Arc::downgrade(kit.machine.registry());
    drop(top);
    drop(kit);
    assert!(registry.upgrade().is_none(), "the registry lives on");
    let alive: Vec<_> =
        devices.iter().filter_map(std::sync::Weak::upgrade).map(|d| d.name().to_owned()).collect();
    assert_eq!(alive, Vec::<String>::new());
}
