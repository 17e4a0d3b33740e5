//! What a machine's devices look like from outside: the source of `/dev`, `/sys` and `/proc`.

use std::sync::Arc;

use dmlab_block::{BlockDevice, Op, PartitionNames, QueueLimits};
use dmlab_units::{DevT, Sector, Sectors};

use crate::Machine;

/// A block device, as it is at one moment.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// The number of the device.
    pub dev: DevT,
    /// The kernel name of the device: `ram0`, `dm-3`, `loop1`.
    pub name: String,
    /// The size of the device; zero for a mapped device that was never resumed.
    pub size: Sectors,
    /// Whether it may only be read.
    pub read_only: bool,
    /// What its queue can take.
    pub limits: QueueLimits,
    /// Whether it has a request queue on Linux.
    pub takes_requests: bool,
    /// The number of the disk among all that the machine ever had.
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
    /// What only partitions have.
    pub partition: Option<PartitionInfo>,
    /// The partitions of the device, in order of their numbers on the disk.
    pub partitions: Vec<DevT>,
    /// How many minor numbers the disk has.
    pub minors: u32,
    /// Whether it is scanned for partitions.
    pub is_scanned: bool,
    /// Whether it may have partitions at all.
    pub takes_partitions: bool,
}

/// What only partitions have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The disk's kernel name.
    pub disk: String,
    /// The number of the partition on the disk, from 1 on.
    pub number: u32,
    /// Where on the disk it begins.
    pub start: Sector,
    /// What the partition table calls it.
    pub names: PartitionNames,
}

/// What only mapped devices have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmInfo {
    /// The name of the mapped device.
    pub name: Vec<u8>,
    /// The uuid of the mapped device; empty when it has none.
    pub uuid: Vec<u8>,
    /// Whether it is suspended.
    pub suspended: bool,
}

impl Machine {
    /// All block devices, each disk before its partitions; the disks in order of their numbers.
    pub fn devices_by_disk(&self) -> Vec<DeviceInfo> {
        let disks = self.registry().all().into_iter().filter(|block| block.partition().is_none());
        let with_partitions = disks.flat_map(|disk| {
            let partitions = disk.partitions();
            std::iter::once(disk).chain(partitions)
        });
        with_partitions.map(|block| self.info(&block)).collect()
    }

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
            partition: block.partition().map(|part| PartitionInfo {
                disk: part.whole().map_or_else(String::new, |whole| whole.name().to_owned()),
                number: part.number,
                start: part.start,
                names: part.names.clone(),
            }),
            partitions: block.partitions().iter().map(|part| part.dev()).collect(),
            minors: block.ops().minors(),
            is_scanned: block.partition().is_none() && block.ops().may_have_partitions(),
            takes_partitions: !block.ops().refuses_partitions(),
        }
    }
}
