//! System V semaphores: those of a run are its own, and the host's do not exist in it. libdevmapper makes one for each udev cookie.

use dmlab_shim_proto::front::Request;
use dmlab_shim_proto::semaphore_commands as commands;
use dmlab_shim_proto::{NO_LIMIT, SemaphoreOperation, SemaphoreStatus, semaphore_limits};
use libc::{c_int, c_long, key_t, sembuf, semid_ds, size_t, timespec};

use crate::channel::{Call, ask_own};
use crate::clock::nanos_at;
use crate::hook::hook;
use crate::ioctl::{copy_in, copy_out};
use crate::{c_result, state, sys};

/// So many waits have a channel each.
const MOST: usize = 500;

/// The effective ids that the program sees.
fn ids() -> (u32, u32) {
    if state::fake_root() {
        return (0, 0);
    }
    (sys::geteuid().unwrap_or(0) as u32, sys::getegid().unwrap_or(0) as u32)
}

fn get(key: key_t, len: c_int, flags: c_int) -> Result<i64, i32> {
    let (uid, gid) = ids();
    ask_own(&Request::GetSemaphores { key, len, flags, uid, gid }).map(|reply| reply.value)
}

/// The limit of a `semtimedop` in nanoseconds.
fn limit(at: *const timespec) -> Result<u64, i32> {
    if at.is_null() {
        return Ok(NO_LIMIT);
    }
    let mut bytes = [0; size_of::<timespec>()];
    if copy_in(at as usize, &mut bytes) < bytes.len() {
        return Err(libc::EFAULT);
    }
    // SAFETY: any bytes are some time.
    let time: timespec = unsafe { core::mem::transmute(bytes) };
    nanos_at(&time).map(|nanos| nanos.min(NO_LIMIT - 1)).ok_or(libc::EINVAL)
}

fn operate(set: c_int, at: *mut sembuf, nr: size_t, nanos: Result<u64, i32>) -> Result<i64, i32> {
    let nanos = nanos?;
    // The kernel takes the lower 32 bits of the count.
    let nr = nr as u32 as usize;
    if nr < 1 || set < 0 && nr <= semaphore_limits::OPERATIONS {
        return Err(libc::EINVAL);
    }
    if nr > semaphore_limits::OPERATIONS {
        return Err(libc::E2BIG);
    }
    let (uid, gid) = ids();
    let len = nr * SemaphoreOperation::LEN;
    let mut call = Call::begin_own_wait(MOST)?;
    if copy_in(at as usize, &mut call.data()[..len]) < len {
        return Err(libc::EFAULT);
    }
    let request = Request::OperateSemaphores { set, nanos, uid, gid, operations: &[] };
    call.send(&request, len, None).map(|(reply, _)| reply.value)
}

/// What a `semctl` reads from the program's memory.
fn gather(call: &mut Call, set: c_int, command: c_int, at: usize) -> Result<usize, i32> {
    match command {
        commands::IPC_SET | commands::SETALL if set < 0 => Err(libc::EINVAL),
        commands::IPC_SET => {
            // SAFETY: all zeroes are a valid record.
            let mut record: semid_ds = unsafe { core::mem::zeroed() };
            // SAFETY: the record's own bytes, of which any are valid.
            let bytes = unsafe {
                core::slice::from_raw_parts_mut((&raw mut record).cast::<u8>(), size_of::<semid_ds>())
            };
            if copy_in(at, bytes) < bytes.len() {
                return Err(libc::EFAULT);
            }
            let (uid, gid) = (record.sem_perm.uid, record.sem_perm.gid);
            let status =
                SemaphoreStatus { uid, gid, mode: u32::from(record.sem_perm.mode), ..Default::default() };
            call.data()[..SemaphoreStatus::LEN].copy_from_slice(&status.to_bytes());
            Ok(SemaphoreStatus::LEN)
        }
        commands::SETALL => {
            let (uid, gid) = ids();
            let how_many =
                Request::ControlSemaphores { set, number: 0, command, argument: 0, uid, gid, data: &[] };
            let len = 2 * call.send(&how_many, 0, None)?.0.value as usize;
            if copy_in(at, &mut call.data()[..len]) < len {
                return Err(libc::EFAULT);
            }
            Ok(len)
        }
        _ => Ok(0),
    }
}

/// Writes a status where the program wants it.
fn tell(at: usize, status: &SemaphoreStatus) -> Result<(), i32> {
    // SAFETY: all zeroes are a valid record.
    let mut record: semid_ds = unsafe { core::mem::zeroed() };
    record.sem_perm.__key = status.key;
    record.sem_perm.uid = status.uid;
    record.sem_perm.gid = status.gid;
    record.sem_perm.cuid = status.cuid;
    record.sem_perm.cgid = status.cgid;
    record.sem_perm.mode = status.mode as _;
    record.sem_perm.__seq = status.sequence as _;
    record.sem_otime = status.otime;
    record.sem_ctime = status.ctime;
    record.sem_nsems = status.len;
    // SAFETY: the record's own bytes; all of them were written, as zeroes at least.
    let bytes =
        unsafe { core::slice::from_raw_parts((&raw const record).cast::<u8>(), size_of::<semid_ds>()) };
    copy_out(at, bytes)
}

fn control(set: c_int, number: c_int, command: c_int, argument: usize) -> Result<i64, i32> {
    let (uid, gid) = ids();
    let mut call = Call::begin_own()?;
    let len = gather(&mut call, set, command, argument)?;
    let value = argument as c_int;
    let request = Request::ControlSemaphores { set, number, command, argument: value, uid, gid, data: &[] };
    let (reply, _) = call.send(&request, len, None)?;
    let payload = call.payload(&reply);
    match command {
        commands::IPC_STAT | commands::SEM_STAT | commands::SEM_STAT_ANY => {
            let bytes = (&*payload).try_into().map_err(|_| libc::EPROTO)?;
            tell(argument, &SemaphoreStatus::from_bytes(bytes))?;
        }
        _ => copy_out(argument, payload)?,
    }
    Ok(reply.value)
}

/// The calls by number. `None`: another one.
pub(crate) fn by_number(nr: c_long, a: [usize; 6]) -> Option<c_long> {
    let (set, operations) = (a[0] as c_int, a[1] as *mut sembuf);
    let result = match nr {
        libc::SYS_semget => get(a[0] as key_t, a[1] as c_int, a[2] as c_int),
        libc::SYS_semop => operate(set, operations, a[2], Ok(NO_LIMIT)),
        libc::SYS_semtimedop => operate(set, operations, a[2], limit(a[3] as *const timespec)),
        libc::SYS_semctl => control(set, a[1] as c_int, a[2] as c_int, a[3]),
        _ => return None,
    };
    Some(c_result(result))
}

hook! {
    semget => |real| (key: key_t, len: c_int, flags: c_int) -> c_int {
        if state::enabled() { c_result(get(key, len, flags)) } else { real(key, len, flags) }
    }

    semop => |real| (set: c_int, operations: *mut sembuf, nr: size_t) -> c_int {
        if state::enabled() { c_result(operate(set, operations, nr, Ok(NO_LIMIT))) } else { real(set, operations, nr) }
    }

    semtimedop => |real| (set: c_int, operations: *mut sembuf, nr: size_t, time: *const timespec) -> c_int {
        if state::enabled() {
            c_result(operate(set, operations, nr, limit(time)))
        } else {
            real(set, operations, nr, time)
        }
    }

    semctl => |real| (set: c_int, number: c_int, command: c_int, argument: usize) -> c_int {
        if state::enabled() {
            c_result(control(set, number, command, argument))
        } else {
            real(set, number, command, argument)
        }
    }
}
