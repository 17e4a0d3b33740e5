//! The server of the preload front: a socket in a directory of its own, one thread for each channel.

mod admin;
mod attributes;
mod channel;
mod data;
mod everybody;
mod files;
mod ioctl;
mod kmsg;
mod memory;
mod mirror;
mod open;
mod paths;
mod semaphores;
mod session;
mod shared_state;
mod state_dirs;
mod timers;
mod waiting;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dmlab_kernel_calls::{ClockWait, Kernel};
use dmlab_machine::Interrupt;
use dmlab_shim_proto::{CLOCK_FILE, MIRROR_DIR, SOCKET_NAME};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use parking_lot::{Condvar, Mutex};
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub(crate) use channel::{receive, send};

use crate::driver::{OwnedCallGuard, ThreadDriver};
use crate::rundir;
use crate::shared::ClockPage;
use channel::Channel;
use dmlab_machine::Machine;
use dmlab_view::View;
use files::Files;
use mirror::Mirror;
use semaphores::Semaphores;
use session::Session;
use shared_state::Shared;
use timers::Timers;

/// Hears of each TABLE_LOAD that the kernel refused: the request's bytes, and what the kernel logged about it.
pub type OnRefusedLoad = Box<dyn Fn(&[u8], &[String]) + Send + Sync>;

/// Where a server lives, and its listeners.
#[derive(Default)]
pub struct Options {
    /// Its directory, which it makes, and removes when it ends.
    pub dir: PathBuf,
    /// The listener that is told of refused tables.
    pub on_refused_load: Option<OnRefusedLoad>,
    /// Whether programs find a udev that runs, and completes the cookies that they wait for.
    pub has_udev: bool,
}

/// A running server. Dropping it ends it.
pub struct Server {
    shared: Arc<Shared>,
    driver: Arc<ThreadDriver>,
    dir: PathBuf,
    threads: Vec<JoinHandle<()>>,
    watch: Arc<Watch>,
}

/// Watches for clients that die or are interrupted in the middle of a call.
struct Watch {
    epoll: Arc<OwnedFd>,
    clients: Mutex<HashMap<u64, Client>>,
    next: AtomicU64,
}

impl Watch {
    /// Lets a virtual clock jump only while every client waits.
    fn hold_the_clock(self: &Arc<Watch>, driver: &ThreadDriver, socket: PathBuf) {
        let watch = self.clone();
        driver.jump_only_when(Box::new(move || {
            let roots: Vec<u32> = watch.clients.lock().values().filter_map(|client| client.pid).collect();
            everybody::waits(&socket, &roots)
        }));
    }
}

/// What others need to know of a client.
struct Client {
    interrupt: Interrupt,
    wait: Arc<ClockWait>,
    /// A copy of its socket, by which it is watched.
    socket: Arc<OwnedFd>,
    /// Its process; `None` where that lives in a pid namespace that cannot be seen from here.
    pid: Option<u32>,
    /// How often it has begun or ended to wait for an answer: odd while it waits.
    turns: Arc<AtomicU64>,
}

/// What a client's thread needs so that its client can take a wait back.
struct Watched {
    watch: Arc<Watch>,
    wait: Arc<ClockWait>,
    socket: Arc<OwnedFd>,
}

impl Watch {
    /// Only the other side's end is of interest mostly; wakes are for the channel's own thread.
    const ENDS: epoll::EventFlags = epoll::EventFlags::RDHUP.union(epoll::EventFlags::ET);

    /// Whether to hear of the messages of a client too, from now on.
    fn listen(&self, socket: &OwnedFd, client: u64, listen: bool) -> rustix::io::Result<()> {
        let flags = if listen { Watch::ENDS.union(epoll::EventFlags::IN) } else { Watch::ENDS };
        epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(client), flags)
    }
}

/// Makes the directory of a machine its own and listens in it; refuses one in which a machine lives.
fn claim(dir: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    rundir::private_dir(dir)?;
    let socket = dir.join(SOCKET_NAME);
    if socket.exists() {
        if rundir::is_alive(dir) {
            let text = format!("a machine already runs in {}", dir.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        fs::remove_file(&socket)?;
    }
    let listener = listen(&socket)?;
    Ok((socket, listener))
}

/// Lets udev look at what is there, at what a program has written, and from then on at each event.
fn start_udev(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    shared.view.run_udev();
    let view = Arc::downgrade(shared);
    shared.files.tell_of_writers(Box::new(move |dev| {
        if let Some(shared) = view.upgrade() {
            shared.view.device_written(dev);
        }
    }));
    let shared = shared.clone();
    spawn("dmlab-udev", move || {
        while !shared.is_stopping() {
            shared.view.look_for_udev(crate::driver::PATIENCE, || shared.driver.call());
        }
    })
}

impl Server {
    /// Starts serving `kernel`, whose machine `driver` drives.
    ///
    /// # Errors
    /// When the directory or its socket cannot be made, or a machine lives there already.
    pub fn start(kernel: Arc<dyn Kernel>, driver: Arc<ThreadDriver>, options: Options) -> io::Result<Server> {
        let machine = kernel.machine().clone();
        let dir = options.dir;
        let (socket, listener) = claim(&dir)?;
        let kept = dir.join("files");
        fs::create_dir_all(&kept)?;
        state_dirs::make(&dir)?;
        let runtime = machine.runtime().clone();
        let files = Arc::new(Files::new(machine.clone())?);
        let semaphores = Arc::new(Semaphores::new(kernel.clone(), driver.time()));
        let shared = Arc::new(Shared {
            // What a run records must not depend on when it is looked at.
            view: View::new(machine, semaphores.clone(), kept, options.has_udev, !kernel.is_recorded()),
            semaphores,
            files,
            mirror: Mirror::new(dir.join(MIRROR_DIR))?,
            control: OnceLock::new(),
            on_refused_load: options.on_refused_load,
            timers: Arc::new(Timers::new(kernel.clone(), driver.clone())?),
            driver: driver.clone(),
            kernel,
            stopping: AtomicBool::new(false),
            stopped: (Mutex::new(false), Condvar::new()),
            halted_by: AtomicI32::new(0),
        });
        let of_log = Arc::downgrade(&shared.files);
        shared.view.machine().klog().listen(move || {
            if let Some(files) = of_log.upgrade() {
                files.signal_log_readers();
            }
        });
        let watch = Arc::new(Watch {
            epoll: shared.timers.epoll.clone(),
            clients: Mutex::new(HashMap::new()),
            // In a recording 0 is no client.
            next: AtomicU64::new(1),
        });
        watch.hold_the_clock(&driver, socket);
        if driver.time() == crate::driver::Time::Virtual {
            let page = ClockPage::create(&dir.join(CLOCK_FILE))?;
            page.show(runtime.now().as_nanos());
            driver.tell_of_jumps(Box::new(move |now| page.show(now.as_nanos())));
        }
        let mut threads = Vec::new();
        let after_work = shared.clone();
        threads.push(driver.start(runtime, move || {
            after_work.files.signal_controls();
            after_work.view.run_udev();
        })?);
        threads.push(spawn("dmlab-reaper", {
            let shared = shared.clone();
            move || {
                while !shared.is_stopping() {
                    shared.files.wait();
                    // Mostly a request comes right after a close, and releases the file itself: do not fight it.
                    thread::sleep(Duration::from_millis(1));
                    shared.files.drain();
                }
            }
        })?);
        if options.has_udev {
            threads.push(start_udev(&shared)?);
        }
        threads.push(spawn("dmlab-watch", {
            let (shared, watch) = (shared.clone(), watch.clone());
            move || watch_clients(&shared, &watch)
        })?);
        threads.push(spawn("dmlab-accept", {
            let (shared, watch) = (shared.clone(), watch.clone());
            move || accept_clients(&shared, &watch, &listener)
        })?);
        Ok(Server { shared, driver, dir, threads, watch })
    }

    /// The machine that is served.
    pub fn machine(&self) -> &Machine {
        self.shared.view.machine()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of its socket, which programs find in `DMLAB_SOCKET`.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET_NAME)
    }

    /// The view of `/dev`, `/proc` and `/sys`.
    pub fn view(&self) -> &View {
        &self.shared.view
    }

    /// Ends the recording, if there is one: what programs left open is closed, and nothing more is written.
    ///
    /// # Errors
    /// When not all of it could be written.
    pub fn finish_recording(&self) -> io::Result<()> {
        self.shared.files.drain();
        self.shared.kernel.finish()
    }

    /// What ends it, for another thread.
    pub fn halter(&self) -> impl Fn() + Send + use<> {
        let shared = self.shared.clone();
        move || shared.halt()
    }

    /// What lets go of programs that wait for the same answer all through a time, for another thread: their calls fail with
    /// EIO, and signals that they hold back until then reach them.
    pub fn releaser(&self) -> impl Fn(Duration) + Send + use<> {
        let watch = self.watch.clone();
        let waiting = move |watch: &Watch| -> HashMap<u64, u64> {
            let clients = watch.clients.lock();
            let turns = clients.iter().map(|(id, client)| (*id, client.turns.load(Ordering::Acquire)));
            turns.filter(|(_, turns)| turns % 2 == 1).collect()
        };
        move |time| {
            let before = waiting(&watch);
            thread::sleep(time);
            for (id, turns) in waiting(&watch) {
                if before.get(&id) == Some(&turns)
                    && let Some(client) = watch.clients.lock().get(&id)
                {
                    let _gone = rustix::net::shutdown(&client.socket, rustix::net::Shutdown::Both);
                }
            }
        }
    }

    /// The process whose request ended it, if one did.
    pub fn halted_by(&self) -> Option<u32> {
        u32::try_from(self.shared.halted_by.load(Ordering::Acquire)).ok().filter(|&pid| pid != 0)
    }

    /// Waits until the server is halted.
    pub fn wait(&self) {
        let mut stopped = self.shared.stopped.0.lock();
        while !*stopped {
            self.shared.stopped.1.wait(&mut stopped);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First what others see, so that no client finds a machine that is going.
        let _ = fs::remove_file(self.socket());
        // A caller that wants to know whether it worked has asked before.
        let _ = self.finish_recording();
        self.shared.halt();
        self.driver.stop();
        // Wakes the accepting thread.
        let _ = fs::remove_dir_all(&self.dir);
        for thread in self.threads.drain(..) {
            if thread.thread().name() == Some("dmlab-worker") {
                let _ = thread.join();
            }
        }
        self.shared.files.close_all();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new(path).map_err(|_| {
        let text = format!("the path of the socket is too long: {} (at most 107 bytes)", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    rustix::net::bind(&socket, &address)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

fn accept_clients(shared: &Arc<Shared>, watch: &Arc<Watch>, listener: &OwnedFd) {
    let me = rustix::process::geteuid().as_raw();
    while !shared.is_stopping() {
        let mut fds = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
        let patience = Timespec { tv_sec: 0, tv_nsec: crate::driver::PATIENCE.subsec_nanos().into() };
        if !matches!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1..)) {
            continue;
        }
        let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) else { continue };
        let Ok(peer) = getsockopt(&socket, PeerCredentials) else { continue };
        if peer.uid() != me && peer.uid() != 0 {
            continue;
        }
        let (shared, watch) = (shared.clone(), watch.clone());
        // Until it has its channel a client is about to do something.
        let coming = shared.driver.begin_call();
        // 0 for a client outside of the server's pid namespace.
        let pid = u32::try_from(peer.pid()).ok().filter(|&pid| pid != 0);
        // A client that cannot have a thread sees its socket close.
        let _ = spawn("dmlab-client", move || serve(shared, &watch, socket, pid, coming));
    }
}

/// One client's channel, from its connection to its end.
fn serve(shared: Arc<Shared>, watch: &Arc<Watch>, socket: OwnedFd, pid: Option<u32>, coming: OwnedCallGuard) {
    let interrupt = Interrupt::default();
    let id = watch.next.fetch_add(1, Ordering::Relaxed);
    let turns = Arc::new(AtomicU64::new(0));
    let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(&socket, 3) else { return };
    let (copy, wait) = (Arc::new(copy), Arc::new(ClockWait::of_client(interrupt.clone())));
    let client = Client {
        interrupt: interrupt.clone(),
        wait: wait.clone(),
        socket: copy.clone(),
        pid,
        turns: turns.clone(),
    };
    watch.clients.lock().insert(id, client);
    let is_watched = epoll::add(&watch.epoll, &*copy, epoll::EventData::new_u64(id), Watch::ENDS);
    if let (Ok(()), Ok(channel)) = (is_watched, Channel::open(socket)) {
        drop(coming);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        let watched = Watched { watch: watch.clone(), wait, socket: copy };
        let (staged, answer) = (Vec::new(), Vec::new());
        let session = Session { shared, client: id, pid, interrupt, watched, staged, answer };
        session.run(channel, &turns);
    }
    watch.clients.lock().remove(&id);
}

fn watch_clients(shared: &Shared, watch: &Watch) {
    let mut events = Vec::with_capacity(64);
    let patience = Timespec { tv_sec: 0, tv_nsec: crate::driver::PATIENCE.subsec_nanos().into() };
    while !shared.is_stopping() {
        events.clear();
        let spare = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&watch.epoll, spare, Some(&patience)).is_err() {
            continue;
        }
        for event in &events {
            let (flags, id) = (event.flags, event.data.u64());
            if shared.timers.has_heard(id) {
                shared.semaphores.look_for_ends();
                continue;
            }
            let clients = watch.clients.lock();
            let found = clients.get(&id).map(|client| (client.interrupt.clone(), client.wait.clone()));
            drop(clients);
            let Some((interrupt, wait)) = found else { continue };
            shared.kernel.take_back(id, &wait);
            if !flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                continue;
            }
            shared.kernel.interrupt(id, &interrupt);
        }
    }
}
