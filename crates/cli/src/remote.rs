//! A machine behind a socket.

use crate::kernel::{Disk, Kernel};
use dmlab_control::{Transport, TransportError};
use dmlab_server::client::Client;
use dmlab_units::{Errno, Sectors};
use std::io;

/// A connection to a machine that runs in another process.
pub(crate) struct Remote {
    client: Client,
    /// What messages call the machine.
    name: String,
    /// Number of the first kernel log line not read yet.
    log_next: u64,
}

impl Remote {
    /// Connects to a machine by its name, or by the path of its socket.
    ///
    /// # Errors
    /// When none of that name runs.
    pub(crate) fn connect(machine: &str) -> io::Result<Remote> {
        let client = Client::connect(machine)?;
        Ok(Remote { client, name: format!("machine {machine}"), log_next: 0 })
    }

    /// Log lines from `from` on, with their times, and the number behind the last.
    fn read_log(&mut self, from: u64) -> io::Result<(Vec<String>, u64)> {
        let (mut lines, mut next) = (Vec::new(), from);
        // One answer holds what fits a message.
        loop {
            let (more, after) = self.client.klog_since(next)?;
            if more.is_empty() {
                return Ok((lines, next));
            }
            lines.extend(more);
            next = after;
        }
    }
}

impl Transport for Remote {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        let answer = self.client.dm_ioctl(request, buf);
        answer.map_err(|source| TransportError { what: self.name.clone(), source })
    }

    fn log_position(&mut self) -> Option<u64> {
        self.log_next = self.read_log(self.log_next).ok()?.1;
        Some(self.log_next)
    }

    fn log_since(&mut self, position: u64) -> Vec<String> {
        // A lost connection shows at the next ioctl; the refusal at hand is still worth telling.
        let (lines, next) = self.read_log(position).unwrap_or_default();
        self.log_next = next.max(self.log_next);
        lines.iter().map(|line| untimed(line).to_owned()).collect()
    }
}

/// A log line without its `[    1.234567] `.
fn untimed(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    rest.map_or(line, |(_, text)| text)
}

impl Kernel for Remote {
    fn disks(&mut self) -> io::Result<Vec<Disk>> {
        let devices = self.client.devices()?.into_iter();
        let disk = |device: dmlab_server::client::DeviceLine| {
            let dev = device.number.parse().ok()?;
            Some(Disk { dev, name: device.name, len: Sectors(device.sectors) })
        };
        Ok(devices.filter_map(disk).collect())
    }

    fn release(&mut self) -> io::Result<String> {
        self.client.release()
    }

    fn read(&mut self, disk: &Disk, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let read = self.client.read_block(&format!("/dev/{}", disk.name), at, buf)?;
        if read == buf.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn write(&mut self, disk: &Disk, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.client.write_block(&format!("/dev/{}", disk.name), at, bytes)
    }

    fn log_lines(&mut self) -> io::Result<Vec<String>> {
        Ok(self.read_log(0)?.0)
    }

    fn uevents(&mut self) -> io::Result<Vec<String>> {
        let (mut events, mut next) = (Vec::new(), 0);
        loop {
            let (more, after) = self.client.uevents_since(next)?;
            if more.is_empty() {
                return Ok(events);
            }
            events.extend(more);
            next = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_off() {
        assert_eq!(untimed("[    0.000123] device-mapper: x [y] z"), "device-mapper: x [y] z");
        assert_eq!(untimed("device-mapper: x"), "device-mapper: x");
    }
}
