//! The one place that knows the version of the file: `meta/format` holds magic and version.

use super::{Snapshot, StorageError, Table};
use crate::format::{FILE_MAGIC, FORMAT_VERSION, FormatError, read_u32, seal, unseal};

const KEY: &[u8] = b"format";

/// Key and value that make a new file a portolan file.
pub(super) fn first_entry() -> (&'static [u8], Vec<u8>) {
    let mut payload = FILE_MAGIC.to_vec();
    payload.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    (KEY, seal(Table::Meta as u8, KEY, &payload))
}

/// Checks that the file is ours and of a version we read.
///
/// # Errors
/// [`FormatError::Version`] for a file of another version; [`StorageError::Missing`].
pub(crate) fn check(snapshot: &dyn Snapshot) -> Result<(), StorageError> {
    let value = snapshot.get(Table::Meta, KEY)?;
    let value = value.ok_or(StorageError::Missing { what: "the format version" })?;
    let payload = unseal("format version", Table::Meta as u8, KEY, value)?;
    if payload.len() < 12 || payload[..8] != FILE_MAGIC {
        return Err(StorageError::Missing { what: "portolan's magic number" });
    }
    let found = read_u32(payload, 8);
    if found != FORMAT_VERSION {
        return Err(FormatError::Version { found, supported: FORMAT_VERSION }.into());
    }
    Ok(())
}
