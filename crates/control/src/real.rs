//! A real `/dev/mapper/control`: the same commands drive the Linux this program runs on.
//!
//! The only unsafe code of this crate: the ioctl system call takes a pointer and trusts it.
#![allow(unsafe_code)]

use crate::transport::{Transport, TransportError};
use dmlab_abi::{HEADER_MIN, HEADER_SIZE, Header};
use dmlab_units::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use std::ffi::c_void;
use std::fs::{File, OpenOptions};

/// The control node of a Linux with the device mapper.
const NODE: &str = "/dev/mapper/control";

/// An open `/dev/mapper/control` of the running kernel. Needs CAP_SYS_ADMIN.
#[derive(Debug)]
pub struct RealControl {
    node: File,
}

impl RealControl {
    /// Opens the node.
    ///
    /// # Errors
    /// [`TransportError`]: no such node (no device mapper in this kernel or container), or no permission.
    pub fn open() -> Result<RealControl, TransportError> {
        let node = OpenOptions::new().read(true).write(true).open(NODE);
        let node = node.map_err(|source| TransportError { what: format!("open {NODE}"), source })?;
        Ok(RealControl { node })
    }
}

impl Transport for RealControl {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        // What the kernel would read or write beyond the buffer is what it would call a bad address.
        let data_size = Header::decode(buf).map(|header| header.data_size() as usize);
        if buf.len() < HEADER_SIZE.max(HEADER_MIN) || data_size.is_ok_and(|size| size > buf.len()) {
            return Ok(Err(Errno::EFAULT));
        }
        let call = DmIoctl { request, buf };
        // SAFETY: `DmIoctl` points at `buf`, which outlives the call and is at least as long as the struct and as the
        // `data_size` inside it (checked above); a device-mapper ioctl touches no byte beyond these.
        let answer = unsafe { rustix::ioctl::ioctl(&self.node, call) };
        Ok(answer.map_err(|errno| Errno::from_raw(errno.raw_os_error()).unwrap_or(Errno::EINVAL)))
    }
}

struct DmIoctl<'a> {
    request: u32,
    buf: &'a mut Vec<u8>,
}

// SAFETY: `as_ptr` is the start of a buffer that `self` borrows mutably until the call is over, the kernel may write
// into it (`IS_MUTATING`), and the output is only the number that the system call returned.
unsafe impl Ioctl for DmIoctl<'_> {
    type Output = i32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.request as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.buf.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_shorter_than_it_says_never_reaches_the_kernel() {
        let node = File::open("/dev/null").unwrap();
        let mut control = RealControl { node };
        let header = Header::request([4, 0, 0], 1 << 20, dmlab_abi::DmFlags::empty());
        let mut short = header.as_bytes().to_vec();
        assert_eq!(control.ioctl(0xc138_fd07, &mut short).unwrap(), Err(Errno::EFAULT));
        assert_eq!(control.ioctl(0xc138_fd07, &mut vec![0; 100]).unwrap(), Err(Errno::EFAULT));
        // A node that is no device mapper answers for itself.
        let mut whole = Header::request([4, 0, 0], 312, dmlab_abi::DmFlags::empty()).as_bytes().to_vec();
        assert_eq!(control.ioctl(0xc138_fd07, &mut whole).unwrap(), Err(Errno::ENOTTY));
    }
}
