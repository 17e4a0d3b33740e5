//! Daemons that programs find listening though they were never started: where LVM is installed, lvmpolld is started when the
//! first program talks to its socket, as a service manager does it on a booted system.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dmlab_shim_proto::LAYER_DIR;
use parking_lot::Mutex;

use crate::launch;

/// The socket, in the machine's own `/run`.
const SOCKET: &str = "run/lvm/lvmpolld.socket";
/// How often it is tried whether the daemon listens, and how long in between.
const ATTEMPTS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(5);

/// The listener in place of lvmpolld. It ends with the value.
pub(crate) struct Listening(Arc<Ear>);

/// What its thread and its owner share.
struct Ear {
    /// The listener that the thread waits at; `None` while the daemon runs.
    listener: Mutex<Option<UnixListener>>,
    is_over: AtomicBool,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        if let Some(listener) = &*self.0.listener.lock() {
            // Wakes the thread.
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }
}

/// Listens in place of lvmpolld, if there is one to be started.
pub(crate) fn listen(dir: &Path) -> Option<Listening> {
    launch::find("lvmpolld".as_ref())?;
    let (dir, socket) = (dir.to_owned(), dir.join(LAYER_DIR).join(SOCKET));
    // Without it LVM polls by itself, and says so.
    let mut listener = UnixListener::bind(&socket).ok()?;
    let ear = Arc::new(Ear { listener: Mutex::new(None), is_over: AtomicBool::new(false) });
    let listening = Listening(ear.clone());
    let thread = std::thread::Builder::new().name("dmlab-lvmpolld".into()).spawn(move || {
        while let Some(first) = accept(&ear, listener) {
            match serve(&dir, &socket, first) {
                Ok(again) => listener = again,
                Err(_) => return,
            }
        }
    });
    thread.ok().map(|_| listening)
}

/// Waits for the first call; `None` when it is over.
fn accept(ear: &Ear, listener: UnixListener) -> Option<UnixStream> {
    *ear.listener.lock() = Some(listener.try_clone().ok()?);
    if ear.is_over.load(Ordering::Acquire) {
        return None;
    }
    let first = listener.accept().ok();
    *ear.listener.lock() = None;
    first.map(|(stream, _)| stream)
}

/// Starts the daemon, which listens at the socket itself from then on, and passes it the call that came before that. Listens
/// again when it has ended, as it does when it has nothing to do for a while.
fn serve(dir: &Path, socket: &PathBuf, first: UnixStream) -> io::Result<UnixListener> {
    fs::remove_file(socket)?;
    let mut daemon = launch::prepared(dir, "lvmpolld".as_ref())
        .args(["-f", "-t", "60"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    pass_on(&connect(socket, &mut daemon)?, &first)?;
    // A wait for all children may be first; then it has ended, too.
    let _ = daemon.wait();
    let _ = fs::remove_file(socket);
    UnixListener::bind(socket)
}

fn connect(socket: &Path, daemon: &mut Child) -> io::Result<UnixStream> {
    for _ in 0..ATTEMPTS {
        match UnixStream::connect(socket) {
            Err(error) if daemon.try_wait().is_ok_and(|ended| ended.is_some()) => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
            connected => return connected,
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Copies what either side of a conversation says to the other, until both have ended it.
fn pass_on(one: &UnixStream, other: &UnixStream) -> io::Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::Builder::new().name("dmlab-lvmpolld".into()).spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })?;
    }
    Ok(())
}
