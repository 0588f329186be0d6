//! Where a collection lies: for hits of queries over several.

use std::path::PathBuf;

use super::Collection;

/// The collection that a hit comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Origin {
    /// The collection's name.
    pub collection: String,
    /// The absolute path of its file; empty for one in memory.
    pub path: PathBuf,
}

impl Collection {
    /// Name and file of this collection.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { collection: self.name.to_string(), path: self.inner.path.clone() }
    }
}
