//! Search by words: the text index of a collection, made with it or later, and the search over it.

use std::sync::Arc;
use std::time::Instant;

use super::matching::{Matching, records_of};
use super::search::{Hits, SearchReport};
use super::{Collection, CollectionOptions};
use crate::error::{Error, Result};
use crate::filter::{Filter, Slots};
use crate::index::Neighbor;
use crate::lexical::{self, Scored, Searched, TextChanges, TextError, TextIndex, TextQuery};
use crate::storage::keys as key;
use crate::storage::settings::{self, Setting};
use crate::storage::{Snapshot, StorageError, Table, Writer, tables};

/// Records of a transaction of [`Collection::index_text`].
const RECORDS: usize = 5_000;
/// Postings of one, about; they are held in memory.
const POSTINGS: usize = 2_000_000;
/// Entries of postings that one transaction removes, of at most some KiB each.
const REMOVED: usize = 10_000;

impl CollectionOptions {
    /// Indexes the words of records, for [`Collection::search_text`]. Default: they are not;
    /// [`Collection::index_text`] can do it later.
    ///
    /// Cost: about a fifth of the bytes of the text, and about 25 us a record of 100 words
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

/// Removes the postings under a number, in transactions of bounded size.
pub(super) fn remove_postings(writer: &Writer<'_>, collection: u32) -> Result<()> {
    let prefix = key::collection(collection);
    let remove = || {
        writer.transact(|txn| Ok::<_, Error>(txn.delete_some(Table::Postings, &prefix, REMOVED)?))
    };
    while remove()? == REMOVED {}
    Ok(())
}

/// Collections that have postings but no text index: indexing or removing one was interrupted.
/// What cannot be read counts as indexed; verify and repair tell of it.
pub(super) fn unindexed(snapshot: &dyn Snapshot) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for (at, _) in snapshot.range(Table::Collections, &[0], &[0])?.map_while(Result::ok) {
        let definition = key::definition_name(at).map(|name| tables::definition(snapshot, name));
        let Some(Ok(Some(definition))) = definition else { continue };
        let prefix = key::collection(definition.id);
        let is_indexed =
            !matches!(settings::get(snapshot, definition.id, Setting::Text, ""), Ok(None));
        if !is_indexed && snapshot.range(Table::Postings, &prefix, &prefix)?.next().is_some() {
            found.push(definition.id);
        }
    }
    Ok(found)
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
    /// Cost: reads every record; about 25 us for each of 100 words.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::{Language, TextIndex};
    ///
    /// assert_eq!(docs.search_text("depth").run()?.len(), 1);
    /// // Words as they stand, and those of a metadata field.
    /// assert_eq!(docs.index_text(&TextIndex::new(Language::None).field("document", 2))?, 6);
    /// assert_eq!(docs.search_text("depth").run()?.len(), 0);
    /// assert_eq!(docs.search_text("pilot").run()?.len(), 3);
    /// # Ok(()) }
    /// ```
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
            Ok::<_, Error>(())
        })?;
        remove_postings(&writer, self.id)?;
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
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// assert!(docs.remove_text_index()?);
    /// assert!(docs.text_index()?.is_none());
    /// assert!(docs.search_text("harbor").run().is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Read-only; storage.
    pub fn remove_text_index(&self) -> Result<bool> {
        self.inner.views.clear();
        let writer = self.inner.lmdb()?.writer(self.inner.writer)?;
        // First, so that what is left is never taken for an index.
        let had = writer.transact(|txn| settings::remove(txn, self.id, Setting::Text, ""))?;
        remove_postings(&writer, self.id)?;
        Ok(had)
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
        let (searched, _) = self.find(snapshot.as_ref())?;
        Ok(searched.best.into_iter().map(|found| (found.slot.0, found.score)).collect())
    }

    fn find(&self, snapshot: &dyn Snapshot) -> Result<(Searched, Option<Arc<Matching>>)> {
        let collection = &self.collection;
        collection.manifest(snapshot)?;
        let index = collection.needed_text_index(snapshot)?;
        let matching = collection.passing(self.filter.as_ref(), snapshot)?;
        let all = Slots::all();
        let passes = matching.as_ref().map_or(&all, |matching| &matching.slots);
        let (query, limit) = (&self.query, self.limit);
        let searched = lexical::search(snapshot, collection.id, &index, query, limit, passes)?;
        Ok((searched, matching))
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
        let (searched, matching) = self.find(snapshot)?;
        let records = collection.manifest(snapshot)?.records;
        let (scored, vain) = (searched.scored, searched.vain);
        let neighbor = |Scored { slot, score }| Neighbor { slot: slot.0, score };
        let hits = collection.hits(snapshot, searched.best.into_iter().map(neighbor).collect())?;
        let mut report = posted(begin, scored, matching.as_deref(), records);
        report.warnings.extend(vain.map(str::to_owned));
        Ok(Hits { hits, report })
    }
}

/// The report of a search over postings, of a field that so many records have.
pub(super) fn posted(
    begin: Instant,
    scored: u64,
    matching: Option<&Matching>,
    records: u64,
) -> SearchReport {
    let passing = matching.map_or(records, |matching| records_of(&matching.slots, records));
    SearchReport {
        took: begin.elapsed(),
        candidates: usize::try_from(scored).unwrap_or(usize::MAX),
        passing,
        warnings: matching.map(|matching| matching.warnings.clone()).unwrap_or_default(),
        ..SearchReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Database, VectorField};
    use crate::lexical::Language;
    use crate::record::Record;
    use crate::vectors::Metric;

    fn postings(collection: &Collection) -> usize {
        let snapshot = collection.inner.snapshot().unwrap();
        let prefix = key::collection(collection.id);
        snapshot.range(Table::Postings, &prefix, &prefix).unwrap().count()
    }

    #[test]
    fn words_of_an_index_that_was_cut_short_go_when_the_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.portolan");
        let db = Database::open(&path).unwrap();
        let with_words = || CollectionOptions::new(2, Metric::Dot).text(TextIndex::default());
        let whole = db.create_collection("whole", with_words()).unwrap();
        whole.upsert(Record::new(1).text("compass")).unwrap();
        let options = with_words().vector_field("sparse", VectorField::sparse());
        let cut = db.create_collection("cut", options).unwrap();
        // More entries than one transaction removes.
        let mut batch = cut.batch();
        for id in 0..60_i64 {
            let words = (0..200).map(|word| format!("secret{id}x{word} ")).collect::<String>();
            batch.upsert(Record::new(id).text(words).named_vector("sparse", [(7, 1.0)])).unwrap();
        }
        batch.commit().unwrap();
        assert!(postings(&cut) > REMOVED);
        // As when a process is killed before the setting is written.
        let remove = |txn: &mut crate::storage::WriteTxn<'_>| {
            settings::remove(txn, cut.id, Setting::Text, "")
        };
        db.inner.lmdb().unwrap().write(db.inner.writer, remove).unwrap();
        cut.delete(3_i64).unwrap();
        drop((whole, cut, db));
        let db = Database::open(&path).unwrap();
        let (whole, cut) = (db.collection("whole").unwrap(), db.collection("cut").unwrap());
        assert_eq!(postings(&cut), 0);
        assert_eq!(cut.search_sparse("sparse", &[(7, 1.0)]).limit(100).run().unwrap().len(), 59);
        assert_eq!(whole.search_text("compass").run().unwrap().len(), 1);
        db.verify().unwrap();
        let copy = dir.path().join("copy.portolan");
        db.compact_to(&copy).unwrap();
        let bytes = std::fs::read(&copy).unwrap();
        assert!(!bytes.windows(10).any(|found| found == b"secret3x19"));
    }

    #[test]
    fn an_index_of_more_entries_than_a_transaction_removes_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(dir.path().join("whole.portolan")).unwrap();
        let options = CollectionOptions::new(2, Metric::Dot).text(TextIndex::default());
        let docs = db.create_collection("docs", options).unwrap();
        let words =
            |id: i64| (0..=REMOVED).map(|word| format!("w{id}x{word} ")).collect::<String>();
        docs.upsert(Record::new(1).text(words(1))).unwrap();
        docs.index_text(&TextIndex::new(Language::English)).unwrap();
        db.verify().unwrap();
        assert!(postings(&docs) > REMOVED);
        assert!(docs.remove_text_index().unwrap());
        assert_eq!(postings(&docs), 0);
    }
}
