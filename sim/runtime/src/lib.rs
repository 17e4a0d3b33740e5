//! The simulated kernel's executor, clock, timers, work queues, randomness, log and uevents.
#![forbid(unsafe_code)]
