//! System calls without the C library: every name this library exports stands in front of libc's, so its own IO must not
//! go through them. None of these touches `errno`. Only calls that exist on every architecture are used (`*at` forms).

use core::arch::asm;
use libc::c_long;

/// A system call: a negative result is an error number.
///
/// # Safety
/// As the system call itself demands of its arguments.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn raw(nr: c_long, a: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the kernel preserves all registers but rax, rcx and r11; the caller vouches for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => ret, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

/// A system call: a negative result is an error number.
///
/// # Safety
/// As the system call itself demands of its arguments.
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn raw(nr: c_long, a: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the kernel preserves all registers but x0; the caller vouches for the arguments.
    unsafe {
        asm!("svc 0", in("x8") nr, inlateout("x0") a[0] => ret, in("x1") a[1], in("x2") a[2], in("x3") a[3],
             in("x4") a[4], in("x5") a[5], options(nostack));
    }
    ret
}

fn check(ret: isize) -> Result<usize, i32> {
    if (-4095..0).contains(&ret) { Err(-ret as i32) } else { Ok(ret as usize) }
}

macro_rules! calls {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident : $type:ty),*) = $nr:ident($($value:expr),*);)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name($($arg: $type),*) -> Result<usize, i32> {
            let mut args = [0usize; 6];
            let given: &[usize] = &[$($value as usize),*];
            args[..given.len()].copy_from_slice(given);
            // SAFETY: pointers come from live references of this library or from the program, whose wrong pointers the
            // kernel answers with EFAULT.
            check(unsafe { raw(libc::$nr, args) })
        }
    )*};
}

calls! {
    fn close(fd: i32) = SYS_close(fd);
    fn fcntl(fd: i32, cmd: i32, arg: usize) = SYS_fcntl(fd, cmd, arg);
    fn fstat_raw(fd: i32, out: *mut libc::stat) = SYS_fstat(fd, out);
    fn openat(dirfd: i32, path: *const u8, flags: i32, mode: u32) = SYS_openat(dirfd, path, flags, mode);
    fn readlinkat(dirfd: i32, path: *const u8, out: *mut u8, len: usize) = SYS_readlinkat(dirfd, path, out, len);
    fn getcwd(out: *mut u8, len: usize) = SYS_getcwd(out, len);
    fn getdents(fd: i32, out: *mut u8, len: usize) = SYS_getdents64(fd, out, len);
    fn fchdir(fd: i32) = SYS_fchdir(fd);
    fn dup3(old: i32, new: i32, flags: i32) = SYS_dup3(old, new, flags);
    fn socket(domain: i32, kind: i32, protocol: i32) = SYS_socket(domain, kind, protocol);
    fn connect(fd: i32, addr: *const libc::sockaddr_un, len: usize) = SYS_connect(fd, addr, len);
    fn shutdown(fd: i32, how: i32) = SYS_shutdown(fd, how);
    fn sendmsg(fd: i32, msg: *const libc::msghdr, flags: i32) = SYS_sendmsg(fd, msg, flags);
    fn recvmsg(fd: i32, msg: *mut libc::msghdr, flags: i32) = SYS_recvmsg(fd, msg, flags);
    fn mmap(len: usize, prot: i32, flags: i32, fd: i32) = SYS_mmap(0usize, len, prot, flags, fd, 0usize);
    fn munmap(at: *mut u8, len: usize) = SYS_munmap(at, len);
    fn madvise(at: *mut u8, len: usize, advice: i32) = SYS_madvise(at, len, advice);
    fn getpid() = SYS_getpid();
    fn getuid() = SYS_getuid();
    fn getgid() = SYS_getgid();
    fn geteuid() = SYS_geteuid();
    fn getegid() = SYS_getegid();
    fn getrlimit_nofile(out: *mut libc::rlimit) = SYS_prlimit64(0usize, libc::RLIMIT_NOFILE, 0usize, out);
    fn vm_read(pid: usize, local: *const libc::iovec, remote: *const libc::iovec)
        = SYS_process_vm_readv(pid, local, 1usize, remote, 1usize, 0usize);
    fn vm_write(pid: usize, local: *const libc::iovec, remote: *const libc::iovec)
        = SYS_process_vm_writev(pid, local, 1usize, remote, 1usize, 0usize);
    fn write(fd: i32, from: *const u8, len: usize) = SYS_write(fd, from, len);
    fn read(fd: i32, to: *mut u8, len: usize) = SYS_read(fd, to, len);
    fn pread(fd: i32, to: *mut u8, len: usize, pos: usize) = SYS_pread64(fd, to, len, pos);
    fn pwrite(fd: i32, from: *const u8, len: usize, pos: usize) = SYS_pwrite64(fd, from, len, pos);
    fn lseek(fd: i32, offset: i64, whence: i32) = SYS_lseek(fd, offset, whence);
    fn pipe2(out: *mut i32, flags: i32) = SYS_pipe2(out, flags);
    fn tee(from: i32, to: i32, len: usize, flags: usize) = SYS_tee(from, to, len, flags);
    fn ppoll(fds: *mut libc::pollfd, nr: usize, timeout: *const libc::timespec) = SYS_ppoll(fds, nr, timeout, 0usize, 0usize);
    fn fionread(fd: i32, request: usize, out: *mut i32) = SYS_ioctl(fd, request, out);
    fn fchmod(fd: i32, mode: u32) = SYS_fchmod(fd, mode);
    fn unlinkat(dirfd: i32, path: *const u8, flags: i32) = SYS_unlinkat(dirfd, path, flags);
    fn sched_yield() = SYS_sched_yield();
    fn sched_getaffinity(out: *mut u64, len: usize) = SYS_sched_getaffinity(0usize, len, out);
    fn io_setup(nr: usize, out: *mut usize) = SYS_io_setup(nr, out);
    fn io_destroy(ctx: usize) = SYS_io_destroy(ctx);
    fn io_submit(ctx: usize, nr: usize, iocbs: *const usize) = SYS_io_submit(ctx, nr, iocbs);
    fn io_cancel(ctx: usize, iocb: usize, result: usize) = SYS_io_cancel(ctx, iocb, result);
    fn io_getevents(ctx: usize, min: usize, nr: usize, out: *mut u8, timeout: *const libc::timespec)
        = SYS_io_getevents(ctx, min, nr, out, timeout);
    fn sigprocmask(how: i32, new: *const u64, old: *mut u64) = SYS_rt_sigprocmask(how, new, old, 8usize);
    fn fstatat(dirfd: i32, path: *const u8, out: *mut libc::stat, flags: i32) = SYS_newfstatat(dirfd, path, out, flags);
    fn faccessat(dirfd: i32, path: *const u8, how: i32) = SYS_faccessat(dirfd, path, how);
    fn mkdirat(dirfd: i32, path: *const u8, mode: u32) = SYS_mkdirat(dirfd, path, mode);
    fn symlinkat(target: *const u8, dirfd: i32, path: *const u8) = SYS_symlinkat(target, dirfd, path);
    fn linkat(fromfd: i32, from: *const u8, tofd: i32, to: *const u8, flags: i32)
        = SYS_linkat(fromfd, from, tofd, to, flags);
    fn renameat2(fromfd: i32, from: *const u8, tofd: i32, to: *const u8, flags: u32)
        = SYS_renameat2(fromfd, from, tofd, to, flags);
    fn utimensat(fd: i32, path: *const u8, times: *const libc::timespec, flags: i32)
        = SYS_utimensat(fd, path, times, flags);
    fn getrandom(to: *mut u8, len: usize) = SYS_getrandom(to, len, 0usize);
    fn io_uring_setup(entries: u32, parameters: *const u8) = SYS_io_uring_setup(entries, parameters);
    fn seccomp(operation: usize, flags: usize, with: *const libc::sock_fprog) = SYS_seccomp(operation, flags, with);
    fn prctl(what: i32, a: usize, b: usize, c: usize, d: usize) = SYS_prctl(what, a, b, c, d);
    fn nanosleep(time: *const libc::timespec) = SYS_nanosleep(time, 0usize);
    fn clock_gettime(clock: i32, out: *mut libc::timespec) = SYS_clock_gettime(clock, out);
    fn recv(fd: i32, to: *mut u8, len: usize, flags: i32) = SYS_recvfrom(fd, to, len, flags, 0usize, 0usize);
    fn futex(word: *const u32, op: i32, value: u32, timeout: *const libc::timespec)
        = SYS_futex(word, op, value, timeout, 0usize, 0usize);
    fn futex_bits(word: *const u32, op: i32, value: u32, timeout: *const libc::timespec, bits: u32)
        = SYS_futex(word, op, value, timeout, 0usize, bits);
    fn gettid() = SYS_gettid();
    fn sigaltstack(new: *const libc::stack_t, old: *mut libc::stack_t) = SYS_sigaltstack(new, old);
    fn futex_waitv(words: *const u8, nr: usize, timeout: *const libc::timespec, clock: i32)
        = SYS_futex_waitv(words, nr, 0usize, timeout, clock);
}

/// Waits until a descriptor can be read, or a signal comes.
pub(crate) fn wait_readable(fd: i32) -> Result<(), i32> {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    ppoll(&raw mut entry, 1, core::ptr::null()).map(drop)
}

/// Holds all signals of the calling thread back. Returns what was held back before.
pub(crate) fn hold_signals() -> u64 {
    let mut before = 0;
    let _ = sigprocmask(libc::SIG_SETMASK, &u64::MAX, &mut before);
    before
}

/// Lets signals through again.
pub(crate) fn release_signals(before: u64) {
    let _ = sigprocmask(libc::SIG_SETMASK, &before, core::ptr::null_mut());
}

/// `fstat`, by the kernel and not by a hook of it.
pub(crate) fn fstat(fd: i32) -> Result<libc::stat, i32> {
    let mut out = core::mem::MaybeUninit::<libc::stat>::zeroed();
    fstat_raw(fd, out.as_mut_ptr())?;
    // SAFETY: all zeroes are a valid `stat`, and the kernel filled it.
    Ok(unsafe { out.assume_init() })
}
