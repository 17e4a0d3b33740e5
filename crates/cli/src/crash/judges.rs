//! What judges look at, as words of a command line.

use dmlab::crash::{MirrorLog, SnapshotStore};
use dmlab_units::Sectors;

fn number<T: std::str::FromStr>(word: &str) -> Option<T> {
    // `parse` alone would take a `+` in front.
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

/// `2:0,1:16:64`: the log is on disk 2, the legs are disks 0 and 1, regions have 16 sectors and the mirror 64.
pub(super) fn parse_mirror_log(text: &str) -> Result<MirrorLog, String> {
    let wrong = || format!("{text:?} is not LOG:LEG,LEG:REGION:LEN, such as 2:0,1:16:64");
    let words: Vec<&str> = text.split(':').collect();
    let [log, legs, region, len] = words[..] else { return Err(wrong()) };
    let legs: Option<Vec<usize>> = legs.split(',').map(number).collect();
    let legs = legs.filter(|legs| legs.len() > 1).ok_or_else(wrong)?;
    let region = number(region).filter(|&region| region > 0).ok_or_else(wrong)?;
    let len = number(len).ok_or_else(wrong)?;
    Ok(MirrorLog::new(number(log).ok_or_else(wrong)?, legs, Sectors(region), Sectors(len)))
}

/// `1:128`: the store is disk 1, the origin has 128 sectors.
pub(super) fn parse_snapshot_store(text: &str) -> Result<SnapshotStore, String> {
    let wrong = || format!("{text:?} is not N:LEN, such as 1:128");
    let (disk, len) = text.split_once(':').ok_or_else(wrong)?;
    let (disk, len) = (number(disk).ok_or_else(wrong)?, number(len).ok_or_else(wrong)?);
    Ok(SnapshotStore::on(disk, Sectors(len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_judges_or_say_what_would_be() {
        assert!(parse_mirror_log("2:0,1:16:64").is_ok() && parse_mirror_log("9:0,1,2:1024:2048").is_ok());
        for wrong in
            ["", "2", "2:0:16:64", "2:0,1:0:64", "2:0,x:16:64", "2:0,1:16", "+2:0,1:16:64", "2:0,1:16:64:"]
        {
            assert!(parse_mirror_log(wrong).unwrap_err().contains("such as"), "{wrong}");
        }
        assert!(parse_snapshot_store("1:128").is_ok());
        for wrong in ["", "1", "1:", ":1", "x:1", "1:2:3"] {
            assert!(parse_snapshot_store(wrong).is_err(), "{wrong}");
        }
    }
}
