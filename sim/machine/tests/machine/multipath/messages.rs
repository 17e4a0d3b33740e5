//! What messages do, and what user space hears of it.

use dmlab_abi::DmFlags;
use dmlab_block::BlkStatus;
use dmlab_units::{DevT, Errno};

use super::{BIOS, INFO, events, kit, suspend, write};

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
    let told: Vec<String> =
        kit.machine.uevents().after(seen).iter().map(std::string::ToString::to_string).collect();
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
