//! Pools over wrong metadata, and messages to pools.

use dmlab::Lab;
use dmlab::machine::Kernel;
use dmlab_control::{CreateOptions, DeviceId, LoadOptions, Query};
use dmlab_formats::bitmap::BITMAP;
use dmlab_formats::btree_node::NODE;
use dmlab_formats::index::INDEX;
use dmlab_formats::thin::SUPERBLOCK;
use dmlab_formats::{BLOCK_SIZE, Block, Validator};
use dmlab_units::{DmName, MetaBlock, Sector, Sectors};
use std::sync::OnceLock;

const BLKDISCARD: u32 = 0x1277;
/// Blocks of the metadata device.
const BLOCKS: u64 = 128;
/// Edits taken from one input at most.
const EDITS_MAX: usize = 6;
/// Operations taken from one input at most.
const OPERATIONS_MAX: usize = 24;
const POOL: &str = "0 65536 thin-pool /dev/ram0 /dev/ram1 128 4 1 error_if_no_space";

fn create(lab: &Lab, name: &str, table: &str) -> bool {
    let name = DmName::new(name).expect("a valid name");
    let table = table.parse().expect("a valid table");
    lab.dm().create_with_table(&name, &CreateOptions::default(), &table, LoadOptions::default()).is_ok()
}

fn id(name: &str) -> DeviceId {
    DeviceId::from(&DmName::new(name).expect("a valid name"))
}

fn message(lab: &Lab, text: &str) {
    let _ = lab.dm().message(&id("pool"), Sector(0), text);
}

fn write(lab: &Lab, name: &str, block: u64, sectors: u64) {
    let path = format!("/dev/mapper/{name}");
    let _ = lab.write(&path, Sector(block * 128), &vec![1; sectors as usize * 512]);
    if let Ok(file) = lab.open(&path) {
        let _ = file.sync();
    }
}

fn discard(lab: &Lab, name: &str, block: u64, count: u64) {
    let Ok(file) = lab.open(&format!("/dev/mapper/{name}")) else { return };
    let mut range = [(block << 16).to_ne_bytes(), (count << 16).to_ne_bytes()].concat();
    let _ = file.ioctl(&Kernel(lab.machine().registry()), BLKDISCARD, 0, &mut range);
}

fn thin(lab: &Lab, id: u64) -> bool {
    create(lab, &format!("t{id}"), &format!("0 1048576 thin /dev/mapper/pool {id}"))
}

/// Metadata with all kinds of block: trees of two levels, shared ones, counts that overflow, a metadata snapshot.
fn image() -> &'static Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let lab = Lab::new(1);
        lab.write("/dev/ram0", Sector(0), &[0; BLOCK_SIZE]).expect("a RAM disk takes writes");
        let table = format!("0 {} linear /dev/ram0 0", BLOCKS * 8);
        assert!(create(&lab, "meta", &table), "no metadata device");
        assert!(create(&lab, "pool", &POOL.replace("/dev/ram0", "/dev/mapper/meta")), "no pool");
        message(&lab, "create_thin 0");
        assert!(thin(&lab, 0), "no thin device");
        for i in 0..270 {
            write(&lab, "t0", i * 181 % 512, 128);
        }
        for snapshot in 1..5 {
            message(&lab, &format!("create_snap {snapshot} 0"));
            write(&lab, "t0", snapshot * 7, 8);
        }
        message(&lab, "reserve_metadata_snap");
        write(&lab, "t0", 3, 8);
        let _ = lab.dm().remove(&id("t0"), false);
        let _ = lab.dm().remove(&id("pool"), false);
        lab.read("/dev/ram0", Sector(0), Sectors(BLOCKS * 8)).expect("a RAM disk can be read")
    })
}

fn kind_of(number: u64, block: &Block) -> &'static Validator {
    let kinds = [&SUPERBLOCK, &INDEX, &BITMAP, &NODE];
    kinds.into_iter().find(|&kind| kind.check(MetaBlock(number), block).is_ok()).unwrap_or(&NODE)
}

/// Blocks of the image that are in use or once were, so that edits hit something.
fn interesting() -> &'static Vec<u64> {
    static LIST: OnceLock<Vec<u64>> = OnceLock::new();
    LIST.get_or_init(|| {
        let used = |number: &u64| {
            let at = *number as usize * BLOCK_SIZE;
            image()[at..at + BLOCK_SIZE].iter().any(|&byte| byte != 0)
        };
        (0..BLOCKS).filter(used).collect()
    })
}

/// Takes numbers from the front of some bytes; zeros behind their end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}

/// Takes `bytes` for edits of valid metadata, whose checksums are then made right again, and for what is done with
/// the pool on it.
pub(crate) fn metadata(bytes: &[u8]) {
    let mut input = Reader(bytes);
    let mut disk = image().clone();
    for _ in 0..=(usize::from(input.byte()) % EDITS_MAX) {
        let blocks = interesting();
        let number = blocks[usize::from(input.byte()) % blocks.len()];
        let (offset, len) = (usize::from(input.word()), usize::from(input.byte()) % 48);
        let at = number as usize * BLOCK_SIZE;
        let block: &mut Block =
            (&mut disk[at..at + BLOCK_SIZE]).try_into().expect("a slice of a block's length");
        let kind = kind_of(number, block);
        if len == 0 {
            // Another block's bytes.
            let other = blocks[offset % blocks.len()] as usize * BLOCK_SIZE;
            block.copy_from_slice(&image()[other..other + BLOCK_SIZE]);
        }
        for i in 0..len {
            // Mostly where headers and first entries are.
            let place = if offset & 0x8000 != 0 { 4 + (offset + i) % 60 } else { 4 + (offset + i) % 4092 };
            block[place] = input.byte();
        }
        kind.seal(MetaBlock(number), block);
    }
    let lab = Lab::new(1);
    lab.write("/dev/ram0", Sector(0), &disk).expect("a RAM disk takes writes");
    let table = format!("0 {} linear /dev/ram0 0", BLOCKS * 8);
    assert!(create(&lab, "meta", &table), "no metadata device");
    if !create(&lab, "pool", &POOL.replace("/dev/ram0", "/dev/mapper/meta")) {
        return;
    }
    operate(&lab, &mut input);
    lab.dm().remove_all(false).expect("remove_all always succeeds");
    assert_eq!(lab.dm().list().expect("a sound machine lists its devices"), [], "devices are left behind");
}

fn operate(lab: &Lab, input: &mut Reader<'_>) {
    let names = ["t0", "t1", "t2", "t9"];
    for device in [0, 1, 9] {
        thin(lab, device);
    }
    for _ in 0..OPERATIONS_MAX {
        let (what, block) = (input.byte(), u64::from(input.word()) % 600);
        let name = names[usize::from(what >> 4) % names.len()];
        match what % 12 {
            0 | 1 => write(lab, name, block, 128),
            2 => write(lab, name, block, 8),
            3 => {
                let _ = lab.read(&format!("/dev/mapper/{name}"), Sector(block * 128), Sectors(8));
            }
            4 => discard(lab, name, block, 1 + block % 300),
            5 => message(lab, &format!("create_snap 9 {}", block % 5)),
            6 => message(lab, &format!("create_thin {block}")),
            7 => {
                let _ = lab.dm().remove(&id(name), false);
                message(lab, &format!("delete {}", &name[1..]));
            }
            8 => message(lab, "release_metadata_snap"),
            9 => message(lab, "reserve_metadata_snap"),
            10 => {
                thin(lab, block % 5);
            }
            _ => {
                let _ = lab.dm().status(&id("pool"), Query::default());
                let _ = lab.dm().status(&id(name), Query::default());
            }
        }
        if input.0.is_empty() {
            break;
        }
    }
}

/// Takes each line of `bytes` for a message to a pool.
pub(crate) fn messages(bytes: &[u8]) {
    let lab = Lab::new(1);
    assert!(create(&lab, "pool", POOL), "no pool");
    for line in bytes.split(|&byte| byte == b'\n').take(OPERATIONS_MAX) {
        message(&lab, &String::from_utf8_lossy(line).replace('\0', " "));
    }
    lab.dm().status(&id("pool"), Query::default()).expect("a pool has a status");
    lab.dm().remove(&id("pool"), false).expect("nobody has the pool open");
}

/// Metadata with a mapping that a lookup finds and a removal does not: a discard once looked for it for ever.
const OUT_OF_ORDER: &[u8] = &[
    1, 39, 39, 0, 57, 1, 0, 0, 8, 5, 0, 0, 0, 0, 0, 0, 0, 0, 37, 74, 111, 148, 185, 222, 8, 45, 82, 119, 127,
    164, 201, 238, 24, 61, 98, 135, 172, 209, 246, 32, 69, 106, 143, 180, 217, 3, 40, 77, 114, 151, 188, 225,
    11, 48, 85, 122, 159, 196, 233, 19, 56, 93, 130, 167, 204, 241, 27, 64, 101, 138, 175, 212, 249, 35, 72,
    109, 146, 183, 220, 6, 43, 80, 117,
];

/// No edit that matters, some of each kind, and what was found before.
pub(crate) fn metadata_samples() -> Vec<Vec<u8>> {
    let operations: Vec<u8> = (0..72u32).map(|i| (i * 37 % 251) as u8).collect();
    let sample = |edits: &[u8]| [edits, &operations[..]].concat();
    let mut samples = vec![sample(&[0, 200, 0, 0x0f, 1, 0])];
    for block in 0..40 {
        samples.push(sample(&[0, block, 12 + block, 0x80, 4, 1, 0, 0, 0]));
        samples.push(sample(&[1, block, block, 0, 0, 255 - block, 28, 0, 8, 5, 0, 0, 0, 0, 0, 0, 0]));
    }
    samples.push(OUT_OF_ORDER.to_vec());
    samples
}

/// Every message, right and wrong.
pub(crate) fn message_samples() -> Vec<Vec<u8>> {
    let lines = "create_thin 0\ncreate_thin 0\ncreate_snap 1 0\ndelete 0\nset_transaction_id 0 5\nset_transaction_id 1 2\n\
                 reserve_metadata_snap\nrelease_metadata_snap\ncreate_thin 16777216\ncreate_thin -1\ndelete\nfrob 1 2 3";
    vec![lines.as_bytes().to_vec(), b"Create_Thin +7\ncreate_snap 7 7\ndelete 18446744073709551616".to_vec()]
}
