//! The public database: files, collections, batches, search, maintenance. Joins storage, index
//! and filter; knows no model and no network. Everything here is synchronous and returns owned
//! data: no map slice and no transaction outlives a call.

mod audit;
mod batch;
mod cache;
mod check;
mod collection;
mod compact;
#[cfg(feature = "nim")]
mod contents;
mod damage;
mod delta;
mod differences;
mod document;
mod field_index;
mod find;
mod fold;
mod maintenance;
mod matching;
mod maxsim;
mod options;
mod origin;
mod pending;
mod publish;
mod queue;
mod registry;
mod repair;
mod repair_vectors;
mod residency;
#[cfg(feature = "nim")]
mod said;
mod search;
mod search_batch;
mod slot_set;
mod space;
mod space_changes;
mod space_info;
mod space_vectors;
mod sparse;
mod suspect_slots;
mod suspects;
mod text;
mod vector_field;
mod verify;
mod verify_spaces;
mod view;
mod views;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub use audit::{Audit, VectorAudit};
pub use batch::{Batch, Committed, MaintenanceOutcome};
pub use cache::{CacheInfo, CacheOptions};
pub use check::{CollectionInfo, DatabaseInfo, ReaderInfo, RecallPoint, SpaceInfo};
pub use collection::{Collection, CollectionOptions, Page, Scan};
pub use compact::Compacted;
#[cfg(feature = "nim")]
pub(crate) use contents::Contents;
pub use damage::{Damage, DamagedPart};
pub use field_index::{DeclaredField, IndexFields};
pub use find::{
    Cursor, Dense, Explanation, Facet, FacetCounts, FacetValue, Find, FindReport, FindStage,
    Findings, Group, Lexical, Like, LikeStrategy, ListReport, Mmr, Multi, Order, SegmentReport,
    Sparse,
};
pub use maintenance::{Maintain, Maintained, Maintenance};
pub use matching::Counted;
pub use maxsim::MaxSim;
pub use options::DatabaseOptions;
pub use origin::Origin;
pub use repair::Repaired;
pub use residency::Residency;
use residency::Residents;
pub use search::{FieldHighlight, Highlights, Hit, Hits, ListPlace, Search, SearchReport};
pub use search_batch::{Found, SearchBatch};
pub use space_info::VectorFieldInfo;
pub use sparse::SparseSearch;
pub use text::TextSearch;
pub use vector_field::VectorField;
pub use verify::Verified;

use crate::error::{Error, Result};
use crate::format::ID_BYTES_MAX;
use crate::lexical::TextIndex;
use crate::record::check_field_name;
use crate::storage::keys as key;
use crate::storage::settings::{self, Setting};
use crate::storage::tables;
use crate::storage::vector_fields;
use crate::storage::{
    Checked, FileStore, LmdbStore, Snapshot, StorageError, Store, Table, Verify, WriterPolicy,
};
use maintenance::Folding;
use options::absolute;
use vector_field::{check_count, check_field};
use view::View;
use views::Views;

/// One file of collections. A cheap clone of one shared handle; `Send + Sync`.
///
/// ```
/// use portolan::{CollectionOptions, Database, Metric, Record};
///
/// # fn main() -> portolan::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("kb.portolan");
/// let db = Database::open(&path)?;
/// let docs = db.create_collection("docs", CollectionOptions::new(3, Metric::Cosine))?;
/// docs.upsert(Record::new("a").text("first").field("lang", "en").vector([1.0, 0.0, 0.0]))?;
/// docs.upsert(Record::new("b").text("second").vector([0.0, 1.0, 0.0]))?;
/// let hits = docs.search(&[0.9, 0.1, 0.0]).limit(1).run()?;
/// assert_eq!(hits[0].text(), "first");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

/// Field order: the store closes before the registration goes.
struct Inner {
    store: StoreKind,
    views: Arc<Views<View>>,
    residents: Arc<Residents>,
    path: PathBuf,
    writer: WriterPolicy,
    maintenance: Maintenance,
    build_memory: usize,
    verify: Verify,
    /// Segments whose extents were checked, by collection and number: both are never reused.
    checked: Mutex<HashSet<(u32, u32)>>,
    folding: Folding,
    cache: cache::Cache,
    registration: Option<registry::Registration>,
}

enum StoreKind {
    Lmdb(LmdbStore),
    File(FileStore),
}

impl Inner {
    fn store(&self) -> &dyn Store {
        match &self.store {
            StoreKind::Lmdb(store) => store,
            StoreKind::File(store) => store,
        }
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        let store = self.store();
        let snapshot = store.snapshot()?;
        Ok(match self.verify {
            Verify::None => snapshot,
            Verify::Touched | Verify::Full => Box::new(Checked::new(snapshot, store.format())),
        })
    }

    /// The writable store.
    fn lmdb(&self) -> Result<&LmdbStore> {
        match &self.store {
            StoreKind::Lmdb(store) => Ok(store),
            StoreKind::File(_) => Err(StorageError::ReadOnly.into()),
        }
    }

    fn file_bytes(&self) -> u64 {
        self.store().file_bytes()
    }
}

impl Database {
    /// Opens a file for reading and writing; makes it if it is absent. While it is open, two
    /// lock files stand beside it. Opening the same file twice in a process yields the same
    /// handle, with the options of the first opening.
    ///
    /// # Errors
    /// [`StorageError`]: the file cannot be opened, is damaged, or is not a portolan file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        DatabaseOptions::new().open(path)
    }

    /// As [`Database::open`], but the file must exist.
    ///
    /// # Errors
    /// [`StorageError::NotFound`], and those of [`Database::open`].
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self> {
        DatabaseOptions::new().must_exist().open(path)
    }

    /// As [`Database::open`], but the file must not exist.
    ///
    /// # Errors
    /// [`StorageError::Exists`], and those of [`Database::open`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        DatabaseOptions::new().must_be_new().open(path)
    }

    /// Opens a file that nobody writes to, with our own reader of the page format: no lock file,
    /// no write, read-only media are fine. Nobody may write to the file while it is open.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if a read-write handle has it open; [`StorageError::NotFound`];
    /// [`StorageError::AddressSpace`] if there is no room for all of it; damaged or foreign files.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        DatabaseOptions::new().open_read_only(path)
    }

    /// As [`Database::open_read_only`], from the bytes of a file in memory: fetched, or compiled
    /// into the program. Nothing is copied.
    ///
    /// # Errors
    /// Damaged or foreign bytes.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        DatabaseOptions::new().from_bytes(bytes)
    }

    /// The absolute path of the file; empty for one in memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether the file was opened read-only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.inner.store, StoreKind::File(_))
    }

    /// Lets go of the version of the file that searches of this handle keep open. An idle process
    /// that has searched keeps old pages from being used again by writers in other processes;
    /// the next search takes the newest version anyway.
    pub fn release(&self) {
        self.inner.views.clear();
    }

    /// Makes a collection.
    ///
    /// # Errors
    /// [`Error::CollectionExists`]; [`Error::CollectionOptions`]; read-only; storage.
    pub fn create_collection(&self, name: &str, options: CollectionOptions) -> Result<Collection> {
        check_options(name, &options)?;
        let store = self.inner.lmdb()?;
        let definition = store.write(self.inner.writer, |txn| {
            if tables::definition(txn, name)?.is_some() {
                return Err(Error::CollectionExists { name: name.to_owned() });
            }
            let id = tables::take_collection_number(txn)?;
            let definition = options.vectors().definition(id);
            let manifest = options.vectors().first_manifest();
            let at = key::definition(name);
            txn.put(Table::Collections, &at, &tables::encode_definition(name, &definition)?)?;
            let at = key::manifest(id);
            txn.put(Table::Collections, &at, &tables::encode_manifest(id, &manifest)?)?;
            for (field, of) in options.fields() {
                of.create(txn, id, field, 0)?;
            }
            if let Some(index) = options.text_index() {
                settings::put(txn, id, Setting::Text, "", &index.encode())?;
            }
            options.put_fields(id, txn)?;
            Ok(definition)
        })?;
        Collection::open(Arc::clone(&self.inner), name, definition)
    }

    /// Opens a collection.
    ///
    /// # Errors
    /// [`Error::CollectionNotFound`]; storage.
    pub fn collection(&self, name: &str) -> Result<Collection> {
        let snapshot = self.inner.snapshot()?;
        let definition = tables::definition(snapshot.as_ref(), name)?
            .ok_or_else(|| Error::CollectionNotFound { name: name.to_owned() })?;
        drop(snapshot);
        Collection::open(Arc::clone(&self.inner), name, definition)
    }

    /// Opens a collection, or makes it if it is absent.
    ///
    /// One that exists must not contradict the options in what can no longer be changed: dimensions
    /// and metric, and whatever they say other than by default of leading dimensions, originals,
    /// graph and model; the same in named vector fields that both have. All else stays as it is,
    /// whatever the options say: the text index, which metadata fields are indexed, vector fields
    /// that it has not. [`Collection::index_text`], [`Collection::declare_field`] and
    /// [`Collection::add_vector_field`] change these.
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Error, Language, Metric, TextIndex};
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = Database::open(dir.path().join("kb.portolan"))?;
    /// let options = |dimensions| CollectionOptions::new(dimensions, Metric::Cosine);
    /// db.collection_or_create("docs", options(384))?;
    /// let other = db.collection_or_create("docs", options(768)).unwrap_err();
    /// let Error::CollectionDiffers { differences, .. } = other else { panic!() };
    /// assert_eq!(differences[0].to_string(), "dimensions: it has 384, the options say 768");
    /// // An index can be added later: that of the options is not made.
    /// let words = options(384).text(TextIndex::new(Language::English));
    /// assert!(db.collection_or_create("docs", words)?.text_index()?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::CollectionDiffers`]; those of [`Database::create_collection`] and
    /// [`Database::collection`].
    pub fn collection_or_create(
        &self,
        name: &str,
        options: CollectionOptions,
    ) -> Result<Collection> {
        let found = match self.collection(name) {
            Err(Error::CollectionNotFound { .. }) => {
                match self.create_collection(name, options.clone()) {
                    // Another thread or process was faster.
                    Err(Error::CollectionExists { .. }) => self.collection(name)?,
                    created => return created,
                }
            }
            found => found?,
        };
        found.check_options(&options)?;
        Ok(found)
    }

    /// Names of the collections, sorted bytewise.
    ///
    /// # Errors
    /// Storage.
    pub fn collections(&self) -> Result<Vec<String>> {
        let snapshot = self.inner.snapshot()?;
        let mut names = Vec::new();
        for entry in snapshot.range(Table::Collections, &[0], &[0])? {
            let (found, _) = entry?;
            let name = key::definition_name(found);
            let name = name.ok_or(StorageError::Missing { what: "the name of a collection" })?;
            names.push(name.to_owned());
        }
        Ok(names)
    }

    /// Removes a collection and all its records; whether it was there.
    ///
    /// # Errors
    /// Read-only; storage.
    pub fn delete_collection(&self, name: &str) -> Result<bool> {
        let store = self.inner.lmdb()?;
        self.inner.views.clear();
        store.write(self.inner.writer, |txn| {
            let Some(definition) = tables::definition(txn, name)? else { return Ok(false) };
            for (_, field) in vector_fields::all(txn, definition.id)? {
                vector_fields::remove_content(txn, field.definition.id)?;
                self.inner.residents.forget(field.definition.id);
            }
            txn.delete(Table::Collections, &key::definition(name))?;
            txn.delete(Table::Collections, &key::manifest(definition.id))?;
            txn.delete_prefix(Table::Collections, &key::all_pending(definition.id))?;
            txn.delete_prefix(Table::Collections, &key::all_settings(definition.id))?;
            for table in Table::ALL {
                if !matches!(table, Table::Meta | Table::Collections) {
                    txn.delete_prefix(table, &key::collection(definition.id))?;
                }
            }
            self.inner.residents.forget(definition.id);
            Ok(true)
        })
    }
}

fn check_options(name: &str, options: &CollectionOptions) -> Result<()> {
    let refuse = |reason: String| Err(Error::CollectionOptions { name: name.to_owned(), reason });
    if name.is_empty() || name.len() > ID_BYTES_MAX {
        return refuse(format!("names are 1 to {ID_BYTES_MAX} bytes"));
    }
    options.vectors().check().or_else(refuse)?;
    for (at, (field, of)) in options.fields().iter().enumerate() {
        check_field(field, of)?;
        check_count(field, at + 1)?;
        if options.fields()[..at].iter().any(|(other, _)| other == field) {
            let (collection, field) = (name.to_owned(), field.clone());
            return Err(Error::VectorFieldExists { collection, field });
        }
    }
    for field in options.declared_fields() {
        if let Err(error) = check_field_name(field) {
            return refuse(error.to_string());
        }
    }
    match options.text_index().map(TextIndex::check) {
        Some(Err(error)) => refuse(error.to_string()),
        _ => Ok(()),
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.inner.path)
            .field("read_only", &self.is_read_only())
            .finish()
    }
}
