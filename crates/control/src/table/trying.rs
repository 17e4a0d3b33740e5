//! Table lines of targets that put software to the test: slow, failing and watched devices, and other block sizes.

use std::time::Duration;

use dmlab_units::{Bytes, Sector, Sectors};

use super::reader::{counted_words, place_words, read};
use super::{Device, Params, TargetLine, TargetParamsError};

/// One class of IO of a [`Delay`]: where it goes, and how much later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// How much later, in whole milliseconds.
    pub by: Duration,
}

/// `delay DEVICE OFFSET MS [DEVICE OFFSET MS [DEVICE OFFSET MS]]`: a device that takes its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Reads, and all that is not said of the others.
    pub reads: Delayed,
    /// Writes and discards.
    pub writes: Option<Delayed>,
    /// Flushes. Only together with `writes`.
    pub flushes: Option<Delayed>,
}

impl Delay {
    /// Everything comes so much later.
    pub fn new(device: impl Into<Device>, offset: Sector, by: Duration) -> Delay {
        Delay { reads: Delayed { device: (device.into(), offset), by }, writes: None, flushes: None }
    }
}

impl TargetLine for Delay {
    const TYPE: &'static str = "delay";

    fn params(&self) -> Params {
        let classes = [Some(&self.reads), self.writes.as_ref(), self.flushes.as_ref()];
        let words = classes.into_iter().flatten().flat_map(|class| {
            place_words(&class.device).into_iter().chain([class.by.as_millis().to_string()])
        });
        Params::from_words(words)
    }

    fn parse(params: &Params) -> Result<Delay, TargetParamsError> {
        let right = "delay takes one to three times DEVICE OFFSET MS, offsets in sectors";
        read(Self::TYPE, params, right, |words| {
            let mut class = || {
                if words.is_at_end() {
                    return Some(None);
                }
                let (device, by) = (words.place()?, words.number::<u32>()?);
                Some(Some(Delayed { device, by: Duration::from_millis(by.into()) }))
            };
            Some(Delay { reads: class()??, writes: class()?, flushes: class()? })
        })
    }
}

/// `flakey DEVICE OFFSET UP DOWN [N_WORDS FEATURE…]`: a device that fails for some seconds again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flakey {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// How long it works, in whole seconds.
    pub up: Duration,
    /// How long it then fails.
    pub down: Duration,
    /// What it does then, word for word: `drop_writes`, `corrupt_bio_byte`, `32`…; errors for everything if there are none.
    pub features: Vec<String>,
}

impl Flakey {
    /// A device that works and then fails everything.
    pub fn new(device: impl Into<Device>, offset: Sector, up: Duration, down: Duration) -> Flakey {
        Flakey { device: (device.into(), offset), up, down, features: Vec::new() }
    }

    /// One more feature with its arguments.
    pub fn feature(mut self, words: &str) -> Flakey {
        self.features.extend(words.split_whitespace().map(str::to_owned));
        self
    }
}

impl TargetLine for Flakey {
    const TYPE: &'static str = "flakey";

    fn params(&self) -> Params {
        let mut words: Vec<String> = place_words(&self.device).into();
        words.extend([self.up, self.down].map(|time| time.as_secs().to_string()));
        if !self.features.is_empty() {
            words.extend(counted_words(&self.features));
        }
        Params::from_words(words)
    }

    fn parse(params: &Params) -> Result<Flakey, TargetParamsError> {
        let right = "flakey takes DEVICE OFFSET UP DOWN [N_WORDS FEATURE…], the offset in sectors, up and down in seconds";
        read(Self::TYPE, params, right, |words| {
            let device = words.place()?;
            let [up, down] =
                [words.number::<u32>()?, words.number()?].map(|secs| Duration::from_secs(secs.into()));
            Some(Flakey { device, up, down, features: words.counted_or_end()? })
        })
    }
}

/// `dust DEVICE OFFSET BLOCK_SIZE`: a device that gets bad blocks by messages, and loses them when they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dust {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// Size of a block: a power of two, 512 at least.
    pub block: Bytes,
}

impl Dust {
    /// A device without bad blocks yet.
    pub fn new(device: impl Into<Device>, offset: Sector, block: Bytes) -> Dust {
        Dust { device: (device.into(), offset), block }
    }
}

impl TargetLine for Dust {
    const TYPE: &'static str = "dust";

    fn params(&self) -> Params {
        Params::from_words(place_words(&self.device).into_iter().chain([self.block.0.to_string()]))
    }

    fn parse(params: &Params) -> Result<Dust, TargetParamsError> {
        let right = "dust takes DEVICE OFFSET BLOCK_SIZE, the offset in sectors, the size in bytes";
        read(Self::TYPE, params, right, |words| {
            Some(Dust { device: words.place()?, block: Bytes(words.number()?) })
        })
    }
}

/// `log-writes DEVICE LOG_DEVICE`: a device whose writes are written down on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrites {
    /// The device.
    pub device: Device,
    /// Where its writes are written down.
    pub log: Device,
}

impl LogWrites {
    /// `device`, with its writes on `log`.
    pub fn new(device: impl Into<Device>, log: impl Into<Device>) -> LogWrites {
        LogWrites { device: device.into(), log: log.into() }
    }
}

impl TargetLine for LogWrites {
    const TYPE: &'static str = "log-writes";

    fn params(&self) -> Params {
        Params::from_words([self.device.to_string(), self.log.to_string()])
    }

    fn parse(params: &Params) -> Result<LogWrites, TargetParamsError> {
        read(Self::TYPE, params, "log-writes takes DEVICE LOG_DEVICE", |words| {
            Some(LogWrites { device: words.device()?, log: words.device()? })
        })
    }
}

/// `ebs DEVICE OFFSET EMULATED [UNDERLYING]`: smaller blocks than the disk has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ebs {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// Length of its blocks.
    pub emulated: Sectors,
    /// Length of the device's blocks; what the device says if it is left out.
    pub underlying: Option<Sectors>,
}

impl TargetLine for Ebs {
    const TYPE: &'static str = "ebs";

    fn params(&self) -> Params {
        let sizes = [Some(self.emulated), self.underlying].into_iter().flatten();
        Params::from_words(place_words(&self.device).into_iter().chain(sizes.map(|size| size.to_string())))
    }

    fn parse(params: &Params) -> Result<Ebs, TargetParamsError> {
        let right = "ebs takes DEVICE OFFSET EMULATED [UNDERLYING], all in sectors";
        read(Self::TYPE, params, right, |words| {
            let (device, emulated) = (words.place()?, words.sectors()?);
            let underlying = if words.is_at_end() { None } else { Some(words.sectors()?) };
            Some(Ebs { device, emulated, underlying })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::same;

    #[test]
    fn lines_come_back_as_they_were() {
        let delay = Delay::new("1:0", Sector(8), Duration::from_millis(500));
        same(&delay, "1:0 8 500");
        let writes = Some(Delayed { device: ("1:1".into(), Sector(0)), by: Duration::from_secs(2) });
        same(&Delay { writes, ..delay }, "1:0 8 500 1:1 0 2000");
        let flakey = Flakey::new("1:0", Sector(0), Duration::from_secs(5), Duration::from_secs(1));
        same(&flakey, "1:0 0 5 1");
        let text = "1:0 0 5 1 6 drop_writes corrupt_bio_byte 32 r 1 0";
        same(&flakey.feature("drop_writes").feature("corrupt_bio_byte 32 r 1 0"), text);
        same(&Dust::new("1:0", Sector(0), Bytes(4096)), "1:0 0 4096");
        same(&LogWrites::new("1:0", "1:1"), "1:0 1:1");
        let ebs = Ebs { device: ("1:0".into(), Sector(0)), emulated: Sectors(1), underlying: None };
        same(&ebs, "1:0 0 1");
        same(&Ebs { underlying: Some(Sectors(8)), ..ebs }, "1:0 0 1 8");
    }

    #[test]
    fn wrong_lines_say_what_would_be_right() {
        let of = |text: &str| Params::from_text(text.as_bytes());
        for text in ["", "1:0", "1:0 0", "1:0 0 x", "1:0 0 1 1:0", "1:0 0 4294967296", "a 0 1 b 0 1 c 0 1 d"]
        {
            assert!(
                Delay::parse(&of(text)).unwrap_err().to_string().contains("one to three times"),
                "{text}"
            );
        }
        for text in ["1:0 0 5", "1:0 0 5 1 2 drop_writes", "1:0 0 5 1 0 more"] {
            assert!(Flakey::parse(&of(text)).is_err(), "{text}");
        }
        assert!(Dust::parse(&of("1:0 0")).is_err() && LogWrites::parse(&of("1:0")).is_err());
        assert!(Ebs::parse(&of("1:0 0 1 8 9")).is_err());
    }
}
