use std::fs::File;

use dmlab_units::{Sector, Sectors};
use proptest::prelude::*;

use super::*;

/// A nameless file in memory or in the temporary folder.
fn scratch(len: u64) -> File {
    let fd = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::empty()).unwrap();
    let file = File::from(fd);
    file.set_len(len).unwrap();
    file
}

#[test]
fn a_file_disk_keeps_whole_sectors() {
    let disk = FileDisk::new(scratch(10_000), false).unwrap();
    assert_eq!(disk.capacity(), Sectors(19));
    disk.write(512, &[7; 1024]).unwrap();
    disk.zero(Sector(2), Sectors(1)).unwrap();
    disk.flush().unwrap();
    let mut buf = [1; 2048];
    disk.read(0, &mut buf).unwrap();
    assert_eq!((buf[511], buf[512], buf[1023], buf[1024], buf[2047]), (0, 7, 7, 0, 0));
}

#[test]
fn what_a_file_lost_reads_as_zeros() {
    let file = scratch(8192);
    let disk = FileDisk::new(file.try_clone().unwrap(), false).unwrap();
    disk.write(0, &[7; 8192]).unwrap();
    file.set_len(4096).unwrap();
    let mut buf = [1; 8192];
    disk.read(0, &mut buf).unwrap();
    assert_eq!((buf[4095], buf[4096], buf[8191]), (7, 0, 0));
}

#[test]
fn a_mapped_disk_crosses_pieces_and_ends() {
    let file = scratch((32 << 20) + 512);
    let disk = MmapDisk::new(&file).unwrap();
    disk.write((16 << 20) - 2, &[1, 2, 3, 4]).unwrap();
    disk.flush().unwrap();
    let mut buf = [0; 4];
    disk.read((16 << 20) - 2, &mut buf).unwrap();
    assert_eq!(buf, [1, 2, 3, 4]);
    assert_eq!(disk.read((32 << 20) + 510, &mut buf), Err(dmlab_units::Errno::EIO));
    let again = FileDisk::new(file, true).unwrap();
    again.read((16 << 20) - 2, &mut buf).unwrap();
    assert_eq!(buf, [1, 2, 3, 4]);
}

#[test]
fn discard_keeps_what_fills_no_page() {
    let disk = RamDisk::new(Sectors(64), WriteCache::WriteThrough);
    disk.memory().write(0, &[1; 32768]);
    disk.discard(Sector(7), Sectors(10));
    let mut buf = [0; 32768];
    disk.memory().read(0, &mut buf);
    let zero: Vec<_> = (0..64).filter(|sector| buf[sector * 512] == 0).collect();
    assert_eq!(zero, (8..16).collect::<Vec<_>>());
    disk.discard(Sector(17), Sectors(14));
    disk.memory().read(0, &mut buf);
    assert_eq!(buf.iter().filter(|&&b| b == 0).count(), 4096);
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u8, usize),
    Zero(u64, u64),
    Discard(u64, u64),
    Fork,
    /// Work on another fork from here on.
    Switch(usize),
}

const SIZE: u64 = 1 << 20;

fn any_step() -> impl Strategy<Value = Step> {
    let sector = 0..SIZE / 512;
    prop_oneof![
        4 => (0..SIZE - 200_000, any::<u8>(), 0..200_000usize).prop_map(|(at, b, len)| Step::Write(at, b, len)),
        2 => (0..SIZE, 0..SIZE / 2).prop_map(|(at, len)| Step::Zero(at, len)),
        2 => (sector, 0..200u64).prop_map(|(at, len)| Step::Discard(at, len)),
        1 => Just(Step::Fork),
        2 => any::<usize>().prop_map(Step::Switch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn ram_disks_and_their_forks_are_byte_arrays(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut disks = vec![(RamDisk::new(Sectors(SIZE / 512), WriteCache::Volatile), vec![0u8; SIZE as usize])];
        let mut current = 0;
        for step in steps {
            let (disk, model) = &mut disks[current];
            match step {
                Step::Write(at, byte, len) => {
                    disk.memory().write(at, &vec![byte; len]);
                    model[at as usize..at as usize + len].fill(byte);
                }
                Step::Zero(at, len) => {
                    disk.memory().zero(at, len);
                    model[at as usize..(at + len).min(SIZE) as usize].fill(0);
                }
                Step::Discard(at, len) => {
                    let len = len.min(SIZE / 512 - at);
                    disk.discard(Sector(at), Sectors(len));
                    let (from, to) = ((at * 512).div_ceil(4096) * 4096, (at + len) * 512 / 4096 * 4096);
                    if from < to {
                        model[from as usize..to as usize].fill(0);
                    }
                }
                Step::Fork => {
                    let fork = (disk.fork(), model.clone());
                    disks.push(fork);
                }
                Step::Switch(which) => current = which % disks.len(),
            }
        }
        for (disk, model) in &disks {
            let mut all = vec![1; SIZE as usize];
            disk.memory().read(0, &mut all);
            prop_assert!(all == *model);
        }
    }
}
