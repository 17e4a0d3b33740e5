//! Trace points of the bio path. Off, each costs one branch that is never taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_units::{DevT, Sector, Sectors};
use parking_lot::RwLock;

use crate::Instant;

/// Where on its way a bio was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TracePoint {
    /// The bio was submitted to a device (`block_bio_queue`).
    Queue,
    /// A target sent it on; the event's device and sector are where it came from (`block_bio_remap`).
    Remap {
        /// The device that the bio goes to.
        to: DevT,
        /// The sector there that it goes to.
        to_sector: Sector,
    },
    /// The bio was split; the event's length is that of the first piece (`block_split`).
    Split,
    /// The bio waits on a suspended device.
    Defer,
    /// The device is done with it; 0 or an errno (`block_bio_complete`).
    Complete {
        /// 0, or the positive errno.
        errno: i32,
    },
}

/// One sighting of a bio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// The time of the event.
    pub time: Instant,
    /// The device at which the bio was seen.
    pub dev: DevT,
    /// The point on its way at which the bio was seen.
    pub point: TracePoint,
    /// What it does, in the letters of blktrace: R, W, D, F and so on.
    pub op: &'static str,
    /// First sector.
    pub sector: Sector,
    /// Length.
    pub len: Sectors,
    /// CRC-32C of the bytes that a write came with, or a read ended well with; `None` where there are none, or not in
    /// one piece.
    pub sum: Option<u32>,
}

impl std::fmt::Display for TraceEvent {
    /// A line much as blktrace prints it: time, device, action (Q came, A sent on, X split, S waits, C ended), op, first sector
    /// `+` length; where it was sent, or the errno it ended with.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = match self.point {
            TracePoint::Queue => 'Q',
            TracePoint::Remap { .. } => 'A',
            TracePoint::Split => 'X',
            TracePoint::Defer => 'S',
            TracePoint::Complete { .. } => 'C',
        };
        let time = self.time.to_string();
        write!(f, "{} {} {action} {} {} + {}", time.trim_start(), self.dev, self.op, self.sector, self.len)?;
        match self.point {
            TracePoint::Remap { to, to_sector } => write!(f, " -> {to} {to_sector}"),
            TracePoint::Complete { errno } => write!(f, " [{errno}]"),
            TracePoint::Queue | TracePoint::Split | TracePoint::Defer => Ok(()),
        }
    }
}

type Sink = Arc<dyn Fn(&TraceEvent) + Send + Sync>;

/// Hands trace events to those that subscribed to them.
#[derive(Default)]
pub struct Tracer {
    is_on: AtomicBool,
    sink: RwLock<Option<Sink>>,
}

impl Tracer {
    /// Whether there is a subscriber. Ask this before making an event.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Hands `event` on.
    pub fn emit(&self, event: &TraceEvent) {
        let sink = self.sink.read().clone();
        if let Some(sink) = sink {
            sink(event);
        }
    }

    /// Starts tracing into `sink`, instead of any before it.
    pub fn start(&self, sink: impl Fn(&TraceEvent) + Send + Sync + 'static) {
        *self.sink.write() = Some(Arc::new(sink));
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Stops tracing.
    pub fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        *self.sink.write() = None;
    }
}
