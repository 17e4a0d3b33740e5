//! Bios that wait for something.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use dmlab_block::{Bio, BlkStatus};

/// A queue of bios that loses none (`struct bio_list`): a machine that ends suspends nothing first, and drops its workers
/// wherever they wait. What is then still queued ends with an error.
#[derive(Default)]
pub struct BioList(VecDeque<Bio<'static>>);

impl BioList {
    /// Takes all bios out.
    #[must_use]
    pub fn take(&mut self) -> BioList {
        std::mem::take(self)
    }
}

impl Drop for BioList {
    fn drop(&mut self) {
        for bio in std::mem::take(&mut self.0) {
            bio.end(BlkStatus::IoErr);
        }
    }
}

impl Deref for BioList {
    type Target = VecDeque<Bio<'static>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for BioList {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl IntoIterator for BioList {
    type Item = Bio<'static>;
    type IntoIter = std::collections::vec_deque::IntoIter<Bio<'static>>;

    fn into_iter(mut self) -> Self::IntoIter {
        std::mem::take(&mut self.0).into_iter()
    }
}

impl From<Bio<'static>> for BioList {
    /// A list of one bio.
    fn from(bio: Bio<'static>) -> BioList {
        BioList(VecDeque::from([bio]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn bio(ended: &Arc<AtomicU32>) -> Bio<'static> {
        let ended = ended.clone();
        Bio::flush().on_end(move |status, _| {
            assert_eq!(status, BlkStatus::IoErr);
            ended.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn what_is_dropped_ends_with_an_error_and_what_is_taken_does_not() {
        let ended = Arc::new(AtomicU32::new(0));
        let mut list = BioList::default();
        list.push_back(bio(&ended));
        list.push_back(bio(&ended));
        let taken = list.take();
        assert!(list.is_empty() && ended.load(Ordering::Relaxed) == 0);
        let mut iter = taken.into_iter();
        iter.next().unwrap().end(BlkStatus::IoErr);
        let rest: VecDeque<Bio<'static>> = iter.collect();
        assert_eq!((rest.len(), ended.load(Ordering::Relaxed)), (1, 1));
        drop(BioList(rest));
        assert_eq!(ended.load(Ordering::Relaxed), 2);
    }
}
