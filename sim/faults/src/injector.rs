//! The rules of one machine, and their strikes.
//!
//! Each bio is shown to the rules in the order in which they were added. The first that hits it acts; only what watches,
//! delays or holds lets the rules behind it see the bio too, a delayed one when its time has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dmlab_block::{Interceptor, clear_interceptor, set_interceptor};
use dmlab_runtime::{Interrupt, Interrupted, Rng, Runtime, Stream, WaitQueue, interruptible};
use dmlab_units::Errno;
use parking_lot::{Mutex, RwLock};

use crate::bio_path::{Flipper, HeldBio};
use crate::hits::HitLog;
use crate::timing::Event;
use crate::{Action, Counts, EventSeen, Hit, IoctlCall, Meanings, Names, Place, Rule, RuleError, Struck};

/// Names a rule of a machine: its number in the order of adding, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(pub u64);

/// A rule with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The number of the rule.
    pub id: RuleId,
    /// The rule.
    pub rule: Rule,
    /// What it has seen and struck.
    pub counts: Counts,
    /// How many bios and ioctls it holds at the moment.
    pub held: usize,
}

/// What becomes of an ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The ioctl goes on.
    Go,
    /// The ioctl returns this error.
    Fail(Errno),
    /// The caller of the ioctl is killed.
    Kill,
}

/// A rule at work.
pub(crate) struct Armed {
    pub(crate) id: RuleId,
    pub(crate) rule: Rule,
    state: Mutex<(Counts, Rng)>,
    pub(crate) held: Mutex<Vec<HeldBio>>,
    held_ioctls: AtomicU64,
    /// How often it was told to release what it holds.
    releases: AtomicU64,
    pub(crate) is_gone: AtomicBool,
    released: WaitQueue,
}

/// The rules of one machine.
pub struct Injector {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) names: Box<dyn Names>,
    pub(crate) flipper: Arc<Flipper>,
    pub(crate) this: Weak<Injector>,
    rng: Mutex<Rng>,
    rules: RwLock<Arc<Vec<Arc<Armed>>>>,
    last_id: AtomicU64,
    wants_ioctls: AtomicBool,
    wants_uevents: AtomicBool,
    /// How many want nothing to be shown to the rules.
    pauses: AtomicU64,
    hits: Mutex<HitLog>,
    pub(crate) last_held: AtomicU64,
}

/// The rule that `text` means: by its name, or by its number with or without `#`.
fn find<'a>(rules: &'a [Arc<Armed>], text: &str) -> Option<&'a Arc<Armed>> {
    let number = text.strip_prefix('#').unwrap_or(text).parse().ok().map(RuleId);
    rules.iter().find(|armed| armed.rule.name.as_deref() == Some(text) || Some(armed.id) == number)
}

impl Injector {
    /// No rules. Whatever rules draw comes from the runtime's seed; `names` says which device has a name.
    pub fn new(runtime: &Arc<Runtime>, names: Box<dyn Names>) -> Arc<Injector> {
        Arc::new_cyclic(|this| Injector {
            rng: Mutex::new(runtime.rng(Stream::Faults)),
            runtime: runtime.clone(),
            names,
            flipper: Arc::default(),
            this: this.clone(),
            rules: RwLock::default(),
            last_id: AtomicU64::new(0),
            wants_ioctls: AtomicBool::new(false),
            wants_uevents: AtomicBool::new(false),
            pauses: AtomicU64::new(0),
            hits: Mutex::default(),
            last_held: AtomicU64::new(0),
        })
    }

    /// Adds a rule, which sees what comes by from now on.
    ///
    /// # Errors
    /// See [`RuleError`].
    pub fn add(&self, rule: Rule) -> Result<RuleId, RuleError> {
        Ok(self.add_all(vec![rule])?.start)
    }

    /// The meanings that the machine's targets give their bios.
    pub fn meanings(&self) -> &Meanings {
        self.names.meanings()
    }

    /// Adds rules that may name each other: all, or on an error none. Their numbers follow each other.
    ///
    /// # Errors
    /// See [`RuleError`].
    pub fn add_all(&self, new: Vec<Rule>) -> Result<std::ops::Range<RuleId>, RuleError> {
        let mut rules = self.rules.write();
        let mut names: Vec<&str> = rules.iter().filter_map(|armed| armed.rule.name.as_deref()).collect();
        for rule in &new {
            rule.check()?;
            if let Some(name) = &rule.name {
                if names.contains(&name.as_str()) {
                    return Err(RuleError::NameTaken(name.clone()));
                }
                names.push(name);
            }
        }
        for timing in new.iter().map(|rule| &rule.timing) {
            for other in [&timing.from_rule, &timing.until_rule].into_iter().flatten() {
                if !names.contains(&other.as_str()) {
                    return Err(RuleError::NoSuchRule(other.clone()));
                }
            }
        }
        let first = RuleId(self.last_id.load(Ordering::Relaxed) + 1);
        let mut list: Vec<Arc<Armed>> = (**rules).clone();
        for rule in new {
            list.push(Arc::new(Armed {
                id: RuleId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1),
                rule,
                // Of its own, so that what one rule draws shifts no other.
                state: Mutex::new((Counts::default(), self.rng.lock().split())),
                held: Mutex::default(),
                held_ioctls: AtomicU64::new(0),
                releases: AtomicU64::new(0),
                is_gone: AtomicBool::new(false),
                released: WaitQueue::default(),
            }));
        }
        *rules = Arc::new(list);
        self.look_or_not(&rules);
        Ok(first..RuleId(self.last_id.load(Ordering::Relaxed) + 1))
    }

    /// Shows nothing to the rules until it is dropped: what happens meanwhile is none of the machine's own doing.
    pub fn pause(&self) -> Paused<'_> {
        let rules = self.rules.write();
        self.pauses.fetch_add(1, Ordering::AcqRel);
        self.look_or_not(&rules);
        Paused(self)
    }

    /// Gives the machine of another injector, which has no rules, the same: with their numbers, what they have seen and
    /// struck, and what they will draw. What they hold stays here.
    pub fn copy_to(&self, other: &Injector) {
        let mut theirs = other.rules.write();
        let copy = |armed: &Arc<Armed>| {
            Arc::new(Armed {
                id: armed.id,
                rule: armed.rule.clone(),
                state: Mutex::new(armed.state.lock().clone()),
                held: Mutex::default(),
                held_ioctls: AtomicU64::new(0),
                releases: AtomicU64::new(0),
                is_gone: AtomicBool::new(false),
                released: WaitQueue::default(),
            })
        };
        *theirs = Arc::new(self.rules().iter().map(copy).collect());
        *other.rng.lock() = self.rng.lock().clone();
        other.last_id.store(self.last_id.load(Ordering::Relaxed), Ordering::Relaxed);
        *other.hits.lock() = self.hits.lock().clone();
        other.look_or_not(&theirs);
    }

    /// Whether a rule is for ioctls.
    pub fn wants_ioctls(&self) -> bool {
        self.wants_ioctls.load(Ordering::Relaxed)
    }

    /// Whether a rule is for events.
    pub fn wants_uevents(&self) -> bool {
        self.wants_uevents.load(Ordering::Relaxed)
    }

    /// Asks to be shown bios, ioctls and events only as long as a rule is for them.
    fn look_or_not(&self, rules: &[Arc<Armed>]) {
        let is_paused = self.pauses.load(Ordering::Acquire) > 0;
        let wants = |is: fn(&Place) -> bool| !is_paused && rules.iter().any(|armed| is(&armed.rule.place));
        self.wants_ioctls.store(wants(|place| matches!(place, Place::Ioctl(_))), Ordering::Relaxed);
        self.wants_uevents.store(wants(|place| matches!(place, Place::Uevent(_))), Ordering::Relaxed);
        let wants_bios = wants(|place| matches!(place, Place::Bio(_)));
        match self.this.upgrade() {
            Some(this) if wants_bios => set_interceptor(&self.runtime, this as Arc<dyn Interceptor>),
            _ => clear_interceptor(&self.runtime),
        }
    }

    pub(crate) fn rules(&self) -> Arc<Vec<Arc<Armed>>> {
        self.rules.read().clone()
    }

    /// The rules in the order of adding.
    pub fn list(&self) -> Vec<Listed> {
        let listed = |armed: &Arc<Armed>| Listed {
            id: armed.id,
            rule: armed.rule.clone(),
            counts: armed.state.lock().0,
            held: armed.held.lock().len() + armed.held_ioctls.load(Ordering::Relaxed) as usize,
        };
        self.rules().iter().map(listed).collect()
    }

    /// What a rule has seen and struck; `None` when it is gone.
    pub fn counts(&self, id: RuleId) -> Option<Counts> {
        self.rules().iter().find(|armed| armed.id == id).map(|armed| armed.state.lock().0)
    }

    /// The hits after number `nr`, as far as they are still kept: the last 16,384.
    pub fn hits_after(&self, nr: u64) -> Vec<Hit> {
        self.hits.lock().after(nr)
    }

    /// The number of the rule with this name, or with this number as `#N` or `N`.
    ///
    /// # Errors
    /// [`RuleError::NoSuchRule`].
    pub fn find(&self, text: &str) -> Result<RuleId, RuleError> {
        let rules = self.rules();
        find(&rules, text).map(|armed| armed.id).ok_or_else(|| RuleError::NoSuchRule(text.to_owned()))
    }

    /// Releases what a rule holds, without ending the rule. Returns how many there were.
    pub fn release(&self, id: RuleId) -> usize {
        match self.rules().iter().find(|armed| armed.id == id) {
            Some(armed) => self.let_all_go(armed),
            None => 0,
        }
    }

    /// Takes rules away; what they hold goes on. Returns how many there were.
    fn take_away(&self, is_meant: impl Fn(&Armed) -> bool) -> usize {
        let gone: Vec<Arc<Armed>> = {
            let mut rules = self.rules.write();
            let (gone, left) = rules.iter().cloned().partition(|armed| is_meant(armed));
            *rules = Arc::new(left);
            self.look_or_not(&rules);
            gone
        };
        for armed in &gone {
            armed.is_gone.store(true, Ordering::Release);
            self.let_all_go(armed);
        }
        gone.len()
    }

    /// Takes a rule away; what it holds goes on. Returns whether it was there.
    pub fn remove(&self, id: RuleId) -> bool {
        self.take_away(|armed| armed.id == id) > 0
    }

    /// Takes all rules away; what they hold goes on. The list of hits stays. Returns how many there were.
    pub fn clear(&self) -> usize {
        self.take_away(|_| true)
    }

    /// Takes all rules away, and ends with an error what they hold: the machine ends.
    pub fn shut_down(&self) {
        let rules = std::mem::take(&mut *self.rules.write());
        clear_interceptor(&self.runtime);
        for armed in rules.iter() {
            armed.is_gone.store(true, Ordering::Release);
            armed.end_held();
            armed.released.wake_all();
        }
    }

    fn let_all_go(&self, armed: &Arc<Armed>) -> usize {
        let ioctls = armed.held_ioctls.load(Ordering::Relaxed) as usize;
        armed.releases.fetch_add(1, Ordering::AcqRel);
        armed.released.wake_all();
        ioctls + self.let_bios_go(armed)
    }

    /// Whether a rule hits what comes by: the number of the match, and a draw for what the action leaves open.
    pub(crate) fn strikes(
        &self,
        rules: &[Arc<Armed>],
        armed: &Armed,
        event: &Event<'_>,
    ) -> Option<(u64, u64)> {
        let timing = &armed.rule.timing;
        let has_hit = |name: &String| find(rules, name).is_some_and(|other| other.state.lock().0.hits > 0);
        let is_awake = timing.is_time(self.runtime.now())
            && timing.from_rule.as_ref().is_none_or(has_hit)
            && !timing.until_rule.as_ref().is_some_and(has_hit)
            && timing.predicate.as_ref().is_none_or(|predicate| predicate.holds(event));
        if !is_awake {
            return None;
        }
        let mut state = armed.state.lock();
        let (counts, rng) = &mut *state;
        timing.strikes(counts, rng).then(|| (counts.matches, rng.next_u64()))
    }

    pub(crate) fn note(&self, armed: &Armed, match_nr: u64, action: Action, struck: Struck) {
        let label = armed.rule.name.clone().unwrap_or_else(|| format!("#{}", armed.id.0));
        let time = self.runtime.now();
        self.hits.lock().push(Hit { nr: 0, time, rule: armed.id, label, match_nr, action, struck });
    }

    /// Shows an ioctl to the rules, and waits as they say. `interrupt` is what ends a wait of its caller.
    pub async fn ioctl(&self, call: IoctlCall<'_>, interrupt: Option<&Interrupt>) -> Verdict {
        let rules = self.rules();
        for armed in rules.iter() {
            let Place::Ioctl(place) = &armed.rule.place else { continue };
            if !place.takes(&call, &*self.names) || armed.is_gone.load(Ordering::Acquire) {
                continue;
            }
            let Some((match_nr, _)) = self.strikes(&rules, armed, &Event::Ioctl(call)) else { continue };
            let device = String::from_utf8_lossy(call.name).into_owned();
            self.note(armed, match_nr, armed.rule.action, Struck::Ioctl { command: call.command, device });
            let waited = match armed.rule.action {
                Action::Fail(errno) => return Verdict::Fail(errno),
                Action::Kill => return Verdict::Kill,
                Action::Delay(time) => interruptible(interrupt, self.runtime.sleep(time)).await,
                Action::Hang => {
                    let seen = armed.releases.load(Ordering::Acquire);
                    let is_released = || {
                        armed.releases.load(Ordering::Acquire) != seen
                            || armed.is_gone.load(Ordering::Acquire)
                    };
                    let _held = HeldIoctl::new(&armed.held_ioctls);
                    interruptible(interrupt, armed.released.until(is_released)).await
                }
                _ => Ok(()),
            };
            if let Err(Interrupted) = waited {
                return Verdict::Fail(Errno::EINTR);
            }
        }
        Verdict::Go
    }

    /// Shows an event to the rules. `false`: it is lost.
    pub fn uevent(&self, event: EventSeen<'_>) -> bool {
        let rules = self.rules();
        for armed in rules.iter() {
            let Place::Uevent(place) = &armed.rule.place else { continue };
            if !place.takes(&event, &*self.names) {
                continue;
            }
            let Some((match_nr, _)) = self.strikes(&rules, armed, &Event::Uevent(event)) else { continue };
            let struck = Struck::Uevent { action: event.action, device: event.device.to_owned() };
            self.note(armed, match_nr, armed.rule.action, struck);
            if armed.rule.action == Action::Drop {
                return false;
            }
        }
        true
    }
}

/// Nothing is shown to the rules while this is there: see [`Injector::pause`].
pub struct Paused<'a>(&'a Injector);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let rules = self.0.rules.write();
        self.0.pauses.fetch_sub(1, Ordering::AcqRel);
        self.0.look_or_not(&rules);
    }
}

/// An ioctl that a rule holds; it may be given up while it waits.
struct HeldIoctl<'a>(&'a AtomicU64);

impl<'a> HeldIoctl<'a> {
    fn new(count: &'a AtomicU64) -> HeldIoctl<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        HeldIoctl(count)
    }
}

impl Drop for HeldIoctl<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
