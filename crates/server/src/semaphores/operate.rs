//! `semop`: operations that are all done or none, waits, and what is undone.

use dmlab_shim_proto::{SemaphoreOperation, semaphore_limits as limits};
use dmlab_units::Errno;

use super::{ALTER, Caller, READ, Semaphore, Set, Table, WaitNumber, Waiter};

/// What became of a `semop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// All operations are done.
    Done,
    /// The caller waits.
    Waits(WaitNumber),
}

/// What can be done of some operations now.
enum Tried {
    /// All: the values after them, and what is undone of them.
    Done(Vec<Semaphore>, Option<Vec<i16>>),
    /// The operation with this number would have to wait.
    Blocks(usize),
}

impl Set {
    /// Tries operations of a process on the values as they are.
    ///
    /// # Errors
    /// ERANGE: a value would become too large, or what is undone of it would.
    fn try_all(&self, pid: i32, operations: &[SemaphoreOperation]) -> Result<Tried, Errno> {
        let mut after = self.semaphores.clone();
        let mut undo = None;
        for (nr, operation) in operations.iter().enumerate() {
            let number = usize::from(operation.number);
            let semaphore = after.get_mut(number).ok_or(Errno::EFBIG)?;
            let (value, by) = (i32::from(semaphore.value), i32::from(operation.by));
            if (by == 0 && value != 0) || value + by < 0 {
                return Ok(Tried::Blocks(nr));
            }
            if value + by > limits::VALUE {
                return Err(Errno::ERANGE);
            }
            if operation.is_undone() {
                let none = || vec![0; self.semaphores.len()];
                let undo = undo.get_or_insert_with(|| self.undo.get(&pid).cloned().unwrap_or_else(none));
                let back = i32::from(undo[number]) - by;
                if !(-limits::VALUE - 1..=limits::VALUE).contains(&back) {
                    return Err(Errno::ERANGE);
                }
                undo[number] = back as i16;
            }
            *semaphore = Semaphore { value: (value + by) as u16, pid };
        }
        Ok(Tried::Done(after, undo))
    }

    /// Does operations that can be done.
    fn take_over(&mut self, pid: i32, now: i64, after: Vec<Semaphore>, undo: Option<Vec<i16>>) {
        self.semaphores = after;
        self.otime = now;
        if let Some(undo) = undo {
            self.undo.insert(pid, undo);
        }
    }

    /// Ends the waits that values which have changed let go on: those for zero first, then the others in their order.
    pub(super) fn settle(&mut self, now: i64, ended: &mut Vec<(WaitNumber, Result<(), Errno>)>) {
        let only_looks = |waiter: &Waiter| waiter.operations.iter().all(|operation| operation.by == 0);
        'again: loop {
            for looks in [true, false] {
                for at in 0..self.waiters.len() {
                    let waiter = &self.waiters[at];
                    if only_looks(waiter) != looks {
                        continue;
                    }
                    let (number, pid) = (waiter.number, waiter.pid);
                    let outcome = match self.try_all(pid, &waiter.operations) {
                        Ok(Tried::Blocks(blocking)) => {
                            if !waiter.operations[blocking].must_not_wait() {
                                self.waiters[at].blocking = blocking;
                                continue;
                            }
                            Err(Errno::EAGAIN)
                        }
                        Ok(Tried::Done(after, undo)) => {
                            self.take_over(pid, now, after, undo);
                            Ok(())
                        }
                        Err(errno) => Err(errno),
                    };
                    self.waiters.remove(at);
                    ended.push((number, outcome));
                    continue 'again;
                }
            }
            return;
        }
    }

    /// How many wait for semaphore `number`: for zero, or for more.
    pub(super) fn nr_waiting(&self, number: usize, for_zero: bool) -> usize {
        let is_blocked = |waiter: &&Waiter| {
            let operation = waiter.operations[waiter.blocking];
            usize::from(operation.number) == number && (operation.by == 0) == for_zero
        };
        self.waiters.iter().filter(is_blocked).count()
    }
}

impl Table {
    /// Begins a `semop`.
    ///
    /// # Errors
    /// As `semop`'s but EINTR, EIDRM and the EAGAIN of a limit: EINVAL, E2BIG, EFBIG, EACCES, ERANGE, EAGAIN.
    pub(crate) fn operate(
        &mut self,
        caller: Caller,
        id: i32,
        operations: Vec<SemaphoreOperation>,
    ) -> Result<Begun, Errno> {
        if operations.is_empty() {
            return Err(Errno::EINVAL);
        }
        if operations.len() > limits::OPERATIONS {
            return Err(Errno::E2BIG);
        }
        let Caller { pid, now, .. } = caller;
        let set = self.set(id)?;
        if operations.iter().any(|operation| usize::from(operation.number) >= set.semaphores.len()) {
            return Err(Errno::EFBIG);
        }
        let alters = operations.iter().any(|operation| operation.by != 0);
        set.permissions.check(caller, if alters { ALTER } else { READ })?;
        match set.try_all(pid, &operations)? {
            Tried::Done(after, undo) => {
                set.take_over(pid, now, after, undo);
                if alters {
                    self.settle(id, now);
                }
                Ok(Begun::Done)
            }
            Tried::Blocks(blocking) if operations[blocking].must_not_wait() => Err(Errno::EAGAIN),
            Tried::Blocks(blocking) => {
                self.last_wait += 1;
                let number = self.last_wait;
                self.set(id)?.waiters.push_back(Waiter { number, pid, operations, blocking });
                Ok(Begun::Waits(number))
            }
        }
    }

    /// Ends the waits that the values of a set let go on.
    pub(super) fn settle(&mut self, id: i32, now: i64) {
        let mut ended = std::mem::take(&mut self.ended);
        if let Ok(set) = self.set(id) {
            set.settle(now, &mut ended);
        }
        self.ended = ended;
    }

    /// A caller waits no more. One whose wait has ended already is not there.
    pub(crate) fn leave(&mut self, wait: WaitNumber) {
        for set in self.sets.values_mut() {
            set.waiters.retain(|waiter| waiter.number != wait);
        }
    }

    /// A process has ended: what it did with `SEM_UNDO` is undone as far as values go.
    pub(crate) fn process_ended(&mut self, pid: i32, now: i64) {
        let mut ended = std::mem::take(&mut self.ended);
        for set in self.sets.values_mut() {
            let Some(undo) = set.undo.remove(&pid) else { continue };
            for (semaphore, back) in set.semaphores.iter_mut().zip(undo).filter(|(_, back)| *back != 0) {
                let value = (i32::from(semaphore.value) + i32::from(back)).clamp(0, limits::VALUE);
                *semaphore = Semaphore { value: value as u16, pid };
            }
            set.otime = now;
            set.settle(now, &mut ended);
        }
        self.ended = ended;
    }
}
