//! Table lines of targets that make one device of several, or the other way round.

use dmlab_units::{Sector, Sectors};

use super::reader::{Reader, counted_words, place_words, read};
use super::{Device, Params, TargetLine, TargetParamsError};

/// Devices with places on them.
fn places<D: Into<Device>>(places: impl IntoIterator<Item = (D, Sector)>) -> Vec<(Device, Sector)> {
    places.into_iter().map(|(device, offset)| (device.into(), offset)).collect()
}

/// What a mirror takes its legs to be when it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorSync {
    /// What its log knows: a log in memory knows nothing, so they are copied.
    #[default]
    AsKnown,
    /// Not the same: they are copied (`sync`).
    Copied,
    /// The same (`nosync`).
    Same,
}

/// `mirror core|disk N [LOG_DEVICE] REGION_SIZE [sync|nosync] LEGS (DEVICE OFFSET)×LEGS [N_FEATURES FEATURE…]`: the same data
/// on several devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where it writes down which regions are clean; in memory only without one.
    pub log: Option<Device>,
    /// Length of a region: a power of two.
    pub region: Sectors,
    /// What the legs are taken to be.
    pub sync: MirrorSync,
    /// The devices, and where on them it begins.
    pub legs: Vec<(Device, Sector)>,
    /// `handle_errors`, `keep_log`.
    pub features: Vec<String>,
}

impl Mirror {
    /// A mirror whose log is in memory.
    pub fn new<D: Into<Device>>(region: Sectors, legs: impl IntoIterator<Item = (D, Sector)>) -> Mirror {
        let legs = places(legs);
        Mirror { log: None, region, sync: MirrorSync::AsKnown, legs, features: Vec::new() }
    }

    /// Keeps its log on this device.
    pub fn log(mut self, device: impl Into<Device>) -> Mirror {
        self.log = Some(device.into());
        self
    }

    /// Takes the legs to be the same (`nosync`).
    pub fn in_sync(mut self) -> Mirror {
        self.sync = MirrorSync::Same;
        self
    }

    /// One more feature word.
    pub fn feature(mut self, word: &str) -> Mirror {
        self.features.push(word.to_owned());
        self
    }
}

impl TargetLine for Mirror {
    const TYPE: &'static str = "mirror";

    fn params(&self) -> Params {
        let mut log: Vec<String> = self.log.iter().map(Device::to_string).collect();
        log.push(self.region.to_string());
        match self.sync {
            MirrorSync::AsKnown => {}
            MirrorSync::Copied => log.push("sync".to_owned()),
            MirrorSync::Same => log.push("nosync".to_owned()),
        }
        let kind = if self.log.is_some() { "disk" } else { "core" };
        let mut words = vec![kind.to_owned()];
        words.extend(counted_words(&log));
        words.push(self.legs.len().to_string());
        words.extend(self.legs.iter().flat_map(place_words));
        if !self.features.is_empty() {
            words.extend(counted_words(&self.features));
        }
        Params::from_words(words)
    }

    fn parse(params: &Params) -> Result<Mirror, TargetParamsError> {
        let right = "mirror takes core|disk N [LOG_DEVICE] REGION_SIZE [sync|nosync] LEGS (DEVICE OFFSET)×LEGS \
                     [N_FEATURES FEATURE…], all in sectors";
        read(Self::TYPE, params, right, |words| {
            let is_disk = match &*words.word()? {
                "core" => false,
                "disk" => true,
                _ => return None,
            };
            let count: usize = words.number()?;
            let log = if is_disk { Some(words.device()?) } else { None };
            let region = words.sectors()?;
            let sync = match count.checked_sub(1 + usize::from(is_disk))? {
                0 => MirrorSync::AsKnown,
                1 => match &*words.word()? {
                    "sync" => MirrorSync::Copied,
                    "nosync" => MirrorSync::Same,
                    _ => return None,
                },
                _ => return None,
            };
            let legs = words.number()?;
            Some(Mirror { log, region, sync, legs: words.places(legs)?, features: words.counted_or_end()? })
        })
    }
}

/// Paths of a multipath that are as good as each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGroup {
    /// What chooses among them: `round-robin`, `queue-length`, `service-time`, `historical-service-time`, `io-affinity`.
    pub selector: String,
    /// The selector's own arguments.
    pub arguments: Vec<String>,
    /// The paths, each with as many arguments for the selector as the first.
    pub paths: Vec<(Device, Vec<String>)>,
}

impl PathGroup {
    /// Paths that take turns.
    pub fn round_robin<D: Into<Device>>(paths: impl IntoIterator<Item = D>) -> PathGroup {
        PathGroup::new("round-robin", paths)
    }

    /// Paths without arguments of their own.
    pub fn new<D: Into<Device>>(selector: &str, paths: impl IntoIterator<Item = D>) -> PathGroup {
        let paths = paths.into_iter().map(|device| (device.into(), Vec::new())).collect();
        PathGroup { selector: selector.to_owned(), arguments: Vec::new(), paths }
    }

    fn words(&self) -> Vec<String> {
        let per_path = self.paths.first().map_or(0, |(_, arguments)| arguments.len());
        let mut words = vec![self.selector.clone()];
        words.extend(counted_words(&self.arguments));
        words.extend([self.paths.len().to_string(), per_path.to_string()]);
        for (device, arguments) in &self.paths {
            words.push(device.to_string());
            words.extend(arguments.iter().cloned());
        }
        words
    }

    fn read(words: &mut Reader<'_>) -> Option<PathGroup> {
        let (selector, arguments) = (words.word()?, words.counted()?);
        let (count, per_path): (u16, usize) = (words.number()?, words.number()?);
        let path = |words: &mut Reader<'_>| Some((words.device()?, words.words(per_path)?));
        let paths = (0..count).map(|_| path(words)).collect::<Option<_>>()?;
        Some(PathGroup { selector, arguments, paths })
    }
}

/// `multipath N_FEATURES FEATURE… N_HANDLER HANDLER… GROUPS FIRST GROUP…`: several ways to one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipath {
    /// `queue_if_no_path`, `queue_mode`, `bio`…, each word for itself.
    pub features: Vec<String>,
    /// A hardware handler and its arguments.
    pub handler: Vec<String>,
    /// The group to be tried first, from 1; 0 if there is none.
    pub first: u64,
    /// The groups, the best first.
    pub groups: Vec<PathGroup>,
}

impl Multipath {
    /// These groups, taking bios: what RAM disks and mapped devices can do.
    pub fn of_bios(groups: impl IntoIterator<Item = PathGroup>) -> Multipath {
        let groups: Vec<PathGroup> = groups.into_iter().collect();
        let features = ["queue_mode", "bio"].map(str::to_owned).into();
        Multipath { features, handler: Vec::new(), first: u64::from(!groups.is_empty()), groups }
    }

    /// One more feature word.
    pub fn feature(mut self, word: &str) -> Multipath {
        self.features.push(word.to_owned());
        self
    }
}

impl TargetLine for Multipath {
    const TYPE: &'static str = "multipath";

    fn params(&self) -> Params {
        let mut words: Vec<String> = counted_words(&self.features).collect();
        words.extend(counted_words(&self.handler));
        words.extend([self.groups.len().to_string(), self.first.to_string()]);
        words.extend(self.groups.iter().flat_map(PathGroup::words));
        Params::from_words(words)
    }

    fn parse(params: &Params) -> Result<Multipath, TargetParamsError> {
        let right = "multipath takes N_FEATURES FEATURE… N_HANDLER HANDLER… GROUPS FIRST and for each group SELECTOR N ARG… \
                     PATHS PER_PATH (DEVICE ARG…)…";
        read(Self::TYPE, params, right, |words| {
            let (features, handler) = (words.counted()?, words.counted()?);
            let (count, first): (u16, u64) = (words.number()?, words.number()?);
            let groups = (0..count).map(|_| PathGroup::read(words)).collect::<Option<_>>()?;
            Some(Multipath { features, handler, first, groups })
        })
    }
}

/// `switch PATHS REGION_SIZE 0 (DEVICE OFFSET)×PATHS`: regions of one device on many paths, as messages say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Length of a region.
    pub region: Sectors,
    /// The paths, and where on them the device begins.
    pub paths: Vec<(Device, Sector)>,
}

impl Switch {
    /// Regions on these paths, in turn at first.
    pub fn new<D: Into<Device>>(region: Sectors, paths: impl IntoIterator<Item = (D, Sector)>) -> Switch {
        Switch { region, paths: places(paths) }
    }
}

impl TargetLine for Switch {
    const TYPE: &'static str = "switch";

    fn params(&self) -> Params {
        let fixed = [self.paths.len().to_string(), self.region.to_string(), "0".to_owned()];
        Params::from_words(fixed.into_iter().chain(self.paths.iter().flat_map(place_words)))
    }

    fn parse(params: &Params) -> Result<Switch, TargetParamsError> {
        let right =
            "switch takes PATHS REGION_SIZE 0 and PATHS times DEVICE OFFSET, size and offsets in sectors";
        read(Self::TYPE, params, right, |words| {
            let (count, region, options): (usize, _, u64) =
                (words.number()?, words.sectors()?, words.number()?);
            let paths = words.places(count)?;
            (options == 0).then_some(Switch { region, paths })
        })
    }
}

/// `unstriped STRIPES CHUNK STRIPE DEVICE OFFSET`: one stripe of a striped device, taken out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstriped {
    /// How many stripes the device has.
    pub stripes: u64,
    /// Length of its chunks.
    pub chunk: Sectors,
    /// Which of the stripes, from 0.
    pub stripe: u64,
    /// The striped device, and where on it the stripes begin.
    pub device: (Device, Sector),
}

impl TargetLine for Unstriped {
    const TYPE: &'static str = "unstriped";

    fn params(&self) -> Params {
        let fixed = [self.stripes.to_string(), self.chunk.to_string(), self.stripe.to_string()];
        Params::from_words(fixed.into_iter().chain(place_words(&self.device)))
    }

    fn parse(params: &Params) -> Result<Unstriped, TargetParamsError> {
        let right = "unstriped takes STRIPES CHUNK STRIPE DEVICE OFFSET, chunk and offset in sectors";
        read(Self::TYPE, params, right, |words| {
            let (stripes, chunk, stripe) = (words.number()?, words.sectors()?, words.number()?);
            Some(Unstriped { stripes, chunk, stripe, device: words.place()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::same;

    #[test]
    fn lines_come_back_as_they_were() {
        let mirror = Mirror::new(Sectors(1024), [("1:0", Sector(0)), ("1:1", Sector(8))]);
        same(&mirror, "core 1 1024 2 1:0 0 1:1 8");
        same(&mirror.clone().in_sync(), "core 2 1024 nosync 2 1:0 0 1:1 8");
        let on_disk = mirror.log("1:2").feature("handle_errors");
        same(&on_disk, "disk 2 1:2 1024 2 1:0 0 1:1 8 1 handle_errors");
        same(
            &Mirror { sync: MirrorSync::Copied, ..on_disk },
            "disk 3 1:2 1024 sync 2 1:0 0 1:1 8 1 handle_errors",
        );

        let mut weighted = PathGroup::new("service-time", ["1:1", "1:2"]);
        weighted
            .paths
            .iter_mut()
            .for_each(|(_, arguments)| *arguments = vec!["1".to_owned(), "9".to_owned()]);
        let paths = Multipath::of_bios([PathGroup::round_robin(["1:0"]), weighted]);
        let groups = "2 1 round-robin 0 1 0 1:0 service-time 0 2 2 1:1 1 9 1:2 1 9";
        same(&paths, &format!("2 queue_mode bio 0 {groups}"));
        same(&paths.feature("queue_if_no_path"), &format!("3 queue_mode bio queue_if_no_path 0 {groups}"));
        same(&Multipath::of_bios([]), "2 queue_mode bio 0 0 0");

        same(&Switch::new(Sectors(8), [("1:0", Sector(0)), ("1:1", Sector(64))]), "2 8 0 1:0 0 1:1 64");
        let stripe =
            Unstriped { stripes: 2, chunk: Sectors(8), stripe: 1, device: ("254:0".into(), Sector(0)) };
        same(&stripe, "2 8 1 254:0 0");
    }

    #[test]
    fn wrong_lines_say_what_would_be_right() {
        let parsed = |text: &str| Mirror::parse(&Params::from_text(text.as_bytes()));
        for text in [
            "",
            "core",
            "userspace 1 8 2 a 0 b 0",
            "core 1 8 3 a 0 b 0",
            "core 3 8 sync x 2 a 0 b 0",
            "disk 1 8 2 a 0 b 0",
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("mirror {text}: mirror takes")), "{error}");
        }
        for text in ["", "0", "0 0 1 1", "0 0 99999 1", "0 0 1 1 round-robin 0 2 0 1:0", "0 0 0 0 more"] {
            assert!(Multipath::parse(&Params::from_text(text.as_bytes())).is_err(), "{text}");
        }
        assert!(Switch::parse(&Params::from_text(b"2 8 1 a 0 b 0")).is_err());
        assert!(Switch::parse(&Params::from_text(b"18446744073709551615 8 0")).is_err());
        assert!(Unstriped::parse(&Params::from_text(b"2 8 1 a")).is_err());
    }
}
