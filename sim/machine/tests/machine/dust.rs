//! The dust target in process; cases recorded on Linux are in `golden/cases/dust`.

use crate::kit;

use std::collections::BTreeMap;

use dmlab_abi::{Command, DmFlags, HEADER_SIZE, Header};
use dmlab_block::{Bio, Op, SyncIo};
use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};
use kit::Kit;
use proptest::prelude::*;

const INFO: DmFlags = DmFlags::empty();

fn submit(kit: &Kit, dev: DevT, bio: Bio<'_>) -> Result<(), Errno> {
    let dev = kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&dev, bio).map_err(dmlab_block::IoFailed::errno)
}

fn read(kit: &Kit, dev: DevT, sector: u64, len: u64) -> Result<Vec<u8>, Errno> {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0; len as usize * 512];
    SyncIo::default()
        .read(&dev, Sector(sector), &mut buf, |bio| bio)
        .map(|()| buf)
        .map_err(dmlab_block::IoFailed::errno)
}

/// Sends a message to `d` and gives its answer.
fn ask(kit: &Kit, text: &str) -> Result<String, Errno> {
    let payload = [&0u64.to_le_bytes()[..], text.as_bytes(), &[0; 512]].concat();
    let mut header = kit.named("d", DmFlags::empty());
    header.set_data_size((HEADER_SIZE + payload.len()) as u32);
    header.set_data_start(HEADER_SIZE as u32);
    let answer = kit.send(Command::TargetMsg, header, &payload)?;
    let header = Header::decode(&answer).unwrap();
    if !header.flags().contains(DmFlags::DATA_OUT) {
        return Ok(String::new());
    }
    let text = &answer[HEADER_SIZE..header.data_size() as usize];
    Ok(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

#[test]
fn what_the_constructor_refuses() {
    for (params, text) in [
        ("1:0 0", "Invalid argument count"),
        ("1:0 0 512 1", "Invalid argument count"),
        ("1:0 0 x", "Invalid block size parameter"),
        ("1:0 0 0", "Invalid block size parameter"),
        ("1:0 0 4294967808", "Invalid block size parameter"),
        ("1:0 0 256", "Block size must be at least 512"),
        ("1:0 0 1536", "Block size must be a power of 2"),
        ("1:0 0 131072", "Block size is too large"),
        ("1:0 x 512", "Invalid device offset sector"),
        ("77:7 0 512", "Device lookup failed"),
        ("/nope x 100", "Block size must be at least 512"),
    ] {
        let kit = Kit::new();
        kit.ask(Command::DevCreate, "d", INFO).unwrap();
        assert_eq!(kit.load("d", &format!("0 128 dust {params}")).err(), Some(Errno::EINVAL));
        let line = format!("device-mapper: table: 254:0: dust: {text} (-EINVAL)");
        assert_eq!(kit.log(), [&line[..], "device-mapper: ioctl: error adding target to table"], "{params}");
    }
}

#[test]
fn lines_and_messages() {
    let kit = Kit::new();
    let dev = kit.create("d", "0 1024 dust 1:0 8 4096");
    assert_eq!(kit.status("d", DmFlags::STATUS_TABLE), "0 1024 dust 1:0 8 4096");
    assert_eq!(kit.status("d", INFO), "0 1024 dust 1:0 bypass verbose");
    let mut seen = kit.log().len();
    let mut step = |message: &str, answer: Result<&str, Errno>, log: &[&str]| {
        assert_eq!(ask(&kit, message), answer.map(str::to_owned), "{message}");
        let lines: Vec<String> = log.iter().map(|line| format!("device-mapper: dust: {line}")).collect();
        assert_eq!(kit.log()[seen..], lines, "{message}");
        seen += log.len();
    };
    let invalid = Err(Errno::EINVAL);
    step("listbadblocks", Ok("No blocks in badblocklist"), &[]);
    step("clearbadblocks", Ok("dust_clear_badblocks: no badblocks found"), &[]);
    step("AddBadBlock 60", Ok(""), &["dust_add_block: badblock added at block 60 with write fail count 0"]);
    step("addbadblock 60", invalid, &["dust_add_block: block 60 already in badblocklist"]);
    step("addbadblock 7 2", Ok(""), &["dust_add_block: badblock added at block 7 with write fail count 2"]);
    step("countbadblocks", Ok("countbadblocks: 2 badblock(s) found"), &[]);
    step("listbadblocks", Ok("7\n60\n"), &[]);
    step("queryblock 7", Ok("dust_query_block: block 7 found in badblocklist"), &[]);
    step("queryblock 8", Ok("dust_query_block: block 8 not found in badblocklist"), &[]);
    step("removebadblock 8", invalid, &["dust_remove_block: block 8 not found in badblocklist"]);
    step("removebadblock 60", Ok(""), &["dust_remove_block: badblock removed at block 60"]);
    step("quiet", Ok(""), &[]);
    step("removebadblock 60", invalid, &[]);
    step("quiet", Ok(""), &[]);
    // 16 MiB are 4096 blocks of 4 KiB, and the number behind the last is allowed.
    step("addbadblock 4097", invalid, &["selected block value out of range"]);
    step("queryblock 4096", Ok("dust_query_block: block 4096 not found in badblocklist"), &[]);
    step("addbadblock 5 256", invalid, &["selected write fail count out of range"]);
    step("addbadblock x", invalid, &[]);
    step("bogus x", invalid, &[]);
    step("addbadblock 5 x", invalid, &[]);
    step("addbadblock 4097 x", invalid, &[]);
    step("addbadblock", invalid, &["addbadblock requires an additional argument"]);
    step("QueryBlock", invalid, &["QueryBlock requires an additional argument"]);
    step("bogus", invalid, &["unrecognized message 'bogus' received"]);
    step("enable 5", invalid, &["unrecognized message 'enable' received"]);
    step("queryblock 5 1", invalid, &["unrecognized message 'queryblock' received"]);
    step("a b c d", invalid, &["invalid number of arguments '4'"]);
    step("enable", Ok(""), &["enabling read failures on bad sectors"]);
    assert_eq!(kit.status("d", INFO), "0 1024 dust 1:0 fail_read_on_bad_block verbose");
    // Block 7 of the disk begins 48 sectors into the device, because of the offset.
    assert_eq!(read(&kit, dev, 40, 8), Ok(vec![0; 4096]));
    assert_eq!(read(&kit, dev, 40, 9), Err(Errno::EIO));
    assert_eq!(read(&kit, dev, 48, 1), Err(Errno::EIO));
    let write = || submit(&kit, dev, Bio::write(Sector(48), &[1; 4096]));
    assert_eq!([write(), write(), write()], [Err(Errno::EIO), Err(Errno::EIO), Ok(())]);
    // The number in this line is divided by the block's sectors once too often.
    assert_eq!(kit.log().last().unwrap(), "device-mapper: dust: block 0 removed from badblocklist by write");
    assert_eq!(read(&kit, dev, 48, 8), Ok(vec![1; 4096]));
    assert_eq!(ask(&kit, "disable").as_deref(), Ok(""));
    assert_eq!(kit.log().last().unwrap(), "device-mapper: dust: disabling read failures on bad sectors");
    assert_eq!(kit.status("d", INFO), "0 1024 dust 1:0 bypass verbose");
    // The list is empty, then it is not.
    assert_eq!(ask(&kit, "clearbadblocks").as_deref(), Ok("dust_clear_badblocks: no badblocks found"));
    ask(&kit, "addbadblock 3").unwrap();
    let lines = kit.log().len();
    assert_eq!(ask(&kit, "clearbadblocks").as_deref(), Ok("dust_clear_badblocks: badblocks cleared"));
    assert_eq!(kit.log().len(), lines);
    assert_eq!(ask(&kit, "listbadblocks").as_deref(), Ok("No blocks in badblocklist"));
}

/// A dust target cuts bios at blocks, and says nothing of that to those above.
#[test]
fn its_limits_are_those_of_its_device() {
    let kit = Kit::new();
    let limits = |dev: DevT| kit.machine.device(dev).unwrap().limits;
    let linear = kit.create("linear", "0 1024 linear 1:0 8");
    for (name, block) in [("d", 512), ("large", 65536)] {
        let dust = kit.create(name, &format!("0 1024 dust 1:0 8 {block}"));
        let (got, want) = (limits(dust), limits(linear));
        assert_eq!((got.logical_block_size, got.physical_block_size), (Bytes(512), Bytes(4096)));
        assert_eq!((got.io_min, got.io_opt, got.chunk_sectors), (Bytes(4096), Bytes(0), Sectors(0)));
        assert_eq!(got.max_sectors, want.max_sectors);
        assert_eq!(
            (got.discard_granularity, got.max_discard_sectors),
            (want.discard_granularity, want.max_discard_sectors)
        );
        assert!(!want.max_discard_sectors.is_zero());
        assert_eq!((got.max_write_zeroes_sectors, got.max_secure_erase_sectors), (Sectors(0), Sectors(0)));
    }
}

/// A flush has sector 0, and lies where that lies; what is said of its block is said of the first one.
#[test]
fn a_flush_is_moved_and_meets_the_first_block() {
    let kit = Kit::new();
    let log = kit.create("log", "0 1024 log-writes 1:0 1:1");
    let dev = kit.create("d", &format!("0 512 dust {log} 8 4096"));
    for message in ["addbadblock 1 1", "enable"] {
        ask(&kit, message).unwrap();
    }
    assert_eq!(submit(&kit, dev, Bio::flush()), Err(Errno::EIO));
    assert_eq!(submit(&kit, dev, Bio::flush()), Ok(()));
    assert_eq!(ask(&kit, "listbadblocks").as_deref(), Ok("No blocks in badblocklist"));
    kit.machine.runtime().run_until_idle();
    // The first entry of the log: sector 8, no data, a flush.
    let entry = read(&kit, DevT::new(1, 1), 1, 1).unwrap();
    assert_eq!([0, 8, 16].map(|at| entry[at]), [8, 0, 1]);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64, u8),
    Remove(u64),
    Clear,
    Enable(bool),
    Write(u64, u64, u8),
    Read(u64, u64),
    Discard(u64, u64),
}

const BLOCKS: u64 = 16;
const BLOCK: u64 = 8;

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..BLOCKS * BLOCK, 1..24u64).prop_map(|(at, len)| (at, len.min(BLOCKS * BLOCK - at)));
    prop_oneof![
        3 => (0..BLOCKS, 0..4u8).prop_map(|(block, count)| Step::Add(block, count)),
        1 => (0..BLOCKS).prop_map(Step::Remove),
        1 => Just(Step::Clear),
        2 => any::<bool>().prop_map(Step::Enable),
        5 => (place(), any::<u8>()).prop_map(|((at, len), byte)| Step::Write(at, len, byte)),
        5 => place().prop_map(|(at, len)| Step::Read(at, len)),
        1 => place().prop_map(|(at, len)| Step::Discard(at, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Bad blocks fail reads and as many writes as they were told to, and nothing else fails.
    #[test]
    fn bad_blocks_behave_as_the_list_says(steps in prop::collection::vec(step(), 1..60)) {
        let kit = Kit::new();
        let size = BLOCKS * BLOCK;
        let dev = kit.create("d", &format!("0 {size} dust 1:0 0 {}", BLOCK * 512));
        let (mut bad, mut is_enabled) = (BTreeMap::<u64, u8>::new(), false);
        let mut bytes = vec![0u8; size as usize];
        // Whether a write to a block gets through.
        let write_block = |bad: &mut BTreeMap<u64, u8>, block: u64| match bad.get_mut(&block) {
            Some(0) => { bad.remove(&block); true }
            Some(count) => { *count -= 1; false }
            None => true,
        };
        for step in steps {
            match step {
                Step::Add(block, count) => {
                    let added = ask(&kit, &format!("addbadblock {block} {count}")).is_ok();
                    prop_assert_eq!(added, !bad.contains_key(&block));
                    bad.entry(block).or_insert(count);
                }
                Step::Remove(block) => {
                    let removed = ask(&kit, &format!("removebadblock {block}")).is_ok();
                    prop_assert_eq!(removed, bad.remove(&block).is_some());
                }
                Step::Clear => {
                    ask(&kit, "clearbadblocks").unwrap();
                    bad.clear();
                }
                Step::Enable(on) => {
                    ask(&kit, if on { "enable" } else { "disable" }).unwrap();
                    is_enabled = on;
                }
                Step::Write(at, len, byte) => {
                    let data = vec![byte; len as usize * 512];
                    let mut fits = true;
                    for block in at / BLOCK..=(at + len - 1) / BLOCK {
                        if is_enabled && !write_block(&mut bad, block) {
                            fits = false;
                            continue;
                        }
                        let range = at.max(block * BLOCK)..(at + len).min((block + 1) * BLOCK);
                        bytes[range.start as usize..range.end as usize].fill(byte);
                    }
                    prop_assert_eq!(submit(&kit, dev, Bio::write(Sector(at), &data)).is_ok(), fits);
                }
                Step::Read(at, len) => {
                    let fails = is_enabled && (at / BLOCK..=(at + len - 1) / BLOCK).any(|b| bad.contains_key(&b));
                    match read(&kit, dev, at, len) {
                        Err(errno) => prop_assert!(fails && errno == Errno::EIO),
                        Ok(got) => {
                            prop_assert!(!fails);
                            let expected: Vec<u8> =
                                bytes[at as usize..(at + len) as usize].iter().flat_map(|b| [*b; 512]).collect();
                            prop_assert_eq!(got, expected);
                        }
                    }
                }
                Step::Discard(at, len) => {
                    // Only its first block is looked at; the RAM disk gives back whole pages, which are blocks here.
                    let passes = !is_enabled || write_block(&mut bad, at / BLOCK);
                    let bio = Bio::range(Op::Discard, Sector(at), Sectors(len));
                    prop_assert_eq!(submit(&kit, dev, bio).is_ok(), passes);
                    let (first, last) = (at.div_ceil(BLOCK) * BLOCK, (at + len) / BLOCK * BLOCK);
                    if passes && first < last {
                        bytes[first as usize..last as usize].fill(0);
                    }
                }
            }
            let list: String = bad.keys().map(|block| format!("{block}\n")).collect();
            let list = if list.is_empty() { "No blocks in badblocklist".to_owned() } else { list };
            prop_assert_eq!(ask(&kit, "listbadblocks").unwrap(), list);
        }
    }
}
