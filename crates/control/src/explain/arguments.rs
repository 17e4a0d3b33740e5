//! Which argument a constructor's text is about, for the targets beside `linear` and `striped`: the word at fault, and what
//! would be right in its place.

use super::{Fault, Surroundings, lookup, multiples};
use crate::table::{TableLine, decimal};

/// A pool's data block: a multiple of this many sectors, 64 KiB.
const POOL_BLOCK_STEP: u64 = 128;
/// The largest of them, 1 GiB.
const POOL_BLOCK_MAX: u64 = 1 << 21;
/// The largest id of a thin device.
const THIN_ID_MAX: u64 = (1 << 24) - 1;

const OFFSET: &str = "a decimal number of sectors, without sign or unit";
const MILLISECONDS: &str = "a decimal number of milliseconds";

/// A parameter at fault, and what would be right there.
type Found = Option<(usize, String)>;

fn at(parameter: usize, right: impl Into<String>) -> Found {
    Some((parameter, right.into()))
}

fn word(line: &TableLine, parameter: usize) -> &str {
    line.params.word(parameter).unwrap_or_default()
}

fn number(line: &TableLine, parameter: usize) -> Option<u64> {
    line.params.word(parameter).and_then(decimal)
}

/// The first of some parameters that is no decimal number.
fn no_number(line: &TableLine, parameters: &[usize], right: &str) -> Found {
    parameters
        .iter()
        .find(|&&parameter| number(line, parameter).is_none())
        .and_then(|&parameter| at(parameter, right))
}

/// The first feature word from `first` on that is none of `known`.
fn unknown_feature(line: &TableLine, first: usize, known: &[&str]) -> Found {
    let parameter = (first..line.params.len()).find(|&parameter| !known.contains(&word(line, parameter)))?;
    at(parameter, format!("one of {}", known.join(", ")))
}

/// Explains what the constructor of `target` said, where a word of one of its lines is at fault.
pub(super) fn by_argument(
    lines: &[(usize, &TableLine)],
    target: &str,
    said: &str,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    if let Some(devices) = devices_of(target, said) {
        let opened =
            |line: &TableLine| devices.iter().copied().filter(|&at| at < line.params.len()).collect();
        return lookup(lines, opened, errno, known);
    }
    lines.iter().find_map(|(nr, line)| {
        let (parameter, right) = match target {
            "thin-pool" => thin_pool(line, said)?,
            "thin" => thin(said)?,
            "snapshot" | "snapshot-merge" => snapshot(line, said)?,
            "delay" => delay(line, said)?,
            "flakey" => flakey(line, said)?,
            "dust" => dust(line, said)?,
            "ebs" => ebs(line, said)?,
            "switch" => switch(line, said)?,
            "unstriped" => unstriped(line, said)?,
            "mirror" => mirror(line, said)?,
            "multipath" => multipath(line, said)?,
            _ => return None,
        };
        Some(Fault::word(*nr, 3 + parameter, right))
    })
}

/// The parameters that a text about a device that could not be opened is about.
fn devices_of(target: &str, said: &str) -> Option<&'static [usize]> {
    Some(match (target, said) {
        ("thin-pool", "Error opening metadata block device") => &[0],
        ("thin-pool", "Error getting data device") => &[1],
        ("thin", "Error opening pool device") => &[0],
        ("thin", "Error opening origin device") => &[2],
        ("snapshot" | "snapshot-merge", "Cannot get origin device") => &[0],
        ("snapshot" | "snapshot-merge", "Cannot get COW device") => &[1],
        ("snapshot-origin", "Cannot get target device") => &[0],
        ("delay", "Device lookup failed") => &[0, 3, 6],
        ("flakey" | "dust" | "ebs" | "log-writes", "Device lookup failed") => &[0],
        ("log-writes", "Log device lookup failed") => &[1],
        _ => return None,
    })
}

fn thin_pool(line: &TableLine, said: &str) -> Found {
    const FEATURES: [&str; 5] =
        ["skip_block_zeroing", "ignore_discard", "no_discard_passdown", "read_only", "error_if_no_space"];
    match said {
        "Error setting metadata or data device" => at(1, "another device than the metadata's"),
        "Invalid block size" => {
            let near = number(line, 2).filter(|n| *n < POOL_BLOCK_MAX).map(|n| multiples(n, POOL_BLOCK_STEP));
            let near = near.map(|near| format!(": {near}")).unwrap_or_default();
            at(
                2,
                format!(
                    "a data block is a multiple of {POOL_BLOCK_STEP} sectors, from {POOL_BLOCK_STEP} (64 KiB) to \
                     {POOL_BLOCK_MAX} (1 GiB){near}"
                ),
            )
        }
        "Invalid low water mark" => {
            at(3, "a decimal number of data blocks: an event comes when fewer are free")
        }
        "Invalid number of pool feature arguments" => at(4, "how many feature words follow, 0 to 4"),
        "Unrecognised pool feature requested" => unknown_feature(line, 5, &FEATURES),
        "Discard support cannot be disabled once enabled" => {
            let parameter =
                (5..line.params.len()).find(|&parameter| word(line, parameter) == "ignore_discard")?;
            at(
                parameter,
                "not here: the pool that runs takes discards; no_discard_passdown keeps them from the data device",
            )
        }
        "Error creating metadata object" => at(
            0,
            "the sound metadata of a pool, which `dmlab thin check` judges, or zeros in its first block for a new one",
        ),
        _ => None,
    }
}

fn thin(said: &str) -> Found {
    match said {
        "Error setting origin device" => at(2, "an external origin is another device than the pool"),
        "Invalid device id" => at(1, format!("the number of a thin device, 0 to {THIN_ID_MAX}")),
        "Couldn't get pool mapped device" => at(0, "a mapped device: that of a thin-pool"),
        "Couldn't find pool object" => at(0, "a mapped device whose live table is a thin-pool"),
        "Couldn't open thin internal device" => {
            at(1, "the number of a thin device that the pool has: the message `create_thin ID` makes one")
        }
        "Couldn't open thin device, Pool is in fail mode" => at(0, "a pool that works; this one has failed"),
        "Unable to activate thin device while pool is suspended" => {
            at(0, "a pool that runs: resume it first")
        }
        _ => None,
    }
}

fn snapshot(line: &TableLine, said: &str) -> Found {
    match said {
        "COW device cannot be the same as origin device" => at(1, "another device than the origin"),
        "Couldn't create exception store" => match (word(line, 2), number(line, 3)) {
            ("P" | "PO" | "N" | "p" | "po" | "n", Some(chunk)) if chunk > 0 && !chunk.is_power_of_two() => {
                let above = chunk.checked_next_power_of_two();
                let above = above.map(|above| format!(" or {above}")).unwrap_or_default();
                let below = 1u64 << chunk.ilog2();
                at(3, format!("a chunk is a power of two, in sectors: {below}{above}"))
            }
            ("P" | "PO" | "N" | "p" | "po" | "n", Some(_)) => {
                at(3, "a chunk of whole logical blocks of the COW device, in sectors, below 2^31")
            }
            ("P" | "PO" | "N" | "p" | "po" | "n", None) => at(3, "the chunk: a power of two, in sectors"),
            _ => at(
                2,
                "the kind of store: P (persistent), PO (persistent, tells an overflow) or N (transient)",
            ),
        },
        "Chunk size not set" => at(3, "a transient store has no default: a power of two, in sectors"),
        "Snapshot exception store does not support snapshot-merge." => {
            at(2, "a persistent store, P or PO: a transient one cannot be merged")
        }
        "Invalid number of feature arguments" => at(4, "how many feature words follow, 0 to 2"),
        "Unrecognised feature requested" => {
            unknown_feature(line, 5, &["discard_zeroes_cow", "discard_passdown_origin"])
        }
        _ => None,
    }
}

fn delay(line: &TableLine, said: &str) -> Found {
    match said {
        "Requires exactly 3, 6 or 9 arguments" => {
            let right = "delay takes DEVICE OFFSET MS once for all IO, twice for reads and writes, or three times with flushes";
            at(line.params.len(), right)
        }
        "Invalid device sector" => no_number(line, &[1, 4, 7], OFFSET),
        "Invalid delay" => no_number(line, &[2, 5, 8], MILLISECONDS),
        _ => None,
    }
}

fn flakey(line: &TableLine, said: &str) -> Found {
    const FEATURES: [&str; 6] = [
        "error_reads",
        "drop_writes",
        "error_writes",
        "corrupt_bio_byte",
        "random_read_corrupt",
        "random_write_corrupt",
    ];
    let place = |name: &str| (5..line.params.len()).find(|&parameter| word(line, parameter) == name);
    let second =
        |name: &str| (place(name)? + 1..line.params.len()).find(|&parameter| word(line, parameter) == name);
    match said {
        "Invalid device sector" => no_number(line, &[1], OFFSET),
        "Invalid up interval" | "Invalid down interval" => {
            no_number(line, &[2, 3], "a decimal number of seconds")
        }
        "Total (up + down) interval is zero" => {
            at(3, "seconds that the device is down; up and down are not both 0")
        }
        "Interval overflow" => at(3, "fewer seconds: up and down together stay below 2^32"),
        "Invalid number of feature args" => at(4, "how many feature words follow"),
        "Insufficient feature arguments" => at(4, "the number of the feature words that do follow"),
        "Feature error_reads duplicated" => at(second("error_reads")?, "each feature once"),
        "Feature drop_writes duplicated" => at(second("drop_writes")?, "each feature once"),
        "Feature error_writes duplicated" => at(second("error_writes")?, "each feature once"),
        "Feature drop_writes conflicts with feature error_writes" => {
            at(place("drop_writes")?, "one of drop_writes and error_writes")
        }
        "Feature error_writes conflicts with feature drop_writes" => {
            at(place("error_writes")?, "one of drop_writes and error_writes")
        }
        "Feature corrupt_bio_byte requires parameters" => {
            at(place("corrupt_bio_byte")?, "corrupt_bio_byte BYTE r|w VALUE FLAGS")
        }
        "Invalid corrupt bio byte" => {
            at(place("corrupt_bio_byte")? + 1, "which byte of the bio: 1 is the first")
        }
        "Invalid corrupt bio direction (r or w)" => {
            at(place("corrupt_bio_byte")? + 2, "r for reads, w for writes")
        }
        "Invalid corrupt value to write into bio byte (0-255)" => {
            at(place("corrupt_bio_byte")? + 3, "the byte's new value, 0 to 255")
        }
        "Invalid corrupt bio flags mask" => at(
            place("corrupt_bio_byte")? + 4,
            "flags that the bio must have, as a decimal number; 0 for any bio",
        ),
        "Feature random_read_corrupt requires a parameter" => {
            at(place("random_read_corrupt")?, "random_read_corrupt CHANCE, of 1000000000")
        }
        "Feature random_write_corrupt requires a parameter" => {
            at(place("random_write_corrupt")?, "random_write_corrupt CHANCE, of 1000000000")
        }
        "Invalid random corrupt argument" => {
            let of = |name: &str| {
                place(name).map(|at| at + 1).filter(|&at| number(line, at).is_none_or(|n| n > 1_000_000_000))
            };
            at(
                of("random_read_corrupt").or_else(|| of("random_write_corrupt"))?,
                "a chance of 1000000000, 0 to that",
            )
        }
        "Unrecognised flakey feature requested" => {
            let mut parameter = 5;
            while FEATURES.contains(&word(line, parameter)) {
                parameter += match word(line, parameter) {
                    "corrupt_bio_byte" => 5,
                    "random_read_corrupt" | "random_write_corrupt" => 2,
                    _ => 1,
                };
            }
            at(parameter, format!("one of {}", FEATURES.join(", ")))
        }
        _ => None,
    }
}

fn dust(line: &TableLine, said: &str) -> Found {
    match said {
        "Invalid device offset sector" => no_number(line, &[1], OFFSET),
        "Invalid block size parameter" => at(2, "a decimal number of bytes"),
        "Block size must be at least 512" => at(2, "a block of at least 512 bytes"),
        "Block size must be a power of 2" => {
            let near = number(line, 2)
                .filter(|n| *n > 0)
                .map(|n| (1u64 << n.ilog2(), n.checked_next_power_of_two()));
            let near = near.map(|(below, above)| match above {
                Some(above) => format!(": {below} or {above}"),
                None => format!(": {below}"),
            });
            at(2, format!("a power of two, in bytes{}", near.unwrap_or_default()))
        }
        "Block size is too large" => at(2, "a block no longer than the device"),
        _ => None,
    }
}

fn ebs(line: &TableLine, said: &str) -> Found {
    match said {
        "Invalid device offset sector" => no_number(line, &[1], OFFSET),
        "Invalid emulated block size" => at(2, "the emulated block in sectors: a power of two"),
        "Invalid underlying block size" | "Invalid retrieved underlying block size" => {
            at(3, "the underlying block in sectors: a power of two")
        }
        "Device offset must be multiple of underlying block size" => {
            at(1, "an offset that is a multiple of the underlying block")
        }
        _ => None,
    }
}

fn switch(line: &TableLine, said: &str) -> Found {
    match said {
        "Invalid number of paths" => at(0, "how many paths there are: at least 1"),
        "Invalid region size" => at(1, "the size of a region in sectors: at least 1"),
        "Invalid number of optional args" => at(2, "0: there are no optional arguments yet"),
        "Incorrect number of path arguments" => at(0, "as many paths as DEVICE OFFSET pairs follow"),
        "Invalid device starting offset" => {
            no_number(line, &(4..line.params.len()).step_by(2).collect::<Vec<_>>(), OFFSET)
        }
        _ => None,
    }
}

fn unstriped(line: &TableLine, said: &str) -> Found {
    match said {
        "Invalid stripe count" => at(0, "how many stripes there are: at least 1"),
        "Invalid chunk_size" => at(1, "the chunk in sectors: at least 1"),
        "Invalid stripe number" => at(2, "which stripe, as a decimal number; the first is 0"),
        "Please provide stripe between [0, # of stripes]" => {
            let last = number(line, 0).and_then(|count| count.checked_sub(1));
            at(
                2,
                format!(
                    "which stripe: 0 to {}",
                    last.map_or("one less than their number".to_owned(), |n| n.to_string())
                ),
            )
        }
        "Invalid striped device offset" => at(4, OFFSET),
        _ => None,
    }
}

/// Where the legs of a mirror begin: behind the log's words.
fn mirror_legs(line: &TableLine) -> Option<usize> {
    usize::try_from(number(line, 1)?).ok()?.checked_add(2).filter(|&at| at <= line.params.len())
}

fn mirror(line: &TableLine, said: &str) -> Found {
    match said {
        "Invalid mirror log argument count" | "Insufficient mirror log arguments" => {
            at(1, "how many words the log takes: 1 to 2 for core, 2 to 3 for disk")
        }
        "Error creating mirror dirty log" => match word(line, 0) {
            "core" => at(2, "a region in sectors, a power of two; behind it sync or nosync"),
            "disk" => at(2, "a log device that can be opened; behind it a region in sectors, a power of two"),
            _ => at(0, "the kind of log: core or disk"),
        },
        "Invalid number of mirrors" => at(mirror_legs(line)?, "how many legs there are: 2 to 8"),
        "Too few mirror arguments" => at(mirror_legs(line)?, "as many legs as DEVICE OFFSET pairs follow"),
        "Invalid offset" => {
            let first = mirror_legs(line)? + 2;
            no_number(line, &(first..line.params.len()).step_by(2).collect::<Vec<_>>(), OFFSET)
        }
        "Unrecognised feature requested" => {
            let legs = mirror_legs(line)?;
            let features = legs + 1 + 2 * usize::try_from(number(line, legs)?).ok()?;
            unknown_feature(line, features + 1, &["handle_errors", "keep_log"])
        }
        _ => None,
    }
}

fn multipath(line: &TableLine, said: &str) -> Found {
    const FEATURES: [&str; 5] = [
        "queue_if_no_path",
        "retain_attached_hw_handler",
        "pg_init_retries",
        "pg_init_delay_msecs",
        "queue_mode",
    ];
    match said {
        "invalid number of feature args" => at(0, "how many feature words follow"),
        "Unknown 'queue_mode' requested" => {
            let parameter =
                (1..line.params.len()).find(|&parameter| word(line, parameter) == "queue_mode")?;
            at(parameter + 1, "bio, rq or mq")
        }
        "Unrecognised multipath feature request" => {
            let parameter = (1..line.params.len()).find(|&parameter| {
                !FEATURES.contains(&word(line, parameter)) && number(line, parameter).is_none()
            })?;
            at(parameter, format!("one of {}", FEATURES.join(", ")))
        }
        _ => None,
    }
}
