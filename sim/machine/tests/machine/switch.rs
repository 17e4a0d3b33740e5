//! `switch` and `unstriped` against plain models.

use crate::kit;

use std::sync::Arc;

use dmlab_abi::{Command, DmFlags, HEADER_SIZE};
use dmlab_block::{Bio, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DevT, Errno, Sector};
use kit::Kit;

fn message(kit: &Kit, text: &str) -> Result<(), Errno> {
    let payload = [&0u64.to_le_bytes()[..], text.as_bytes(), b"\0"].concat();
    let mut header = kit.named("s", DmFlags::empty());
    header.set_data_size((HEADER_SIZE + payload.len()) as u32);
    kit.send(Command::TargetMsg, header, &payload).map(|_| ())
}

fn disk(kit: &Kit, number: u32) -> Arc<BlockDevice> {
    kit.machine.registry().get(DevT::new(1, number)).unwrap()
}

fn sector(device: &Arc<BlockDevice>, at: u64) -> [u8; 512] {
    let mut buf = [0; 512];
    SyncIo::default().read(device, Sector(at), &mut buf, |bio| bio).unwrap();
    buf
}

const PATHS: u64 = 5;
const REGIONS: u64 = 40;
const REGION: u64 = 6;

/// A random word, what it does to the plain map, and where it leaves the region; `None`: it is refused.
fn word(rng: &mut Rng, map: &mut [u64], region: u64) -> (String, Option<u64>) {
    match rng.below(4) {
        0 => {
            let (cycle, times) = (rng.below(5), rng.below(12));
            let text = format!("{}{cycle:x},{times:x}", if rng.below(2) == 0 { 'R' } else { 'r' });
            if cycle == 0 || cycle - 1 > region || region + times >= map.len() as u64 {
                return (text, None);
            }
            for at in region + 1..=region + times {
                map[at as usize] = map[(at - cycle) as usize];
            }
            (text, Some(region + times))
        }
        kind => {
            let named = (kind == 1).then(|| rng.below(REGIONS + 2));
            let path = rng.below(PATHS + 1);
            let text = named.map_or(format!(":{path:x}"), |region| format!("{region:X}:{path:x}"));
            let region = named.unwrap_or(region + 1);
            if region >= map.len() as u64 || path >= PATHS {
                return (text, None);
            }
            map[region as usize] = path;
            (text, Some(region))
        }
    }
}

#[test]
fn random_messages_do_what_a_plain_list_says() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed, Stream::Workload);
        let kit = Kit::new();
        let paths: String = (0..PATHS).map(|path| format!(" 1:{path} {}", path * 8)).collect();
        // The last region is short.
        let len = REGIONS * REGION - 2;
        let dev = kit.create("s", &format!("0 {len} switch {PATHS} {REGION} 0{paths}"));
        let device = kit.machine.registry().get(dev).unwrap();
        let mut map: Vec<u64> = (0..REGIONS).map(|region| region % PATHS).collect();
        for turn in 0..12_u8 {
            let (mut text, mut region, mut is_good) = ("set_region_mappings".to_owned(), 0, true);
            for _ in 0..rng.below(8) {
                let (next, left) = if is_good { word(&mut rng, &mut map, region) } else { break };
                text = format!("{text} {next}");
                is_good = left.is_some();
                region = left.unwrap_or(region);
            }
            assert_eq!(message(&kit, &text).is_ok(), is_good, "seed {seed}: {text}");
            // Each sector is where the map says, and reading finds it there.
            for at in 0..len {
                SyncIo::default().submit(&device, Bio::write(Sector(at), &[turn + 1; 512])).unwrap();
                let path = map[(at / REGION) as usize];
                assert_eq!(
                    sector(&disk(&kit, path as u32), path * 8 + at)[0],
                    turn + 1,
                    "seed {seed}: {text}"
                );
            }
        }
    }
}

#[test]
fn stripes_taken_apart_are_the_disks_that_they_were_made_of() {
    for (stripes, chunk) in [(2, 8), (3, 5), (4, 1)] {
        let kit = Kit::new();
        let legs: String = (0..stripes).map(|i| format!(" 1:{i} 16")).collect();
        let len = stripes * chunk * 6;
        let striped = kit.create("striped", &format!("0 {len} striped {stripes} {chunk}{legs}"));
        let device = kit.machine.registry().get(striped).unwrap();
        for at in 0..len {
            SyncIo::default().submit(&device, Bio::write(Sector(at), &[at as u8 + 1; 512])).unwrap();
        }
        for stripe in 0..stripes {
            let table = format!("0 {} unstriped {stripes} {chunk} {stripe} {striped} 0", len / stripes);
            let one = kit.create(&format!("u{stripe}"), &table);
            let one = kit.machine.registry().get(one).unwrap();
            for at in 0..len / stripes {
                assert_eq!(sector(&one, at), sector(&disk(&kit, stripe as u32), 16 + at));
            }
        }
    }
}
