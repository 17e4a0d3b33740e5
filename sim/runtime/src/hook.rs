//! A place in the path of each bio, for a layer that knows what a bio is. Empty, it costs one branch that is never taken.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

/// What a layer above hung here, or nothing. The runtime carries it and does not look into it.
#[derive(Default)]
pub struct Hook {
    is_on: AtomicBool,
    hung: RwLock<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Hook {
    /// Whether anything hangs here. Ask this before [`Hook::get`].
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// What hangs here, if it is a `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.hung.read().clone()?.downcast().ok()
    }

    /// Sets the value of the hook, in place of the one before.
    pub fn set<T: Any + Send + Sync>(&self, what: Arc<T>) {
        *self.hung.write() = Some(what);
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Empties the hook.
    pub fn clear(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        *self.hung.write() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_there_is_found_by_its_type() {
        let hook = Hook::default();
        assert!(!hook.is_on());
        hook.set(Arc::new(7u32));
        assert!(hook.is_on());
        assert_eq!(hook.get::<u32>().as_deref(), Some(&7));
        assert_eq!(hook.get::<u64>(), None);
        hook.clear();
        assert_eq!((hook.is_on(), hook.get::<u32>()), (false, None));
    }
}
