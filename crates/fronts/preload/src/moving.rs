//! Calls that move bytes between two descriptors of which at least one is simulated: splice, sendfile and their kin.
//!
//! Positions and order of checks are those seen on Linux 6.12. What a write does not take stays where it was: in the pipe,
//! or before the position of the file.

use dmlab_shim_proto::front::Request;
use libc::{c_int, c_uint, off_t, size_t, ssize_t};

use crate::files::{self, File};
use crate::hook::hook;
use crate::io::{MAX_RW, read_file, write_file};
use crate::{c_result, channel, sys};

/// `SPLICE_F_MOVE`, `_NONBLOCK`, `_MORE` and `_GIFT`.
const SPLICE_FLAGS: c_uint = 15;
const SPLICE_NONBLOCK: usize = 2;

/// The bytes on their way. Aligned as the kernel's own pages are, so that direct IO never minds where they lie.
#[repr(C, align(4096))]
struct Buffer([u8; 32768]);

/// One end of a move.
#[derive(Clone, Copy)]
enum End {
    Simulated(File),
    Pipe(c_int),
    Other(c_int),
}

impl End {
    /// What a descriptor is, and its flags.
    fn of(fd: c_int) -> Result<(End, c_int), i32> {
        if let Some(file) = files::file(fd) {
            let flags = ask(Request::GetFlags { file: file.id })?;
            return Ok((End::Simulated(file), flags as c_int));
        }
        let flags = sys::fcntl(fd, libc::F_GETFL, 0)? as c_int;
        let is_pipe = sys::fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFIFO;
        Ok((if is_pipe { End::Pipe(fd) } else { End::Other(fd) }, flags))
    }

    fn is_pipe(self) -> bool {
        matches!(self, End::Pipe(_))
    }

    /// Where the descriptor stands, if it stands anywhere.
    fn position(self) -> Result<Option<i64>, i32> {
        match self {
            End::Simulated(file) => {
                ask(Request::Seek { file: file.id, offset: 0, whence: libc::SEEK_CUR }).map(Some)
            }
            End::Pipe(_) => Ok(None),
            End::Other(fd) => Ok(sys::lseek(fd, 0, libc::SEEK_CUR).ok().map(|at| at as i64)),
        }
    }

    fn seek(self, to: i64) {
        let _ = match self {
            End::Simulated(file) => ask(Request::Seek { file: file.id, offset: to, whence: libc::SEEK_SET }),
            End::Pipe(_) => Ok(0),
            End::Other(fd) => sys::lseek(fd, to, libc::SEEK_SET).map(|at| at as i64),
        };
    }

    fn read(self, to: &mut [u8], at: Option<i64>) -> Result<usize, i32> {
        match (self, at) {
            (End::Simulated(file), at) => {
                read_file(file, to.as_mut_ptr(), to.len(), at.unwrap_or(0), 0).map(|got| got as usize)
            }
            (End::Pipe(fd) | End::Other(fd), None) => sys::read(fd, to.as_mut_ptr(), to.len()),
            (End::Pipe(fd) | End::Other(fd), Some(at)) => {
                sys::pread(fd, to.as_mut_ptr(), to.len(), at as usize)
            }
        }
    }

    fn write(self, from: &[u8], at: Option<i64>) -> Result<usize, i32> {
        match (self, at) {
            (End::Simulated(file), at) => {
                write_file(file, from.as_ptr(), from.len(), at.unwrap_or(0), 0).map(|put| put as usize)
            }
            (End::Pipe(fd) | End::Other(fd), None) => sys::write(fd, from.as_ptr(), from.len()),
            (End::Pipe(fd) | End::Other(fd), Some(at)) => {
                sys::pwrite(fd, from.as_ptr(), from.len(), at as usize)
            }
        }
    }
}

fn ask(request: Request<'_>) -> Result<i64, i32> {
    channel::ask(&request).map(|reply| reply.value)
}

fn may_read(flags: c_int) -> bool {
    matches!(flags & libc::O_ACCMODE, libc::O_RDONLY | libc::O_RDWR) && flags & libc::O_PATH == 0
}

fn may_write(flags: c_int) -> bool {
    matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR) && flags & libc::O_PATH == 0
}

/// The position that a program keeps itself.
fn given<'a>(pos: *mut off_t) -> Result<Option<&'a mut off_t>, i32> {
    if !pos.is_null() && (pos as usize) < 4096 {
        return Err(libc::EFAULT);
    }
    // SAFETY: null, or the program's place for the offset, for the length of the call.
    Ok(unsafe { pos.as_mut() })
}

/// Whether a move ends where an error comes: what was moved before counts.
fn ended(done: usize, errno: i32) -> Result<i64, i32> {
    if done > 0 { Ok(done as i64) } else { Err(errno) }
}

fn splice_any(
    from: c_int,
    from_pos: *mut off_t,
    to: c_int,
    to_pos: *mut off_t,
    len: usize,
    flags: c_uint,
) -> Result<i64, i32> {
    if len == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_FLAGS != 0 {
        return Err(libc::EINVAL);
    }
    let ((source, source_flags), (sink, sink_flags)) = (End::of(from)?, End::of(to)?);
    if !may_read(source_flags) || !may_write(sink_flags) {
        return Err(libc::EBADF);
    }
    if (source.is_pipe() && !from_pos.is_null()) || (sink.is_pipe() && !to_pos.is_null()) {
        return Err(libc::ESPIPE);
    }
    match (source, sink) {
        (End::Pipe(pipe), sink) => {
            let pos = given(to_pos)?;
            if sink_flags & libc::O_APPEND != 0 {
                return Err(libc::EINVAL);
            }
            let nonblock = flags as usize & SPLICE_NONBLOCK != 0 || source_flags & libc::O_NONBLOCK != 0;
            from_pipe(pipe, sink, pos, len.min(MAX_RW), nonblock)
        }
        (source, End::Pipe(pipe)) => {
            let nonblock = flags as usize & SPLICE_NONBLOCK != 0 || sink_flags & libc::O_NONBLOCK != 0;
            into_pipe(source, given(from_pos)?, pipe, len.min(MAX_RW), nonblock)
        }
        _ => Err(libc::EINVAL),
    }
}

/// Begins at the program's own position, or at the descriptor's.
fn start(end: End, pos: &Option<&mut off_t>) -> Result<Option<i64>, i32> {
    match pos {
        Some(at) if **at < 0 => Err(libc::EINVAL),
        Some(at) => Ok(Some(**at)),
        None => end.position(),
    }
}

fn stop(end: End, pos: Option<&mut off_t>, at: Option<i64>) {
    match (pos, at) {
        (Some(pos), Some(at)) => *pos = at,
        (None, Some(at)) => end.seek(at),
        _ => {}
    }
}

/// One fill of a pipe: what there is room for, once there is any.
fn into_pipe(
    source: End,
    pos: Option<&mut off_t>,
    pipe: c_int,
    len: usize,
    nonblock: bool,
) -> Result<i64, i32> {
    let at = start(source, &pos)?;
    let mut buffer = Buffer([0; 32768]);
    let mut poll = libc::pollfd { fd: pipe, events: libc::POLLOUT, revents: 0 };
    let timeout = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = sys::ppoll(&mut poll, 1, if nonblock { &timeout } else { core::ptr::null() })?;
    if ready == 0 {
        return Err(libc::EAGAIN);
    }
    let mut held = 0i32;
    let _ = sys::fionread(pipe, libc::FIONREAD as usize, &mut held);
    let size = sys::fcntl(pipe, libc::F_GETPIPE_SZ, 0)?;
    // A pipe that can be written takes a page, however its room is counted; one without readers says so itself.
    let room = size.saturating_sub(held as usize).max(4096);
    let want = len.min(room).min(buffer.0.len());
    let got = source.read(&mut buffer.0[..want], at)?;
    let mut put = 0;
    while put < got {
        match sys::write(pipe, buffer.0[put..].as_ptr(), got - put) {
            Ok(n) => put += n,
            Err(errno) if put == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    stop(source, pos, at.map(|at| at + put as i64));
    Ok(put as i64)
}

/// Takes from a pipe what `sink` takes. The bytes are looked at first, and leave the pipe when they are written.
fn from_pipe(
    pipe: c_int,
    sink: End,
    pos: Option<&mut off_t>,
    len: usize,
    nonblock: bool,
) -> Result<i64, i32> {
    let at = start(sink, &pos)?;
    let mut copy = [0i32; 2];
    sys::pipe2(copy.as_mut_ptr(), libc::O_CLOEXEC)?;
    let mut buffer = Buffer([0; 32768]);
    let mut done = 0;
    let result = loop {
        let want = (len - done).min(buffer.0.len());
        // Waits only for the first bytes.
        let flags = if nonblock || done > 0 { SPLICE_NONBLOCK } else { 0 };
        let seen = match sys::tee(pipe, copy[1], want, flags) {
            Ok(0) => break Ok(done as i64),
            Ok(seen) => seen,
            Err(errno) => break ended(done, errno),
        };
        let mut got = 0;
        while got < seen {
            match sys::read(copy[0], buffer.0[got..].as_mut_ptr(), seen - got) {
                Ok(0) | Err(_) => break,
                Ok(n) => got += n,
            }
        }
        let put = match sink.write(&buffer.0[..got], at.map(|at| at + done as i64)) {
            Ok(put) => put,
            Err(errno) => break ended(done, errno),
        };
        let mut left = put;
        while left > 0 {
            match sys::read(pipe, buffer.0.as_mut_ptr(), left) {
                Ok(0) | Err(_) => break,
                Ok(n) => left -= n,
            }
        }
        done += put;
        if put < got || done == len {
            break Ok(done as i64);
        }
    };
    let _ = sys::close(copy[0]);
    let _ = sys::close(copy[1]);
    if done > 0 {
        stop(sink, pos, at.map(|at| at + done as i64));
    }
    result
}

fn sendfile_any(to: c_int, from: c_int, pos: *mut off_t, len: usize) -> Result<i64, i32> {
    let (source, source_flags) = End::of(from)?;
    if !may_read(source_flags) {
        return Err(libc::EBADF);
    }
    let pos = given(pos)?;
    if source.is_pipe() {
        return Err(if pos.is_some() { libc::ESPIPE } else { libc::EINVAL });
    }
    let at = start(source, &pos)?;
    let (sink, sink_flags) = End::of(to)?;
    if !may_write(sink_flags) {
        return Err(libc::EBADF);
    }
    if len == 0 {
        return Ok(0);
    }
    if let End::Pipe(pipe) = sink {
        return into_pipe(source, pos, pipe, len.min(MAX_RW), sink_flags & libc::O_NONBLOCK != 0);
    }
    if sink_flags & libc::O_APPEND != 0 {
        return Err(libc::EINVAL);
    }
    let sink_at = sink.position()?;
    let mut buffer = Buffer([0; 32768]);
    let (len, mut done) = (len.min(MAX_RW), 0);
    let result = loop {
        let want = (len - done).min(buffer.0.len());
        let got = match source.read(&mut buffer.0[..want], at.map(|at| at + done as i64)) {
            Ok(0) => break Ok(done as i64),
            Ok(got) => got,
            Err(errno) => break ended(done, errno),
        };
        match sink.write(&buffer.0[..got], sink_at.map(|at| at + done as i64)) {
            Ok(put) => {
                done += put;
                if put < got || done == len {
                    break Ok(done as i64);
                }
            }
            Err(errno) => break ended(done, errno),
        }
    };
    if done > 0 {
        stop(source, pos, at.map(|at| at + done as i64));
        stop(sink, None, sink_at.map(|at| at + done as i64));
    }
    result
}

/// No block device takes part in it: both ends must be regular files.
fn no_copy(from: c_int, to: c_int) -> i32 {
    let is_dir = |fd: c_int| match files::file(fd) {
        Some(_) => Ok(false),
        None => sys::fstat(fd).map(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR),
    };
    match (is_dir(from), is_dir(to)) {
        (Err(errno), _) | (_, Err(errno)) => errno,
        (Ok(false), Ok(false)) => libc::EINVAL,
        _ => libc::EISDIR,
    }
}

fn is_simulated(fds: [c_int; 2]) -> bool {
    fds.iter().any(|&fd| files::file(fd).is_some())
}

hook! {
    copy_file_range => |real| (from: c_int, from_pos: *mut off_t, to: c_int, to_pos: *mut off_t, len: size_t,
                               flags: c_uint) -> ssize_t {
        match is_simulated([from, to]) {
            true => c_result(Err(no_copy(from, to))),
            false => real(from, from_pos, to, to_pos, len, flags),
        }
    }

    sendfile, sendfile64 => |real| (to: c_int, from: c_int, pos: *mut off_t, len: size_t) -> ssize_t {
        match is_simulated([from, to]) {
            true => c_result(sendfile_any(to, from, pos, len)),
            false => real(to, from, pos, len),
        }
    }

    splice => |real| (from: c_int, from_pos: *mut off_t, to: c_int, to_pos: *mut off_t, len: size_t, flags: c_uint)
        -> ssize_t {
        match is_simulated([from, to]) {
            true => c_result(splice_any(from, from_pos, to, to_pos, len, flags)),
            false => real(from, from_pos, to, to_pos, len, flags),
        }
    }

    tee => |real| (from: c_int, to: c_int, len: size_t, flags: c_uint) -> ssize_t {
        match is_simulated([from, to]) {
            true => c_result(tee_refused(from, to, len, flags)),
            false => real(from, to, len, flags),
        }
    }

    vmsplice => |real| (fd: c_int, iov: *const libc::iovec, count: size_t, flags: c_uint) -> ssize_t {
        match files::file(fd) {
            // Only of pipes.
            Some(_) => c_result(Err(if flags & !SPLICE_FLAGS != 0 { libc::EINVAL } else { libc::EBADF })),
            None => real(fd, iov, count, flags),
        }
    }
}

/// `tee` wants two pipes.
fn tee_refused(from: c_int, to: c_int, len: usize, flags: c_uint) -> Result<i64, i32> {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(libc::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let ((_, source), (_, sink)) = (End::of(from)?, End::of(to)?);
    Err(if may_read(source) && may_write(sink) { libc::EINVAL } else { libc::EBADF })
}
