//! Logs of log-writes with wrong bytes.

use dmlab::Lab;
use dmlab_control::{CreateOptions, DeviceId, LoadOptions};
use dmlab_replay_log::{Log, Stop, find, replay};
use dmlab_units::{DmName, Sector, Sectors};
use std::sync::OnceLock;

/// Bytes of the disk that is replayed onto.
const DISK: usize = 64 * 1024;

/// Takes `bytes` for a log: walks it, looks for things in it, and replays it.
pub(crate) fn replay_any(bytes: &[u8]) {
    let open = || Log::open(bytes.to_vec());
    let Ok(mut log) = open() else { return };
    let mut walked = 0;
    while let Ok(Some(logged)) = log.next_entry() {
        assert_eq!(logged.number, walked);
        walked += 1;
    }
    assert!(walked <= log.nr_entries() && walked <= bytes.len() as u64 / 512);
    for stop in [
        Stop::default(),
        Stop::at_mark("b"),
        Stop { at_fua: true, ..Stop::default() },
        Stop { at_flush: true, limit: Some(3), ignores_discards: true, ..Stop::default() },
    ] {
        let (Ok(mut log), Ok(mut again)) = (open(), open()) else { return };
        let mut disk = vec![0; DISK];
        let replayed = replay(&mut log, &mut disk, &stop);
        if let (Ok(replayed), Ok(found)) = (replayed, find(&mut again, &stop)) {
            assert_eq!(replayed.is_found, found.is_some(), "{stop:?}");
        }
    }
    if let Ok(mut log) = open() {
        let middle = walked / 2;
        assert!(log.seek(middle).is_ok() && log.position() == middle);
    }
}

/// A log that the target wrote, and its beginning.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    let whole = SAMPLE.get_or_init(|| {
        let lab = Lab::new(1);
        let name = DmName::new("l").expect("a valid name");
        let table = "0 128 log-writes /dev/ram0 /dev/ram1".parse().expect("a valid table");
        let made =
            lab.dm().create_with_table(&name, &CreateOptions::default(), &table, LoadOptions::default());
        assert!(made.is_ok(), "no device");
        let id = DeviceId::from(&name);
        for (sector, text) in [(0, "a"), (3, "b"), (90, "c")] {
            lab.write("/dev/mapper/l", Sector(sector), &[sector as u8; 1024]).expect("it takes writes");
            lab.flush("/dev/mapper/l").expect("it takes flushes");
            lab.dm().message(&id, Sector(0), &format!("mark {text}")).expect("it takes marks");
        }
        lab.dm().remove(&id, false).expect("nobody has it open");
        lab.read("/dev/ram1", Sector(0), Sectors(16)).expect("a RAM disk can be read")
    });
    vec![whole.clone(), whole[..2048].to_vec()]
}
