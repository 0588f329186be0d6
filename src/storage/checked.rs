//! A snapshot that checks what it hands out: the seal of every value, and of the entries on both
//! sides of a gap before it says that a key is not there. A damaged key is no answer either.

use super::{Entries, Entry, SharedEntries, Snapshot, StorageError, Table, schema};
use crate::format::unseal;

/// How far the bytes of a file are checked. Offsets, lengths and the seals of values that are
/// decoded are checked always: no file makes a read leave its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Verify {
    /// What is decoded. Vectors, codes and links are taken as they are, and a damaged key reads
    /// like an absent one. For files of one's own.
    #[default]
    None,
    /// Opening walks the structure of the file, about a second per GB of records; every entry that
    /// is read, and the neighbors of one that is not found, are checked by their checksums; a
    /// segment is, whole, when its collection is first searched, at a few GB a second. For
    /// files from elsewhere: damage gives an error, never a wrong answer.
    Touched,
    /// As `Touched`, after [`Database::verify`](crate::Database::verify) has read everything.
    Full,
}

/// See the module.
pub(crate) struct Checked<'s> {
    inner: Box<dyn Snapshot + 's>,
    format: u32,
}

impl<'s> Checked<'s> {
    pub(crate) fn new(inner: Box<dyn Snapshot + 's>, format: u32) -> Self {
        Self { inner, format }
    }
}

/// Checks the seal of an entry; extents have a checksum of their own, for their segment to check.
///
/// # Errors
/// [`FormatError::Checksum`](crate::format::FormatError::Checksum).
pub(super) fn check_entry(format: u32, table: Table, entry: Entry<'_>) -> Result<(), StorageError> {
    let is_unsealed = match table {
        Table::Extents => true,
        Table::Fields => !schema::has_sealed_fields(format),
        _ => false,
    };
    if !is_unsealed {
        unseal(table.name(), table as u8, entry.0, entry.1)?;
    }
    Ok(())
}

/// Checks the entries between which a key is absent. A key that was changed in place, in a tree
/// whose order was validated, is still one of the two.
///
/// # Errors
/// As [`check_entry`].
pub(super) fn check_gap(
    snapshot: &dyn Snapshot,
    format: u32,
    table: Table,
    key: &[u8],
) -> Result<(), StorageError> {
    if let Some(entry) = snapshot.before(table, key)? {
        check_entry(format, table, entry)?;
    }
    match snapshot.range(table, &[], key)?.next() {
        Some(entry) => check_entry(format, table, entry?),
        None => Ok(()),
    }
}

impl Snapshot for Checked<'_> {
    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
        let found = self.inner.get(table, key)?;
        match found {
            Some(value) => check_entry(self.format, table, (key, value))?,
            None => check_gap(self.inner.as_ref(), self.format, table, key)?,
        }
        Ok(found)
    }

    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Entry<'_>>, StorageError> {
        let found = self.inner.before(table, key)?;
        found.map_or(Ok(()), |entry| check_entry(self.format, table, entry))?;
        Ok(found)
    }

    fn range<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<Entries<'s>, StorageError> {
        self.before(table, start.max(prefix))?;
        let (format, prefix) = (self.format, prefix.to_vec());
        // Without the prefix, so that the entry behind the last is seen.
        let mut entries = self.inner.range(table, &[], start.max(&prefix))?;
        let mut ended = false;
        Ok(Box::new(std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let entry = entries.next()?;
            let checked = entry.and_then(|entry| check_entry(format, table, entry).map(|()| entry));
            ended = !matches!(&checked, Ok((key, _)) if key.starts_with(&prefix));
            if ended && checked.is_ok() { None } else { Some(checked) }
        })))
    }

    fn range_shared<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
    ) -> Result<SharedEntries<'s>, StorageError> {
        // Looks at the entries around the range too, at the price of a second walk over keys.
        for entry in self.range(table, prefix, prefix)? {
            entry?;
        }
        self.inner.range_shared(table, prefix)
    }
}
