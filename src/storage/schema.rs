//! The one place that knows versions of the file: `meta/format` holds magic and format version,
//! `meta/commit` the number of the transaction that wrote this version of the content.

use std::borrow::Cow;

use super::{Snapshot, StorageError, Table};
use crate::format::{FILE_MAGIC, FORMAT_VERSION, FormatError, read_u32, seal, unseal};

const KEY: &[u8] = b"format";
const COMMIT_KEY: &[u8] = b"commit";
/// The first version; its field entries have no checksum and its commits no number.
pub(super) const FIRST_VERSION: u32 = 1;

/// What makes a new file a portolan file, written by its first transaction.
pub(super) fn entries_of_a_new_file() -> impl Iterator<Item = (&'static [u8], Vec<u8>)> {
    let mut payload = FILE_MAGIC.to_vec();
    payload.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    let format = (KEY, seal(Table::Meta as u8, KEY, &payload));
    std::iter::once(format).chain(commit_entry(FORMAT_VERSION, 1))
}

/// The value of an entry, of any table but `meta` and of any version we read, as the newest
/// version has it.
pub(super) fn current<'v>(table: Table, key: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
    match table {
        Table::Fields if value.is_empty() => Cow::Owned(seal(Table::Fields as u8, key, &[])),
        _ => Cow::Borrowed(value),
    }
}

/// Whether entries of the field index carry a checksum.
pub(super) fn has_sealed_fields(format: u32) -> bool {
    format > FIRST_VERSION
}

/// Key and value that tell the number of a transaction, if files of that version have it.
pub(super) fn commit_entry(format: u32, txn: u64) -> Option<(&'static [u8], Vec<u8>)> {
    let value = || seal(Table::Meta as u8, COMMIT_KEY, &txn.to_le_bytes());
    (format > FIRST_VERSION).then(|| (COMMIT_KEY, value()))
}

/// Checks that the file is ours and of a version we read, and returns the version.
///
/// # Errors
/// [`FormatError::Version`] for a file of another version; [`StorageError::Missing`].
pub(super) fn check(snapshot: &dyn Snapshot) -> Result<u32, StorageError> {
    let value = snapshot.get(Table::Meta, KEY)?;
    let value = value.ok_or(StorageError::Missing { what: "the format version" })?;
    let payload = unseal("format version", Table::Meta as u8, KEY, value)?;
    if payload.len() < 12 || payload[..8] != FILE_MAGIC {
        return Err(StorageError::Missing { what: "portolan's magic number" });
    }
    let found = read_u32(payload, 8);
    if !(FIRST_VERSION..=FORMAT_VERSION).contains(&found) {
        return Err(FormatError::Version { found, supported: FORMAT_VERSION }.into());
    }
    Ok(found)
}

/// Checks that the content was written by the transaction that its meta page names: an old meta
/// page whose number was changed is found out.
///
/// # Errors
/// [`StorageError::Missing`]; [`FormatError::Field`]; [`FormatError::Checksum`].
pub(super) fn check_commit(snapshot: &dyn Snapshot) -> Result<(), StorageError> {
    let what = "commit number";
    if check(snapshot)? == FIRST_VERSION {
        return Ok(());
    }
    let value = snapshot.get(Table::Meta, COMMIT_KEY)?;
    let value = value.ok_or(StorageError::Missing { what: "the number of the commit" })?;
    let payload = unseal(what, Table::Meta as u8, COMMIT_KEY, value)?;
    let length = |_| FormatError::Length { what, expected: 8, found: payload.len() };
    let value = u64::from_le_bytes(payload.try_into().map_err(length)?);
    if value != snapshot.version() {
        return Err(FormatError::Field { what, field: "transaction", value }.into());
    }
    Ok(())
}
