//! Recordings of runs that never happened.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use dmlab::control::{Dm, Transport, TransportError};
use dmlab::machine::{BootOptions, CarriedMemory, IoFlags, Kernel, Machine, OpenMode};
use dmlab::recording::file::MAGIC;
use dmlab::recording::{Call, Changes, Clock, Ended, Header, Recorder, Recording, event::How, replay, show};
use dmlab::units::{Bytes, DevT, DmName, Errno, Sector};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

/// Most events that are replayed: each may be a call of some milliseconds.
const EVENTS_MAX: usize = 400;

/// Takes `bytes` for what is packed in a recording: reads it, shows it, and replays it on a small machine.
pub(crate) fn replay_any(bytes: &[u8]) {
    let mut packed = GzEncoder::new(MAGIC.to_vec(), Compression::none());
    let Ok(packed) = packed.write_all(bytes).and_then(|()| packed.finish()) else { return };
    let Ok(mut recording) = Recording::read(&packed[..]) else { return };
    let mut lines = show::Lines::default();
    for event in &recording.events {
        assert!(!lines.lines(event).is_empty());
    }
    let header = &mut recording.header;
    // What a machine is made of is the user's to say, as with `run`: a large one takes its time.
    header.ram_disks = header.ram_disks.min(2);
    recording.events.truncate(EVENTS_MAX);
    // It may not boot, and it may come out otherwise.
    let _ = replay(&recording, &Changes::default(), |_| {});
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A control node whose calls are recorded.
struct Control<'a> {
    recorder: &'a Recorder,
    machine: &'a Machine,
}

impl Transport for Control<'_> {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        let (sent, room) = (buf.clone(), Bytes(buf.len() as u64));
        Ok(self.recorder.call(1, Call::Ioctl { file: 0, request, argument: 0, sent, room }, |_| {
            let mut memory = CarriedMemory::new(buf.clone(), buf.len(), false);
            let kernel = Kernel(self.machine.registry());
            let result = self.machine.open_control().ioctl(&kernel, request, &mut memory);
            let (begin, written) = memory.written();
            buf[begin..begin + written.len()].copy_from_slice(written);
            let written = (begin as u64, written.to_vec());
            (result, Ended { written, ..Ended::with(result.map(i64::from)) })
        }))
    }
}

/// A device is made, written, read and removed.
fn record() -> io::Result<Vec<u8>> {
    let header = Header {
        made_by: "0".to_owned(),
        command: vec!["sample".to_owned()],
        kernel: "6.12".to_owned(),
        seed: 1,
        clock: Clock::Virtual,
        ram_disks: 2,
        ram_disk_size: Bytes::mib(1),
        disks: Vec::new(),
        parameters: Vec::new(),
        faults: None,
    };
    let memory = Memory::default();
    let recorder = Recorder::begin(Box::new(memory.clone()), &header);
    let options = BootOptions {
        ram_disks: 2,
        ram_disk_size: Bytes::mib(1),
        seed: 1,
        driver: recorder.driver().clone(),
        ..BootOptions::default()
    };
    let machine = Machine::boot(options).map_err(io::Error::other)?;
    recorder.watch(&machine);
    let mut dm = Dm::new(Control { recorder: &recorder, machine: &machine });
    let name = DmName::new("a").map_err(io::Error::other)?;
    let table = "0 64 linear 1:0 8".parse().map_err(io::Error::other)?;
    dm.create_with_table(&name, &Default::default(), &table, Default::default()).map_err(io::Error::other)?;
    let id = (&name).into();
    dm.message(&id, Sector(0), "hello").err();
    let (dev, mode) = (DevT::new(254, 0), OpenMode::READ | OpenMode::WRITE);
    let block = recorder
        .call(1, Call::OpenBlock { file: 1, dev, mode: mode.bits() }, |_| {
            let block = machine.open_block(dev, mode);
            let ended = Ended::with(block.as_ref().map(|_| 0).map_err(|errno| *errno));
            (block, ended)
        })
        .map_err(io::Error::other)?;
    let data = vec![7; 512];
    recorder.call(1, Call::Write { file: 1, at: Bytes(0), data: data.clone(), how: How::default() }, |_| {
        ((), Ended::with(block.write_at(0, &data, IoFlags::default()).map(|put| put as i64)))
    });
    recorder.call(1, Call::Sync { file: 1 }, |_| ((), Ended::with(block.sync().map(|()| 0))));
    recorder.call(0, Call::Close { file: 1 }, |_| {
        drop(block);
        ((), Ended::with(Ok(0)))
    });
    dm.remove(&id, false).map_err(io::Error::other)?;
    recorder.finish()?;
    let packed = memory.0.lock().clone();
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[MAGIC.len()..]).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What was packed in a recording, and its beginning.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    let whole = SAMPLE.get_or_init(|| record().expect("a sample can be recorded"));
    vec![whole.clone(), whole[..whole.len() / 2].to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_replays_as_recorded() {
        let mut packed = GzEncoder::new(MAGIC.to_vec(), Compression::fast());
        packed.write_all(&samples()[0]).unwrap();
        let recording = Recording::read(&packed.finish().unwrap()[..]).unwrap();
        let replayed = replay(&recording, &Changes::default(), |_| {}).unwrap();
        assert_eq!(replayed.divergence, None);
        assert_eq!(recording.cut_off, None);
        assert!(replayed.calls > 6 && replayed.bios > 4, "{replayed:?}");
    }
}
