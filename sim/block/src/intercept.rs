//! The interceptor, which sees each bio before its device does and may do something else with it: how faults get in.
//!
//! It stands before all that the block layer checks, so a flush is seen even on a device that has nothing to flush. A
//! bio is shown once at each device on its way down. One that waits there (suspended), or whose rest comes round again
//! after a piece was cut off, is not shown again; one that failed below and is sent again is.

use std::sync::Arc;

use dmlab_runtime::Runtime;

use crate::{Bio, BlockDevice};

/// What an interceptor did with a bio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// The bio goes on, perhaps changed.
    Through,
    /// The bio has ended, or was taken.
    Kept,
}

/// Looks at each bio that is submitted to any device of a machine.
pub trait Interceptor: Send + Sync {
    /// `bio` is about to go to `dev`. One that is taken ([`Bio::take_owned`]) names no device: remember `dev`, and
    /// send it on with [`Bio::set_dev`] after [`Bio::mark_offered`]. Called on the path of IO, from any thread.
    fn offer(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Offered;
}

struct Hung(Arc<dyn Interceptor>);

/// Shows `interceptor` all bios of a machine from now on, instead of any before it.
pub fn set_interceptor(runtime: &Runtime, interceptor: Arc<dyn Interceptor>) {
    runtime.bio_hook().set(Arc::new(Hung(interceptor)));
}

/// Takes the interceptor away: bios go straight to their devices.
pub fn clear_interceptor(runtime: &Runtime) {
    runtime.bio_hook().clear();
}

#[cold]
pub(crate) fn offer(dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Offered {
    if bio.offered_at == Some(dev.dev()) {
        return Offered::Through;
    }
    let Some(hung) = dev.runtime().bio_hook().get::<Hung>() else { return Offered::Through };
    bio.mark_offered(dev);
    hung.0.offer(dev, bio)
}
