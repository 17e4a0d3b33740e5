//! Persistent snapshot stores: what must be durable before what, and stores whose records are in no order.

use crate::kit;

use std::sync::Arc;

use dmlab_abi::DmFlags;
use dmlab_block::{Bio, BioFlags, BlockDevice, Op, SyncIo, WriteCache};
use dmlab_units::{DevT, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::FaultDisk;

const CHUNK: u64 = 8;
const SIZE: u64 = 4096;

struct Devices {
    kit: Kit,
    cow: Arc<FaultDisk>,
}

impl Devices {
    /// A machine with a disk for the store, and an origin of which each chunk holds its number.
    fn new() -> Devices {
        let kit = Kit::new();
        let (_, cow) = FaultDisk::add_with(&kit, 1, Sectors(SIZE), WriteCache::Volatile);
        let devices = Devices { kit, cow };
        for chunk in 0..16 {
            devices.write(DevT::new(1, 0), chunk, chunk as u8);
        }
        devices
    }

    fn device(&self, dev: DevT) -> Arc<BlockDevice> {
        self.kit.machine.registry().get(dev).unwrap()
    }

    fn write(&self, dev: DevT, chunk: u64, byte: u8) {
        let bytes = [byte; 4096];
        SyncIo::default().submit(&self.device(dev), Bio::write(Sector(chunk * CHUNK), &bytes)).unwrap();
    }

    fn byte(&self, dev: DevT, chunk: u64) -> u8 {
        let mut bytes = [0xee; 512];
        SyncIo::default().read(&self.device(dev), Sector(chunk * CHUNK), &mut bytes, |bio| bio).unwrap();
        bytes[0]
    }

    fn origin(&self) -> DevT {
        self.kit.create("o", "0 1024 snapshot-origin 1:0")
    }

    fn snapshot(&self) -> DevT {
        self.kit.create("s", &format!("0 1024 snapshot 1:0 7:1 P {CHUNK}"))
    }

    /// Writes a store with these records, of origin's chunk and store's chunk; the store's chunks hold 100 and their number.
    fn store(&self, records: &[(u64, u64)]) {
        let store = DevT::new(7, 1);
        let write = |chunk: u64, bytes: &[u8]| {
            let mut whole = [0; 4096];
            whole[..bytes.len()].copy_from_slice(bytes);
            SyncIo::default().submit(&self.device(store), Bio::write(Sector(chunk * CHUNK), &whole)).unwrap();
        };
        write(0, &[&b"SnAp"[..], &[1, 0, 0, 0, 1, 0, 0, 0, CHUNK as u8, 0, 0, 0]].concat());
        let area: Vec<u8> =
            records.iter().flat_map(|(old, new)| [old.to_le_bytes(), new.to_le_bytes()].concat()).collect();
        write(1, &area);
        for &(_, new) in records {
            self.write(store, new, 100 + new as u8);
        }
    }
}

#[test]
fn a_copy_is_durable_before_its_record_and_the_record_before_the_write() {
    let devices = Devices::new();
    let (origin, snapshot) = (devices.origin(), devices.snapshot());
    devices.cow.noted();
    devices.write(origin, 3, 77);
    let noted = devices.cow.noted();
    let copy = noted.iter().position(|noted| noted.op == Op::Write && noted.sector == 2 * CHUNK);
    let record = noted.iter().position(|noted| noted.op == Op::Write && noted.sector == CHUNK);
    let (copy, record) = (copy.expect("the copy"), record.expect("its record"));
    assert!(copy < record, "{noted:?}");
    // Whether by a flush of its own or by the record's flags: nothing is in the cache when the record is written, nor after it.
    let is_flushed = noted[copy..record].iter().any(|noted| noted.op == Op::Flush);
    assert!(is_flushed || noted[record].flags.contains(BioFlags::PREFLUSH), "{noted:?}");
    let follows = noted[record + 1..].iter().any(|noted| noted.op == Op::Flush);
    assert!(follows || noted[record].flags.contains(BioFlags::FUA), "{noted:?}");
    assert_eq!((devices.byte(snapshot, 3), devices.byte(origin, 3)), (3, 77));
}

#[test]
fn new_chunks_of_a_store_come_after_the_highest_of_its_records() {
    for records in [[(5, 3), (7, 2)], [(7, 2), (5, 3)]] {
        let devices = Devices::new();
        devices.store(&records);
        let (origin, snapshot) = (devices.origin(), devices.snapshot());
        assert_eq!((devices.byte(snapshot, 5), devices.byte(snapshot, 7)), (103, 102));
        devices.cow.noted();
        devices.write(origin, 9, 55);
        let copies: Vec<u64> = devices
            .cow
            .noted()
            .iter()
            .filter(|noted| noted.op == Op::Write && noted.sector >= 2 * CHUNK)
            .map(|noted| noted.sector / CHUNK)
            .collect();
        assert_eq!(copies, [4], "{records:?}");
        assert_eq!((devices.byte(snapshot, 5), devices.byte(snapshot, 7)), (103, 102), "{records:?}");
        assert_eq!((devices.byte(snapshot, 9), devices.byte(origin, 9)), (9, 55));
        assert_eq!(devices.kit.status("s", DmFlags::empty()), "0 1024 snapshot 40/4096 16");
    }
}

#[test]
fn a_full_area_is_followed_by_an_empty_one_before_it_counts() {
    // 256 records fill an area of 4096 bytes: the next area is zeroed before the last record of this one is written.
    let devices = Devices::new();
    let kit = &devices.kit;
    let dev = kit.create("big", "0 4096 linear 1:0 0");
    let origin = kit.create("o", &format!("0 4096 snapshot-origin {dev}"));
    let snapshot = kit.create("s", &format!("0 4096 snapshot {dev} 7:1 P {CHUNK}"));
    for chunk in 0..255 {
        devices.write(origin, chunk, 200);
    }
    devices.cow.noted();
    devices.write(origin, 255, 200);
    let written: Vec<u64> = devices
        .cow
        .noted()
        .iter()
        .filter(|noted| noted.op == Op::Write)
        .map(|noted| noted.sector / CHUNK)
        .collect();
    let (zeroed, full) = (written.iter().position(|&c| c == 258), written.iter().position(|&c| c == 1));
    assert!(zeroed.is_some() && zeroed < full, "{written:?}");
    devices.write(origin, 256, 200);
    assert_eq!((devices.byte(snapshot, 3), devices.byte(snapshot, 300)), (3, 0));
    assert!(
        kit.status("s", DmFlags::empty()).starts_with("0 4096 snapshot 2080/4096 "),
        "{}",
        kit.status("s", DmFlags::empty())
    );
}
