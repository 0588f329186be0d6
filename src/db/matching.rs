//! What passes a filter in a view, evaluated once and kept while the view lives: the second
//! search with a filter reads no field index and no bitmap of slots.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::view::View;
use crate::error::Result;
use crate::filter::{self, Filter, FilterKey, Slots};
use crate::index::{Allow, Passing};
use crate::storage::Snapshot;

/// Filters kept of one view, at most.
const ENTRIES_MAX: usize = 64;
/// Bytes that they may take together. What one filter lets pass takes an eighth of a byte per
/// sealed vector, and up to 4 MiB per segment for copied codes; a filter that takes more than all
/// of this is evaluated every time.
const BYTES_MAX: usize = 64 << 20;

/// What a search may return of one view.
#[derive(Debug)]
pub(super) struct Matching {
    /// For each segment, in their order.
    pub(super) segments: Vec<Passing>,
    /// Places in the delta; `None` when all of it passes.
    pub(super) delta: Option<Vec<u32>>,
    /// Records with a vector that pass.
    pub(super) passing: u64,
}

impl Matching {
    fn new(view: &View, slots: &Slots) -> Self {
        let merged;
        let allow = match slots {
            Slots::Only(allowed) => Allow::OnlyLive { allowed, dead: &view.dead },
            Slots::Except(none) if none.is_empty() => Allow::Dead(&view.dead),
            Slots::Except(others) => {
                merged = others | &view.dead;
                Allow::Dead(&merged)
            }
        };
        let segments: Vec<Passing> =
            view.segments.iter().map(|segment| segment.passing(allow)).collect();
        let places = (0..).zip(&view.delta).filter(|(_, (slot, _))| slots.contains(slot.0));
        let delta: Vec<u32> = places.map(|(place, _)| place).collect();
        let sealed: u64 = segments.iter().map(|passing| u64::from(passing.count())).sum();
        let passing = sealed + delta.len() as u64;
        let delta = if delta.len() == view.delta.len() { None } else { Some(delta) };
        Self { segments, delta, passing }
    }

    fn bytes(&self, view: &View) -> usize {
        let delta = self.delta.as_ref().map_or(0, |places| places.len() * size_of::<u32>());
        let segments = view.segments.iter().zip(&self.segments);
        let segments = segments.map(|(segment, passing)| segment.bytes_of(passing));
        size_of::<Self>() + delta + segments.sum::<usize>()
    }
}

/// One filter that was searched with.
struct Entry {
    key: FilterKey,
    matching: Arc<Matching>,
    bytes: usize,
    last_used: u64,
}

#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    bytes: usize,
    uses: u64,
}

/// The filters that were searched with last.
#[derive(Default)]
pub(super) struct Matches {
    unfiltered: OnceLock<Arc<Matching>>,
    filtered: Mutex<Entries>,
}

impl Entries {
    fn get(&mut self, key: &FilterKey) -> Option<Arc<Matching>> {
        self.uses += 1;
        let entry = self.entries.iter_mut().find(|entry| entry.key == *key)?;
        entry.last_used = self.uses;
        Some(Arc::clone(&entry.matching))
    }

    /// Keeps what a filter lets pass and lets go of what was used longest ago. Two threads may
    /// have evaluated the same filter at once; the first stays.
    fn insert(&mut self, key: FilterKey, matching: &Arc<Matching>, bytes: usize) {
        let bytes = size_of::<Entry>() + key.bytes() + bytes;
        if bytes > BYTES_MAX || self.entries.iter().any(|entry| entry.key == key) {
            return;
        }
        self.bytes += bytes;
        let matching = Arc::clone(matching);
        self.entries.push(Entry { key, matching, bytes, last_used: self.uses });
        while self.bytes > BYTES_MAX || self.entries.len() > ENTRIES_MAX {
            let oldest = (0..).zip(&self.entries).min_by_key(|(_, entry)| entry.last_used);
            let Some((at, _)) = oldest else { return };
            self.bytes -= self.entries.swap_remove(at).bytes;
        }
    }
}

impl View {
    /// What a filter lets pass, or what is alive without one.
    ///
    /// # Errors
    /// [`Error::Filter`](crate::Error::Filter).
    pub(super) fn matching(
        &self,
        filter: Option<&Filter>,
        snapshot: &dyn Snapshot,
        collection: u32,
    ) -> Result<Arc<Matching>> {
        let Some(filter) = filter else {
            let unfiltered = || Arc::new(Matching::new(self, &Slots::all()));
            return Ok(Arc::clone(self.matches.unfiltered.get_or_init(unfiltered)));
        };
        let key = FilterKey::new(filter)?;
        let lock = || self.matches.filtered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return Ok(known);
        }
        // Not under the lock: other filters need not wait for the field index.
        let slots = filter::evaluate(filter, snapshot, collection)?;
        let matching = Arc::new(Matching::new(self, &slots));
        lock().insert(key, &matching, matching.bytes(self));
        Ok(matching)
    }
}
