//! Memory shared with programs, mapped: the area of a channel, and the page that shows a virtual clock. But for one
//! system call in `signals` the one place of this crate with `unsafe`.
//!
//! The other side may scribble over the area at any time. Headers and replies are therefore copied out before they are
//! looked at; only the data of reads and writes is used in place, where any byte is as good as another and a program that
//! changes its own data during a call gets what it would get from a kernel: either version.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use dmlab_shim_proto as proto;
use proto::{AREA_LEN, DATA_LEN, DATA_OFFSET, HEADER_LEN, HEADER_OFFSET, REPLY_LEN, REPLY_OFFSET};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

/// A mapped area.
pub(crate) struct Area {
    at: *mut u8,
}

// SAFETY: the area is memory of its own; its words are atomic, and which side may touch the rest is the protocol's business.
unsafe impl Send for Area {}
// SAFETY: shared references only reach the atomic words.
unsafe impl Sync for Area {}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), AREA_LEN) };
    }
}

impl Area {
    /// A new area and the descriptor to map it by. It cannot be made smaller, so touching it cannot kill us.
    pub(crate) fn create() -> io::Result<(Area, OwnedFd)> {
        let memory =
            rustix::fs::memfd_create("dmlab-channel", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, AREA_LEN as u64)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Area::map(&memory)?, memory))
    }

    /// Maps an area that the other side made.
    pub(crate) fn map(memory: impl AsFd) -> io::Result<Area> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice.
        let at = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                AREA_LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                memory,
                0,
            )?
        };
        Ok(Area { at: at.cast() })
    }

    /// One of the control words.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset + 4 <= DATA_OFFSET && offset.is_multiple_of(4));
        // SAFETY: inside the mapping and aligned; the other side uses it atomically too.
        unsafe { &*self.at.add(offset).cast::<AtomicU32>() }
    }

    fn copy_out<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut out = [0; N];
        // SAFETY: inside the mapping; the bytes are copied before they are judged.
        unsafe { std::ptr::copy_nonoverlapping(self.at.add(offset), out.as_mut_ptr(), N) };
        out
    }

    fn copy_in<const N: usize>(&mut self, offset: usize, from: [u8; N]) {
        // SAFETY: inside the mapping.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.at.add(offset), N) };
    }

    /// The request header.
    pub(crate) fn header(&self) -> [u8; HEADER_LEN] {
        self.copy_out(HEADER_OFFSET)
    }

    /// Leaves a request header.
    pub(crate) fn set_header(&mut self, header: [u8; HEADER_LEN]) {
        self.copy_in(HEADER_OFFSET, header);
    }

    /// The reply.
    pub(crate) fn reply(&self) -> [u8; REPLY_LEN] {
        self.copy_out(REPLY_OFFSET)
    }

    /// Leaves a reply.
    pub(crate) fn set_reply(&mut self, reply: [u8; REPLY_LEN]) {
        self.copy_in(REPLY_OFFSET, reply);
    }

    /// The data part.
    pub(crate) fn data(&mut self) -> &mut [u8] {
        // SAFETY: inside the mapping; it is this side's turn (see the head of the module for a side that cheats).
        unsafe { std::slice::from_raw_parts_mut(self.at.add(DATA_OFFSET), DATA_LEN) }
    }

    /// Says that this side sleeps on the socket from now on. True: it need not, since the turn is `wanted` already.
    pub(crate) fn about_to_sleep(&self, word: usize, wanted: u32) -> bool {
        self.word(word).store(proto::ON_SOCKET, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // When the other side has taken the word back, its wake is on the way and must be read.
        self.turn() == wanted && self.word(word).swap(0, Ordering::SeqCst) == proto::ON_SOCKET
    }

    /// Gives the turn away. True: the other side sleeps and must be woken by a message.
    pub(crate) fn give_turn(&self, turn: u32, sleeper: usize) -> bool {
        self.word(proto::TURN).store(turn, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        match self.word(sleeper).swap(0, Ordering::SeqCst) {
            proto::ON_SOCKET => true,
            proto::ON_TURN => {
                // Where no side is left there is none to be woken.
                let _ = futex::wake(self.word(proto::TURN), futex::Flags::empty(), 1);
                false
            }
            _ => false,
        }
    }

    /// Whose turn it is.
    pub(crate) fn turn(&self) -> u32 {
        self.word(proto::TURN).load(Ordering::Acquire)
    }
}

/// The page by which programs see how far a virtual clock has jumped. They map it for reading.
pub(crate) struct ClockPage {
    at: *mut u8,
}

// SAFETY: only one atomic word of the page is ever touched.
unsafe impl Send for ClockPage {}
// SAFETY: as above.
unsafe impl Sync for ClockPage {}

impl Drop for ClockPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `create` with this length, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), proto::CLOCK_LEN) };
    }
}

impl ClockPage {
    /// Makes the file and maps it. It lies in a folder that only the machine's owner can enter.
    pub(crate) fn create(path: &std::path::Path) -> io::Result<ClockPage> {
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(proto::CLOCK_LEN as u64)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice, as long as the file is.
        let at = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), proto::CLOCK_LEN, protection, MapFlags::SHARED, &file, 0)?
        };
        Ok(ClockPage { at: at.cast() })
    }

    /// Says how many nanoseconds the clock has jumped so far.
    pub(crate) fn show(&self, nanos: u64) {
        // SAFETY: the page begins with an aligned word, which programs read atomically.
        unsafe { &*self.at.cast::<AtomicU64>() }.store(nanos, Ordering::Release);
    }
}
