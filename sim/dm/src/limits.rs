//! Queue limits of a mapped device, from those of the devices its table uses (kernel/dm-core.md#queue-limits).

use dmlab_block::{Alignment, Features, Op, QueueLimits};
use dmlab_runtime::{Level, Personality, Quirks};
use dmlab_units::{Bytes, Errno, Sector, Sectors};

use crate::{DeviceRange, MappedDevice, QueueMode, Table, TableEntry, TargetFeatures};

/// The limits that the lines of `table` give together, before the table's own restrictions.
///
/// # Errors
/// EINVAL, with the reason in the log, when a line does not fit its device or its blocks.
pub(crate) fn calculate(device: &MappedDevice, table: &Table) -> Result<QueueLimits, Errno> {
    let mut limits = unstacked(device);
    for line in table.lines() {
        let below = line_limits(device, line);
        for range in line.target.devices().iter().flatten() {
            check_range(device, range, &below)?;
        }
        if limits.stack(&below, Sector::ZERO) == Alignment::Inconsistent {
            let (start, len) = (line.start, line.len);
            warn(
                device,
                format_args!(
                    "adding target device (start sect {start} len {len}) caused an alignment inconsistency"
                ),
            );
        }
    }
    check_lines(device, table, &limits)?;
    Ok(limits)
}

/// The limits of a device that nothing was stacked on yet.
fn unstacked(device: &MappedDevice) -> QueueLimits {
    let mut limits = QueueLimits::stacking();
    if device.block.runtime().has(Quirks::LIMITS_STAY_STACKED) {
        // Only a device below says what the hardware discards.
        limits.max_hw_discard_sectors = Sectors::ZERO;
    }
    limits
}

/// Applies what the table as a whole can and can't do, and completes the limits.
///
/// # Errors
/// EINVAL when they contradict each other.
pub(crate) fn restrict(
    table: &Table,
    limits: &mut QueueLimits,
    personality: &Personality,
) -> Result<(), Errno> {
    let lines = table.lines();
    if !lines.iter().all(|line| line.kind.features.contains(TargetFeatures::NOWAIT)) {
        limits.features.remove(Features::NOWAIT);
    }
    if table.queue_mode() == QueueMode::Request {
        limits.features.remove(Features::POLL);
    }
    if !supports(table, Op::Discard) {
        limits.max_hw_discard_sectors = Sectors::ZERO;
        limits.max_discard_sectors = Sectors::ZERO;
        limits.discard_granularity = Bytes(0);
        limits.discard_alignment = Bytes(0);
    }
    if !supports(table, Op::WriteZeroes) {
        limits.max_write_zeroes_sectors = Sectors::ZERO;
    }
    if !supports(table, Op::SecureErase) {
        limits.max_secure_erase_sectors = Sectors::ZERO;
    }
    if lines.iter().any(|line| line.settings.num_flush_bios > 0 && line.settings.flush_supported) {
        limits.features |= Features::WRITE_CACHE | Features::FUA;
    }
    limits.validate_for(personality)
}

/// Whether every line can do a range operation: it must want clones of it, and either vouch for discards itself or
/// stand on devices that all can. One that stands on nothing, such as an empty multipath map, has all limits at their
/// highest but that of discards, which is 0 then (recorded: `multipath/limits`).
fn supports(table: &Table, op: Op) -> bool {
    table.lines().iter().all(|line| {
        let (clones, vouches) = match op {
            Op::Discard => (line.settings.num_discard_bios, line.settings.discards_supported),
            Op::SecureErase => (line.settings.num_secure_erase_bios, false),
            _ => (line.settings.num_write_zeroes_bios, false),
        };
        let below = || {
            let can = |ranges: &[DeviceRange]| ranges.iter().all(|range| range.dev.supports(op));
            let ranges = line.target.devices();
            ranges.is_some_and(|ranges| can(&ranges) && (op != Op::Discard || !ranges.is_empty()))
        };
        clones > 0 && (vouches || below())
    })
}

/// Limits of the devices of one line, with the target's own hints. Misaligned devices go to the log, each time that
/// this is asked (recorded: `raw/attributes`).
fn line_limits(device: &MappedDevice, line: &TableEntry) -> QueueLimits {
    let mut limits = unstacked(device);
    for range in line.target.devices().iter().flatten() {
        let below = range.dev.limits();
        // Where it begins on the disk is what blocks of the disk go by.
        let start = range.start.0.wrapping_add(range.dev.start_sector().0);
        if limits.stack(&below, Sector(start)) == Alignment::Inconsistent {
            warn(
                device,
                format_args!(
                    "adding target device {} caused an alignment inconsistency: physical_block_size={}, \
                     logical_block_size={}, alignment_offset={}, start={}",
                    range.dev.name(),
                    below.physical_block_size.0,
                    below.logical_block_size.0,
                    below.alignment_offset.0,
                    range.start.0.wrapping_mul(512),
                ),
            );
        }
    }
    line.target.io_hints(&mut limits);
    limits
}

/// Whether a range lies on its device, in whole logical blocks.
fn check_range(device: &MappedDevice, range: &DeviceRange, limits: &QueueLimits) -> Result<(), Errno> {
    let (start, len) = (range.start, range.len);
    let name = range.dev.name();
    let size = range.dev.capacity();
    if size.is_zero() {
        return Ok(());
    }
    if start.0 >= size.0 || start.0.checked_add(len.0).is_none_or(|end| end > size.0) {
        return refuse(
            device,
            format_args!("{name} too small for target: start={start}, len={len}, dev_size={size}"),
        );
    }
    let block = limits.logical_block_size;
    let sectors = block.sectors_floor().0;
    if sectors > 1 && start.0 % sectors != 0 {
        return refuse(
            device,
            format_args!("start={start} not aligned to h/w logical block size {} of {name}", block.0),
        );
    }
    if sectors > 1 && len.0 % sectors != 0 {
        return refuse(
            device,
            format_args!("len={len} not aligned to h/w logical block size {} of {name}", block.0),
        );
    }
    Ok(())
}

/// Whether every logical block of the whole device can be served: a block that begins in one line and ends in the
/// next needs a next line that takes pieces so small.
fn check_lines(device: &MappedDevice, table: &Table, limits: &QueueLimits) -> Result<(), Errno> {
    let block = limits.logical_block_size.sectors_floor().0.max(1);
    let mut unfinished = 0;
    let mut last = None;
    for (i, line) in table.lines().iter().enumerate() {
        last = Some((i, line));
        let own = line_limits(device, line).logical_block_size.sectors_floor().0.max(1);
        if unfinished < line.len.0 && unfinished % own != 0 {
            break;
        }
        unfinished = match line.end().0 % block {
            0 => 0,
            into => block - into,
        };
    }
    match last {
        Some((i, line)) if unfinished != 0 => refuse(
            device,
            format_args!(
                "table line {i} (start sect {} len {}) not aligned to h/w logical block size {}",
                line.start, line.len, limits.logical_block_size.0
            ),
        ),
        _ => Ok(()),
    }
}

fn warn(device: &MappedDevice, text: std::fmt::Arguments<'_>) {
    let line = format!("device-mapper: table: {}: {text}", device.dev());
    device.block().runtime().log(Level::Warning, line);
}

fn refuse(device: &MappedDevice, text: std::fmt::Arguments<'_>) -> Result<(), Errno> {
    let line = format!("device-mapper: table: {}: {text}", device.dev());
    device.block().runtime().log(Level::Err, line);
    Err(Errno::EINVAL)
}
