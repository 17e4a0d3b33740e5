//! Where the letters are: a row for each disk, a character for each block of 4 KiB.

use dmlab::{Error, Lab};
use dmlab_units::{Bytes, SECTOR_SIZE, Sector};

/// Bytes that one character stands for.
pub(super) const BLOCK: usize = 4096;
/// Blocks that a picture shows of each disk.
const SHOWN: usize = 32;
/// Blocks between two numbers of the ruler.
const STEP: usize = 8;

/// Reads the first blocks of each disk and draws them under a ruler that counts sectors.
pub(super) fn draw(lab: &Lab, disks: &[&str]) -> Result<Vec<String>, Error> {
    let sectors = |block: usize| block * BLOCK / SECTOR_SIZE as usize;
    let ruler: String = (0..SHOWN).step_by(STEP).map(|block| format!("{:<STEP$}", sectors(block))).collect();
    let mut lines = vec![format!("sector  {}", ruler.trim_end())];
    for disk in disks {
        let len = Bytes((SHOWN * BLOCK) as u64).sectors_floor();
        let bytes = lab.read(&format!("/dev/{disk}"), Sector(0), len)?;
        let row: String = bytes.chunks(BLOCK).map(letter).collect();
        lines.push(format!("{disk:<8}{row}"));
    }
    Ok(lines)
}

/// The character that fills a block: `.` for zeros, `?` for anything that is not one printable character.
fn letter(block: &[u8]) -> char {
    match block {
        [0, rest @ ..] if rest.iter().all(|&b| b == 0) => '.',
        [first, rest @ ..] if first.is_ascii_graphic() && rest.iter().all(|b| b == first) => {
            char::from(*first)
        }
        _ => '?',
    }
}
