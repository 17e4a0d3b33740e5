//! Bios that wait for something.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use dmlab_block::{Bio, BlkStatus};

/// A queue that loses no bio: a machine that ends suspends nothing first, and drops its worker wherever that waits.
/// What is then still queued ends with an error.
#[derive(Default)]
pub(super) struct Bios(VecDeque<Bio<'static>>);

impl Drop for Bios {
    fn drop(&mut self) {
        for bio in std::mem::take(&mut self.0) {
            bio.end(BlkStatus::IoErr);
        }
    }
}

impl Deref for Bios {
    type Target = VecDeque<Bio<'static>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Bios {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl IntoIterator for Bios {
    type Item = Bio<'static>;
    type IntoIter = std::collections::vec_deque::IntoIter<Bio<'static>>;

    fn into_iter(mut self) -> Self::IntoIter {
        std::mem::take(&mut self.0).into_iter()
    }
}
