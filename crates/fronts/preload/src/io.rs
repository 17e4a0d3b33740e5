//! Reading and writing.

use dmlab_shim_proto::front::{Request, io_flags};
use dmlab_shim_proto::{DATA_LEN, WAIT_AND_ASK};
use libc::{c_int, c_void, iovec, off_t, size_t, ssize_t};

use crate::channel::Call;
use crate::files::{self, File};
use crate::hook::hook;
use crate::ids;
use crate::{c_result, state, sys};

/// At the file position.
pub(crate) const AT_POSITION: i64 = -1;
/// As Linux limits one call.
pub(crate) const MAX_RW: usize = 0x7fff_f000;

/// Reads into one buffer, in pieces that fit a channel.
pub(crate) fn read_file(file: File, to: *mut u8, len: usize, pos: i64, flags: u32) -> Result<i64, i32> {
    let iovs = [iovec { iov_base: to.cast(), iov_len: len }];
    check_memory(&iovs)?;
    read_vec(file, &iovs, pos, flags)
}

/// All addresses and all lengths or'ed: enough to check O_DIRECT's alignment.
fn alignment(iovs: &[iovec]) -> (u64, u64) {
    let used = iovs.iter().filter(|v| v.iov_len != 0);
    used.fold((0, 0), |(bases, lens), v| (bases | v.iov_base as u64, lens | v.iov_len as u64))
}

/// Walks memory pieces of an io vector in order.
struct Cursor<'a> {
    iovs: &'a [iovec],
    at: usize,
    offset: usize,
}

impl Cursor<'_> {
    /// The next stretch of memory of at most `len` bytes.
    fn next(&mut self, len: usize) -> Option<(*mut u8, usize)> {
        loop {
            let v = self.iovs.get(self.at)?;
            if self.offset == v.iov_len {
                self.at += 1;
                self.offset = 0;
                continue;
            }
            let n = len.min(v.iov_len - self.offset);
            let at = v.iov_base.cast::<u8>().wrapping_add(self.offset);
            self.offset += n;
            return Some((at, n));
        }
    }
}

fn total(iovs: &[iovec]) -> usize {
    iovs.iter().fold(0usize, |n, v| n.saturating_add(v.iov_len)).min(MAX_RW)
}

/// Reads into memory pieces, and waits as long as there is nothing to be read in a file that can be waited for.
pub(crate) fn read_vec(file: File, iovs: &[iovec], pos: i64, flags: u32) -> Result<i64, i32> {
    loop {
        match read_now(file, iovs, pos, flags) {
            Err(WAIT_AND_ASK) if file.fd >= 0 => sys::wait_readable(file.fd)?,
            Err(WAIT_AND_ASK) => return Err(libc::EAGAIN),
            other => return other,
        }
    }
}

fn read_now(file: File, mut iovs: &[iovec], pos: i64, flags: u32) -> Result<i64, i32> {
    if !file.is_block && iovs.len() > 1 {
        // Character devices fill one piece after the other, and end with the first that is not full.
        let first = iovs.iter().position(|v| v.iov_len > 0).unwrap_or(0);
        iovs = &iovs[first..=first];
    }
    let mut call = Call::begin()?;
    let mut cursor = Cursor { iovs, at: 0, offset: 0 };
    let (len, (addresses, lengths)) = (total(iovs), alignment(iovs));
    let mut done = 0;
    loop {
        let want = (len - done).min(DATA_LEN);
        let at = if pos < 0 { AT_POSITION } else { pos + done as i64 };
        let request = Request::Read { file: file.id, pos: at, len: want as u32, flags, addresses, lengths };
        let got = match call.send(&request, 0, None) {
            Ok((reply, _)) => reply.value as usize,
            Err(_) if done > 0 => return Ok(done as i64),
            Err(errno) => return Err(errno),
        };
        let mut copied = 0;
        while copied < got.min(want) {
            let Some((to, n)) = cursor.next(got - copied) else { break };
            let from = &call.data()[copied..copied + n];
            // SAFETY: the program says this memory is its buffer; the area is ours alone until the next call.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, n) };
            copied += n;
        }
        done += copied;
        if got < want || done == len {
            return Ok(done as i64);
        }
    }
}

pub(crate) fn write_file(file: File, from: *const u8, len: usize, pos: i64, flags: u32) -> Result<i64, i32> {
    let iovs = [iovec { iov_base: from.cast_mut().cast(), iov_len: len }];
    check_memory(&iovs)?;
    write_vec(file, &iovs, pos, flags)
}

pub(crate) fn write_vec(file: File, iovs: &[iovec], pos: i64, flags: u32) -> Result<i64, i32> {
    state::note_write();
    let mut call = Call::begin()?;
    let mut cursor = Cursor { iovs, at: 0, offset: 0 };
    let (len, (addresses, lengths)) = (total(iovs), alignment(iovs));
    let mut done = 0;
    loop {
        let want = (len - done).min(DATA_LEN);
        let mut copied = 0;
        while copied < want {
            let Some((from, n)) = cursor.next(want - copied) else { break };
            let to = &mut call.data()[copied..copied + n];
            // SAFETY: the program says this memory is its buffer; the area is ours alone until the call.
            unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), n) };
            copied += n;
        }
        let at = if pos < 0 { AT_POSITION } else { pos + done as i64 };
        let request = Request::Write { file: file.id, pos: at, flags, addresses, lengths, data: &[] };
        let put = match call.send(&request, copied, None) {
            Ok((reply, _)) => reply.value as usize,
            Err(_) if done > 0 => return Ok(done as i64),
            Err(errno) => return Err(errno),
        };
        done += put;
        if put < want || done == len {
            return Ok(done as i64);
        }
    }
}

/// The program's io vector.
pub(crate) fn vector<'a>(iov: *const iovec, count: c_int) -> Result<&'a [iovec], i32> {
    if !(0..=1024).contains(&count) {
        return Err(libc::EINVAL);
    }
    if count == 0 {
        return Ok(&[]);
    }
    if iov.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: the program passed `count` vectors for the length of the call.
    let iovs = unsafe { core::slice::from_raw_parts(iov, count as usize) };
    if iovs.iter().any(|v| v.iov_len > isize::MAX as usize) {
        return Err(libc::EINVAL);
    }
    check_memory(iovs).map(|()| iovs)
}

/// EFAULT for memory that no program can have: the first page (null pointers and their like), and the kernel's half.
fn check_memory(iovs: &[iovec]) -> Result<(), i32> {
    let is_wrong = |v: &iovec| {
        let at = v.iov_base as usize;
        v.iov_len > 0 && (at < 4096 || at.checked_add(v.iov_len).is_none_or(|end| end > isize::MAX as usize))
    };
    if iovs.iter().any(is_wrong) { Err(libc::EFAULT) } else { Ok(()) }
}

/// `RWF_NOAPPEND`, which the C library does not name yet.
const RWF_NOAPPEND: c_int = 0x20;

/// The flags of one call that a block device takes: all that Linux 6.12 has but `RWF_ATOMIC`.
pub(crate) fn rwf(flags: c_int) -> Result<u32, i32> {
    const APPENDS: c_int = libc::RWF_APPEND | RWF_NOAPPEND;
    const ALL: c_int = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_NOWAIT | APPENDS;
    if flags & !ALL != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    // A device has no end that writes could be appended to: neither flag changes anything.
    if flags & APPENDS == APPENDS {
        return Err(libc::EINVAL);
    }
    let bit = |mask: c_int, ours: u32| if flags & mask != 0 { ours } else { 0 };
    Ok(bit(libc::RWF_DSYNC | libc::RWF_SYNC, io_flags::DSYNC) | bit(libc::RWF_NOWAIT, io_flags::NOWAIT))
}

/// Position, memory and flags of `preadv2` and `pwritev2`, looked at in the kernel's order.
fn second_form<'a>(
    iov: *const iovec,
    count: c_int,
    pos: off_t,
    flags: c_int,
) -> Result<(&'a [iovec], i64, u32), i32> {
    let pos = if pos == AT_POSITION { pos } else { positional(pos)? };
    let iovs = vector(iov, count)?;
    let flags = if total(iovs) == 0 { 0 } else { rwf(flags)? };
    Ok((iovs, pos, flags))
}

fn positional(pos: off_t) -> Result<i64, i32> {
    if pos < 0 { Err(libc::EINVAL) } else { Ok(pos) }
}

hook! {
    read => |real| (fd: c_int, to: *mut c_void, len: size_t) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(read_file(file, to.cast(), len, AT_POSITION, 0)),
            None => real(fd, to, len),
        }
    }

    __read_chk => |real| (fd: c_int, to: *mut c_void, len: size_t, room: size_t) -> ssize_t {
        match files::file(fd).filter(|_| len <= room) {
            Some(file) => c_result(read_file(file, to.cast(), len, AT_POSITION, 0)),
            None => real(fd, to, len, room),
        }
    }

    pread, pread64 => |real| (fd: c_int, to: *mut c_void, len: size_t, pos: off_t) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(positional(pos).and_then(|pos| read_file(file, to.cast(), len, pos, 0))),
            None => real(fd, to, len, pos),
        }
    }

    __pread_chk, __pread64_chk => |real| (fd: c_int, to: *mut c_void, len: size_t, pos: off_t, room: size_t) -> ssize_t {
        match files::file(fd).filter(|_| len <= room) {
            Some(file) => c_result(positional(pos).and_then(|pos| read_file(file, to.cast(), len, pos, 0))),
            None => real(fd, to, len, pos, room),
        }
    }

    readv => |real| (fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(vector(iov, count).and_then(|v| read_vec(file, v, AT_POSITION, 0))),
            None => real(fd, iov, count),
        }
    }

    preadv, preadv64 => |real| (fd: c_int, iov: *const iovec, count: c_int, pos: off_t) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(positional(pos).and_then(|pos| read_vec(file, vector(iov, count)?, pos, 0))),
            None => real(fd, iov, count, pos),
        }
    }

    preadv2, preadv64v2 => |real| (fd: c_int, iov: *const iovec, count: c_int, pos: off_t, flags: c_int) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(second_form(iov, count, pos, flags).and_then(|(iovs, pos, flags)| read_vec(file, iovs, pos, flags))),
            None => real(fd, iov, count, pos, flags),
        }
    }

    write => |real| (fd: c_int, from: *const c_void, len: size_t) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(write_file(file, from.cast(), len, AT_POSITION, 0)),
            None if ids::is_id_map(fd) => {
                // SAFETY: the program says so many bytes lie there.
                let text = unsafe { core::slice::from_raw_parts(from.cast::<u8>(), len) };
                match ids::write_map(fd, text) {
                    Some(written) => c_result(written.map(|n| n.min(len as i64))),
                    None => real(fd, from, len),
                }
            }
            None => real(fd, from, len),
        }
    }

    pwrite, pwrite64 => |real| (fd: c_int, from: *const c_void, len: size_t, pos: off_t) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(positional(pos).and_then(|pos| write_file(file, from.cast(), len, pos, 0))),
            None => real(fd, from, len, pos),
        }
    }

    writev => |real| (fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(vector(iov, count).and_then(|v| write_vec(file, v, AT_POSITION, 0))),
            None => real(fd, iov, count),
        }
    }

    pwritev, pwritev64 => |real| (fd: c_int, iov: *const iovec, count: c_int, pos: off_t) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(positional(pos).and_then(|pos| write_vec(file, vector(iov, count)?, pos, 0))),
            None => real(fd, iov, count, pos),
        }
    }

    pwritev2, pwritev64v2 => |real| (fd: c_int, iov: *const iovec, count: c_int, pos: off_t, flags: c_int) -> ssize_t {
        match files::file(fd) {
            Some(file) => c_result(second_form(iov, count, pos, flags).and_then(|(iovs, pos, flags)| write_vec(file, iovs, pos, flags))),
            None => real(fd, iov, count, pos, flags),
        }
    }
}
