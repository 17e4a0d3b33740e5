//! What a device may hold after a loss of power.

/// Sectors that the workload writes at once: a piece has one value.
pub(crate) const PIECE: u64 = 8;

/// A device in pieces of 4 KiB, each with the value that is durable and those written since.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, Default)]
struct Piece {
    durable: u64,
    since: Vec<u64>,
}

impl Model {
    pub(crate) fn new(sectors: u64) -> Model {
        Model { pieces: vec![Piece::default(); (sectors / PIECE) as usize] }
    }

    /// A write or discard (value 0) begins: from here on it may be there.
    pub(crate) fn write(&mut self, sector: u64, sectors: u64, value: u64) {
        let range = (sector / PIECE) as usize..((sector + sectors) / PIECE) as usize;
        self.pieces[range].iter_mut().for_each(|piece| piece.since.push(value));
    }

    /// All that was written is durable.
    pub(crate) fn flush(&mut self) {
        for piece in &mut self.pieces {
            if let Some(last) = piece.since.pop() {
                piece.durable = last;
                piece.since.clear();
            }
        }
    }

    /// Checks a sector's value.
    pub(crate) fn allows(&self, sector: u64, value: u64) -> bool {
        let piece = &self.pieces[(sector / PIECE) as usize];
        piece.durable == value || piece.since.contains(&value)
    }

    /// Compares the device's bytes.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        for (sector, bytes) in bytes.chunks_exact(512).enumerate() {
            let value = value_of(bytes);
            if value.is_none_or(|value| !self.allows(sector as u64, value)) {
                let piece = &self.pieces[sector / PIECE as usize];
                return Err(format!("sector {sector} holds {value:?}, which is none of {piece:?}"));
            }
        }
        Ok(())
    }
}

/// Sectors of a value.
pub(crate) fn bytes_of(value: u64, sectors: u64) -> Vec<u8> {
    value.to_le_bytes().repeat(sectors as usize * 64)
}

/// The value of a sector; `None` if it has several.
fn value_of(sector: &[u8]) -> Option<u64> {
    let (first, _) = sector.split_first_chunk::<8>()?;
    (sector[8..] == sector[..504]).then(|| u64::from_le_bytes(*first))
}
