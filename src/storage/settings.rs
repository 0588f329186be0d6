//! Settings of a collection that came after its definition was fixed: one entry each, by kind and
//! name. What a setting says is laid out by whoever owns it (`storage-format.md` section 3.2).

use super::{Snapshot, StorageError, Table, WriteTxn, keys as key};
use crate::format::{FormatError, seal, unseal};

/// What a setting is about. The numbers are in the file: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Setting {
    /// How the text of records is indexed; without a name.
    Text = 1,
    /// A field with an index of its own, by the field's name.
    Field = 2,
    /// A named vector field, by its name.
    Vector = 3,
}

const WHAT: &str = "setting of a collection";

/// Stores a setting. Files of before version 3 are refused, as older programs would not keep up
/// what the setting promises.
///
/// # Errors
/// [`StorageError::Older`]; those of writing.
pub(crate) fn put(
    txn: &mut WriteTxn<'_>,
    collection: u32,
    setting: Setting,
    name: &str,
    payload: &[u8],
) -> Result<(), StorageError> {
    txn.needs(Table::Postings.since())?;
    let at = key::setting(collection, setting as u8, name);
    txn.put(Table::Collections, &at, &seal(Table::Collections as u8, &at, payload))
}

/// Removes a setting; whether it was there.
///
/// # Errors
/// Those of writing.
pub(crate) fn remove(
    txn: &mut WriteTxn<'_>,
    collection: u32,
    setting: Setting,
    name: &str,
) -> Result<bool, StorageError> {
    txn.delete(Table::Collections, &key::setting(collection, setting as u8, name))
}

/// The payload of a setting.
///
/// # Errors
/// Damage; those of reading.
pub(crate) fn get<'s>(
    snapshot: &'s dyn Snapshot,
    collection: u32,
    setting: Setting,
    name: &str,
) -> Result<Option<&'s [u8]>, StorageError> {
    let at = key::setting(collection, setting as u8, name);
    let Some(sealed) = snapshot.get(Table::Collections, &at)? else { return Ok(None) };
    Ok(Some(unseal(WHAT, Table::Collections as u8, &at, sealed)?))
}

/// All settings of a kind, by name, with their payloads.
///
/// # Errors
/// Damage; those of reading.
pub(crate) fn all(
    snapshot: &dyn Snapshot,
    collection: u32,
    setting: Setting,
) -> Result<Vec<(&str, &[u8])>, StorageError> {
    let prefix = key::setting(collection, setting as u8, "");
    let mut found = Vec::new();
    for entry in snapshot.range(Table::Collections, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let reason = || "its name is no text".to_owned();
        let named = key::setting_of(at);
        let (_, name) =
            named.ok_or_else(|| FormatError::Decode { what: WHAT, reason: reason() })?;
        found.push((name, unseal(WHAT, Table::Collections as u8, at, sealed)?));
    }
    Ok(found)
}
