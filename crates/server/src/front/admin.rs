//! What dmlab's own commands ask of a machine.

use std::sync::atomic::Ordering;

use dmlab_machine::DeviceInfo;
use dmlab_shim_proto::admin::Request;
use dmlab_shim_proto::{Header, Reply};
use dmlab_units::Errno;

use super::memory::carried;
use super::session::{Answer, Session, payload, value};

impl Session {
    /// Answers a request of one of dmlab's own commands.
    pub(super) fn answer_command(&mut self, header: &Header, data: &mut [u8]) -> Answer {
        let payload = data.get(..header.len as usize).ok_or(Errno::EPROTO)?.to_vec();
        let request = Request::decode(header, &payload).map_err(|_| Errno::EPROTO)?;
        self.shared.files.drain();
        match request {
            Request::Klog { from } => self.klog(from, data),
            Request::Uevents { from } => self.uevents(from, data),
            Request::Release {} => self.release(data),
            Request::Devices {} => self.devices(data),
            Request::Faults { from, command } => self.fault_rules(from, command, data),
            Request::Halt {} => self.halt(),
            Request::DmIoctl { cmd, data: asked } => self.dm_ioctl(cmd, asked, data),
        }
    }

    fn uevents(&self, from: u64, out: &mut [u8]) -> Answer {
        let events = self.shared.view.machine().uevents().after(from);
        let next = events.last().map_or(from, |event| event.seqnum);
        text_lines(out, next, events.iter().map(|event| (event.seqnum - 1, format!("{event}\n"))))
    }

    fn release(&self, out: &mut [u8]) -> Answer {
        payload(out, self.shared.view.machine().runtime().personality().release.as_bytes())
    }

    fn devices(&self, out: &mut [u8]) -> Answer {
        let line = |device: &DeviceInfo| {
            let dm = device.dm.as_ref().map_or("-".into(), |dm| String::from_utf8_lossy(&dm.name));
            let access = if device.read_only { "ro" } else { "rw" };
            format!("{} {} {} {access} {dm}", device.name, device.dev, device.size.0)
        };
        text_lines(out, 0, self.shared.view.devices().iter().map(|device| (0, line(device))))
    }

    fn fault_rules(&self, from: u64, command: &[u8], out: &mut [u8]) -> Answer {
        match self.shared.kernel.fault_command(from, command) {
            Ok(lines) => text_lines(out, 0, lines.into_iter()),
            Err(wrong) => {
                let (reply, fd) = payload(out, wrong.as_bytes())?;
                Ok((Reply { extra: 1, ..reply }, fd))
            }
        }
    }

    fn halt(&self) -> Answer {
        self.shared.halted_by.store(self.pid, Ordering::Release);
        self.shared.halt();
        value(0)
    }

    fn dm_ioctl(&mut self, cmd: u32, data: &[u8], out: &mut [u8]) -> Answer {
        let shared = self.shared.clone();
        let mut memory = carried(data.to_vec(), data.len() as u64);
        let process = self.process(&shared, None);
        let result = shared.dmlabs_control().ioctl(self.client, (cmd, 0), &mut memory, &process);
        self.reply_to_ioctl(result, &memory, out)
    }
}

/// Lines of text with their numbers, as many as fit; the value says where to go on.
pub(super) fn text_lines(out: &mut [u8], next: u64, lines: impl Iterator<Item = (u64, String)>) -> Answer {
    let mut at = 0;
    for (seq, line) in lines {
        let Some(place) = out.get_mut(at..at + line.len() + 1) else {
            return Ok((Reply { value: seq as i64, len: at as u32, ..Reply::default() }, None));
        };
        place[..line.len()].copy_from_slice(line.as_bytes());
        place[line.len()] = b'\n';
        at += line.len() + 1;
    }
    Ok((Reply { value: next as i64, len: at as u32, ..Reply::default() }, None))
}
