//! Recordings of runs that never happened.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use dmlab::control::{Dm, Transport, TransportError};
use dmlab::machine::{
    BootOptions, Caller, CarriedMemory, Interrupt, IoFlags, Kernel as Inside, Machine, OpenMode,
};
use dmlab::recording::file::MAGIC;
use dmlab::recording::kernel_calls::{Backing, Kernel, KernelFile, Node, Program};
use dmlab::recording::{Changes, Header, RecordedKernel, Recorder, Recording, Time, replay, show};
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

/// A program in this process, with a control node whose calls are recorded.
struct Control<'a> {
    kernel: &'a dyn Kernel,
    file: Box<dyn KernelFile>,
    interrupt: Interrupt,
}

impl Program for Control<'_> {
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        Inside(self.kernel.machine().registry()).lookup_bdev(path)
    }

    fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    fn backing(&self, _fd: i32) -> Result<Backing, Errno> {
        Err(Errno::EBADF)
    }
}

impl Transport for Control<'_> {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        let mut memory = CarriedMemory::new(buf.clone(), buf.len(), false);
        let result = self.file.ioctl(1, (request, 0), &mut memory, self);
        let (begin, written) = memory.written();
        buf[begin..begin + written.len()].copy_from_slice(written);
        Ok(result)
    }
}

/// A device is made, written, read and removed.
fn record() -> io::Result<Vec<u8>> {
    let header = Header {
        made_by: "0".to_owned(),
        command: vec!["sample".to_owned()],
        kernel: "6.12".to_owned(),
        seed: 1,
        clock: Time::Virtual,
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
    let kernel = RecordedKernel::new(machine, recorder);
    let (file, interrupt) = (kernel.own_control(), Interrupt::default());
    let mut dm = Dm::new(Control { kernel: &kernel, file, interrupt });
    let name = DmName::new("a").map_err(io::Error::other)?;
    let table = "0 64 linear 1:0 8".parse().map_err(io::Error::other)?;
    dm.create_with_table(&name, &Default::default(), &table, Default::default()).map_err(io::Error::other)?;
    let id = (&name).into();
    dm.message(&id, Sector(0), "hello").err();
    let (dev, mode) = (DevT::new(254, 0), OpenMode::READ | OpenMode::WRITE);
    let block = kernel.open(1, Node::Block { dev, mode }).map_err(io::Error::other)?;
    block.write(1, Bytes(0), &[7; 512], IoFlags::default()).map_err(io::Error::other)?;
    block.sync(1).map_err(io::Error::other)?;
    drop(block);
    dm.remove(&id, false).map_err(io::Error::other)?;
    kernel.finish()?;
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
