//! Opening a file as a command needs it: to read beside anyone, or to write.

use std::path::Path;

use portolan::{Collection, Database, DatabaseOptions, Error, Maintenance, StorageError};

use crate::failure::{Failure, Result};

/// For reading: without a lock and without a trace, unless somebody writes to the file just now.
pub fn read(path: &Path) -> Result<Database> {
    match Database::open_read_only(path) {
        Err(Error::Storage(StorageError::InUse { .. })) => Ok(Database::open_existing(path)?),
        opened => Ok(opened?),
    }
}

/// A collection of a file, for reading; the message of a wrong name tells the right ones.
pub fn read_collection(path: &Path, name: &str) -> Result<Collection> {
    named(path, &read(path)?, name)
}

/// As [`read_collection`], of a file that is there, for writing to its cache.
pub fn write_collection(path: &Path, name: &str) -> Result<Collection> {
    named(path, &DatabaseOptions::new().must_exist().open(path)?, name)
}

fn named(path: &Path, db: &Database, name: &str) -> Result<Collection> {
    match db.collection(name) {
        Err(Error::CollectionNotFound { .. }) => {
            let names = db.collections()?;
            let reason = format!("there is no collection {name:?} in {}", path.display());
            Err(Failure::new(if names.is_empty() {
                format!("{reason}: the file is empty")
            } else {
                format!("{reason}: use --collection with one of {names:?}")
            }))
        }
        found => Ok(found?),
    }
}

/// Whether a collection has the shape of those that `ingest --no-vectors` makes, and no vectors.
pub fn has_no_vectors(collection: &Collection) -> Result<bool> {
    let info = collection.info()?;
    Ok(is_for_words(info.dimensions, info.vectors, info.pending))
}

/// The same by what is known of it: its dimensions, vectors, and records that wait for one.
pub fn is_for_words(dimensions: usize, vectors: u64, pending: u64) -> bool {
    dimensions == 1 && vectors == 0 && pending == 0
}

/// For writing; makes the file if it is absent.
pub fn write(path: &Path, maintenance: Maintenance) -> Result<Database> {
    Ok(DatabaseOptions::new().maintenance(maintenance).open(path)?)
}
