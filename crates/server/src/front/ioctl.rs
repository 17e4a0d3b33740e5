//! Ioctls, with the program's memory carried to and fro.

use std::os::fd::OwnedFd;

use dmlab_machine::CarriedMemory;
use dmlab_recording::{Call, Ended};
use dmlab_shim_proto::{Reply, STAGING_LIMIT};
use dmlab_units::{Bytes, Errno};
use parking_lot::Mutex;

use super::files::Body;
use super::memory::{Process, carried};
use super::session::{Answer, Session, value};

/// The number of DM_TABLE_LOAD among the commands of the control node.
const TABLE_LOAD: u8 = 9;

impl Session {
    /// Takes the next piece of an argument that is longer than the data part.
    pub(super) fn stage(&mut self, offset: u64, data: &[u8]) -> Answer {
        if offset == 0 {
            self.staged.clear();
        }
        let fits =
            offset == self.staged.len() as u64 && self.staged.len() + data.len() <= STAGING_LIMIT as usize;
        if !fits {
            return Err(Errno::EINVAL);
        }
        self.staged.extend_from_slice(data);
        value(0)
    }

    /// Gives a piece of an answer that is longer than the data part.
    pub(super) fn fetch(&self, offset: u64, len: u32, out: &mut [u8]) -> Answer {
        let from =
            usize::try_from(offset).ok().and_then(|from| self.answer.get(from..)).ok_or(Errno::EINVAL)?;
        let piece = &from[..from.len().min(len as usize).min(out.len())];
        out[..piece.len()].copy_from_slice(piece);
        Ok((Reply { len: piece.len() as u32, ..Reply::default() }, None))
    }

    /// The ioctl `request` of an open file. Its argument is a number, and memory of the program: what was staged, what came
    /// now, and how many bytes the program says may be touched.
    pub(super) fn ioctl(
        &mut self,
        (file, cmd, arg): (u64, u32, u64),
        (staged, data, claimed): (u64, &[u8], u64),
        fd: Option<OwnedFd>,
        out: &mut [u8],
    ) -> Answer {
        let mut bytes = std::mem::take(&mut self.staged);
        bytes.truncate(staged as usize);
        bytes.extend_from_slice(data);
        let memory = carried(bytes, claimed);
        let file = self.file(file)?;
        let shared = self.shared.clone();
        let listener = shared
            .on_refused_load
            .as_ref()
            .filter(|_| matches!(*file.body, Body::Control(_)) && cmd as u8 == TABLE_LOAD);
        let request = listener.map(|_| memory.sent().to_vec());
        let klog = shared.world.machine().klog();
        let seen = klog.next_seq();
        let mut refused = false;
        let answer =
            self.call((file.body.number(), cmd, arg), memory, fd, out, |process, memory| match &*file.body {
                Body::Control(control) => control.ioctl(process, cmd, memory).inspect_err(|_| refused = true),
                Body::Block(_, block) => block.ioctl(process, cmd, arg, memory),
                Body::LoopControl => shared.world.machine().loops().ioctl(cmd, arg),
                Body::Kmsg(_) | Body::Trigger => Err(Errno::ENOTTY),
                Body::Path => Err(Errno::EBADF),
            });
        self.shared.files.signal_controls();
        self.shared.world.run_udev();
        if let (true, Some(listener), Some(request)) = (refused, listener, request) {
            let lines: Vec<String> = klog.since(seen).into_iter().map(|line| line.text).collect();
            listener(&request, &lines);
        }
        answer
    }

    /// Calls the kernel side with the client's memory, and sends back what it wrote, whether or not it failed. The ioctl is
    /// named by its file's number, its request and its argument.
    pub(super) fn call(
        &mut self,
        (file, request, argument): (u64, u32, u64),
        mut memory: CarriedMemory,
        fd: Option<OwnedFd>,
        out: &mut [u8],
        work: impl FnOnce(&Process<'_>, &mut CarriedMemory) -> Result<i32, Errno>,
    ) -> Answer {
        let shared = self.shared.clone();
        let call = {
            let (sent, room) = match &shared.recorder {
                Some(_) => (memory.sent().to_vec(), Bytes(memory.room() as u64)),
                None => (Vec::new(), Bytes(0)),
            };
            // Where the program keeps its memory is chance, and differs from run to run: what counts is what lies there.
            let argument = if room.0 == 0 { argument } else { u64::from(argument != 0) };
            move || Call::Ioctl { file, request, argument, sent, room }
        };
        let (result, memory) = self.recorded(
            call,
            |under| {
                let process = Process {
                    world: &shared.world,
                    files: &shared.files,
                    pid: self.pid,
                    interrupt: &self.interrupt,
                    under,
                    descriptor: Mutex::new(fd),
                };
                (work(&process, &mut memory), memory)
            },
            |(result, memory)| {
                let (begin, written) = memory.written();
                let written = (begin as u64, written.to_vec());
                Ended { written, ..Ended::with(result.map(i64::from)) }
            },
        );
        let (begin, written) = memory.written();
        let now = written.len().min(out.len());
        out[..now].copy_from_slice(&written[..now]);
        let value = match result {
            Ok(value) => i64::from(value as u32 & 0x7fff_ffff),
            Err(errno) => i64::from(errno.raw()) << 32,
        };
        let reply = Reply {
            value,
            len: now as u32,
            extra: begin as u64,
            total: written.len() as u64,
            ..Reply::default()
        };
        if written.len() > now {
            self.answer = written.to_vec();
        }
        Ok((reply, None))
    }
}
