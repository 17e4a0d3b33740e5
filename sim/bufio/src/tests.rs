use std::collections::BTreeMap;

use dmlab_block::{RamDisk, Registry, WriteCache, read_async, write_async};
use dmlab_runtime::{Runtime, VirtualDriver};
use dmlab_units::DevT;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const TAG: Tag = Tag::new("", 0, 0);
const SIZE: Sectors = Sectors(8192);
const BLOCK: Sectors = Sectors(8);

fn client() -> (Arc<Runtime>, Client) {
    let runtime = Runtime::new(0, VirtualDriver::new());
    let registry = Registry::new(runtime.clone());
    let disk = RamDisk::new(SIZE, WriteCache::WriteThrough);
    let (limits, seq) = (disk.limits(), registry.next_disk_seq());
    let device = BlockDevice::new(DevT::new(1, 0), "ram0", seq, runtime.clone(), Arc::new(disk), limits);
    device.set_capacity(SIZE);
    (runtime, Client::new(device, BLOCK))
}

async fn on_disk(client: &Client, block: u64) -> u8 {
    read_async(client.device(), Sector(block * BLOCK.0), BLOCK).await.unwrap()[0]
}

#[test]
fn a_block_is_read_once_and_written_when_asked() {
    let (runtime, mut client) = client();
    let run = async {
        let data: Arc<[u8]> = vec![7; 4096].into();
        write_async(client.device(), Sector(16), data).await.unwrap();
        assert!(client.get(2).is_none());
        assert_eq!(client.read(2, TAG).await.unwrap().data()[0], 7);
        // Past the client: it does not notice.
        write_async(client.device(), Sector(16), vec![8; 4096].into()).await.unwrap();
        assert_eq!(client.read(2, TAG).await.unwrap().data()[0], 7);
        client.forget_buffers(2..3);
        let buffer = client.read(2, TAG).await.unwrap();
        assert_eq!(buffer.data()[0], 8);
        buffer.data_mut().fill(9);
        client.mark_buffer_dirty(2);
        assert_eq!(on_disk(&client, 2).await, 8);
        assert_eq!(client.dirty_blocks(), [2]);
        client.write_dirty_buffers(TAG).await.unwrap();
        assert_eq!((on_disk(&client, 2).await, client.dirty_blocks().len()), (9, 0));
        // A new one is not read.
        assert_eq!(client.new_buffer(2).data()[0], 9);
        assert_eq!(client.new_buffer(3).data()[0], 0);
        client.forget_all();
        assert_eq!((client.nr_buffers(), client.nr_clean()), (0, 0));
    };
    runtime.block_on(run).unwrap();
}

#[test]
fn what_fails_is_not_kept_and_what_could_not_be_written_stays_dirty() {
    let (runtime, mut client) = client();
    let run = async {
        let beyond = client.device_size();
        assert!(client.read(beyond, TAG).await.is_err());
        assert!(client.get(beyond).is_none());
        for block in [1, beyond] {
            client.new_buffer(block).data_mut().fill(5);
            client.mark_buffer_dirty(block);
        }
        assert!(client.write_dirty_buffers(TAG).await.is_err());
        assert_eq!((client.dirty_blocks(), on_disk(&client, 1).await), (vec![beyond], 5));
        assert!(client.write_buffer(beyond, TAG).await.is_err());
        client.forget_buffers(beyond..beyond + 1);
        assert_eq!(client.write_dirty_buffers(TAG).await, Ok(()));
    };
    runtime.block_on(run).unwrap();
}

#[test]
fn buffers_that_are_used_stay_and_dirty_ones_too() {
    let (runtime, mut client) = client();
    client.set_clean_limit(32);
    let run = async {
        client.new_buffer(1000);
        client.mark_buffer_dirty(1000);
        for block in 0..500 {
            client.read(block, TAG).await.unwrap();
            // The one that is used again and again.
            client.get_mut(0).expect("a block that is used is kept");
            assert!(client.nr_clean() <= 32, "{} are kept", client.nr_clean());
        }
        assert!(client.get(1000).is_some() && client.get(499).is_some() && client.get(200).is_none());
    };
    runtime.block_on(run).unwrap();
}

/// A step of a random run.
#[derive(Clone, Debug)]
enum Step {
    Change(u64, u8),
    Fill(u64, u8),
    Write,
    Forget(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    // Far apart, so that there are several pages.
    let block = || (0..12u64).prop_map(|n| n * 80);
    prop_oneof![
        4 => (block(), 1..u8::MAX).prop_map(|(block, byte)| Step::Change(block, byte)),
        2 => (block(), 1..u8::MAX).prop_map(|(block, byte)| Step::Fill(block, byte)),
        1 => Just(Step::Write),
        1 => (block(), 1..300u64).prop_map(|(block, len)| Step::Forget(block, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// What is on the disk and what the client shows, against two plain maps.
    #[test]
    fn memory_and_disk_are_what_was_asked_for(steps in vec(step(), 1..80), limit in 1..16usize) {
        let (runtime, mut client) = client();
        client.set_clean_limit(limit);
        let (mut disk, mut dirty) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Change(block, byte) => {
                    let seen = runtime.block_on(client.read(block, TAG)).unwrap().unwrap();
                    let known = dirty.get(&block).or(disk.get(&block)).copied().unwrap_or(0);
                    prop_assert_eq!(seen.data()[4095], known);
                    seen.data_mut().fill(byte);
                    client.mark_buffer_dirty(block);
                    dirty.insert(block, byte);
                }
                Step::Fill(block, byte) => {
                    client.new_buffer(block).data_mut().fill(byte);
                    client.mark_buffer_dirty(block);
                    dirty.insert(block, byte);
                }
                Step::Write => {
                    runtime.block_on(client.write_dirty_buffers(TAG)).unwrap().unwrap();
                    disk.append(&mut dirty);
                }
                Step::Forget(block, len) => {
                    client.forget_buffers(block..block + len);
                    dirty.retain(|known, _| !(block..block + len).contains(known));
                }
            }
            prop_assert_eq!(client.dirty_blocks(), dirty.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(client.nr_buffers() - client.nr_clean(), dirty.len());
        }
        for block in (0..12u64).map(|n| n * 80) {
            let there = runtime.block_on(on_disk(&client, block)).unwrap();
            prop_assert_eq!(there, disk.get(&block).copied().unwrap_or(0));
        }
    }
}
