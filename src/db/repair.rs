//! Repair: what is whole of a damaged file, in a new one; what is derived is made anew.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use roaring::RoaringBitmap;

use super::damage::{Damage, DamagedPart, definitions, survey};
use super::{
    Batch, Collection, CollectionOptions, Database, DatabaseOptions, IndexFields, absolute,
};
use crate::error::{Error, Result};
use crate::format::{SEAL_BYTES, SectionKind};
use crate::record::{ModelContract, Slot};
use crate::storage::extents::{self, SectionPlace};
use crate::storage::field_settings::FieldSettings;
use crate::storage::keys as key;
use crate::storage::tables::{self, StoredRecord};
use crate::storage::{Salvage, Snapshot, StorageError, Table, slot_sets};
use crate::vectors::Originals;

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
        self.damage.iter().all(|damage| damage.part == DamagedPart::Index)
    }
}

/// Records of a commit.
const BATCH: usize = 1_000;

impl Database {
    /// Saves all that can be read of a damaged file into a new one: records with their vectors.
    /// Ids, field index, codes and graphs are made anew from them. The damaged file is left as it
    /// is. Nobody may write to it meanwhile.
    ///
    /// A vector whose original is damaged is taken from its code, if that is whole, and told of
    /// as [`DamagedPart::Original`]. A file that is whole gives an equal copy.
    ///
    /// Cost: that of ingesting everything again. Memory: the keys of the file.
    ///
    /// # Errors
    /// [`StorageError::Exists`] for the target; [`StorageError::InUse`]; nothing of the file can
    /// be read; the target cannot be written.
    pub fn repair(path: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<Repaired> {
        let (path, target) = (absolute(path.as_ref())?, absolute(target.as_ref())?);
        let salvage = Salvage::open(&path)?;
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
        let (old, manifest) = (definition.id, tables::manifest(salvage, definition.id).ok());
        let collection = match CollectionOptions::of(&definition) {
            Some(options) => {
                let fields = FieldSettings::read(salvage, old).ok();
                db.create_collection(&name, indexed(options, fields))?
            }
            None => continue,
        };
        let contract = manifest.and_then(|manifest| manifest.contract);
        let rescue = Rescue::new(salvage, old, collection)?;
        rescue.save(contract.as_ref().map(ModelContract::from).as_ref(), repaired)?;
        repaired.collections += 1;
    }
    drop(db);
    Database::compact(target)?;
    Ok(())
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
    /// Segment and position of each sealed slot.
    places: HashMap<Slot, (u32, u32)>,
    /// Slots whose vector is to come, if that is known.
    pending: RoaringBitmap,
}

/// How a vector was found.
enum Rescued {
    Whole(Vec<f32>),
    FromCode(Vec<f32>),
    Lost,
}

impl<'s> Rescue<'s> {
    fn new(salvage: &'s Salvage, old: u32, collection: Collection) -> Result<Self> {
        let places = extents::places(salvage, old)?;
        let pending = slot_sets::pending(salvage, old).unwrap_or_default();
        Ok(Self { salvage, old, collection, places, pending })
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
            let rescued = if has_vector { Some(self.vector(slot)?) } else { None };
            let mut tell = |part, detail: &str| {
                repaired.damage.push(lose(part, Some(id.clone()), &detail));
            };
            record.vector = match rescued {
                None => None,
                Some(Rescued::Whole(vector)) => Some(vector),
                Some(Rescued::FromCode(vector)) => {
                    tell(DamagedPart::Original, "taken from the code of the vector");
                    Some(vector)
                }
                Some(Rescued::Lost) => {
                    tell(DamagedPart::Vector, "the record is kept without its vector");
                    None
                }
            };
            let with_vector = u64::from(record.vector.is_some());
            let upserted = match self.pending.contains(slot.0) {
                true => batch.upsert_pending(record),
                false => batch.upsert_stored(record),
            };
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

    fn vector(&self, slot: Slot) -> Result<Rescued> {
        let encoding = self.collection.encoding;
        let (code_stride, raw_stride) = (encoding.code_stride(), encoding.raw_stride());
        let unsealed = self.salvage.get(Table::Delta, &key::slot(self.old, slot))?;
        let (code, raw) = match (unsealed, self.places.get(&slot)) {
            (Some(sealed), _) => {
                let rows = sealed.get(SEAL_BYTES..).unwrap_or_default();
                (rows.get(..code_stride), rows.get(code_stride..))
            }
            (None, Some(place)) => (
                self.row(*place, SectionKind::Codes, code_stride)?,
                self.row(*place, SectionKind::Raw, raw_stride)?,
            ),
            (None, None) => (None, None),
        };
        if encoding.originals() != Originals::None
            && let Some(vector) = raw.and_then(|row| encoding.decode_raw(row).ok())
        {
            return Ok(Rescued::Whole(vector));
        }
        let from_code = code.filter(|_| !encoding.is_cut());
        Ok(match from_code.and_then(|row| encoding.decode_code(row).ok()) {
            Some(vector) if encoding.originals() == Originals::None => Rescued::Whole(vector),
            Some(vector) => Rescued::FromCode(vector),
            None => Rescued::Lost,
        })
    }

    /// A row of a sealed vector, if its extent is whole.
    fn row(
        &self,
        (segment, position): (u32, u32),
        kind: SectionKind,
        stride: usize,
    ) -> Result<Option<&'s [u8]>> {
        let place = SectionPlace { collection: self.old, segment, kind, stride };
        Ok(place.row(self.salvage, position)?)
    }
}
