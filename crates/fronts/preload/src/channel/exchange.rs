//! One call over a channel: the request goes over, and its answer is waited for, or looked for from time to time.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use dmlab_shim_proto as proto;
use proto::Reply;
use proto::front::Request;

use super::socket::{self, LOST, receive};
use super::{Call, close_socket, verify};
use crate::{state, sys};

/// How often a side looks at the turn word before it sleeps: a few microseconds.
const SPINS: u32 = 200;

impl Call {
    /// Does one call. `tail` bytes of data lie in the area already; `fd` goes with it. A descriptor in the answer belongs to
    /// the caller and is close-on-exec. An error number in the reply is the `Err`.
    pub(crate) fn send(
        &mut self,
        request: &Request<'_>,
        tail: usize,
        fd: Option<i32>,
    ) -> Result<(Reply, Option<i32>), i32> {
        let mut header = request.encode_with_tail(self.data(), tail).map_err(|_| libc::ENAMETOOLONG)?;
        let signals = Signals::during(request);
        let mut answer = self.exchange(&header, fd, signals);
        if answer == Err(Lost::BeforeTheCall) {
            // The program closed our socket under us (daemons do): begin again on a new one, with the same data.
            let old = self.slot.area.swap(core::ptr::null_mut(), Ordering::Relaxed);
            close_socket(self.slot);
            let connected = self.connect();
            if connected.is_ok() && tail > 0 {
                // SAFETY: both areas are mapped, and `tail` bytes lie in the data part of the old one.
                let data = unsafe { core::slice::from_raw_parts(old.add(proto::DATA_OFFSET), tail) };
                self.data()[..tail].copy_from_slice(data);
            }
            let _ = sys::munmap(old, proto::AREA_LEN);
            connected?;
            header = request.encode_with_tail(self.data(), tail).map_err(|_| libc::ENAMETOOLONG)?;
            answer = self.exchange(&header, fd, signals);
        }
        let (reply, fd) = answer.map_err(|_| {
            self.give_up();
            libc::EIO
        })?;
        if reply.value < 0 {
            if let Some(fd) = fd {
                let _ = sys::close(fd);
            }
            return Err(-reply.value as i32);
        }
        Ok((reply, fd))
    }

    /// Begins a call without waiting for its answer: `on` says how the client hears of that. On a channel that was lost it
    /// begins again on a new one.
    pub(crate) fn start(&mut self, request: &Request<'_>, on: u32) -> Result<(), i32> {
        let header = request.encode_with_tail(self.data(), 0).map_err(|_| libc::ENAMETOOLONG)?;
        for is_last in [false, true] {
            self.word(proto::CANCEL).store(0, Ordering::SeqCst);
            self.word(proto::CLIENT_SLEEPS).store(on, Ordering::SeqCst);
            if self.hand_over(&header).is_ok() {
                return Ok(());
            }
            self.give_up();
            if is_last {
                break;
            }
            self.connect()?;
        }
        Err(libc::EIO)
    }

    /// The answer of a call that was begun, if it is there: its value.
    pub(crate) fn take_reply(&mut self) -> Option<Result<u64, i32>> {
        if !self.replied() {
            return None;
        }
        let reply = self.reply();
        self.word(proto::TURN).store(proto::TURN_CLIENT, Ordering::Relaxed);
        Some(match reply {
            Some(Reply { value: 0.., .. }) => Ok(reply.map_or(0, |reply| reply.value as u64)),
            Some(reply) => Err(-reply.value as i32),
            None => Err(libc::EIO),
        })
    }

    /// Takes a call back that was begun. Its answer comes all the same.
    pub(crate) fn cancel(&self) -> Result<(), i32> {
        self.word(proto::CANCEL).store(1, Ordering::SeqCst);
        self.signal(None)
    }

    /// Says that this side sleeps no more. True: the server has seen that it did, and wakes it.
    pub(crate) fn end_sleep(&self) -> bool {
        self.word(proto::CLIENT_SLEEPS).swap(0, Ordering::SeqCst) == 0
    }

    /// The socket, if it is still ours.
    pub(crate) fn socket(&self) -> Result<i32, i32> {
        verify(self.slot)
    }

    /// The word that says whose turn it is.
    pub(crate) fn turn(&self) -> &AtomicU32 {
        self.word(proto::TURN)
    }

    /// Waits for one message.
    pub(crate) fn receive(&self) -> Result<(), ()> {
        loop {
            match verify(self.slot).and_then(receive) {
                Ok((1.., _)) => return Ok(()),
                Err(libc::EINTR) => {}
                Ok(_) | Err(_) => return Err(()),
            }
        }
    }

    fn reply(&self) -> Option<Reply> {
        let mut bytes = [0; proto::REPLY_LEN];
        // SAFETY: the reply's place lies inside the mapped area, and it is the client's turn again.
        unsafe {
            core::ptr::copy_nonoverlapping(
                self.area().add(proto::REPLY_OFFSET),
                bytes.as_mut_ptr(),
                bytes.len(),
            );
        }
        Reply::from_bytes(&bytes)
    }

    /// Gives the request to the server.
    fn hand_over(&self, header: &proto::Header) -> Result<(), Lost> {
        let bytes = header.to_bytes();
        // SAFETY: the header's place lies inside the mapped area, and it is the client's turn.
        unsafe {
            core::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.area().add(proto::HEADER_OFFSET),
                bytes.len(),
            );
        }
        self.word(proto::TURN).store(proto::TURN_SERVER, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.word(proto::SERVER_SLEEPS).swap(0, Ordering::SeqCst) == 1 {
            self.signal(None).map_err(|_| Lost::BeforeTheCall)?;
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        header: &proto::Header,
        fd: Option<i32>,
        signals: Signals,
    ) -> Result<(Reply, Option<i32>), Lost> {
        if signals == Signals::TakeBack {
            self.word(proto::CANCEL).store(0, Ordering::SeqCst);
        }
        if let Some(fd) = fd {
            self.signal(Some(fd)).map_err(|_| Lost::BeforeTheCall)?;
        }
        self.hand_over(header)?;
        let mut came = None;
        let mut interrupted = false;
        if !self.spin() {
            // A wait for a disk is a sleep as in a kernel: no signal wakes it, and none kills it, until the call is over.
            let held = (signals == Signals::Wait).then(sys::hold_signals);
            let slept = self.sleep(&mut came, signals, &mut interrupted);
            if let Some(held) = held {
                sys::release_signals(held);
            }
            slept?;
        }
        let reply = self.reply();
        self.word(proto::TURN).store(proto::TURN_CLIENT, Ordering::Relaxed);
        let reply = reply.ok_or(Lost::InTheCall)?;
        while reply.with_fd && came.is_none() {
            let fd = verify(self.slot).map_err(|_| Lost::InTheCall)?;
            match receive(fd) {
                Ok((0, _)) => return Err(Lost::InTheCall),
                Ok((_, fd)) => came = fd,
                Err(libc::EINTR) => {}
                Err(_) => return Err(Lost::InTheCall),
            }
        }
        let (reply, came) = match came {
            Some(LOST) => (Reply::error(libc::EMFILE), None),
            came => (reply, came),
        };
        if interrupted && signals == Signals::EndTheCall {
            // Our half of the socket is shut: the payload is still needed, so only the descriptor goes now.
            close_socket(self.slot);
        }
        Ok((reply, came))
    }

    fn replied(&self) -> bool {
        self.word(proto::TURN).load(Ordering::Acquire) == proto::TURN_REPLY
    }

    fn spin(&self) -> bool {
        if state::may_spin() {
            for _ in 0..SPINS {
                if self.replied() {
                    return true;
                }
                core::hint::spin_loop();
            }
        }
        self.replied()
    }

    /// Sleeps on the socket until the reply is there. A socket read is restarted by the kernel exactly when the signal that
    /// interrupted it says so (`SA_RESTART`), which is the rule that blocking device calls follow too. A poll never is, which is the
    /// rule of System V.
    fn sleep(&self, came: &mut Option<i32>, signals: Signals, interrupted: &mut bool) -> Result<(), Lost> {
        loop {
            self.word(proto::CLIENT_SLEEPS).store(proto::ON_SOCKET, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if self.replied() && self.word(proto::CLIENT_SLEEPS).swap(0, Ordering::SeqCst) == proto::ON_SOCKET
            {
                return Ok(());
            }
            // Otherwise a wake is on its way (or the server has yet to look at the word).
            let Ok(fd) = verify(self.slot) else { return self.wait_without_socket() };
            if signals == Signals::TakeBack && !*interrupted {
                *interrupted = sys::wait_readable(fd) == Err(libc::EINTR);
                if *interrupted {
                    self.cancel().map_err(|_| Lost::InTheCall)?;
                }
            }
            match receive(fd) {
                Ok((0, _)) => return Err(Lost::InTheCall),
                Ok((_, fd)) => {
                    if fd.is_some() {
                        *came = fd;
                    }
                    if self.replied() && self.word(proto::CLIENT_SLEEPS).load(Ordering::SeqCst) == 0 {
                        return Ok(());
                    }
                }
                Err(libc::EINTR) => {
                    if signals == Signals::EndTheCall && !*interrupted {
                        *interrupted = true;
                        let _ = sys::shutdown(fd, libc::SHUT_WR);
                    }
                }
                Err(_) => return Err(Lost::InTheCall),
            }
        }
    }

    /// The program closed our socket. The server sees the end of it when it next looks; until then it may still be at this
    /// call, and the area says when it has answered or gone.
    fn wait_without_socket(&self) -> Result<(), Lost> {
        let moment = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
        for moments in 1u64.. {
            let gone = self.word(proto::GONE).load(Ordering::SeqCst) != 0;
            if self.replied() {
                return Ok(());
            }
            if gone {
                return Err(Lost::BeforeTheCall);
            }
            let _ = sys::nanosleep(&moment);
            // A server that was killed says nothing: knock from time to time.
            if moments.is_multiple_of(4096) {
                let fd = socket::dial().map_err(|_| Lost::InTheCall)?;
                let _ = sys::close(fd);
            }
        }
        Err(Lost::InTheCall)
    }

    fn signal(&self, with: Option<i32>) -> Result<(), i32> {
        socket::wake(verify(self.slot)?, with)
    }
}

/// What a signal does while a call waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signals {
    /// It waits too: the call waits for a disk.
    Wait,
    /// It ends the call: the server sees half of the socket shut.
    EndTheCall,
    /// It takes back what the call waits for.
    TakeBack,
}

impl Signals {
    fn during(request: &Request<'_>) -> Signals {
        match request {
            Request::Ioctl { cmd, .. } if (cmd >> 8) & 0xff == proto::DM_IOCTL_TYPE => Signals::EndTheCall,
            Request::OperateSemaphores { .. } => Signals::TakeBack,
            _ => Signals::Wait,
        }
    }
}

/// A call that found no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// The server never saw it.
    BeforeTheCall,
    /// The call may or may not have been done.
    InTheCall,
}
