//! Messages to a device or to one of its targets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_abi::{DmFlags, HEADER_MIN, HEADER_SIZE};
use dmlab_runtime::Quirks;
use dmlab_units::{Errno, Sector};

use super::{ControlFile, NO_TABLE_FOR_MESSAGE, Request};
use crate::stats::StatsReply;
use crate::{MappedDevice, split_args};

impl ControlFile {
    /// TARGET_MSG. Words that begin with `@` are for the core, all others for the target at the given sector.
    pub(super) async fn target_message(&self, request: &mut Request<'_>) -> Result<i32, Errno> {
        let device = self.find(request)?;
        let Some((sector, text)) = self.message_of(request) else {
            self.log(format_args!("Invalid target message parameters."));
            return Err(Errno::EINVAL);
        };
        let words = split_args(&text);
        let Some(first) = words.first() else {
            self.log(format_args!("Empty message received."));
            return Err(Errno::EINVAL);
        };
        if first.starts_with(b"@") {
            self.core_message(&device, &words, request)?;
            self.fill_status(&device, request);
            return Ok(0);
        }
        let Some(table) = device.live_table() else {
            if self.mapper.runtime().has(Quirks::MESSAGE_NEEDS_TABLE) {
                self.log(format_args!("The device has no table."));
                return Err(Errno::EINVAL);
            }
            return Ok(NO_TABLE_FOR_MESSAGE);
        };
        let Some(at) = table.find(sector) else {
            self.log(format_args!("Target message sector outside device."));
            return Err(Errno::EINVAL);
        };
        let Some(messages) = table.lines()[at].target.messages() else {
            self.log(format_args!("Target type does not support messages"));
            return Err(Errno::EINVAL);
        };
        let answer = messages.message(&words, request.caller).await?;
        if let Some(text) = answer {
            answer_text(request, text.into_bytes());
        }
        self.fill_status(&device, request);
        Ok(0)
    }

    fn message_of(&self, request: &Request<'_>) -> Option<(Sector, Vec<u8>)> {
        let at = request.header.data_start() as usize;
        if at < HEADER_MIN {
            return None;
        }
        let message = request.input.get(at..)?;
        let sector = message.get(..8)?.try_into().map(u64::from_le_bytes).ok()?;
        let text = message.get(8..)?;
        let end = text.iter().position(|&b| b == 0)?;
        Some((Sector(sector), text[..end].to_vec()))
    }

    fn core_message(
        &self,
        device: &Arc<MappedDevice>,
        words: &[Vec<u8>],
        request: &mut Request<'_>,
    ) -> Result<(), Errno> {
        if words[0].eq_ignore_ascii_case(b"@cancel_deferred_remove") {
            if words.len() != 1 {
                self.log(format_args!("Invalid arguments for @cancel_deferred_remove"));
                return Err(Errno::EINVAL);
            }
            if device.is_deleting.load(Ordering::Acquire) {
                return Err(Errno::EBUSY);
            }
            device.is_deferred_remove.store(false, Ordering::Release);
            return Ok(());
        }
        let (runtime, size) = (self.mapper.runtime(), device.block().capacity());
        match device.io.stats.message(runtime, size, words, request.room()) {
            Some(Ok(StatsReply::None)) => Ok(()),
            Some(Ok(StatsReply::Text(text))) => {
                answer_text(request, text);
                Ok(())
            }
            Some(Ok(StatsReply::Full)) => {
                request.header.set_flag(DmFlags::DATA_OUT, true);
                request.header.set_data_start(HEADER_SIZE as u32);
                request.buffer_full();
                Ok(())
            }
            Some(Err(errno)) => Err(errno),
            None => {
                let name = String::from_utf8_lossy(&words[0]);
                self.log(format_args!("Unsupported message sent to DM core: {name}"));
                Err(Errno::EINVAL)
            }
        }
    }
}

/// Puts a text into the answer, if it leaves a byte to spare. An empty text is never written, so what the request held
/// in its place, up to a NUL, is the answer (recorded: `raw/ioctls`).
fn answer_text(request: &mut Request<'_>, mut text: Vec<u8>) {
    if text.is_empty() {
        text.extend(request.under().iter().take_while(|&&b| b != 0));
    }
    request.header.set_flag(DmFlags::DATA_OUT, true);
    request.header.set_data_start(HEADER_SIZE as u32);
    if text.len() + 1 >= request.room() {
        request.buffer_full();
        return;
    }
    text.push(0);
    request.payload = Some(text);
}
