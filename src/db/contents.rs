//! What tells whether a collection still has the contents that something was worked out from.

use xxhash_rust::xxh3::Xxh3;

use super::Collection;
use super::text::text_index;
use crate::error::{Error, Result};
use crate::storage::{Table, keys as key, tables};

/// The contents of a collection at one version of its file, told by little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Number of the commit that was read. Commits to other collections and to the cache count too.
    pub(crate) commit: u64,
    /// Live records.
    pub(crate) records: u64,
    /// Changes with every commit to this collection, with no other.
    pub(crate) mark: u64,
}

impl Collection {
    /// The contents at one version of the file, the newest. Reads the manifest and the setting of
    /// the text index.
    ///
    /// # Errors
    /// Storage; the collection was deleted.
    pub(crate) fn contents(&self) -> Result<Contents> {
        let snapshot = self.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let words = text_index(snapshot, self.id)?;
        let entry = snapshot.get(Table::Collections, &key::manifest(self.id))?;
        let deleted = || Error::CollectionNotFound { name: self.name.to_string() };
        let mut hasher = Xxh3::new();
        hasher.update(entry.ok_or_else(deleted)?);
        hasher.update(format!("{words:?}").as_bytes());
        let records = tables::manifest(snapshot, self.id)?.records;
        Ok(Contents { commit: snapshot.version(), records, mark: hasher.digest() })
    }
}

#[cfg(test)]
mod tests {
    use crate::db::{CollectionOptions, Database};
    use crate::lexical::{Language, TextIndex};
    use crate::record::Record;
    use crate::vectors::Metric;

    #[test]
    fn the_mark_changes_with_each_commit_to_the_collection_and_with_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let db = Database::open(dir.path().join("k.portolan")).expect("a database");
        let make = |name| db.create_collection(name, CollectionOptions::new(2, Metric::Cosine));
        let (docs, other) = (make("docs").expect("one"), make("other").expect("another"));
        let put = |id: &str, text: &str| {
            let record = Record::new(id).text(text).vector([1.0, 0.0]);
            docs.upsert(record).expect("a commit");
            docs.contents().expect("the contents")
        };
        let first = put("a", "x");
        other.upsert(Record::new("a").text("y").vector([1.0, 0.0])).expect("a commit");
        let beside = docs.contents().expect("the contents");
        assert_eq!((beside.mark, beside.records), (first.mark, 1));
        assert!(beside.commit > first.commit);
        let second = put("a", "another text, the same vector");
        assert_ne!(second.mark, first.mark);
        docs.index_text(&TextIndex::new(Language::English)).expect("an index");
        let third = docs.contents().expect("the contents");
        assert_ne!(third.mark, second.mark);
        docs.delete("a").expect("a commit");
        assert_ne!(docs.contents().expect("the contents").mark, third.mark);
    }
}
