//! A metadata area in memory: the records of one chunk.
//!
//! A chunk may be as large as 1 GiB and is mostly empty. So the area is kept in pieces, and a piece that holds nothing but
//! zeros takes no memory. What is written is what is kept: the pieces are shared with the bios that write them.

use std::sync::Arc;

use dmlab_units::{SECTOR_SIZE, Sectors};

use dmlab_formats::snapshot_store::{RECORD_BYTES, Record};

/// How much of a chunk is read or written with one bio: 256 pages, as Linux 6.12 does it when its memory lies
/// scattered. A chunk whose memory lies in one piece goes with one bio there.
pub(super) const PIECE: Sectors = Sectors(2048);

#[derive(Clone)]
pub(super) struct Area {
    /// `None` where all is zero.
    pieces: Vec<Option<Arc<[u8]>>>,
    /// A piece of zeros.
    zeros: Arc<[u8]>,
}

impl Area {
    /// An empty area of one chunk.
    pub(super) fn new(chunk: Sectors) -> Area {
        let piece = chunk.min(PIECE);
        // Chunks are powers of two, so that they are whole pieces.
        let pieces = vec![None; (chunk.0 / piece.0) as usize];
        Area { pieces, zeros: vec![0; (piece.0 * SECTOR_SIZE) as usize].into() }
    }

    fn records_per_piece(&self) -> usize {
        self.zeros.len() / RECORD_BYTES
    }

    /// Record `index`; `None` beyond the end.
    pub(super) fn record(&self, index: usize) -> Option<Record> {
        let per_piece = self.records_per_piece();
        let piece = self.pieces.get(index / per_piece)?;
        Record::decode(piece.as_ref().unwrap_or(&self.zeros), index % per_piece)
    }

    /// Sets record `index`, which lies inside the area.
    pub(super) fn set(&mut self, index: usize, record: Record) {
        let per_piece = self.records_per_piece();
        let piece = self.pieces[index / per_piece].get_or_insert_with(|| self.zeros.clone());
        record.encode(Arc::make_mut(piece), index % per_piece);
    }

    /// Makes everything zero from record `index` on.
    pub(super) fn clear_from(&mut self, index: usize) {
        let per_piece = self.records_per_piece();
        let (first, into) = (index / per_piece, index % per_piece * RECORD_BYTES);
        if into > 0
            && let Some(piece) = &mut self.pieces[first]
        {
            Arc::make_mut(piece)[into..].fill(0);
        }
        self.pieces[index.div_ceil(per_piece)..].fill(None);
    }

    /// Stores what was read as piece `number`.
    pub(super) fn fill(&mut self, number: usize, bytes: Arc<[u8]>) {
        self.pieces[number] = (bytes != self.zeros).then_some(bytes);
    }

    /// The bytes of its pieces, the first piece first.
    pub(super) fn pieces(&self) -> impl ExactSizeIterator<Item = Arc<[u8]>> + use<'_> {
        self.pieces.iter().map(|piece| piece.as_ref().unwrap_or(&self.zeros).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(area: &Area) -> Vec<u8> {
        area.pieces().flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn records_lie_where_the_format_says() {
        for chunk in [1, 8, 2048, 8192].map(Sectors) {
            let mut area = Area::new(chunk);
            let whole = (chunk.0 * SECTOR_SIZE) as usize;
            let count = whole / RECORD_BYTES;
            let mut expected = vec![0; whole];
            for index in [0, 1, count / 2, count - 1] {
                let record = Record { old: index as u64, new: 7 };
                area.set(index, record);
                record.encode(&mut expected, index);
                assert_eq!(area.record(index), Some(record));
            }
            assert_eq!((area.record(count), bytes(&area) == expected), (None, true));
            for from in [count - 1, count / 2 + 1, count / 2, 1, 0] {
                area.clear_from(from);
                expected[from * RECORD_BYTES..].fill(0);
                assert!(bytes(&area) == expected, "{chunk} {from}");
            }
            assert!(area.pieces.len() == 1 || area.pieces.iter().all(Option::is_none));
        }
    }

    #[test]
    fn a_piece_of_zeros_takes_no_memory() {
        let mut area = Area::new(Sectors(1 << 21));
        assert_eq!(area.pieces().len(), 1024);
        area.fill(5, vec![0; 1 << 20].into());
        assert!(area.pieces.iter().all(Option::is_none));
        area.fill(5, vec![1; 1 << 20].into());
        assert_eq!(
            area.record(5 << 16),
            Some(Record { old: 0x0101_0101_0101_0101, new: 0x0101_0101_0101_0101 })
        );
        // What a bio still holds is not changed under it.
        let held: Vec<_> = area.pieces().collect();
        area.clear_from((5 << 16) + 1);
        assert_eq!((held[5][16], area.pieces().nth(5).map(|piece| piece[16])), (1, Some(0)));
    }
}
