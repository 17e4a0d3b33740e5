//! The table of open files. Each is named by the inode of its placeholder, a pipe of which the clients hold the read end:
//! when the last copy of that is closed, anywhere and however, the write end here reports an error, and the file is released.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use dmlab_units::DevT;
use parking_lot::{Condvar, Mutex, RwLock};
use rustix::event::{Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::world::Inode;
use dmlab_machine::{BlockFile, ControlFile};
use dmlab_recording::{Call, Ended, Recorder};

/// What an open file is open on.
pub(crate) enum Body {
    /// A block device.
    Block(DevT, BlockFile),
    /// `/dev/mapper/control`.
    Control(ControlFile),
    /// `/dev/loop-control`.
    LoopControl,
    /// Opened with `O_PATH`: good for nothing but `fstat`.
    Path,
}

/// One open file description.
pub(crate) struct OpenFile {
    pub(crate) body: Body,
    /// The file position.
    pub(crate) position: Mutex<u64>,
    /// As `fcntl(F_GETFL)` shows them.
    pub(crate) flags: AtomicI32,
    /// The path it was opened by.
    pub(crate) path: Vec<u8>,
    /// Its number in the recording; 0 where there is none.
    pub(crate) number: u64,
    /// The node it was opened by.
    pub(crate) inode: Arc<Mutex<Inode>>,
    /// The write end of the placeholder.
    placeholder: OwnedFd,
    /// A control node's placeholder holds a byte, so that `poll` finds it readable.
    is_signalled: AtomicBool,
}

impl OpenFile {
    /// Whether the control node's event number has moved since it was armed.
    fn signal(&self) {
        let Body::Control(control) = &self.body else { return };
        let ready = control.poll_ready();
        if ready == self.is_signalled.swap(ready, Ordering::AcqRel) {
            return;
        }
        if ready {
            let _ = rustix::io::write(&self.placeholder, b"!");
            return;
        }
        // The byte must go again. A pipe can be opened by its other end's name for a moment.
        let name = format!("/proc/self/fd/{}", self.placeholder.as_raw_fd());
        if let Ok(read_end) =
            rustix::fs::open(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        {
            let _ = rustix::io::read(&read_end, &mut [0u8; 8]);
        }
    }
}

/// All open files of a machine.
pub(crate) struct Files {
    open: RwLock<HashMap<u64, Arc<OpenFile>>>,
    /// Watches the placeholders.
    epoll: OwnedFd,
    /// Held while closed files are taken off `epoll` and released, so that nobody overtakes a close.
    draining: Mutex<()>,
    /// Devices with data in their page cache that a last close would write out.
    dirty: Mutex<HashSet<DevT>>,
    nr_controls: AtomicUsize,
    recorder: Option<Arc<Recorder>>,
    nr_blocked: Mutex<usize>,
}

/// How long a caller waits for somebody else's close to finish. A close that takes longer is stuck on a suspended device, and
/// the file counts as open meanwhile, as a process in D state would hold it.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Bytes of a placeholder's buffer: tells it from ordinary pipes.
const PLACEHOLDER_SIZE: usize = 4096;

impl Files {
    pub(crate) fn new(recorder: Option<Arc<Recorder>>) -> std::io::Result<Files> {
        Ok(Files {
            open: RwLock::new(HashMap::new()),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            draining: Mutex::new(()),
            dirty: Mutex::new(HashSet::new()),
            nr_controls: AtomicUsize::new(0),
            recorder,
            nr_blocked: Mutex::new(0),
        })
    }

    /// Adds an open file. Returns its name and the placeholder for the client.
    pub(crate) fn add(
        &self,
        body: Body,
        flags: i32,
        path: Vec<u8>,
        number: u64,
        inode: Arc<Mutex<Inode>>,
    ) -> rustix::io::Result<(u64, OwnedFd)> {
        let (read_end, placeholder) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        rustix::pipe::fcntl_setpipe_size(&placeholder, PLACEHOLDER_SIZE)?;
        let id = rustix::fs::fstat(&read_end)?.st_ino;
        epoll::add(&self.epoll, &placeholder, epoll::EventData::new_u64(id), epoll::EventFlags::ET)?;
        if matches!(body, Body::Control(_)) {
            self.nr_controls.fetch_add(1, Ordering::Relaxed);
        }
        let file = OpenFile {
            body,
            position: Mutex::new(0),
            flags: AtomicI32::new(flags),
            path,
            number,
            inode,
            placeholder,
            is_signalled: AtomicBool::new(false),
        };
        self.open.write().insert(id, Arc::new(file));
        Ok((id, read_end))
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<OpenFile>> {
        self.open.read().get(&id).cloned()
    }

    /// Notes that a device's page cache may hold unwritten data.
    pub(crate) fn note_buffered_write(&self, dev: DevT) {
        self.dirty.lock().insert(dev);
    }

    /// Releases every file whose last copy has been closed. A request that can tell calls this first: what was closed before
    /// it must look closed to it.
    pub(crate) fn drain(self: &Arc<Self>) {
        let _alone = self.draining.lock();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&now)) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            for event in &events {
                let (flags, id) = (event.flags, event.data.u64());
                if flags.contains(epoll::EventFlags::ERR) {
                    self.release(id);
                }
            }
        }
    }

    fn release(self: &Arc<Self>, id: u64) {
        let Some(file) = self.open.write().remove(&id) else { return };
        let dev = match &file.body {
            Body::Block(dev, _) => *dev,
            Body::Control(_) => {
                self.nr_controls.fetch_sub(1, Ordering::Relaxed);
                return self.close(file);
            }
            Body::LoopControl => return self.close(file),
            Body::Path => return,
        };
        let _ = epoll::delete(&self.epoll, file.placeholder.as_fd());
        let is_last =
            !self.open.read().values().any(|f| matches!(&f.body, Body::Block(other, _) if *other == dev));
        let was_dirty =
            if is_last { self.dirty.lock().remove(&dev) } else { self.dirty.lock().contains(&dev) };
        if !was_dirty {
            return self.close(file);
        }
        // The last close writes the page cache out, which may block for as long as the device is suspended: not here.
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let (files, signal) = (self.clone(), done.clone());
        let closing = move || {
            files.close(file);
            *signal.0.lock() = true;
            signal.1.notify_all();
            *files.nr_blocked.lock() -= 1;
        };
        *self.nr_blocked.lock() += 1;
        if let Err(error) = std::thread::Builder::new().name("dmlab-close".into()).spawn(closing) {
            // No thread to be had: the file is closed when the closure was dropped.
            drop(error);
            *self.nr_blocked.lock() -= 1;
            return;
        }
        let mut is_done = done.0.lock();
        if !*is_done {
            done.1.wait_for(&mut is_done, CLOSE_PATIENCE);
        }
    }

    /// Lets go of a file that nobody has open any more.
    fn close(&self, file: Arc<OpenFile>) {
        let Some(recorder) = &self.recorder else { return drop(file) };
        // No client's call: the host's kernel closes what a program leaves open.
        recorder.call(0, Call::Close { file: file.number }, |_| {
            drop(file);
            ((), Ended::with(Ok(0)))
        });
    }

    /// Makes control nodes readable whose event number has moved, and others not. Called when it may have.
    pub(crate) fn signal_controls(&self) {
        if self.nr_controls.load(Ordering::Relaxed) == 0 {
            return;
        }
        let controls: Vec<_> =
            self.open.read().values().filter(|f| matches!(f.body, Body::Control(_))).cloned().collect();
        for file in controls {
            file.signal();
        }
    }

    /// Waits until a placeholder's last copy is closed, or a moment has passed.
    pub(crate) fn wait(&self) {
        let mut fds = [rustix::event::PollFd::new(&self.epoll, rustix::event::PollFlags::IN)];
        let patience = Timespec { tv_sec: 0, tv_nsec: crate::driver::PATIENCE.subsec_nanos().into() };
        let _ = rustix::event::poll(&mut fds, Some(&patience));
    }

    /// Closes everything, for the end of the machine.
    pub(crate) fn close_all(&self) {
        self.open.write().clear();
    }
}
