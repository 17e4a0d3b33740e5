//! A channel's socket: it carries descriptors, and wakes the side that sleeps.

use dmlab_shim_proto as proto;

use crate::{state, sys};

/// A new connection to the server.
pub(super) fn dial() -> Result<i32, i32> {
    let fd = sys::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0)? as i32;
    // SAFETY: all zeroes are a valid `sockaddr_un`.
    let mut addr: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    addr.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in addr.sun_path.iter_mut().zip(state::SOCKET.get()) {
        *to = *from as libc::c_char;
    }
    loop {
        let errno = match sys::connect(fd, &addr, size_of::<libc::sockaddr_un>()) {
            Ok(_) => return Ok(fd),
            Err(libc::EINTR) => continue,
            // The machine is gone: its devices are gone too.
            Err(libc::ENOENT | libc::ECONNREFUSED) => libc::ENXIO,
            Err(errno) => errno,
        };
        let _ = sys::close(fd);
        return Err(errno);
    }
}

/// Wakes the server, with a descriptor or without.
pub(super) fn wake(fd: i32, with: Option<i32>) -> Result<(), i32> {
    let mut byte = [proto::WAKE];
    let mut iov = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control::new();
    // SAFETY: all zeroes are a valid `msghdr`.
    let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    if let Some(with) = with {
        control.put(with);
        msg.msg_control = (&raw mut control).cast();
        msg.msg_controllen = size_of::<Control>() as _;
    }
    loop {
        match sys::sendmsg(fd, &msg, libc::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// One `SCM_RIGHTS` message with room for one descriptor.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    fd: i32,
    pad: i32,
}

impl Control {
    fn new() -> Control {
        // SAFETY: all zeroes are a valid `Control`.
        unsafe { core::mem::zeroed() }
    }

    fn put(&mut self, fd: i32) {
        self.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<i32>()) as _;
        self.header.cmsg_level = libc::SOL_SOCKET;
        self.header.cmsg_type = libc::SCM_RIGHTS;
        self.fd = fd;
    }
}

/// A message that is there: its length (0: the other side is gone), or EAGAIN.
pub(crate) fn receive_now(fd: i32) -> Result<usize, i32> {
    let mut bytes = [0u8; 8];
    sys::recv(fd, bytes.as_mut_ptr(), bytes.len(), libc::MSG_DONTWAIT)
}

/// In place of a descriptor that came and found no room: the program has as many as it may.
pub(super) const LOST: i32 = -1;

/// One message: its length (0: the other side is gone) and the descriptor that came with it.
pub(super) fn receive(fd: i32) -> Result<(usize, Option<i32>), i32> {
    let mut bytes = [0u8; 8];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control::new();
    // SAFETY: all zeroes are a valid `msghdr`.
    let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = (&raw mut control).cast();
    msg.msg_controllen = size_of::<Control>() as _;
    let len = sys::recvmsg(fd, &mut msg, libc::MSG_CMSG_CLOEXEC)?;
    let has_fd = msg.msg_controllen as usize >= size_of::<libc::cmsghdr>() + size_of::<i32>()
        && control.header.cmsg_level == libc::SOL_SOCKET
        && control.header.cmsg_type == libc::SCM_RIGHTS;
    let is_lost = msg.msg_flags & libc::MSG_CTRUNC != 0;
    Ok((len, if has_fd { Some(control.fd) } else { is_lost.then_some(LOST) }))
}

/// Moves a descriptor of ours to a high number, out of the way of programs that count on low ones.
pub(super) fn high(fd: i32) -> i32 {
    let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    let _ = sys::getrlimit_nofile(&mut limit);
    let from = (limit.rlim_cur.min(65536) as usize).saturating_sub(160);
    match sys::fcntl(fd, libc::F_DUPFD_CLOEXEC, from) {
        Ok(new) => {
            let _ = sys::close(fd);
            new as i32
        }
        Err(_) => fd,
    }
}
