//! What passes a filter in a view, evaluated once and kept while the view lives: the second
//! search with a filter reads no field index and no bitmap of slots.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Collection;
use super::view::View;
use crate::error::Result;
use crate::filter::{self, Filter, FilterKey, Selected, Slots};
use crate::index::{Allow, Passing};
use crate::storage::Snapshot;

/// Filters kept of one view, at most.
const ENTRIES_MAX: usize = 64;
/// Bytes that they may take together, but for copied codes. What one filter lets pass takes an
/// eighth of a byte per sealed vector; one that takes more than all of this is evaluated every
/// time.
const BYTES_MAX: usize = 64 << 20;
/// Bytes that the codes may take that scans copied for them. Where they take more when a filter is
/// looked up, those used longest ago lose their copies, and no more than those: a copy is soon
/// made, an evaluation not. Beside them are copies of this one filter, and of searches under way,
/// each of up to 16 MiB per segment.
const COPIED_MAX: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// What a search may return of one view.
#[derive(Debug)]
pub(super) struct Matching {
    /// For each segment, in their order.
    pub(super) segments: Vec<Passing>,
    /// Places in the delta; `None` when all of it passes.
    pub(super) delta: Option<Vec<u32>>,
    /// Records with a vector that pass.
    pub(super) passing: u64,
    /// Slots of records that pass, with a vector or without.
    pub(super) slots: Slots,
    /// How the filter was evaluated.
    pub(super) looked: Looked,
    /// What made the filter slow.
    pub(super) warnings: Vec<String>,
}

/// How a filter was evaluated, when that was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// Fields without an index.
    pub(super) scanned: Vec<String>,
    /// Records that were read because of them.
    pub(super) records_read: u64,
}

impl Matching {
    fn new(view: &View, slots: Slots) -> Self {
        let merged;
        let dead = match &slots {
            Slots::Except(others) if !others.is_empty() => {
                merged = others | &view.dead;
                &merged
            }
            _ => &view.dead,
        };
        let allow = match &slots {
            Slots::Only(allowed) if dead.is_empty() => Allow::Only(allowed),
            Slots::Only(allowed) => Allow::OnlyLive { allowed, dead },
            Slots::Except(_) if dead.is_empty() => Allow::All,
            Slots::Except(_) => Allow::Dead(dead),
        };
        let segments: Vec<Passing> = view
            .segments
            .iter()
            .map(|segment| segment.passing(allow).copies_counted_in(&view.matches.copied))
            .collect();
        let places = (0..).zip(&view.delta).filter(|(_, (slot, _))| slots.contains(slot.0));
        let delta: Vec<u32> = places.map(|(place, _)| place).collect();
        let sealed: u64 = segments.iter().map(|passing| u64::from(passing.count())).sum();
        let passing = sealed + delta.len() as u64;
        let delta = if delta.len() == view.delta.len() { None } else { Some(delta) };
        let (looked, warnings) = (Looked::default(), Vec::new());
        Self { segments, delta, passing, slots, looked, warnings }
    }

    fn bytes(&self) -> usize {
        let delta = self.delta.as_ref().map_or(0, |places| places.len() * size_of::<u32>());
        let segments = self.segments.iter().map(Passing::bytes);
        let (Slots::Only(slots) | Slots::Except(slots)) = &self.slots;
        size_of::<Self>() + slots.serialized_size() + delta + segments.sum::<usize>()
    }

    fn clear_copied(&self) {
        self.segments.iter().for_each(Passing::clear_copied);
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
    /// Bytes of all copies that scans have made.
    copied: Arc<AtomicUsize>,
}

impl Entries {
    fn get(&mut self, key: &FilterKey) -> Option<Arc<Matching>> {
        self.uses += 1;
        let entry = self.entries.iter_mut().find(|entry| entry.key == *key)?;
        entry.last_used = self.uses;
        Some(Arc::clone(&entry.matching))
    }

    /// Lets go of copies, those of the filters used longest ago first, until all that there are,
    /// counted in `copied`, take at most so many bytes. That of the filter used last stays.
    fn clear_copied(&mut self, copied: &AtomicUsize, most: usize) {
        let mut others: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.last_used < self.uses).collect();
        others.sort_unstable_by_key(|entry| entry.last_used);
        for entry in others {
            if copied.load(Ordering::Relaxed) <= most {
                return;
            }
            entry.matching.clear_copied();
        }
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
        self.kept(filter, || {
            let Some(filter) = filter else { return Ok(Matching::new(self, Slots::all())) };
            let selected = filter::evaluate(filter, snapshot, collection)?;
            let warnings = warnings(&selected);
            let Selected { slots, scanned, records_read, .. } = selected;
            let looked = Looked { scanned: scanned.into_iter().collect(), records_read };
            Ok(Matching { looked, warnings, ..Matching::new(self, slots) })
        })
    }

    /// What a filter lets pass of this view, where it was evaluated for another of the same
    /// collection and version.
    ///
    /// # Errors
    /// [`Error::Filter`](crate::Error::Filter).
    pub(super) fn matching_as(
        &self,
        filter: Option<&Filter>,
        known: &Matching,
    ) -> Result<Arc<Matching>> {
        self.kept(filter, || {
            let (looked, warnings) = (known.looked.clone(), known.warnings.clone());
            Ok(Matching { looked, warnings, ..Matching::new(self, known.slots.clone()) })
        })
    }

    fn kept(
        &self,
        filter: Option<&Filter>,
        evaluate: impl FnOnce() -> Result<Matching>,
    ) -> Result<Arc<Matching>> {
        let Some(filter) = filter else {
            if let Some(unfiltered) = self.matches.unfiltered.get() {
                return Ok(Arc::clone(unfiltered));
            }
            let unfiltered = Arc::new(evaluate()?);
            return Ok(Arc::clone(self.matches.unfiltered.get_or_init(|| unfiltered)));
        };
        let key = FilterKey::new(filter)?;
        let lock = || self.matches.filtered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&key);
        let matching = match known {
            Some(known) => known,
            None => {
                // Not under the lock: other filters need not wait for the field index.
                let matching = Arc::new(evaluate()?);
                lock().insert(key, &matching, matching.bytes());
                matching
            }
        };
        if self.matches.copied.load(Ordering::Relaxed) > COPIED_MAX {
            lock().clear_copied(&self.matches.copied, COPIED_MAX);
        }
        Ok(matching)
    }
}

/// What to do about the fields that were looked for in records, and about those that cannot match.
fn warnings(selected: &Selected) -> Vec<String> {
    let of = |field: &String| {
        format!(
            "the field {field:?} has no index: the filter read {} records; declare it with \
             Collection::declare_field",
            selected.records_read
        )
    };
    let unmet = selected.unmet.iter().map(ToString::to_string);
    selected.scanned.iter().map(of).chain(unmet).collect()
}

/// How many records some slots are, of so many: indexes and records know live slots alone.
pub(super) fn records_of(slots: &Slots, records: u64) -> u64 {
    match slots {
        Slots::Only(these) => these.len(),
        Slots::Except(others) => records.saturating_sub(others.len()),
    }
}

/// How many records match a filter. Given by [`Collection::count_where`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// Records that match, with a vector or without.
    pub records: u64,
    /// Wall time.
    pub took: Duration,
    /// What made it slower than it need be, and what to do about it: fields without an index. And
    /// comparisons that no record can meet, as of a field that none has.
    pub warnings: Vec<String>,
}

impl Collection {
    /// What a filter lets pass of the view of a snapshot, kept with it; none without a filter. For
    /// searches that know no view.
    ///
    /// # Errors
    /// [`Error::Filter`](crate::Error::Filter).
    pub(super) fn passing(
        &self,
        filter: Option<&Filter>,
        snapshot: &dyn Snapshot,
    ) -> Result<Option<Arc<Matching>>> {
        if filter.is_none() {
            return Ok(None);
        }
        self.view(snapshot)?.matching(filter, snapshot, self.id).map(Some)
    }

    /// Counts the records that match a filter, those without a vector too. Nothing is kept of it:
    /// the filter is evaluated each time.
    ///
    /// ```
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use portolan::{CollectionOptions, Database, Metric, Record};
    ///
    /// let db = Database::open(dir.path().join("kb.portolan"))?;
    /// let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Dot))?;
    /// docs.upsert(Record::new("a").field("tags", vec!["sea", "map"]).field("year", 1375))?;
    /// docs.upsert(Record::new("b").field("path", "charts/west").field("year", 1290))?;
    /// for text in [
    ///     "contains(tags, \"map\")",
    ///     "starts_with(path, \"charts/\") and year < 1300",
    ///     "id in (\"a\", \"c\") or tags is null",
    /// ] {
    ///     assert_eq!(docs.count_where(&text.parse()?)?.records, 1);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Filter`](crate::Error::Filter); storage; the collection was deleted.
    pub fn count_where(&self, filter: &Filter) -> Result<Counted> {
        let begin = Instant::now();
        let snapshot = self.inner.snapshot()?;
        let all = self.manifest(snapshot.as_ref())?.records;
        let selected = filter::evaluate(filter, snapshot.as_ref(), self.id)?;
        let records = records_of(&selected.slots, all);
        Ok(Counted { records, took: begin.elapsed(), warnings: warnings(&selected) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{CollectionOptions, Database};
    use crate::record::Record;
    use crate::vectors::Metric;

    fn filled(dir: &tempfile::TempDir) -> Collection {
        let db = Database::open(dir.path().join("m.portolan")).unwrap();
        let options = CollectionOptions::new(4, Metric::L2);
        let docs = db.create_collection("docs", options).unwrap();
        let mut batch = docs.batch();
        for id in 0..100_i64 {
            batch.upsert(Record::new(id).field("at", id).vector(vec![id as f32; 4])).unwrap();
        }
        batch.commit().unwrap();
        docs
    }

    fn matching(docs: &Collection, filter: Option<Filter>) -> Arc<Matching> {
        let snapshot = docs.inner.snapshot().unwrap();
        let view = docs.view(snapshot.as_ref()).unwrap();
        view.matching(filter.as_ref(), snapshot.as_ref(), docs.id).unwrap()
    }

    #[test]
    fn equal_filters_share_what_passes_until_a_commit() {
        let dir = tempfile::tempdir().unwrap();
        let docs = filled(&dir);
        let filter = || Some(Filter::lt("at", 40));
        let first = matching(&docs, filter());
        assert_eq!(first.passing, 40);
        assert!(Arc::ptr_eq(&first, &matching(&docs, filter())));
        assert!(!Arc::ptr_eq(&first, &matching(&docs, Some(Filter::lt("at", 41)))));
        let all = matching(&docs, None);
        assert_eq!(all.passing, 100);
        assert!(Arc::ptr_eq(&all, &matching(&docs, None)));
        docs.delete(7_i64).unwrap();
        assert_eq!(matching(&docs, filter()).passing, 39);
        docs.maintain().run().unwrap();
        let sealed = matching(&docs, filter());
        assert_eq!((sealed.passing, sealed.segments[0].count()), (39, 39));
        docs.delete(8_i64).unwrap();
        assert_eq!(matching(&docs, filter()).passing, 38);
        assert_eq!(matching(&docs, None).passing, 98);
        assert_eq!(matching(&docs, filter().map(Filter::negate)).passing, 60);
    }

    fn entry(number: i64) -> (FilterKey, Arc<Matching>) {
        let key = FilterKey::new(&Filter::eq("at", number)).unwrap();
        let (segments, delta) = (Vec::new(), None);
        let (passing, warnings, slots) = (number as u64, Vec::new(), Slots::none());
        let looked = Looked::default();
        (key, Arc::new(Matching { segments, delta, passing, slots, looked, warnings }))
    }

    #[test]
    fn filters_used_longest_ago_go_when_there_are_too_many() {
        let mut entries = Entries::default();
        for number in 0..=ENTRIES_MAX as i64 {
            let (key, matching) = entry(number);
            entries.insert(key, &matching, 1);
            // The first is used again and again, so the second goes.
            assert!(entries.get(&entry(0).0).is_some());
        }
        assert_eq!(entries.entries.len(), ENTRIES_MAX);
        assert!(entries.get(&entry(1).0).is_none());
        assert_eq!(entries.get(&entry(2).0).map(|kept| kept.passing), Some(2));
    }

    #[test]
    fn filters_take_no_more_bytes_than_their_bound() {
        let mut entries = Entries::default();
        for number in 0..20 {
            let (key, matching) = entry(number);
            entries.insert(key.clone(), &matching, BYTES_MAX / 4);
            entries.insert(key, &matching, BYTES_MAX / 4);
            assert!(entries.bytes <= BYTES_MAX && entries.entries.len() <= 3);
            let sum: usize = entries.entries.iter().map(|entry| entry.bytes).sum();
            assert_eq!(entries.bytes, sum);
        }
        let (key, matching) = entry(99);
        entries.insert(key.clone(), &matching, BYTES_MAX);
        assert!(entries.get(&key).is_none());
    }

    #[test]
    fn copied_codes_keep_to_their_bound_and_hits_stay_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(dir.path().join("m.portolan")).unwrap();
        let docs = db.create_collection("docs", CollectionOptions::new(4, Metric::L2)).unwrap();
        let of = |id: i64| [7, 13, 29, 31].map(|by| (id * by % 101) as f32);
        let mut batch = docs.batch();
        for id in 0..6_000_i64 {
            batch.upsert(Record::new(id).field("at", id).vector(of(id).to_vec())).unwrap();
        }
        batch.commit().unwrap();
        docs.maintain().run().unwrap();
        let filters = [400, 500, 600].map(|end| Filter::lt("at", end));
        let view = docs.view(docs.inner.snapshot().unwrap().as_ref()).unwrap();
        let copied = || view.matches.copied.load(Ordering::Relaxed);
        // A line of codes and a position for each row.
        let bytes = |rows: usize| rows * (64 + 4);
        let search = |at: usize| {
            let hits = docs.search(&of(77)).filter(filters[at].clone()).run().unwrap();
            assert!(copied() <= COPIED_MAX + bytes(600), "{}", copied());
            hits.iter().map(|hit| (hit.id.clone(), hit.score)).collect::<Vec<_>>()
        };
        let all = || (0..3).map(search).collect::<Vec<_>>();
        let (first, none) = (all(), copied());
        assert_eq!((all(), none, copied()), (first.clone(), 0, bytes(400 + 500 + 600)));
        let is_copied = || {
            let entries = view.matches.filtered.lock().unwrap();
            let of = |entry: &Entry| entry.matching.segments.iter().any(Passing::is_copied);
            entries.entries.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(is_copied(), [true; 3]);
        // They are too much together, and those of the last two searches still are.
        assert_eq!((search(0), is_copied()), (first[0].clone(), vec![true, false, false]));
        assert_eq!((search(2), is_copied()), (first[2].clone(), vec![true, false, false]));
        assert_eq!((search(2), is_copied()), (first[2].clone(), vec![true, false, true]));
        assert_eq!(copied(), bytes(400 + 600));
        // A batch of searches copies with one look at the filter.
        let queries = [of(1), of(2), of(77)];
        let many = docs.search_batch(&queries).filter(filters[1].clone()).run().unwrap();
        assert_eq!(many[2][0].id, first[1][0].0);
        assert_eq!(
            (search(0), is_copied().iter().filter(|is| **is).count()),
            (first[0].clone(), 1)
        );
        assert_eq!(all(), first);
    }
}
