//! States of a mirror.

use std::time::Duration;

use dmlab_control::{Mirror, MirrorSync, Table};
use dmlab_formats::mirror_log::{BITS_OFFSET, Header};
use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};

use super::{Force, Held, wrong};
use crate::Error;

impl Force<'_> {
    /// A leg of a mirror takes no writes from here on, and the mirror has noticed. Released, the disk is well again.
    ///
    /// # Errors
    /// EINVAL when it is no mirror, or has no such leg; legs count from 0.
    pub fn mirror_leg_dead(&self, name: &str, leg: usize) -> Result<Held, Error> {
        let (_, mirror) = self.line::<Mirror>(name)?;
        let (device, _) = mirror.legs.get(leg).ok_or_else(wrong)?;
        let rule = self.lab.faults().on(&device.to_string()).writes().fail(Errno::EIO).add()?;
        let _ = self.touch(name, Sector::ZERO);
        self.lab.settle();
        Ok(Held { rule })
    }

    /// A mirror is copying its first leg to the others, and stands at `percent` until released: all regions are out of sync
    /// and those before that point were copied. It is suspended and its table loaded again, from which a core log begins
    /// anew; a disk log forgets meanwhile which regions are clean, as a log that is wiped does.
    ///
    /// # Errors
    /// EINVAL when it is no mirror, or one that takes its legs to be in sync whatever happened (`nosync`).
    pub fn mirror_resyncing(&self, name: &str, percent: u64) -> Result<Held, Error> {
        let (line, mirror) = self.line::<Mirror>(name)?;
        if percent >= 100 || mirror.sync == MirrorSync::Same {
            return Err(wrong());
        }
        let (device, Sector(offset)) = mirror.legs.get(1).ok_or_else(wrong)?;
        let from = offset + line.len.0 * percent / 100;
        let beyond = self.lab.faults().on(&device.to_string()).writes().sectors(from..offset + line.len.0);
        let rule = beyond.hang().add()?;
        self.lab.suspend(name)?;
        let loaded = self.lab.load(name, Table { lines: vec![line] });
        let log = mirror.log.map(|log| log.to_string());
        let wiped = loaded.and_then(|()| log.map_or(Ok(()), |log| self.wipe_mirror_log(&log)));
        // Whatever became of that, it does not stay suspended.
        self.lab.resume(name)?;
        let held = Held { rule };
        if let Err(error) = wiped {
            held.release(self.lab);
            return Err(error);
        }
        self.lab.advance(Duration::from_secs(1));
        Ok(held)
    }

    /// No region is clean any more, says the log of a mirror on this device.
    fn wipe_mirror_log(&self, device: &str) -> Result<(), Error> {
        let file = self.lab.open(device)?;
        let block = file.device().limits().logical_block_size.0.max(SECTOR_SIZE) as usize;
        drop(file);
        // The header, which is kept, says how many there are.
        let head = self.lab.read(
            device,
            Sector::ZERO,
            Sectors(BITS_OFFSET.next_multiple_of(block) as u64 / SECTOR_SIZE),
        )?;
        let header = head.first_chunk().map(Header::decode).ok_or_else(wrong)?;
        let bytes = (BITS_OFFSET + header.regions.div_ceil(8) as usize).next_multiple_of(block);
        let mut log = self.lab.read(device, Sector::ZERO, Sectors(bytes as u64 / SECTOR_SIZE))?;
        let bits = log.get_mut(BITS_OFFSET..).ok_or_else(wrong)?;
        bits.fill(0);
        self.lab.write(device, Sector::ZERO, &log)
    }
}
