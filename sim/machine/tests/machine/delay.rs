//! `delay` on virtual time: when bios are let go, to the tick.

use crate::kit;

use std::sync::Arc;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags, HEADER_SIZE};
use dmlab_block::{Bio, BioFlags, SyncIo, submit};
use dmlab_machine::BlockDevice;
use dmlab_runtime::{Rng, Stream, TICK, Tick};
use dmlab_units::Sector;
use kit::Kit;
use parking_lot::Mutex;

fn create(kit: &Kit, table: &str) -> Arc<BlockDevice> {
    let dev = kit.create("d", table);
    kit.machine.registry().get(dev).unwrap()
}

fn sleep(kit: &Kit, span: Duration) {
    let runtime = kit.machine.runtime();
    runtime.block_on(runtime.sleep(span)).unwrap();
}

/// How long one write takes.
fn write(kit: &Kit, device: &Arc<BlockDevice>) -> Duration {
    let began = kit.machine.runtime().now();
    SyncIo::default().submit(device, Bio::write(Sector(0), &[1; 512])).unwrap();
    kit.machine.runtime().now() - began
}

#[test]
fn short_delays_end_with_their_tick_and_long_ones_with_a_timer() {
    for (delay, want) in [
        // Polled: so many whole ticks.
        (1, 4),
        (4, 4),
        (5, 8),
        (49, 52),
        // A timer: one tick late, then a multiple of 8 ticks, of 64.
        (50, 56),
        (248, 252),
        (256, 288),
        (1000, 1024),
        (2100, 2272),
    ] {
        let kit = Kit::new();
        let device = create(&kit, &format!("0 64 delay 1:0 0 {delay}"));
        assert_eq!(write(&kit, &device), Duration::from_millis(want), "{delay} ms");
    }
}

#[test]
fn a_delay_counts_from_the_tick_in_which_it_begins() {
    let kit = Kit::new();
    let device = create(&kit, "0 64 delay 1:0 0 20");
    sleep(&kit, TICK / 4 * 3);
    assert_eq!(write(&kit, &device), (TICK * 5).checked_sub(TICK / 4 * 3).unwrap());
}

#[test]
fn an_hour_passes_in_no_time() {
    let kit = Kit::new();
    let device = create(&kit, "0 64 delay 1:0 0 0 1:0 0 3600000");
    let took = write(&kit, &device);
    let hour = Duration::from_secs(3600);
    // The steps of the wheel are more than two minutes there.
    assert!(took > hour && took < hour + Duration::from_secs(132), "{took:?}");
    // Reads have no delay.
    let began = kit.machine.runtime().now();
    SyncIo::default().read(&device, Sector(0), &mut [0; 512], |bio| bio).unwrap();
    assert_eq!(kit.machine.runtime().now(), began);
}

#[test]
fn a_write_with_a_flush_waits_for_both() {
    let kit = Kit::new();
    kit.create("log", "0 64 log-writes 1:0 1:1");
    let device = create(&kit, "0 64 delay 254:0 0 0 254:0 0 8 254:0 0 20");
    let began = kit.machine.runtime().now();
    let bio = Bio::write(Sector(0), &[1; 512]).with_flags(BioFlags::PREFLUSH);
    SyncIo::default().submit(&device, bio).unwrap();
    assert_eq!(kit.machine.runtime().now() - began, Duration::from_millis(28));
}

#[test]
fn a_suspend_lets_go_in_order_and_until_the_resume_nothing_waits() {
    let kit = Kit::new();
    let device = create(&kit, "0 64 delay 1:0 0 60000 1:0 0 30000");
    let ends = Arc::new(Mutex::new(Vec::new()));
    let start = |name: &'static str, bio: Bio<'static>| {
        let ends = ends.clone();
        submit(bio.to(&device).on_end(move |status, _| {
            assert!(status.is_ok());
            ends.lock().push(name);
        }));
    };
    start("read", Bio::read_owned(Sector(0), dmlab_units::Sectors(1)));
    start("write", Bio::write_owned(Sector(1), vec![1; 512].into()));
    start("other read", Bio::read_owned(Sector(2), dmlab_units::Sectors(1)));
    assert_eq!(kit.status("d", DmFlags::empty()), "0 64 delay 2 1 0");
    kit.ask(Command::DevSuspend, "d", DmFlags::SUSPEND).unwrap();
    assert_eq!(*ends.lock(), ["read", "write", "other read"]);
    assert_eq!(kit.status("d", DmFlags::empty()), "0 64 delay 0 0 0");
    // What comes while it is suspended is delayed like all else when it runs again.
    start("late", Bio::write_owned(Sector(3), vec![1; 512].into()));
    kit.resume("d").unwrap();
    kit.machine.runtime().run_until_idle();
    assert_eq!(ends.lock().len(), 3);
    // Thirty seconds, and up to two more: the step of such a timer.
    sleep(&kit, Duration::from_secs(33));
    assert_eq!(ends.lock().last(), Some(&"late"));
}

#[test]
fn a_machine_that_ends_ends_what_is_held() {
    let kit = Kit::new();
    let device = create(&kit, "0 64 delay 1:0 0 0 1:0 0 4294967295");
    let ended = Arc::new(Mutex::new(None));
    let seen = ended.clone();
    let bio = Bio::write_owned(Sector(0), vec![1; 512].into()).to(&device);
    submit(bio.on_end(move |status, _| *seen.lock() = Some(status.is_ok())));
    drop((kit, device));
    assert_eq!(*ended.lock(), Some(false));
}

/// Against a plain model: a list of times, looked at by the rules of the chapter.
#[test]
fn random_io_ends_when_the_rules_say() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed, Stream::Workload);
        let kit = Kit::new();
        let is_polled = seed % 2 == 0;
        let longest = if is_polled { 49 } else { 3000 };
        let delays = [(); 2].map(|()| 1 + rng.below(longest) as u32);
        let table = format!("0 64 delay 1:0 0 {} 1:0 0 {}", delays[0], delays[1]);
        let is_polled = delays.iter().all(|&delay| delay < 50);
        let device = create(&kit, &table);
        let ends: Arc<Mutex<Vec<(usize, Tick)>>> = Arc::default();
        let mut arrivals = Vec::new();
        for number in 0..30 {
            sleep(&kit, Duration::from_micros(rng.below(40_000)));
            let class = rng.below(2) as usize;
            let bio = match class {
                0 => Bio::read_owned(Sector(0), dmlab_units::Sectors(1)),
                _ => Bio::write_owned(Sector(0), vec![1; 512].into()),
            };
            arrivals.push((kit.machine.runtime().now().tick(), delays[class]));
            let (ends, runtime) = (ends.clone(), kit.machine.runtime().clone());
            let ended = move |_, _| ends.lock().push((number, runtime.now().tick()));
            submit(bio.to(&device).on_end(ended));
        }
        sleep(&kit, Duration::from_secs(10));
        assert_eq!(*ends.lock(), model(&arrivals, is_polled), "seed {seed}");
    }
}

#[test]
fn statistics_count_how_long_bios_took() {
    let kit = Kit::new();
    let device = create(&kit, "0 64 delay 1:0 0 100");
    let message = |text: &str| {
        let mut request = kit.named("d", DmFlags::empty());
        request.set_data_start(HEADER_SIZE as u32);
        let payload = [&[0; 8], text.as_bytes(), &[0]].concat();
        let answer = kit.send(Command::TargetMsg, request, &payload).unwrap();
        let text: Vec<u8> = answer[HEADER_SIZE..].iter().copied().take_while(|byte| *byte != 0).collect();
        String::from_utf8(text).unwrap()
    };
    assert_eq!(message("@stats_create - /1"), "0");
    let took = write(&kit, &device).as_millis();
    assert!(took >= 100);
    assert_eq!(message("@stats_print 0"), format!("0+64 0 0 0 0 1 0 1 {took} 0 {took} {took} 0 {took}\n"));
}

fn model(arrivals: &[(Tick, u32)], is_polled: bool) -> Vec<(usize, Tick)> {
    let mut held: Vec<(usize, Tick)> = Vec::new();
    let mut alarm: Option<(Tick, Tick)> = None;
    let mut ends = Vec::new();
    let fires = |now: Tick, expires: Tick| if is_polled { expires } else { now.timer_fires(expires) };
    let mut let_go = |held: &mut Vec<(usize, Tick)>,
                      alarm: &mut Option<(Tick, Tick)>,
                      until: Option<Tick>| {
        while let Some((_, at)) = *alarm
            && until.is_none_or(|until| at <= until)
        {
            ends.extend(held.iter().filter(|(_, expires)| *expires <= at).map(|(number, _)| (*number, at)));
            held.retain(|(_, expires)| *expires > at);
            *alarm = held.iter().map(|(_, e)| *e).min().map(|first| (first, fires(at, first)));
        }
    };
    for (number, (now, delay)) in arrivals.iter().enumerate() {
        let_go(&mut held, &mut alarm, Some(*now));
        let expires = *now + dmlab_runtime::Ticks::from_millis(*delay);
        held.push((number, expires));
        if alarm.is_none_or(|(first, _)| expires < first) {
            alarm = Some((expires, fires(*now, expires)));
        }
    }
    let_go(&mut held, &mut alarm, None);
    ends
}
