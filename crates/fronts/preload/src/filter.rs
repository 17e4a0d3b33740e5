//! A filter of system calls: io_uring is refused as by a kernel without it. Its rings go past the C library, where
//! nothing can stand in front of a simulated device; programs that know rings know what to do without.

use crate::sys;

const SECCOMP_SET_MODE_FILTER: usize = 1;
/// The filter has nothing to hide from code that is run ahead.
const SECCOMP_FILTER_FLAG_SPEC_ALLOW: usize = 1 << 2;
const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in the kernel's `seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// io_uring_setup, io_uring_enter and io_uring_register have successive numbers.
static STEPS: [libc::sock_filter; 7] = [
    step(LOAD_WORD, 0, 0, ARCHITECTURE_AT),
    step(JUMP_IF_EQUAL, 0, 3, ARCHITECTURE),
    step(LOAD_WORD, 0, 0, NUMBER_AT),
    step(JUMP_IF_AT_LEAST, 0, 1, libc::SYS_io_uring_setup as u32),
    step(JUMP_IF_GREATER, 0, 1, libc::SYS_io_uring_register as u32),
    step(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    step(RETURN, 0, 0, SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
];

/// Installs it, unless it came from the program that started this one: filters are inherited and never go.
pub(crate) fn install() {
    if sys::io_uring_setup(0, core::ptr::null()) == Err(libc::ENOSYS) {
        return;
    }
    let program = libc::sock_fprog { len: STEPS.len() as u16, filter: STEPS.as_ptr().cast_mut() };
    let set = || sys::seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
    // A process that is not root must promise first that no program it starts will get more rights than it has.
    if set() == Err(libc::EACCES) && sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).is_ok() {
        let _ = set();
    }
}
