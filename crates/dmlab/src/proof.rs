//! Proof that a test is a function of its seed.

use crate::{Fingerprint, Lab};

/// Runs `test` twice on labs of one seed, and says what both left.
///
/// ```
/// use dmlab::{Lab, twice, units::Sector};
///
/// twice(7, Lab::new, |lab| lab.write("/dev/ram0", Sector(0), &[1; 512]).unwrap());
/// ```
///
/// # Panics
/// When the two are not the same: something in the test depends on more than the seed. The panic shows the first line of
/// the logs, or the first event, in which they differ.
pub fn twice(seed: u64, boot: impl Fn(u64) -> Lab, test: impl Fn(&Lab)) -> Fingerprint {
    let run = || {
        let lab = boot(seed);
        test(&lab);
        let print = lab.fingerprint();
        (print, seen(&lab))
    };
    let (first, second) = (run(), run());
    if first.0 != second.0 {
        let differ = first.1.iter().zip(&second.1).find(|(a, b)| a != b);
        let place = match differ {
            Some((a, b)) => format!("first `{a}`, then `{b}`"),
            None if first.1.len() != second.1.len() => {
                format!("{} lines and events at first, then {}", first.1.len(), second.1.len())
            }
            None => "the bytes of the disks differ, or the time".to_owned(),
        };
        panic!("seed {seed} gives two different runs: {place}");
    }
    first.0
}

/// The log and the events, in order.
fn seen(lab: &Lab) -> Vec<String> {
    let log = lab.machine().klog().since(0);
    let log = log.iter().map(|line| format!("[{}] {}", line.time, line.text));
    let events = lab.uevents();
    log.chain(events.iter().map(|event| format!("{event:?}"))).collect()
}
