//! What logs are read from and replayed onto.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that hold a log.
pub trait Source {
    /// Fills `buf` from byte `at` on.
    ///
    /// # Errors
    /// The system's, and `UnexpectedEof` past the end.
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// What a log is replayed onto.
pub trait Disk {
    /// Writes `bytes` from byte `at` on.
    ///
    /// # Errors
    /// The system's; beyond the end of a device.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Forgets `len` bytes from byte `at` on: they read as zeros afterwards.
    ///
    /// # Errors
    /// As [`Disk::write`].
    fn discard(&mut self, at: u64, len: u64) -> io::Result<()>;
}

impl Source for Vec<u8> {
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Source for File {
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buf, at)
    }
}

/// Memory of fixed size.
impl Disk for Vec<u8> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        range(self, at, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        range(self, at, len)?.fill(0);
        Ok(())
    }
}

fn range(memory: &mut [u8], at: u64, len: u64) -> io::Result<&mut [u8]> {
    let bounds = (usize::try_from(at).ok()).zip(usize::try_from(len).ok());
    let found = bounds.and_then(|(at, len)| memory.get_mut(at..)?.get_mut(..len));
    found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
