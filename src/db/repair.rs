//! Repair: what is whole of a damaged file, in a new one; what is derived is made anew.

use std::fmt;
use std::path::Path;

use roaring::RoaringBitmap;

use super::damage::{Damage, DamagedPart, definitions, field_entries, survey};
use super::repair_vectors::{Placed, RescueVectors};
use super::space::{Field, Space};
use super::suspects;
use super::{
    Batch, Collection, CollectionOptions, Database, DatabaseOptions, IndexFields, VectorField,
    absolute, text,
};
use crate::error::{Error, Result};
use crate::record::ModelContract;
use crate::storage::field_settings::FieldSettings;
use crate::storage::keys as key;
use crate::storage::tables::{self, StoredRecord};
use crate::storage::{Salvage, Snapshot, StorageError, Table, slot_sets};

/// What a repair saved, and what it could not.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Repaired {
    /// Collections in the new file.
    pub collections: usize,
    /// Records in the new file.
    pub records: u64,
    /// How many of them have a vector.
    pub vectors: u64,
    /// What was damaged. Parts that are derived ([`DamagedPart::Index`]) were made anew.
    pub damage: Vec<Damage>,
}

impl Repaired {
    /// Whether no record and no vector was lost.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_saved =
            |damage: &Damage| matches!(damage.part, DamagedPart::Index | DamagedPart::Mended);
        self.damage.iter().all(is_saved)
    }
}

/// Records of a commit.
const BATCH: usize = 1_000;

impl Database {
    /// Saves all that can be read of a damaged file into a new one: records with their vectors.
    /// Ids, field index, codes and graphs are made anew from them. The damaged file is left as it
    /// is. Nobody may write to it meanwhile.
    ///
    /// What is lost is what was damaged, row by row, not the MiB around it. Where one byte of an
    /// extent of vectors was changed, or all damage is outside of its rows and leaves twelve bytes
    /// of its checksum, that tells what was written ([`DamagedPart::Mended`]): nothing is lost. The
    /// search for a byte has a limit for the whole file (see Cost); behind it single bits are
    /// searched for, or nothing. With more damage in an extent each of its rows is judged by
    /// itself:
    ///
    /// - An original is kept if it fits its code. One that does not is taken from the code, and
    ///   told of with its record as [`DamagedPart::Original`]. A change of less than half a step of
    ///   the code does not show, nor one behind [`leading_dimensions`]: so the extent stays in the
    ///   list.
    /// - A code without an original is kept if it follows the rules of codes; if not, the vector is
    ///   lost and told of as [`DamagedPart::Vector`]. A code has less to be checked by: that of a
    ///   dimension can change by a few steps, or its sign, before norm and largest value tell. The
    ///   extent stays in the list for that.
    /// - Which vector is whose is told by records, deletions and the order of slots. Where more
    ///   than one answer is left the vector is lost. Of a named field nothing tells which records
    ///   had a vector: those that get one from such an extent are told of.
    ///
    /// A file that is whole gives an equal copy.
    ///
    /// Cost: that of ingesting everything again, and for damaged extents up to some minutes of one
    /// thread, divided by the threads of rayon's pool, in search of changed bytes. Memory: the keys
    /// of the file, and each extent that was put right.
    ///
    /// [`leading_dimensions`]: CollectionOptions::leading_dimensions
    ///
    /// # Errors
    /// [`StorageError::Exists`] for the target; [`StorageError::InUse`]; nothing of the file can
    /// be read; the target cannot be written.
    pub fn repair(path: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<Repaired> {
        let (path, target) = (absolute(path.as_ref())?, absolute(target.as_ref())?);
        let mut salvage = Salvage::open(&path)?;
        suspects::mend(&mut salvage)?;
        let mut repaired =
            Repaired { collections: 0, records: 0, vectors: 0, damage: survey(&salvage)? };
        let saved = save(&salvage, &target, &mut repaired);
        let exists = |error: &Error| matches!(error, Error::Storage(StorageError::Exists { .. }));
        if saved.as_ref().is_err_and(|error| !exists(error)) {
            let _ = std::fs::remove_file(&target);
        }
        saved.map(|()| repaired)
    }
}

fn save(salvage: &Salvage, target: &Path, repaired: &mut Repaired) -> Result<()> {
    let db = DatabaseOptions::new().must_be_new().open(target)?;
    for (name, definition) in definitions(salvage)? {
        let old = definition.id;
        let Some(options) = CollectionOptions::of(&definition) else { continue };
        let mut options = indexed(options, FieldSettings::read(salvage, old).ok());
        // Postings are made anew; a setting that cannot be read is told of as damage.
        options.text = text::text_index(salvage, old).ok().flatten();
        for (field, entry) in field_entries(salvage, old) {
            if let Some(of) = VectorField::of_entry(&entry) {
                let model = model_of(salvage, entry.definition.id);
                let of = model.into_iter().fold(of, VectorField::model);
                options = options.vector_field(field, of);
            }
        }
        let collection = db.create_collection(&name, options)?;
        let rescue = Rescue::new(salvage, old, collection)?;
        rescue.save(model_of(salvage, old).as_ref(), repaired)?;
        repaired.collections += 1;
    }
    drop(db);
    Database::compact(target)?;
    Ok(())
}

/// The model whose vectors stand under a number, if that is known.
fn model_of(salvage: &Salvage, number: u32) -> Option<ModelContract> {
    let manifest = tables::manifest(salvage, number).ok()?;
    manifest.contract.as_ref().map(ModelContract::from)
}

/// The options with the fields that were indexed, if those are known; otherwise with all.
fn indexed(options: CollectionOptions, fields: Option<FieldSettings>) -> CollectionOptions {
    let Some(FieldSettings { policy, declared }) = fields else { return options };
    let options = declared.into_keys().fold(options, CollectionOptions::index_field);
    options.index_fields(IndexFields::of(policy))
}

/// One collection, from the damaged file to the new one.
struct Rescue<'s> {
    salvage: &'s Salvage,
    /// Its number in the damaged file.
    old: u32,
    collection: Collection,
    vectors: RescueVectors<'s>,
    fields: Vec<(Field, RescueVectors<'s>)>,
    /// Slots whose vector is to come, if that is known.
    pending: RoaringBitmap,
}

impl<'s> Rescue<'s> {
    fn new(salvage: &'s Salvage, old: u32, collection: Collection) -> Result<Self> {
        let space = Space { id: old, ..collection.space() };
        let placed = |is_named| Placed { collection: old, is_named };
        let vectors = RescueVectors::new(salvage, space, placed(false))?;
        let mut fields = Vec::new();
        for (name, entry) in field_entries(salvage, old) {
            if let Ok(field) = Field::of(&name, &entry) {
                let vectors = RescueVectors::new(salvage, field.space, placed(true))?;
                fields.push((field, vectors));
            }
        }
        let pending = slot_sets::pending(salvage, old).unwrap_or_default();
        Ok(Self { salvage, old, collection, vectors, fields, pending })
    }

    fn save(&self, model: Option<&ModelContract>, repaired: &mut Repaired) -> Result<()> {
        let prefix = key::collection(self.old);
        let mut batch = self.batch(model);
        for entry in self.salvage.range(Table::Records, &prefix, &prefix)? {
            let (at, sealed) = entry?;
            let lose = |part, id, detail: &dyn fmt::Display| Damage {
                part,
                collection: Some(self.collection.name().to_owned()),
                id,
                detail: detail.to_string(),
            };
            let (stored, slot) = match (tables::decode_record(sealed, at), key::slot_of(at)) {
                (Ok(stored), Some(slot)) => (stored, slot),
                (Err(error), _) => {
                    repaired.damage.push(lose(DamagedPart::Record, None, &error));
                    continue;
                }
                (Ok(_), None) => continue,
            };
            let StoredRecord { mut record, has_vector } = stored;
            let id = record.id.clone();
            let mut tell = |part, detail: &str| {
                repaired.damage.push(lose(part, Some(id.clone()), &detail));
            };
            if has_vector {
                record.vector = self.vectors.vector(slot)?.taken(&mut tell);
            }
            for (field, vectors) in &self.fields {
                if let Some(vector) = vectors.of_field(field, slot, &mut tell)? {
                    record.named_vectors.insert(field.name.clone(), vector);
                }
            }
            let with_vector = u64::from(record.vector.is_some());
            let is_pending = self.pending.contains(slot.0);
            let upserted = batch.upsert_rescued(record, is_pending);
            if let Err(error) = upserted {
                tell(DamagedPart::Record, &error.to_string());
                continue;
            }
            repaired.records += 1;
            repaired.vectors += with_vector;
            if batch.len() == BATCH {
                std::mem::replace(&mut batch, self.batch(model)).commit()?;
            }
        }
        batch.commit()?;
        Ok(())
    }

    fn batch(&self, model: Option<&ModelContract>) -> Batch {
        let batch = self.collection.batch();
        match model {
            Some(model) => batch.model(model),
            None => batch,
        }
    }
}
