//! Keys of all tables but the field index, by named constructors. Integers in keys are
//! big-endian, so that byte order is number order (`storage-format.md` section 3).

use crate::format::SectionKind;
use crate::record::{RecordId, Slot};

/// Length of the keys of `extents`.
pub(crate) const EXTENT_KEY_BYTES: usize = 14;

/// `collections`: 0, name.
pub(crate) fn definition(name: &str) -> Vec<u8> {
    let mut key = vec![0];
    key.extend_from_slice(name.as_bytes());
    key
}

/// The name in a [`definition`] key.
pub(crate) fn definition_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(&[0])?).ok()
}

/// `collections`: 1, collection.
pub(crate) fn manifest(collection: u32) -> [u8; 5] {
    let [a, b, c, d] = collection.to_be_bytes();
    [1, a, b, c, d]
}

/// Every key of a collection begins so, in all tables but `meta` and `collections`.
pub(crate) fn collection(collection: u32) -> [u8; 4] {
    collection.to_be_bytes()
}

/// The collection of a key that begins with [`collection`].
pub(crate) fn collection_of(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// `ids`: collection, 0, i64 with its sign bit flipped; or collection, 1, text.
pub(crate) fn id(collection: u32, id: &RecordId) -> Vec<u8> {
    let mut key = collection.to_be_bytes().to_vec();
    match id {
        RecordId::Int(number) => {
            key.push(0);
            key.extend_from_slice(&(number.cast_unsigned() ^ 1 << 63).to_be_bytes());
        }
        RecordId::Text(text) => {
            key.push(1);
            key.extend_from_slice(text.as_bytes());
        }
    }
    key
}

/// The id in an [`id`] key.
pub(crate) fn id_of(key: &[u8]) -> Option<RecordId> {
    let (tag, rest) = key.get(4..)?.split_first()?;
    match tag {
        0 => {
            let number = u64::from_be_bytes(rest.try_into().ok()?) ^ 1 << 63;
            Some(RecordId::Int(number.cast_signed()))
        }
        1 => Some(RecordId::Text(std::str::from_utf8(rest).ok()?.to_owned())),
        _ => None,
    }
}

/// `records` and `delta`: collection, slot.
pub(crate) fn slot(collection: u32, slot: Slot) -> [u8; 8] {
    (u64::from(collection) << 32 | u64::from(slot.0)).to_be_bytes()
}

/// The slot in a [`slot`] key, and at the end of a field-index key.
pub(crate) fn slot_of(key: &[u8]) -> Option<Slot> {
    key.last_chunk().map(|slot| Slot(u32::from_be_bytes(*slot)))
}

/// `tombstones`: collection, upper 16 bits of the slots.
pub(crate) fn tombstones(collection: u32, chunk: u16) -> [u8; 6] {
    let ([a, b, c, d], [e, f]) = (collection.to_be_bytes(), chunk.to_be_bytes());
    [a, b, c, d, e, f]
}

/// Begin of every key of [`pending`] of a collection.
pub(crate) fn all_pending(collection: u32) -> [u8; 5] {
    let [a, b, c, d] = collection.to_be_bytes();
    [2, a, b, c, d]
}

/// `collections`: 2, collection, upper 16 bits of the slots.
pub(crate) fn pending(collection: u32, chunk: u16) -> [u8; 7] {
    let ([two, a, b, c, d], [e, f]) = (all_pending(collection), chunk.to_be_bytes());
    [two, a, b, c, d, e, f]
}

/// Begin of every key of [`setting`] of a collection.
pub(crate) fn all_settings(collection: u32) -> [u8; 5] {
    let [a, b, c, d] = collection.to_be_bytes();
    [3, a, b, c, d]
}

/// `collections`: 3, collection, kind of setting, name.
pub(crate) fn setting(collection: u32, kind: u8, name: &str) -> Vec<u8> {
    let mut key = all_settings(collection).to_vec();
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key
}

/// Kind and name in a [`setting`] key.
pub(crate) fn setting_of(key: &[u8]) -> Option<(u8, &str)> {
    let (kind, name) = key.strip_prefix(&[3])?.get(4..)?.split_first()?;
    Some((*kind, std::str::from_utf8(name).ok()?))
}

/// Whether it is an [`all_pending`] key.
pub(crate) fn is_pending(key: &[u8]) -> bool {
    key.first() == Some(&2)
}

/// The chunk in a [`tombstones`] or [`pending`] key.
pub(crate) fn chunk_of(key: &[u8]) -> Option<u16> {
    key.last_chunk().map(|chunk| u16::from_be_bytes(*chunk))
}

/// `extents`: collection, segment.
pub(crate) fn segment(collection: u32, segment: u32) -> [u8; 8] {
    (u64::from(collection) << 32 | u64::from(segment)).to_be_bytes()
}

/// Begin of every key of [`extent`] of one section.
pub(crate) fn section(collection: u32, segment: u32, kind: SectionKind) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&self::segment(collection, segment));
    key[8..].copy_from_slice(&(kind as u16).to_be_bytes());
    key
}

/// `extents`: collection, segment, kind, index.
pub(crate) fn extent(
    collection: u32,
    segment: u32,
    kind: SectionKind,
    index: u32,
) -> [u8; EXTENT_KEY_BYTES] {
    let mut key = [0; EXTENT_KEY_BYTES];
    key[..10].copy_from_slice(&section(collection, segment, kind));
    key[10..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The section of an [`extent`] key.
pub(crate) fn kind_of(key: &[u8]) -> Option<SectionKind> {
    SectionKind::from_u16(u16::from_be_bytes(*key.get(8..)?.first_chunk()?))
}

/// The place in its section of an [`extent`] key.
pub(crate) fn extent_of(key: &[u8]) -> Option<u32> {
    let index = key.get(10..)?.try_into().ok()?;
    Some(u32::from_be_bytes(index))
}

/// Collection and segment of an [`extent`] key.
pub(crate) fn segment_of(key: &[u8]) -> Option<(u32, u32)> {
    let both = u64::from_be_bytes(*key.first_chunk()?);
    Some(((both >> 32) as u32, both as u32))
}
