//! Reads a damaged file: a snapshot of whatever is whole of it, and a list of what is not. Every
//! entry that can still be reached and whose checksum is right is there.

use std::collections::{BTreeMap, HashSet};
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;

use super::checked::check_entry;
use super::keys::EXTENT_KEY_BYTES;
use super::pages::{Meta, NodeValue, Page, PageError, Pages, Tree, any_metas};
use super::source::Source;
use super::{Entries, Entry, SharedEntries, Snapshot, StorageError, Table, schema};
use crate::format::{FORMAT_VERSION, FormatError, verify_extent};

/// What could not be read.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    /// The table, and the key; none where they are unknown.
    pub(crate) table: Option<Table>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) reason: String,
}

/// What is whole of a file. Memory: the keys of all entries.
pub(crate) struct Salvage {
    source: Arc<Source>,
    version: u64,
    /// Where the values are in the file.
    tables: [BTreeMap<Vec<u8>, Range<usize>>; Table::COUNT],
    pub(crate) lost: Vec<Lost>,
}

impl Salvage {
    /// Reads all that can be read of a file that nobody writes to.
    ///
    /// # Errors
    /// The file cannot be read, or neither of its metas is one; a file of another format version.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let source = Arc::new(Source::open(path)?);
        let metas = any_metas(&source).map_err(|error| StorageError::of_page(error, path))?;
        let mut versions = metas.into_iter().map(|meta| Self::at(&source, meta));
        let newest = versions.next().ok_or(StorageError::Missing { what: "a meta page" })?;
        // The version before is whole as long as its pages are.
        let chosen = if newest.has_collections() {
            newest
        } else {
            versions.find(Self::has_collections).unwrap_or(newest)
        };
        match schema::check(&chosen) {
            Err(StorageError::Format(error @ FormatError::Version { .. })) => Err(error.into()),
            _ => Ok(chosen),
        }
    }

    fn has_collections(&self) -> bool {
        !self.tables[Table::Collections as usize].is_empty()
    }

    fn at(source: &Arc<Source>, meta: Meta) -> Self {
        let pages = Pages { bytes: source, page_size: meta.page_size, last_page: meta.last_page };
        let mut walk = Walk { pages, seen: HashSet::new(), lost: Vec::new() };
        let (version, tables) = (meta.version, std::array::from_fn(|_| BTreeMap::new()));
        let mut all = Self { source: Arc::clone(source), version, tables, lost: Vec::new() };
        let mut format = FORMAT_VERSION;
        let trees = walk.trees(meta.main);
        for (table, tree) in &trees {
            for entry in walk.entries(*table, *tree) {
                match check(format, *table, entry) {
                    Ok(()) => all.keep(*table, entry),
                    Err(error) => walk.lose(Some(*table), Some(entry.0), reason(&error)),
                }
            }
            if *table == Table::Meta {
                format = schema::check(&all).unwrap_or(format);
            }
        }
        let without_tree = |table: &Table| trees.iter().all(|(found, _)| found != table);
        let missing: Vec<Table> = (Table::ALL.into_iter())
            .filter(|table| table.since() <= format && without_tree(table))
            .collect();
        for table in &missing {
            let reason = "its tree cannot be found: entries were looked for page by page, and \
                          some may be of earlier versions";
            walk.lose(Some(*table), None, reason.to_owned());
        }
        if !missing.is_empty() {
            all.search(&walk.pages, &missing, format);
        }
        all.lost = walk.lost;
        all
    }

    fn keep(&mut self, table: Table, (key, value): Entry<'_>) {
        self.tables[table as usize].insert(key.to_vec(), self.source.place(value));
    }

    /// Looks for the entries of tables without a tree in every page that looks like a leaf: an
    /// entry tells by its checksum whose it is. It may be one of an earlier version.
    fn search(&mut self, pages: &Pages<'_>, missing: &[Table], format: u32) {
        let source = Arc::clone(&self.source);
        // All of the file: the meta that could be read may be of before its first commit.
        let count = (source.len() / pages.page_size) as u64;
        let pages = Pages { bytes: &source, last_page: count.saturating_sub(1), ..*pages };
        for number in 2..count {
            let Ok(page) = pages.page(number, true) else { continue };
            for index in 0..page.nodes() {
                let (Ok(key), Ok(value)) = (page.key(index), page.value(index)) else { continue };
                let Ok(value) = resolve(&pages, value) else { continue };
                let whose = missing.iter().find(|of| match of {
                    Table::Extents => key.len() == EXTENT_KEY_BYTES && verify_extent(value).is_ok(),
                    of => check(format, **of, (key, value)).is_ok(),
                });
                whose.into_iter().for_each(|table| self.keep(*table, (key, value)));
            }
        }
    }

    fn entry<'s>(&'s self, (key, at): (&'s Vec<u8>, &Range<usize>)) -> Entry<'s> {
        (key, self.source.get(at.clone()).unwrap_or_default())
    }
}

impl Snapshot for Salvage {
    fn version(&self) -> u64 {
        self.version
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
        let found = self.tables[table as usize].get_key_value(key);
        Ok(found.map(|entry| self.entry(entry).1))
    }

    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Entry<'_>>, StorageError> {
        let below = (Bound::Unbounded, Bound::Excluded(key));
        let last = self.tables[table as usize].range::<[u8], _>(below).next_back();
        Ok(last.map(|entry| self.entry(entry)))
    }

    fn range<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<Entries<'s>, StorageError> {
        let (from, prefix) = (start.max(prefix), prefix.to_vec());
        let bounds = (Bound::Included(from), Bound::Unbounded);
        let entries = self.tables[table as usize].range::<[u8], _>(bounds);
        let within = entries.take_while(move |(key, _)| key.starts_with(&prefix));
        Ok(Box::new(within.map(|entry| Ok(self.entry(entry)))))
    }

    fn range_shared<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
    ) -> Result<SharedEntries<'s>, StorageError> {
        Ok(Source::share_values(&self.source, self.range(table, prefix, prefix)?))
    }
}

fn check(format: u32, table: Table, entry: Entry<'_>) -> Result<(), StorageError> {
    match table {
        Table::Extents => Ok(verify_extent(entry.1)?),
        table => check_entry(format, table, entry),
    }
}

fn resolve<'f>(pages: &Pages<'f>, value: NodeValue<'f>) -> Result<&'f [u8], PageError> {
    let table = PageError::Page { page: 0, rule: "is a table in a table" };
    pages.bytes_of(value)?.ok_or(table)
}

fn reason(error: &StorageError) -> String {
    match error {
        StorageError::Format(FormatError::Checksum { .. }) => "its checksum is wrong".to_owned(),
        StorageError::Format(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// A walk that goes around what is damaged.
struct Walk<'f> {
    pages: Pages<'f>,
    /// Each page is visited once, or a damaged tree could lead to it without end.
    seen: HashSet<u64>,
    lost: Vec<Lost>,
}

impl<'f> Walk<'f> {
    fn lose(&mut self, table: Option<Table>, key: Option<&[u8]>, reason: String) {
        self.lost.push(Lost { table, key: key.map(<[u8]>::to_vec), reason });
    }

    /// The trees of the tables, `meta` first.
    fn trees(&mut self, main: Tree) -> Vec<(Table, Tree)> {
        let mut found = BTreeMap::new();
        for page in self.leaves(None, main) {
            for index in 0..page.nodes() {
                match page.key(index).and_then(|key| Ok((key, page.value(index)?))) {
                    Ok((key, NodeValue::Table(tree))) => drop(found.insert(key, tree)),
                    Ok(_) => {}
                    Err(error) => self.lose(None, None, error.to_string()),
                }
            }
        }
        let mut trees = Vec::new();
        for table in Table::ALL {
            if let Some(tree) = found.get(table.name().as_bytes()) {
                trees.push((table, *tree));
            }
        }
        trees
    }

    /// The entries of a table, seals unchecked.
    fn entries(&mut self, table: Table, tree: Tree) -> Vec<Entry<'f>> {
        let mut entries = Vec::new();
        for page in self.leaves(Some(table), tree) {
            for index in 0..page.nodes() {
                let key = page.key(index);
                match (key, page.value(index).and_then(|value| resolve(&self.pages, value))) {
                    (Ok(key), Ok(value)) => entries.push((key, value)),
                    (key, Err(error)) => self.lose(Some(table), key.ok(), error.to_string()),
                    (Err(error), _) => self.lose(Some(table), None, error.to_string()),
                }
            }
        }
        if entries.len() as u64 != tree.entries {
            let (found, counted) = (entries.len(), tree.entries);
            let reason = format!("{found} of {counted} entries can be reached");
            self.lose(Some(table), None, reason);
        }
        entries
    }

    /// Every leaf of a tree that can be reached, in order.
    fn leaves(&mut self, table: Option<Table>, tree: Tree) -> Vec<Page<'f>> {
        let mut leaves = Vec::new();
        let mut next: Vec<(u64, u16)> = tree.root.map(|root| (root, 1)).into_iter().collect();
        while let Some((number, level)) = next.pop() {
            if !self.seen.insert(number) {
                self.lose(table, None, format!("page {number} is reached twice"));
                continue;
            }
            let is_leaf = level == tree.depth;
            let page = match self.pages.page(number, is_leaf) {
                Ok(page) => page,
                Err(error) => {
                    self.lose(table, None, error.to_string());
                    continue;
                }
            };
            if is_leaf {
                leaves.push(page);
                continue;
            }
            for index in (0..page.nodes()).rev() {
                match page.child(index) {
                    Ok(child) => next.push((child, level + 1)),
                    Err(error) => self.lose(table, None, error.to_string()),
                }
            }
        }
        leaves
    }
}
