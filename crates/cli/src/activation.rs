//! Daemons that programs find listening though nobody has started them: where LVM is installed, lvmpolld is started when the
//! first program talks to its socket, as systemd does it on Debian.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use dmlab_shim_proto::LAYER_DIR;
use rustix::event::{PollFd, PollFlags};

use crate::launch;

/// The socket, in the machine's own `/run`.
const SOCKET: &str = "run/lvm/lvmpolld.socket";

/// Hands the socket over, in the way of systemd, as descriptor 3.
const HAND_OVER: &str = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec lvmpolld -f";

/// Listens in place of lvmpolld, if there is one to be started. The thread ends with the process.
pub(crate) fn listen(dir: &Path) {
    if launch::find("lvmpolld".as_ref()).is_none() {
        return;
    }
    // Without it LVM polls by itself, and says so.
    let Ok(listener) = UnixListener::bind(dir.join(LAYER_DIR).join(SOCKET)) else { return };
    let dir = dir.to_owned();
    let _ = std::thread::Builder::new().name("dmlab-lvmpolld".into()).spawn(move || {
        loop {
            let mut fds = [PollFd::new(&listener, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            }
            if start(&dir, &listener).is_err() || !dir.exists() {
                return;
            }
        }
    });
}

/// Starts the daemon and waits until it has ended, as it does when it has nothing to do for a while.
fn start(dir: &Path, listener: &UnixListener) -> io::Result<()> {
    let socket: OwnedFd = listener.try_clone()?.into();
    let mut command: Command = launch::prepared(dir, "sh".as_ref());
    let command = command.args(["-c", HAND_OVER]).stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.current_dir("/").spawn()?.wait();
    match status {
        Ok(status) if !status.success() => Err(io::Error::other("it cannot be started")),
        // Whoever waits for all children may have been first.
        _ => Ok(()),
    }
}
