//! Signals with a value, as timers send them: the one system call for which no library has a safe wrapper.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a timer says with its signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerSignal {
    pub(crate) signal: i32,
    /// The number of the timer.
    pub(crate) timer: i32,
    /// What the program asked to be told.
    pub(crate) value: u64,
}

/// The kernel's `siginfo_t` of a timer: 128 bytes, of which these are the first.
#[repr(C)]
struct Info {
    signal: i32,
    errno: i32,
    code: i32,
    pad: i32,
    timer: i32,
    overrun: i32,
    value: u64,
    rest: [u64; 12],
}

/// `SI_TIMER`.
const BY_TIMER: i32 = -2;

impl TimerSignal {
    fn info(self) -> Info {
        let TimerSignal { signal, timer, value } = self;
        Info { signal, errno: 0, code: BY_TIMER, pad: 0, timer, overrun: 0, value, rest: [0; 12] }
    }

    /// Sends it to a process.
    ///
    /// # Errors
    /// ESRCH when that has ended, EINVAL for a number that is no signal's.
    pub(crate) fn send(self, process: BorrowedFd<'_>) -> io::Result<()> {
        let info = self.info();
        // SAFETY: a descriptor that is open, and as many bytes as the kernel reads.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), self.signal, &raw const info, 0)
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends it to one thread of a process, which its caller knows to live.
    ///
    /// # Errors
    /// As [`TimerSignal::send`].
    pub(crate) fn send_to_thread(self, process: i32, thread: i32) -> io::Result<()> {
        let info = self.info();
        // SAFETY: as many bytes as the kernel reads.
        let sent = unsafe {
            libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, self.signal, &raw const info)
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    #[test]
    fn the_kernel_takes_a_signal_of_a_timer() {
        assert_eq!(size_of::<Info>(), 128);
        let mut child = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let signal = TimerSignal { signal: 1000, timer: 1, value: 7 };
        assert_eq!(signal.send(process.as_fd()).unwrap_err().raw_os_error(), Some(22));
        let signal = TimerSignal { signal: 14, ..signal };
        signal.send_to_thread(pid.as_raw_nonzero().get(), pid.as_raw_nonzero().get()).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(14));
        assert_eq!(signal.send(process.as_fd()).unwrap_err().raw_os_error(), Some(3));
    }
}
