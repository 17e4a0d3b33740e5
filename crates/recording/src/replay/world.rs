//! What is around the machine of a replay: open files, and programs that answer as they did.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::{Arc, Weak};

use dmlab_machine::{
    BlockFile, Caller, CarriedMemory, ControlFile, DeviceBacking, FileBacking, Interrupt, Interrupted,
    LoopBacking, Machine, OpenMode, interruptible,
};
use dmlab_shim_proto::STAGING_LIMIT;
use dmlab_units::{Bytes, DevT, Errno};
use parking_lot::Mutex;

use super::Seen;
use crate::event::{Answer, Backing, Call, Ended, Event, Host};
use crate::file::Recording;

/// What an open file is open on.
enum Open {
    Control(ControlFile),
    Block(BlockFile),
    LoopControl,
}

/// Sizes of files under loop devices as they were seen, by the file's number.
type Sizes = Arc<Mutex<BTreeMap<u64, VecDeque<Result<Bytes, Errno>>>>>;

/// The world of a replay.
pub(super) struct World {
    machine: Machine,
    seen: Seen,
    /// Files that something stands on, by what they were: two loop devices may share one.
    files: Mutex<BTreeMap<(u64, u64), Weak<File>>>,
    /// Those of disks, which stay.
    _disks: Vec<Arc<File>>,
    open: Mutex<BTreeMap<u64, Arc<Open>>>,
    answers: Mutex<BTreeMap<u64, VecDeque<Answer>>>,
    sizes: Sizes,
    interrupts: Mutex<BTreeMap<u64, Interrupt>>,
}

impl World {
    /// `disks` are the files that the disks of `machine` stand on, in their order.
    pub(super) fn new(machine: &Machine, recording: &Recording, disks: Vec<Arc<File>>, seen: Seen) -> World {
        let mut answers = BTreeMap::<u64, VecDeque<Answer>>::new();
        let mut sizes = BTreeMap::<u64, VecDeque<_>>::new();
        for event in &recording.events {
            match event {
                Event::Told { call, answer } => answers.entry(*call).or_default().push_back(answer.clone()),
                Event::Size { number, size } => sizes.entry(*number).or_default().push_back(*size),
                _ => {}
            }
        }
        // dmlab's own commands need not open the control node.
        let own = Arc::new(Open::Control(machine.open_control()));
        let hosts = recording.header.disks.iter().zip(&disks);
        let files = hosts.map(|(host, file)| (host.identity, Arc::downgrade(file))).collect();
        World {
            machine: machine.clone(),
            seen,
            files: Mutex::new(files),
            _disks: disks,
            open: Mutex::new(BTreeMap::from([(0, own)])),
            answers: Mutex::new(answers),
            sizes: Arc::new(Mutex::new(sizes)),
            interrupts: Mutex::default(),
        }
    }

    /// What interrupts a client's waits.
    pub(super) fn interrupt(&self, client: u64) -> Interrupt {
        self.interrupts.lock().entry(client).or_default().clone()
    }

    /// A file with what was in it; the same one again while something stands on it.
    fn restored(&self, host: &Host) -> std::io::Result<Arc<File>> {
        let mut files = self.files.lock();
        if let Some(file) = files.get(&host.identity).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = Arc::new(host.contents.to_file()?);
        files.insert(host.identity, Arc::downgrade(&file));
        Ok(file)
    }

    fn file(&self, number: u64) -> Result<Arc<Open>, Errno> {
        self.open.lock().get(&number).cloned().ok_or(Errno::EBADF)
    }

    /// Makes a call.
    pub(super) fn perform(&self, call: u64, client: u64, what: &Call) -> Ended {
        let interrupt = self.interrupt(client);
        match what {
            Call::Ioctl { file, request, argument, sent, room } => {
                let program = Program { world: self, call, interrupt: &interrupt };
                let mut memory = carried(sent, *room);
                let result = self.file(*file).and_then(|open| match &*open {
                    Open::Control(control) => control.ioctl(&program, *request, &mut memory),
                    Open::Block(block) => block.ioctl(&program, *request, *argument, &mut memory),
                    Open::LoopControl => self.machine.loops().ioctl(*request, *argument),
                });
                let (begin, written) = memory.written();
                let written = (begin as u64, written.to_vec());
                Ended { written, ..Ended::with(result.map(i64::from)) }
            }
            Call::Read { file, at, len, how } => {
                let mut buffer = vec![0; len.0.min(READ_MAX) as usize];
                let result = self.block(*file, |block| block.read_at(at.0, &mut buffer, (*how).into()));
                let sum = result.ok().map(|got| crc32c::crc32c(&buffer[..got.min(buffer.len())]));
                Ended { sum, ..Ended::with(result.map(|got| got as i64)) }
            }
            _ => Ended::with(self.plain(what, &interrupt)),
        }
    }

    /// A call that brings nothing but its result.
    fn plain(&self, what: &Call, interrupt: &Interrupt) -> Result<i64, Errno> {
        let add = |file: u64, open: Open| {
            self.open.lock().insert(file, Arc::new(open));
            Ok(0)
        };
        match what {
            Call::OpenControl { file } => add(*file, Open::Control(self.machine.open_control())),
            Call::OpenLoopControl { file } => add(*file, Open::LoopControl),
            Call::OpenBlock { file, dev, mode } => {
                let block = self.machine.open_block(*dev, OpenMode::from_bits_truncate(*mode))?;
                add(*file, Open::Block(block))
            }
            Call::Close { file } => {
                let open = self.open.lock().remove(file);
                // Without the lock: it may wait for what is written back.
                open.map(drop).map(|()| 0).ok_or(Errno::EBADF)
            }
            Call::Write { file, at, data, how } => {
                self.block(*file, |block| block.write_at(at.0, data, (*how).into())).map(|put| put as i64)
            }
            Call::WriteBack { file, start, end } => {
                self.block(*file, |block| block.write_back(start.0..end.0)).map(|()| 0)
            }
            Call::Sync { file } => self.block(*file, BlockFile::sync).map(|()| 0),
            Call::Fallocate { file, mode, offset, len } => {
                self.block(*file, |block| block.fallocate(*mode, *offset, *len)).map(|()| 0)
            }
            Call::Sleep { time } => {
                let runtime = self.machine.runtime();
                let until = runtime.now() + *time;
                let slept = runtime.block_on(interruptible(Some(interrupt), runtime.sleep_until(until)));
                // What took it back is over with it.
                interrupt.clear();
                match slept {
                    Ok(Ok(())) => Ok(0),
                    Ok(Err(Interrupted)) => Ok(left(until.saturating_since(runtime.now()))),
                    Err(_) => Err(Errno::EDEADLK),
                }
            }
            Call::Ioctl { .. } | Call::Read { .. } => Err(Errno::EINVAL),
        }
    }

    fn block<T>(&self, file: u64, work: impl FnOnce(&BlockFile) -> Result<T, Errno>) -> Result<T, Errno> {
        match &*self.file(file)? {
            Open::Block(block) => work(block),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// What an interrupted sleep returns: nanoseconds, a moment at least.
fn left(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).max(1)
}

/// Most room that answers of a recorded call can have had, and most that one read can ask for.
const ROOM_MAX: u64 = 1 << 24;
const READ_MAX: u64 = 1 << 32;

/// A program's memory as it was carried to the recorded machine.
fn carried(sent: &[u8], room: Bytes) -> CarriedMemory {
    let is_cut = sent.len() as u64 >= STAGING_LIMIT;
    CarriedMemory::new(sent.to_vec(), room.0.min(ROOM_MAX) as usize, is_cut)
}

/// The program behind a call.
struct Program<'a> {
    world: &'a World,
    call: u64,
    interrupt: &'a Interrupt,
}

impl Program<'_> {
    /// The next answer that it gave in this call, if it is one to this question. What is asked is seen by the replay, so a
    /// question that was not asked then is a difference.
    fn answer<T>(&self, fits: impl FnOnce(&Answer) -> Option<T>) -> Option<T> {
        let mut answers = self.world.answers.lock();
        let answers = answers.get_mut(&self.call)?;
        let found = fits(answers.front()?)?;
        answers.pop_front();
        Some(found)
    }

    fn saw(&self, answer: Answer) {
        self.world.seen.push(Event::Told { call: self.call, answer });
    }

    fn backing(&self, backing: Backing) -> Result<Arc<dyn LoopBacking>, Errno> {
        match backing {
            Backing::Device { dev, mode } => {
                let block = self.world.machine.open_block(dev, OpenMode::from_bits_truncate(mode))?;
                Ok(Arc::new(DeviceBacking::new(block)))
            }
            Backing::Host { number, host, path } => {
                let shared = self.world.restored(&host).map_err(|_| Errno::EIO)?;
                let file = shared.try_clone().map_err(|_| Errno::EIO)?;
                let file = FileBacking::new(file, path, host.is_read_only);
                let (sizes, seen) = (self.world.sizes.clone(), self.world.seen.clone());
                Ok(Arc::new(RestoredFile { file, shared, number, identity: host.identity, sizes, seen }))
            }
        }
    }
}

impl Caller for Program<'_> {
    /// What the path named then. A path that was not asked for then names nothing.
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        let fits = |answer: &Answer| match answer {
            Answer::Path { path: known, dev } if known == path => Some(*dev),
            _ => None,
        };
        let dev = self.answer(fits).unwrap_or(Err(Errno::ENOENT));
        self.saw(Answer::Path { path: path.to_vec(), dev });
        dev
    }

    fn interrupt(&self) -> Option<&Interrupt> {
        Some(self.interrupt)
    }

    fn backing_file(&self, _fd: i32) -> Result<Arc<dyn LoopBacking>, Errno> {
        let fits = |answer: &Answer| match answer {
            Answer::Backing(backing) => Some(backing.clone()),
            Answer::Path { .. } => None,
        };
        let backing = self.answer(fits).unwrap_or(Err(Errno::EBADF));
        self.saw(Answer::Backing(backing.clone()));
        self.backing(backing?)
    }
}

/// A file that was under a loop device, in memory.
struct RestoredFile {
    file: FileBacking,
    /// The file in memory, which others may stand on too.
    shared: Arc<File>,
    number: u64,
    identity: (u64, u64),
    sizes: Sizes,
    seen: Seen,
}

impl LoopBacking for RestoredFile {
    /// The size as it was then: another may have made the file longer.
    fn size(&self) -> Result<u64, Errno> {
        let recorded = self.sizes.lock().get_mut(&self.number).and_then(VecDeque::pop_front);
        let size = match recorded {
            Some(Ok(size)) => self.shared.set_len(size.0).map(|()| size).map_err(|_| Errno::EIO),
            Some(Err(errno)) => Err(errno),
            None => self.file.size().map(Bytes),
        };
        self.seen.push(Event::Size { number: self.number, size });
        size.map(|size| size.0)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.file.write_at(offset, buf)
    }

    fn sync(&self) -> Result<(), Errno> {
        self.file.sync()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.file.punch_hole(offset, len)
    }

    fn is_read_only(&self) -> bool {
        self.file.is_read_only()
    }

    fn path(&self) -> Vec<u8> {
        self.file.path()
    }

    fn identity(&self) -> (u64, u64) {
        self.identity
    }
}
