//! Where the letters are: a row for each disk, a character for each sector.

use dmlab::Lab;
use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};

/// Sectors that a picture shows of each disk.
const SHOWN: u64 = 32;

/// Reads the first sectors of each disk and draws them under a ruler.
pub(super) fn draw(lab: &Lab, disks: &[&str]) -> Result<Vec<String>, Errno> {
    let ruler: String = (0..SHOWN).step_by(8).map(|sector| format!("{sector:<8}")).collect();
    let mut lines = vec![format!("sector  {}", ruler.trim_end())];
    for disk in disks {
        let bytes = lab.read(&format!("/dev/{disk}"), Sector(0), Sectors(SHOWN))?;
        let row: String = bytes.chunks(SECTOR_SIZE as usize).map(letter).collect();
        lines.push(format!("{disk:<8}{row}"));
    }
    Ok(lines)
}

/// The character that fills a sector: `.` for zeros, `?` for anything that is not one printable character.
fn letter(sector: &[u8]) -> char {
    match sector {
        [0, rest @ ..] if rest.iter().all(|&b| b == 0) => '.',
        [first, rest @ ..] if first.is_ascii_graphic() && rest.iter().all(|b| b == first) => {
            char::from(*first)
        }
        _ => '?',
    }
}
