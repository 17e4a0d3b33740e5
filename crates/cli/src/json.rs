//! What commands show, as JSON for programs. `docs/src/json.md` says what each command prints; a test holds it to that.

use clap::Args;
use dmlab_control::{
    Info, MirrorHealth, MultipathStatus, PathGroupState, PathGroupStatus, PathStatus, PoolMode, PoolStatus,
    Report, SnapshotStatus, StatusLine, TargetStatus, ThinStatus, Usage,
};
use dmlab_units::{DevT, Sectors};
use serde_json::{Value, json};

use crate::kernel::Failure;
use crate::output::outln;

/// In what form a command shows what it found.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Format {
    /// Print JSON, for programs (its schema: the chapter "JSON" of the book).
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints a value in lines, as people and `jq` read it.
///
/// # Errors
/// What stdout says.
pub(crate) fn print(value: &Value) -> Result<(), Failure> {
    outln!("{value:#}")?;
    Ok(())
}

/// Bytes as text; those that are none become U+FFFD.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A device and the targets of a table or status report. `name` of the text says which of the two it is.
pub(crate) fn report(device: &str, report: &Report, key: &str) -> Value {
    let target = |line: &StatusLine| {
        let mut value = json!({
            "start": line.start.0,
            "length": line.len.0,
            "type": text(&line.target_type),
            key: text(&line.text),
        });
        if key == "status" {
            value["fields"] = fields(&line.status());
        }
        value
    };
    json!({ "name": device, "targets": report.lines.iter().map(target).collect::<Vec<_>>() })
}

/// What a status means, where dmlab knows its words; else null.
fn fields(status: &TargetStatus) -> Value {
    match status {
        TargetStatus::Striped(striped) => {
            let stripes = striped.stripes.iter();
            let stripes: Vec<Value> = stripes
                .map(|(dev, is_alive)| json!({ "device": dev.to_string(), "alive": is_alive }))
                .collect();
            json!({ "stripes": stripes })
        }
        TargetStatus::ThinPool(pool) => pool_fields(pool),
        TargetStatus::Thin(ThinStatus::Failed) => {
            json!({ "state": "failed" })
        }
        TargetStatus::Thin(ThinStatus::Unknown) => json!({ "state": "unknown" }),
        TargetStatus::Thin(ThinStatus::Working { mapped, highest }) => json!({
            "state": "working",
            "mapped_sectors": mapped.0,
            "highest_sector": highest.map(|sector| sector.0),
        }),
        TargetStatus::Mirror(mirror) => {
            let device = |(dev, health): &(DevT, MirrorHealth)| json!({ "device": dev.to_string(), "health": health_word(*health) });
            json!({
                "legs": mirror.legs.iter().map(device).collect::<Vec<_>>(),
                "regions_in_sync": usage_of(mirror.regions),
                "log": mirror.log.as_ref().map(device),
            })
        }
        TargetStatus::Multipath(multipath) => multipath_fields(multipath),
        TargetStatus::Snapshot(snapshot) => match snapshot {
            SnapshotStatus::Invalid => json!({ "state": "invalid" }),
            SnapshotStatus::Overflow => json!({ "state": "overflow" }),
            SnapshotStatus::MergeFailed => json!({ "state": "merge failed" }),
            SnapshotStatus::Working { cow, metadata } => json!({
                "state": "working",
                "cow_sectors": usage_of(Usage { used: cow.used.0, total: cow.total.0 }),
                "metadata_sectors": metadata.0,
            }),
        },
        _ => Value::Null,
    }
}

fn usage_of(usage: Usage) -> Value {
    json!({ "used": usage.used, "total": usage.total })
}

fn health_word(health: MirrorHealth) -> &'static str {
    match health {
        MirrorHealth::Alive => "alive",
        MirrorHealth::ReadFailed => "read failed",
        MirrorHealth::SyncFailed => "sync failed",
        MirrorHealth::WriteFailed => "write failed",
        MirrorHealth::FlushFailed => "flush failed",
        MirrorHealth::Unknown => "unknown",
    }
}

fn multipath_fields(multipath: &MultipathStatus) -> Value {
    let path = |path: &PathStatus| json!({ "device": path.device.to_string(), "active": path.is_active, "failures": path.failures });
    let group = |group: &PathGroupStatus| {
        let state = match group.state {
            PathGroupState::Active => "active",
            PathGroupState::Enabled => "enabled",
            PathGroupState::Disabled => "disabled",
        };
        json!({ "state": state, "paths": group.paths.iter().map(path).collect::<Vec<_>>() })
    };
    let groups: Vec<Value> = multipath.groups.iter().map(group).collect();
    json!({ "queues_io": multipath.queues_io, "group": multipath.group, "groups": groups })
}

fn pool_fields(pool: &PoolStatus) -> Value {
    let PoolStatus::Working {
        transaction,
        metadata,
        data,
        held_root,
        mode,
        discards,
        errors_if_no_space,
        needs_check,
        metadata_low_water,
    } = pool
    else {
        return json!({ "state": if *pool == PoolStatus::Failed { "failed" } else { "unknown" } });
    };
    let mode = match mode {
        PoolMode::Write => "rw",
        PoolMode::OutOfDataSpace => "out_of_data_space",
        PoolMode::ReadOnly => "ro",
    };
    json!({
        "state": "working",
        "transaction": transaction,
        "metadata_blocks": usage_of(*metadata),
        "data_blocks": usage_of(*data),
        "held_metadata_root": held_root,
        "mode": mode,
        "discards": discards,
        "error_if_no_space": errors_if_no_space,
        "needs_check": needs_check,
        "metadata_low_water_blocks": metadata_low_water,
    })
}

/// What the kernel knows of a device.
pub(crate) fn info(info: &Info) -> Value {
    json!({
        "name": text(&info.name),
        "uuid": if info.uuid.is_empty() { None } else { Some(text(&info.uuid)) },
        "device": info.dev.map(|dev| dev.to_string()),
        "open_count": info.open_count,
        "event_nr": info.event_nr,
        "targets": info.target_count,
        "suspended": info.is_suspended(),
        "suspended_internally": info.is_suspended_internally(),
        "live_table": info.has_live_table(),
        "inactive_table": info.has_inactive_table(),
        "read_only": info.is_read_only(),
        "deferred_remove": info.is_deferred_remove(),
    })
}

/// A device that is not mapped, or that is shown as any block device.
pub(crate) fn block_device(name: &str, dev: dmlab_units::DevT, len: Sectors) -> Value {
    json!({ "name": name, "device": dev.to_string(), "sectors": len.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_units::Sector;

    fn line(target_type: &str, status: &str) -> Value {
        let line = StatusLine {
            start: Sector(0),
            len: Sectors(8),
            target_type: target_type.into(),
            text: status.into(),
        };
        fields(&line.status())
    }

    #[test]
    fn statuses_have_fields() {
        let pool = line("thin-pool", "3 111/1024 5/320 - rw discard_passdown queue_if_no_space - 256 ");
        assert_eq!(pool["metadata_blocks"], json!({ "used": 111, "total": 1024 }));
        assert_eq!((&pool["transaction"], &pool["held_metadata_root"]), (&json!(3), &Value::Null));
        assert_eq!(pool["needs_check"], json!(false));
        assert_eq!(line("thin", "Fail"), json!({ "state": "failed" }));
        assert_eq!(
            line("thin", "128 127"),
            json!({ "state": "working", "mapped_sectors": 128, "highest_sector": 127 })
        );
        assert_eq!(
            line("snapshot", "16/128 16"),
            json!({ "state": "working", "cow_sectors": { "used": 16, "total": 128 }, "metadata_sectors": 16 })
        );
        let mirror = line("mirror", "2 1:0 1:1 1/2 1 AD 3 disk 1:2 A");
        assert_eq!(mirror["legs"][1], json!({ "device": "1:1", "health": "write failed" }));
        assert_eq!(mirror["regions_in_sync"], json!({ "used": 1, "total": 2 }));
        assert_eq!(mirror["log"], json!({ "device": "1:2", "health": "alive" }));
        let multipath = line("multipath", "2 1 0 0 1 1 E 0 1 0 1:0 F 3 ");
        assert_eq!(multipath["queues_io"], json!(true));
        assert_eq!(multipath["groups"][0]["state"], json!("enabled"));
        assert_eq!(
            multipath["groups"][0]["paths"],
            json!([{ "device": "1:0", "active": false, "failures": 3 }])
        );
        assert_eq!(line("striped", "1 1:0 1 D")["stripes"], json!([{ "device": "1:0", "alive": false }]));
        assert_eq!(line("linear", ""), Value::Null);
    }
}
