//! The System V semaphores of a run, in a namespace of their own as `unshare --ipc` gives one: sets, values, permissions, who waits for
//! what, and what the end of a process undoes.
//!
//! This is the state and its rules only: the time and the caller come with each call, and a wait is a number that a later call may
//! end ([`Table::take_ended`]). Who answers programs, and how they wait, is in `front/semaphores.rs`.

mod control;
mod operate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use dmlab_shim_proto::{SemaphoreOperation, semaphore_limits as limits};
use dmlab_units::Errno;

pub(crate) use control::Command;
pub(crate) use operate::Begun;

/// The process on whose behalf a call is made, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// The number of a wait.
pub(crate) type WaitNumber = u64;

#[derive(Clone, Copy, Debug, Default)]
struct Semaphore {
    value: u16,
    /// The process that changed it last.
    pid: i32,
}

/// A caller that waits.
#[derive(Debug)]
struct Waiter {
    number: WaitNumber,
    pid: i32,
    operations: Vec<SemaphoreOperation>,
    /// Which of the operations cannot be done now.
    blocking: usize,
}

#[derive(Debug)]
struct Set {
    key: i32,
    id: i32,
    permissions: Permissions,
    otime: i64,
    ctime: i64,
    semaphores: Vec<Semaphore>,
    /// In the order in which they came.
    waiters: VecDeque<Waiter>,
    /// By process: what its end adds to each value.
    undo: BTreeMap<i32, Vec<i16>>,
}

#[derive(Clone, Copy, Debug)]
struct Permissions {
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
}

/// The bit of a permission to read.
const READ: u32 = 4;
/// The bit of a permission to alter.
const ALTER: u32 = 2;

impl Permissions {
    /// # Errors
    /// EACCES: `caller` lacks one of the `wanted` bits.
    fn check(&self, caller: Caller, wanted: u32) -> Result<(), Errno> {
        let granted = if caller.uid == self.uid || caller.uid == self.cuid {
            self.mode >> 6
        } else if caller.gid == self.gid || caller.gid == self.cgid {
            self.mode >> 3
        } else {
            self.mode
        };
        let is_granted = (wanted & !granted).trailing_zeros() >= 3;
        if caller.uid == 0 || is_granted { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// # Errors
    /// EPERM: `caller` is neither the owner nor who made it.
    fn check_owner(&self, caller: Caller) -> Result<(), Errno> {
        let is_owner = [0, self.uid, self.cuid].contains(&caller.uid);
        if is_owner { Ok(()) } else { Err(Errno::EPERM) }
    }
}

const IPC_PRIVATE: i32 = 0;
const IPC_CREAT: i32 = 0o1000;
const IPC_EXCL: i32 = 0o2000;

/// The part of a set's number that is its place in the table.
const INDEX_BITS: u32 = 15;
/// So many places are used in turn before one is used again.
const LEAST_CYCLE: usize = 64;

/// All sets of a run.
#[derive(Default)]
pub(crate) struct Table {
    /// By the place that is in their number.
    sets: BTreeMap<usize, Set>,
    last_index: Option<usize>,
    sequence: u32,
    nr_semaphores: usize,
    last_wait: WaitNumber,
    /// Waits that have ended, and with what.
    ended: Vec<(WaitNumber, Result<(), Errno>)>,
}

impl Table {
    /// `semget`. Returns the set's number.
    ///
    /// # Errors
    /// As `semget`'s: EINVAL, ENOENT, EEXIST, EACCES, ENOSPC.
    pub(crate) fn get(&mut self, caller: Caller, key: i32, len: i32, flags: i32) -> Result<i32, Errno> {
        let len = usize::try_from(len).ok().filter(|&len| len <= limits::OF_A_SET).ok_or(Errno::EINVAL)?;
        let found = self.sets.values().find(|set| key != IPC_PRIVATE && set.key == key);
        let Some(set) = found else {
            let may_make = key == IPC_PRIVATE || flags & IPC_CREAT != 0;
            return if may_make { self.make(caller, key, len, flags) } else { Err(Errno::ENOENT) };
        };
        if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
            return Err(Errno::EEXIST);
        }
        if len > set.semaphores.len() {
            return Err(Errno::EINVAL);
        }
        let wanted = flags as u32;
        set.permissions.check(caller, wanted >> 6 | wanted >> 3 | wanted)?;
        Ok(set.id)
    }

    fn make(&mut self, caller: Caller, key: i32, len: usize, flags: i32) -> Result<i32, Errno> {
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        if self.sets.len() >= limits::SETS || self.nr_semaphores + len > limits::IN_ALL {
            return Err(Errno::ENOSPC);
        }
        let cycle = (self.sets.len() * 3 / 2).clamp(LEAST_CYCLE, limits::SETS);
        let next = self.last_index.map_or(0, |last| last + 1);
        let is_free = |index: &usize| !self.sets.contains_key(index);
        let index =
            (next..cycle).find(is_free).or_else(|| (0..limits::SETS).find(is_free)).ok_or(Errno::ENOSPC)?;
        if self.last_index.is_some_and(|last| index <= last) {
            self.sequence = (self.sequence + 1) & 0xffff;
        }
        self.last_index = Some(index);
        self.nr_semaphores += len;
        let id = (self.sequence << INDEX_BITS) as i32 | index as i32;
        let Caller { uid, gid, now, .. } = caller;
        let permissions = Permissions { uid, gid, cuid: uid, cgid: gid, mode: flags as u32 & 0o777 };
        let set = Set {
            key,
            id,
            permissions,
            otime: 0,
            ctime: now,
            semaphores: vec![Semaphore::default(); len],
            waiters: VecDeque::new(),
            undo: BTreeMap::new(),
        };
        self.sets.insert(index, set);
        Ok(id)
    }

    /// # Errors
    /// EINVAL: there is no such set, or its place belongs to another one by now.
    fn set(&mut self, id: i32) -> Result<&mut Set, Errno> {
        let index = usize::try_from(id).map_err(|_| Errno::EINVAL)? & ((1 << INDEX_BITS) - 1);
        let set = self.sets.get_mut(&index).ok_or(Errno::EINVAL)?;
        if set.id == id { Ok(set) } else { Err(Errno::EINVAL) }
    }

    /// Removes a set: its waits end with EIDRM.
    fn remove(&mut self, id: i32) {
        let index = id as usize & ((1 << INDEX_BITS) - 1);
        if let Some(set) = self.sets.remove(&index) {
            self.nr_semaphores -= set.semaphores.len();
            self.ended.extend(set.waiters.into_iter().map(|waiter| (waiter.number, Err(Errno::EIDRM))));
        }
    }

    /// The waits that have ended since this was last asked, each with its outcome.
    pub(crate) fn take_ended(&mut self) -> Vec<(WaitNumber, Result<(), Errno>)> {
        std::mem::take(&mut self.ended)
    }

    /// The text of `/proc/sysvipc/sem`.
    pub(crate) fn listing(&self) -> String {
        let mut out = String::from(
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
        );
        for set in self.sets.values() {
            let Permissions { uid, gid, cuid, cgid, mode } = set.permissions;
            let len = set.semaphores.len();
            let _ = writeln!(
                out,
                "{:10} {:10}  {mode:4o} {len:10} {uid:5} {gid:5} {cuid:5} {cgid:5} {:10} {:10}",
                set.key, set.id, set.otime, set.ctime
            );
        }
        out
    }
}
