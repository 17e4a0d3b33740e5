//! Reads, writes and what goes with them.

use dmlab_shim_proto::front::io_flags;
use dmlab_shim_proto::{Reply, WAIT_AND_ASK};
use dmlab_units::{Bytes, Errno};

use super::files::{Body, OpenFile, open_flags};
use super::kmsg;
use super::session::{Answer, Session, value};
use dmlab_kernel_calls::{KernelFile, Node};
use dmlab_machine::IoFlags;
use rustix::fs::OFlags;

/// What `readahead` is among the advices.
const READ_AHEAD: i32 = i32::MIN;

/// What F_SETFL may change.
const CHANGEABLE: OFlags =
    OFlags::APPEND.union(OFlags::NONBLOCK).union(OFlags::DIRECT).union(OFlags::NOATIME);

/// The kernel's file behind an open file, for what other files fail with EINVAL.
fn data(file: &OpenFile) -> Result<&dyn KernelFile, Errno> {
    match &file.body {
        Body::Kernel(file) => Ok(&**file),
        Body::Kmsg(_) | Body::Trigger => Err(Errno::EINVAL),
        Body::Path => Err(Errno::EBADF),
    }
}

/// How an IO is done: by the open file's flags and the call's own. `bits` are the or'ed addresses and lengths of the program's
/// buffers, at whose alignment direct IO looks.
fn how(file_flags: OFlags, flags: u32, bits: (u64, u64)) -> IoFlags {
    IoFlags {
        is_direct: file_flags.contains(OFlags::DIRECT),
        is_nowait: flags & io_flags::NOWAIT != 0,
        is_dsync: file_flags.intersects(OFlags::DSYNC) || flags & io_flags::DSYNC != 0,
        address_bits: bits.0 as usize,
        length_bits: bits.1 as usize,
    }
}

impl Session {
    pub(super) fn read(&self, id: u64, pos: i64, into: &mut [u8], flags: u32, bits: (u64, u64)) -> Answer {
        let file = self.file(id)?;
        let file_flags = file.flags();
        if file_flags & OFlags::RWMODE == OFlags::WRONLY {
            return Err(Errno::EBADF);
        }
        if let Body::Kmsg(reader) = &file.body {
            let read = reader.read(self.shared.view.machine().klog(), into);
            self.shared.files.signal_log_readers();
            return match read {
                // The program waits at the placeholder, and asks once more.
                Err(Errno::EAGAIN) if !file_flags.contains(OFlags::NONBLOCK) => {
                    Ok((Reply::error(WAIT_AND_ASK), None))
                }
                read => value(read? as i64),
            };
        }
        let data = data(&file)?;
        let how = how(file_flags, flags, bits);
        let got = match u64::try_from(pos) {
            Ok(pos) => data.read(self.client, Bytes(pos), into, how)?,
            Err(_) => {
                let mut position = file.position.lock();
                let got = data.read(self.client, Bytes(*position), into, how)?;
                *position += got as u64;
                got
            }
        };
        value(got as i64)
    }

    pub(super) fn write(&self, id: u64, pos: i64, from: &[u8], flags: u32, bits: (u64, u64)) -> Answer {
        let file = self.file(id)?;
        let file_flags = file.flags();
        if file_flags & OFlags::RWMODE == OFlags::RDONLY {
            return Err(Errno::EBADF);
        }
        if let Body::Trigger = &file.body {
            self.shared.view.trigger(&file.path, from)?;
            return value(from.len() as i64);
        }
        if let Body::Kmsg(_) = &file.body {
            return value(kmsg::write(self.shared.view.machine(), from)? as i64);
        }
        let data = data(&file)?;
        if let (Node::Block { dev, .. }, false) = (data.node(), file_flags.contains(OFlags::DIRECT)) {
            self.shared.files.note_buffered_write(dev);
        }
        let how = how(file_flags, flags, bits);
        // O_APPEND changes nothing: a block device has no end of file that moves.
        let put = match u64::try_from(pos) {
            Ok(pos) => data.write(self.client, Bytes(pos), from, how)?,
            Err(_) => {
                let mut position = file.position.lock();
                let put = data.write(self.client, Bytes(*position), from, how)?;
                *position += put as u64;
                put
            }
        };
        file.inode.lock().written();
        value(put as i64)
    }

    pub(super) fn seek(&self, id: u64, offset: i64, whence: i32) -> Answer {
        let file = self.file(id)?;
        let size = match &file.body {
            Body::Kernel(file) => file.size().ok_or(Errno::ESPIPE)?.0 as i64,
            Body::Path => return Err(Errno::EBADF),
            Body::Kmsg(reader) => {
                let at = reader.seek(self.shared.view.machine().klog(), offset, whence)?;
                self.shared.files.signal_log_readers();
                return value(at);
            }
            Body::Trigger => return Err(Errno::ESPIPE),
        };
        let mut position = file.position.lock();
        let base = match whence {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => *position as i64,
            libc::SEEK_END => size,
            _ => return Err(Errno::EINVAL),
        };
        let to = base.checked_add(offset).filter(|to| (0..=size).contains(to)).ok_or(Errno::EINVAL)?;
        *position = to as u64;
        value(to)
    }

    pub(super) fn fsync(&self, id: u64) -> Answer {
        data(&*self.file(id)?)?.sync(self.client).and_then(|()| value(0))
    }

    pub(super) fn fallocate(&self, id: u64, mode: i32, offset: i64, len: i64) -> Answer {
        match &self.file(id)?.body {
            Body::Kernel(file) => file.fallocate(self.client, mode as u32, offset, len)?,
            Body::Path => return Err(Errno::EBADF),
            Body::Kmsg(_) | Body::Trigger => return Err(Errno::ENODEV),
        }
        value(0)
    }

    /// `posix_fadvise`, and `readahead` among its advices. What it does to the page cache is not recorded: replayed, the same
    /// reads find the same bytes.
    pub(super) fn advise(&self, id: u64, advice: i32, offset: i64, len: i64) -> Answer {
        let file = self.file(id)?;
        if advice == READ_AHEAD {
            let access = file.flags() & OFlags::RWMODE;
            let may_read =
                (access == OFlags::RDONLY || access == OFlags::RDWR) && !matches!(&file.body, Body::Path);
            return if may_read { value(0) } else { Err(Errno::EBADF) };
        }
        data(&file)?.size().ok_or(Errno::EINVAL)?;
        if len < 0 || !(0..=5).contains(&advice) {
            return Err(Errno::EINVAL);
        }
        let _ = offset;
        value(0)
    }

    /// `sync_file_range`: dirty pages of the range reach the device; nothing is flushed.
    pub(super) fn write_back(&self, id: u64, offset: i64, len: i64) -> Answer {
        let file = self.file(id)?;
        let data = data(&file)?;
        let start = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
        let end = if len == 0 { u64::MAX } else { start.saturating_add(len) };
        data.write_back(self.client, start..end)?;
        value(0)
    }

    /// As `fcntl(F_GETFL)` shows them: of all but `O_PATH` the kernel keeps that they may be large.
    pub(super) fn get_flags(&self, id: u64) -> Answer {
        let flags = self.file(id)?.flags();
        let shown = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::LARGEFILE };
        value(i64::from(shown.bits() as i32))
    }

    pub(super) fn set_flags(&self, id: u64, flags: i32) -> Answer {
        let file = self.file(id)?;
        file.set_flags(file.flags().difference(CHANGEABLE) | (open_flags(flags) & CHANGEABLE));
        value(0)
    }
}
