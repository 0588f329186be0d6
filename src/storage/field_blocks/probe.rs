//! A block of any bytes, for the fuzzer: what a search finds in it is what decoding it tells, or it
//! is refused.

use roaring::RoaringBitmap;

use super::key_table::KeyTable;
use super::layout::{Block, Directory, groups_of};
use super::query::Found;
use crate::format::FormatError;

/// More groups than this are not tried: they would all be the same.
const GROUPS_MAX: usize = 4;

/// Decodes a block whose groups of values are all the same, and searches it for the values from a
/// number on. Whether it was whole.
///
/// # Panics
/// When search and decoder differ.
pub(crate) fn probe(directory: &[u8], slots: &[u8], group: &[u8], low: u32) -> bool {
    let decoded = || -> Result<Option<(Block, RoaringBitmap)>, FormatError> {
        let directory = Directory::read(directory)?;
        let slots = directory.inline.unwrap_or(slots);
        directory.check_slots(slots)?;
        let groups = match groups_of(directory.values) {
            0 => Vec::new(),
            count if count <= GROUPS_MAX => vec![KeyTable::read(group)?; count],
            _ => return Ok(None),
        };
        let block = Block::decode(&directory, slots, &groups)?;
        let mut found = Found::default();
        if low < directory.values {
            found.add(0, &directory, slots, (low, directory.values));
        }
        Ok(Some((block, found.finish())))
    };
    let Ok(Some((block, found))) = decoded() else { return false };
    let from = block.pairs.iter().filter(|(number, _)| *number >= low);
    let expected: RoaringBitmap = from.map(|(_, offset)| u32::from(*offset)).collect();
    assert_eq!(found, expected);
    true
}
