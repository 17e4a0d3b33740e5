//! Ioctls, with the program's memory carried to and fro.

use std::os::fd::OwnedFd;

use dmlab_kernel_calls::Node;
use dmlab_machine::CarriedMemory;
use dmlab_shim_proto::{Reply, STAGING_LIMIT};
use dmlab_units::Errno;
use parking_lot::Mutex;

use super::files::Body;
use super::memory::{Process, carried};
use super::session::{Answer, Session, value};
use super::shared_state::Shared;

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
        let mut memory = carried(bytes, claimed);
        let file = self.file(file)?;
        let shared = self.shared.clone();
        let listener = shared
            .on_refused_load
            .as_ref()
            .filter(|_| file.body.node() == Some(Node::Control) && cmd as u8 == TABLE_LOAD);
        let request = listener.map(|_| memory.sent().to_vec());
        let klog = shared.view.machine().klog();
        let seen = klog.next_seq();
        let result = match &file.body {
            Body::Kernel(file) => {
                file.ioctl(self.client, (cmd, arg), &mut memory, &self.process(&shared, fd))
            }
            Body::Kmsg(_) | Body::Trigger => Err(Errno::ENOTTY),
            Body::Path => Err(Errno::EBADF),
        };
        let answer = self.reply_to_ioctl(result, &memory, out);
        self.shared.files.signal_controls();
        self.shared.view.run_udev();
        if let (Err(_), Some(listener), Some(request)) = (result, listener, request) {
            let lines: Vec<String> = klog.since(seen).into_iter().map(|line| line.text).collect();
            listener(&request, &lines);
        }
        answer
    }

    /// The client's process, with a descriptor that came with its request.
    pub(super) fn process<'a>(&'a self, shared: &'a Shared, descriptor: Option<OwnedFd>) -> Process<'a> {
        Process {
            view: &shared.view,
            files: &shared.files,
            pid: self.pid,
            interrupt: &self.interrupt,
            descriptor: Mutex::new(descriptor),
        }
    }

    /// Sends back what an ioctl returned and what it wrote to the client's memory, whether or not it failed.
    pub(super) fn reply_to_ioctl(
        &mut self,
        result: Result<i32, Errno>,
        memory: &CarriedMemory,
        out: &mut [u8],
    ) -> Answer {
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
