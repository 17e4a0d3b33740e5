//! `syscall(2)`: libaio, libselinux, language runtimes and fio make some calls by number. Those that can concern simulated
//! files go to the function of the same name; all others pass.

use libc::{c_char, c_int, c_long, c_void, iovec, mode_t, off_t, size_t};

use crate::hook::hook;
use crate::{aio, clock, modules, mounts, semaphores, state};

/// The call by its own function, which this library exports. `None`: pass it on.
#[expect(clippy::too_many_lines, reason = "one line for each call")]
fn by_name(nr: c_long, a: [usize; 6]) -> Option<c_long> {
    let fd = a[0] as c_int;
    let path = |i: usize| a[i] as *const c_char;
    let memory = |i: usize| a[i] as *mut c_void;
    // SAFETY: the program's own arguments, in the order the system call has them; the functions are this library's.
    unsafe {
        Some(match nr {
            libc::SYS_io_uring_setup => aio::no_io_uring(),
            libc::SYS_openat => c_long::from(libc::openat(fd, path(1), a[2] as c_int, a[3] as mode_t)),
            libc::SYS_read => libc::read(fd, memory(1), a[2] as size_t) as c_long,
            libc::SYS_write => libc::write(fd, memory(1), a[2] as size_t) as c_long,
            libc::SYS_pread64 => libc::pread64(fd, memory(1), a[2], a[3] as off_t) as c_long,
            libc::SYS_pwrite64 => libc::pwrite64(fd, memory(1), a[2], a[3] as off_t) as c_long,
            libc::SYS_readv => libc::readv(fd, a[1] as *const iovec, a[2] as c_int) as c_long,
            libc::SYS_writev => libc::writev(fd, a[1] as *const iovec, a[2] as c_int) as c_long,
            libc::SYS_preadv => {
                libc::preadv64(fd, a[1] as *const iovec, a[2] as c_int, a[3] as off_t) as c_long
            }
            libc::SYS_pwritev => {
                libc::pwritev64(fd, a[1] as *const iovec, a[2] as c_int, a[3] as off_t) as c_long
            }
            libc::SYS_preadv2 => {
                libc::preadv64v2(fd, a[1] as *const iovec, a[2] as c_int, a[3] as off_t, a[5] as c_int)
                    as c_long
            }
            libc::SYS_pwritev2 => {
                libc::pwritev64v2(fd, a[1] as *const iovec, a[2] as c_int, a[3] as off_t, a[5] as c_int)
                    as c_long
            }
            libc::SYS_lseek => libc::lseek64(fd, a[1] as off_t, a[2] as c_int),
            libc::SYS_fsync => c_long::from(libc::fsync(fd)),
            libc::SYS_fdatasync => c_long::from(libc::fdatasync(fd)),
            libc::SYS_fallocate => {
                c_long::from(libc::fallocate64(fd, a[1] as c_int, a[2] as off_t, a[3] as off_t))
            }
            libc::SYS_ioctl => c_long::from(libc::ioctl(fd, a[1] as libc::c_ulong, a[2])),
            libc::SYS_fcntl => c_long::from(libc::fcntl(fd, a[1] as c_int, a[2])),
            libc::SYS_statx => {
                c_long::from(libc::statx(fd, path(1), a[2] as c_int, a[3] as u32, a[4] as *mut libc::statx))
            }
            libc::SYS_newfstatat => {
                c_long::from(libc::fstatat64(fd, path(1), a[2] as *mut libc::stat64, a[3] as c_int))
            }
            libc::SYS_fstat => c_long::from(libc::fstat64(fd, a[1] as *mut libc::stat64)),
            libc::SYS_faccessat => c_long::from(libc::faccessat(fd, path(1), a[2] as c_int, 0)),
            libc::SYS_faccessat2 => c_long::from(libc::faccessat(fd, path(1), a[2] as c_int, a[3] as c_int)),
            libc::SYS_readlinkat => libc::readlinkat(fd, path(1), a[2] as *mut c_char, a[3]) as c_long,
            libc::SYS_mknodat => {
                c_long::from(libc::mknodat(fd, path(1), a[2] as mode_t, a[3] as libc::dev_t))
            }
            libc::SYS_unlinkat => c_long::from(libc::unlinkat(fd, path(1), a[2] as c_int)),
            libc::SYS_copy_file_range => libc::copy_file_range(
                fd,
                a[1] as *mut off_t,
                a[2] as c_int,
                a[3] as *mut off_t,
                a[4],
                a[5] as u32,
            ) as c_long,
            libc::SYS_sendfile => libc::sendfile64(fd, a[1] as c_int, a[2] as *mut off_t, a[3]) as c_long,
            libc::SYS_splice => {
                libc::splice(fd, a[1] as *mut off_t, a[2] as c_int, a[3] as *mut off_t, a[4], a[5] as u32)
                    as c_long
            }
            libc::SYS_tee => libc::tee(fd, a[1] as c_int, a[2], a[3] as u32) as c_long,
            libc::SYS_vmsplice => libc::vmsplice(fd, a[1] as *const iovec, a[2], a[3] as u32) as c_long,
            libc::SYS_readahead => libc::readahead(fd, a[1] as off_t, a[2]) as c_long,
            libc::SYS_sync_file_range => {
                c_long::from(libc::sync_file_range(fd, a[1] as off_t, a[2] as off_t, a[3] as u32))
            }
            libc::SYS_fadvise64 => {
                match libc::posix_fadvise64(fd, a[1] as off_t, a[2] as off_t, a[3] as c_int) {
                    0 => 0,
                    errno => {
                        crate::set_errno(errno);
                        -1
                    }
                }
            }
            libc::SYS_ftruncate => c_long::from(libc::ftruncate64(fd, a[1] as off_t)),
            libc::SYS_flock => c_long::from(libc::flock(fd, a[1] as c_int)),
            libc::SYS_execve => c_long::from(libc::execve(
                path(0),
                a[1] as *const *const c_char,
                a[2] as *const *const c_char,
            )),
            libc::SYS_execveat => c_long::from(execveat(
                fd,
                path(1),
                a[2] as *const *const c_char,
                a[3] as *const *const c_char,
                a[4] as c_int,
            )),
            libc::SYS_getuid => c_long::from(libc::getuid()),
            libc::SYS_geteuid => c_long::from(libc::geteuid()),
            libc::SYS_getgid => c_long::from(libc::getgid()),
            libc::SYS_getegid => c_long::from(libc::getegid()),
            _ => return legacy(nr, a),
        })
    }
}

unsafe extern "C" {
    fn execveat(
        dirfd: c_int,
        path: *const c_char,
        argv: *const *const c_char,
        env: *const *const c_char,
        flags: c_int,
    ) -> c_int;
}

/// Calls that only the oldest architecture still has.
#[cfg(target_arch = "x86_64")]
fn legacy(nr: c_long, a: [usize; 6]) -> Option<c_long> {
    let path = a[0] as *const c_char;
    // SAFETY: as in `by_name`.
    unsafe {
        Some(c_long::from(match nr {
            libc::SYS_open => libc::open(path, a[1] as c_int, a[2] as mode_t),
            libc::SYS_creat => libc::creat(path, a[1] as mode_t),
            libc::SYS_stat => libc::stat64(path, a[1] as *mut libc::stat64),
            libc::SYS_lstat => libc::lstat64(path, a[1] as *mut libc::stat64),
            libc::SYS_access => libc::access(path, a[1] as c_int),
            libc::SYS_unlink => libc::unlink(path),
            libc::SYS_mknod => libc::mknod(path, a[1] as mode_t, a[2] as libc::dev_t),
            _ => return None,
        }))
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn legacy(_nr: c_long, _a: [usize; 6]) -> Option<c_long> {
    None
}

hook! {
    syscall => |real| (nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
        if state::enabled() {
            let args = [a, b, c, d, e, f];
            if let Some(result) = aio::by_number(nr, args) {
                return aio::as_syscall(result);
            }
            let by_family = mounts::by_number(nr, args)
                .or_else(|| modules::by_number(nr, args))
                .or_else(|| semaphores::by_number(nr, args));
            if let Some(result) = by_family {
                return result;
            }
            if let Some(result) = by_name(nr, args) {
                return result;
            }
            let (mut args, mut place) = (args, libc::timespec { tv_sec: 0, tv_nsec: 0 });
            if let Some(result) = clock::by_number(nr, &mut args, &mut place) {
                return result;
            }
            let [a, b, c, d, e, f] = args;
            return real(nr, a, b, c, d, e, f);
        }
        real(nr, a, b, c, d, e, f)
    }
}
