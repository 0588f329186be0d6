//! Sets of slots, by chunks of 65,536: one value a chunk, a portable roaring bitmap of the lower 16
//! bits. Tombstones and the marks of records whose vector is pending are such sets.

use roaring::RoaringBitmap;

use super::keys as key;
use super::{Snapshot, StorageError, Table};
use crate::format::{FormatError, seal, unseal};

const TOMBSTONES: &str = "tombstones";
const PENDING: &str = "pending records";

/// Seals a chunk.
fn encode(
    what: &'static str,
    table: Table,
    slots: &RoaringBitmap,
    key: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let mut payload = Vec::with_capacity(slots.serialized_size());
    slots
        .serialize_into(&mut payload)
        .map_err(|error| FormatError::Decode { what, reason: error.to_string() })?;
    Ok(seal(table as u8, key, &payload))
}

/// The inverse of [`encode`].
fn decode(
    what: &'static str,
    table: Table,
    sealed: &[u8],
    key: &[u8],
) -> Result<RoaringBitmap, FormatError> {
    let mut payload = unseal(what, table as u8, key, sealed)?;
    let failed = |reason| FormatError::Decode { what, reason };
    let slots =
        RoaringBitmap::deserialize_from(&mut payload).map_err(|error| failed(error.to_string()))?;
    if !payload.is_empty() || slots.max().is_some_and(|max| max > u32::from(u16::MAX)) {
        return Err(failed("a slot is outside its chunk".to_owned()));
    }
    Ok(slots)
}

/// A chunk's value under [`key::tombstones`].
pub(crate) fn encode_tombstones(dead: &RoaringBitmap, key: &[u8]) -> Result<Vec<u8>, FormatError> {
    encode(TOMBSTONES, Table::Tombstones, dead, key)
}

/// The inverse of [`encode_tombstones`].
pub(crate) fn decode_tombstones(sealed: &[u8], key: &[u8]) -> Result<RoaringBitmap, FormatError> {
    decode(TOMBSTONES, Table::Tombstones, sealed, key)
}

/// A chunk's value under [`key::pending`].
pub(crate) fn encode_pending(slots: &RoaringBitmap, key: &[u8]) -> Result<Vec<u8>, FormatError> {
    encode(PENDING, Table::Collections, slots, key)
}

/// The inverse of [`encode_pending`].
pub(crate) fn decode_pending(sealed: &[u8], key: &[u8]) -> Result<RoaringBitmap, FormatError> {
    decode(PENDING, Table::Collections, sealed, key)
}

/// All slots of a collection whose vector is pending.
pub(crate) fn pending(
    snapshot: &dyn Snapshot,
    collection: u32,
) -> Result<RoaringBitmap, StorageError> {
    all(snapshot, Table::Collections, &key::all_pending(collection), decode_pending)
}

/// Those of some slots whose vector is pending. Reads their chunks alone, each once if the slots
/// are in order.
#[cfg(feature = "nim")]
pub(crate) fn pending_of(
    snapshot: &dyn Snapshot,
    collection: u32,
    slots: &[u32],
) -> Result<Vec<u32>, StorageError> {
    let mut found = Vec::new();
    for slots in slots.chunk_by(|a, b| a >> 16 == b >> 16) {
        let [first, ..] = slots else { continue };
        let at = key::pending(collection, (first >> 16) as u16);
        let Some(sealed) = snapshot.get(Table::Collections, &at)? else { continue };
        let low = decode_pending(sealed, &at)?;
        found.extend(slots.iter().filter(|slot| low.contains(**slot & 0xffff)));
    }
    Ok(found)
}

/// All slots of a collection whose row is dead.
pub(crate) fn tombstones(
    snapshot: &dyn Snapshot,
    collection: u32,
) -> Result<RoaringBitmap, StorageError> {
    all(snapshot, Table::Tombstones, &key::collection(collection), decode_tombstones)
}

fn all(
    snapshot: &dyn Snapshot,
    table: Table,
    prefix: &[u8],
    decode: fn(&[u8], &[u8]) -> Result<RoaringBitmap, FormatError>,
) -> Result<RoaringBitmap, StorageError> {
    let mut slots = RoaringBitmap::new();
    for entry in snapshot.range(table, prefix, prefix)? {
        let (at, sealed) = entry?;
        let chunk = key::chunk_of(at).ok_or(StorageError::Missing { what: "a chunk number" })?;
        let low = decode(sealed, at)?;
        slots.extend(low.iter().map(|low| u32::from(chunk) << 16 | low));
    }
    Ok(slots)
}
