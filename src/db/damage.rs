//! What is damaged of a file, part by part, for people to read.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::{Database, absolute, suspects};
use crate::error::Result;
use crate::format::SectionKind;
use crate::record::{RecordId, Slot};
use crate::storage::keys as key;
use crate::storage::settings::{self, Setting};
use crate::storage::tables::{self, Definition};
use crate::storage::vector_fields::{self, FieldKind, VectorFieldEntry};
use crate::storage::{Lost, Salvage, Snapshot, Table, cache, field_blocks};
use crate::vectors::Originals;

/// A part of a file whose bytes are not what was written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Damage {
    /// What kind of part.
    pub part: DamagedPart,
    /// Of which collection, where that is known.
    pub collection: Option<String>,
    /// Of which record, where that is known.
    pub id: Option<RecordId>,
    /// What was found.
    pub detail: String,
}

/// What a damage concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamagedPart {
    /// Pages: how many entries they held is unknown.
    Structure,
    /// The definition of a collection.
    Collection,
    /// Text and metadata of a record.
    Record,
    /// A vector, or an extent of vectors or of their slots. A repair loses the vectors that it
    /// names with their record; of an extent it keeps the rows that show no damage.
    Vector,
    /// The original of a vector, or an extent of originals. A repair keeps those that fit their
    /// code, and takes the others from it; of an extent it does not see changes below half a step
    /// of the code.
    Original,
    /// What is derived: ids, field index, codes beside originals, links. A repair makes it anew.
    Index,
    /// Bytes that were damaged and are known all the same: a checksum proves what was written. A
    /// repair loses nothing of it.
    Mended,
}

impl fmt::Display for DamagedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Structure => "pages",
            Self::Collection => "collection",
            Self::Record => "record",
            Self::Vector => "vector",
            Self::Original => "original of a vector",
            Self::Index => "index",
            Self::Mended => "put right",
        })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.part)?;
        if let Some(id) = &self.id {
            write!(f, " {id}")?;
        }
        if let Some(collection) = &self.collection {
            write!(f, " of {collection:?}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl Database {
    /// Lists what is damaged of a file that [`Database::verify`] refuses, or that does not open:
    /// pages, entries, extents. Nobody may write to it meanwhile. Disagreements between parts
    /// that are whole in themselves are for `verify` to find.
    ///
    /// Cost: reads every byte, and looks for changed bytes as [`Database::repair`] does, up to some
    /// minutes of one thread. Memory: the keys of the file, and each extent that was put right.
    ///
    /// # Errors
    /// [`StorageError::InUse`](crate::StorageError::InUse); nothing of the file can be read.
    pub fn damage(path: impl AsRef<Path>) -> Result<Vec<Damage>> {
        let mut salvage = Salvage::open(&absolute(path.as_ref())?)?;
        suspects::mend(&mut salvage)?;
        survey(&salvage)
    }
}

/// The collections whose definition can be read, by name.
pub(super) fn definitions(salvage: &Salvage) -> Result<Vec<(String, Definition)>> {
    let mut definitions = Vec::new();
    for entry in salvage.range(Table::Collections, &[0], &[0])? {
        let (at, _) = entry?;
        if let Some(name) = key::definition_name(at)
            && let Ok(Some(definition)) = tables::definition(salvage, name)
        {
            definitions.push((name.to_owned(), definition));
        }
    }
    Ok(definitions)
}

/// Whose entries begin with a number: those of a collection, or of a vector field of one.
struct Owner {
    collection: String,
    /// How the originals of its vectors are kept.
    originals: u8,
    /// Whether its vectors are made from matrices.
    pooled: bool,
}

fn owners(salvage: &Salvage) -> Result<HashMap<u32, Owner>> {
    let mut owners = HashMap::new();
    for (name, definition) in definitions(salvage)? {
        for (_, entry) in field_entries(salvage, definition.id) {
            let (collection, originals) = (name.clone(), entry.definition.originals);
            let pooled = entry.kind == FieldKind::Multi;
            owners.insert(entry.definition.id, Owner { collection, originals, pooled });
        }
        let (collection, originals) = (name, definition.originals);
        owners.insert(definition.id, Owner { collection, originals, pooled: false });
    }
    Ok(owners)
}

/// The vector fields of a collection whose definition can be read, by name.
pub(super) fn field_entries(salvage: &Salvage, collection: u32) -> Vec<(String, VectorFieldEntry)> {
    let settings = settings::all(salvage, collection, Setting::Vector).unwrap_or_default();
    let decoded = settings.into_iter().filter_map(|(name, payload)| {
        Some((name.to_owned(), vector_fields::decode(payload).ok()?))
    });
    decoded.collect()
}

/// Names what a salvage lost.
pub(super) fn survey(salvage: &Salvage) -> Result<Vec<Damage>> {
    let collections = owners(salvage)?;
    let mut damage: Vec<Damage> = Vec::new();
    for lost in &salvage.lost {
        let of = lost.key.as_deref().and_then(|key| collection_of(lost.table?, key));
        let of = of.and_then(|number| collections.get(&number));
        damage.push(Damage {
            part: part(lost, of),
            collection: of.map(|of| of.collection.clone()),
            id: None,
            detail: detail(lost),
        });
    }
    damage.extend(records_without_content(salvage, &collections)?);
    Ok(damage)
}

/// The collection of a key, in the tables whose keys begin with its number.
fn collection_of(table: Table, key: &[u8]) -> Option<u32> {
    match table {
        Table::Meta | Table::Collections => None,
        _ => key::collection_of(key),
    }
}

fn part(lost: &Lost, owner: Option<&Owner>) -> DamagedPart {
    if lost.is_mended {
        return DamagedPart::Mended;
    }
    let (Some(table), Some(key)) = (lost.table, &lost.key) else { return DamagedPart::Structure };
    match table {
        Table::Meta if key.starts_with(cache::PREFIX) => DamagedPart::Index,
        Table::Meta => DamagedPart::Structure,
        // That a vector is to come can be told from its record.
        Table::Collections if key::is_pending(key) => DamagedPart::Index,
        Table::Collections => DamagedPart::Collection,
        Table::Records => DamagedPart::Record,
        Table::Matrices => DamagedPart::Vector,
        // A matrix gives the vector that stands for it again.
        Table::Delta | Table::Extents if owner.is_some_and(|owner| owner.pooled) => {
            DamagedPart::Index
        }
        Table::Delta => DamagedPart::Vector,
        Table::Ids | Table::Tombstones | Table::Fields | Table::Postings => DamagedPart::Index,
        Table::Extents => match key::kind_of(key) {
            Some(SectionKind::Raw) => DamagedPart::Original,
            Some(SectionKind::Slots) | None => DamagedPart::Vector,
            Some(SectionKind::Codes)
                if owner.is_some_and(|owner| owner.originals == Originals::None as u8) =>
            {
                DamagedPart::Vector
            }
            Some(_) => DamagedPart::Index,
        },
    }
}

fn detail(lost: &Lost) -> String {
    let Some(table) = lost.table else { return lost.reason.clone() };
    let place = match (&lost.key, table) {
        (Some(key), Table::Ids) => key::id_of(key).map(|id| format!("id {id}")),
        (Some(key), Table::Fields) if field_blocks::is_block(key) => None,
        (Some(key), Table::Records | Table::Delta | Table::Fields | Table::Matrices) => {
            key::slot_of(key).map(|slot| format!("slot {}", slot.0))
        }
        (Some(key), Table::Extents) => {
            let of = key::segment_of(key).map_or(0, |(_, segment)| segment);
            key::kind_of(key).map(|kind| format!("segment {of}, {kind}"))
        }
        _ => None,
    };
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    format!("table {}{place}: {}", table.name(), lost.reason)
}

/// Ids that lead to a record which cannot be read.
fn records_without_content(
    salvage: &Salvage,
    collections: &HashMap<u32, Owner>,
) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    for entry in salvage.range(Table::Ids, &[], &[])? {
        let (at, sealed) = entry?;
        let Some(of) = key::collection_of(at) else { continue };
        let Ok(slot): std::result::Result<Slot, _> = tables::decode_slot(sealed, at) else {
            continue;
        };
        if salvage.get(Table::Records, &key::slot(of, slot))?.is_none() {
            damage.push(Damage {
                part: DamagedPart::Record,
                collection: collections.get(&of).map(|of| of.collection.clone()),
                id: key::id_of(at),
                detail: format!("its text and metadata (slot {}) cannot be read", slot.0),
            });
        }
    }
    Ok(damage)
}
