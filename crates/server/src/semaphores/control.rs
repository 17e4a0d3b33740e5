//! `semctl`.

use dmlab_shim_proto::{SemaphoreStatus, semaphore_commands as commands, semaphore_limits as limits};
use dmlab_units::Errno;

use super::{ALTER, Caller, INDEX_BITS, READ, Set, Table};

/// A `semctl`, its set apart: the semaphore's number, the command, the value of `SETVAL`, and what `SETALL` and `IPC_SET` set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command<'a> {
    pub(crate) number: i32,
    pub(crate) command: i32,
    pub(crate) argument: i32,
    pub(crate) data: &'a [u8],
}

/// What a `semctl` returns, and what it writes to the program's memory.
pub(crate) type Controlled = Result<(i64, Vec<u8>), Errno>;

/// `SEMUSZ`, which Linux has never used.
const UNUSED_SIZE: usize = 20;

impl Set {
    fn status(&self) -> SemaphoreStatus {
        let super::Permissions { uid, gid, cuid, cgid, mode } = self.permissions;
        SemaphoreStatus {
            key: self.key,
            uid,
            gid,
            cuid,
            cgid,
            mode,
            sequence: self.id as u32 >> INDEX_BITS,
            otime: self.otime,
            ctime: self.ctime,
            len: self.semaphores.len() as u64,
        }
    }

    /// A value was set: no process undoes anything of the semaphore any more.
    fn value_set(&mut self, number: usize, value: u16, pid: i32) {
        self.semaphores[number] = super::Semaphore { value, pid };
        for undo in self.undo.values_mut() {
            undo[number] = 0;
        }
    }

    /// # Errors
    /// EINVAL: there is no semaphore of this number.
    fn index(&self, number: i32) -> Result<usize, Errno> {
        let is_there = |number: &usize| *number < self.semaphores.len();
        usize::try_from(number).ok().filter(is_there).ok_or(Errno::EINVAL)
    }
}

impl Table {
    /// `semctl`.
    ///
    /// # Errors
    /// As `semctl`'s but EFAULT: EINVAL, EACCES, EPERM, ERANGE.
    pub(crate) fn control(&mut self, caller: Caller, id: i32, what: Command<'_>) -> Controlled {
        if id < 0 {
            return Err(Errno::EINVAL);
        }
        match what.command {
            commands::IPC_INFO | commands::SEM_INFO => Ok(self.info(what.command)),
            commands::SEM_STAT | commands::SEM_STAT_ANY => {
                let index = usize::try_from(id).map_err(|_| Errno::EINVAL)?;
                let set = self.sets.get(&index).ok_or(Errno::EINVAL)?;
                if what.command == commands::SEM_STAT {
                    set.permissions.check(caller, READ)?;
                }
                Ok((set.id.into(), set.status().to_bytes().to_vec()))
            }
            commands::IPC_STAT => {
                let set = self.set(id)?;
                set.permissions.check(caller, READ)?;
                Ok((0, set.status().to_bytes().to_vec()))
            }
            commands::IPC_RMID => {
                self.set(id)?.permissions.check_owner(caller)?;
                self.remove(id);
                Ok((0, Vec::new()))
            }
            commands::IPC_SET => self.change(caller, id, what.data),
            commands::SETVAL => self.set_value(caller, id, what.number, what.argument),
            commands::SETALL => self.set_all(caller, id, what.data),
            _ => self.set(id)?.look(caller, what),
        }
    }

    /// The ten numbers of a `struct seminfo`; the value is the highest place in use.
    fn info(&self, command: i32) -> (i64, Vec<u8>) {
        let (sets, semaphores) = match command {
            commands::SEM_INFO => (self.sets.len(), self.nr_semaphores),
            _ => (UNUSED_SIZE, limits::VALUE as usize),
        };
        let numbers = [
            limits::IN_ALL,
            limits::SETS,
            limits::IN_ALL,
            limits::IN_ALL,
            limits::OF_A_SET,
            limits::OPERATIONS,
            limits::OPERATIONS,
            sets,
            limits::VALUE as usize,
            semaphores,
        ];
        let highest = self.sets.keys().next_back().copied().unwrap_or(0);
        (highest as i64, numbers.iter().flat_map(|&number| (number as i32).to_ne_bytes()).collect())
    }

    fn change(&mut self, caller: Caller, id: i32, data: &[u8]) -> Controlled {
        let set = self.set(id)?;
        set.permissions.check_owner(caller)?;
        let data = data.try_into().map_err(|_| Errno::EINVAL)?;
        let SemaphoreStatus { uid, gid, mode, .. } = SemaphoreStatus::from_bytes(data);
        if [uid, gid].contains(&u32::MAX) {
            return Err(Errno::EINVAL);
        }
        set.permissions = super::Permissions { uid, gid, mode: mode & 0o777, ..set.permissions };
        set.ctime = caller.now;
        Ok((0, Vec::new()))
    }

    fn set_value(&mut self, caller: Caller, id: i32, number: i32, value: i32) -> Controlled {
        let in_range = u16::try_from(value).ok().filter(|&value| i32::from(value) <= limits::VALUE);
        let value = in_range.ok_or(Errno::ERANGE)?;
        let set = self.set(id)?;
        let number = set.index(number)?;
        set.permissions.check(caller, ALTER)?;
        set.value_set(number, value, caller.pid);
        set.ctime = caller.now;
        self.settle(id, caller.now);
        Ok((0, Vec::new()))
    }

    /// Sets all values; without any it says how many there are.
    fn set_all(&mut self, caller: Caller, id: i32, data: &[u8]) -> Controlled {
        let set = self.set(id)?;
        set.permissions.check(caller, ALTER)?;
        let len = set.semaphores.len();
        if data.is_empty() {
            return Ok((len as i64, Vec::new()));
        }
        let values: Vec<u16> =
            data.chunks_exact(2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]])).collect();
        if values.len() != len {
            return Err(Errno::EINVAL);
        }
        if values.iter().any(|&value| i32::from(value) > limits::VALUE) {
            return Err(Errno::ERANGE);
        }
        for (number, value) in values.into_iter().enumerate() {
            set.value_set(number, value, caller.pid);
        }
        set.ctime = caller.now;
        self.settle(id, caller.now);
        Ok((0, Vec::new()))
    }
}

impl Set {
    /// The commands that only look.
    fn look(&self, caller: Caller, what: Command<'_>) -> Controlled {
        use commands::{GETALL, GETNCNT, GETPID, GETVAL, GETZCNT};
        if !(GETPID..=GETZCNT).contains(&what.command) {
            return Err(Errno::EINVAL);
        }
        self.permissions.check(caller, READ)?;
        if what.command == GETALL {
            let values = self.semaphores.iter().flat_map(|semaphore| semaphore.value.to_ne_bytes());
            return Ok((0, values.collect()));
        }
        let number = self.index(what.number)?;
        let value = match what.command {
            GETVAL => i64::from(self.semaphores[number].value),
            GETPID => i64::from(self.semaphores[number].pid),
            command => self.nr_waiting(number, command != GETNCNT) as i64,
        };
        Ok((value, Vec::new()))
    }
}
