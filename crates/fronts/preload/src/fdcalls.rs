//! Calls on descriptors that are neither reads nor writes.

use dmlab_shim_proto::front::Request;
use libc::{c_int, c_uint, c_void, off_t, size_t};

use crate::channel;
use crate::files::{self, File};
use crate::hook::hook;
use crate::{c_result, set_errno, state, stdio};

fn ask(request: Request<'_>) -> Result<i64, i32> {
    channel::ask(&request).map(|reply| reply.value)
}

fn seek(file: File, offset: off_t, whence: c_int) -> off_t {
    c_result(ask(Request::Seek { file: file.id, offset, whence }))
}

fn fallocate_file(file: File, mode: c_int, offset: off_t, len: off_t) -> c_int {
    c_result(ask(Request::Fallocate { file: file.id, mode, offset, len }))
}

/// What `readahead` is among the advices.
const READ_AHEAD: c_int = c_int::MIN;

fn sync_range(file: File, offset: off_t, len: off_t, flags: c_uint) -> Result<i64, i32> {
    const ALL: c_uint =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    if flags & !ALL != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(libc::EINVAL);
    }
    match flags & libc::SYNC_FILE_RANGE_WRITE {
        0 => Ok(0),
        _ => ask(Request::WriteBack { file: file.id, offset, len }),
    }
}

fn fcntl_any(real: impl Fn(c_int, c_int, usize) -> c_int, fd: c_int, cmd: c_int, arg: usize) -> c_int {
    let Some(file) = files::file(fd) else { return real(fd, cmd, arg) };
    match cmd {
        libc::F_GETFL => c_result(ask(Request::GetFlags { file: file.id })),
        libc::F_SETFL => c_result(ask(Request::SetFlags { file: file.id, flags: arg as c_int })),
        // A device is no pipe.
        libc::F_GETPIPE_SZ | libc::F_SETPIPE_SZ => c_result(Err(libc::EBADF)),
        libc::F_ADD_SEALS | libc::F_GET_SEALS => c_result(Err(libc::EINVAL)),
        libc::F_SETLK | libc::F_SETLKW | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => lock(real, fd, cmd, arg),
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let new = real(fd, cmd, arg);
            if (0..=2).contains(&new) {
                stdio::adopt(new);
            }
            new
        }
        _ => real(fd, cmd, arg),
    }
}

/// Record locks live on the placeholder, whose inode is one open file: they exclude other users of the same open file only.
/// The placeholder is open for reading, so a write lock is asked for as a lock that a reader may hold.
fn lock(real: impl Fn(c_int, c_int, usize) -> c_int, fd: c_int, cmd: c_int, arg: usize) -> c_int {
    if arg == 0 {
        return real(fd, cmd, arg);
    }
    // SAFETY: the program passed a `flock` for these commands.
    let mut wanted = unsafe { *(arg as *const libc::flock) };
    if i32::from(wanted.l_type) == libc::F_WRLCK {
        wanted.l_type = libc::F_RDLCK as _;
    }
    // A position relative to the file's cannot be had of a pipe.
    wanted.l_whence = libc::SEEK_SET as _;
    real(fd, cmd, &raw const wanted as usize)
}

/// The file behind a descriptor that is about to be closed, if its data may have to be waited for.
fn written(fd: c_int) -> Option<File> {
    if state::has_written() { files::file(fd).filter(|file| file.is_block) } else { None }
}

/// The last close of a device writes its data out, and the close waits for that.
fn wait_closed(file: Option<File>) {
    if let Some(file) = file {
        let saved = crate::errno();
        let _ = ask(Request::Closed { file: file.id });
        set_errno(saved);
    }
}

hook! {
    lseek, lseek64 => |real| (fd: c_int, offset: off_t, whence: c_int) -> off_t {
        match files::file(fd) {
            Some(file) => seek(file, offset, whence),
            None => real(fd, offset, whence),
        }
    }

    fsync => |real| (fd: c_int) -> c_int {
        match files::file(fd) {
            Some(file) => c_result(ask(Request::Fsync { file: file.id, data_only: false })),
            None => real(fd),
        }
    }

    fdatasync => |real| (fd: c_int) -> c_int {
        match files::file(fd) {
            Some(file) => c_result(ask(Request::Fsync { file: file.id, data_only: true })),
            None => real(fd),
        }
    }

    sync_file_range => |real| (fd: c_int, offset: off_t, len: off_t, flags: c_uint) -> c_int {
        match files::file(fd) {
            Some(file) => c_result(sync_range(file, offset, len, flags)),
            None => real(fd, offset, len, flags),
        }
    }

    readahead => |real| (fd: c_int, offset: off_t, len: size_t) -> isize {
        match files::file(fd) {
            Some(file) => c_result(ask(Request::Advise { file: file.id, advice: READ_AHEAD, offset, len: len as i64 })),
            None => real(fd, offset, len),
        }
    }

    posix_fadvise, posix_fadvise64 => |real| (fd: c_int, offset: off_t, len: off_t, advice: c_int) -> c_int {
        match files::file(fd) {
            Some(file) => ask(Request::Advise { file: file.id, advice, offset, len }).err().unwrap_or(0),
            None => real(fd, offset, len, advice),
        }
    }

    fallocate, fallocate64 => |real| (fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
        match files::file(fd) {
            Some(file) => fallocate_file(file, mode, offset, len),
            None => real(fd, mode, offset, len),
        }
    }

    posix_fallocate, posix_fallocate64 => |real| (fd: c_int, offset: off_t, len: off_t) -> c_int {
        match files::file(fd) {
            // glibc's answer for anything that is neither a regular file nor a pipe.
            Some(_) => libc::ENODEV,
            None => real(fd, offset, len),
        }
    }

    ftruncate, ftruncate64 => |real| (fd: c_int, len: off_t) -> c_int {
        match files::file(fd) {
            Some(_) => c_result(Err(libc::EINVAL)),
            None => real(fd, len),
        }
    }

    fcntl, fcntl64 => |real| (fd: c_int, cmd: c_int, arg: usize) -> c_int {
        fcntl_any(real, fd, cmd, arg)
    }

    close => |real| (fd: c_int) -> c_int {
        let file = written(fd);
        let ret = real(fd);
        wait_closed(file);
        ret
    }

    dup => |real| (fd: c_int) -> c_int {
        let new = real(fd);
        if (0..=2).contains(&new) {
            stdio::adopt(new);
        }
        new
    }

    dup2 => |real| (fd: c_int, new: c_int) -> c_int {
        let file = if fd == new { None } else { written(new) };
        let ret = real(fd, new);
        if (0..=2).contains(&ret) && fd != new {
            stdio::adopt(ret);
        }
        wait_closed(file);
        ret
    }

    dup3 => |real| (fd: c_int, new: c_int, flags: c_int) -> c_int {
        let file = written(new);
        let ret = real(fd, new, flags);
        if (0..=2).contains(&ret) {
            stdio::adopt(ret);
        }
        wait_closed(file);
        ret
    }

    mmap, mmap64 => |real| (at: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t)
        -> *mut c_void {
        if flags & libc::MAP_ANONYMOUS == 0 && files::file(fd).is_some() {
            set_errno(libc::ENODEV);
            return libc::MAP_FAILED;
        }
        real(at, len, prot, flags, fd, offset)
    }
}
