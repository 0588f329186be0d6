//! A batch: checked change by change, committed whole or not at all.

use super::document::Prune;
use super::maintenance::Maintained;
use super::slot_set::SlotSet;
use super::space::Field;
use super::space_changes::{FieldRows, SpaceChanges};
use super::{Collection, field_index, maintenance, text};
use crate::error::{Error, Result};
use crate::format::ID_BYTES_MAX;
use crate::lexical::TextChanges;
use crate::record::{ModelContract, Record, RecordId, Slot, check_id};
use crate::storage::field_blocks::Changes;
use crate::storage::field_settings::{FieldSettings, Policy};
use crate::storage::keys as key;
use crate::storage::tables::{self, Contract, Manifest, StoredRecord};
use crate::storage::{Table, WriteTxn, fields};
use crate::vectors::{EncodedVector, VectorError};

/// Changes of one collection. Made by [`Collection::batch`].
#[must_use]
pub struct Batch {
    pub(super) collection: Collection,
    pub(super) changes: Vec<Change>,
    contract: Option<ModelContract>,
    /// The named vector fields, once a record brought something for one.
    fields: Option<Vec<Field>>,
}

pub(super) enum Change {
    Upsert {
        record: Box<Record>,
        encoded: Option<EncodedVector>,
        /// What it brings to named vector fields.
        named: Vec<FieldRows>,
        /// Whether the vector is to come.
        pending: bool,
        /// Whether a record that is stored already as this one is stays, with its vector.
        unless_same: bool,
    },
    /// The vector of a pending record, if it is still what it was.
    #[cfg(feature = "nim")]
    Complete {
        id: RecordId,
        slot: Slot,
        encoded: EncodedVector,
    },
    Delete(RecordId),
    /// Removes chunks of a document.
    Prune(Prune),
}

/// What a commit did. It is on disk.
#[derive(Debug)]
#[non_exhaustive]
pub struct Committed {
    /// Records inserted or replaced.
    pub upserted: usize,
    /// Records removed; ids that were not there do not count.
    pub deleted: usize,
    /// What became of the maintenance that the commit set off.
    pub maintenance: MaintenanceOutcome,
}

/// What became of the maintenance that a commit set off. The commit stands in each case.
#[derive(Debug)]
#[non_exhaustive]
pub enum MaintenanceOutcome {
    /// None was due.
    NotDue,
    /// It was done.
    Done(Maintained),
    /// It failed, and will be tried again by a later commit.
    Failed(Error),
}

impl Batch {
    pub(super) fn new(collection: Collection) -> Self {
        Self { collection, changes: Vec::new(), contract: None, fields: None }
    }

    /// Number of changes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Names the model that made the vectors of this batch. The commit fails if the collection
    /// holds vectors of another, or of the same with other roles. A collection without a model
    /// takes this one, for the vectors that it holds already as well.
    pub fn model(mut self, contract: &ModelContract) -> Self {
        self.contract = Some(contract.clone());
        self
    }

    /// Adds a record, or the replacement of the one of the same id. The record is checked here
    /// and the batch is unchanged if it is refused.
    ///
    /// # Errors
    /// [`Error::Record`]; [`Error::Vector`] and [`Error::NamedVector`] for another number of
    /// dimensions, NaN, infinity, or a zero vector under cosine; [`Error::VectorFieldNotFound`]
    /// and [`Error::VectorFieldKind`].
    pub fn upsert(&mut self, record: Record) -> Result<()> {
        let encoding = self.collection.encoding;
        self.push(record, false, |vector| encoding.encode(vector))
    }

    /// Adds a record with the vector that [`Collection::get`] returned, which is stored again
    /// without another rounding.
    #[cfg(feature = "nim")]
    pub(crate) fn upsert_stored(&mut self, record: Record) -> Result<()> {
        let encoding = self.collection.encoding;
        self.push(record, false, |vector| encoding.encode_stored(vector))
    }

    /// As [`Batch::upsert_stored`], for a record all of whose vectors were read from a file.
    pub(super) fn upsert_rescued(&mut self, record: Record, is_pending: bool) -> Result<()> {
        let encoding = self.collection.encoding;
        self.push(record, true, |vector| encoding.encode_stored(vector))?;
        if let Some(Change::Upsert { encoded: None, pending, .. }) = self.changes.last_mut() {
            *pending = is_pending;
        }
        Ok(())
    }

    fn push(
        &mut self,
        mut record: Record,
        stored: bool,
        encode: impl FnOnce(&[f32]) -> std::result::Result<EncodedVector, VectorError>,
    ) -> Result<()> {
        if let Err(source) = record.check() {
            return Err(Error::Record { id: record.id, source });
        }
        let encoded = match &record.vector {
            Some(vector) => match encode(vector) {
                Ok(encoded) => Some(encoded),
                Err(source) => return Err(Error::Vector { id: Some(record.id), source }),
            },
            None => None,
        };
        let named = self.encode_named(&record, stored)?;
        // The encoded rows replace the f32 vectors; the mark that there is one stays.
        record.vector = encoded.is_some().then(Vec::new);
        record.named_vectors.clear();
        let record = Box::new(record);
        self.changes.push(Change::Upsert {
            record,
            encoded,
            named,
            pending: false,
            unless_same: false,
        });
        Ok(())
    }

    /// Encodes what a record brings to named vector fields, which are looked up once.
    fn encode_named(&mut self, record: &Record, stored: bool) -> Result<Vec<FieldRows>> {
        let mut named = Vec::with_capacity(record.named_vectors.len());
        for (name, vector) in &record.named_vectors {
            let fields = match &mut self.fields {
                Some(fields) => fields,
                none => none.insert({
                    let snapshot = self.collection.inner.snapshot()?;
                    self.collection.manifest(snapshot.as_ref())?;
                    self.collection.fields(snapshot.as_ref())?
                }),
            };
            let field = fields.iter().find(|field| field.name == *name);
            let field = field.ok_or_else(|| self.collection.no_field(name))?;
            named.push(field.encode(&record.id, vector, stored)?);
        }
        Ok(named)
    }

    /// Adds the removal of a record; an absent id is no error.
    pub fn delete(&mut self, id: impl Into<RecordId>) {
        self.changes.push(Change::Delete(id.into()));
    }

    /// Commits all changes in one transaction, in the order they were added. When this returns,
    /// they are on disk and every later search sees them.
    ///
    /// Cost: one durable write (some milliseconds) plus about 20 us a record.
    ///
    /// # Errors
    /// [`Error::ModelMismatch`]; [`Error::ModelId`]; [`Error::SlotsExhausted`]; read-only; storage.
    /// Nothing was changed then.
    pub fn commit(self) -> Result<Committed> {
        let Self { collection, changes, contract, .. } = self;
        let store = collection.inner.lmdb()?;
        if changes.is_empty() && contract.is_none() {
            let maintenance = MaintenanceOutcome::NotDue;
            return Ok(Committed { upserted: 0, deleted: 0, maintenance });
        }
        let Applied { upserted, deleted, manifests } = store
            .write(collection.inner.writer, |txn| {
                apply(&collection, txn, &changes, contract.as_ref())
            })?;
        // The views of the version before keep pages alive that the next commit could use.
        collection.inner.views.clear();
        let maintenance = maintenance::after_commit(&collection, &manifests);
        Ok(Committed { upserted, deleted, maintenance })
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("collection", &self.collection.name)
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}

/// What a transaction did.
struct Applied {
    upserted: usize,
    deleted: usize,
    /// Number and manifest of each space as it left them.
    manifests: Vec<(u32, Manifest)>,
}

fn apply(
    collection: &Collection,
    txn: &mut WriteTxn<'_>,
    changes: &[Change],
    contract: Option<&ModelContract>,
) -> Result<Applied> {
    let mut manifest = collection.manifest(txn)?;
    if let Some(contract) = contract {
        let found = contract.model.len();
        if !(1..=ID_BYTES_MAX).contains(&found) {
            return Err(Error::ModelId { found });
        }
        collection.check_contract(&manifest, contract)?;
        manifest.contract.get_or_insert_with(|| Contract::from(contract));
    }
    let (tombstones, pending) = (SlotSet::tombstones(), SlotSet::pending());
    let spaces = SpaceChanges::load(collection, txn)?;
    let text = text::text_index(txn, collection.id)?;
    let text = text.map(|index| TextChanges::new(collection.id, &index, manifest.next_slot));
    let settings = FieldSettings::read(txn, collection.id)?;
    let fields = Fields { settings, changes: Changes::default() };
    let mut applied =
        Apply { collection, txn, manifest, tombstones, pending, spaces, text, fields };
    let (mut upserted, mut deleted) = (0, 0);
    for change in changes {
        match change {
            Change::Upsert { record, named, unless_same: true, .. }
                if named.is_empty() && applied.has_same(record)? => {}
            Change::Upsert { record, encoded, named, pending, .. } => {
                applied.remove(&record.id)?;
                let slot = applied.insert(record, encoded.as_ref(), named)?;
                if *pending {
                    applied.pending.insert(collection.id, slot, applied.txn)?;
                }
                upserted += 1;
            }
            #[cfg(feature = "nim")]
            Change::Complete { id, slot, encoded } => {
                upserted += usize::from(applied.complete(id, *slot, encoded)?);
            }
            Change::Delete(id) => deleted += usize::from(applied.remove(id)?),
            Change::Prune(prune) => deleted += applied.prune(prune)?,
        }
    }
    let Apply { txn, manifest, tombstones, pending, spaces, text, fields, .. } = applied;
    tombstones.write(collection.id, txn)?;
    pending.write(collection.id, txn)?;
    if let Some(text) = text {
        text.write(txn)?;
    }
    fields.changes.write(collection.id, txn)?;
    field_index::build_with_commits(txn, collection.id, &fields.settings)?;
    let sealed = tables::encode_manifest(collection.id, &manifest)?;
    txn.put(Table::Collections, &key::manifest(collection.id), &sealed)?;
    let mut manifests = spaces.write(manifest.next_slot, txn)?;
    manifests.insert(0, (collection.id, manifest));
    Ok(Applied { upserted, deleted, manifests })
}

pub(super) struct Apply<'a, 't> {
    pub(super) collection: &'a Collection,
    pub(super) txn: &'a mut WriteTxn<'t>,
    manifest: Manifest,
    tombstones: SlotSet,
    pending: SlotSet,
    spaces: SpaceChanges,
    text: Option<TextChanges>,
    fields: Fields,
}

/// What of the metadata is indexed, and what of that changes.
struct Fields {
    settings: FieldSettings,
    changes: Changes,
}

impl Apply<'_, '_> {
    fn insert(
        &mut self,
        record: &Record,
        encoded: Option<&EncodedVector>,
        named: &[FieldRows],
    ) -> Result<Slot> {
        let id = self.collection.id;
        let slot = Slot(self.manifest.next_slot);
        // The last number stays free, so that "next" can always be told.
        self.manifest.next_slot = slot.0.checked_add(1).ok_or_else(|| Error::SlotsExhausted {
            collection: self.collection.name.to_string(),
        })?;
        let at = key::id(id, &record.id);
        self.txn.put(Table::Ids, &at, &tables::encode_slot(slot, &at))?;
        let at = key::slot(id, slot);
        let sealed = tables::encode_record(record, &at, self.txn.format())?;
        self.txn.put(Table::Records, &at, &sealed)?;
        if let Some(encoded) = encoded {
            self.txn.put(
                Table::Delta,
                &at,
                &tables::encode_delta(
                    &encoded.code,
                    encoded.raw.as_deref().unwrap_or_default(),
                    &at,
                ),
            )?;
            self.manifest.delta += 1;
        }
        self.spaces.insert(self.collection, slot, named, self.txn)?;
        let Fields { settings, changes } = &mut self.fields;
        changes.insert(&record.metadata, slot, |name, slot| settings.in_blocks(name, slot));
        if settings.policy == Policy::Entries {
            for field in fields::of_record(id, &record.metadata, slot) {
                self.txn.put_field(&field)?;
            }
        }
        if let Some(text) = &mut self.text {
            text.add(slot, record);
        }
        self.manifest.records += 1;
        Ok(slot)
    }

    /// Gives a pending record its vector, and with it a new slot; whether it was still there.
    #[cfg(feature = "nim")]
    fn complete(&mut self, id: &RecordId, slot: Slot, encoded: &EncodedVector) -> Result<bool> {
        let collection = self.collection.id;
        if tables::slot(self.txn, collection, id)? != Some(slot) {
            return Ok(false);
        }
        let StoredRecord { mut record, has_vector } = tables::record(self.txn, collection, slot)?;
        if has_vector {
            return Ok(false);
        }
        let named = self.spaces.rows_of(slot, self.txn)?;
        self.remove(id)?;
        record.vector = Some(Vec::new());
        self.insert(&record, Some(encoded), &named)?;
        Ok(true)
    }

    pub(super) fn remove(&mut self, record: &RecordId) -> Result<bool> {
        let id = self.collection.id;
        if check_id(record).is_err() {
            return Ok(false);
        }
        let Some(slot) = tables::slot(self.txn, id, record)? else { return Ok(false) };
        let StoredRecord { record: old, has_vector } = tables::record(self.txn, id, slot)?;
        let Fields { settings, changes } = &mut self.fields;
        changes.remove(&old.metadata, slot, |name, slot| settings.in_blocks(name, slot));
        if settings.policy == Policy::Entries {
            for field in fields::of_record(id, &old.metadata, slot) {
                self.txn.delete(Table::Fields, &field)?;
            }
        }
        if let Some(text) = &mut self.text {
            text.remove(slot, &old);
        }
        self.txn.delete(Table::Ids, &key::id(id, record))?;
        let at = key::slot(id, slot);
        self.txn.delete(Table::Records, &at)?;
        self.spaces.remove(slot, self.txn)?;
        if has_vector {
            if self.txn.delete(Table::Delta, &at)? {
                self.manifest.delta = self.manifest.delta.saturating_sub(1);
            } else {
                self.tombstones.insert(id, slot, self.txn)?;
                self.manifest.dead += 1;
            }
        } else {
            self.pending.remove(id, slot, self.txn)?;
        }
        self.manifest.records = self.manifest.records.saturating_sub(1);
        Ok(true)
    }
}
