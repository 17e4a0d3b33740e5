//! Mistakes that can be planted in a machine, so that tests can show that what should find them does.
//!
//! Each stands beside the line whose order or count it changes. Nothing but a test plants one; no option, parameter or command
//! reaches this.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A mistake: a static beside the code that would make it, known by its place.
#[doc(hidden)]
#[derive(Debug)]
pub struct Planted {
    /// What goes wrong, in words.
    pub what: &'static str,
}

impl Planted {
    /// A mistake that can be made.
    pub const fn new(what: &'static str) -> Planted {
        Planted { what }
    }
}

/// The mistake that a machine makes, if any.
#[derive(Default)]
pub(crate) struct PlantedFault(AtomicPtr<Planted>);

impl PlantedFault {
    pub(crate) fn plant(&self, fault: &'static Planted) {
        self.0.store(ptr::from_ref(fault).cast_mut(), Ordering::Relaxed);
    }

    pub(crate) fn is(&self, fault: &'static Planted) -> bool {
        ptr::eq(self.0.load(Ordering::Relaxed), fault)
    }
}
