//! Writing.

use crate::stream::{Device, Pool, Run, Sink, SinkError};
use std::io::Write;

/// Bytes gathered before they are written.
const CHUNK: usize = 1 << 18;

/// Writes a pool as XML.
pub struct XmlSink<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> XmlSink<W> {
    /// Writes to `out`, in large pieces.
    pub fn new(out: W) -> XmlSink<W> {
        XmlSink { out, buffer: Vec::with_capacity(CHUNK + 1024) }
    }

    fn attribute(&mut self, before: &str, value: u64) {
        self.buffer.extend_from_slice(before.as_bytes());
        // Millions of runs have four numbers each: formatting machinery would take most of the time.
        let mut digits = [0; 20];
        let (mut at, mut rest) = (digits.len(), value);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[at..]);
        self.buffer.push(b'"');
    }

    fn line(&mut self, end: &str) -> Result<(), SinkError> {
        self.buffer.extend_from_slice(end.as_bytes());
        self.buffer.push(b'\n');
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write> Sink for XmlSink<W> {
    fn pool(&mut self, pool: &Pool) -> Result<(), SinkError> {
        // The uuid is printed as empty whatever it is.
        self.attribute("<superblock uuid=\"\" time=\"", u64::from(pool.time));
        self.attribute(" transaction=\"", pool.transaction);
        self.attribute(" flags=\"", u64::from(pool.flags));
        self.attribute(" version=\"", u64::from(pool.version));
        self.attribute(" data_block_size=\"", pool.data_block_size.0);
        self.attribute(" nr_data_blocks=\"", pool.nr_data_blocks);
        self.line(">")
    }

    fn device(&mut self, device: &Device) -> Result<(), SinkError> {
        self.attribute("  <device dev_id=\"", device.id.0);
        self.attribute(" mapped_blocks=\"", device.mapped_blocks);
        self.attribute(" transaction=\"", device.transaction);
        self.attribute(" creation_time=\"", u64::from(device.creation_time));
        self.attribute(" snap_time=\"", u64::from(device.snap_time));
        self.line(">")
    }

    fn run(&mut self, run: &Run) -> Result<(), SinkError> {
        if run.length == 1 {
            self.attribute("    <single_mapping origin_block=\"", run.begin.0);
            self.attribute(" data_block=\"", run.data.0);
        } else {
            self.attribute("    <range_mapping origin_begin=\"", run.begin.0);
            self.attribute(" data_begin=\"", run.data.0);
            self.attribute(" length=\"", run.length);
        }
        self.attribute(" time=\"", u64::from(run.time));
        self.line("/>")
    }

    fn end_device(&mut self) -> Result<(), SinkError> {
        self.line("  </device>")
    }

    fn end_pool(&mut self) -> Result<(), SinkError> {
        self.line("</superblock>")?;
        self.flush()?;
        Ok(self.out.flush()?)
    }
}
