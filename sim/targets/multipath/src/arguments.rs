//! The constructor: a long line, read from left to right.

use dmlab_dm::{Ctr, CtrError, CtrResult, OrRefuse, QueueType};
use dmlab_units::Errno;

use super::Multipath;
use super::paths::{Mode, MultipathDevice, NewGroup, Settings};
use super::selector::{Notices, by_name};

const MOST_FEATURES: u32 = 8;
/// Most groups, paths of a group and arguments of a handler, a selector or a path.
const MOST: u32 = 1024;

/// Reads the line (kernel/multipath.md; the order of checks was seen on Linux 6.12.95).
pub(super) fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let (settings, queues) = read_features(ctr)?;
    let handler = read_handler(ctr, settings.mode)?;
    let count = ctr.args.number(0, MOST, "invalid number of priority groups")?;
    let first = ctr.args.number(0, MOST, "invalid initial priority group number")?;
    if (count == 0) != (first == 0) {
        return Err(CtrError::invalid("invalid initial priority group"));
    }
    let notices = Notices::of(ctr);
    let mut groups = Vec::new();
    while !ctr.args.is_empty() {
        groups.push(read_group(ctr, handler, &notices)?);
    }
    if groups.len() != count as usize {
        return Err(CtrError::invalid("priority group count mismatch"));
    }
    // A first group beyond the last one is no mistake: there is none, then.
    let first = (first as usize).checked_sub(1).filter(|first| *first < groups.len());

    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    ctr.settings.num_write_zeroes_bios = 1;
    ctr.settings.queue_type = match settings.mode {
        Mode::Bio => QueueType::Bios,
        Mode::Request => QueueType::Requests,
    };
    let core = MultipathDevice::new(ctr, settings, queues, groups, first);
    Ok(Box::new(Multipath { core, start: ctr.start, len: ctr.len }))
}

/// Reads `N FEATURE...`; the second of what it returns is `queue_if_no_path`.
fn read_features(ctr: &mut Ctr<'_>) -> Result<(Settings, bool), CtrError> {
    let mut left = ctr.args.group(0, MOST_FEATURES, "invalid number of feature args")?;
    let mut settings = Settings {
        mode: Mode::Request,
        retains_handler: false,
        pg_init_retries: None,
        pg_init_delay_msecs: None,
    };
    let mut queues = false;
    while left > 0 {
        left -= 1;
        let word = ctr.args.shift().unwrap_or_default();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        // A feature with a value as the last of the counted words is taken for an unknown one.
        let has_value = left > 0;
        if is("queue_if_no_path") {
            queues = true;
            continue;
        } else if is("retain_attached_hw_handler") {
            settings.retains_handler = true;
            continue;
        } else if is("pg_init_retries") && has_value {
            let text = "pg_init_retries must be between 1 and 50";
            settings.pg_init_retries = Some(ctr.args.number(1, 50, text)?);
        } else if is("pg_init_delay_msecs") && has_value {
            let text = "pg_init_delay_msecs must be between 0 and 60000";
            settings.pg_init_delay_msecs = Some(ctr.args.number(0, 60_000, text)?);
        } else if is("queue_mode") && has_value {
            let mode = ctr.args.shift().unwrap_or_default().to_ascii_lowercase();
            settings.mode = match &mode[..] {
                b"bio" => Mode::Bio,
                b"rq" | b"mq" => Mode::Request,
                _ => return Err(CtrError::invalid("Unknown 'queue_mode' requested")),
            };
        } else {
            return Err(CtrError::invalid("Unrecognised multipath feature request"));
        }
        left -= 1;
    }
    settings.retains_handler |= settings.mode == Mode::Bio;
    Ok((settings, queues))
}

/// Reads `N HANDLER ARGS...`. Returns whether a handler is to be attached to each path.
fn read_handler(ctr: &mut Ctr<'_>, mode: Mode) -> Result<bool, CtrError> {
    let count = ctr.args.group(0, MOST, "invalid number of hardware handler args")?;
    for _ in 0..count {
        ctr.args.shift();
    }
    if count > 0 && mode == Mode::Bio {
        ctr.log("multipath").err("bio-based multipath doesn't allow hardware handler args");
        return Ok(false);
    }
    Ok(count > 0)
}

fn read_group(ctr: &mut Ctr<'_>, wants_handler: bool, notices: &Notices) -> Result<NewGroup, CtrError> {
    if ctr.args.len() < 2 {
        return Err(CtrError::invalid("not enough priority group arguments"));
    }
    let name = ctr.args.shift().unwrap_or_default();
    let build = by_name(&name).or_refuse("unknown path selector type")?;
    let count = ctr.args.group(0, MOST, "invalid number of path selector args")?;
    let args: Vec<_> = (0..count).filter_map(|_| ctr.args.shift()).collect();
    let mut selector = build(&args, notices).or_refuse("path selector constructor failed")?;

    let paths = ctr.args.number(1, MOST, "invalid number of paths")?;
    let per_path = ctr.args.number(0, MOST, "invalid number of selector args")?;
    let mut devices = Vec::new();
    for _ in 0..paths {
        if ctr.args.len() < 1 + per_path as usize {
            return Err(CtrError::invalid("not enough path parameters"));
        }
        let device = ctr.args.shift().unwrap_or_default();
        let args: Vec<_> = (0..per_path).filter_map(|_| ctr.args.shift()).collect();
        let device = ctr.device(&device).or_refuse("error getting device")?;
        if wants_handler {
            // What SCSI says of a device that is not its own, whatever the handler.
            return Err(CtrError::new(Errno::ENODEV, "error attaching hardware handler"));
        }
        selector.add(&args, notices).map_err(CtrError::invalid)?;
        devices.push(device);
    }
    Ok(NewGroup { selector, devices })
}
