//! ioctls: the argument's memory is copied in and out by the kernel, so that a bad pointer is EFAULT and not a crash.

use dmlab_shim_proto::front::Request;
use dmlab_shim_proto::{DATA_LEN, DM_HEADER_LEN, IoctlShape, STAGING_LIMIT, ioctl_shape};
use libc::{c_int, c_ulong};

use crate::channel::Call;
use crate::files::{self, File};
use crate::hook::hook;
use crate::{c_result, sys};

/// Copies from the program's memory at `from`. The result is how many bytes were readable.
pub(crate) fn copy_in(from: usize, to: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: to.len() };
    let pid = sys::getpid().unwrap_or(0);
    match sys::vm_read(pid, &local, &remote) {
        Ok(n) => n,
        Err(libc::ENOSYS | libc::EPERM) if from > 4096 => {
            // A sandbox refuses the call: nothing is left but to trust the program.
            // SAFETY: the program passed this address as its ioctl argument.
            unsafe { core::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
            to.len()
        }
        Err(_) => 0,
    }
}

/// Copies to the program's memory at `to`.
pub(crate) fn copy_out(to: usize, from: &[u8]) -> Result<(), i32> {
    if from.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = libc::iovec { iov_base: to as *mut libc::c_void, iov_len: from.len() };
    let pid = sys::getpid().unwrap_or(0);
    match sys::vm_write(pid, &local, &remote) {
        Ok(n) if n == from.len() => Ok(()),
        Err(libc::ENOSYS | libc::EPERM) if to > 4096 => {
            // SAFETY: as in `copy_in`.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
            Ok(())
        }
        _ => Err(libc::EFAULT),
    }
}

/// How much memory the kernel side may look at.
fn claimed_len(shape: IoctlShape, arg: usize) -> u64 {
    match shape {
        IoctlShape::Value | IoctlShape::Descriptor => 0,
        IoctlShape::Memory { reads, writes } => u64::from(reads.max(writes)),
        IoctlShape::DescriptorInMemory { reads } => u64::from(reads),
        IoctlShape::Pointing { reads, more, .. } => u64::from(reads + more),
        IoctlShape::DeviceMapper => {
            let mut header = [0u8; 16];
            if copy_in(arg, &mut header) < 16 {
                return 16;
            }
            let data_size = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
            u64::from(data_size).max(DM_HEADER_LEN as u64)
        }
    }
}

/// Copies in a structure and what the pointer in it points at; how many bytes there were.
fn copy_pointing(call: &mut Call, arg: usize, reads: usize, pointer: usize, more: usize) -> usize {
    let got = copy_in(arg, &mut call.data()[..reads]);
    if got < reads {
        return got;
    }
    let mut to = [0; 8];
    to.copy_from_slice(&call.data()[pointer..pointer + 8]);
    got + copy_in(usize::from_ne_bytes(to), &mut call.data()[reads..reads + more])
}

pub(crate) fn ioctl_file(file: File, cmd: u32, arg: usize) -> Result<i64, i32> {
    let shape = ioctl_shape(cmd);
    let claimed = claimed_len(shape, arg);
    let mut call = Call::begin()?;
    let wanted = claimed.min(STAGING_LIMIT) as usize;
    let mut staged = 0;
    let mut tail = match shape {
        IoctlShape::Pointing { reads, pointer, more } => {
            copy_pointing(&mut call, arg, reads as usize, pointer as usize, more as usize)
        }
        _ => 0,
    };
    // What has no pointers comes in pieces of what fits.
    let mut is_whole = matches!(shape, IoctlShape::Pointing { .. });
    while !is_whole {
        let piece = (wanted - staged).min(DATA_LEN);
        if piece > 0 {
            tail = copy_in(arg + staged, &mut call.data()[..piece]);
        }
        is_whole = tail < piece || staged + tail == wanted;
        if !is_whole {
            call.send(&Request::Stage { offset: staged as u64, data: &[] }, tail, None)?;
            staged += tail;
            tail = 0;
        }
    }
    let fd = match shape {
        IoctlShape::Descriptor => Some(arg as i32),
        IoctlShape::DescriptorInMemory { .. } if tail >= 4 => {
            let head = &call.data()[..4];
            Some(i32::from_le_bytes([head[0], head[1], head[2], head[3]]))
        }
        _ => None,
    };
    let fd = fd.filter(|&fd| sys::fcntl(fd, libc::F_GETFD, 0).is_ok());
    let request = Request::Ioctl {
        file: file.id,
        cmd,
        arg: arg as u64,
        claimed,
        staged: staged as u64,
        with_fd: fd.is_some(),
        data: &[],
    };
    let (value, begin, total) = {
        let answer = call.send(&request, tail, fd);
        let (reply, _) = answer?;
        let len = reply.len as usize;
        copy_out(arg + reply.extra as usize, &call.data()[..len])?;
        (reply.value, reply.extra as usize, reply.total as usize)
    };
    // An answer longer than the data part comes in pieces; the first of them came with the reply.
    let mut at = total.min(DATA_LEN);
    while at < total {
        let request = Request::Fetch { offset: at as u64, len: (total - at).min(DATA_LEN) as u32 };
        let (reply, _) = call.send(&request, 0, None)?;
        let len = reply.len as usize;
        if len == 0 {
            return Err(libc::EPROTO);
        }
        copy_out(arg + begin + at, &call.data()[..len])?;
        at += len;
    }
    // The call itself may have failed after writing (a DM ioctl writes the version back in any case).
    match value >> 32 {
        0 => Ok(value),
        errno => Err(errno as i32),
    }
}

hook! {
    ioctl => |real| (fd: c_int, cmd: c_ulong, arg: usize) -> c_int {
        match files::file(fd) {
            Some(file) => c_result(ioctl_file(file, cmd as u32, arg)),
            None => real(fd, cmd, arg),
        }
    }
}
