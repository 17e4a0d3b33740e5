//! Timers by a virtual clock: alarms, timers that a program makes, and those that are descriptors.
//!
//! Each that is set has a thread that waits for its time as a program that sleeps would, so the clock stops there and a recording
//! shows it. A program's timers go with it, wherever and however it ends.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use dmlab_kernel_calls::{ClockWait, FIRST_TIMER, Kernel};
use dmlab_machine::Instant;
use dmlab_shim_proto::front::timer_kinds;
use dmlab_units::Errno;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::driver::{ThreadDriver, Time};
use crate::signals::TimerSignal;
use dmlab_view::errno;

/// What a new timer is for.
pub(super) struct Purpose {
    pub(super) kind: u32,
    pub(super) signal: i32,
    pub(super) thread: i32,
    pub(super) value: u64,
    pub(super) nonblocking: bool,
}

/// What happens when the time is up.
enum Effect {
    /// SIGALRM, of which no program wants to know more.
    Alarm(Arc<OwnedFd>),
    Signal(Arc<OwnedFd>, TimerSignal),
    ThreadSignal {
        process: Arc<OwnedFd>,
        pid: i32,
        thread: i32,
        what: TimerSignal,
    },
    Nothing,
    /// The write end of a pipe.
    Pipe(OwnedFd),
}

/// When a timer is up.
#[derive(Clone, Copy, Default)]
struct Setting {
    due: Option<Instant>,
    every: Duration,
    /// Counts the settings: what waits for an older one has nothing to do any more.
    number: u64,
}

struct Timer {
    effect: Effect,
    /// Its process; `None` for a descriptor, which may go from hand to hand.
    owner: Option<i32>,
    setting: Mutex<Setting>,
    /// The waits for it that have not ended yet.
    waits: Mutex<Vec<(u64, Arc<ClockWait>)>>,
}

/// In what a descriptor is watched by: it is that of a process.
const PROCESS: u64 = 1 << 63;
/// In the number of a timer and in what it is watched by: it is a descriptor, whose inode is the rest.
const DESCRIPTOR: u64 = 1 << 62;

/// So many timers a machine has at most: each that is set has a thread.
const MOST: usize = 4096;

/// How a timer is found: the process, if it is its alarm, and the number.
type Key = (i32, u64);

/// What the thread of a timer does.
type Wait = Box<dyn FnOnce() + Send>;

/// All timers of a machine.
pub(crate) struct Timers {
    driver: Arc<ThreadDriver>,
    kernel: Arc<dyn Kernel>,
    timers: Mutex<HashMap<Key, Arc<Timer>>>,
    /// The processes that have any.
    processes: Mutex<HashMap<i32, Arc<OwnedFd>>>,
    last_timer: AtomicU64,
    last_client: AtomicU64,
    /// Makes a thread.
    spawn: fn(&str, Wait) -> io::Result<JoinHandle<()>>,
    /// Watches processes and the pipes of descriptors.
    pub(super) epoll: Arc<OwnedFd>,
}

impl Timers {
    pub(super) fn new(kernel: Arc<dyn Kernel>, driver: Arc<ThreadDriver>) -> io::Result<Timers> {
        Ok(Timers {
            kernel,
            driver,
            timers: Mutex::default(),
            processes: Mutex::default(),
            last_timer: AtomicU64::new(0),
            last_client: AtomicU64::new(FIRST_TIMER),
            spawn: |name, wait| super::spawn(name, wait),
            epoll: Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?),
        })
    }

    fn now(&self) -> Instant {
        self.kernel.machine().runtime().now()
    }

    /// The process of a client, which is watched from now on.
    pub(super) fn process(&self, pid: i32) -> Result<Arc<OwnedFd>, Errno> {
        let mut processes = self.processes.lock();
        if let Some(process) = processes.get(&pid) {
            return Ok(process.clone());
        }
        // One in a pid namespace that cannot be seen from here.
        let known = Pid::from_raw(pid).ok_or(Errno::ENOSYS)?;
        let process = Arc::new(pidfd_open(known, PidfdFlags::empty()).map_err(errno)?);
        let watched = epoll::EventData::new_u64(PROCESS | pid as u64);
        epoll::add(&self.epoll, &*process, watched, epoll::EventFlags::IN | epoll::EventFlags::ET)
            .map_err(errno)?;
        processes.insert(pid, process.clone());
        Ok(process)
    }

    /// Makes a timer. Its number, and the descriptor for one that is for that.
    pub(super) fn make(&self, pid: i32, what: Purpose) -> Result<(u64, Option<OwnedFd>), Errno> {
        if self.driver.time() != Time::Virtual {
            return Err(Errno::ENOSYS);
        }
        if what.kind == timer_kinds::DESCRIPTOR {
            return self.make_pipe(&what);
        }
        let number = self.last_timer.fetch_add(1, Ordering::Relaxed) + 1;
        let signal = || {
            let known = (1..=64).contains(&what.signal).then_some(what.signal).ok_or(Errno::EINVAL)?;
            Ok(TimerSignal { signal: known, timer: number as i32, value: what.value })
        };
        let effect = match what.kind {
            timer_kinds::SIGNAL => Effect::Signal(self.process(pid)?, signal()?),
            timer_kinds::THREAD_SIGNAL => {
                let task = format!("/proc/{pid}/task/{}", what.thread);
                if what.thread <= 0 || !std::path::Path::new(&task).exists() {
                    return Err(Errno::EINVAL);
                }
                let process = self.process(pid)?;
                Effect::ThreadSignal { process, pid, thread: what.thread, what: signal()? }
            }
            timer_kinds::NOTHING => {
                self.process(pid)?;
                Effect::Nothing
            }
            _ => return Err(Errno::EINVAL),
        };
        self.insert((0, number), effect, Some(pid))?;
        Ok((number, None))
    }

    fn make_pipe(&self, what: &Purpose) -> Result<(u64, Option<OwnedFd>), Errno> {
        // Of more than a page: that is how placeholders are known.
        let (read_end, write_end) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(errno)?;
        if !what.nonblocking {
            rustix::fs::fcntl_setfl(&read_end, OFlags::empty()).map_err(errno)?;
        }
        let number = DESCRIPTOR | rustix::fs::fstat(&read_end).map_err(errno)?.st_ino;
        // Its other end reports an error when the last copy of this one is closed.
        let watched = epoll::EventData::new_u64(number);
        epoll::add(&self.epoll, &write_end, watched, epoll::EventFlags::ET).map_err(errno)?;
        self.insert((0, number), Effect::Pipe(write_end), None)?;
        Ok((number, Some(read_end)))
    }

    /// EAGAIN: there are too many.
    fn insert(&self, key: Key, effect: Effect, owner: Option<i32>) -> Result<Arc<Timer>, Errno> {
        let timer = Arc::new(Timer { effect, owner, setting: Mutex::default(), waits: Mutex::default() });
        let mut timers = self.timers.lock();
        if timers.len() >= MOST {
            return Err(Errno::EAGAIN);
        }
        timers.insert(key, timer.clone());
        Ok(timer)
    }

    /// A timer of a process, or a descriptor.
    fn find(&self, pid: i32, number: u64) -> Result<Arc<Timer>, Errno> {
        if number != 0 {
            let timer = self.timers.lock().get(&(0, number)).cloned();
            return timer.filter(|timer| timer.owner.is_none_or(|owner| owner == pid)).ok_or(Errno::EINVAL);
        }
        let found = self.timers.lock().get(&(pid, 0)).cloned();
        match found {
            Some(timer) => Ok(timer),
            None => self.insert((pid, 0), Effect::Alarm(self.process(pid)?), Some(pid)),
        }
    }

    /// Sets a timer. What is left of the former setting, and its interval. EAGAIN: the host has no room for its thread; the timer
    /// stands as it stood.
    pub(super) fn set(
        self: &Arc<Self>,
        pid: i32,
        number: u64,
        first: Duration,
        every: Duration,
    ) -> Result<[u8; 16], Errno> {
        if self.driver.time() != Time::Virtual {
            return Err(Errno::ENOSYS);
        }
        let timer = self.find(pid, number)?;
        // First the thread, as it may fail: what was set before is taken back only when there is one.
        let waiter = if first.is_zero() { None } else { Some(self.waiter(&timer)?) };
        let before = self.disarm(&timer);
        if let Effect::Pipe(pipe) = &timer.effect {
            take_back(pipe);
        }
        if let Some(waiter) = waiter {
            let due = self.now() + first;
            let number = {
                let mut setting = timer.setting.lock();
                *setting = Setting { due: Some(due), every, number: setting.number + 1 };
                setting.number
            };
            // Its thread waits for nothing else.
            let _ = waiter.send(number);
        }
        Ok(before)
    }

    /// A thread that waits for `timer` in the setting of the number that is sent to it.
    fn waiter(self: &Arc<Self>, timer: &Arc<Timer>) -> Result<Sender<u64>, Errno> {
        let (sender, setting) = mpsc::channel();
        let coming = self.driver.begin_call();
        let (timers, timer) = (self.clone(), timer.clone());
        let wait = move || {
            let _call = coming;
            if let Ok(number) = setting.recv() {
                timers.wait_for(&timer, number);
            }
        };
        (self.spawn)("dmlab-timer", Box::new(wait)).map_err(|_| Errno::EAGAIN)?;
        Ok(sender)
    }

    /// How a timer stands.
    pub(super) fn get(&self, pid: i32, number: u64) -> Result<[u8; 16], Errno> {
        Ok(self.shown(*self.find(pid, number)?.setting.lock()))
    }

    fn shown(&self, setting: Setting) -> [u8; 16] {
        // A moment at least, or it would look as if it were not set.
        let left = setting.due.map_or(0, |due| (due.saturating_since(self.now()).as_nanos() as u64).max(1));
        let every = if setting.due.is_some() { setting.every.as_nanos() as u64 } else { 0 };
        let mut shown = [0; 16];
        shown[..8].copy_from_slice(&left.to_le_bytes());
        shown[8..].copy_from_slice(&every.to_le_bytes());
        shown
    }

    /// Ends a timer; 0: all that a process has made.
    pub(super) fn end(&self, pid: i32, number: u64) -> Result<(), Errno> {
        if number != 0 {
            let timer = self.find(pid, number)?;
            self.disarm(&timer);
            self.timers.lock().remove(&(0, number));
            return Ok(());
        }
        self.drop_all(|key, timer| *key != (pid, 0) && timer.owner == Some(pid));
        Ok(())
    }

    fn drop_all(&self, which: impl Fn(&Key, &Timer) -> bool) {
        let mut timers = self.timers.lock();
        let keys: Vec<Key> =
            timers.iter().filter(|(key, timer)| which(key, timer)).map(|(key, _)| *key).collect();
        let dropped: Vec<_> = keys.iter().filter_map(|key| timers.remove(key)).collect();
        drop(timers);
        for timer in dropped {
            self.disarm(&timer);
        }
    }

    /// Something that is watched has an end. Whether it was of a timer.
    pub(super) fn has_heard(&self, of: u64) -> bool {
        if of & PROCESS != 0 {
            let pid = (of & !PROCESS) as i32;
            self.processes.lock().remove(&pid);
            self.drop_all(|_, timer| timer.owner == Some(pid));
        } else if of & DESCRIPTOR != 0 {
            self.drop_all(|key, _| key.1 == of);
        }
        of & (PROCESS | DESCRIPTOR) != 0
    }

    /// Takes a timer's wait back. Returns how it stood.
    fn disarm(&self, timer: &Timer) -> [u8; 16] {
        let mut setting = timer.setting.lock();
        let before = *setting;
        *setting = Setting { number: before.number + 1, ..Setting::default() };
        drop(setting);
        for (client, wait) in &*timer.waits.lock() {
            self.kernel.take_back(*client, wait);
        }
        self.shown(before)
    }

    /// Waits for a timer in its setting of this number, again and again if it has an interval.
    fn wait_for(&self, timer: &Timer, number: u64) {
        let client = self.last_client.fetch_add(1, Ordering::Relaxed);
        let wait = Arc::new(ClockWait::default());
        timer.waits.lock().push((client, wait.clone()));
        loop {
            let setting = *timer.setting.lock();
            let Some(due) = setting.due.filter(|_| setting.number == number) else { break };
            wait.begin();
            // Setting it anew from here on takes this wait back.
            if timer.setting.lock().number != number {
                break;
            }
            let is_up = self.kernel.sleep(client, due, &wait).is_ok_and(|left| left.is_zero());
            let mut setting = timer.setting.lock();
            if !is_up || setting.number != number {
                break;
            }
            setting.due = (!setting.every.is_zero()).then_some(due + setting.every);
            timer.happen();
        }
        timer.waits.lock().retain(|(other, _)| *other != client);
    }
}

impl Timer {
    /// Its time is up.
    fn happen(&self) {
        // A process that has ended by now hears of nothing any more.
        match &self.effect {
            Effect::Alarm(process) => {
                let _ = pidfd_send_signal(process.as_fd(), Signal::ALARM);
            }
            Effect::Signal(process, what) => {
                let _ = what.send(process.as_fd());
            }
            Effect::ThreadSignal { process, pid, thread, what } => {
                // As long as this answers, no other process has the number.
                if lives(process) {
                    let _ = what.send_to_thread(*pid, *thread);
                }
            }
            Effect::Nothing => {}
            Effect::Pipe(pipe) => {
                let times = take_back(pipe) + 1;
                let _ = rustix::io::write(pipe, &times.to_ne_bytes());
            }
        }
    }
}

/// Whether a process has not ended yet.
pub(super) fn lives(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
}

/// Takes back what has not been read yet. A pipe can be opened by its other end's name for a moment.
fn take_back(pipe: &OwnedFd) -> u64 {
    let name = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(read_end) = rustix::fs::open(name, flags, Mode::empty()) else { return 0 };
    let mut times = [0; 8];
    match rustix::io::read(&read_end, &mut times) {
        Ok(8) => u64::from_ne_bytes(times),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use dmlab_machine::{BootOptions, Machine};

    use super::*;

    #[test]
    fn a_timer_that_can_have_no_thread_stands_as_it_stood() {
        let driver = ThreadDriver::new(Time::Virtual);
        let machine =
            Machine::boot(BootOptions { driver: driver.clone(), ..BootOptions::default() }).unwrap();
        let mut timers = Timers::new(Arc::new(machine), driver).unwrap();
        timers.spawn = |_, _| Err(io::ErrorKind::WouldBlock.into());
        let timers = Arc::new(timers);
        let kind = timer_kinds::DESCRIPTOR;
        let what = Purpose { kind, signal: 0, thread: 0, value: 0, nonblocking: true };
        let (number, _read_end) = timers.make(1, what).unwrap();
        let (second, never) = (Duration::from_secs(1), Duration::ZERO);
        assert_eq!(timers.set(1, number, second, never), Err(Errno::EAGAIN));
        assert_eq!(timers.get(1, number), Ok([0; 16]), "it is not set");
        let set = Setting { due: Some(timers.now() + 2 * second), every: second, number: 7 };
        *timers.find(1, number).unwrap().setting.lock() = set;
        assert_eq!(timers.set(1, number, second, never), Err(Errno::EAGAIN));
        assert_eq!(timers.get(1, number), Ok(timers.shown(set)), "what was set before still is");
    }
}
