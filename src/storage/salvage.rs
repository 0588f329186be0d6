//! Reads a damaged file: a snapshot of whatever is whole of it, and a list of what is not. Every
//! entry that can still be reached and whose checksum is right is there. Damaged extents are kept
//! beside them, as suspects: `mend.rs` may put them right, and their rows can be judged one by one.

use std::collections::{BTreeMap, HashSet};
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;

use super::checked::check_entry;
use super::keys::EXTENT_KEY_BYTES;
use super::pages::layout::HEADER;
use super::pages::{Meta, NodeValue, Page, PageError, Pages, Tree, any_metas, newest_meta};
use super::reader::validate_file;
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
    /// What was written is known all the same.
    pub(crate) is_mended: bool,
}

/// Where a value is.
pub(super) enum Held {
    /// In the file.
    At(Range<usize>),
    /// It was put right.
    Mended(Vec<u8>),
}

/// What is whole of a file. Memory: the keys of all entries.
pub(crate) struct Salvage {
    source: Arc<Source>,
    version: u64,
    pub(super) tables: [BTreeMap<Vec<u8>, Held>; Table::COUNT],
    /// Extents whose checksum is wrong.
    pub(super) suspects: BTreeMap<Vec<u8>, Range<usize>>,
    /// What is left of the work that may go into putting extents right.
    pub(super) steps: u64,
    pub(crate) lost: Vec<Lost>,
}

impl Salvage {
    /// Reads all that can be read of a file that nobody writes to.
    ///
    /// # Errors
    /// The file cannot be read, or neither of its metas is one; a file of another format version.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let source = Arc::new(Source::open(path)?);
        let page = |error| StorageError::of_page(error, path);
        let metas = match any_metas(&source) {
            Ok(metas) => metas,
            // What everybody else says of such a file.
            Err(error) => {
                newest_meta(&source, source.len() as u64).map_err(page)?;
                return Err(page(error));
            }
        };
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
            _ => Ok(chosen.with_structure(path)),
        }
    }

    /// Adds what is wrong with metas and structure, if nothing else tells of it: that all entries
    /// can be reached does not make a file whole.
    fn with_structure(mut self, path: &Path) -> Self {
        if let Err(error) = validate_file(path) {
            let reason = match &error {
                StorageError::Page(error) => error.to_string(),
                error => error.to_string(),
            };
            if !self.lost.iter().any(|lost| lost.reason.contains(&reason)) {
                self.lost.push(Lost { table: None, key: None, reason, is_mended: false });
            }
        }
        self
    }

    fn has_collections(&self) -> bool {
        !self.tables[Table::Collections as usize].is_empty()
    }

    fn at(source: &Arc<Source>, meta: Meta) -> Self {
        let pages = Pages { bytes: source, page_size: meta.page_size, last_page: meta.last_page };
        let mut walk = Walk { pages, seen: HashSet::new(), lost: Vec::new() };
        let (version, tables) = (meta.version, std::array::from_fn(|_| BTreeMap::new()));
        let (suspects, lost, steps) = (BTreeMap::new(), Vec::new(), super::mend::STEPS_MAX);
        let mut all = Self { source: Arc::clone(source), version, tables, suspects, steps, lost };
        let mut format = FORMAT_VERSION;
        let trees = walk.trees(meta.main);
        for (table, tree) in &trees {
            for entry in walk.entries(*table, *tree) {
                match check(format, *table, entry) {
                    // First come the pages that are what their tree says.
                    Ok(()) if all.tables[*table as usize].contains_key(entry.0) => {}
                    Ok(()) => all.keep(*table, entry),
                    Err(error) => {
                        walk.lose(Some(*table), Some(entry.0), reason(&error));
                        let is_there = all.tables[*table as usize].contains_key(entry.0)
                            || all.suspects.contains_key(entry.0);
                        if *table == Table::Extents && !is_there {
                            all.suspects.insert(entry.0.to_vec(), source.place(entry.1));
                        }
                    }
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
        let at = Held::At(self.source.place(value));
        self.tables[table as usize].insert(key.to_vec(), at);
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

    fn entry<'s>(&'s self, (key, held): (&'s Vec<u8>, &'s Held)) -> Entry<'s> {
        let value = match held {
            Held::At(at) => self.source.get(at.clone()).unwrap_or_default(),
            Held::Mended(value) => value,
        };
        (key, value)
    }

    /// The bytes of an extent whose checksum is wrong.
    pub(crate) fn suspect(&self, key: &[u8]) -> Option<&[u8]> {
        self.source.get(self.suspects.get(key)?.clone())
    }

    /// The keys of all of them.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = &[u8]> {
        self.suspects.keys().map(Vec::as_slice)
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
        let entries = self.range(table, prefix, prefix)?;
        let copied = entries.map(|entry| entry.map(|(key, value)| (key, value.to_vec().into())));
        Ok(Box::new(copied))
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
        let (key, is_mended) = (key.map(<[u8]>::to_vec), false);
        self.lost.push(Lost { table, key, reason, is_mended });
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
                let of = key.as_ref().ok().copied();
                let value = page.value(index).and_then(|value| self.value(table, of, value));
                match (key, value) {
                    (Ok(key), Ok(value)) => entries.push((key, value)),
                    (key, Err(error)) => self.lose(Some(table), key.ok(), error.to_string()),
                    (Err(error), _) => self.lose(Some(table), None, error.to_string()),
                }
            }
        }
        // A page that is there twice must not make up for one that is not.
        let keys: HashSet<&[u8]> = entries.iter().map(|(key, _)| *key).collect();
        if keys.len() as u64 != tree.entries {
            let (found, counted) = (keys.len(), tree.entries);
            let reason = format!("{found} of {counted} entries can be reached");
            self.lose(Some(table), None, reason);
        }
        entries
    }

    /// A value. Of one with pages of its own the header before it is not needed to read it.
    fn value(
        &mut self,
        table: Table,
        key: Option<&[u8]>,
        value: NodeValue<'f>,
    ) -> Result<&'f [u8], PageError> {
        let beside = match value {
            NodeValue::Overflow { page, len } => {
                // Each is read once, or many keys could lead to the same bytes.
                let beside = self.pages.behind_header(page, len);
                let pages = (HEADER + len).div_ceil(self.pages.page_size) as u64;
                let mut run = page..page.saturating_add(pages);
                if beside.is_some() && !run.all(|page| self.seen.insert(page)) {
                    return Err(PageError::Page { page, rule: "is reached twice" });
                }
                beside
            }
            _ => None,
        };
        match (resolve(&self.pages, value), beside) {
            (Err(error), Some(value)) => {
                let reason = format!("{error}: what stands behind its header was read");
                let (key, is_mended) = (key.map(<[u8]>::to_vec), true);
                self.lost.push(Lost { table: Some(table), key, reason, is_mended });
                Ok(value)
            }
            (resolved, _) => resolved,
        }
    }

    /// Every leaf of a tree that can be reached, in order, but for those whose header is damaged:
    /// they come last, as they may be other pages, with older entries.
    fn leaves(&mut self, table: Option<Table>, tree: Tree) -> Vec<Page<'f>> {
        let (mut leaves, mut doubtful) = (Vec::new(), Vec::new());
        let mut next: Vec<(u64, u16, bool)> =
            tree.root.map(|root| (root, 1, false)).into_iter().collect();
        while let Some((number, level, mut is_doubtful)) = next.pop() {
            if !self.seen.insert(number) {
                self.lose(table, None, format!("page {number} is reached twice"));
                continue;
            }
            let is_leaf = level == tree.depth;
            let page = match self.pages.page(number, is_leaf) {
                Ok(page) => page,
                Err(error) => match self.pages.nodes(number, is_leaf) {
                    // It may be another page, or an older one: of what it had nothing can be told.
                    Ok(page) => {
                        self.lose(table, None, format!("{error}: what stands in it was read"));
                        is_doubtful = true;
                        page
                    }
                    Err(_) => {
                        self.lose(table, None, error.to_string());
                        continue;
                    }
                },
            };
            if is_leaf {
                if is_doubtful { &mut doubtful } else { &mut leaves }.push(page);
                continue;
            }
            for index in (0..page.nodes()).rev() {
                match page.child(index) {
                    Ok(child) => next.push((child, level + 1, is_doubtful)),
                    Err(error) => self.lose(table, None, error.to_string()),
                }
            }
        }
        leaves.append(&mut doubtful);
        leaves
    }
}
