//! Malformed ioctl buffers (kernel/misuse.md#malformed-ioctls), byte by byte.

use crate::*;
use dmlab::Lab;
use dmlab_abi::{Command, DmFlags, HEADER_SIZE, Header, TargetSpec, encode_load_payload, request_number};
use dmlab_units::{DevT, Errno, Sector, Sectors};

/// Makes an ioctl; its result and the log lines it caused, without their common prefix.
fn raw(lab: &Lab, request: u32, buf: &mut Vec<u8>) -> (Result<i32, Errno>, Vec<String>) {
    let before = lab.klog().len();
    let result = lab.ioctl(request, buf);
    let lines = lab.klog().split_off(before);
    let short = |line: String| line.strip_prefix("device-mapper: ioctl: ").map(str::to_owned).unwrap_or(line);
    (result, lines.into_iter().map(short).collect())
}

fn header(data_size: u32) -> Header {
    Header::request([4, 0, 0], data_size, DmFlags::empty())
}

/// A buffer of `size` bytes with `header` at its start.
fn buffer(header: &Header, size: usize) -> Vec<u8> {
    let mut buf = header.as_bytes().to_vec();
    buf.resize(size, 0);
    buf
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn version_of(buf: &[u8]) -> [u32; 3] {
    Header::decode(buf).unwrap().version()
}

#[test]
fn versions_that_do_not_match() {
    let lab = lab();
    for version in [[3, 0, 0], [5, 0, 0], [4, 49, 0]] {
        let mut buf = buffer(&Header::request(version, 312, DmFlags::empty()), 312);
        let [major, minor, patch] = version;
        let line = format!("ioctl interface mismatch: kernel(4.48.0), user({major}.{minor}.{patch}), cmd(0)");
        assert_eq!(raw(&lab, Command::Version.request(), &mut buf), (Err(Errno::EINVAL), vec![line]));
        assert_eq!(version_of(&buf), [4, 48, 0], "the kernel's version is written back");
    }
}

#[test]
fn versions_that_match() {
    let lab = lab();
    let mut buf = buffer(&Header::request([4, 48, 99], 312, DmFlags::empty()), 312);
    assert_eq!(raw(&lab, Command::Version.request(), &mut buf), (Ok(0), vec![]));
    let mut buf = buffer(&header(0), 312);
    assert_eq!(raw(&lab, Command::Version.request(), &mut buf), (Ok(0), vec![]));
}

#[test]
fn unknown_commands() {
    let lab = lab();
    for number in [18u8, 255] {
        let mut buf = buffer(&header(312), 312);
        let line = format!("dm_ctl_ioctl: unknown command {:#x}", request_number(number));
        assert_eq!(raw(&lab, request_number(number), &mut buf), (Err(Errno::ENOTTY), vec![line]));
        assert_eq!(version_of(&buf), [4, 48, 0]);
    }
    let mut buf = buffer(&header(312), 312);
    let other_type = request_number(0) & !0xff00 | 0xfe00;
    assert_eq!(raw(&lab, other_type, &mut buf), (Err(Errno::ENOTTY), vec![]));
    assert_eq!(version_of(&buf), [4, 0, 0], "nothing is written for another driver's ioctl");
}

#[test]
fn no_memory_behind_the_pointer() {
    let lab = lab();
    assert_eq!(raw(&lab, Command::Version.request(), &mut Vec::new()), (Err(Errno::EFAULT), vec![]));
}

#[test]
fn data_sizes() {
    let lab = lab();
    create(&mut lab.dm(), "a", "0 8 zero");
    let status = Command::DevStatus.request();
    for size in [304u32, (1 << 30) + 1] {
        let line = format!("Invalid data size in the ioctl structure: {size}");
        assert_eq!(raw(&lab, status, &mut buffer(&header(size), 400)), (Err(Errno::EINVAL), vec![line]));
    }
    let named = |size| {
        let mut header = header(size);
        header.set_name(b"a").unwrap();
        header
    };
    assert_eq!(raw(&lab, status, &mut buffer(&named(305), 312)), (Ok(0), vec![]));
    // Only commands with parameters read what data_size promises.
    assert_eq!(raw(&lab, status, &mut buffer(&named(1 << 30), 312)), (Ok(0), vec![]));
    let list = Command::ListDevices.request();
    assert_eq!(raw(&lab, list, &mut buffer(&header(1 << 30), 400)), (Err(Errno::EFAULT), vec![]));
}

#[test]
fn names_and_numbers_that_contradict() {
    let lab = lab();
    let options =
        dmlab_control::CreateOptions { uuid: Some(dmlab_units::DmUuid::new("U-r2").unwrap()), minor: None };
    lab.dm().create(&name("r2"), &options).unwrap();
    let ask = |change: &dyn Fn(&mut Header)| {
        let mut header = header(312);
        change(&mut header);
        raw(&lab, Command::DevStatus.request(), &mut buffer(&header, 312))
    };
    let both = ask(&|h| {
        h.set_name(b"r2").unwrap();
        h.set_uuid(b"U-r2").unwrap();
    });
    assert_eq!(both, (Err(Errno::EINVAL), lines(&["only supply one of name or uuid, cmd(7)"])));
    let dev = DevT::new(252, 1);
    let by_uuid = ask(&|h| {
        h.set_uuid(b"U-r2").unwrap();
        h.set_dev(Some(dev));
    });
    assert_eq!(by_uuid, (Err(Errno::ENXIO), lines(&["Invalid ioctl structure: uuid U-r2, name , dev fc01"])));
    let by_name = ask(&|h| {
        h.set_name(b"r2").unwrap();
        h.set_dev(Some(dev));
    });
    assert_eq!(by_name, (Err(Errno::ENXIO), lines(&["Invalid ioctl structure: name r2, dev fc01"])));
    for dev in [None, Some(DevT::new(1, 0)), Some(DevT::new(254, 77))] {
        assert_eq!(ask(&|h| h.set_dev(dev)), (Err(Errno::ENXIO), vec![]), "{dev:?}");
    }
}

fn zero(start: u64) -> TargetSpec {
    TargetSpec { start: Sector(start), len: Sectors(8), target_type: b"zero".to_vec(), params: vec![] }
}

/// TABLE_LOAD of two zero targets after `change` has damaged it.
fn load_damaged(change: impl FnOnce(&mut Header, &mut Vec<u8>)) -> (Result<i32, Errno>, Vec<String>) {
    let lab = lab();
    lab.dm().create(&name("a"), &Default::default()).unwrap();
    let mut payload = encode_load_payload(&[zero(0), zero(8)]);
    let mut header = header((HEADER_SIZE + payload.len()) as u32);
    header.set_name(b"a").unwrap();
    header.set_target_count(2);
    change(&mut header, &mut payload);
    let mut buf = [&header.as_bytes()[..], &payload].concat();
    let answer = raw(&lab, Command::TableLoad.request(), &mut buf);
    let info = lab.dm().info(&id("a"), Default::default()).unwrap();
    assert_eq!(info.has_inactive_table(), answer.0.is_ok());
    answer
}

#[test]
fn table_loads_that_are_sound() {
    assert_eq!(load_damaged(|_, _| {}), (Ok(0), vec![]));
}

#[test]
fn target_counts() {
    let none = load_damaged(|header, _| header.set_target_count(0));
    assert_eq!(none, (Err(Errno::EINVAL), lines(&["populate_table: no targets specified"])));
    let many = load_damaged(|header, _| header.set_target_count(1_048_577));
    assert_eq!(many, (Err(Errno::EOVERFLOW), vec![]));
}

#[test]
fn places_of_the_first_spec() {
    for start in [0u32, 305] {
        let line = format!("populate_table: next target spec (offset {start}) overlaps 'struct dm_ioctl'");
        assert_eq!(load_damaged(|header, _| header.set_data_start(start)), (Err(Errno::EINVAL), vec![line]));
    }
    let unaligned = load_damaged(|header, _| header.set_data_start(316));
    let want = ["Next dm_target_spec (offset 316) is not 8-byte aligned", "unable to find target"];
    assert_eq!(unaligned, (Err(Errno::EINVAL), lines(&want)));
    let beyond =
        load_damaged(|header, payload| header.set_data_start((HEADER_SIZE + payload.len() - 40) as u32));
    let want = ["Target spec extends beyond end of parameters", "unable to find target"];
    assert_eq!(beyond, (Err(Errno::EINVAL), lines(&want)));
}

#[test]
fn a_second_spec_inside_the_first() {
    let (result, log) = load_damaged(|_, payload| payload[20..24].copy_from_slice(&8u32.to_le_bytes()));
    assert_eq!(result, Err(Errno::EINVAL));
    assert_eq!(log, ["populate_table: next target spec (offset 8) overlaps previous target"]);
}

#[test]
fn parameters_without_an_end() {
    let (result, log) = load_damaged(|header, payload| {
        header.set_target_count(1);
        payload[40..].fill(b'x');
    });
    assert_eq!(result, Err(Errno::EINVAL));
    assert_eq!(log, ["populate_table: target parameters not NUL-terminated"]);
}

/// One of the commands that carry a string, about device "a".
fn with_string(command: Command, data_start: u32, text: &[u8]) -> (Result<i32, Errno>, Vec<String>) {
    let lab = lab();
    create(&mut lab.dm(), "a", "0 8 zero");
    let mut header = header((HEADER_SIZE + text.len()) as u32);
    header.set_name(b"a").unwrap();
    header.set_data_start(data_start);
    raw(&lab, command.request(), &mut [&header.as_bytes()[..], text].concat())
}

#[test]
fn strings_in_the_wrong_place() {
    let bad = lines(&["Invalid new mapped device name or uuid string supplied."]);
    for (start, text) in [(304u32, &b"new\0"[..]), (4000, b"new\0"), (312, &[b'x'; 128]), (312, b"new")] {
        assert_eq!(
            with_string(Command::DevRename, start, text),
            (Err(Errno::EINVAL), bad.clone()),
            "{start}"
        );
    }
    let message = with_string(Command::TargetMsg, 300, b"\0\0\0\0\0\0\0\0x\0");
    assert_eq!(message, (Err(Errno::EINVAL), lines(&["Invalid target message parameters."])));
    let geometry = with_string(Command::DevSetGeometry, 4000, b"1 1 1 0\0");
    assert_eq!(geometry, (Err(Errno::EINVAL), lines(&["Invalid geometry supplied."])));
}

#[test]
fn rename_by_uuid() {
    let lab = lab();
    let options =
        dmlab_control::CreateOptions { uuid: Some(dmlab_units::DmUuid::new("U").unwrap()), minor: None };
    lab.dm().create(&name("a"), &options).unwrap();
    let mut header = header(HEADER_SIZE as u32 + 8);
    header.set_uuid(b"U").unwrap();
    let answer =
        raw(&lab, Command::DevRename.request(), &mut [&header.as_bytes()[..], b"newname\0"].concat());
    assert_eq!(answer, (Err(Errno::ENXIO), lines(&["Unable to rename non-existent device,  to newname"])));
}

#[test]
fn a_list_of_statistics_that_does_not_fit() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 100 zero");
    dm.message(&id("a"), Sector(0), "@stats_create - 10").unwrap();
    dm.message(&id("a"), Sector(0), "@stats_create - 10").unwrap();
    let text = b"\0\0\0\0\0\0\0\0@stats_list\0";
    let mut header = header((HEADER_SIZE + text.len()) as u32);
    header.set_name(b"a").unwrap();
    // Two lines of 16 bytes don't fit the 20 bytes behind the struct.
    let mut small = [&header.as_bytes()[..], text].concat();
    assert_eq!(raw(&lab, Command::TargetMsg.request(), &mut small), (Ok(0), vec![]));
    let reply = Header::decode(&small).unwrap();
    assert_eq!(reply.flags().bits(), 0x10120);
    assert_eq!(reply.data_size(), 305);
}

#[test]
fn lists_need_eight_bytes_even_when_empty() {
    let lab = lab();
    for (size, full) in [(319usize, true), (320, false)] {
        let mut buf = buffer(&header(size as u32), size);
        assert_eq!(raw(&lab, Command::ListDevices.request(), &mut buf).0, Ok(0));
        let reply = Header::decode(&buf).unwrap();
        assert_eq!(reply.flags().contains(DmFlags::BUFFER_FULL), full, "{size}");
        assert_eq!(reply.data_size(), if full { 305 } else { 312 });
    }
}

#[test]
fn a_failing_secure_command_leaves_zeros() {
    let lab = lab();
    let mut header = header(400);
    header.set_flags(DmFlags::SECURE_DATA);
    header.set_name(b"nosuch").unwrap();
    let mut buf = buffer(&header, 400);
    buf[350..].fill(7);
    assert_eq!(raw(&lab, Command::TableStatus.request(), &mut buf).0, Err(Errno::ENXIO));
    assert!(buf.iter().all(|&b| b == 0), "keys stay in the caller's buffer");
}

#[test]
fn nobody_but_root_gets_in() {
    let lab = lab();
    let mut buf = buffer(&header(312), 312);
    assert_eq!(lab.ioctl_unprivileged(Command::Version.request(), &mut buf), Err(Errno::EACCES));
    assert_eq!(version_of(&buf), [4, 0, 0], "not even the version is written");
}
