//! Writes the tables of a snapshot into a new file, from the leaves up: pages filled in the order
//! of their keys, no free page, and no byte of anything but what the snapshot holds. LMDB's own
//! copy takes pages as they are, with what was deleted from them.
//!
//! What opening reads, and where extents are, stands at the end of the file, one page after
//! another: a disk that was not read before is read there once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Seek, SeekFrom, Write};

use super::pages::layout::{
    BRANCH, EMPTY_ROOT, FREE_FLAGS, HEADER, LEAF, MAGIC, META, NODE_BIG, NODE_HEADER, NODE_SUB,
    OVERFLOW,
};
use super::{FileStore, Snapshot, StorageError, Store, Table, Verify, schema};
use crate::format::FILE_MAGIC;

/// Page size of the files that are written: every machine reads it.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Tables in the order in which they are written: the later, the sooner they are read.
const ORDER: [Table; Table::COUNT] = [
    Table::Postings,
    Table::Matrices,
    Table::Ids,
    Table::Records,
    Table::Fields,
    Table::Delta,
    Table::Extents,
    Table::Tombstones,
    Table::Collections,
    Table::Meta,
];

/// Bytes of leaf pages that are held back, so that the values between them do not part them.
const HELD_BYTES: usize = 1 << 20;

/// Where a meta page of a copy is marked, from its body on: behind all that LMDB reads or writes.
/// Else the first page alone would be that of a file which was never finished (`fresh.rs`).
const MARK_AT: usize = 144;

/// Writes a copy of what `snapshot` sees to `out`, which is empty; returns its length in bytes.
/// The copy is of the newest format version. Memory: a key per leaf page of the largest table,
/// a value, and a MiB.
///
/// # Errors
/// Those of reading; [`CopyError::Write`].
pub(crate) fn copy(
    snapshot: &dyn Snapshot,
    out: &mut (impl Write + Seek),
    page_bytes: usize,
) -> Result<u64, CopyError> {
    let mut writer = PageWriter { out, page_bytes, next: 0 };
    // Room for the metas, which are written last.
    writer.put(&vec![0; 2 * page_bytes])?;
    let mut tables = BTreeMap::new();
    for table in ORDER {
        let entries = snapshot.range(table, &[], &[])?;
        let tree = match table {
            Table::Meta => {
                let mut all = BTreeMap::new();
                for entry in entries {
                    let (key, value) = entry?;
                    all.insert(Cow::Borrowed(key), Cow::Borrowed(value));
                }
                for (key, value) in schema::entries_of_a_new_file() {
                    all.insert(Cow::Borrowed(key), Cow::Owned(value));
                }
                writer.tree(all.into_iter().map(Ok), 0)?
            }
            table => {
                let current =
                    |(key, value)| (Cow::Borrowed(key), schema::current(table, key, value));
                writer.tree(entries.map(|entry| entry.map(current)), 0)?
            }
        };
        tables.insert(table.name(), tree.record());
    }
    debug_assert_eq!(tables.len(), Table::COUNT, "each table stands in the order once");
    let records = tables.iter().map(|(name, record)| (name.as_bytes(), record.as_slice()));
    let records = records.map(|(name, record)| Ok((Cow::Borrowed(name), Cow::Borrowed(record))));
    let main = writer.tree(records, NODE_SUB)?;
    writer.metas(&main)?;
    Ok(writer.next * page_bytes as u64)
}

/// The bytes of a whole file as [`copy`] writes them, in pages of another size.
///
/// # Errors
/// Those of reading.
pub(crate) fn rewrite(file: &[u8], page_bytes: usize) -> Result<Vec<u8>, CopyError> {
    let store = FileStore::of_bytes(file.into(), Verify::Touched)?;
    let mut out = Cursor::new(Vec::new());
    copy(store.snapshot()?.as_ref(), &mut out, page_bytes)?;
    Ok(out.into_inner())
}

/// Makes a page of zeros one of the two metas that LMDB begins a file with, but for the size of
/// the map: no transaction, no roots.
pub(super) fn first_meta(page: &mut [u8], slot: u8) {
    page[0] = slot;
    page[10..12].copy_from_slice(&META.to_le_bytes());
    let mut free = Written::EMPTY.record();
    free[0..4].copy_from_slice(&(page.len() as u32).to_le_bytes());
    free[4..6].copy_from_slice(&FREE_FLAGS[0].to_le_bytes());
    let body = &mut page[HEADER..];
    body[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    body[4..8].copy_from_slice(&1_u32.to_le_bytes());
    body[24..72].copy_from_slice(&free);
    body[72..120].copy_from_slice(&Written::EMPTY.record());
    // The last page is the second meta.
    body[120..128].copy_from_slice(&1_u64.to_le_bytes());
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The original could not be read.
    #[error(transparent)]
    Read(#[from] StorageError),
    /// The copy could not be written.
    #[error(transparent)]
    Write(#[from] std::io::Error),
}

/// A tree that was written.
struct Written {
    root: u64,
    depth: u16,
    branch: u64,
    leaf: u64,
    overflow: u64,
    entries: u64,
}

impl Written {
    const EMPTY: Self =
        Self { root: EMPTY_ROOT, depth: 0, branch: 0, leaf: 0, overflow: 0, entries: 0 };

    /// The 48 bytes that describe it.
    fn record(&self) -> [u8; 48] {
        let mut record = [0; 48];
        record[6..8].copy_from_slice(&self.depth.to_le_bytes());
        let numbers = [self.branch, self.leaf, self.overflow, self.entries, self.root];
        for (bytes, number) in record[8..].as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *bytes = number.to_le_bytes();
        }
        record
    }
}

/// A leaf or branch page that is being filled: offsets from the front, nodes from the back.
struct PageBuffer {
    bytes: Vec<u8>,
    nodes: usize,
    upper: usize,
}

impl PageBuffer {
    fn new(flags: u16, page_bytes: usize) -> Self {
        let mut bytes = vec![0; page_bytes];
        bytes[10..12].copy_from_slice(&flags.to_le_bytes());
        Self { bytes, nodes: 0, upper: page_bytes }
    }

    fn room(&self) -> usize {
        self.upper - HEADER - 2 * self.nodes
    }

    /// Adds a node that fits: of `head`, the 48 lower bits before the flags (which, on a branch,
    /// are the upper ones of a page number).
    fn push(&mut self, key: &[u8], value: &[u8], (head, flags): (u64, u16)) {
        let bytes = node_bytes(key.len(), value.len());
        self.upper -= bytes;
        let at = self.upper;
        self.bytes[at..at + 4].copy_from_slice(&(head as u32).to_le_bytes());
        let flags = flags | (head >> 32) as u16;
        self.bytes[at + 4..at + 6].copy_from_slice(&flags.to_le_bytes());
        self.bytes[at + 6..at + 8].copy_from_slice(&(key.len() as u16).to_le_bytes());
        let (key_at, value_at) = (at + NODE_HEADER, at + NODE_HEADER + key.len());
        self.bytes[key_at..value_at].copy_from_slice(key);
        self.bytes[value_at..value_at + value.len()].copy_from_slice(value);
        let offset_at = HEADER + 2 * self.nodes;
        self.bytes[offset_at..offset_at + 2].copy_from_slice(&(at as u16).to_le_bytes());
        self.nodes += 1;
    }

    /// The page as it is on disk under that number.
    fn finished(&self, number: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[0..8].copy_from_slice(&number.to_le_bytes());
        let lower = (HEADER + 2 * self.nodes) as u16;
        bytes[12..14].copy_from_slice(&lower.to_le_bytes());
        bytes[14..16].copy_from_slice(&(self.upper as u16).to_le_bytes());
        bytes
    }
}

/// A node in its page, at an even length.
fn node_bytes(key: usize, value: usize) -> usize {
    (NODE_HEADER + key + value).next_multiple_of(2)
}

/// The first key below a page, and its number.
type Child = (Vec<u8>, u64);

struct PageWriter<'o, O> {
    out: &'o mut O,
    page_bytes: usize,
    /// Number of the next page.
    next: u64,
}

impl<O: Write + Seek> PageWriter<'_, O> {
    /// Writes whole pages and returns the number of the first.
    fn put(&mut self, pages: &[u8]) -> Result<u64, CopyError> {
        let number = self.next;
        self.out.write_all(pages)?;
        self.next += (pages.len() / self.page_bytes) as u64;
        Ok(number)
    }

    fn page(&mut self, page: &PageBuffer) -> Result<u64, CopyError> {
        self.put(&page.finished(self.next))
    }

    /// A value with pages of its own.
    fn run(&mut self, value: &[u8]) -> Result<u64, CopyError> {
        let number = self.next;
        let pages = (HEADER + value.len()).div_ceil(self.page_bytes);
        let mut header = [0; HEADER];
        header[0..8].copy_from_slice(&number.to_le_bytes());
        header[10..12].copy_from_slice(&OVERFLOW.to_le_bytes());
        header[12..16].copy_from_slice(&(pages as u32).to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(value)?;
        let rest = pages * self.page_bytes - HEADER - value.len();
        self.out.write_all(&vec![0; rest])?;
        self.next += pages as u64;
        Ok(number)
    }

    /// Writes a tree of entries that come in the order of their keys, with those flags.
    fn tree<'e>(
        &mut self,
        entries: impl Iterator<Item = Result<(Cow<'e, [u8]>, Cow<'e, [u8]>), StorageError>>,
        flags: u16,
    ) -> Result<Written, CopyError> {
        // The largest node that stays in its page, as LMDB has it: two and their offsets fit.
        let largest = (self.page_bytes - HEADER) / 2 - 2;
        let mut written = Written::EMPTY;
        let mut children: Vec<Child> = Vec::new();
        let mut leaf = PageBuffer::new(LEAF, self.page_bytes);
        let mut held = Vec::new();
        for entry in entries {
            let (key, value) = entry?;
            let (mut node, mut flags) = (value.as_ref(), flags);
            let run;
            if NODE_HEADER + key.len() + value.len() > largest {
                let before = self.next;
                run = self.run(&value)?.to_le_bytes();
                written.overflow += self.next - before;
                (node, flags) = (&run, NODE_BIG);
            }
            if leaf.room() < node_bytes(key.len(), node.len()) + 2 {
                held.push(std::mem::replace(&mut leaf, PageBuffer::new(LEAF, self.page_bytes)));
                if held.len() * self.page_bytes >= HELD_BYTES {
                    self.leaves(&mut held, &mut children)?;
                }
            }
            if leaf.nodes == 0 {
                children.push((key.to_vec(), 0));
            }
            leaf.push(&key, node, (value.len() as u64, flags));
            written.entries += 1;
        }
        if leaf.nodes == 0 {
            return Ok(Written::EMPTY);
        }
        held.push(leaf);
        self.leaves(&mut held, &mut children)?;
        (written.leaf, written.depth) = (children.len() as u64, 1);
        while children.len() > 1 {
            children = self.branches(children)?;
            written.branch += children.len() as u64;
            written.depth += 1;
        }
        written.root = children.first().map_or(EMPTY_ROOT, |child| child.1);
        Ok(written)
    }

    /// Writes leaves that were held back, those of the last children.
    fn leaves(
        &mut self,
        held: &mut Vec<PageBuffer>,
        children: &mut [Child],
    ) -> Result<(), CopyError> {
        let first = children.len().saturating_sub(held.len());
        for (leaf, child) in held.drain(..).zip(&mut children[first..]) {
            child.1 = self.page(&leaf)?;
        }
        Ok(())
    }

    /// Writes the level above some pages: each branch full, but with two children at least.
    fn branches(&mut self, children: Vec<Child>) -> Result<Vec<Child>, CopyError> {
        let mut above = Vec::new();
        let mut rest = children.as_slice();
        while !rest.is_empty() {
            let mut room = self.page_bytes - HEADER;
            let mut count = 0;
            for (key, _) in rest {
                match room.checked_sub(node_bytes(key.len(), 0) + 2) {
                    Some(left) => (room, count) = (left, count + 1),
                    None => break,
                }
            }
            if rest.len() - count == 1 {
                count -= 1;
            }
            let (these, others) = rest.split_at(count);
            let mut branch = PageBuffer::new(BRANCH, self.page_bytes);
            for (at, (key, number)) in these.iter().enumerate() {
                // The first stands for all that is lower.
                let key = if at == 0 { &[] } else { key.as_slice() };
                branch.push(key, &[], (*number, 0));
            }
            let number = self.page(&branch)?;
            above.extend(these.first().map(|(key, _)| (key.clone(), number)));
            rest = others;
        }
        Ok(above)
    }

    /// The metas of a file that has seen one transaction.
    fn metas(&mut self, main: &Written) -> Result<(), CopyError> {
        let mut pages = vec![0; 2 * self.page_bytes];
        let last = self.next - 1;
        let (first, second) = pages.split_at_mut(self.page_bytes);
        first_meta(first, 0);
        first_meta(second, 1);
        second[HEADER + 72..HEADER + 120].copy_from_slice(&main.record());
        second[HEADER + 120..HEADER + 128].copy_from_slice(&last.to_le_bytes());
        second[HEADER + 128..HEADER + 136].copy_from_slice(&1_u64.to_le_bytes());
        let map = ((self.next * self.page_bytes as u64) + 1).next_multiple_of(1 << 20);
        for page in [first, second] {
            let body = &mut page[HEADER..];
            body[16..24].copy_from_slice(&map.to_le_bytes());
            body[MARK_AT..MARK_AT + FILE_MAGIC.len()].copy_from_slice(&FILE_MAGIC);
        }
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&pages)?;
        self.out.flush()?;
        Ok(())
    }
}
