//! A mirror and its disk log. This judge reads the log's bytes on its own: it does not share the target's codec.

use std::sync::Arc;

use dmlab_faults::power::LeftDisk;
use dmlab_units::{SECTOR_SIZE, Sectors};

use super::{Judge, JudgeKind, number};
use crate::crash::Moment;

/// `rRiM`.
const MAGIC: &[u8] = b"rRiM";
/// Where the bits begin: one for each region, set when it is in sync.
const BITS: u64 = 1024;

pub(super) static KIND: JudgeKind = JudgeKind {
    name: "mirror-log",
    form: "LOG:LEG,LEG:REGION:LEN",
    example: "2:0,1:16:64",
    checks: "that the legs of a mirror hold the same where its log says so; log and legs are the numbers of disks, used from their \
             beginning, the size of a region and of the mirror are sectors",
    of_words: |words| {
        let words: Vec<&str> = words.split(':').collect();
        let [log, legs, region, len] = words[..] else { return None };
        let legs: Vec<usize> = legs.split(',').map(number).collect::<Option<_>>()?;
        let region = number(region).filter(|&region| region > 0)?;
        let log = MirrorLog::new(number(log)?, legs, Sectors(region), Sectors(number(len)?));
        (log.legs.len() > 1).then(|| Arc::new(log) as Arc<dyn Judge>)
    },
};

/// Checks that a mirror's legs hold the same wherever its log says that a region is in sync. A disk without a log's magic
/// is that of a mirror which was never made, and sound.
#[derive(Clone, Debug)]
pub struct MirrorLog {
    log: usize,
    legs: Vec<usize>,
    region: Sectors,
    len: Sectors,
}

impl MirrorLog {
    /// A mirror of `len` with regions of `region`, its log on one disk, its legs from the beginning of others on.
    pub fn new(log: usize, legs: impl Into<Vec<usize>>, region: Sectors, len: Sectors) -> MirrorLog {
        MirrorLog { log, legs: legs.into(), region, len }
    }
}

impl Judge for MirrorLog {
    fn name(&self) -> &'static str {
        "mirror log"
    }

    fn judge(&self, moment: &Moment<'_>) -> Result<(), String> {
        let log = moment.disk(self.log)?;
        let mut header = [0; 16];
        log.read(0, &mut header);
        if &header[..4] != MAGIC {
            return Ok(());
        }
        let version = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if !(1..=2).contains(&version) {
            return Err(format!("the log has version {version}"));
        }
        if self.region.is_zero() {
            return Err("regions of no sectors".to_owned());
        }
        let legs: Vec<&LeftDisk> = self.legs.iter().map(|&leg| moment.disk(leg)).collect::<Result<_, _>>()?;
        let known = u64::from_le_bytes(header[8..].try_into().map_err(|_| "the header is short")?);
        let regions = self.len.0.div_ceil(self.region.0);
        let mut byte = [0];
        // What the log knows nothing of is not in sync.
        for region in 0..regions.min(known) {
            if region % 8 == 0 {
                log.read(BITS + region / 8, &mut byte);
            }
            if byte[0] & 1 << (region % 8) == 0 {
                continue;
            }
            let start = region * self.region.0;
            let bytes = (self.region.0.min(self.len.0 - start) * SECTOR_SIZE) as usize;
            let mut contents = legs.iter().map(|leg| {
                let mut content = vec![0; bytes];
                leg.read(start * SECTOR_SIZE, &mut content);
                content
            });
            let Some(first) = contents.next() else { return Ok(()) };
            for (leg, other) in contents.enumerate() {
                if let Some(at) = first.iter().zip(&other).position(|(a, b)| a != b) {
                    let sector = start + at as u64 / SECTOR_SIZE;
                    let leg = leg + 1;
                    return Err(format!(
                        "region {region} is in sync by the log, but legs 0 and {leg} differ in sector {sector}"
                    ));
                }
            }
        }
        Ok(())
    }
}
