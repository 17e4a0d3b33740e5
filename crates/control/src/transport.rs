//! How bytes get to a device mapper and back.

use dmlab_units::Errno;

/// The way to the device mapper itself failed; it never saw the command, or its answer got lost.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct TransportError {
    /// What was being tried, with the name of the node or socket.
    pub what: String,
    /// Why it failed.
    pub source: std::io::Error,
}

/// Something that takes device-mapper ioctls.
pub trait Transport {
    /// Makes the ioctl `request` with `buf` as the caller's memory, which must hold at least its own `data_size`.
    ///
    /// What the kernel copies back stands in `buf` afterwards; the length of `buf` does not change. The inner result
    /// is the system call's: its return value (0, or 2 for a message to a device without a table) or its errno.
    ///
    /// # Errors
    /// [`TransportError`] when the command did not reach a kernel.
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError>;

    /// A place in the kernel log: what is logged later lies behind it. `None` when this transport sees no log.
    fn log_position(&mut self) -> Option<u64> {
        None
    }

    /// Kernel log lines behind `position`, oldest first, without time stamps.
    fn log_since(&mut self, position: u64) -> Vec<String> {
        let _ = position;
        Vec::new()
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        (**self).ioctl(request, buf)
    }

    fn log_position(&mut self) -> Option<u64> {
        (**self).log_position()
    }

    fn log_since(&mut self, position: u64) -> Vec<String> {
        (**self).log_since(position)
    }
}
