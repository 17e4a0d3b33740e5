//! What programs ask of a simulated kernel: one trait below all fronts.
//!
//! A front carries the calls of programs: it knows their paths, their descriptors and their memory. What it asks for in their name
//! goes through a [`Kernel`]. A [`Machine`] is one. What stands between the two, such as a recorder, is one as well and holds
//! another, so each front has it without knowing of it.
//!
//! A call lends its data ([`FileCall`]): nothing is moved or allocated on the way down, and what a decorator wants to keep of it, it
//! copies itself.
#![forbid(unsafe_code)]

mod machine;
mod program;
mod wait;

use std::io;
use std::ops::Range;
use std::time::Duration;

use dmlab_machine::faults::Lines;
use dmlab_machine::{CarriedMemory, Instant, Interrupt, IoFlags, Machine, OpenMode};
use dmlab_units::{Bytes, DevT, Errno};

pub use program::{Backing, Program};
pub use wait::ClockWait;

/// The client of calls that no client makes: the host's kernel closes what a program leaves open.
pub const NO_CLIENT: u64 = 0;

/// The machine's own timers, which wait for programs, have numbers as clients from here on.
pub const FIRST_TIMER: u64 = 1 << 32;

/// A node of `/dev` that the kernel is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The node `/dev/mapper/control`.
    Control,
    /// The node `/dev/loop-control`.
    LoopControl,
    /// A block device.
    Block {
        /// Its number.
        dev: DevT,
        /// How it is opened.
        mode: OpenMode,
    },
}

/// A simulated kernel as programs see it.
///
/// A client is a thread of a program, or what acts in its place; it has a number and is in one call at a time. Calls of several
/// clients may come side by side.
pub trait Kernel: Send + Sync {
    /// The machine, for what is looked at and not called: its log, its events, its list of devices.
    fn machine(&self) -> &Machine;

    /// Opens a node. Dropping the file closes it.
    ///
    /// # Errors
    /// ENXIO when there is no such device, EBUSY when another holds it exclusively.
    fn open(&self, client: u64, node: Node) -> Result<Box<dyn KernelFile>, Errno>;

    /// A control node that was always open, for dmlab's own commands.
    fn own_control(&self) -> Box<dyn KernelFile>;

    /// Waits for the machine's clock until it is `until` or the wait is taken back. Returns what is left of the time then: zero
    /// when it was slept through, a nanosecond at least when it was not.
    ///
    /// # Errors
    /// EDEADLK when the clock can never get there.
    fn sleep(&self, client: u64, until: Instant, wait: &ClockWait) -> Result<Duration, Errno>;

    /// Waits until the wait is taken back, and for nothing of the machine. It is no call of the kernel: nothing that stands before a
    /// machine sees it.
    fn wait(&self, wait: &ClockWait) {
        // A machine on which nothing can happen any more ends it too.
        let _ = self.machine().runtime().block_on(wait.until(std::future::pending()));
        wait.end();
    }

    /// Takes back what `client` waits for the clock with, if it is still under way.
    fn take_back(&self, client: u64, wait: &ClockWait);

    /// A signal interrupts what `client` waits for, or the client has ended.
    fn interrupt(&self, client: u64, interrupt: &Interrupt);

    /// Carries out a command about rules of faults, as [`run_command`](dmlab_machine::faults::run_command) does.
    ///
    /// # Errors
    /// What is wrong with the command, in words.
    fn fault_command(&self, from: u64, command: &[u8]) -> Lines;

    /// Whether what happens is written down, and so must not depend on when it is looked at.
    fn is_recorded(&self) -> bool {
        false
    }

    /// Says that the programs are done: what is kept of their calls is complete now.
    ///
    /// # Errors
    /// When not all of it could be kept.
    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An open file of a kernel. Dropping it closes it, which may wait for data that is written back.
pub trait KernelFile: Send + Sync {
    /// The node that the file is open on.
    fn node(&self) -> Node;

    /// The size of a block device, where `lseek(SEEK_END)` ends up. `None` for a file without positions.
    fn size(&self) -> Option<Bytes>;

    /// Whether a poll finds the file readable: events since the open or the last DEV_ARM_POLL. Block devices always are.
    fn poll(&self) -> bool;

    /// Makes a call on the file. [`dyn KernelFile`](#impl-dyn+KernelFile) has a method for each.
    ///
    /// # Errors
    /// The errno of the system call.
    fn call(&self, client: u64, call: &mut FileCall<'_>) -> Result<i64, Errno>;
}

/// A call on an open file, with the program's data lent.
pub enum FileCall<'a> {
    /// A read of so many bytes as `into` has. Returns how many came.
    Read {
        /// The position.
        at: Bytes,
        /// The memory for the data.
        into: &'a mut [u8],
        /// How it is done.
        how: IoFlags,
    },
    /// A write. Returns how many bytes went.
    Write {
        /// The position.
        at: Bytes,
        /// The data.
        from: &'a [u8],
        /// How it is done.
        how: IoFlags,
    },
    /// `fsync` or `fdatasync`.
    Sync,
    /// `sync_file_range` that writes.
    WriteBack {
        /// The bytes whose dirty pages reach the device.
        range: Range<u64>,
    },
    /// `fallocate`.
    Fallocate {
        /// The mode's bits.
        mode: u32,
        /// From which byte on.
        offset: i64,
        /// How many bytes.
        len: i64,
    },
    /// An ioctl.
    Ioctl {
        /// The request.
        request: u32,
        /// The argument as a number: an address, or what is meant itself.
        argument: u64,
        /// The program's memory there.
        memory: &'a mut CarriedMemory,
        /// The program, for what the kernel has to ask it.
        program: &'a dyn Program,
    },
}

impl dyn KernelFile + '_ {
    /// Reads from `at` on. Returns how many bytes came.
    ///
    /// # Errors
    /// As [`BlockFile::read_at`](dmlab_machine::BlockFile::read_at); EINVAL for a control node.
    pub fn read(&self, client: u64, at: Bytes, into: &mut [u8], how: IoFlags) -> Result<usize, Errno> {
        self.call(client, &mut FileCall::Read { at, into, how }).map(|got| got as usize)
    }

    /// Writes from `at` on. Returns how many bytes went.
    ///
    /// # Errors
    /// As [`BlockFile::write_at`](dmlab_machine::BlockFile::write_at); EINVAL for a control node.
    pub fn write(&self, client: u64, at: Bytes, from: &[u8], how: IoFlags) -> Result<usize, Errno> {
        self.call(client, &mut FileCall::Write { at, from, how }).map(|put| put as usize)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As [`BlockFile::sync`](dmlab_machine::BlockFile::sync); EINVAL for a control node.
    pub fn sync(&self, client: u64) -> Result<(), Errno> {
        self.call(client, &mut FileCall::Sync).map(drop)
    }

    /// Writes the dirty pages of a range of bytes back.
    ///
    /// # Errors
    /// As [`BlockFile::write_back`](dmlab_machine::BlockFile::write_back); EINVAL for a control node.
    pub fn write_back(&self, client: u64, range: Range<u64>) -> Result<(), Errno> {
        self.call(client, &mut FileCall::WriteBack { range }).map(drop)
    }

    /// Zeroes or discards a range of bytes.
    ///
    /// # Errors
    /// As [`BlockFile::fallocate`](dmlab_machine::BlockFile::fallocate); ENODEV for a control node.
    pub fn fallocate(&self, client: u64, mode: u32, offset: i64, len: i64) -> Result<(), Errno> {
        self.call(client, &mut FileCall::Fallocate { mode, offset, len }).map(drop)
    }

    /// Makes an ioctl of `program`; `memory` is what lies at its argument.
    ///
    /// # Errors
    /// Those of the single request. What `memory` was written to goes back to the program also then.
    pub fn ioctl(
        &self,
        client: u64,
        (request, argument): (u32, u64),
        memory: &mut CarriedMemory,
        program: &dyn Program,
    ) -> Result<i32, Errno> {
        let mut call = FileCall::Ioctl { request, argument, memory, program };
        self.call(client, &mut call).map(|value| value as i32)
    }
}
