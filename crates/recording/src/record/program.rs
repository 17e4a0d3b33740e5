//! A program whose answers are written down.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_kernel_calls::{Backing, Program};
use dmlab_machine::{Interrupt, LoopBacking};
use dmlab_units::{Bytes, DevT, Errno};

use super::Under;
use crate::event::{self, Answer, Event, Extents, Host};
use crate::log::Log;

/// A program that the kernel asks in the middle of a call.
pub(super) struct Asked<'a> {
    pub(super) program: &'a dyn Program,
    pub(super) under: &'a Under<'a>,
}

impl Program for Asked<'_> {
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        let dev = self.program.lookup_bdev(path);
        self.under.told(Answer::Path { path: path.to_vec(), dev });
        dev
    }

    fn interrupt(&self) -> &Interrupt {
        self.program.interrupt()
    }

    fn kill(&self) {
        self.program.kill();
    }

    fn backing(&self, fd: i32) -> Result<Backing, Errno> {
        match self.program.backing(fd) {
            Err(errno) => {
                self.under.told(Answer::Backing(Err(errno)));
                Err(errno)
            }
            Ok(Backing::Device { dev, mode }) => {
                self.under.told(Answer::Backing(Ok(event::Backing::Device { dev, mode: mode.bits() })));
                Ok(Backing::Device { dev, mode })
            }
            Ok(Backing::File { file, contents }) => {
                Ok(Backing::File { file: self.watched(file, contents.as_ref()), contents })
            }
        }
    }
}

impl Asked<'_> {
    /// Writes down what is in a file of the host that a loop device is put on. Returns what is to stand in the file's place, so that
    /// its size is noted whenever it is looked at. `contents` is read whole, and its position moves. A file that is too large for a
    /// recording ends the recording.
    fn watched(&self, file: Arc<dyn LoopBacking>, contents: Option<&File>) -> Arc<dyn LoopBacking> {
        let recorder = self.under.recorder;
        let is_read_only = file.is_read_only();
        let number = recorder.last_backing.fetch_add(1, Ordering::Relaxed) + 1;
        let host = contents.map_or_else(
            // It cannot be read, by the loop device neither.
            || {
                let contents = Extents { len: Bytes(file.size().unwrap_or(0)), parts: Vec::new() };
                Ok(Host { is_read_only, identity: file.identity(), contents })
            },
            |contents| Host::read(contents, is_read_only),
        );
        match host {
            Ok(host) => {
                let backing = event::Backing::Host { number, host, path: file.path() };
                self.under.told(Answer::Backing(Ok(backing)));
            }
            Err(error) => {
                let text = format!("{}: {error}", String::from_utf8_lossy(&file.path()));
                recorder.log.fail(io::Error::new(error.kind(), text));
            }
        }
        Arc::new(WatchedFile { file, number, log: recorder.log.clone() })
    }
}

/// A file of the host whose size others may change meanwhile.
struct WatchedFile {
    file: Arc<dyn LoopBacking>,
    number: u64,
    log: Arc<Log>,
}

impl LoopBacking for WatchedFile {
    fn size(&self) -> Result<u64, Errno> {
        let size = self.file.size();
        self.log.push(&Event::Size { number: self.number, size: size.map(Bytes) });
        size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.file.write_at(offset, buf)
    }

    fn sync(&self) -> Result<(), Errno> {
        self.file.sync()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.file.punch_hole(offset, len)
    }

    fn is_read_only(&self) -> bool {
        self.file.is_read_only()
    }

    fn path(&self) -> Vec<u8> {
        self.file.path()
    }

    fn identity(&self) -> (u64, u64) {
        self.file.identity()
    }
}
