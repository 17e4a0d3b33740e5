use super::*;
use crate::{Refusal, TransportError, Zero};
use dmlab_abi::{HEADER_SIZE, Header, NameEntry, encode_names};
use dmlab_units::{Errno, Sectors};

/// A kernel of canned answers that writes down what it was asked.
#[derive(Default)]
struct Canned {
    asked: Vec<(u32, Vec<u8>)>,
    answers: Vec<Answer>,
    log: Vec<String>,
}

type Answer = Box<dyn Fn(&mut Vec<u8>) -> Result<i32, Errno>>;

impl Transport for Canned {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        // Enough for every test here; one of them asks for a gibibyte.
        self.asked.push((request, buf[..buf.len().min(1 << 17)].to_vec()));
        assert_eq!(Header::decode(buf).unwrap().data_size() as usize, buf.len());
        if self.answers.is_empty() {
            return Ok(Ok(0));
        }
        Ok(self.answers.remove(0)(buf))
    }

    fn log_position(&mut self) -> Option<u64> {
        Some(0)
    }

    fn log_since(&mut self, _: u64) -> Vec<String> {
        self.log.clone()
    }
}

fn name(text: &str) -> DmName {
    DmName::new(text).unwrap()
}

fn answering(answers: Vec<Answer>) -> Dm<Canned> {
    Dm::new(Canned { answers, ..Canned::default() })
}

fn reply(buf: &mut [u8], payload: &[u8], flags: DmFlags) -> Result<i32, Errno> {
    let mut header = Header::decode(buf).unwrap();
    header.set_flags(header.flags() | flags);
    header.set_data_start(HEADER_SIZE as u32);
    header.set_data_size((HEADER_SIZE + payload.len()) as u32);
    buf[..HEADER_SIZE].copy_from_slice(header.as_bytes());
    buf[HEADER_SIZE..HEADER_SIZE + payload.len()].copy_from_slice(payload);
    Ok(0)
}

#[test]
fn a_create_asks_for_its_minor() {
    let mut dm = answering(vec![]);
    let options = CreateOptions { uuid: Some(DmUuid::new("U").unwrap()), minor: Some(300) };
    dm.create(&name("a"), &options).unwrap();
    let (request, bytes) = &dm.transport().asked[0];
    let header = Header::decode(bytes).unwrap();
    assert_eq!(*request, 0xc138_fd03);
    assert_eq!((header.name(), header.uuid()), (&b"a"[..], &b"U"[..]));
    assert_eq!(header.flags(), DmFlags::PERSISTENT_DEV);
    assert_eq!(header.dev_huge(), DevT::new(0, 300).to_huge());
}

#[test]
fn a_reply_that_does_not_fit_is_asked_for_in_twice_the_room() {
    let entries = [NameEntry { dev: DevT::new(254, 0), name: b"a".to_vec(), event_nr: 3, uuid: Some(None) }];
    let payload = encode_names(&entries);
    let mut dm = answering(vec![
        Box::new(|buf| reply(buf, &[], DmFlags::BUFFER_FULL)),
        Box::new(|buf| reply(buf, &[], DmFlags::BUFFER_FULL)),
        Box::new(move |buf| reply(buf, &payload, DmFlags::empty())),
    ]);
    let list = dm.list().unwrap();
    assert_eq!(list, [ListedDevice { dev: DevT::new(254, 0), name: b"a".to_vec(), uuid: None, event_nr: 3 }]);
    let sizes: Vec<usize> = dm.transport().asked.iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sizes, [16384, 32768, 65536]);
}

#[test]
fn a_kernel_that_is_never_satisfied_is_given_up() {
    let full = || -> Answer { Box::new(|buf| reply(buf, &[], DmFlags::BUFFER_FULL)) };
    let mut dm = answering((0..40).map(|_| full()).collect());
    assert!(matches!(dm.versions(), Err(Error::TooLarge { bytes: 0x4000_0000, .. })));
}

#[test]
fn a_refusal_tells_command_device_errno_and_log() {
    let mut dm = answering(vec![Box::new(|_| Err(Errno::EINVAL))]);
    dm.transport().log = vec!["device-mapper: table: 254:0: zero-length target".into()];
    let table = Table::new().then(Sectors(0), Zero);
    let error = dm.load(&DeviceId::from(&name("a")), &table, LoadOptions::default()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL));
    let text = "reload ioctl on a failed: Invalid argument (EINVAL)\n  device-mapper: table: 254:0: zero-length target";
    assert_eq!(error.to_string(), text);
    let Error::Refused(refusal) = error else { panic!("not refused") };
    assert!(matches!(*refusal, Refusal { command: "reload", .. }));
}

#[test]
fn a_message_tells_its_three_outcomes() {
    let mut dm = answering(vec![
        Box::new(|buf| reply(buf, b"0\0", DmFlags::DATA_OUT)),
        Box::new(|_| Ok(2)),
        Box::new(|buf| reply(buf, &[], DmFlags::empty())),
    ]);
    let id = DeviceId::from(&name("a"));
    assert_eq!(dm.message(&id, Sector(7), "x y").unwrap(), MessageReply::Text(b"0".to_vec()));
    assert_eq!(dm.message(&id, Sector(0), "x").unwrap(), MessageReply::NoTable);
    assert_eq!(dm.message(&id, Sector(0), "x").unwrap(), MessageReply::Done);
    assert_eq!(dm.transport().asked[0].1[312..324], *b"\x07\0\0\0\0\0\0\0x y\0");
}

#[test]
fn a_refused_table_takes_its_new_device_along() {
    let mut dm = answering(vec![Box::new(|_| Ok(0)), Box::new(|_| Err(Errno::EINVAL))]);
    let table = Table::new().then(Sectors(8), Zero);
    let load = LoadOptions { read_only: true, secure: true };
    let error = dm.create_with_table(&name("a"), &CreateOptions::default(), &table, load).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL));
    let asked: Vec<u32> = dm.transport().asked.iter().map(|(request, _)| request & 0xff).collect();
    assert_eq!(asked, [3, 9, 4]);
    let load = Header::decode(&dm.transport().asked[1].1).unwrap();
    assert_eq!(load.flags(), DmFlags::READONLY | DmFlags::SECURE_DATA);
    assert_eq!(load.target_count(), 1);
}

#[test]
fn every_command_has_its_number_and_version() {
    let mut dm = answering(vec![]);
    let id = DeviceId::from(&name("a"));
    dm.version().unwrap();
    dm.remove_all(true).unwrap();
    dm.list().unwrap();
    dm.remove(&id, true).unwrap();
    dm.rename(&name("a"), &name("b")).unwrap();
    dm.set_uuid(&name("a"), &DmUuid::new("U").unwrap()).unwrap();
    dm.suspend(&id, SuspendOptions { noflush: true, skip_lockfs: true }).unwrap();
    dm.info(&id, Query::default()).unwrap();
    dm.wait(&id, 5, Query::default()).unwrap();
    dm.clear(&id).unwrap();
    dm.deps(&id, Query { inactive: true, noflush: false }).unwrap();
    dm.table(&id, Query::default()).unwrap();
    dm.versions().unwrap();
    dm.set_geometry(&id, Geometry { cylinders: 1, heads: 2, sectors: 3, start: 4 }).unwrap();
    dm.arm_poll().unwrap();
    dm.target_version(&TargetName::new("zero").unwrap()).unwrap();
    let asked = std::mem::take(&mut dm.transport().asked);
    let numbers: Vec<u32> = asked.iter().map(|(request, _)| request & 0xff).collect();
    assert_eq!(numbers, [0, 1, 2, 4, 5, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17]);
    let header = |i: usize| Header::decode(&asked[i].1).unwrap();
    assert_eq!(header(1).flags(), DmFlags::DEFERRED_REMOVE);
    assert_eq!(asked[4].1[312..], *b"b\0");
    assert_eq!(header(5).flags(), DmFlags::UUID);
    assert_eq!(header(6).flags(), DmFlags::SUSPEND | DmFlags::NOFLUSH | DmFlags::SKIP_LOCKFS);
    assert_eq!(header(8).event_nr(), 5);
    assert_eq!(header(11).flags(), DmFlags::STATUS_TABLE);
    assert_eq!(asked[13].1[312..], *b"1 2 3 4\0");
    assert_eq!(header(14).version(), [4, 36, 0]);
    assert_eq!(header(15).name(), b"zero");
}
