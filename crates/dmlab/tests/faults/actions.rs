//! What a rule does to a bio, on a bare disk and through a stack.

use std::time::Duration;

use dmlab::machine::faults::{Action, Struck};
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Lab, OrErrno};

/// A linear device over `/dev/ram0` from sector 100 on, striped over two disks, and a bare disk.
fn lab() -> Lab {
    let lab = Lab::new(1);
    lab.create("low", "0 64 linear /dev/ram0 100").unwrap();
    lab.create("wide", "0 64 striped 2 8 /dev/ram1 0 /dev/ram2 0").unwrap();
    lab.create("high", "0 64 linear /dev/mapper/low 0\n64 64 linear /dev/mapper/wide 0").unwrap();
    lab
}

fn first_bytes(lab: &Lab, path: &str, sectors: u64) -> Vec<u8> {
    let read = lab.read(path, Sector(0), Sectors(sectors)).unwrap();
    read.chunks(512).map(|sector| sector[0]).collect()
}

#[test]
fn an_error_is_the_callers_and_no_byte_moves() {
    for errno in
        [Errno::EIO, Errno::ENOSPC, Errno::ENOLINK, Errno::EREMOTEIO, Errno::ETIMEDOUT, Errno::ENODATA]
    {
        for device in ["/dev/ram0", "/dev/mapper/low", "/dev/mapper/high", "1:0"] {
            let lab = lab();
            let rule = lab.faults().on(device).writes().fail(errno).add().unwrap();
            assert_eq!(
                lab.write("/dev/mapper/high", Sector(0), &[7; 512]).or_errno(),
                Err(errno),
                "{device}"
            );
            assert_eq!(first_bytes(&lab, "/dev/mapper/high", 1), [0]);
            assert_eq!(lab.faults().hits_of(rule), 1);
        }
    }
}

#[test]
fn the_kernel_log_stays_the_kernels() {
    let lab = lab();
    let log = lab.klog();
    lab.faults().on("/dev/ram0").fail(Errno::EIO).add().unwrap();
    assert_eq!(lab.read("/dev/ram0", Sector(0), Sectors(1)).or_errno(), Err(Errno::EIO));
    assert_eq!(lab.klog(), log);
    let hit = &lab.faults().hits()[0];
    assert_eq!(hit.to_string(), "[    0.000000] #1: R 0+1 of ram0: failed with EIO");
}

#[test]
fn a_lost_write_says_that_it_went_well() {
    let lab = lab();
    lab.faults().on("low").writes().sectors(4..8).lose().add().unwrap();
    lab.write("/dev/mapper/high", Sector(0), &[7; 512 * 4]).unwrap();
    lab.write("/dev/mapper/high", Sector(7), &[7; 512 * 4]).unwrap();
    assert_eq!(first_bytes(&lab, "/dev/mapper/low", 10), [7, 7, 7, 7, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn flushes_and_discards_are_lost_or_fail() {
    let lab = Lab::builder(1).disk(dmlab::units::Bytes::mib(1)).boot().unwrap();
    let lost = lab.faults().on("/dev/vda").flushes().lose().once().add().unwrap();
    lab.faults().on("/dev/vda").flushes().fail(Errno::EIO).once().add().unwrap();
    lab.faults().on("/dev/vda").discards().fail(Errno::EREMOTEIO).add().unwrap();
    assert_eq!([(); 3].map(|()| lab.flush("/dev/vda").or_errno()), [Ok(()), Err(Errno::EIO), Ok(())]);
    assert_eq!(lab.faults().hits_of(lost), 1);
    assert_eq!(lab.discard("/dev/vda", Sector(0), Sectors(8)).or_errno(), Err(Errno::EREMOTEIO));
    // A disk without a cache has nothing to flush, and can fail to say so.
    lab.faults().on("/dev/ram0").flushes().fail(Errno::EIO).add().unwrap();
    assert_eq!(lab.flush("/dev/ram0").or_errno(), Err(Errno::EIO));
}

#[test]
fn a_write_tears_at_a_sector() {
    let lab = lab();
    lab.faults().on("/dev/ram0").torn(3).once().add().unwrap();
    lab.write("/dev/mapper/high", Sector(0), &[7; 512 * 8]).unwrap();
    assert_eq!(first_bytes(&lab, "/dev/mapper/low", 8), [7, 7, 7, 0, 0, 0, 0, 0]);
    lab.faults().on("low").torn(1).then_fail(Errno::EIO).once().add().unwrap();
    assert_eq!(lab.write("/dev/mapper/high", Sector(0), &[9; 512 * 8]).or_errno(), Err(Errno::EIO));
    assert_eq!(first_bytes(&lab, "/dev/mapper/low", 8), [9, 7, 7, 0, 0, 0, 0, 0]);
    // What is no longer than what is kept cannot be torn.
    let tear = lab.faults().on("low").torn(8).add().unwrap();
    lab.write("/dev/mapper/high", Sector(0), &[5; 512 * 8]).unwrap();
    assert_eq!(lab.faults().hits_of(tear), 0);
}

#[test]
fn a_tear_somewhere_is_drawn_from_the_seed() {
    let tear = |seed: u64| {
        let lab = Lab::new(seed);
        lab.faults().on("/dev/ram0").torn_somewhere().add().unwrap();
        for sector in (0..64).step_by(8) {
            lab.write("/dev/ram0", Sector(sector), &[7; 512 * 8]).unwrap();
        }
        let kept: Vec<usize> = first_bytes(&lab, "/dev/ram0", 64)
            .chunks(8)
            .map(|write| write.iter().filter(|&&b| b == 7).count())
            .collect();
        assert!(kept.iter().all(|nr| (1..8).contains(nr)), "{kept:?}");
        let told = lab
            .faults()
            .hits()
            .iter()
            .map(|hit| match hit.action {
                Action::Torn { keep: Some(keep), .. } => keep.0 as usize,
                _ => 0,
            })
            .collect::<Vec<_>>();
        assert_eq!(kept, told);
        kept
    };
    assert_eq!(tear(1), tear(1));
    assert_ne!(tear(1), tear(2));
}

#[test]
fn a_bit_flips_in_what_is_read_and_not_on_the_disk() {
    let lab = lab();
    let bytes: Vec<u8> = (0..512 * 32).map(|i| (i / 512) as u8).collect();
    lab.write("/dev/mapper/high", Sector(64), &bytes).unwrap();
    // Byte 512 * 10 of the read, whose pieces come from two disks.
    lab.faults().on("high").reads().flip_bit(512 * 8 * 10 + 2).once().add().unwrap();
    let mut wanted = bytes.clone();
    let read = || lab.read("/dev/mapper/high", Sector(64), Sectors(32)).unwrap();
    wanted[512 * 10] ^= 4;
    assert_eq!(read(), wanted);
    assert_eq!(read(), bytes);
}

#[test]
fn a_bit_flips_in_what_is_written_and_not_in_the_callers_memory() {
    let lab = lab();
    lab.faults().on("/dev/ram0").writes().flip_bit(0).add().unwrap();
    let bytes = [6; 512];
    lab.write("/dev/mapper/low", Sector(0), &bytes).unwrap();
    assert_eq!(bytes, [6; 512]);
    assert_eq!(lab.read("/dev/ram0", Sector(100), Sectors(1)).unwrap()[..2], [7, 6]);
    lab.faults().clear();
    lab.faults().anywhere().writes().flip_some_bit().add().unwrap();
    lab.write("/dev/ram3", Sector(0), &[0; 512]).unwrap();
    let ones: u32 =
        lab.read("/dev/ram3", Sector(0), Sectors(1)).unwrap().iter().map(|b| b.count_ones()).sum();
    assert_eq!(ones, 1);
}

#[test]
fn bios_go_astray_and_stay_on_the_device() {
    let lab = lab();
    lab.faults().on("low").writes().misdirect(40).once().add().unwrap();
    lab.write("/dev/mapper/high", Sector(0), &[7; 1024]).unwrap();
    assert_eq!(first_bytes(&lab, "/dev/mapper/low", 42)[38..], [0, 0, 7, 7]);
    assert_eq!(first_bytes(&lab, "/dev/mapper/low", 1), [0]);
    lab.faults().on("low").reads().misdirect(1 << 60).once().add().unwrap();
    lab.write("/dev/mapper/low", Sector(63), &[9; 512]).unwrap();
    assert_eq!(first_bytes(&lab, "/dev/mapper/low", 1), [9]);
    lab.faults().on("low").writes().misdirect_somewhere().once().add().unwrap();
    lab.write("/dev/mapper/low", Sector(0), &[5; 512]).unwrap();
    let at: Vec<_> = first_bytes(&lab, "/dev/mapper/low", 64)
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == 5)
        .map(|(at, _)| at)
        .collect();
    assert!(at.len() == 1 && at[0] != 0, "{at:?}");
}

#[test]
fn a_delay_is_of_the_machines_time() {
    let lab = lab();
    lab.faults().on("/dev/ram0").writes().delay(Duration::from_millis(250)).add().unwrap();
    let write = lab.start_write("/dev/mapper/high", Sector(0), &[7; 512]).unwrap();
    lab.advance(Duration::from_millis(249));
    assert_eq!((write.result(), lab.faults().list()[0].held), (None, 1));
    lab.advance(Duration::from_millis(1));
    assert_eq!((write.result(), lab.faults().list()[0].held), (Some(Ok(())), 0));
    let before = lab.now();
    lab.write("/dev/mapper/high", Sector(0), &[7; 512]).unwrap();
    assert_eq!(lab.now() - before, Duration::from_millis(250));
    // A caller that blocks gets its own memory filled, late.
    lab.faults().clear();
    lab.faults().on("high").reads().delay(Duration::from_secs(1)).add().unwrap();
    assert_eq!(lab.read("/dev/mapper/high", Sector(0), Sectors(1)).unwrap(), [7; 512]);
}

#[test]
fn what_hangs_goes_on_when_released() {
    let lab = lab();
    let rule = lab.faults().on("low").writes().hang().add().unwrap();
    let writes: Vec<_> =
        (0..3).map(|i| lab.start_write("/dev/mapper/high", Sector(0), &[i + 1; 512]).unwrap()).collect();
    assert_eq!(lab.write("/dev/mapper/high", Sector(1), &[9; 512]).or_errno(), Err(Errno::EDEADLK));
    lab.advance(Duration::from_secs(3600));
    assert!(writes.iter().all(|write| write.result().is_none()));
    assert_eq!(lab.faults().list()[0].held, 4);
    // In the order in which they came: the last of the three wins.
    assert_eq!(lab.faults().release(rule), 4);
    assert!(writes.iter().all(|write| write.result() == Some(Ok(()))));
    assert_eq!(first_bytes(&lab, "/dev/mapper/low", 2), [3, 9]);
    let write = lab.start_write("/dev/mapper/high", Sector(0), &[8; 512]).unwrap();
    assert!(lab.faults().remove(rule));
    assert_eq!(write.result(), Some(Ok(())));
}

#[test]
fn the_first_rule_that_hits_acts_and_a_delayed_bio_meets_those_behind() {
    let lab = lab();
    let delay = lab.faults().on("/dev/ram0").writes().delay(Duration::from_secs(1)).add().unwrap();
    let fail = lab.faults().on("/dev/ram0").writes().fail(Errno::EIO).once().add().unwrap();
    let lose = lab.faults().on("/dev/ram0").writes().lose().add().unwrap();
    let before = lab.now();
    assert_eq!(lab.write("/dev/ram0", Sector(0), &[7; 512]).or_errno(), Err(Errno::EIO));
    assert_eq!(lab.now() - before, Duration::from_secs(1));
    assert_eq!(lab.write("/dev/ram0", Sector(0), &[7; 512]).or_errno(), Ok(()));
    assert_eq!(first_bytes(&lab, "/dev/ram0", 1), [0]);
    assert_eq!([delay, fail, lose].map(|rule| lab.faults().hits_of(rule)), [2, 1, 1]);
    // The one behind the first two has not even seen the first write.
    assert_eq!(lab.faults().list()[2].counts.matches, 1);
}

#[test]
fn a_bio_is_seen_once_on_each_device_of_its_way() {
    let lab = lab();
    lab.faults().anywhere().watch().add().unwrap();
    lab.write("/dev/mapper/high", Sector(0), &[7; 512]).unwrap();
    let seen = |from: usize| -> Vec<String> {
        let hits = lab.faults().hits();
        let told = |hit: &dmlab::machine::faults::Hit| match &hit.struck {
            Struck::Bio { device, sector, len, .. } => format!("{device} {sector}+{len}"),
            _ => String::new(),
        };
        hits[from..].iter().map(told).collect()
    };
    assert_eq!(seen(0), ["dm-2 0+1", "dm-0 0+1", "ram0 100+1"]);
    // Cut at the chunks below; what is left over comes round again, and is not seen again.
    lab.write("/dev/mapper/high", Sector(60), &[7; 512 * 16]).unwrap();
    assert_eq!(seen(3), ["dm-2 60+16", "dm-0 60+4", "ram0 160+4", "dm-1 0+12", "ram1 0+8", "ram2 0+4"]);
    // One that waited for a resume has been seen, too.
    lab.suspend("high").unwrap();
    let write = lab.start_write("/dev/mapper/high", Sector(0), &[7; 512]).unwrap();
    lab.resume("high").unwrap();
    assert_eq!(write.result(), Some(Ok(())));
    assert_eq!(seen(9), ["dm-2 0+1", "dm-0 0+1", "ram0 100+1"]);
}

#[test]
fn a_bio_that_is_tried_again_is_seen_again() {
    let lab = Lab::new(1);
    lab.create("paths", "0 64 multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 /dev/ram0 1 /dev/ram1 1")
        .unwrap();
    lab.faults().on("/dev/ram0").fail(Errno::ENOLINK).add().unwrap();
    lab.faults().on("/dev/ram1").fail(Errno::ENOLINK).once().add().unwrap();
    assert_eq!(lab.write("/dev/mapper/paths", Sector(0), &[7; 512]).or_errno(), Err(Errno::EIO));
    let hits = lab.faults().hits();
    assert_eq!(hits.len(), 2, "{hits:?}");
    lab.message("paths", "reinstate_path /dev/ram1").unwrap();
    assert_eq!(lab.write("/dev/mapper/paths", Sector(0), &[7; 512]).or_errno(), Ok(()));
}
