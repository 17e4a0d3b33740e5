//! The multipath target. What is compared here was seen on Linux 6.12.95, unless a test says otherwise.

mod kit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BioFlags, BlkStatus, QueueLimits, SyncIo, submit};
use dmlab_machine::target::{
    Area, Built, Constructor, Ctr, CtrError, Map, TableDevice, Target, TargetFeatures, TargetSettings,
    TargetType,
};
use dmlab_machine::{BootOptions, Disk, DiskKind, Kernel, OpenMode};
use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};
use kit::Kit;
use proptest::prelude::*;

const SECTOR: usize = 512;
const TABLE: DmFlags = DmFlags::STATUS_TABLE;
const INFO: DmFlags = DmFlags::empty();

/// A machine with two disks that have request queues, 253:0 and 253:16.
fn kit() -> Kit {
    let disk = || Disk { kind: DiskKind::VolatileRam(Bytes::mib(16)), read_only: false };
    Kit::with(BootOptions { disks: vec![disk(), disk()], ..BootOptions::default() })
}

fn write(kit: &Kit, dev: DevT, sector: u64, bytes: &[u8]) -> BlkStatus {
    let dev = kit.machine.registry().get(dev).unwrap();
    let result = SyncIo::default().submit(&dev, Bio::write(Sector(sector), bytes));
    result.map_or_else(|failed| BlkStatus::from(failed.errno()), |()| BlkStatus::Ok)
}

fn read(kit: &Kit, dev: DevT, sector: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0xee; len * SECTOR];
    SyncIo::default()
        .read(&dev, Sector(sector), &mut buf, |bio| bio)
        .map(|()| buf)
        .map_err(|failed| failed.errno())
}

/// A bio on its way.
#[derive(Clone, Default)]
struct Pending(Arc<Mutex<Vec<BlkStatus>>>);

impl Pending {
    fn start(kit: &Kit, dev: DevT, bio: Bio<'static>) -> Pending {
        let pending = Pending::default();
        let ends = pending.0.clone();
        let dev = kit.machine.registry().get(dev).unwrap();
        submit(bio.to(&dev).on_end(move |status, _| ends.lock().unwrap().push(status)));
        kit.machine.runtime().run_until_idle();
        pending
    }

    fn write(kit: &Kit, dev: DevT, sector: u64, bytes: &[u8]) -> Pending {
        Pending::start(kit, dev, Bio::write_owned(Sector(sector), bytes.into()))
    }

    /// How it ended.
    fn end(&self) -> Option<BlkStatus> {
        let ends = self.0.lock().unwrap();
        assert!(ends.len() <= 1, "a bio has ended twice");
        ends.first().copied()
    }
}

fn suspend(kit: &Kit, name: &str, flags: DmFlags) {
    kit.ask(Command::DevSuspend, name, DmFlags::SUSPEND | flags).unwrap();
}

fn events(kit: &Kit, name: &str) -> u32 {
    kit.machine.runtime().run_until_idle();
    kit.ask(Command::DevStatus, name, INFO).unwrap().event_nr()
}

/// Loads `table` into a new device and expects it to be refused with these log lines.
#[track_caller]
fn refused(params: &str, errno: Errno, log: &[&str]) {
    let kit = kit();
    kit.ask(Command::DevCreate, "m", INFO).unwrap();
    let seen = kit.log().len();
    let table = format!("0 2048 multipath {params}");
    assert_eq!(kit.load("m", &table).err(), Some(errno), "{params}");
    assert_eq!(kit.log()[seen..], *log, "{params}");
}

#[track_caller]
fn refused_by_constructor(params: &str, errno: Errno, text: &str) {
    let name = errno.name().unwrap();
    let line = format!("device-mapper: table: 254:0: multipath: {text} (-{name})");
    refused(params, errno, &[&line, "device-mapper: ioctl: error adding target to table"]);
}

#[test]
fn what_the_constructor_refuses() {
    let features = "invalid number of feature args";
    let handler = "invalid number of hardware handler args";
    let groups = "invalid number of priority groups";
    let first = "invalid initial priority group number";
    let unknown = "Unrecognised multipath feature request";
    let retries = "pg_init_retries must be between 1 and 50";
    for (params, text) in [
        ("", features),
        ("9 queue_if_no_path 0 0 0 0 0 0 0 0 0", features),
        ("0 1025", handler),
        ("0 5 a", handler),
        ("0 0", groups),
        ("0 0 1025 1", groups),
        ("0 0 x 1", groups),
        ("0 0 1", first),
        ("0 0 1 1025", first),
        ("0 0 1 x", first),
        ("0 0 1 0", "invalid initial priority group"),
        ("0 0 0 1", "invalid initial priority group"),
        ("0 0 0 0 extra", "not enough priority group arguments"),
        ("1 pg_init_retries 5 0 0 0", unknown),
        ("1 bogus 0 0 0", unknown),
        ("2 pg_init_retries x 0 0 0", retries),
        ("2 pg_init_retries 0 0 0 0", retries),
        ("2 pg_init_retries 51 0 0 0", retries),
        ("2 pg_init_delay_msecs 60001 0 0 0", "pg_init_delay_msecs must be between 0 and 60000"),
        ("2 queue_mode bogus 0 0 0", "Unknown 'queue_mode' requested"),
    ] {
        refused_by_constructor(params, Errno::EINVAL, text);
    }
    let count = "invalid number of path selector args";
    for (group, text) in [
        ("round-robin", "not enough priority group arguments"),
        ("ROUND-ROBIN 0 1 1 1:0 1", "unknown path selector type"),
        ("round-robin x 1 1 1:0 1", count),
        ("round-robin 3 1 1", count),
        ("round-robin 1025 1 1 1:0 1", count),
        ("round-robin 0", "invalid number of paths"),
        ("round-robin 0 1025 1 1:0 1", "invalid number of paths"),
        ("round-robin 0 1", "invalid number of selector args"),
        ("round-robin 0 1 1025 1:0 1", "invalid number of selector args"),
        ("round-robin 0 2 1 1:0 1", "not enough path parameters"),
        ("round-robin 0 1 1 1:0 x", "round-robin ps: invalid repeat count"),
        ("round-robin 0 1 2 1:0 1 1", "round-robin ps: incorrect number of arguments"),
        ("queue-length 0 1 1 1:0 x", "queue-length ps: invalid repeat count"),
        ("queue-length 0 1 2 1:0 1 1", "queue-length ps: incorrect number of arguments"),
        ("service-time 0 1 2 1:0 x 1", "service-time ps: invalid repeat count"),
        ("service-time 0 1 2 1:0 1 x", "service-time ps: invalid relative_throughput value"),
        ("service-time 0 1 2 1:0 1 101", "service-time ps: invalid relative_throughput value"),
        ("service-time 0 1 3 1:0 1 1 1", "service-time ps: incorrect number of arguments"),
        ("round-robin 0 1 1 1:0 1 extra", "not enough priority group arguments"),
        ("round-robin 0 1 1 1:0 1 extra words", "unknown path selector type"),
        ("round-robin 0 1 1 1:0 1 round-robin 0 1 1 1:0 1", "priority group count mismatch"),
    ] {
        refused_by_constructor(&format!("2 queue_mode bio 0 1 1 {group}"), Errno::EINVAL, text);
    }
    refused_by_constructor(
        "2 queue_mode bio 0 1 1 round-robin 0 1 1 77:7 1",
        Errno::ENXIO,
        "error getting device",
    );
    for handler in ["alua", "bogus"] {
        let params = format!("0 1 {handler} 1 1 round-robin 0 1 1 253:0 1");
        refused_by_constructor(&params, Errno::ENODEV, "error attaching hardware handler");
    }
}

/// From the reference: these modules were not there on the machine that was asked.
#[test]
fn what_the_other_selectors_refuse() {
    for (group, text) in [
        ("historical-service-time 1 1024 1 1 1:0 1", "path selector constructor failed"),
        ("historical-service-time 2 5 x 1 1 1:0 1", "path selector constructor failed"),
        ("historical-service-time 0 1 1 1:0 x", "historical-service-time ps: invalid repeat count"),
        (
            "historical-service-time 0 1 2 1:0 1 1",
            "historical-service-time ps: incorrect number of arguments",
        ),
        ("io-affinity 0 1 0 1:0", "io-affinity ps: invalid number of arguments"),
        ("io-affinity 0 1 1 1:0 x", "io-affinity ps: invalid cpumask"),
        ("io-affinity 0 1 1 1:0 0", "io-affinity ps: No new/valid CPU mapping found"),
    ] {
        refused_by_constructor(&format!("2 queue_mode bio 0 1 1 {group}"), Errno::EINVAL, text);
    }
    let kit = kit();
    let table = "0 2048 multipath 2 queue_mode bio 0 1 1 io-affinity 0 2 1 1:0 1 1:1 3";
    let dev = kit.create("m", table);
    assert_eq!(
        kit.log().last().unwrap(),
        "device-mapper: multipath io-affinity: CPU mapping for 0 exists. Ignoring."
    );
    write(&kit, dev, 0, &[1; 512]);
    kit.message("m", "fail_path 1:0").unwrap();
    write(&kit, dev, 1, &[2; 512]);
    let tail = "io-affinity 0 2 1 1:0 1 1:1 3 ";
    assert!(kit.status("m", TABLE).ends_with(tail), "{}", kit.status("m", TABLE));
    assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 1 1 A 0 2 1 1:0 F 1 0 1:1 A 0 0 ");
    assert_eq!(read(&kit, DevT::new(1, 1), 1, 1), Ok(vec![2; 512]));
}

#[test]
fn table_and_status_lines() {
    for (params, table, info) in [
        ("0 0 0 0", "0 0 0 0 ", "2 1 0 0 0 0 "),
        ("2 queue_mode bio 2 a b 0 0", "3 retain_attached_hw_handler queue_mode bio 0 0 0 ", "2 1 0 0 0 0 "),
        ("4 queue_mode bio queue_mode rq 0 0 0", "0 0 0 0 ", "2 1 0 0 0 0 "),
        ("2 Queue_Mode MQ 0 0 0", "0 0 0 0 ", "2 1 0 0 0 0 "),
        ("2 pg_init_delay_msecs 0 0 0 0", "2 pg_init_delay_msecs 0 0 0 0 ", "2 1 0 0 0 0 "),
        (
            "2 retain_attached_hw_handler queue_if_no_path 0 0 0",
            "2 queue_if_no_path retain_attached_hw_handler 0 0 0 ",
            "2 1 0 0 0 0 ",
        ),
        ("2 QUEUE_IF_NO_PATH queue_if_no_path 0 0 0", "1 queue_if_no_path 0 0 0 ", "2 1 0 0 0 0 "),
        (
            "5 queue_if_no_path pg_init_retries 50 pg_init_delay_msecs 60000 0 1 1 round-robin 0 1 1 253:0 1",
            "5 queue_if_no_path pg_init_retries 50 pg_init_delay_msecs 60000 0 1 1 round-robin 0 1 1 253:0 1 ",
            "2 1 0 0 1 1 E 0 1 0 253:0 A 0 ",
        ),
        // A first group that there isn't.
        (
            "2 queue_mode bio 0 1 2 round-robin 0 1 1 1:0 1",
            "3 retain_attached_hw_handler queue_mode bio 0 1 1 round-robin 0 1 1 1:0 1 ",
            "2 1 0 0 1 1 E 0 1 0 1:0 A 0 ",
        ),
        (
            "2 queue_mode bio 0 2 2 queue-length 2 7 8 1 1 1:0 0 service-time 0 2 0 1:1 1:1",
            "3 retain_attached_hw_handler queue_mode bio 0 2 2 queue-length 0 1 1 1:0 0 service-time 0 2 2 1:1 1 1 1:1 1 1 ",
            "2 1 0 0 2 2 E 0 1 1 1:0 A 0 0 E 0 2 2 1:1 A 0 0 1 1:1 A 0 0 1 ",
        ),
        (
            "2 queue_mode bio 0 1 1 round-robin 1 5 1 1 1:0 4294967297",
            "3 retain_attached_hw_handler queue_mode bio 0 1 1 round-robin 0 1 1 1:0 1 ",
            "2 1 0 0 1 1 E 0 1 0 1:0 A 0 ",
        ),
        (
            "2 queue_mode bio 0 1 1 historical-service-time 2 1000 3 2 1 1:0 5 1:1 1",
            "3 retain_attached_hw_handler queue_mode bio 0 1 1 historical-service-time 2 1000 3 2 1 1:0 0 1:1 0 ",
            "2 1 0 0 1 1 E 2 1000 3 2 3 1:0 A 0 1024 0 0 1:1 A 0 1024 0 0 ",
        ),
    ] {
        let kit = kit();
        kit.create("m", &format!("0 2048 multipath {params}"));
        assert_eq!(kit.status("m", TABLE), format!("0 2048 multipath {table}"));
        assert_eq!(kit.status("m", INFO), format!("0 2048 multipath {info}"));
    }
}

#[test]
fn the_measurement_line() {
    let kit = kit();
    let groups = "round-robin 0 2 1 1:0 1 1:1 1 service-time 0 1 2 1:2 1 5";
    let dev = kit.create("m", &format!("0 2048 multipath 2 queue_mode bio 0 2 1 {groups}"));
    write(&kit, dev, 0, &[1; 512]);
    kit.message("m", "fail_path 1:1").unwrap();
    assert_eq!(
        kit.status("m", DmFlags::IMA_MEASUREMENT),
        "0 2048 multipath target_name=multipath,target_version=1.14.0,nr_priority_groups=2,pg_state_0=A,\
         nr_pgpaths_0=2,path_selector_name_0=round-robin,path_name_0_0=1:0,is_active_0_0=A,fail_count_0_0=0,\
         path_selector_status_0_0=,path_name_0_1=1:1,is_active_0_1=F,fail_count_0_1=1,path_selector_status_0_1=,\
         pg_state_1=E,nr_pgpaths_1=1,path_selector_name_1=service-time,path_name_1_0=1:2,is_active_1_0=A,\
         fail_count_1_0=0,path_selector_status_1_0=;"
    );
}

const REQUESTS: &str = "0 2048 multipath 0 0 1 1 round-robin 0 2 1 253:0 1 253:16 1";
const BIOS: &str = "0 2048 multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 1:0 1 1:1 1";
const UNABLE: &str = "device-mapper: table: unable to determine table type";

/// Loads a table and expects a refusal with these lines.
#[track_caller]
fn load_refused(kit: &Kit, name: &str, table: &str, log: &[&str]) {
    let seen = kit.log().len();
    assert_eq!(kit.load(name, table).err(), Some(Errno::EINVAL), "{table}");
    assert_eq!(kit.log()[seen..], *log, "{table}");
}

fn changes_type(old: u32, new: u32) -> String {
    format!(
        "device-mapper: ioctl: can't change device type (old={old} vs new={new}) after initial table load."
    )
}

#[test]
fn what_may_follow_a_request_based_table() {
    let kit = kit();
    let dev = kit.create("m", REQUESTS);
    let immutable = "device-mapper: ioctl: can't replace immutable target type multipath";
    load_refused(&kit, "m", BIOS, &[&changes_type(2, 1)]);
    load_refused(&kit, "m", "0 2048 linear 253:0 0", &[immutable]);
    let alone = "device-mapper: table: table load rejected: immutable target is required";
    load_refused(&kit, "m", "0 2048 error 253:0 0", &[alone, UNABLE]);
    let several = "device-mapper: table: request-based DM doesn't support multiple targets";
    load_refused(&kit, "m", "0 8 error\n8 8 error", &[several, UNABLE]);
    load_refused(&kit, "m", "0 8 error\n8 8 linear 253:0 0", &[&changes_type(2, 1)]);
    kit.load("m", "0 2048 error").unwrap();
    kit.resume("m").unwrap();
    assert_eq!(read(&kit, dev, 0, 1), Err(Errno::EIO));
    load_refused(&kit, "m", "0 2048 linear 253:0 0", &[&changes_type(2, 1)]);
    load_refused(&kit, "m", BIOS, &[&changes_type(2, 1)]);
    kit.load("m", REQUESTS).unwrap();
    kit.resume("m").unwrap();
    assert_eq!(read(&kit, dev, 0, 1), Ok(vec![0; 512]));
}

#[test]
fn what_may_follow_a_bio_based_table() {
    let kit = kit();
    kit.create("m", BIOS);
    let immutable = "device-mapper: ioctl: can't replace immutable target type multipath";
    load_refused(&kit, "m", REQUESTS, &[&changes_type(1, 2)]);
    load_refused(&kit, "m", "0 2048 linear 1:0 0", &[immutable]);
    load_refused(&kit, "m", "0 2048 zero", &[immutable]);
    kit.load("m", "0 2048 error").unwrap();
    kit.resume("m").unwrap();
    load_refused(&kit, "m", REQUESTS, &[&changes_type(1, 2)]);
    kit.load("m", "0 2048 linear 1:0 0").unwrap();
    for (name, table) in [("e", "0 2048 error"), ("l", "0 2048 linear 1:0 0")] {
        kit.create(name, table);
        load_refused(&kit, name, REQUESTS, &[&changes_type(1, 2)]);
    }
}

#[test]
fn what_a_request_based_table_may_stand_on() {
    let no_requests = "device-mapper: table: table load rejected: including non-request-stackable devices";
    for path in ["1:1", "254:0"] {
        let kit = kit();
        kit.create("bios", "0 2048 linear 253:0 0");
        kit.ask(Command::DevCreate, "m", INFO).unwrap();
        let table = format!("0 2048 multipath 0 0 1 1 round-robin 0 2 1 253:0 1 {path} 1");
        load_refused(&kit, "m", &table, &[no_requests, UNABLE]);
    }
    let kit = kit();
    // An empty map stands on nothing; a request-based device has requests to take itself.
    kit.create("x", "0 2048 multipath 0 0 0 0");
    kit.load("x", REQUESTS).unwrap();
    kit.resume("x").unwrap();
    let dev = kit.create("y", "0 2048 multipath 0 0 1 1 round-robin 0 1 1 254:0 1");
    assert_eq!(read(&kit, dev, 0, 1), Ok(vec![0; 512]));
}

#[test]
fn groups_and_paths_by_message() {
    let kit = kit();
    let groups = "round-robin 0 2 1 1:0 1 1:1 1 round-robin 0 2 1 1:1 1 1:2 1";
    let dev = kit.create("m", &format!("0 2048 multipath 2 queue_mode bio 0 2 1 {groups}"));
    let step = |message: &str, info: &str, event: u32| {
        match message {
            "io" => assert_eq!(write(&kit, dev, 0, &[1; 512]), BlkStatus::Ok),
            message => kit.message("m", message).unwrap(),
        }
        assert_eq!(kit.status("m", INFO), format!("0 2048 multipath {info} "), "{message}");
        assert_eq!(events(&kit, "m"), event, "{message}");
    };
    // One device twice is one event.
    step("fail_path 1:1", "2 1 0 0 2 1 E 0 2 0 1:0 A 0 1:1 F 1 E 0 2 0 1:1 F 1 1:2 A 0", 1);
    step("fail_path 1:1", "2 1 0 0 2 1 E 0 2 0 1:0 A 0 1:1 F 1 E 0 2 0 1:1 F 1 1:2 A 0", 1);
    step("REINSTATE_PATH 1:1", "2 1 0 0 2 1 E 0 2 0 1:0 A 0 1:1 A 1 E 0 2 0 1:1 A 1 1:2 A 0", 2);
    step("fail_path 1:1", "2 1 0 0 2 1 E 0 2 0 1:0 A 0 1:1 F 2 E 0 2 0 1:1 F 2 1:2 A 0", 3);
    step("io", "2 0 0 0 2 1 A 0 2 0 1:0 A 0 1:1 F 2 E 0 2 0 1:1 F 2 1:2 A 0", 3);
    step("disable_group 1", "2 0 0 0 2 1 D 0 2 0 1:0 A 0 1:1 F 2 E 0 2 0 1:1 F 2 1:2 A 0", 4);
    step("disable_group 1", "2 0 0 0 2 1 D 0 2 0 1:0 A 0 1:1 F 2 E 0 2 0 1:1 F 2 1:2 A 0", 5);
    step("io", "2 0 0 0 2 2 D 0 2 0 1:0 A 0 1:1 F 2 A 0 2 0 1:1 F 2 1:2 A 0", 5);
    step("disable_group 2", "2 0 0 0 2 1 D 0 2 0 1:0 A 0 1:1 F 2 D 0 2 0 1:1 F 2 1:2 A 0", 6);
    // All are disabled: then they are used after all.
    step("io", "2 0 0 0 2 1 D 0 2 0 1:0 A 0 1:1 F 2 D 0 2 0 1:1 F 2 1:2 A 0", 6);
    step("switch_group 2", "2 0 0 0 2 2 E 0 2 0 1:0 A 0 1:1 F 2 E 0 2 0 1:1 F 2 1:2 A 0", 7);
    step("io", "2 0 0 0 2 2 E 0 2 0 1:0 A 0 1:1 F 2 A 0 2 0 1:1 F 2 1:2 A 0", 7);
    step("enable_group 1", "2 0 0 0 2 1 E 0 2 0 1:0 A 0 1:1 F 2 E 0 2 0 1:1 F 2 1:2 A 0", 8);
    step("switch_group 4294967298", "2 0 0 0 2 2 E 0 2 0 1:0 A 0 1:1 F 2 E 0 2 0 1:1 F 2 1:2 A 0", 9);
}

#[test]
fn messages_that_are_refused() {
    let kit = kit();
    kit.create("m", BIOS);
    let prefix = "device-mapper: multipath: ";
    for (message, errno, text) in [
        ("switch_group +1", Errno::EINVAL, "invalid PG number supplied to switch_pg_num"),
        ("switch_group 0", Errno::EINVAL, "invalid PG number supplied to switch_pg_num"),
        ("enable_group 2", Errno::EINVAL, "invalid PG number supplied to bypass_pg"),
        ("switch_group\\ 1 1", Errno::EINVAL, "Unrecognised multipath message received: switch_group 1"),
        ("fail_if_no_path x", Errno::EINVAL, "Unrecognised multipath message received: fail_if_no_path"),
        ("a b c", Errno::EINVAL, "Invalid multipath message arguments. Expected 2 arguments, got 3."),
        ("bogus", Errno::EINVAL, "Invalid multipath message arguments. Expected 2 arguments, got 1."),
        ("fail_path 1:77777777", Errno::EOVERFLOW, "message: error getting device 1:77777777"),
        // Devices that are not its paths, whether they exist or not.
        ("fail_path 77:1", Errno::EINVAL, ""),
        ("reinstate_path 254:0", Errno::EINVAL, ""),
    ] {
        let seen = kit.log().len();
        assert_eq!(kit.message("m", message), Err(errno), "{message}");
        let lines: Vec<_> = kit.log()[seen..].to_vec();
        let expected = if text.is_empty() { vec![] } else { vec![format!("{prefix}{text}")] };
        assert_eq!(lines, expected, "{message}");
    }
    suspend(&kit, "m", DmFlags::empty());
    let seen = kit.log().len();
    for message in ["fail_path 1:0", "bogus", "bogus x"] {
        assert_eq!(kit.message("m", message), Err(Errno::EBUSY), "{message}");
    }
    assert_eq!(kit.log().len(), seen);
}

#[test]
fn user_space_hears_of_paths() {
    let kit = kit();
    kit.create(
        "m",
        "0 2048 multipath 2 queue_mode bio 0 2 1 round-robin 0 2 1 1:0 1 1:1 1 round-robin 0 1 1 1:1 1",
    );
    let seen = kit.machine.uevents().last_seqnum();
    kit.message("m", "fail_path 1:1").unwrap();
    kit.message("m", "reinstate_path 1:1").unwrap();
    let told: Vec<String> = kit.machine.uevents().after(seen).iter().map(|event| event.to_string()).collect();
    let block = |number, action, count, seqnum| {
        format!(
            "change@/devices/virtual/block/dm-0\nACTION=change\nDEVPATH=/devices/virtual/block/dm-0\n\
             SUBSYSTEM=block\nDM_TARGET=multipath\nDM_ACTION={action}\nDM_SEQNUM={number}\nDM_PATH=1:1\n\
             DM_NR_VALID_PATHS={count}\nDM_NAME=m\nDM_UUID=\nMAJOR=254\nMINOR=0\nDEVNAME=dm-0\nDEVTYPE=disk\n\
             DISKSEQ={}\nSEQNUM={seqnum}",
            kit.machine.device(DevT::new(254, 0)).unwrap().disk_seq
        )
    };
    // Of one event, the last is told first.
    let expected = [
        block(2, "PATH_FAILED", 1, seen + 1),
        block(1, "PATH_FAILED", 2, seen + 2),
        block(4, "PATH_REINSTATED", 3, seen + 3),
        block(3, "PATH_REINSTATED", 2, seen + 4),
    ];
    assert_eq!(told, expected);
}

/// Four paths that are linear devices, so that each one's IO can be counted.
fn four_paths(kit: &Kit, selector: &str, args: [&str; 4]) -> (DevT, [DevT; 4]) {
    let devs = std::array::from_fn(|i| kit.create(&format!("p{i}"), &format!("0 2048 linear 1:{i} 0")));
    let words = args[0].split_whitespace().count();
    let paths: String =
        devs.iter().zip(args).map(|(dev, args): (&DevT, &str)| format!(" {dev} {args}")).collect();
    (kit.create("m", &format!("0 2048 multipath 2 queue_mode bio 0 1 1 {selector} 4 {words}{paths}")), devs)
}

/// The path that the next read takes.
fn next(kit: &Kit, dev: DevT, paths: &[DevT; 4]) -> usize {
    let counts = || paths.map(|path| kit.machine.device(path).unwrap().stat[0]);
    let before = counts();
    assert!(read(kit, dev, 0, 1).is_ok());
    let after = counts();
    let taken: Vec<usize> = (0..4).filter(|&i| after[i] != before[i]).collect();
    assert_eq!(taken.len(), 1);
    taken[0]
}

#[test]
fn the_order_of_paths() {
    for (selector, expected) in [
        ("round-robin 0", [0, 1, 2, 1, 2, 1, 2, 0, 1, 2, 0, 3, 1, 2, 0]),
        ("queue-length 0", [0, 1, 2, 1, 2, 1, 2, 1, 2, 0, 1, 2, 0, 1, 3]),
    ] {
        let kit = kit();
        let (dev, paths) = four_paths(&kit, selector, ["1"; 4]);
        let mut order = Vec::new();
        for (message, count) in [
            ("", 2),
            ("fail_path 254:0", 1),
            ("fail_path 254:3", 4),
            ("reinstate_path 254:0", 4),
            ("reinstate_path 254:3", 4),
        ] {
            if !message.is_empty() {
                kit.message("m", message).unwrap();
            }
            order.extend((0..count).map(|_| next(&kit, dev, &paths)));
        }
        assert_eq!(order, expected, "{selector}");
    }
}

#[test]
fn busy_paths_are_avoided() {
    let kit = kit();
    let (dev, paths) = four_paths(&kit, "service-time 0", ["1 1", "1 50", "1 50", "1 0"]);
    assert_eq!([(); 4].map(|()| next(&kit, dev, &paths)), [1, 2, 1, 2]);
    suspend(&kit, "p1", INFO);
    let held = Pending::write(&kit, dev, 0, &[1; 4096]);
    let line = |one: u64, two: u64| {
        format!(
            "0 2048 multipath 2 0 0 0 1 1 A 0 4 2 254:0 A 0 0 1 254:1 A 0 {one} 50 254:2 A 0 {two} 50 254:3 A 0 0 0 "
        )
    };
    assert_eq!(kit.status("m", INFO), line(4096, 0));
    assert_eq!([(); 2].map(|()| next(&kit, dev, &paths)), [2, 2]);
    suspend(&kit, "p2", INFO);
    let more = [8, 16, 24].map(|sector| Pending::write(&kit, dev, sector, &[2; 4096]));
    assert_eq!(kit.status("m", INFO), line(8192, 8192));
    kit.resume("p1").unwrap();
    kit.resume("p2").unwrap();
    assert!(more.iter().chain([&held]).all(|write| write.end() == Some(BlkStatus::Ok)));
    assert_eq!(kit.status("m", INFO), line(0, 0));

    let kit = crate::kit();
    let (dev, paths) = four_paths(&kit, "queue-length 0", ["1"; 4]);
    suspend(&kit, "p1", INFO);
    assert_eq!(next(&kit, dev, &paths), 0);
    let held = Pending::write(&kit, dev, 0, &[1; 512]);
    assert_eq!([(); 5].map(|()| next(&kit, dev, &paths)), [2, 3, 0, 2, 3]);
    assert!(kit.status("m", INFO).contains("254:1 A 0 1 "));
    // A path that fails meanwhile changes nothing for what is on its way.
    kit.message("m", "fail_path 254:1").unwrap();
    kit.resume("p1").unwrap();
    assert_eq!(held.end(), Some(BlkStatus::Ok));
    assert!(kit.status("m", INFO).contains("254:1 F 1 0 "));
}

/// Times of paths that a `delay`-like device would give: here each path waits for as long as the test keeps it suspended.
#[test]
fn the_historically_faster_path_is_taken() {
    let kit = kit();
    let (dev, paths) = four_paths(&kit, "historical-service-time 0", [""; 4].map(|_| "1"));
    // Each path once, the second with a bio that takes a second.
    for i in 0..4 {
        if i == 1 {
            suspend(&kit, "p1", INFO);
            let slow = Pending::write(&kit, dev, 0, &[1; 512]);
            kit.advance(Duration::from_secs(1));
            kit.resume("p1").unwrap();
            assert_eq!(slow.end(), Some(BlkStatus::Ok));
        } else {
            assert_eq!(next(&kit, dev, &paths), i);
        }
    }
    let status = kit.status("m", INFO);
    // A second, in fixed-point nanoseconds: the weight of so slow a bio is 972/1024 to the power of 60.
    let average: u64 = status.split("254:1 A 0 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(average > 900_000_000 << 10 && average <= 1_000_000_000 << 10, "{status}");
    // It is not taken again while others are idle.
    for _ in 0..12 {
        assert_ne!(next(&kit, dev, &paths), 1);
    }
}

const FAILOVER: &str = "0 2048 multipath 2 queue_mode bio 0 1 1 queue-length 0 2 1 254:0 1 254:1 1";

#[test]
fn paths_that_start_failing() {
    let kit = kit();
    kit.create("b0", "0 2048 error");
    kit.create("b1", "0 2048 error");
    let dev = kit.create("m", FAILOVER);
    assert_eq!(write(&kit, dev, 0, &[1; 4096]), BlkStatus::IoErr);
    // The group stays the current one: no bio has looked for another since.
    assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 1 1 A 0 2 1 254:0 F 1 0 254:1 F 1 0 ");
    assert_eq!(events(&kit, "m"), 2);
    let tail = [
        "device-mapper: multipath: 254:2: Failing path 254:0.",
        "device-mapper: multipath: 254:2: Failing path 254:1.",
    ];
    assert_eq!(kit.log(), tail);

    kit.message("m", "queue_if_no_path").unwrap();
    let waits = Pending::write(&kit, dev, 0, &[7; 4096]);
    assert_eq!(waits.end(), None);
    // Linux counts such a bio out twice; here the counter stays right.
    assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 1 1 E 0 2 1 254:0 F 1 0 254:1 F 1 0 ");
    // Reinstated but no better: it waits on.
    kit.message("m", "reinstate_path 254:1").unwrap();
    assert_eq!((waits.end(), events(&kit, "m")), (None, 4));
    kit.load("b0", "0 2048 linear 1:0 0").unwrap();
    kit.resume("b0").unwrap();
    assert_eq!(waits.end(), None);
    kit.message("m", "reinstate_path 254:0").unwrap();
    assert_eq!(waits.end(), Some(BlkStatus::Ok));
    assert_eq!(read(&kit, DevT::new(1, 0), 0, 8), Ok(vec![7; 4096]));
    assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 1 1 A 0 2 1 254:0 A 1 0 254:1 F 2 0 ");
}

#[test]
fn a_bio_that_was_cut_below_goes_on_whole() {
    for lent in [true, false] {
        let kit = kit();
        kit.create("half", "0 8 linear 1:0 0\n8 8 error\n16 2032 linear 1:0 16");
        let dev = kit.create(
            "m",
            "0 2048 multipath 2 queue_mode bio 0 2 1 round-robin 0 1 1 254:0 1 round-robin 0 1 1 1:3 1",
        );
        let bytes: Vec<u8> = (0..24 * SECTOR).map(|i| (i / 100) as u8).collect();
        if lent {
            assert_eq!(write(&kit, dev, 0, &bytes), BlkStatus::Ok);
        } else {
            assert_eq!(Pending::write(&kit, dev, 0, &bytes).end(), Some(BlkStatus::Ok));
        }
        assert_eq!(read(&kit, DevT::new(1, 3), 0, 24).unwrap(), bytes);
        assert_eq!(kit.status("m", INFO), "0 2048 multipath 2 0 0 0 2 2 E 0 1 0 254:0 F 1 A 0 1 0 1:3 A 0 ");
        // So does a read: the bytes of the path that failed halfway are forgotten.
        kit.message("m", "reinstate_path 254:0").unwrap();
        kit.message("m", "switch_group 1").unwrap();
        assert_eq!(read(&kit, dev, 0, 24).unwrap(), bytes);
        assert!(kit.status("m", INFO).contains("254:0 F 2"));
    }
}

/// Sends writes on with other bytes, and fails them afterwards: a path that corrupts what it loses.
static CORRUPTING: TargetType = TargetType {
    name: "corrupting",
    version: [1, 0, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(corrupting),
};

struct Corrupting(TableDevice, Sectors);

fn corrupting(ctr: &mut Ctr<'_>) -> Built {
    let word = ctr.args.shift().unwrap_or_default();
    let device = ctr.device(&word).map_err(|errno| CtrError::new(errno, "Device lookup failed"))?;
    ctr.settings = TargetSettings { wants_end_io: true, ..ctr.settings };
    Ok(Box::new(Corrupting(device, ctr.len)))
}

impl Target for Corrupting {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        if bio.op == dmlab_block::Op::Write {
            let len = bio.len().0 as usize * SECTOR;
            bio.replace_bytes(vec![0xbd; len].into());
        }
        bio.flags.remove(BioFlags::FUA);
        bio.set_dev(self.0.device());
        Map::Remapped
    }

    fn end_io(&self, _bio: &mut Bio<'_>, _word: u64, _status: BlkStatus) -> dmlab_block::End {
        dmlab_block::End::Done(BlkStatus::Transport)
    }

    fn devices(&self) -> Option<Vec<Area<'_>>> {
        Some(vec![Area { dev: &self.0, start: Sector::ZERO, len: self.1 }])
    }

    fn io_hints(&self, _limits: &mut QueueLimits) {}
}

#[test]
fn what_a_path_did_to_the_bytes_stays_with_the_path() {
    let disk = || Disk { kind: DiskKind::VolatileRam(Bytes::mib(16)), read_only: false };
    let kit =
        Kit::with(BootOptions { disks: vec![disk()], targets: vec![&CORRUPTING], ..BootOptions::default() });
    kit.create("bad", "0 2048 corrupting 1:0");
    let dev = kit.create(
        "m",
        "0 2048 multipath 2 queue_mode bio 0 2 1 round-robin 0 1 1 254:0 1 round-robin 0 1 1 253:0 1",
    );
    assert_eq!(write(&kit, dev, 8, &[5; 4096]), BlkStatus::Ok);
    assert_eq!(read(&kit, DevT::new(1, 0), 8, 8), Ok(vec![0xbd; 4096]));
    assert_eq!(read(&kit, DevT::new(253, 0), 8, 8), Ok(vec![5; 4096]));
    // Without another path the error is a plain one, whatever it was; a request-based device passes it up.
    kit.message("m", "reinstate_path 254:0").unwrap();
    kit.message("m", "fail_path 253:0").unwrap();
    assert_eq!(write(&kit, dev, 8, &[6; 4096]), BlkStatus::IoErr);
}

#[test]
fn errors_of_the_disk_are_no_matter_of_paths() {
    let kit = kit();
    let dev = kit.create("m", "0 2048 multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 1:0 1 1:1 1");
    let bio = Bio::range(dmlab_block::Op::SecureErase, Sector(0), Sectors(8));
    assert_eq!(Pending::start(&kit, dev, bio).end(), Some(BlkStatus::NotSupp));
    assert!(kit.status("m", INFO).contains("1:0 A 0 1:1 A 0"));
    let discard = Bio::range(dmlab_block::Op::Discard, Sector(0), Sectors(8));
    assert_eq!(Pending::start(&kit, dev, discard).end(), Some(BlkStatus::Ok));
}

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

#[test]
fn ioctls_go_to_a_path() {
    let kit = kit();
    let dev = kit.create("m", BIOS);
    let file = kit.machine.open_block(dev, OpenMode::READ | OpenMode::WRITE).unwrap();
    let caller = Kernel(kit.machine.registry());
    const LOOP_CLR_FD: u32 = 0x4c01;
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

/// What happens to the device of the property test.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Read(u64, u64),
    /// A path's device fails from now on, or no longer; the multipath device isn't told.
    Break(usize),
    Mend(usize),
    Fail(usize),
    Reinstate(usize),
    Group(&'static str, u32),
    Queue(bool),
    Suspend(bool),
    Resume,
    Reload,
}

const SIZE: u64 = 64;
const PATHS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..SIZE, 1..16u64);
    let word = prop_oneof![Just("switch_group"), Just("disable_group"), Just("enable_group")];
    prop_oneof![
        8 => (place(), 1..255u8).prop_map(|((at, len), byte)| Step::Write(at, len.min(SIZE - at), byte)),
        3 => place().prop_map(|(at, len)| Step::Read(at, len.min(SIZE - at))),
        4 => (0..PATHS).prop_map(Step::Break),
        3 => (0..PATHS).prop_map(Step::Mend),
        2 => (0..PATHS).prop_map(Step::Fail),
        4 => (0..PATHS).prop_map(Step::Reinstate),
        2 => (word, 1..3u32).prop_map(|(word, group)| Step::Group(word, group)),
        2 => any::<bool>().prop_map(Step::Queue),
        1 => any::<bool>().prop_map(Step::Suspend),
        2 => Just(Step::Resume),
        1 => Just(Step::Reload),
    ]
}

/// The plain model of it: no selectors, no groups, no order. IO gets through if some path is in use and works.
struct Model {
    is_bio: bool,
    bytes: Vec<u8>,
    works: [bool; PATHS],
    queues: bool,
    saved: bool,
    is_suspended: bool,
    waiting: Vec<(u64, u64, u8, Pending)>,
}

impl Model {
    /// How IO ends that is neither held by a suspend nor was there before one; `None` = it waits.
    fn fate(&self, in_use: [bool; PATHS]) -> Option<BlkStatus> {
        let reaches = (0..PATHS).any(|path| in_use[path] && self.works[path]);
        match (reaches, self.queues) {
            (true, _) => Some(BlkStatus::Ok),
            (false, true) => None,
            (false, false) => Some(BlkStatus::IoErr),
        }
    }

    /// Holds that what waited has ended as it must, and takes it out.
    fn settle(&mut self, fate: Option<BlkStatus>) {
        for (at, len, byte, pending) in std::mem::take(&mut self.waiting) {
            assert_eq!(pending.end(), fate, "{len} sectors at {at}");
            match fate {
                None => self.waiting.push((at, len, byte, pending)),
                Some(BlkStatus::Ok) => self.fill(at, len, byte),
                Some(_) => {}
            }
        }
    }

    fn fill(&mut self, at: u64, len: u64, byte: u8) {
        self.bytes[at as usize * SECTOR..(at + len) as usize * SECTOR].fill(byte);
    }

    fn overlaps_a_waiting_one(&self, at: u64, len: u64) -> bool {
        self.waiting.iter().any(|(other, more, ..)| at < other + more && *other < at + len)
    }
}

/// Which paths the multipath device uses, as its status says.
fn in_use(kit: &Kit) -> [bool; PATHS] {
    let status = kit.status("m", INFO);
    let words: Vec<&str> = status.split(' ').collect();
    std::array::from_fn(|path| {
        let dev = format!("254:{path}");
        let at = words.iter().position(|word| *word == dev).unwrap();
        words[at + 1] == "A"
    })
}

fn run(steps: Vec<Step>, is_bio: bool, selectors: [&str; 2]) {
    let kit = kit();
    // All paths lead to one disk.
    let good = if is_bio { "linear 253:0 0" } else { "multipath 0 0 1 1 round-robin 0 1 1 253:0 1" };
    for path in 0..PATHS {
        kit.create(&format!("p{path}"), &format!("0 {SIZE} {good}"));
    }
    let switch = |path: usize, target: &str| {
        kit.load(&format!("p{path}"), &format!("0 {SIZE} {target}")).unwrap();
        kit.resume(&format!("p{path}")).unwrap();
    };
    let mode = if is_bio { "bio" } else { "rq" };
    let [first, second] = selectors;
    let groups = format!("{first} 0 2 0 254:0 254:1 {second} 0 2 0 254:2 254:3");
    let table = format!("0 {SIZE} multipath 3 queue_if_no_path queue_mode {mode} 0 2 1 {groups}");
    let dev = kit.create("m", &table);
    let mut model = Model {
        is_bio,
        bytes: vec![0; SIZE as usize * SECTOR],
        works: [true; PATHS],
        queues: true,
        saved: true,
        is_suspended: false,
        waiting: Vec::new(),
    };
    for step in steps {
        let before = in_use(&kit);
        match step {
            Step::Write(at, len, byte) if !model.overlaps_a_waiting_one(at, len) => {
                let pending = Pending::write(&kit, dev, at, &vec![byte; len as usize * SECTOR]);
                let fate = if model.is_suspended { None } else { model.fate(before) };
                assert_eq!(pending.end(), fate);
                match fate {
                    None => model.waiting.push((at, len, byte, pending)),
                    Some(BlkStatus::Ok) => model.fill(at, len, byte),
                    Some(_) => {}
                }
            }
            Step::Read(at, len) if !model.is_suspended && !model.overlaps_a_waiting_one(at, len) => {
                let fate = model.fate(before);
                let expected = match fate {
                    Some(BlkStatus::Ok) => {
                        Ok(model.bytes[at as usize * SECTOR..(at + len) as usize * SECTOR].to_vec())
                    }
                    Some(_) => Err(Errno::EIO),
                    // It waits; nobody is there who could help it.
                    None => continue,
                };
                assert_eq!(read(&kit, dev, at, len as usize), expected);
            }
            Step::Write(..) | Step::Read(..) => {}
            Step::Break(path) => {
                switch(path, "error");
                model.works[path] = false;
            }
            Step::Mend(path) => {
                switch(path, good);
                model.works[path] = true;
            }
            Step::Fail(path) => drop(kit.message("m", &format!("fail_path 254:{path}"))),
            Step::Reinstate(path) => {
                if kit.message("m", &format!("reinstate_path 254:{path}")).is_ok() {
                    let mut now = before;
                    now[path] = true;
                    let fate = model.fate(now);
                    // Only the first path that comes back has what waits tried again.
                    model.settle(fate);
                }
            }
            Step::Group(word, group) => drop(kit.message("m", &format!("{word} {group}"))),
            Step::Queue(on) => {
                let word = if on { "queue_if_no_path" } else { "fail_if_no_path" };
                if kit.message("m", word).is_ok() {
                    (model.queues, model.saved) = (on, on);
                    let fate = model.fate(before);
                    model.settle(fate);
                }
            }
            Step::Suspend(noflush) if !model.is_suspended => {
                suspend(&kit, "m", if noflush { DmFlags::NOFLUSH } else { INFO });
                if is_bio || !noflush {
                    (model.saved, model.queues) = (model.queues, false);
                }
                model.settle(if noflush { None } else { Some(BlkStatus::IoErr) });
                model.is_suspended = true;
            }
            Step::Suspend(_) => {}
            Step::Resume => {
                kit.resume("m").unwrap();
                kit.machine.runtime().run_until_idle();
                if std::mem::take(&mut model.is_suspended) {
                    model.queues |= model.saved;
                    let fate = model.fate(before);
                    model.settle(fate);
                }
            }
            Step::Reload => {
                // The resume suspends first, with a flush, unless it is suspended already.
                kit.load("m", &table).unwrap();
                kit.resume("m").unwrap();
                kit.machine.runtime().run_until_idle();
                if !std::mem::take(&mut model.is_suspended) {
                    model.settle(Some(BlkStatus::IoErr));
                }
                (model.queues, model.saved) = (true, true);
                let fate = model.fate([true; PATHS]);
                model.settle(fate);
            }
        }
        assert!(model.is_bio == is_bio);
        let shown = kit.status("m", TABLE).contains("queue_if_no_path");
        assert_eq!(shown, model.queues, "queueing");
    }
    // In the end everything works again, and nothing waits any more.
    for path in 0..PATHS {
        switch(path, good);
    }
    kit.resume("m").unwrap();
    kit.message("m", "fail_if_no_path").unwrap();
    for path in 0..PATHS {
        kit.message("m", &format!("reinstate_path 254:{path}")).unwrap();
    }
    for (at, len, byte, pending) in std::mem::take(&mut model.waiting) {
        let end = pending.end().expect("nothing waits any more");
        if end.is_ok() {
            model.fill(at, len, byte);
        }
    }
    assert_eq!(read(&kit, DevT::new(253, 0), 0, SIZE as usize).unwrap(), model.bytes);
    assert_eq!(read(&kit, dev, 0, SIZE as usize).unwrap(), model.bytes);
    // No selector counts anything as on its way.
    for word in ["queue-length", "service-time"] {
        if selectors == [word; 2] {
            let status = kit.status("m", INFO);
            for path in 0..PATHS {
                let words: Vec<&str> =
                    status.split(' ').skip_while(|w| *w != format!("254:{path}")).collect();
                assert_eq!(words[3], "0", "{status}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Paths that fail and come back at random, in every mode and with every selector: IO ends once, when and as the
    /// model says, and what it wrote is on the disk.
    #[test]
    fn io_ends_once_with_the_right_bytes(
        steps in prop::collection::vec(step(), 1..60),
        is_bio in any::<bool>(),
        selectors in prop::sample::select(vec![
            ["round-robin"; 2],
            ["queue-length"; 2],
            ["service-time"; 2],
            ["historical-service-time"; 2],
            ["round-robin", "service-time"],
        ]),
    ) {
        run(steps, is_bio, selectors);
    }
}
