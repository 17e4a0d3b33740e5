//! Reads, writes and what goes with them.

use dmlab_shim_proto::{Reply, WAIT_AND_ASK, io_flags};
use dmlab_units::{Bytes, Errno};

use super::files::{Body, OpenFile, open_flags};
use super::kmsg;
use super::session::{Answer, Session, value};
use dmlab_machine::{BlockFile, IoFlags};
use dmlab_recording::{Call, Ended};
use rustix::fs::OFlags;

/// What `readahead` is among the advices.
const READ_AHEAD: i32 = i32::MIN;

/// What F_SETFL may change.
const CHANGEABLE: OFlags =
    OFlags::APPEND.union(OFlags::NONBLOCK).union(OFlags::DIRECT).union(OFlags::NOATIME);

/// The block device behind an open file. Reading or writing a control node is EINVAL.
fn block(file: &OpenFile) -> Result<&BlockFile, Errno> {
    match &*file.body {
        Body::Block(_, block) => Ok(block),
        Body::Control(_) | Body::LoopControl | Body::Kmsg(_) | Body::Trigger => Err(Errno::EINVAL),
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
        if let Body::Kmsg(reader) = &*file.body {
            let read = reader.read(self.shared.world.machine().klog(), into);
            self.shared.files.signal_log_readers();
            return match read {
                // The program waits at the placeholder, and asks once more.
                Err(Errno::EAGAIN) if !file_flags.contains(OFlags::NONBLOCK) => {
                    Ok((Reply::error(WAIT_AND_ASK), None))
                }
                read => value(read? as i64),
            };
        }
        let block = block(&file)?;
        let how = how(file_flags, flags, bits);
        let go = |pos: u64, into: &mut [u8]| {
            let len = Bytes(into.len() as u64);
            let (result, _) = self.recorded(
                || Call::Read { file: file.body.number(), at: Bytes(pos), len, how: how.into() },
                |_| {
                    let result = block.read_at(pos, into, how);
                    let sum = self
                        .shared
                        .recorder
                        .as_ref()
                        .and(result.ok())
                        .map(|got| crc32c::crc32c(&into[..got]));
                    (result, sum)
                },
                |(result, sum)| Ended { sum: *sum, ..Ended::with(result.map(|got| got as i64)) },
            );
            result
        };
        let got = match u64::try_from(pos) {
            Ok(pos) => go(pos, into)?,
            Err(_) => {
                let mut position = file.position.lock();
                let got = go(*position, into)?;
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
        if let Body::Trigger = &*file.body {
            self.shared.world.trigger(&file.path, from)?;
            return value(from.len() as i64);
        }
        if let Body::Kmsg(_) = &*file.body {
            return value(kmsg::write(self.shared.world.machine(), from)? as i64);
        }
        let block = block(&file)?;
        if let (Body::Block(dev, _), false) = (&*file.body, file_flags.contains(OFlags::DIRECT)) {
            self.shared.files.note_buffered_write(*dev);
        }
        let how = how(file_flags, flags, bits);
        // O_APPEND changes nothing: a block device has no end of file that moves.
        let go = |pos: u64| {
            self.recorded_plainly(
                || Call::Write {
                    file: file.body.number(),
                    at: Bytes(pos),
                    data: from.to_vec(),
                    how: how.into(),
                },
                || block.write_at(pos, from, how),
                |put| *put as i64,
            )
        };
        let put = match u64::try_from(pos) {
            Ok(pos) => go(pos)?,
            Err(_) => {
                let mut position = file.position.lock();
                let put = go(*position)?;
                *position += put as u64;
                put
            }
        };
        file.inode.lock().written();
        value(put as i64)
    }

    pub(super) fn seek(&self, id: u64, offset: i64, whence: i32) -> Answer {
        let file = self.file(id)?;
        let block = match &*file.body {
            Body::Block(_, block) => block,
            Body::Path => return Err(Errno::EBADF),
            Body::Kmsg(reader) => {
                let at = reader.seek(self.shared.world.machine().klog(), offset, whence)?;
                self.shared.files.signal_log_readers();
                return value(at);
            }
            Body::Control(_) | Body::LoopControl | Body::Trigger => return Err(Errno::ESPIPE),
        };
        let size = block.size() as i64;
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
        let file = self.file(id)?;
        let block = block(&file)?;
        self.recorded_plainly(|| Call::Sync { file: file.body.number() }, || block.sync(), |()| 0)?;
        value(0)
    }

    pub(super) fn fallocate(&self, id: u64, mode: i32, offset: i64, len: i64) -> Answer {
        let file = self.file(id)?;
        let block = match &*file.body {
            Body::Block(_, block) => block,
            Body::Path => return Err(Errno::EBADF),
            Body::Control(_) | Body::LoopControl | Body::Kmsg(_) | Body::Trigger => {
                return Err(Errno::ENODEV);
            }
        };
        let mode = mode as u32;
        self.recorded_plainly(
            || Call::Fallocate { file: file.body.number(), mode, offset, len },
            || block.fallocate(mode, offset, len),
            |()| 0,
        )?;
        value(0)
    }

    /// `posix_fadvise`, and `readahead` among its advices. What it does to the page cache is not recorded: replayed, the same
    /// reads find the same bytes.
    pub(super) fn advise(&self, id: u64, advice: i32, offset: i64, len: i64) -> Answer {
        let file = self.file(id)?;
        if advice == READ_AHEAD {
            let access = file.flags() & OFlags::RWMODE;
            let may_read =
                (access == OFlags::RDONLY || access == OFlags::RDWR) && !matches!(&*file.body, Body::Path);
            return if may_read { value(0) } else { Err(Errno::EBADF) };
        }
        block(&file)?;
        if len < 0 || !(0..=5).contains(&advice) {
            return Err(Errno::EINVAL);
        }
        let _ = offset;
        value(0)
    }

    /// `sync_file_range`: dirty pages of the range reach the device; nothing is flushed.
    pub(super) fn write_back(&self, id: u64, offset: i64, len: i64) -> Answer {
        let file = self.file(id)?;
        let block = block(&file)?;
        let start = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let len = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
        let end = if len == 0 { u64::MAX } else { start.saturating_add(len) };
        let call = || Call::WriteBack { file: file.body.number(), start: Bytes(start), end: Bytes(end) };
        self.recorded_plainly(call, || block.write_back(start..end), |()| 0)?;
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
