//! What is around the machine of a replay: open files, and programs that answer as they did.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use dmlab_machine::{
    BlockFile, Caller, CarriedMemory, ControlFile, DeviceBacking, FileBacking, Interrupt, Interrupted,
    LoopBacking, Machine, OpenMode, interruptible,
};
use dmlab_shim_proto::STAGING_LIMIT;
use dmlab_units::{DevT, Errno};
use parking_lot::Mutex;

use crate::event::{Answer, Backing, Call, Ended, Event};

/// What an open file is open on.
enum Open {
    Control(ControlFile),
    Block(BlockFile),
    LoopControl,
}

/// The world of a replay.
pub(super) struct World {
    machine: Machine,
    open: Mutex<BTreeMap<u64, Arc<Open>>>,
    answers: Mutex<BTreeMap<u64, VecDeque<Answer>>>,
    sizes: Arc<Mutex<BTreeMap<u64, VecDeque<Result<u64, Errno>>>>>,
    interrupts: Mutex<BTreeMap<u64, Interrupt>>,
}

impl World {
    pub(super) fn new(machine: Machine, events: &[Event]) -> World {
        let mut answers = BTreeMap::<u64, VecDeque<Answer>>::new();
        let mut sizes = BTreeMap::<u64, VecDeque<_>>::new();
        for event in events {
            match event {
                Event::Told { call, answer } => answers.entry(*call).or_default().push_back(answer.clone()),
                Event::Size { number, size } => sizes.entry(*number).or_default().push_back(*size),
                _ => {}
            }
        }
        // dmlab's own commands need not open the control node.
        let own = Arc::new(Open::Control(machine.open_control()));
        World {
            machine,
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
                let mut buffer = vec![0; *len as usize];
                let result = self.block(*file, |block| block.read_at(*at, &mut buffer, (*how).into()));
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
                self.block(*file, |block| block.write_at(*at, data, (*how).into())).map(|put| put as i64)
            }
            Call::Sync { file } => self.block(*file, BlockFile::sync).map(|()| 0),
            Call::Fallocate { file, mode, offset, len } => {
                self.block(*file, |block| block.fallocate(*mode, *offset, *len)).map(|()| 0)
            }
            Call::Sleep { nanos } => {
                let runtime = self.machine.runtime();
                let until = runtime.now() + std::time::Duration::from_nanos(*nanos);
                let slept = interruptible(Some(interrupt), runtime.sleep_until(until));
                match runtime.block_on(slept) {
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

/// Most room that answers of a recorded call can have had.
const ROOM_MAX: u64 = 1 << 24;

/// A program's memory as it was carried to the recorded machine.
fn carried(sent: &[u8], room: u64) -> CarriedMemory {
    let is_cut = sent.len() as u64 >= STAGING_LIMIT;
    CarriedMemory::new(sent.to_vec(), room.min(ROOM_MAX) as usize, is_cut)
}

/// The program behind a call.
struct Program<'a> {
    world: &'a World,
    call: u64,
    interrupt: &'a Interrupt,
}

impl Program<'_> {
    /// The next answer that it gave in this call, if it is one to this question.
    fn answer<T>(&self, fits: impl FnOnce(&Answer) -> Option<T>) -> Option<T> {
        let mut answers = self.world.answers.lock();
        let answers = answers.get_mut(&self.call)?;
        let found = fits(answers.front()?)?;
        answers.pop_front();
        Some(found)
    }

    fn backing(&self, backing: Backing) -> Result<Arc<dyn LoopBacking>, Errno> {
        match backing {
            Backing::Device { dev, mode } => {
                let block = self.world.machine.open_block(dev, OpenMode::from_bits_truncate(mode))?;
                Ok(Arc::new(DeviceBacking::new(block)))
            }
            Backing::Host { number, host, path, identity } => {
                let file = host.contents.to_file().map_err(|_| Errno::EIO)?;
                let resized = file.try_clone().map_err(|_| Errno::EIO)?;
                let file = FileBacking::new(file, path, host.is_read_only);
                Ok(Arc::new(RestoredFile {
                    file,
                    resized,
                    number,
                    identity,
                    sizes: self.world.sizes.clone(),
                }))
            }
        }
    }
}

impl Caller for Program<'_> {
    /// What the path named then. A path that nobody asked for then names nothing.
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        let fits = |answer: &Answer| match answer {
            Answer::Path { path: known, dev } if known == path => Some(*dev),
            _ => None,
        };
        self.answer(fits).unwrap_or(Err(Errno::ENOENT))
    }

    fn interrupt(&self) -> Option<&Interrupt> {
        Some(self.interrupt)
    }

    fn backing_file(&self, _fd: i32) -> Result<Arc<dyn LoopBacking>, Errno> {
        let fits = |answer: &Answer| match answer {
            Answer::Backing(backing) => Some(backing.clone()),
            Answer::Path { .. } => None,
        };
        self.backing(self.answer(fits).unwrap_or(Err(Errno::EBADF))?)
    }
}

/// A file that was under a loop device, in memory.
struct RestoredFile {
    file: FileBacking,
    /// The same, for its size.
    resized: File,
    number: u64,
    identity: (u64, u64),
    sizes: Arc<Mutex<BTreeMap<u64, VecDeque<Result<u64, Errno>>>>>,
}

impl LoopBacking for RestoredFile {
    /// As it was then: somebody else may have made it longer.
    fn size(&self) -> Result<u64, Errno> {
        let recorded = self.sizes.lock().get_mut(&self.number).and_then(VecDeque::pop_front);
        match recorded {
            Some(Ok(size)) => {
                self.resized.set_len(size).map_err(|_| Errno::EIO)?;
                Ok(size)
            }
            Some(Err(errno)) => Err(errno),
            None => self.file.size(),
        }
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
