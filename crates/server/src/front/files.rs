//! The table of open files. Each is named by the inode of its placeholder, a pipe of which the clients hold the read end:
//! when the last copy of that is closed, anywhere and however, the write end here reports an error, and the file is released.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dmlab_units::DevT;
use parking_lot::{Condvar, Mutex, RwLock};
use rustix::event::{Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::kmsg::Reader;
use dmlab_kernel_calls::{KernelFile, Node};
use dmlab_machine::{Klog, Machine, OpenMode};
use dmlab_view::Inode;

/// The flags of an open as a program gave them, known or not. `OFlags::DSYNC` has the bits of `O_SYNC`, of which `O_DSYNC` is
/// one: whether a file is synchronous is whether it has any of them.
pub(super) fn open_flags(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags as u32)
}

/// What an open file is open on.
pub(crate) enum Body {
    /// A node that the kernel is behind.
    Kernel(Box<dyn KernelFile>),
    /// `/dev/kmsg`.
    Kmsg(Reader),
    /// A file of `/sys` that makes an event when an action is written to it.
    Trigger,
    /// Opened with `O_PATH`: good for nothing but `fstat`.
    Path,
}

impl Body {
    /// The kernel's node, if it is one.
    pub(crate) fn node(&self) -> Option<Node> {
        match self {
            Body::Kernel(file) => Some(file.node()),
            Body::Kmsg(_) | Body::Trigger | Body::Path => None,
        }
    }
}

/// One open file description.
pub(crate) struct OpenFile {
    /// Open until its last user lets go: the owner of the descriptor, or a call that is under way.
    pub(crate) body: Body,
    /// The file position.
    pub(crate) position: Mutex<u64>,
    /// As `fcntl(F_GETFL)` shows them.
    flags: AtomicU32,
    /// The path it was opened by.
    pub(crate) path: Vec<u8>,
    /// The node it was opened by.
    pub(crate) inode: Arc<Mutex<Inode>>,
    /// The write end of the placeholder.
    placeholder: OwnedFd,
    /// The placeholder of a control node or the log holds a byte, so that `poll` finds it readable.
    is_signalled: Mutex<bool>,
}

impl OpenFile {
    /// How it was opened, as far as that is kept.
    pub(crate) fn flags(&self) -> OFlags {
        OFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    pub(crate) fn set_flags(&self, flags: OFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Makes the placeholder readable, or not: by whether the control node's event number has moved since it was armed, or
    /// by whether there is more in the log.
    fn signal(&self, klog: &Klog) {
        let mut is_signalled = self.is_signalled.lock();
        let ready = match &self.body {
            Body::Kernel(file) if file.node() == Node::Control => file.poll(),
            Body::Kmsg(reader) => self.flags() & OFlags::RWMODE != OFlags::WRONLY && reader.is_ready(klog),
            _ => return,
        };
        if ready == *is_signalled {
            return;
        }
        *is_signalled = ready;
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
    machine: Machine,
    open: RwLock<HashMap<u64, Arc<OpenFile>>>,
    /// Watches the placeholders.
    epoll: OwnedFd,
    /// Held while closed files are taken off `epoll` and released, so that nothing overtakes a close.
    draining: Mutex<()>,
    /// Devices with data in their page cache that a last close would write out.
    dirty: Mutex<HashSet<DevT>>,
    nr_controls: AtomicUsize,
    nr_log_readers: AtomicUsize,
    nr_blocked: Mutex<usize>,
    /// Files whose last copy is closed and whose data is on its way.
    closing: Mutex<HashSet<u64>>,
    has_closed: Condvar,
    /// Told of each device that was open for writing and is closed.
    on_written: OnceLock<OnWritten>,
}

type OnWritten = Box<dyn Fn(DevT) + Send + Sync>;

/// How long a caller waits for the closes of others to finish, all together. A close that takes longer is stuck below, as on a
/// suspended device, and the file counts as open meanwhile, as a process in D state would hold it.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Bytes of a placeholder's buffer: tells it from ordinary pipes.
const PLACEHOLDER_SIZE: usize = 4096;

impl Files {
    pub(crate) fn new(machine: Machine) -> std::io::Result<Files> {
        Ok(Files {
            machine,
            open: RwLock::new(HashMap::new()),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            draining: Mutex::new(()),
            dirty: Mutex::new(HashSet::new()),
            nr_controls: AtomicUsize::new(0),
            nr_log_readers: AtomicUsize::new(0),
            nr_blocked: Mutex::new(0),
            closing: Mutex::default(),
            has_closed: Condvar::new(),
            on_written: OnceLock::new(),
        })
    }

    /// Adds an open file. Returns its name and the placeholder for the client.
    pub(crate) fn add(
        &self,
        body: Body,
        flags: OFlags,
        path: Vec<u8>,
        inode: Arc<Mutex<Inode>>,
    ) -> rustix::io::Result<(u64, OwnedFd)> {
        let (read_end, placeholder) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        rustix::pipe::fcntl_setpipe_size(&placeholder, PLACEHOLDER_SIZE)?;
        let id = rustix::fs::fstat(&read_end)?.st_ino;
        epoll::add(&self.epoll, &placeholder, epoll::EventData::new_u64(id), epoll::EventFlags::ET)?;
        if body.node() == Some(Node::Control) {
            self.nr_controls.fetch_add(1, Ordering::Relaxed);
        }
        let is_log = matches!(body, Body::Kmsg(_));
        if is_log {
            self.nr_log_readers.fetch_add(1, Ordering::Relaxed);
        }
        let file = OpenFile {
            body,
            position: Mutex::new(0),
            flags: AtomicU32::new(flags.bits()),
            path,
            inode,
            placeholder,
            is_signalled: Mutex::new(false),
        };
        let file = Arc::new(file);
        self.open.write().insert(id, file.clone());
        if is_log {
            file.signal(self.machine.klog());
        }
        Ok((id, read_end))
    }

    /// Sets the listener that is told of devices that were open for writing and are closed.
    pub(crate) fn tell_of_writers(&self, listener: OnWritten) {
        let _there_is_one = self.on_written.set(listener);
    }

    fn tell_of_writer(&self, dev: DevT, may_write: bool) {
        if let (true, Some(listener)) = (may_write, self.on_written.get()) {
            listener(dev);
        }
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
        let mut under_way = Vec::new();
        self.release_closed(&mut under_way);
        // What waits for a resume is not waited for here, and the rest has one patience together: no client waits for
        // another's device.
        let is_suspended = |dev: DevT| {
            let device = self.machine.device(dev);
            device.and_then(|device| device.dm).is_some_and(|dm| dm.suspended)
        };
        under_way.retain(|(dev, _)| !is_suspended(*dev));
        let deadline = Instant::now() + CLOSE_PATIENCE;
        let mut closing = self.closing.lock();
        while under_way.iter().any(|(_, id)| closing.contains(id)) {
            if self.has_closed.wait_until(&mut closing, deadline).timed_out() {
                return;
            }
        }
    }

    /// Releases the files whose placeholders are closed; adds those whose data is still on its way to `under_way`.
    fn release_closed(self: &Arc<Self>, under_way: &mut Vec<(DevT, u64)>) {
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
                    under_way.extend(self.release(id).map(|dev| (dev, id)));
                }
            }
        }
    }

    /// Releases a file. Its device, if data of it must still be written out.
    fn release(self: &Arc<Self>, id: u64) -> Option<DevT> {
        let file = self.open.write().remove(&id)?;
        let (dev, mode) = match file.body.node() {
            Some(Node::Block { dev, mode }) => (dev, mode),
            Some(Node::Control) => {
                self.nr_controls.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            None if matches!(file.body, Body::Kmsg(_)) => {
                self.nr_log_readers.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            Some(Node::LoopControl) | None => return None,
        };
        let _ = epoll::delete(&self.epoll, file.placeholder.as_fd());
        let is_open_on_it = |file: &OpenFile| matches!(file.body.node(), Some(Node::Block { dev: other, .. }) if other == dev);
        let is_last = !self.open.read().values().any(|file| is_open_on_it(file));
        let was_dirty =
            if is_last { self.dirty.lock().remove(&dev) } else { self.dirty.lock().contains(&dev) };
        let may_write = mode.contains(OpenMode::WRITE);
        if !was_dirty {
            drop(file);
            self.tell_of_writer(dev, may_write);
            return None;
        }
        // The last close writes the page cache out, which may block for as long as the device is suspended: not here.
        let files = self.clone();
        let closing = move || {
            drop(file);
            files.tell_of_writer(dev, may_write);
            files.closing.lock().remove(&id);
            files.has_closed.notify_all();
            *files.nr_blocked.lock() -= 1;
        };
        *self.nr_blocked.lock() += 1;
        self.closing.lock().insert(id);
        if let Err(error) = std::thread::Builder::new().name("dmlab-close".into()).spawn(closing) {
            // No thread to be had: the file is closed when the closure was dropped.
            drop(error);
            self.closing.lock().remove(&id);
            self.has_closed.notify_all();
            *self.nr_blocked.lock() -= 1;
            return None;
        }
        Some(dev)
    }

    /// Waits for the end of a close that is under way, however long it takes: closing a file waits for its data.
    pub(crate) fn wait_closed(&self, id: u64) {
        let mut closing = self.closing.lock();
        while closing.contains(&id) {
            self.has_closed.wait(&mut closing);
        }
    }

    /// Makes control nodes readable whose event number has moved, and others not. Called when it may have.
    pub(crate) fn signal_controls(&self) {
        if self.nr_controls.load(Ordering::Relaxed) == 0 {
            return;
        }
        let controls: Vec<_> =
            self.open.read().values().filter(|f| f.body.node() == Some(Node::Control)).cloned().collect();
        for file in controls {
            file.signal(self.machine.klog());
        }
    }

    /// Makes readers of the log readable that have not read all of it, and others not.
    pub(crate) fn signal_log_readers(&self) {
        if self.nr_log_readers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let readers: Vec<_> =
            self.open.read().values().filter(|f| matches!(f.body, Body::Kmsg(_))).cloned().collect();
        for file in readers {
            file.signal(self.machine.klog());
        }
    }

    /// Waits until a placeholder's last copy is closed, or a moment has passed.
    pub(crate) fn wait(&self) {
        let mut fds = [rustix::event::PollFd::new(&self.epoll, rustix::event::PollFlags::IN)];
        let patience = Timespec { tv_sec: 0, tv_nsec: crate::driver::PATIENCE.subsec_nanos().into() };
        let _ = rustix::event::poll(&mut fds, Some(&patience));
    }

    /// Closes everything, for the end of the machine. What cannot be written back, as its device is suspended, is lost with
    /// the machine.
    pub(crate) fn close_all(&self) {
        let open = std::mem::take(&mut *self.open.write());
        let is_done = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = is_done.clone();
        let closing = move || {
            drop(open);
            *signal.0.lock() = true;
            signal.1.notify_all();
        };
        // Without a thread to be had they are closed here and now, when the closure is dropped.
        if std::thread::Builder::new().name("dmlab-close".into()).spawn(closing).is_ok() {
            let mut closed = is_done.0.lock();
            if !*closed {
                is_done.1.wait_for(&mut closed, CLOSE_PATIENCE);
            }
        }
    }
}
