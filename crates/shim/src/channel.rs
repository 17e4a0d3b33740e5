//! Calls to the server. A process has a pool of channels and a call takes a free one, so that threads, signal handlers and
//! vfork children (which share this memory while their parent stands still) never wait for one another. A channel's data
//! lies in shared memory; its socket only carries descriptors and wakes the side that sleeps.

use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use dmlab_shim_proto as proto;
use proto::{Reply, Request};

use crate::{state, sys};

/// One channel's place in the pool.
struct Slot {
    state: AtomicU32,
    fd: AtomicI32,
    /// Inode of the socket: a program may close all its descriptors and get the number back for something else.
    ino: AtomicU64,
    area: AtomicPtr<u8>,
    /// The process that connected it: for the server its calls are that one's.
    process: AtomicI32,
    /// The thread that waits for a limit on it, and where on its stack; 0: none does.
    thread: AtomicI32,
    frame: AtomicUsize,
}

const EMPTY: u32 = 0;
const FREE: u32 = 1;
const BUSY: u32 = 2;

static SLOTS: [Slot; 512] = [const {
    Slot {
        state: AtomicU32::new(EMPTY),
        fd: AtomicI32::new(-1),
        ino: AtomicU64::new(0),
        area: AtomicPtr::new(core::ptr::null_mut()),
        process: AtomicI32::new(0),
        thread: AtomicI32::new(0),
        frame: AtomicUsize::new(0),
    }
}; 512];

/// How often a side looks at the turn word before it sleeps: a few microseconds.
const SPINS: u32 = 200;

/// A channel taken for one call.
pub(crate) struct Call {
    slot: &'static Slot,
    /// It is of no use to the next one.
    is_only: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_only {
            self.give_up();
        }
        self.slot.thread.store(0, Ordering::Relaxed);
        let free = if self.slot.area.load(Ordering::Relaxed).is_null() { EMPTY } else { FREE };
        self.slot.state.store(free, Ordering::Release);
    }
}

/// In a forked child: the parent's channels are the parent's. Closes the copies of their sockets, or the server would not
/// see the parent die.
pub(crate) fn forget_parents_channels() {
    for slot in &SLOTS {
        slot.thread.store(0, Ordering::Relaxed);
        let area = slot.area.swap(core::ptr::null_mut(), Ordering::Relaxed);
        if slot.state.swap(EMPTY, Ordering::Relaxed) != EMPTY && !area.is_null() {
            close_socket(slot);
            let _ = sys::munmap(area, proto::AREA_LEN);
        }
    }
}

/// Whether the calling thread is in a signal's handler that has a stack of its own.
fn is_on_signal_stack() -> bool {
    // SAFETY: all zeroes are a valid place for it.
    let mut stack: libc::stack_t = unsafe { core::mem::zeroed() };
    sys::sigaltstack(core::ptr::null(), &mut stack).is_err() || stack.ss_flags & libc::SS_ONSTACK != 0
}

fn close_socket(slot: &Slot) {
    if verify(slot).is_ok() {
        let _ = sys::close(slot.fd.load(Ordering::Relaxed));
    }
    slot.fd.store(-1, Ordering::Relaxed);
}

/// The slot's descriptor, if it is still our socket.
fn verify(slot: &Slot) -> Result<i32, i32> {
    let fd = slot.fd.load(Ordering::Relaxed);
    let stat = sys::fstat(fd)?;
    let is_ours =
        stat.st_mode & libc::S_IFMT == libc::S_IFSOCK && stat.st_ino == slot.ino.load(Ordering::Relaxed);
    if is_ours { Ok(fd) } else { Err(libc::EBADF) }
}

/// A call that needs nothing of the data area but what the request says.
pub(crate) fn ask(request: &Request<'_>) -> Result<Reply, i32> {
    Call::begin()?.send(request, 0, None).map(|(reply, _)| reply)
}

/// Makes a call for what belongs to the calling process, and needs no more of the data area than [`ask`].
pub(crate) fn ask_own(request: &Request<'_>) -> Result<Reply, i32> {
    Call::begin_own()?.send(request, 0, None).map(|(reply, _)| reply)
}

impl Call {
    /// Takes a free channel, connecting one if there is none.
    pub(crate) fn begin() -> Result<Call, i32> {
        if state::just_forked() {
            forget_parents_channels();
        }
        for wanted in [FREE, EMPTY] {
            for slot in &SLOTS {
                if slot.state.load(Ordering::Relaxed) == wanted
                    && slot.state.compare_exchange(wanted, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
                {
                    let mut call = Call { slot, is_only: false };
                    if wanted == FREE && slot.fd.load(Ordering::Relaxed) < 0 {
                        // Its last call was interrupted, which cost it its socket.
                        call.give_up();
                        call.connect()?;
                    } else if wanted == EMPTY {
                        call.connect()?;
                    }
                    return Ok(call);
                }
            }
        }
        Err(libc::ENFILE)
    }

    /// Takes a channel for what belongs to the calling process. A child of a vfork has its parent's memory, but is
    /// another process.
    pub(crate) fn begin_own() -> Result<Call, i32> {
        Call::begin()?.owned()
    }

    /// Another channel, if this one's calls are not the calling process's.
    fn owned(self) -> Result<Call, i32> {
        let me = sys::getpid()? as i32;
        let call = self;
        if call.slot.process.load(Ordering::Relaxed) == me {
            return Ok(call);
        }
        let is_mine = |slot: &&Slot| {
            slot.state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let slot = SLOTS.iter().find(is_mine).ok_or(libc::ENFILE)?;
        let mut own = Call { slot, is_only: true };
        own.connect()?;
        Ok(own)
    }

    /// Takes a channel for a wait that a signal's handler may jump out of. What this thread has left behind in this way is let
    /// go of first.
    ///
    /// # Errors
    /// ENFILE also if there are `most` such waits already.
    pub(crate) fn begin_wait(most: usize) -> Result<Call, i32> {
        let (me, frame) = Call::let_go_of_left(most)?;
        Call::begin().map(|call| call.left_by(me, frame))
    }

    /// As [`Call::begin_wait`], for what belongs to the calling process.
    pub(crate) fn begin_own_wait(most: usize) -> Result<Call, i32> {
        let (me, frame) = Call::let_go_of_left(most)?;
        Call::begin_own().map(|call| call.left_by(me, frame))
    }

    /// Whose call it is, should its frame be jumped out of.
    fn left_by(self, thread: i32, frame: usize) -> Call {
        self.slot.frame.store(frame, Ordering::Relaxed);
        self.slot.thread.store(thread, Ordering::Relaxed);
        self
    }

    /// Lets go of the waits that this thread has jumped out of. Returns the thread and a place on its stack.
    fn let_go_of_left(most: usize) -> Result<(i32, usize), i32> {
        if state::just_forked() {
            forget_parents_channels();
        }
        let me = sys::gettid()? as i32;
        let frame = core::ptr::from_ref(&me).addr();
        let mut nr = 0;
        for slot in &SLOTS {
            let thread = slot.thread.load(Ordering::Relaxed);
            nr += usize::from(slot.state.load(Ordering::Relaxed) == BUSY);
            // The stack grows down: a call that waited below here does not any more, unless this is a handler with a
            // stack of its own.
            if thread == me && slot.frame.load(Ordering::Relaxed) < frame && !is_on_signal_stack() {
                drop(Call { slot, is_only: true });
                nr -= 1;
            }
        }
        if nr >= most {
            return Err(libc::ENFILE);
        }
        Ok((me, frame))
    }

    fn connect(&mut self) -> Result<(), i32> {
        let fd = high(dial()?);
        let connected = self.shake_hands(fd);
        if connected.is_err() {
            let _ = sys::close(fd);
        }
        connected
    }

    fn shake_hands(&mut self, fd: i32) -> Result<(), i32> {
        let memory = loop {
            match receive(fd) {
                Ok((0, _)) => return Err(libc::ENXIO),
                Ok((_, Some(memory))) => break memory,
                Ok(_) | Err(libc::EINTR) => continue,
                Err(errno) => return Err(errno),
            }
        };
        let area = sys::mmap(proto::AREA_LEN, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, memory);
        let _ = sys::close(memory);
        let area = area? as *mut u8;
        self.slot.ino.store(sys::fstat(fd)?.st_ino, Ordering::Relaxed);
        self.slot.fd.store(fd, Ordering::Relaxed);
        self.slot.process.store(sys::getpid()? as i32, Ordering::Relaxed);
        self.slot.area.store(area, Ordering::Release);
        match self.send(&Request::Hello { protocol: proto::PROTOCOL }, 0, None)?.0.value {
            0 => Ok(()),
            _ => {
                self.give_up();
                Err(libc::EPROTO)
            }
        }
    }

    /// Drops the connection; the slot is empty when the call ends.
    pub(crate) fn give_up(&mut self) {
        let area = self.slot.area.swap(core::ptr::null_mut(), Ordering::Relaxed);
        if !area.is_null() {
            let _ = sys::munmap(area, proto::AREA_LEN);
        }
        close_socket(self.slot);
    }

    fn area(&self) -> *mut u8 {
        self.slot.area.load(Ordering::Relaxed)
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the area is mapped while this call holds the slot, and the words are aligned inside its first page.
        unsafe { &*self.area().add(offset).cast::<AtomicU32>() }
    }

    /// The data part of the area.
    pub(crate) fn data(&mut self) -> &mut [u8] {
        // SAFETY: mapped while this call holds the slot; the server leaves the data alone while it is the client's turn.
        unsafe { core::slice::from_raw_parts_mut(self.area().add(proto::DATA_OFFSET), proto::DATA_LEN) }
    }

    /// The answer's payload.
    pub(crate) fn payload(&mut self, reply: &Reply) -> &mut [u8] {
        &mut self.data()[..reply.len as usize]
    }

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
                let fd = dial().map_err(|_| Lost::InTheCall)?;
                let _ = sys::close(fd);
            }
        }
        Err(Lost::InTheCall)
    }

    fn signal(&self, with: Option<i32>) -> Result<(), i32> {
        let fd = verify(self.slot)?;
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
                Err(libc::EINTR) => continue,
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// A new connection to the server.
fn dial() -> Result<i32, i32> {
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
const LOST: i32 = -1;

/// One message: its length (0: the other side is gone) and the descriptor that came with it.
fn receive(fd: i32) -> Result<(usize, Option<i32>), i32> {
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
fn high(fd: i32) -> i32 {
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
