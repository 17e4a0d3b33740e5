//! What a machine's devices look like from outside: the source of `/dev`, `/sys` and `/proc`.

use std::sync::Arc;

use dmlab_block::{BlockDevice, Op, QueueLimits};
use dmlab_units::{DevT, Sectors};

use crate::Machine;

/// A block device, as it is at one moment.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// Its number.
    pub dev: DevT,
    /// Its kernel name: `ram0`, `dm-3`, `loop1`.
    pub name: String,
    /// Its size; zero for a mapped device that was never resumed.
    pub size: Sectors,
    /// Whether it may only be read.
    pub read_only: bool,
    /// What its queue can take.
    pub limits: QueueLimits,
    /// Whether it has a request queue on Linux.
    pub takes_requests: bool,
    /// Its number among all disks that the machine ever had.
    pub disk_seq: u64,
    /// How far it is read ahead.
    pub read_ahead: Sectors,
    /// How many have it open.
    pub open_count: u32,
    /// Mapped devices that stand on it.
    pub holders: Vec<DevT>,
    /// Devices that it stands on, with its live or inactive table.
    pub slaves: Vec<DevT>,
    /// The fields of `/sys/block/X/stat` that are counted: ios and sectors of reads, writes, discards; flushes.
    pub stat: [u64; 7],
    /// What only mapped devices have.
    pub dm: Option<DmInfo>,
}

/// What only mapped devices have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Its uuid; empty when it has none.
    pub uuid: Vec<u8>,
    /// Whether it is suspended.
    pub suspended: bool,
}

impl Machine {
    /// All block devices, in order of their numbers.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        self.registry().all().iter().map(|block| self.info(block)).collect()
    }

    /// The block device with this number.
    pub fn device(&self, dev: DevT) -> Option<DeviceInfo> {
        self.registry().get(dev).map(|block| self.info(&block))
    }

    fn info(&self, block: &Arc<BlockDevice>) -> DeviceInfo {
        let stats = block.stats();
        let counted = [Op::Read, Op::Write, Op::Discard].map(|op| stats.of(op));
        let [(reads, read), (writes, written), (discards, discarded)] = counted;
        let (flushes, _) = stats.of(Op::Flush);
        let mapped = self.mapper().by_dev(block.dev());
        let mut slaves: Vec<DevT> = Vec::new();
        for table in mapped.iter().flat_map(|device| [device.live_table(), device.inactive_table()]).flatten()
        {
            slaves.extend(table.devices().iter().map(|device| device.dev()));
        }
        slaves.sort();
        slaves.dedup();
        DeviceInfo {
            dev: block.dev(),
            name: block.name().to_owned(),
            size: block.capacity(),
            read_only: block.is_read_only(),
            limits: *block.limits(),
            takes_requests: block.ops().takes_requests(),
            disk_seq: block.disk_seq(),
            read_ahead: block.read_ahead(),
            open_count: block.open_count(),
            holders: block.holders(),
            slaves,
            stat: [reads, read.0, writes, written.0, discards, discarded.0, flushes],
            dm: mapped.map(|device| {
                let names = device.names();
                DmInfo {
                    name: names.name,
                    uuid: names.uuid.unwrap_or_default(),
                    suspended: device.is_suspended(),
                }
            }),
        }
    }
}
