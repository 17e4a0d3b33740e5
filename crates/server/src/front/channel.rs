//! The server's side of a channel: waiting for requests, sending replies and descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use dmlab_shim_proto as proto;
use proto::{Header, Reply};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::shared::Area;

/// How often a side looks at the turn word before it sleeps.
const SPINS: u32 = 400;

pub(crate) struct Channel {
    socket: OwnedFd,
    pub(crate) area: Area,
    may_spin: bool,
    /// A descriptor that came and was not taken yet.
    came: Option<OwnedFd>,
}

impl Drop for Channel {
    /// A client that has lost its socket (it closed all its descriptors) sees here that no answer will come.
    fn drop(&mut self) {
        self.area.word(proto::GONE).store(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Channel {
    /// Begins a channel with a client that has connected: it gets the area.
    pub(crate) fn open(socket: OwnedFd) -> std::io::Result<Channel> {
        let (area, memory) = Area::create()?;
        send(&socket, Some(&memory))?;
        let may_spin = std::thread::available_parallelism().is_ok_and(|nr| nr.get() > 1);
        Ok(Channel { socket, area, may_spin, came: None })
    }

    /// The next request; `None` when the client is gone.
    pub(crate) fn wait(&mut self) -> Option<Header> {
        let has_request = self.spin() || self.sleep();
        has_request.then(|| Header::from_bytes(&self.area.header()))
    }

    fn spin(&self) -> bool {
        if self.may_spin {
            for _ in 0..SPINS {
                if self.area.turn() == proto::TURN_SERVER {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        self.area.turn() == proto::TURN_SERVER
    }

    fn sleep(&mut self) -> bool {
        loop {
            if self.area.about_to_sleep(proto::SERVER_SLEEPS, proto::TURN_SERVER) {
                return true;
            }
            match receive(&self.socket) {
                Ok(Some(fd)) => {
                    if fd.is_some() {
                        self.came = fd;
                    }
                    let is_awake =
                        self.area.word(proto::SERVER_SLEEPS).load(std::sync::atomic::Ordering::SeqCst) == 0;
                    if is_awake && self.area.turn() == proto::TURN_SERVER {
                        return true;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// The descriptor that the present request brought.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        while self.came.is_none() {
            match receive(&self.socket) {
                Ok(Some(fd)) => self.came = fd,
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
        self.came.take()
    }

    /// Throws away the wakes that lie in the socket: none of them is for what comes.
    pub(crate) fn drain(&self) {
        let mut bytes = [0u8; 8];
        while matches!(rustix::net::recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT), Ok((1.., _))) {}
    }

    /// Whether the client has taken back what it waits for.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.area.word(proto::CANCEL).load(std::sync::atomic::Ordering::SeqCst) != 0
    }

    /// Answers. False when the client is gone.
    pub(crate) fn reply(&mut self, mut reply: Reply, fd: Option<OwnedFd>) -> bool {
        reply.with_fd = fd.is_some();
        self.area.set_reply(reply.to_bytes());
        if let Some(fd) = fd
            && send(&self.socket, Some(&fd)).is_err()
        {
            return false;
        }
        if self.area.give_turn(proto::TURN_REPLY, proto::CLIENT_SLEEPS) {
            return send(&self.socket, None).is_ok();
        }
        true
    }
}

/// Sends the wake byte, with a descriptor or without.
pub(crate) fn send(socket: &OwnedFd, fd: Option<&OwnedFd>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(&[proto::WAKE])], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// One message: `None` when the other side is gone, else the descriptor it brought, if any.
pub(crate) fn receive(socket: &OwnedFd) -> rustix::io::Result<Option<Option<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0u8; 8];
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last().or(fd);
        }
    }
    Ok(Some(fd))
}
