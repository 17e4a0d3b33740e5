//! Replaying a log, and finding places in it.

use dmlab_formats::log_writes::{EntryFlags, FormatError};

use crate::{Disk, Log, LogError, Logged, Source};

/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

/// Where to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// After so many entries.
    pub limit: Option<u64>,
    /// At this mark, which is not counted.
    pub mark: Option<Vec<u8>>,
    /// At the next flush, which is counted.
    pub at_flush: bool,
    /// At the next forced write, which is counted.
    pub at_fua: bool,
    /// Leave out discards.
    pub ignores_discards: bool,
}

impl Stop {
    /// Before the mark `text`.
    pub fn at_mark(text: impl AsRef<[u8]>) -> Stop {
        Stop { mark: Some(text.as_ref().to_vec()), ..Stop::default() }
    }

    /// Whether it names a place, so that a log without it is a disappointment.
    pub fn names_a_place(&self) -> bool {
        self.mark.is_some() || self.at_flush || self.at_fua
    }

    /// Whether it stops before this entry.
    pub fn is_before(&self, logged: &Logged) -> bool {
        self.mark.as_ref().is_some_and(|mark| logged.is_mark(mark))
    }

    /// Whether it stops after this entry.
    pub fn is_at(&self, logged: &Logged) -> bool {
        let flags = logged.entry.flags;
        (self.at_flush && flags.contains(EntryFlags::FLUSH))
            || (self.at_fua && flags.contains(EntryFlags::FUA))
    }
}

/// How far a replay came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries that it took, marks too.
    pub nr_entries: u64,
    /// Whether it stopped at a place that [`Stop`] names; otherwise the log or the limit came first.
    pub is_found: bool,
}

/// Replays from where the log stands.
///
/// # Errors
/// [`LogError`]; the disk then has what came before.
pub fn replay<S: Source>(log: &mut Log<S>, disk: &mut impl Disk, stop: &Stop) -> Result<Replayed, LogError> {
    let mut replayed = Replayed::default();
    while stop.limit.is_none_or(|limit| replayed.nr_entries < limit) {
        let Some(logged) = log.next_entry()? else { break };
        if stop.is_before(&logged) {
            replayed.is_found = true;
            break;
        }
        replay_entry(log, &logged, disk, stop.ignores_discards)?;
        replayed.nr_entries += 1;
        if stop.is_at(&logged) {
            replayed.is_found = true;
            break;
        }
    }
    Ok(replayed)
}

/// Does to `disk` what one entry records.
///
/// # Errors
/// [`LogError`].
pub fn replay_entry<S: Source>(
    log: &mut Log<S>,
    logged: &Logged,
    disk: &mut impl Disk,
    ignores_discards: bool,
) -> Result<(), LogError> {
    let block_size = log.block_size();
    let entry = &logged.entry;
    let is_discard = entry.flags.contains(EntryFlags::DISCARD);
    if entry.nr_sectors == 0 || (is_discard && ignores_discards) {
        return Ok(());
    }
    let bytes = entry.sector.checked_mul(block_size).zip(entry.nr_sectors.checked_mul(block_size));
    let bytes = bytes.filter(|(at, len)| at.checked_add(*len).is_some());
    let (at, len) = bytes.ok_or(LogError::Entry {
        number: logged.number,
        block: logged.block,
        error: FormatError::Short,
    })?;
    let refused = |at, len| move |error| LogError::Write { number: logged.number, at, len, error };
    if is_discard {
        return disk.discard(at, len).map_err(refused(at, len));
    }
    let mut buf = vec![0; CHUNK.min(len) as usize];
    let mut done = 0;
    while done < len {
        let piece = CHUNK.min(len - done);
        let buf = &mut buf[..piece as usize];
        log.read_data(logged, done, buf)?;
        disk.write(at + done, buf).map_err(refused(at + done, piece))?;
        done += piece;
    }
    Ok(())
}

/// The first entry from where the log stands on that [`Stop`] names, within its limit.
///
/// # Errors
/// [`LogError`].
pub fn find<S: Source>(log: &mut Log<S>, stop: &Stop) -> Result<Option<Logged>, LogError> {
    let mut nr_seen = 0;
    while stop.limit.is_none_or(|limit| nr_seen < limit) {
        let Some(logged) = log.next_entry()? else { break };
        if stop.is_before(&logged) || stop.is_at(&logged) {
            return Ok(Some(logged));
        }
        nr_seen += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_formats::log_writes::{Entry, Superblock};

    fn write(sector: u64, fill: u8, nr_sectors: u64, flags: EntryFlags) -> Vec<u8> {
        let entry = Entry { sector, nr_sectors, flags, text: vec![] };
        let mut bytes = entry.encode(512);
        bytes.extend(vec![fill; entry.nr_data_blocks() as usize * 512]);
        bytes
    }

    fn log(entries: &[Vec<u8>]) -> Log<Vec<u8>> {
        let mut bytes = Superblock { nr_entries: entries.len() as u64, block_size: 512 }.encode();
        bytes.extend(entries.concat());
        Log::open(bytes).unwrap()
    }

    fn sample() -> Log<Vec<u8>> {
        log(&[
            write(0, 1, 2, EntryFlags::empty()),
            write(0, 0, 0, EntryFlags::FLUSH),
            Entry::mark(b"m", 512).encode(512),
            write(1, 2, 1, EntryFlags::FUA),
            write(0, 0, 1, EntryFlags::DISCARD),
        ])
    }

    fn firsts(disk: &[u8]) -> Vec<u8> {
        disk.chunks(512).map(|sector| sector[0]).collect()
    }

    #[test]
    fn it_stops_where_it_is_told() {
        for (stop, nr_entries, is_found, disk) in [
            (Stop::default(), 5, false, [0, 2]),
            (Stop { ignores_discards: true, ..Stop::default() }, 5, false, [1, 2]),
            (Stop { limit: Some(0), ..Stop::default() }, 0, false, [9, 9]),
            (Stop { limit: Some(4), ..Stop::default() }, 4, false, [1, 2]),
            (Stop::at_mark("m"), 2, true, [1, 1]),
            (Stop::at_mark("n"), 5, false, [0, 2]),
            (Stop { at_flush: true, ..Stop::default() }, 2, true, [1, 1]),
            (Stop { at_fua: true, ..Stop::default() }, 4, true, [1, 2]),
        ] {
            let mut memory = vec![9; 1024];
            let replayed = replay(&mut sample(), &mut memory, &stop).unwrap();
            assert_eq!(replayed, Replayed { nr_entries, is_found }, "{stop:?}");
            assert_eq!(firsts(&memory), disk, "{stop:?}");
        }
    }

    #[test]
    fn places_are_found() {
        let number = |stop: &Stop, from| {
            let mut log = sample();
            log.seek(from).unwrap();
            find(&mut log, stop).unwrap().map(|logged| logged.number)
        };
        assert_eq!(number(&Stop::at_mark("m"), 0), Some(2));
        assert_eq!(number(&Stop::at_mark("m"), 3), None);
        assert_eq!(number(&Stop { at_flush: true, ..Stop::default() }, 0), Some(1));
        assert_eq!(number(&Stop { at_fua: true, ..Stop::default() }, 2), Some(3));
        assert_eq!(number(&Stop { at_fua: true, limit: Some(1), ..Stop::default() }, 2), None);
        assert!(matches!(sample().seek(6), Err(LogError::NoEntry { wanted: 6, there: 5 })));
    }

    #[test]
    fn a_log_that_lies_is_refused() {
        let mut cut = log(&[write(0, 1, 2, EntryFlags::empty())]);
        let mut small = vec![0; 512];
        let error = replay(&mut cut, &mut small, &Stop::default()).unwrap_err();
        assert!(matches!(error, LogError::Write { number: 0, .. }), "{error}");
        let huge = Entry { sector: u64::MAX, nr_sectors: u64::MAX, ..Entry::default() }.encode(512);
        let error = replay(&mut log(&[huge]), &mut small, &Stop::default()).unwrap_err();
        assert!(matches!(error, LogError::Entry { .. }), "{error}");
        let mut short = Superblock { nr_entries: 7, block_size: 512 }.encode();
        short.extend(Entry::default().encode(512));
        let mut short = Log::open(short).unwrap();
        short.next_entry().unwrap();
        assert!(matches!(short.next_entry(), Err(LogError::Read { at: 1024, .. })));
    }
}
