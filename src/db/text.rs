//! Search by words: the text index of a collection, made with it or later, and the search over it.

use std::time::Instant;

use super::search::{Hit, Hits, SearchReport};
use super::{Collection, CollectionOptions};
use crate::error::{Error, Result};
use crate::filter::{Filter, Slots};
use crate::lexical::{self, Scored, Searched, TextChanges, TextError, TextIndex, TextQuery};
use crate::storage::keys as key;
use crate::storage::settings::{self, Setting};
use crate::storage::{Snapshot, StorageError, Table, tables};

/// Records of a transaction of [`Collection::index_text`].
const RECORDS: usize = 5_000;
/// Postings of one, about; they are held in memory.
const POSTINGS: usize = 2_000_000;

impl CollectionOptions {
    /// Indexes the words of records, for [`Collection::search_text`]. Default: they are not;
    /// [`Collection::index_text`] can do it later.
    ///
    /// Cost: about a quarter of the bytes of the text, and about 30 us a record of 100 words
    /// when it is written.
    pub fn text(mut self, index: TextIndex) -> Self {
        self.text = Some(index);
        self
    }
}

/// The text index of a collection, if it has one.
pub(super) fn text_index(snapshot: &dyn Snapshot, collection: u32) -> Result<Option<TextIndex>> {
    let setting = settings::get(snapshot, collection, Setting::Text, "")?;
    Ok(setting.map(TextIndex::decode).transpose()?)
}

impl Collection {
    /// Searches by words, best BM25 score first. Synchronous; knows no model.
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Filter, Language, Metric, Record, TextIndex};
    /// use portolan::TextQuery;
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// let options = CollectionOptions::new(3, Metric::Cosine);
    /// let options = options.text(TextIndex::new(Language::English).title(2));
    /// let docs = db.create_collection("docs", options)?;
    /// docs.upsert(Record::new("a").title("Sea charts").text("Venice, 1300").field("year", 1300))?;
    /// docs.upsert(Record::new("b").text("Sailing by the chart").field("year", 1500))?;
    ///
    /// let hits = docs.search_text("charts for sailing").run()?;
    /// assert_eq!(hits[0].id, "b".into());
    /// let query = TextQuery::parse("\"sea chart\" sail*");
    /// let hits = docs.search_text(query).filter(Filter::lt("year", 1400)).limit(5).run()?;
    /// assert_eq!(hits[0].id, "a".into());
    /// # Ok(()) }
    /// ```
    pub fn search_text(&self, query: impl Into<TextQuery>) -> TextSearch {
        TextSearch { collection: self.clone(), query: query.into(), limit: 10, filter: None }
    }

    /// How words are indexed, if they are.
    ///
    /// # Errors
    /// [`Error::Text`]; storage; the collection was deleted.
    pub fn text_index(&self) -> Result<Option<TextIndex>> {
        let snapshot = self.inner.snapshot()?;
        self.manifest(snapshot.as_ref())?;
        text_index(snapshot.as_ref(), self.id)
    }

    /// Indexes the words of all records, and of those that come later; an index that is there is
    /// replaced. How many records were indexed.
    ///
    /// Works through the collection in transactions of bounded size and publishes the index with
    /// the last. Until then searches by words are refused, and writers wait or are refused, as
    /// this handle's [`WriterPolicy`](crate::WriterPolicy) says of them.
    ///
    /// Cost: reads every record; about 30 us for each of 100 words.
    ///
    /// # Errors
    /// [`Error::Text`] for an index that cannot be; [`StorageError::Older`]; read-only; storage.
    pub fn index_text(&self, index: &TextIndex) -> Result<u64> {
        index.check()?;
        let writer = self.inner.lmdb()?.writer(self.inner.writer)?;
        self.inner.views.clear();
        writer.transact(|txn| {
            self.manifest(txn)?;
            // Refused before anything is removed.
            txn.needs(Table::Postings.since())?;
            settings::remove(txn, self.id, Setting::Text, "")?;
            txn.delete_prefix(Table::Postings, &key::collection(self.id))?;
            Ok::<_, Error>(())
        })?;
        let prefix = key::collection(self.id);
        let (mut next, mut indexed) = (Some(prefix.to_vec()), 0);
        while let Some(start) = next {
            next = writer.transact(|txn| {
                let mut changes = TextChanges::new(self.id, index, 0);
                let mut last = None;
                for entry in txn.range(Table::Records, &prefix, &start)?.take(RECORDS) {
                    let (at, sealed) = entry?;
                    let slot = key::slot_of(at).ok_or(StorageError::Missing { what: "a slot" })?;
                    changes.add(slot, &tables::decode_record(sealed, at)?.record);
                    last = Some(at.to_vec());
                    if changes.len() >= POSTINGS {
                        break;
                    }
                }
                changes.write(txn)?;
                if last.is_none() {
                    settings::put(txn, self.id, Setting::Text, "", &index.encode())?;
                }
                // With a zero byte it is the next key there can be.
                Ok::<_, Error>(last.map(|mut at| {
                    at.push(0);
                    at
                }))
            })?;
        }
        let snapshot = self.inner.snapshot()?;
        indexed += self.manifest(snapshot.as_ref())?.records;
        Ok(indexed)
    }

    /// Removes the text index; whether there was one. Searches by words are refused then.
    ///
    /// # Errors
    /// Read-only; storage.
    pub fn remove_text_index(&self) -> Result<bool> {
        self.inner.views.clear();
        self.inner.lmdb()?.write(self.inner.writer, |txn| {
            txn.delete_prefix(Table::Postings, &key::collection(self.id))?;
            Ok(settings::remove(txn, self.id, Setting::Text, "")?)
        })
    }

    /// The text index; an error that tells how to make one if there is none.
    pub(super) fn needed_text_index(&self, snapshot: &dyn Snapshot) -> Result<TextIndex> {
        let none = || TextError::NoIndex { collection: self.name.to_string() };
        Ok(text_index(snapshot, self.id)?.ok_or_else(none)?)
    }
}

/// A search by words. Made by [`Collection::search_text`].
#[derive(Debug, Clone)]
#[must_use]
pub struct TextSearch {
    collection: Collection,
    query: TextQuery,
    limit: usize,
    filter: Option<Filter>,
}

impl TextSearch {
    /// At most so many hits. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// Finds only records that match.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Our numbers of the records and their scores, without the records: for benches. Not API.
    ///
    /// # Errors
    /// As [`TextSearch::run`].
    #[doc(hidden)]
    pub fn run_slots(self) -> Result<Vec<(u32, f32)>> {
        let snapshot = self.collection.inner.snapshot()?;
        let (searched, ..) = self.find(snapshot.as_ref())?;
        Ok(searched.best.into_iter().map(|found| (found.slot.0, found.score)).collect())
    }

    fn find(&self, snapshot: &dyn Snapshot) -> Result<(Searched, Slots, Vec<String>)> {
        let collection = &self.collection;
        collection.manifest(snapshot)?;
        let index = collection.needed_text_index(snapshot)?;
        let (passes, warnings) = collection.passing(self.filter.as_ref(), snapshot)?;
        let (query, limit) = (&self.query, self.limit);
        let searched = lexical::search(snapshot, collection.id, &index, query, limit, &passes)?;
        Ok((searched, passes, warnings))
    }

    /// Runs the search on the newest version of the file. The scores of hits are BM25 scores,
    /// equal ones in order of insertion.
    ///
    /// # Errors
    /// [`Error::Text`] if the collection has no text index; [`Error::Filter`]; storage.
    pub fn run(self) -> Result<Hits> {
        let begin = Instant::now();
        let collection = &self.collection;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let (searched, passes, warnings) = self.find(snapshot)?;
        let records = collection.manifest(snapshot)?.records;
        let mut hits = Vec::with_capacity(searched.best.len());
        for Scored { slot, score } in searched.best {
            let record = tables::record(snapshot, collection.id, slot)?.record;
            hits.push(Hit::new(score, record));
        }
        let passing = match passes {
            Slots::Only(slots) => slots.len(),
            Slots::Except(slots) => records.saturating_sub(slots.len()),
        };
        let candidates = usize::try_from(searched.scored).unwrap_or(usize::MAX);
        let took = begin.elapsed();
        Ok(Hits {
            hits,
            report: SearchReport { took, candidates, passing, warnings, ..SearchReport::default() },
        })
    }
}
