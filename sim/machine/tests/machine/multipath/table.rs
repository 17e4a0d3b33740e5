//! Tables: what the constructor refuses, the lines, and which table may follow which.

use dmlab_abi::{Command, DmFlags};
use dmlab_units::{DevT, Errno};

use super::{BIOS, INFO, TABLE, kit, read, write};
use crate::kit::Kit;

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
        (
            "2 pg_init_retries 1 0 1 1 round-robin 0 1 1 253:0 1",
            "2 pg_init_retries 1 0 1 1 round-robin 0 1 1 253:0 1 ",
            "2 1 0 0 1 1 E 0 1 0 253:0 A 0 ",
        ),
        // The lowest and the highest throughput.
        (
            "2 queue_mode bio 0 1 1 service-time 0 2 2 1:0 1 0 1:1 1 100",
            "3 retain_attached_hw_handler queue_mode bio 0 1 1 service-time 0 2 2 1:0 1 0 1:1 1 100 ",
            "2 1 0 0 1 1 E 0 2 2 1:0 A 0 0 0 1:1 A 0 0 100 ",
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
    // Linux takes this one, to its harm.
    load_refused(&kit, "m", "0 2048 multipath 0 0 0 0", &[&changes_type(1, 2)]);
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
