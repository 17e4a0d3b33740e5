//! Calls to the server. A process has a pool of channels and a call takes a free one, so that threads, signal handlers and
//! vfork children (which share this memory while their parent stands still) never wait for one another. A channel's data
//! lies in shared memory; its socket only carries descriptors and wakes the side that sleeps.

mod exchange;
mod socket;

use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use dmlab_shim_proto as proto;
use proto::Reply;
use proto::front::Request;

pub(crate) use socket::receive_now;
use socket::{dial, high, receive};

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
                Ok(_) | Err(libc::EINTR) => {}
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
}
