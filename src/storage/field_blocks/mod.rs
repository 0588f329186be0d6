//! The field index of format version 3: for each field, blocks of up to 4,032 consecutive slots. A
//! block has the values of its slots once, sorted, and for each slot the number of its value in
//! that order, as bit slices: any range of values is a range of numbers, which a few operations
//! on words compare for 64 slots at a time (O'Neil and Quass, "Improved Query Performance with
//! Variant Indexes", 1997). `storage-format.md` section 3.8 has the bytes.
//!
//! A commit that adds records rewrites the last block of each of their fields, not an entry for
//! each value at a random place of the tree.

mod check;
mod count;
mod first;
mod key_table;
mod layout;
mod probe;
mod query;
mod slices;
mod update;

use super::fields;

pub(crate) use check::{Digest, check};
pub(crate) use count::{count, first_of_each};
pub(crate) use first::{Part, first};
pub(crate) use probe::probe;
pub(crate) use query::{KeyRange, has_value, matching};
pub(crate) use update::Changes;

/// Words of 64 slots that a block may span: with its seal, a block of up to 15 values then fits a
/// leaf of the tree, and one of up to 255 a page.
const WORDS: usize = 63;
/// Slots that a block may span.
const SPAN: u32 = 64 * WORDS as u32;
/// A block with so many values takes no further word of slots.
const VALUES_MAX: usize = 32_768;
/// Keys of one value group.
const GROUP: usize = 128;

/// Follows the field's name and 0 in all keys of blocks; entries of version 2 have a class there,
/// which is less.
const BLOCKS: u8 = 16;
const DIRECTORY: u8 = 0;
const SLICES: u8 = 1;
const VALUES: u8 = 2;

/// Begin of all keys of the blocks of a field.
pub(crate) fn field(collection: u32, name: &str) -> Vec<u8> {
    let mut key = fields::field(collection, name);
    key.push(BLOCKS);
    key
}

/// Begin of the keys of all directories of a field; the first slot of a block follows.
fn directories(collection: u32, name: &str) -> Vec<u8> {
    let mut key = field(collection, name);
    key.push(DIRECTORY);
    key
}

/// The first slot of a block in its directory's key.
fn start_of(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|start| u32::from_be_bytes(*start))
}

/// The other keys of a block, made of its directory's.
fn part_key(directory: &[u8], part: u8) -> Vec<u8> {
    let mut key = directory.to_vec();
    let at = key.len().saturating_sub(5);
    if let Some(kind) = key.get_mut(at) {
        *kind = part;
    }
    key
}

/// The key of a value group.
fn group_key(directory: &[u8], group: usize) -> Vec<u8> {
    let mut key = part_key(directory, VALUES);
    key.extend_from_slice(&(group as u16).to_be_bytes());
    key
}

/// The field's name, what follows it, and the rest, of any key of the table.
fn key_parts(key: &[u8]) -> Option<(&str, u8, &[u8])> {
    let rest = key.get(4..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = rest.split_at_checked(end)?;
    let (kind, rest) = rest.get(1..)?.split_first()?;
    Some((std::str::from_utf8(name).ok()?, *kind, rest))
}

/// Whether a key of the table is that of a part of a block.
pub(crate) fn is_block(key: &[u8]) -> bool {
    key_parts(key).is_some_and(|(_, kind, _)| kind == BLOCKS)
}
