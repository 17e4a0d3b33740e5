//! Faults from a test: [`crate::Lab::faults`].

use std::ops::Range;
use std::time::Duration;

use dmlab_machine::faults::{
    Action, Aim, BioPlace, Event, FileError, Hit, Injector, IoctlPlace, Listed, Moment, Ops, Place,
    Predicate, Rule, RuleError, RuleId, Timing, UeventPlace, read_rules,
};
use dmlab_machine::{Instant, UeventAction};
use dmlab_units::{Errno, Sector, Sectors};

/// What is to go wrong in a lab.
///
/// ```
/// use dmlab::{Lab, OrErrno, units::{Errno, Sector}};
///
/// let lab = Lab::new(1);
/// lab.faults().on("/dev/ram1").writes().sectors(0..8).fail(Errno::EIO).nth(3).add()?;
/// let write = || lab.write("/dev/ram1", Sector(0), &[7; 512]).or_errno();
/// assert_eq!([write(), write(), write()], [Ok(()), Ok(()), Err(Errno::EIO)]);
///
/// // The disk says that all is well, and has written one sector of a node.
/// let tear = lab.faults().meaning("btree_node").torn(1).once().add()?;
/// assert_eq!(lab.faults().hits_of(tear), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Faults<'a> {
    injector: &'a Injector,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(injector: &'a Injector) -> Faults<'a> {
        Faults { injector }
    }

    fn begin(&self, place: Place) -> FaultBuilder<'a> {
        FaultBuilder {
            injector: self.injector,
            name: None,
            place,
            action: None,
            timing: Timing::default(),
            mistake: None,
        }
    }

    /// A rule for bios on any device. One that passes a stack is seen at each device on its way.
    pub fn anywhere(&self) -> FaultBuilder<'a> {
        self.begin(Place::Bio(BioPlace::default()))
    }

    /// A rule for bios on one device: `/dev/ram1`, `/dev/mapper/NAME`, `MAJOR:MINOR`. It need not be there yet.
    pub fn on(&self, device: &str) -> FaultBuilder<'a> {
        self.anywhere().on(device)
    }

    /// A rule for bios with this meaning, such as `superblock`: one of
    /// [`meanings`](dmlab_machine::faults::meanings), or what a target of one's own puts into its tags.
    pub fn meaning(&self, what: &str) -> FaultBuilder<'a> {
        self.anywhere().meaning(what)
    }

    /// A rule for ioctls of the control node: `table_load`, or `any`.
    pub fn ioctl(&self, command: &str) -> FaultBuilder<'a> {
        // The grammar knows the names of commands, and says what there is.
        match format!("ioctl={command} watch").parse::<Rule>() {
            Ok(rule) => self.begin(rule.place),
            Err(error) => {
                FaultBuilder { mistake: Some(error), ..self.begin(Place::Ioctl(IoctlPlace::default())) }
            }
        }
    }

    /// A rule for events on their way to user space; `None`: whatever happened.
    pub fn uevent(&self, action: Option<UeventAction>) -> FaultBuilder<'a> {
        self.begin(Place::Uevent(UeventPlace { action, device: None }))
    }

    /// Adds the rules of a TOML file.
    ///
    /// # Errors
    /// With the line, for what is no rule; [`RuleError`] when they don't go with those that are there.
    pub fn add_toml(&self, text: &str) -> Result<Vec<RuleId>, FaultsError> {
        self.add_all(read_rules(text, self.injector.meanings())?)
    }

    /// Adds rules that were made elsewhere: all or none.
    ///
    /// # Errors
    /// See [`RuleError`].
    pub fn add_all(&self, rules: Vec<Rule>) -> Result<Vec<RuleId>, FaultsError> {
        let ids = self.injector.add_all(rules)?;
        Ok((ids.start.0..ids.end.0).map(RuleId).collect())
    }

    /// The rules in the order of adding, with what each has seen, struck and holds.
    pub fn list(&self) -> Vec<Listed> {
        self.injector.list()
    }

    /// What was struck, in order. The last 16,384.
    pub fn hits(&self) -> Vec<Hit> {
        self.injector.hits_after(0)
    }

    /// How often a rule has struck.
    pub fn hits_of(&self, rule: RuleId) -> u64 {
        self.injector.counts(rule).map_or(0, |counts| counts.hits)
    }

    /// Lets go what a rule holds or delays. The rule stays. Returns how many there were.
    pub fn release(&self, rule: RuleId) -> usize {
        self.injector.release(rule)
    }

    /// Takes a rule away; what it holds goes on. Returns whether it was there.
    pub fn remove(&self, rule: RuleId) -> bool {
        self.injector.remove(rule)
    }

    /// Takes all rules away; what they hold goes on. The hits stay. Returns how many there were.
    pub fn clear(&self) -> usize {
        self.injector.clear()
    }
}

/// Why rules were not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultsError {
    /// A file that holds something else.
    #[error(transparent)]
    File(#[from] FileError),
    /// A rule that is none, or does not go with the others.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// A rule in the making: where, what, when, how often, and at last [`FaultBuilder::add`].
#[must_use = "a rule that is not added does nothing"]
pub struct FaultBuilder<'a> {
    injector: &'a Injector,
    name: Option<String>,
    place: Place,
    action: Option<Action>,
    timing: Timing,
    /// What was asked for and can't be; told when the rule is added.
    mistake: Option<RuleError>,
}

impl FaultBuilder<'_> {
    fn wrong(mut self, what: &str) -> Self {
        self.mistake.get_or_insert_with(|| RuleError::Senseless(what.to_owned()));
        self
    }

    fn bios(mut self, narrow: impl FnOnce(&mut BioPlace)) -> Self {
        match &mut self.place {
            Place::Bio(place) => {
                narrow(place);
                self
            }
            Place::Ioctl(_) | Place::Uevent(_) => self
                .wrong("operations, sectors and meanings are of bios, and this rule is for something else"),
        }
    }

    fn op(self, op: Ops) -> Self {
        self.bios(|place| place.ops = if place.ops == Ops::all() { op } else { place.ops | op })
    }

    // Where.

    /// Only on this device; of ioctls, only those about this mapped device.
    pub fn on(mut self, device: &str) -> Self {
        let Ok(name) = device.parse();
        match &mut self.place {
            Place::Bio(place) => place.device = Some(name),
            Place::Ioctl(place) => place.device = Some(name),
            Place::Uevent(place) => place.device = Some(name),
        }
        self
    }

    /// Only bios that touch one of these sectors of the device that they are on their way to.
    pub fn sectors(self, sectors: Range<u64>) -> Self {
        self.bios(|place| place.sectors = Some(Sector(sectors.start)..Sector(sectors.end)))
    }

    /// Only reads; with another of these, reads too.
    pub fn reads(self) -> Self {
        self.op(Ops::READ)
    }

    /// Only writes, those of zeros too.
    pub fn writes(self) -> Self {
        self.op(Ops::WRITE)
    }

    /// Only flushes. A flush ends at the first device that has no volatile cache, so devices below never see it.
    pub fn flushes(self) -> Self {
        self.op(Ops::FLUSH)
    }

    /// Only discards and secure erases.
    pub fn discards(self) -> Self {
        self.op(Ops::DISCARD)
    }

    /// Only bios with this meaning.
    pub fn meaning(self, what: &str) -> Self {
        self.bios(|place| place.aim = Some(Aim { what: what.to_owned(), owner: None, index: None }))
    }

    /// Only this owner's: of `data`, the thin device's id.
    pub fn owner(self, owner: u64) -> Self {
        self.aimed(|aim| aim.owner = Some(owner))
    }

    /// Only this one: of metadata, the number of the block.
    pub fn index(self, index: u64) -> Self {
        self.aimed(|aim| aim.index = Some(index))
    }

    fn aimed(mut self, narrow: impl FnOnce(&mut Aim)) -> Self {
        match &mut self.place {
            Place::Bio(BioPlace { aim: Some(aim), .. }) => {
                narrow(aim);
                self
            }
            _ => self.wrong("owner and index narrow a meaning: say meaning(…) first"),
        }
    }

    /// An ioctl is struck when it has been carried out, and only its caller does not know yet.
    pub fn when_done(mut self) -> Self {
        match &mut self.place {
            Place::Ioctl(place) => {
                place.moment = Moment::Done;
                self
            }
            _ => self.wrong("only an ioctl can be struck when it is done"),
        }
    }

    // What.

    fn act(mut self, action: Action) -> Self {
        if self.action.is_some() {
            return self.wrong("a rule does one thing: make two rules");
        }
        self.action = Some(action);
        self
    }

    /// Nothing: what comes by is counted and noted.
    pub fn watch(self) -> Self {
        self.act(Action::Watch)
    }

    /// It fails and is not carried out.
    pub fn fail(self, errno: Errno) -> Self {
        self.act(Action::Fail(errno))
    }

    /// A write, discard or flush says that it went well, and did not happen; an event is lost.
    pub fn lose(self) -> Self {
        self.act(Action::Drop)
    }

    /// Only the first `sectors` of a write are written, and it says that it went well.
    pub fn torn(self, sectors: u64) -> Self {
        self.act(Action::Torn { keep: Some(Sectors(sectors)), then: None })
    }

    /// Only a part of a write is written, up to a sector drawn from the seed, and it says that it went well.
    pub fn torn_somewhere(self) -> Self {
        self.act(Action::Torn { keep: None, then: None })
    }

    /// A torn write ends with this error.
    pub fn then_fail(mut self, errno: Errno) -> Self {
        match &mut self.action {
            Some(Action::Torn { then, .. }) => {
                *then = Some(errno);
                self
            }
            _ => self.wrong("then_fail is how a torn write ends: say torn(…) first"),
        }
    }

    /// Bit `bit` of what is read or written is the other one, counted from the first byte, lowest bit first.
    pub fn flip_bit(self, bit: u64) -> Self {
        self.act(Action::Flip { bit: Some(bit) })
    }

    /// A bit of what is read or written, drawn from the seed, is the other one.
    pub fn flip_some_bit(self) -> Self {
        self.act(Action::Flip { bit: None })
    }

    /// It reads from `sector` on, or writes there, whatever it was told.
    pub fn misdirect(self, sector: u64) -> Self {
        self.act(Action::Misdirect { to: Some(Sector(sector)) })
    }

    /// It reads or writes at a place drawn from the seed, whatever it was told.
    pub fn misdirect_somewhere(self) -> Self {
        self.act(Action::Misdirect { to: None })
    }

    /// It goes on so much later, by the machine's clock.
    pub fn delay(self, time: Duration) -> Self {
        self.act(Action::Delay(time))
    }

    /// It goes on when it is released ([`Faults::release`]) or the rule is removed.
    pub fn hang(self) -> Self {
        self.act(Action::Hang)
    }

    /// The client that makes the ioctl is killed: nothing more comes of it.
    pub fn kill(self) -> Self {
        self.act(Action::Kill)
    }

    // When.

    /// Not before this much time since boot.
    pub fn from(mut self, time: Duration) -> Self {
        self.timing.from = Some(Instant::default() + time);
        self
    }

    /// No more from this much time since boot on.
    pub fn until(mut self, time: Duration) -> Self {
        self.timing.until = Some(Instant::default() + time);
        self
    }

    /// Not before the rule of this name has struck.
    pub fn from_rule(mut self, name: &str) -> Self {
        self.timing.from_rule = Some(name.to_owned());
        self
    }

    /// No more once the rule of this name has struck.
    pub fn until_rule(mut self, name: &str) -> Self {
        self.timing.until_rule = Some(name.to_owned());
        self
    }

    /// Only while this holds. It is asked on the path of IO; it must not do IO that the same rule would see.
    pub fn only_while(mut self, holds: impl Fn(&Event<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.timing.predicate = Some(Predicate::new(holds));
        self
    }

    // How often.

    /// The nth match and no other, from 1.
    pub fn nth(mut self, n: u64) -> Self {
        self.timing.nth = Some(n);
        self
    }

    /// Every nth match.
    pub fn every(mut self, n: u64) -> Self {
        self.timing.every = Some(n);
        self
    }

    /// Not the first n matches; `nth` and `every` count from there.
    pub fn skip(mut self, n: u64) -> Self {
        self.timing.skip = n;
        self
    }

    /// Each with this probability, drawn from the seed.
    pub fn chance(mut self, probability: f64) -> Self {
        self.timing.chance = Some(probability);
        self
    }

    /// So many times, then no more.
    pub fn times(mut self, n: u64) -> Self {
        self.timing.times = Some(n);
        self
    }

    /// Once.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// What other rules, hits and lists call it.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The rule, to be added later.
    ///
    /// # Errors
    /// See [`RuleError`].
    pub fn rule(self) -> Result<Rule, RuleError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let action = self.action.ok_or(RuleError::Actions(Vec::new()))?;
        let rule = Rule { name: self.name, place: self.place, action, timing: self.timing };
        rule.check()?;
        Ok(rule)
    }

    /// Adds the rule: it sees what comes by from now on.
    ///
    /// # Errors
    /// See [`RuleError`]; the machine's rules are as before.
    pub fn add(self) -> Result<RuleId, RuleError> {
        let injector = self.injector;
        injector.add(self.rule()?)
    }
}
