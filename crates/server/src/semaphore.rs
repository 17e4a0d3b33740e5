//! The semaphore behind a udev cookie: what libdevmapper waits on until udev's last rule has counted it down.
//!
//! A set of one semaphore with the key `0x0D4Dbbbb`, where `bbbb` are the low 16 bits of DM_COOKIE
//! (kernel/dm-core.md#cookies). It is the host's: the program made it before its ioctl.
// SysV semaphores have no safe wrapper here; these two calls are all that is needed of them.
#![allow(unsafe_code)]

/// The upper half of the key of each cookie's semaphore.
const MAGIC: u32 = 0x0D4D;

/// Counts a cookie down by one, as `dmsetup udevcomplete` does. A cookie without a semaphore is passed over.
pub(crate) fn complete(cookie: u32) {
    let base = cookie & 0xffff;
    if base == 0 {
        return;
    }
    // SAFETY: takes and returns plain numbers.
    let set = unsafe { libc::semget((MAGIC << 16 | base) as libc::key_t, 1, 0) };
    if set < 0 {
        return;
    }
    let mut down = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: libc::IPC_NOWAIT as libc::c_short };
    // SAFETY: `down` is one operation, as the count says, and lives through the call. A count that is 0 already, or a set that
    // went away meanwhile, is another process's doing and no harm.
    let _ = unsafe { libc::semop(set, &mut down, 1) };
}
