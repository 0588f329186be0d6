//! Which metadata fields a collection indexes, and the building of an index over records that are
//! there already: in bounded transactions, step by step.

use std::ops::ControlFlow;

use super::Collection;
use crate::error::{Error, Result};
use crate::filter::FilterError;
use crate::record::{Metadata, Slot, check_field_name};
use crate::storage::field_blocks::Changes;
use crate::storage::field_settings::{self, FieldSettings, Policy, Progress};
use crate::storage::keys as key;
use crate::storage::{Snapshot, StorageError, Table, WriteTxn, tables};

/// Records that a step reads: those of one block.
const STEP_RECORDS: usize = 4_032;
/// Text and metadata that a step reads, about, in bytes: records can be large.
const STEP_BYTES: usize = 32 << 20;

/// Which metadata fields of a new collection have an index. A filter finds the same records with
/// or without one; without, it reads them, which its report tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IndexFields {
    /// All: any field can be filtered by at once. Per record and field that takes as many bits as
    /// number the values of a block, and in each block every value once.
    #[default]
    All,
    /// Those that are declared, by
    /// [`CollectionOptions::index_field`](crate::CollectionOptions::index_field) or
    /// [`Collection::declare_field`].
    Declared,
}

impl IndexFields {
    pub(super) fn policy(self) -> Policy {
        match self {
            Self::All => Policy::All,
            Self::Declared => Policy::Declared,
        }
    }

    /// What a collection of an older file is to be indexed by in a new one.
    pub(super) fn of(policy: Policy) -> Self {
        match policy {
            Policy::Declared => Self::Declared,
            Policy::All | Policy::Entries => Self::All,
        }
    }
}

/// A metadata field with an index of its own. Given by [`Collection::declared_fields`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeclaredField {
    /// The field's name.
    pub name: String,
    /// Whether filters use the index. One that is being built is kept up, but not used.
    pub is_complete: bool,
}

/// What a transaction did.
enum Step {
    /// Nothing: the index was complete before.
    Before,
    /// The index is complete up to a slot.
    Part { next: u64, total: u64 },
    /// The index is complete.
    Whole { total: u64 },
}

impl Collection {
    /// Indexes a metadata field from now on, and builds the index over the records that are there:
    /// in transactions of some thousand records each, between which others may write. Does
    /// nothing if the field is indexed already. If it is cut short, by a crash or an error, the
    /// index is not used; calling this again goes on from where it was.
    ///
    /// Cost: reads every record, and writes the index.
    ///
    /// ```
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use portolan::{CollectionOptions, Database, Filter, IndexFields, Metric, Record};
    ///
    /// let db = Database::open(dir.path().join("kb.portolan"))?;
    /// let options = CollectionOptions::new(2, Metric::Dot).index_fields(IndexFields::Declared);
    /// let docs = db.create_collection("docs", options)?;
    /// docs.upsert(Record::new("a").field("lang", "en").vector([1.0, 0.0]))?;
    /// let search = || docs.search(&[1.0, 0.0]).filter(Filter::eq("lang", "en")).run();
    /// assert!(search()?.report.warnings[0].contains("has no index"));
    /// docs.declare_field("lang")?;
    /// assert!(search()?.report.warnings.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`FilterError::Field`](crate::FilterError::Field) for a name that no field can have;
    /// [`StorageError::Older`](crate::StorageError::Older) for files of before version 3, until
    /// they are compacted; read-only; storage.
    pub fn declare_field(&self, name: &str) -> Result<()> {
        self.declare_field_with(name, |_, _| ControlFlow::Continue(())).map(drop)
    }

    /// As [`Collection::declare_field`], and tells after each transaction how many places of how
    /// many it has read: those of the records, deleted and replaced ones too. `Break` ends it
    /// there, and calling again goes on. Returns whether the index is complete.
    ///
    /// ```
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use portolan::{CollectionOptions, Database, IndexFields, Metric, Record};
    /// use std::ops::ControlFlow;
    ///
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let options = CollectionOptions::new(2, Metric::Dot).index_fields(IndexFields::Declared);
    /// # let docs = db.create_collection("docs", options)?;
    /// # docs.upsert(Record::new("a").field("lang", "en").vector([1.0, 0.0]))?;
    /// let is_complete = docs.declare_field_with("lang", |done, total| {
    ///     println!("{done} of {total}");
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(is_complete);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Collection::declare_field`].
    pub fn declare_field_with(
        &self,
        name: &str,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<bool> {
        loop {
            match self.build_step(name, false)? {
                Step::Before => return Ok(true),
                Step::Whole { total } => {
                    let _ = progress(total, total);
                    return Ok(true);
                }
                Step::Part { next, total } if progress(next, total).is_break() => return Ok(false),
                Step::Part { .. } => {}
            }
        }
    }

    /// As [`Collection::declare_field`], but returns at once: each following commit of this
    /// collection goes on with some thousand records, in its own transaction, until the index
    /// is complete.
    ///
    /// ```
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use portolan::{CollectionOptions, Database, IndexFields, Metric, Record};
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let options = CollectionOptions::new(2, Metric::Dot).index_fields(IndexFields::Declared);
    /// # let docs = db.create_collection("docs", options)?;
    /// # docs.upsert(Record::new("a").field("lang", "en").vector([1.0, 0.0]))?;
    /// docs.declare_field_gradually("lang")?;
    /// assert!(!docs.declared_fields()?[0].is_complete);
    /// docs.upsert(Record::new("b").field("lang", "de").vector([0.0, 1.0]))?;
    /// assert!(docs.declared_fields()?[0].is_complete);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Collection::declare_field`].
    pub fn declare_field_gradually(&self, name: &str) -> Result<()> {
        self.build_step(name, true).map(drop)
    }

    /// Which metadata fields have an index: all, or the [declared](Collection::declared_fields).
    ///
    /// # Errors
    /// Storage; the collection was deleted.
    pub fn indexed_fields(&self) -> Result<IndexFields> {
        let snapshot = self.inner.snapshot()?;
        self.manifest(snapshot.as_ref())?;
        Ok(IndexFields::of(FieldSettings::read(snapshot.as_ref(), self.id)?.policy))
    }

    /// The declared fields, by name.
    ///
    /// # Errors
    /// Storage; the collection was deleted.
    pub fn declared_fields(&self) -> Result<Vec<DeclaredField>> {
        let snapshot = self.inner.snapshot()?;
        self.manifest(snapshot.as_ref())?;
        let settings = FieldSettings::read(snapshot.as_ref(), self.id)?;
        let field =
            |(name, progress)| DeclaredField { name, is_complete: progress == Progress::Complete };
        Ok(settings.declared.into_iter().map(field).collect())
    }

    /// Declares a field, or builds the next part of its index.
    fn build_step(&self, name: &str, with_commits: bool) -> Result<Step> {
        check_field_name(name).map_err(FilterError::Field)?;
        let store = self.inner.lmdb()?;
        let step = store.write(self.inner.writer, |txn| {
            let total = u64::from(self.manifest(txn)?.next_slot);
            let settings = FieldSettings::read(txn, self.id)?;
            if settings.policy == Policy::All {
                return Ok(Step::Before);
            }
            let next = match settings.declared.get(name) {
                Some(Progress::Complete) => return Ok(Step::Before),
                Some(Progress::Building { next, .. }) => *next,
                None => 0,
            };
            let progress = Progress::Building { next, with_commits };
            let reached = if with_commits {
                field_settings::put_progress(txn, self.id, name, progress)?;
                progress
            } else {
                build(txn, self.id, name, progress)?
            };
            Ok::<_, Error>(match reached {
                Progress::Complete => Step::Whole { total },
                Progress::Building { next, .. } => Step::Part { next: next.into(), total },
            })
        })?;
        self.inner.views.clear();
        Ok(step)
    }
}

/// Goes on with the fields that commits build.
pub(super) fn build_with_commits(
    txn: &mut WriteTxn<'_>,
    collection: u32,
    settings: &FieldSettings,
) -> Result<()> {
    for (name, progress) in &settings.declared {
        if matches!(progress, Progress::Building { with_commits: true, .. }) {
            build(txn, collection, name, *progress)?;
        }
    }
    Ok(())
}

/// Indexes some more records, and stores how far that is.
fn build(
    txn: &mut WriteTxn<'_>,
    collection: u32,
    name: &str,
    progress: Progress,
) -> Result<Progress> {
    let Progress::Building { next, with_commits } = progress else { return Ok(progress) };
    let mut changes = Changes::default();
    let reached = match gather(txn, collection, name, Slot(next), &mut changes)? {
        Some(next) => Progress::Building { next, with_commits },
        None => Progress::Complete,
    };
    changes.write(collection, txn)?;
    field_settings::put_progress(txn, collection, name, reached)?;
    Ok(reached)
}

/// Collects the values of a field from a slot on. Returns where to go on, if there is more.
fn gather(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    next: Slot,
    changes: &mut Changes,
) -> Result<Option<u32>> {
    let (prefix, start) = (key::collection(collection), key::slot(collection, next));
    let (mut records, mut bytes) = (0, 0);
    for entry in snapshot.range(Table::Records, &prefix, &start)? {
        let (at, sealed) = entry?;
        let slot = key::slot_of(at).ok_or(StorageError::Missing { what: "a slot" })?;
        if records == STEP_RECORDS || bytes >= STEP_BYTES {
            return Ok(Some(slot.0));
        }
        let metadata: Metadata = tables::decode_record(sealed, at)?.record.metadata;
        changes.insert(&metadata, slot, |field, _| field == name);
        records += 1;
        bytes += sealed.len();
    }
    Ok(None)
}
