//! What cannot be had by the machine's clock says so, once for each machine.

use crate::{state, sys};

/// Says on stderr that `what` takes the host's time. `name`: under which the machine remembers that it was said.
pub(crate) fn takes_host_time(name: &str, what: &str) {
    if !super::is_virtual() {
        return;
    }
    let mut path = [0u8; 512];
    let mut len = 0;
    for part in [state::RUN_DIR.get(), b"said-", name.as_bytes()] {
        if len + part.len() >= path.len() {
            return;
        }
        path[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // It has been said.
    let Ok(fd) = sys::openat(libc::AT_FDCWD, path.as_ptr(), flags, 0o600) else { return };
    let _ = sys::close(fd as i32);
    let mut line = [0u8; 256];
    let mut len = 0;
    for part in ["dmlab: ", what, " take the host's time, not the machine's virtual time\n"] {
        let end = (len + part.len()).min(line.len());
        line[len..end].copy_from_slice(&part.as_bytes()[..end - len]);
        len = end;
    }
    let _ = sys::write(2, line.as_ptr(), len);
}
