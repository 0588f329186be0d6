//! The portable reader: serves a [`Snapshot`] from a memory map with our own page parser.
//! No lock file, no C code, no write. For files that nobody writes to: shipped ones, backups.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memmap2::Mmap;

use super::pages::{Meta, NodeValue, PageError, Pages, Tree, newest_meta};
use super::source::{Source, map_database};
use super::validate::validate;
use super::whole::{newest_whole_meta, whole_metas};
use super::{
    Entries, Entry, PageUse, Reader, SharedEntries, Snapshot, StorageError, Store, Table, Verify,
    schema,
};

/// Checks the structure of a file, and the numbers of its last two commits, before LMDB sees it.
/// An empty file passes: it is a database that was never written to; so does one without tables.
///
/// # Errors
/// [`StorageError::Page`], [`StorageError::Format`], [`StorageError::AddressSpace`],
/// [`StorageError::Io`].
pub(super) fn validate_file(path: &Path) -> Result<(), StorageError> {
    let Some(map) = mapped(path)? else { return Ok(()) };
    let page = |error| StorageError::of_page(error, path);
    let meta = newest_meta(&map, map.len() as u64).map_err(page)?;
    if meta.main.root.is_none() {
        validate(&map).map_err(page)?;
    } else {
        FileStore::over(Source::Map(map), path, Verify::Touched)?;
    }
    Ok(())
}

/// Counts the pages of a file that may be open through LMDB.
///
/// # Errors
/// As [`validate_file`].
pub(super) fn page_use_of_file(path: &Path) -> Result<PageUse, StorageError> {
    match mapped(path)? {
        Some(map) => FileStore::over(Source::Map(map), path, Verify::None)?.page_use(),
        None => Err(PageError::TooShort { found: 0 }.into()),
    }
}

/// A file that may be open through LMDB; none if it is empty.
fn mapped(path: &Path) -> Result<Option<Mmap>, StorageError> {
    let io = |source| StorageError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Ok(None);
    }
    map_database(&file, "read", path).map(Some)
}

/// A file opened for reading only.
pub(crate) struct FileStore {
    path: PathBuf,
    map: Arc<Source>,
    meta: Meta,
    tables: Box<[Tree; Table::COUNT]>,
    format: u32,
    /// Whether pages had to be read from a disk when this was last seen.
    is_cold: AtomicBool,
}

/// Whoever waited as long for a page waited for a disk.
const DISK: Duration = Duration::from_micros(50);

/// Bytes of a value that are asked for: a page of most machines.
const ASKED_BYTES: usize = 4096;

impl FileStore {
    /// Opens a file that nobody has open for writing.
    ///
    /// # Errors
    /// Not found, in use, not a portolan file, or damaged.
    pub(crate) fn open(path: &Path, verify: Verify) -> Result<Self, StorageError> {
        Self::over(Source::open(path)?, path, verify)
    }

    /// Serves the bytes of a file from memory.
    ///
    /// # Errors
    /// Not a portolan file, or damaged.
    pub(crate) fn of_bytes(bytes: Arc<[u8]>, verify: Verify) -> Result<Self, StorageError> {
        Self::over(Source::Memory(bytes), Path::new(""), verify)
    }

    fn over(source: Source, path: &Path, verify: Verify) -> Result<Self, StorageError> {
        let page = |error| StorageError::of_page(error, path);
        let begin = Instant::now();
        let meta = match verify {
            Verify::None => newest_whole_meta(&source).map_err(page)?,
            Verify::Touched | Verify::Full => validate(&source).map_err(page)?,
        };
        // A check of structure has read the first page of every value by now.
        let is_cold = verify == Verify::None && begin.elapsed() > DISK;
        let map = Arc::new(source);
        let mut store = Self::at(Arc::clone(&map), meta, path)?;
        store.is_cold = AtomicBool::new(is_cold);
        // A file of another version is told of as such.
        store.format = schema::check(&&store)?;
        for table in Table::ALL.into_iter().filter(|table| table.since() > schema::FIRST_VERSION) {
            if table.since() <= store.format {
                store.find_table(table, path)?;
            }
        }
        if verify != Verify::None {
            store.check_commits()?;
        }
        Ok(store)
    }

    /// Checks that each of the last two versions was written by the commit that its meta names.
    fn check_commits(&self) -> Result<(), StorageError> {
        let metas =
            whole_metas(&self.map).map_err(|error| StorageError::of_page(error, &self.path))?;
        for meta in metas.into_iter().flatten() {
            schema::check_commit(&&Self::at(Arc::clone(&self.map), meta, &self.path)?)?;
        }
        Ok(())
    }

    /// The file at the version of one of its metas.
    fn at(map: Arc<Source>, meta: Meta, path: &Path) -> Result<Self, StorageError> {
        let tables = Box::new([Tree::EMPTY; Table::COUNT]);
        let is_cold = AtomicBool::new(false);
        let mut store = Self { path: path.to_owned(), map, meta, tables, format: 0, is_cold };
        for table in Table::ALL {
            match store.find_table(table, path) {
                // Whether it should be there is known once the version is.
                Err(_) if table.since() > schema::FIRST_VERSION => {}
                found => store.tables[table as usize] = found?,
            }
        }
        Ok(store)
    }

    fn find_table(&self, table: Table, path: &Path) -> Result<Tree, StorageError> {
        let name = table.name();
        match self.lookup(self.meta.main, name.as_bytes())? {
            Some(NodeValue::Table(tree)) => Ok(tree),
            _ => Err(StorageError::NotADatabase {
                path: path.to_owned(),
                reason: format!("it has no table {name:?}"),
            }),
        }
    }

    /// As if pages had to be read from a disk.
    #[cfg(test)]
    pub(super) fn chill(&self) {
        self.is_cold.store(true, Ordering::Relaxed);
    }

    fn pages(&self) -> Pages<'_> {
        Pages { bytes: &self.map, page_size: self.meta.page_size, last_page: self.meta.last_page }
    }

    /// Point lookup: one page per level.
    fn lookup(&self, tree: Tree, key: &[u8]) -> Result<Option<NodeValue<'_>>, PageError> {
        let mut cursor = Cursor::new(self.pages(), tree);
        cursor.seek(key)?;
        match cursor.current()? {
            Some((found, value)) if found == key => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    fn resolve<'s>(&'s self, value: NodeValue<'s>) -> Result<&'s [u8], StorageError> {
        self.pages().bytes_of(value)?.ok_or(StorageError::Missing { what: "a value" })
    }
}

impl Store for FileStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, StorageError> {
        // Detects a writer after the fact: whoever commits changes a meta page.
        match newest_meta(&self.map, self.map.len() as u64) {
            Ok(meta) if meta == self.meta => Ok(Box::new(self)),
            _ => Err(StorageError::Changed { path: self.path.clone() }),
        }
    }

    fn on_evict(&self, _drop_views: Box<dyn Fn() + Send + Sync>) {
        // The map never moves.
    }

    fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    fn format(&self) -> u32 {
        self.format
    }

    fn check_structure(&self) -> Result<(), StorageError> {
        validate(&self.map)?;
        self.check_commits()
    }

    fn page_use(&self) -> Result<PageUse, StorageError> {
        let mut cursor = Cursor::new(self.pages(), self.meta.free);
        cursor.seek(&[])?;
        let (mut free, mut lists) = (0_u64, 0);
        while let Some((_, list)) = cursor.current()? {
            // A damaged tree cannot make us loop.
            lists += 1;
            if lists > self.meta.free.entries {
                return Err(StorageError::Missing { what: "the end of the list of free pages" });
            }
            let list = self.resolve(list)?.first_chunk::<8>();
            let list = list.ok_or(StorageError::Missing { what: "a list of free pages" })?;
            free = free.saturating_add(u64::from_le_bytes(*list));
            cursor.advance()?;
        }
        let pages = self.meta.last_page.saturating_add(1);
        if free > pages {
            return Err(StorageError::Missing { what: "a page that is listed as free" });
        }
        Ok(PageUse { page_bytes: self.meta.page_size as u64, pages, free })
    }

    fn readers(&self) -> Vec<Reader> {
        Vec::new()
    }
}

impl Snapshot for &FileStore {
    fn version(&self) -> u64 {
        self.meta.version
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
        let value = self.lookup(self.tables[table as usize], key)?;
        value.map(|value| self.resolve(value)).transpose()
    }

    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Entry<'_>>, StorageError> {
        let mut cursor = Cursor::new(self.pages(), self.tables[table as usize]);
        cursor.seek_before(key)?;
        let Some((key, value)) = cursor.current()? else { return Ok(None) };
        Ok(Some((key, self.resolve(value)?)))
    }

    fn range<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<Entries<'s>, StorageError> {
        let tree = self.tables[table as usize];
        let mut cursor = Cursor::new(self.pages(), tree);
        cursor.seek(start.max(prefix))?;
        Ok(Box::new(RangeIter {
            store: self,
            cursor,
            prefix: prefix.to_vec(),
            // A damaged tree cannot make us loop: no more entries than it claims and can hold.
            left: tree.entries.min(self.map.len() as u64),
            asked: None,
            failed: false,
        }))
    }

    fn range_shared<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
    ) -> Result<SharedEntries<'s>, StorageError> {
        Ok(Source::share_values(&self.map, self.range(table, prefix, prefix)?))
    }
}

/// A place in a tree: the page and node of each level, root first. Never deeper than the tree's
/// depth, which is at most 31, so a cycle of pages cannot be followed for ever.
struct Cursor<'f> {
    pages: Pages<'f>,
    tree: Tree,
    stack: Vec<(u64, usize)>,
}

impl<'f> Cursor<'f> {
    fn new(pages: Pages<'f>, tree: Tree) -> Self {
        Self { pages, tree, stack: Vec::with_capacity(usize::from(tree.depth)) }
    }

    fn is_leaf(&self, level: usize) -> bool {
        level + 1 == usize::from(self.tree.depth)
    }

    /// Moves to the first entry whose key is at least `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), PageError> {
        self.seek_leaf(key)?;
        self.settle()
    }

    /// Moves to the last entry whose key is below `key`; to none if there is no such entry.
    fn seek_before(&mut self, key: &[u8]) -> Result<(), PageError> {
        self.seek_leaf(key)?;
        // Down again on the left of the lowest level that has something there.
        while let Some((number, index)) = self.stack.pop() {
            let Some(index) = index.checked_sub(1) else { continue };
            let leaf = self.is_leaf(self.stack.len());
            self.stack.push((number, index));
            if leaf {
                return Ok(());
            }
            let child = self.pages.page(number, false)?.child(index)?;
            return self.descend(child, true);
        }
        Ok(())
    }

    /// Moves to where `key` is or would be in its leaf, perhaps behind the last entry.
    fn seek_leaf(&mut self, key: &[u8]) -> Result<(), PageError> {
        self.stack.clear();
        let Some(mut number) = self.tree.root else { return Ok(()) };
        for level in 0..usize::from(self.tree.depth) {
            let leaf = self.is_leaf(level);
            let page = self.pages.page(number, leaf)?;
            // First node at or above the key on a leaf; last node at or below it on a branch,
            // whose node 0 stands for minus infinity.
            let (mut low, mut high) = (usize::from(!leaf), page.nodes());
            while low < high {
                let middle = usize::midpoint(low, high);
                let below = page.key(middle)?.cmp(key);
                if below.is_lt() || (!leaf && below.is_eq()) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            let index = if leaf { low } else { low - 1 };
            self.stack.push((number, index));
            if !leaf {
                number = page.child(index)?;
            }
        }
        Ok(())
    }

    /// If past the end of a leaf, moves to the next leaf.
    fn settle(&mut self) -> Result<(), PageError> {
        let Some(&(number, index)) = self.stack.last() else { return Ok(()) };
        if index < self.pages.page(number, true)?.nodes() {
            return Ok(());
        }
        self.stack.pop();
        while let Some((number, index)) = self.stack.pop() {
            let page = self.pages.page(number, false)?;
            if index + 1 < page.nodes() {
                self.stack.push((number, index + 1));
                return self.descend(page.child(index + 1)?, false);
            }
        }
        Ok(())
    }

    /// Goes down to a leaf, along the first or the last children.
    fn descend(&mut self, mut number: u64, last: bool) -> Result<(), PageError> {
        while self.stack.len() < usize::from(self.tree.depth) {
            let leaf = self.is_leaf(self.stack.len());
            let page = self.pages.page(number, leaf)?;
            let index = if last { page.nodes() - 1 } else { 0 };
            self.stack.push((number, index));
            if !leaf {
                number = page.child(index)?;
            }
        }
        Ok(())
    }

    fn current(&self) -> Result<Option<(&'f [u8], NodeValue<'f>)>, PageError> {
        let Some(&(number, index)) = self.stack.last() else { return Ok(None) };
        let page = self.pages.page(number, true)?;
        Ok(Some((page.key(index)?, page.value(index)?)))
    }

    fn advance(&mut self) -> Result<(), PageError> {
        if let Some((_, index)) = self.stack.last_mut() {
            *index += 1;
        }
        self.settle()
    }
}

struct RangeIter<'s> {
    store: &'s FileStore,
    cursor: Cursor<'s>,
    prefix: Vec<u8>,
    left: u64,
    /// The leaf whose values were asked for.
    asked: Option<u64>,
    failed: bool,
}

impl<'s> RangeIter<'s> {
    /// The bytes of a value. While pages come from a disk, the first pages of the values in a leaf
    /// are asked for together: one after the other each would be waited for.
    fn resolve(&mut self, value: NodeValue<'s>) -> Result<&'s [u8], StorageError> {
        let NodeValue::Overflow { .. } = value else { return self.store.resolve(value) };
        let is_cold = self.store.is_cold.load(Ordering::Relaxed);
        let is_first = is_cold && self.ask_for_leaf();
        let begin = Instant::now();
        let bytes = self.store.resolve(value)?;
        // Of those that were asked for only the first tells: it was on its way for no time.
        match begin.elapsed() > DISK {
            true if !is_cold => self.store.is_cold.store(true, Ordering::Relaxed),
            false if is_first => self.store.is_cold.store(false, Ordering::Relaxed),
            _ => {}
        }
        Ok(bytes)
    }

    /// Asks for the values from this one on, unless those of the leaf were. Advice, so that what
    /// is damaged is left to those who come to it.
    fn ask_for_leaf(&mut self) -> bool {
        let Some(&(leaf, index)) = self.cursor.stack.last() else { return false };
        if self.asked.replace(leaf) == Some(leaf) {
            return false;
        }
        let pages = self.store.pages();
        let Ok(page) = pages.page(leaf, true) else { return false };
        for at in index..page.nodes() {
            if !page.key(at).is_ok_and(|key| key.starts_with(&self.prefix)) {
                break;
            }
            if let Ok(NodeValue::Overflow { page: first, .. }) = page.value(at)
                && let Some(place) = pages.place(first)
            {
                // The header of the run, and of what is in it.
                self.store.map.ask(place.start..place.end.min(place.start + ASKED_BYTES));
            }
        }
        true
    }

    fn step(&mut self) -> Result<Option<Entry<'s>>, StorageError> {
        let Some((key, value)) = self.cursor.current()? else { return Ok(None) };
        if !key.starts_with(&self.prefix) {
            return Ok(None);
        }
        if self.left == 0 {
            return Err(StorageError::Missing { what: "the end of a table" });
        }
        self.left -= 1;
        let value = self.resolve(value)?;
        self.cursor.advance()?;
        Ok(Some((key, value)))
    }
}

impl<'s> Iterator for RangeIter<'s> {
    type Item = Result<Entry<'s>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
