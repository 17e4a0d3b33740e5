//! What is around the machine of a replay: open files, and programs that answer as they did.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::{Arc, Weak};

use dmlab_kernel_calls::{Backing, ClockWait, FileCall, Kernel, KernelFile, Node, Program};
use dmlab_machine::{CarriedMemory, FileBacking, Interrupt, LoopBacking, Machine, OpenMode};
use dmlab_shim_proto::STAGING_LIMIT;
use dmlab_units::{Bytes, DevT, Errno};
use parking_lot::Mutex;

use super::Seen;
use crate::event::{self, Answer, Call, Ended, Event, Host};
use crate::file::Recording;

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
    open: Mutex<BTreeMap<u64, Arc<dyn KernelFile>>>,
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
        let own: Arc<dyn KernelFile> = machine.own_control().into();
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

    /// Makes a call.
    pub(super) fn perform(&self, call: u64, client: u64, what: &Call) -> Ended {
        match what {
            Call::OpenControl { file } => self.open(*file, client, Node::Control),
            Call::OpenLoopControl { file } => self.open(*file, client, Node::LoopControl),
            Call::OpenBlock { file, dev, mode } => {
                let mode = OpenMode::from_bits_truncate(*mode);
                self.open(*file, client, Node::Block { dev: *dev, mode })
            }
            Call::Close { file } => {
                let open = self.open.lock().remove(file);
                // Without the lock: it may wait for what is written back.
                Ended::with(open.map(drop).map(|()| 0).ok_or(Errno::EBADF))
            }
            Call::Ioctl { file, request, argument, sent, room } => {
                let program = &Recorded { world: self, call, interrupt: &self.interrupt(client) };
                let (request, argument, memory) = (*request, *argument, &mut carried(sent, *room));
                self.file_call(*file, client, FileCall::Ioctl { request, argument, memory, program })
            }
            Call::Read { file, at, len, how } => {
                let into = &mut vec![0; len.0.min(READ_MAX) as usize];
                self.file_call(*file, client, FileCall::Read { at: *at, into, how: *how })
            }
            Call::Write { file, at, data, how } => {
                self.file_call(*file, client, FileCall::Write { at: *at, from: data, how: *how })
            }
            Call::WriteBack { file, start, end } => {
                self.file_call(*file, client, FileCall::WriteBack { range: start.0..end.0 })
            }
            Call::Sync { file } => self.file_call(*file, client, FileCall::Sync),
            Call::Fallocate { file, mode, offset, len } => {
                let call = FileCall::Fallocate { mode: *mode, offset: *offset, len: *len };
                self.file_call(*file, client, call)
            }
            Call::Sleep { time } => {
                let interrupt = self.interrupt(client);
                let until = self.machine.runtime().now() + *time;
                let slept = self.machine.sleep(client, until, &ClockWait::with(interrupt.clone()));
                // What took it back is over with it.
                interrupt.clear();
                Ended::slept(slept)
            }
        }
    }

    fn open(&self, number: u64, client: u64, node: Node) -> Ended {
        let opened = Kernel::open(&self.machine, client, node);
        Ended::with(opened.map(|file| {
            self.open.lock().insert(number, file.into());
            0
        }))
    }

    fn file_call(&self, number: u64, client: u64, mut call: FileCall<'_>) -> Ended {
        let file = self.open.lock().get(&number).cloned();
        let result = file.ok_or(Errno::EBADF).and_then(|file| file.call(client, &mut call));
        Ended::of(&call, result)
    }
}

/// Most room that answers of a recorded call can have had, and most that one read can ask for.
const ROOM_MAX: u64 = 1 << 24;
const READ_MAX: u64 = 1 << 32;

/// A program's memory as it was carried to the recorded machine.
fn carried(sent: &[u8], room: Bytes) -> CarriedMemory {
    let is_cut = sent.len() as u64 >= STAGING_LIMIT;
    CarriedMemory::new(sent.to_vec(), room.0.min(ROOM_MAX) as usize, is_cut)
}

/// The program behind a call, which answers as it did.
struct Recorded<'a> {
    world: &'a World,
    call: u64,
    interrupt: &'a Interrupt,
}

impl Recorded<'_> {
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

    /// A file of the host with what was in it.
    fn restored(&self, number: u64, host: &Host, path: Vec<u8>) -> std::io::Result<RestoredFile> {
        let shared = self.world.restored(host)?;
        let file = FileBacking::new(shared.try_clone()?, path, host.is_read_only);
        let (sizes, seen) = (self.world.sizes.clone(), self.world.seen.clone());
        Ok(RestoredFile { file, shared, number, identity: host.identity, sizes, seen })
    }
}

impl Program for Recorded<'_> {
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

    fn interrupt(&self) -> &Interrupt {
        self.interrupt
    }

    fn backing(&self, _fd: i32) -> Result<Backing, Errno> {
        let fits = |answer: &Answer| match answer {
            Answer::Backing(backing) => Some(backing.clone()),
            Answer::Path { .. } => None,
        };
        let backing = self.answer(fits).unwrap_or(Err(Errno::EBADF));
        self.saw(Answer::Backing(backing.clone()));
        match backing? {
            event::Backing::Device { dev, mode } => {
                Ok(Backing::Device { dev, mode: OpenMode::from_bits_truncate(mode) })
            }
            event::Backing::Host { number, host, path } => {
                let file = self.restored(number, &host, path).map_err(|_| Errno::EIO)?;
                Ok(Backing::File { file: Arc::new(file), contents: None })
            }
        }
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
