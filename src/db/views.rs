//! Which view a search gets, and when views go: the swap of one version for the next.
//! `tests/interleavings` compiles this file once more, to run its threads in every order.

use std::collections::BTreeMap;
use std::sync::PoisonError;
#[cfg(not(shuttle))]
use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(shuttle)]
use shuttle::sync::{Arc, Mutex, MutexGuard};

/// The newest view of each space.
pub(super) struct Views<V> {
    /// By number of the space; sorted, so that threads in the same order do the same again.
    views: Mutex<BTreeMap<u32, Kept<V>>>,
}

struct Kept<V> {
    version: u64,
    view: Arc<V>,
}

impl<V> Default for Views<V> {
    fn default() -> Self {
        Self { views: Mutex::new(BTreeMap::new()) }
    }
}

impl<V> Views<V> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Kept<V>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view of a space at a version: that which is kept, or else what `build` makes. It is
    /// kept from now on, unless a newer one is; `attend` sees it before others get it.
    pub(super) fn get<E>(
        &self,
        space: u32,
        version: u64,
        build: impl FnOnce() -> Result<V, E>,
        attend: impl FnOnce(&Arc<V>),
    ) -> Result<Arc<V>, E> {
        let mut views = self.lock();
        // A view of an older version keeps pages alive that could be used again.
        views.retain(|_, kept| kept.version >= version);
        if let Some(kept) = views.get(&space).filter(|kept| kept.version == version) {
            return Ok(Arc::clone(&kept.view));
        }
        // Built under the lock: the searches that wait here all need this very view.
        let view = Arc::new(build()?);
        if views.get(&space).is_none_or(|kept| kept.version < version) {
            attend(&view);
            views.insert(space, Kept { version, view: Arc::clone(&view) });
        }
        Ok(view)
    }

    /// Drops all views, and with them the transactions that they keep alive.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}
