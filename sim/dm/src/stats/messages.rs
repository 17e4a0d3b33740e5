//! The `@stats_*` messages.

use dmlab_runtime::{Personality, Runtime};
use dmlab_units::{Errno, Sector, Sectors};

use super::Stats;
use super::region::Region;
use crate::args::{scan_u32, scan_u64};

/// Most areas of a region.
const MAX_AREAS: u64 = 8_388_608;
/// Most histogram counters of a region.
const MAX_HISTOGRAM_ENTRIES: u64 = 134_217_728;
/// Bytes that a create message wants to find free for its answer, before it creates anything.
const ROOM_FOR_ID: usize = 12;

/// What a statistics message answers.
pub(crate) enum StatsReply {
    /// Nothing.
    None,
    /// The text of the answer, perhaps empty.
    Text(Vec<u8>),
    /// A text that does not fit.
    Full,
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

impl Stats {
    /// Takes a message if it is one of statistics; `None` otherwise. `room` is what the reply may hold, its NUL
    /// included.
    pub(crate) fn message(
        &self,
        runtime: &Runtime,
        device_size: Sectors,
        words: &[Vec<u8>],
        room: usize,
    ) -> Option<Result<StatsReply, Errno>> {
        let (name, args) = words.split_first()?;
        let personality = runtime.personality();
        let result = match name {
            n if is(n, "@stats_create") => self.create(personality, device_size, args, room),
            n if is(n, "@stats_delete") => self.delete(personality, args),
            n if is(n, "@stats_clear") => self.clear(personality, args),
            n if is(n, "@stats_list") => self.list(args, room),
            n if is(n, "@stats_print") => self.print(runtime, args, room, false),
            n if is(n, "@stats_print_clear") => self.print(runtime, args, room, true),
            n if is(n, "@stats_set_aux") => self.set_aux(personality, args),
            _ => return None,
        };
        if let Err(Errno::EINVAL) = result {
            let name = String::from_utf8_lossy(name);
            let text = format!("device-mapper: stats: Invalid parameters for message {name}");
            runtime.log(dmlab_runtime::Level::Crit, text);
        }
        Some(result)
    }

    fn create(
        &self,
        personality: &Personality,
        device_size: Sectors,
        args: &[Vec<u8>],
        room: usize,
    ) -> Result<StatsReply, Errno> {
        let [range, step, rest @ ..] = args else { return Err(Errno::EINVAL) };
        let (start, end) = parse_range(range, device_size, personality)?;
        let step = parse_step(step, end - start, personality)?;
        let (options, rest) = parse_options(rest, personality)?;
        let (program, aux) = match rest {
            [] => (b"-".to_vec(), b"-".to_vec()),
            [program] => (program.clone(), b"-".to_vec()),
            [program, aux] => (program.clone(), aux.clone()),
            _ => return Err(Errno::EINVAL),
        };
        if room < ROOM_FOR_ID {
            return Ok(StatsReply::Full);
        }
        let region = Region::new(start, end, step, program, aux, options.is_precise, options.bounds);
        let counters = region.nr_areas().saturating_mul(region.bounds.len() as u64 + 1);
        if region.nr_areas() > MAX_AREAS || counters > MAX_HISTOGRAM_ENTRIES {
            return Err(Errno::EOVERFLOW);
        }
        let mut inner = self.inner.lock();
        let id = inner.regions.iter().position(Option::is_none).unwrap_or(inner.regions.len());
        if id == inner.regions.len() {
            inner.regions.push(None);
        }
        inner.regions[id] = Some(region);
        self.is_on.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(StatsReply::Text(id.to_string().into_bytes()))
    }

    fn with_region<T>(
        &self,
        personality: &Personality,
        id: &[u8],
        then: impl FnOnce(&mut Region) -> T,
    ) -> Result<T, Errno> {
        let id = parse_id(id, personality)?;
        let mut inner = self.inner.lock();
        let region = inner.regions.get_mut(id).and_then(Option::as_mut).ok_or(Errno::ENOENT)?;
        Ok(then(region))
    }

    fn delete(&self, personality: &Personality, args: &[Vec<u8>]) -> Result<StatsReply, Errno> {
        let [id] = args else { return Err(Errno::EINVAL) };
        let id = parse_id(id, personality)?;
        let mut inner = self.inner.lock();
        inner.regions.get_mut(id).and_then(Option::take).ok_or(Errno::ENOENT)?;
        if inner.regions.iter().all(Option::is_none) {
            self.is_on.store(false, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(StatsReply::None)
    }

    fn clear(&self, personality: &Personality, args: &[Vec<u8>]) -> Result<StatsReply, Errno> {
        let [id] = args else { return Err(Errno::EINVAL) };
        self.with_region(personality, id, |region| region.clear(0, region.nr_areas()))?;
        Ok(StatsReply::Text(Vec::new()))
    }

    fn list(&self, args: &[Vec<u8>], room: usize) -> Result<StatsReply, Errno> {
        let program = match args {
            [] => None,
            [program] => Some(program),
            _ => return Err(Errno::EINVAL),
        };
        let mut out = Vec::new();
        for (id, region) in self.inner.lock().regions.iter().enumerate() {
            let Some(region) = region else { continue };
            if program.is_some_and(|program| *program != region.program) {
                continue;
            }
            let len = region.end - region.start;
            out.extend_from_slice(format!("{id}: {}+{len} {} ", region.start, region.step).as_bytes());
            out.extend_from_slice(&region.program);
            out.push(b' ');
            out.extend_from_slice(&region.aux);
            if region.is_precise {
                out.extend_from_slice(b" precise_timestamps");
            }
            if !region.bounds.is_empty() {
                let bounds: Vec<String> = region.bounds.iter().map(u64::to_string).collect();
                out.extend_from_slice(format!(" histogram:{}", bounds.join(",")).as_bytes());
            }
            out.push(b'\n');
        }
        Ok(if out.len() + 1 >= room { StatsReply::Full } else { StatsReply::Text(out) })
    }

    fn print(
        &self,
        runtime: &Runtime,
        args: &[Vec<u8>],
        room: usize,
        then_clear: bool,
    ) -> Result<StatsReply, Errno> {
        let personality = runtime.personality();
        let dash = b"-".to_vec();
        let (id, line, count) = match args {
            [id] => (id, &dash, &dash),
            [id, line, count] => (id, line, count),
            _ => return Err(Errno::EINVAL),
        };
        let number = |word: &[u8], default: u64| match word {
            b"-" => Ok(default),
            word => scan_u64(word, personality).ok_or(Errno::EINVAL),
        };
        let (first, count) = (number(line, 0)?, number(count, u64::MAX)?);
        let printed = self.with_region(personality, id, |region| {
            let text = region.print(first, count, runtime.now(), room);
            if then_clear && text.is_some() {
                region.clear(first, count);
            }
            text
        })?;
        Ok(printed.map_or(StatsReply::Full, |text| StatsReply::Text(text.into_bytes())))
    }

    fn set_aux(&self, personality: &Personality, args: &[Vec<u8>]) -> Result<StatsReply, Errno> {
        let [id, aux] = args else { return Err(Errno::EINVAL) };
        self.with_region(personality, id, |region| region.aux = aux.clone())?;
        Ok(StatsReply::None)
    }
}

fn parse_id(word: &[u8], personality: &Personality) -> Result<usize, Errno> {
    let id = scan_u32(word, personality).ok_or(Errno::EINVAL)?;
    i32::try_from(id).map(|id| id as usize).map_err(|_| Errno::EINVAL)
}

fn parse_range(
    word: &[u8],
    device_size: Sectors,
    personality: &Personality,
) -> Result<(Sector, Sector), Errno> {
    if word == b"-" {
        return Ok((Sector::ZERO, Sector(device_size.0.max(1))));
    }
    let plus = word.iter().position(|b| *b == b'+').ok_or(Errno::EINVAL)?;
    let start = scan_u64(&word[..plus], personality).ok_or(Errno::EINVAL)?;
    let len = scan_u64(&word[plus + 1..], personality).ok_or(Errno::EINVAL)?;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if len == 0 { Err(Errno::EINVAL) } else { Ok((Sector(start), Sector(end))) }
}

fn parse_step(word: &[u8], len: Sectors, personality: &Personality) -> Result<Sectors, Errno> {
    let step = match word.strip_prefix(b"/") {
        Some(pieces) => match scan_u32(pieces, personality) {
            Some(pieces) if pieces > 0 => len.0.div_ceil(u64::from(pieces)),
            _ => return Err(Errno::EINVAL),
        },
        None => scan_u64(word, personality).ok_or(Errno::EINVAL)?,
    };
    if step == 0 { Err(Errno::EINVAL) } else { Ok(Sectors(step)) }
}

#[derive(Default)]
struct Options {
    is_precise: bool,
    bounds: Vec<u64>,
}

/// Reads `N` and as many options after it, if the first word is a number.
fn parse_options<'a>(
    words: &'a [Vec<u8>],
    personality: &Personality,
) -> Result<(Options, &'a [Vec<u8>]), Errno> {
    let mut options = Options::default();
    let Some(count) = words.first().and_then(|word| scan_u32(word, personality)) else {
        return Ok((options, words));
    };
    let words = &words[1..];
    let count = count as usize;
    if count > words.len() {
        return Err(Errno::EINVAL);
    }
    for word in &words[..count] {
        if is(word, "precise_timestamps") {
            options.is_precise = true;
        } else if word.len() > 10 && is(&word[..10], "histogram:") {
            if !options.bounds.is_empty() {
                return Err(Errno::EINVAL);
            }
            options.bounds = parse_bounds(&word[10..], personality)?;
        } else {
            return Err(Errno::EINVAL);
        }
    }
    Ok((options, &words[count..]))
}

fn parse_bounds(text: &[u8], personality: &Personality) -> Result<Vec<u64>, Errno> {
    let mut bounds: Vec<u64> = Vec::new();
    for word in text.split(|b| *b == b',') {
        let bound = scan_u64(word, personality).ok_or(Errno::EINVAL)?;
        if bound <= bounds.last().copied().unwrap_or(0) {
            return Err(Errno::EINVAL);
        }
        bounds.push(bound);
    }
    Ok(bounds)
}
