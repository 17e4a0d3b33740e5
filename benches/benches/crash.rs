//! Crash states a second: each built from a recording, opened in a machine of its own and checked, on one core.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use dmlab::crash::{Crash, CrashRun, Outcome, Report, ThinCheck};
use dmlab::{Lab, units::Bytes, units::Sector, units::Sectors};
use dmlab_benches::{ThreadTime, criterion};

/// A pool of 16 MiB in blocks of 64 KiB.
const DATA: Bytes = Bytes::mib(16);
const METADATA: Bytes = Bytes::mib(1);
const BLOCK: u64 = 128;

fn open(lab: &Lab) -> Outcome {
    let sectors = DATA.0 / 512;
    lab.create("pool", format!("0 {sectors} thin-pool /dev/ram0 /dev/ram1 {BLOCK} 0"))?;
    Ok(())
}

/// Two devices, one of them with a snapshot, written to all over and synced now and then.
fn record() -> CrashRun {
    let sizes = [METADATA, DATA].map(|bytes| Sectors(bytes.0 / 512));
    let run = Crash::record(1, &sizes, |lab| {
        open(lab)?;
        lab.begin();
        for id in 0..2 {
            lab.message("pool", &format!("create_thin {id}"))?;
            lab.create(&format!("thin{id}"), format!("0 {} thin /dev/mapper/pool {id}", DATA.0 / 512))?;
        }
        for number in 0..100u64 {
            let path = format!("/dev/mapper/thin{}", number % 2);
            lab.write(&path, Sector(number * 37 % 64 * BLOCK), &[number as u8; 4096])?;
            if number % 8 == 7 {
                lab.open(&path)?.sync()?;
            }
            if number == 50 {
                lab.suspend("thin0")?;
                lab.message("pool", "create_snap 2 0")?;
                lab.resume("thin0")?;
            }
        }
        Ok(())
    });
    run.expect("a sound pool")
}

fn explore(run: &CrashRun, opens: bool) -> Report {
    let explore = run.explore().limit(16).judge(ThinCheck::on(0));
    if opens { explore.check(|lab, _| open(lab)) } else { explore.run() }
}

fn benches(c: &mut Criterion<ThreadTime>) {
    let run = record();
    let core = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let mut group = c.benchmark_group("crash");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, opens) in [("pool of 16 MiB, checked", false), ("pool of 16 MiB, opened and checked", true)] {
        let report = explore(&run, opens);
        report.assert_clean();
        group.throughput(Throughput::Elements(report.states_examined));
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                core.install(|| ThreadTime::of(|| (0..rounds).for_each(|_| drop(explore(&run, opens)))))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = crash_benches;
    config = criterion();
    targets = benches
}
criterion_main!(crash_benches);
