//! What the rules do to bios.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_block::{Bio, BlkStatus, BlockDevice, End, EndIo, FrameData, Interceptor, Offered, Op, submit};
use dmlab_units::{Sector, Sectors};

use crate::action::bits_of;
use crate::injector::Armed;
use crate::timing::Event;
use crate::{Action, Injector, Place, RuleId, Struck};

/// A bio that a rule keeps.
pub(crate) struct HeldBio {
    key: u64,
    dev: Arc<BlockDevice>,
    bio: Bio<'static>,
}

impl Armed {
    /// Ends with an error what the rule keeps.
    pub(crate) fn end_held(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        for held in held {
            held.bio.end(BlkStatus::IoErr);
        }
    }
}

/// Flips a bit of what was read.
#[derive(Default)]
pub(crate) struct Flipper;

impl EndIo for Flipper {
    fn end_io(&self, bio: &mut Bio<'_>, [bit, ..]: FrameData, status: BlkStatus) -> End {
        if status.is_ok()
            && let Some(bytes) = bio.gather()
        {
            flip(bytes, bit);
        }
        End::Done(status)
    }
}

fn flip(bytes: &mut [u8], bit: u64) {
    if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| bytes.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
}

/// Fills in what an action leaves open.
fn settle(action: Action, draw: u64, bio: &Bio<'_>, capacity: Sectors) -> Action {
    match action {
        Action::Torn { keep: None, then } => {
            Action::Torn { keep: Some(Sectors(1 + draw % (bio.len().0 - 1).max(1))), then }
        }
        Action::Flip { bit: None } => Action::Flip { bit: Some(draw % bits_of(bio.len()).max(1)) },
        Action::Misdirect { to } => {
            let last = capacity.0.saturating_sub(bio.len().0);
            let to = match to {
                Some(to) => to.0.min(last),
                None => {
                    let any = draw % (last + 1);
                    // Another place, if there is one.
                    if any == bio.sector.0 { (any + bio.len().0) % (last + 1) } else { any }
                }
            };
            Action::Misdirect { to: Some(Sector(to)) }
        }
        settled => settled,
    }
}

impl Interceptor for Injector {
    fn offer(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Offered {
        self.show(dev, bio, RuleId(0))
    }
}

impl Injector {
    /// Shows a bio to the rules behind rule `seen`.
    fn show(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>, seen: RuleId) -> Offered {
        let rules = self.rules();
        for armed in rules.iter().filter(|armed| armed.id > seen) {
            let Place::Bio(place) = &armed.rule.place else { continue };
            if !armed.rule.action.fits(bio) || !place.takes(dev, bio, &*self.names) {
                continue;
            }
            let Some((match_nr, draw)) = self.strikes(&rules, armed, &Event::Bio(dev, bio)) else { continue };
            let action = settle(armed.rule.action, draw, bio, dev.capacity());
            let struck = Struck::Bio {
                dev: dev.dev(),
                device: dev.name().to_owned(),
                op: bio.op,
                sector: bio.sector,
                len: bio.len(),
                tag: bio.tag,
            };
            self.note(armed, match_nr, action, struck);
            let offered = self.act(armed, action, dev, bio);
            if offered == Offered::Kept || !action.lets_on() {
                return offered;
            }
        }
        Offered::Through
    }

    fn act(&self, armed: &Arc<Armed>, action: Action, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Offered {
        match action {
            Action::Watch | Action::Kill => Offered::Through,
            Action::Fail(errno) => {
                bio.take().end(errno.into());
                Offered::Kept
            }
            Action::Drop => {
                bio.take().end_ok();
                Offered::Kept
            }
            Action::Torn { keep, then } => {
                let front = bio.split_front(keep.unwrap_or(Sectors(1)));
                let rest = std::mem::replace(bio, front);
                rest.end(then.map_or(BlkStatus::Ok, BlkStatus::from));
                Offered::Through
            }
            Action::Flip { bit } => {
                let bit = bit.unwrap_or(0);
                if bio.op == Op::Read {
                    bio.own_buffer();
                    bio.push_frame(self.flipper.clone(), [bit, 0, 0]);
                } else if let Some(bytes) = bio.bytes() {
                    let mut bytes = bytes.to_vec();
                    flip(&mut bytes, bit);
                    bio.replace_bytes(bytes.into());
                }
                Offered::Through
            }
            Action::Misdirect { to } => {
                bio.sector = to.unwrap_or(bio.sector);
                Offered::Through
            }
            Action::Delay(time) => {
                let key = self.keep(armed, dev, bio);
                let (injector, armed) = (self.this.clone(), armed.clone());
                let sleep = self.runtime.sleep(time);
                let send_on = async move {
                    sleep.await;
                    if let Some(injector) = injector.upgrade() {
                        injector.let_bio_go(&armed, key);
                    }
                };
                self.runtime.spawn("delayed bio", send_on).detach();
                Offered::Kept
            }
            Action::Hang => {
                self.keep(armed, dev, bio);
                Offered::Kept
            }
        }
    }

    fn keep(&self, armed: &Arc<Armed>, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> u64 {
        let key = self.last_held.fetch_add(1, Ordering::Relaxed);
        let held = HeldBio { key, dev: dev.clone(), bio: bio.take_owned() };
        armed.held.lock().push(held);
        if armed.is_gone.load(Ordering::Acquire) {
            // The rule was taken away meanwhile, and nothing would ever let the bio go.
            self.let_bio_go(armed, key);
        }
        key
    }

    fn let_bio_go(&self, armed: &Arc<Armed>, key: u64) {
        let held = {
            let mut all = armed.held.lock();
            let at = all.iter().position(|held| held.key == key);
            at.map(|at| all.remove(at))
        };
        if let Some(held) = held {
            self.go_on(held, armed.id);
        }
    }

    /// Lets go all bios that a rule keeps, in the order in which they came. Returns how many.
    pub(crate) fn let_bios_go(&self, armed: &Arc<Armed>) -> usize {
        let held = std::mem::take(&mut *armed.held.lock());
        let nr = held.len();
        for held in held {
            self.go_on(held, armed.id);
        }
        nr
    }

    fn go_on(&self, held: HeldBio, seen: RuleId) {
        let HeldBio { dev, mut bio, .. } = held;
        if self.show(&dev, &mut bio, seen) == Offered::Through {
            bio.mark_offered(&dev);
            bio.set_dev(&dev);
            submit(bio);
        }
    }
}
