//! System V semaphores: the calls of programs on them, and how these wait.
//!
//! A wait is one for the machine's clock if it has a limit, and one for nothing else than its end if it has none. What ends it is told
//! to the waiter as a signal would be: it looks then whether its operations were done.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dmlab_kernel_calls::{ClockWait, Kernel};
use dmlab_shim_proto::{NO_LIMIT, Reply, SemaphoreOperation};
use dmlab_units::Errno;
use parking_lot::Mutex;

use super::channel::Channel;
use super::session::{Answer, Session, value};
use super::timers::lives;
use crate::driver::Time;
use crate::semaphores::{Begun, Caller, Command, Table, WaitNumber};

/// The upper half of the key of each cookie's semaphore; the lower half are the low 16 bits of DM_COOKIE
/// (kernel/dm-core.md#cookies).
const COOKIES: u32 = 0x0D4D;

/// A `semop` that waits.
struct Waiter {
    wait: Arc<ClockWait>,
    client: u64,
    /// What its operations came to.
    outcome: Mutex<Option<Result<(), Errno>>>,
}

#[derive(Default)]
struct State {
    table: Table,
    waiters: HashMap<WaitNumber, Arc<Waiter>>,
    /// Processes whose end undoes something.
    processes: HashMap<i32, Arc<OwnedFd>>,
}

/// The semaphores of a run.
pub(crate) struct Semaphores {
    state: Mutex<State>,
    kernel: Arc<dyn Kernel>,
    time: Time,
}

impl Semaphores {
    pub(super) fn new(kernel: Arc<dyn Kernel>, time: Time) -> Semaphores {
        Semaphores { state: Mutex::default(), kernel, time }
    }

    /// What programs see that the realtime clock shows, in seconds.
    fn now(&self) -> i64 {
        let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let jumped = match self.time {
            Time::Virtual => Duration::from_nanos(self.kernel.machine().runtime().now().as_nanos()),
            Time::Real => Duration::ZERO,
        };
        (host + jumped).as_secs() as i64
    }

    /// Does `work` on the semaphores as they are after what has ended by now, then tells those whose wait it ended.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        // A parent that has seen its child's end sees also what that undid.
        let ended: Vec<i32> =
            state.processes.iter().filter(|(_, process)| !lives(process)).map(|(pid, _)| *pid).collect();
        for pid in ended {
            state.processes.remove(&pid);
            state.table.process_ended(pid, self.now());
        }
        let result = work(&mut state);
        let ended = state.table.take_ended();
        let told: Vec<Arc<Waiter>> = ended
            .into_iter()
            .filter_map(|(number, outcome)| {
                let waiter = state.waiters.remove(&number)?;
                *waiter.outcome.lock() = Some(outcome);
                Some(waiter)
            })
            .collect();
        drop(state);
        for waiter in told {
            self.kernel.take_back(waiter.client, &waiter.wait);
        }
        result
    }

    /// A process has ended.
    pub(super) fn look_for_ends(&self) {
        self.with(|_| ());
    }
}

impl dmlab_view::Semaphores for Semaphores {
    fn complete(&self, cookie: u32) {
        let base = cookie & 0xffff;
        if base == 0 {
            return;
        }
        let udev = Caller { pid: std::process::id() as i32, uid: 0, gid: 0, now: self.now() };
        self.with(|State { table, .. }| {
            let Ok(set) = table.get(udev, (COOKIES << 16 | base) as i32, 1, 0) else { return };
            // A count that is 0 already, or a set that went away, is another program's doing and no harm.
            let _ = table.operate(udev, set, vec![SemaphoreOperation::new(0, -1).without_wait()]);
        });
    }

    fn listing(&self) -> String {
        self.state.lock().table.listing()
    }
}

impl Session {
    fn caller(&self, uid: u32, gid: u32) -> Caller {
        Caller { pid: self.pid, uid, gid, now: self.shared.semaphores.now() }
    }

    pub(super) fn get_semaphores(&self, key: i32, len: i32, flags: i32, (uid, gid): (u32, u32)) -> Answer {
        let caller = self.caller(uid, gid);
        value(self.shared.semaphores.with(|state| state.table.get(caller, key, len, flags))?.into())
    }

    pub(super) fn control_semaphores(
        &self,
        set: i32,
        what: Command<'_>,
        (uid, gid): (u32, u32),
        out: &mut [u8],
    ) -> Answer {
        let caller = self.caller(uid, gid);
        let (value, bytes) = self.shared.semaphores.with(|state| state.table.control(caller, set, what))?;
        out.get_mut(..bytes.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(&bytes);
        Ok((Reply { value, len: bytes.len() as u32, ..Reply::default() }, None))
    }

    /// Does operations on a set, or waits until they are done, `nanos` have passed, or the client takes the wait back.
    pub(super) fn operate_semaphores(
        &self,
        set: i32,
        nanos: u64,
        operations: Vec<SemaphoreOperation>,
        (uid, gid): (u32, u32),
        channel: &Channel,
    ) -> Answer {
        let semaphores = &self.shared.semaphores;
        let caller = self.caller(uid, gid);
        let process = match operations.iter().any(|operation| operation.is_undone()) {
            true => Some(self.shared.timers.process(self.pid)?),
            false => None,
        };
        let waiter = Arc::new(Waiter {
            wait: self.watched.wait.clone(),
            client: self.client,
            outcome: Mutex::default(),
        });
        let begun = semaphores.with(|state| {
            let begun = state.table.operate(caller, set, operations)?;
            state.processes.extend(process.map(|process| (self.pid, process)));
            if let Begun::Waits(number) = begun {
                state.waiters.insert(number, waiter.clone());
            }
            Ok::<Begun, Errno>(begun)
        })?;
        let Begun::Waits(number) = begun else { return value(0) };
        let why = self.wait_for_semaphores(&waiter, nanos, channel);
        semaphores.with(|state| {
            state.waiters.remove(&number);
            state.table.leave(number);
        });
        // What was done just then is done.
        let outcome = waiter.outcome.lock().take();
        outcome.unwrap_or(Err(why)).and_then(|()| value(0))
    }

    /// Waits until an outcome is there, or for one of the other ends: EAGAIN is that of the limit, EINTR a signal's.
    fn wait_for_semaphores(&self, waiter: &Waiter, nanos: u64, channel: &Channel) -> Errno {
        // As for a sleep: what lies in the socket by now is from before.
        channel.drain();
        self.shared.files.drain();
        let Ok(_listening) = self.listen() else { return Errno::EIO };
        let mut left = (nanos != NO_LIMIT).then(|| Duration::from_nanos(nanos));
        let wait = &self.watched.wait;
        let kernel = &self.shared.kernel;
        let why = loop {
            if left.is_some() {
                wait.begin();
            } else {
                wait.begin_without_limit();
            }
            if waiter.outcome.lock().is_some() {
                break Errno::EAGAIN;
            }
            if channel.is_cancelled() || self.interrupt.is_raised() {
                break Errno::EINTR;
            }
            match left {
                Some(Duration::ZERO) => break Errno::EAGAIN,
                Some(time) => {
                    let until = kernel.machine().runtime().now() + time;
                    match kernel.sleep(self.client, until, wait) {
                        Ok(time) => left = Some(time),
                        Err(errno) => break errno,
                    }
                }
                None => kernel.wait(wait),
            }
        };
        wait.end();
        why
    }
}
