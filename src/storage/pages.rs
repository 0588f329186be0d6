//! The LMDB page format, data version 1, 64-bit little-endian: metas, pages and nodes on byte
//! slices. Pure and safe: no I/O, every offset checked, the same code on every host.
//! `storage-format.md` section 2 describes what is read here.

use std::ops::{Range, RangeInclusive};

use thiserror::Error;

/// What a page breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PageError {
    /// Too short to be a database.
    #[error("the file has {found} bytes, too short to be a database")]
    TooShort {
        /// Bytes of the file.
        found: u64,
    },
    /// The magic number is not LMDB's.
    #[error("the magic number is not that of an LMDB file")]
    Magic,
    /// Written by LMDB on a big-endian machine.
    #[error("the file was written on a big-endian machine: export it there and import it here")]
    BigEndian,
    /// Written by LMDB on a 32-bit machine.
    #[error("the file was written by 32-bit LMDB: export it there and import it here")]
    Bits32,
    /// Another LMDB data version.
    #[error("LMDB data version {found} is not supported, only version 1 is")]
    DataVersion {
        /// Version found.
        found: u32,
    },
    /// A meta page breaks a rule.
    #[error("meta page {slot}: {rule}")]
    Meta {
        /// 0 or 1.
        slot: u8,
        /// The rule.
        rule: &'static str,
    },
    /// The file is shorter than its pages.
    #[error("the file has {found} bytes but its pages need {needed}: it was truncated")]
    Truncated {
        /// Bytes needed.
        needed: u64,
        /// Bytes found.
        found: u64,
    },
    /// A page breaks a rule.
    #[error("page {page}: {rule}")]
    Page {
        /// Page number.
        page: u64,
        /// The rule.
        rule: &'static str,
    },
}

/// Numbers of the format.
pub(super) mod layout {
    pub(in super::super) const META: u16 = 8;
    pub(in super::super) const BRANCH: u16 = 1;
    pub(in super::super) const LEAF: u16 = 2;
    pub(in super::super) const OVERFLOW: u16 = 4;
    pub(in super::super) const HEADER: usize = 16;
    pub(in super::super) const NODE_HEADER: usize = 8;
    pub(in super::super) const NODE_BIG: u16 = 1;
    pub(in super::super) const NODE_SUB: u16 = 2;
    pub(in super::super) const MAGIC: u32 = 0xBEEF_C0DE;
    pub(in super::super) const EMPTY_ROOT: u64 = u64::MAX;
    /// The list of free pages has whole numbers as keys, and keeps the flags of the environment.
    pub(in super::super) const FREE_FLAGS: [u16; 2] = [0x4008, 0x0008];
}

use layout::{
    BRANCH, EMPTY_ROOT, FREE_FLAGS, HEADER, LEAF, MAGIC, META, NODE_BIG, NODE_HEADER, NODE_SUB,
    OVERFLOW,
};

const DEPTH_MAX: u16 = 31;
/// As powers of two: 512 to 32,768.
const PAGE_SIZES: RangeInclusive<u32> = 9..=15;
pub(super) const META_BYTES: usize = HEADER + 136;
const MAP_BYTES_MAX: u64 = 1 << 46;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A tree of the file: the main one, or a named table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tree {
    /// Page number of the root; none when the tree is empty.
    pub(super) root: Option<u64>,
    /// Levels, leaf included.
    pub(super) depth: u16,
    /// Number of entries.
    pub(super) entries: u64,
    /// Pages in use: branches, leaves, and those of overflow runs.
    pub(super) counts: PageCounts,
}

/// Pages of a tree, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PageCounts {
    pub(super) branch: u64,
    pub(super) leaf: u64,
    pub(super) overflow: u64,
}

impl Tree {
    /// Parses the 48-byte record of a tree with those flags; the first four bytes are the
    /// caller's to read.
    pub(super) fn parse(record: &[u8], flags: &[u16]) -> Option<Self> {
        let depth = u16_at(record, 6)?;
        let counts = PageCounts {
            branch: u64_at(record, 8)?,
            leaf: u64_at(record, 16)?,
            overflow: u64_at(record, 24)?,
        };
        let entries = u64_at(record, 32)?;
        let root = u64_at(record, 40)?;
        let root = (root != EMPTY_ROOT).then_some(root);
        let fits = match root {
            None => depth == 0 && entries == 0 && counts == PageCounts::default(),
            Some(_) => (1..=DEPTH_MAX).contains(&depth),
        };
        let known = flags.contains(&u16_at(record, 4)?);
        (known && fits).then_some(Self { root, depth, entries, counts })
    }

    /// A tree of no entries.
    pub(super) const EMPTY: Self = Self {
        root: None,
        depth: 0,
        entries: 0,
        counts: PageCounts { branch: 0, leaf: 0, overflow: 0 },
    };
}

/// What the newest meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Which of the two metas it is.
    pub(super) slot: u8,
    pub(super) page_size: usize,
    pub(super) last_page: u64,
    pub(super) version: u64,
    /// LMDB's list of free pages.
    pub(super) free: Tree,
    pub(super) main: Tree,
}

impl Meta {
    /// Checks that a file of that length has room for every page up to the last.
    ///
    /// # Errors
    /// [`PageError::Truncated`].
    pub(super) fn check_length(&self, found: u64) -> Result<(), PageError> {
        let pages = self.last_page.checked_add(1);
        let needed = pages.and_then(|pages| pages.checked_mul(self.page_size as u64));
        let needed =
            needed.ok_or(PageError::Meta { slot: 0, rule: "last page number overflows" })?;
        if needed > found { Err(PageError::Truncated { needed, found }) } else { Ok(()) }
    }
}

/// Parses both metas of a file of `file_len` bytes that begins with `head`, and returns the
/// newer. A damaged meta is an error: falling back in silence would lose a commit. Whether the
/// pages are there is left to [`Meta::check_length`] and to `whole.rs`.
pub(super) fn newest_meta(head: &[u8], file_len: u64) -> Result<Meta, PageError> {
    both_metas(head, file_len).map(|(_, newer)| newer)
}

/// As [`newest_meta`]: both, the older first.
pub(super) fn both_metas(head: &[u8], file_len: u64) -> Result<(Meta, Meta), PageError> {
    if head.len() < META_BYTES {
        return Err(PageError::TooShort { found: file_len });
    }
    check_magic(head)?;
    let first = parse_meta(head, 0)?;
    let second_at = first.page_size;
    let second_bytes = head
        .get(second_at..)
        .filter(|bytes| bytes.len() >= META_BYTES)
        .ok_or(PageError::Truncated { needed: 2 * second_at as u64, found: file_len })?;
    let second = parse_meta(second_bytes, 1)?;
    if first.page_size != second.page_size {
        return Err(PageError::Meta { slot: 1, rule: "page size differs from meta page 0" });
    }
    // Each commit writes the other meta than the one before: a number that is further off was
    // changed, and may make the older one look like the newer.
    if first.version.abs_diff(second.version) > 1 {
        return Err(PageError::Meta { slot: 1, rule: "transaction number is not beside meta 0's" });
    }
    Ok(if second.version > first.version { (first, second) } else { (second, first) })
}

/// The metas of a damaged file that can be read, the newer first.
///
/// # Errors
/// Those of the first meta, if neither can be read.
pub(super) fn any_metas(file: &[u8]) -> Result<Vec<Meta>, PageError> {
    let first = check_magic(file).and_then(|()| parse_meta(file, 0));
    let sizes = match &first {
        Ok(meta) => vec![meta.page_size],
        Err(_) => PAGE_SIZES.map(|bits| 1 << bits).collect(),
    };
    let second = sizes.into_iter().find_map(|size| {
        let meta = parse_meta(file.get(size..)?, 1).ok()?;
        (meta.page_size == size).then_some(meta)
    });
    let mut metas: Vec<Meta> = first.as_ref().ok().copied().into_iter().chain(second).collect();
    metas.sort_by_key(|meta| std::cmp::Reverse(meta.version));
    if metas.is_empty() { first.map(|meta| vec![meta]) } else { Ok(metas) }
}

fn check_magic(head: &[u8]) -> Result<(), PageError> {
    if u32_at(head, HEADER) == Some(MAGIC) {
        return Ok(());
    }
    if u32_at(head, HEADER) == Some(MAGIC.swap_bytes()) {
        return Err(PageError::BigEndian);
    }
    if u32_at(head, 12) == Some(MAGIC) {
        return Err(PageError::Bits32);
    }
    Err(PageError::Magic)
}

fn parse_meta(page: &[u8], slot: u8) -> Result<Meta, PageError> {
    let broken = |rule| PageError::Meta { slot, rule };
    let cut = || broken("is cut short");
    if u64_at(page, 0) != Some(u64::from(slot)) || u16_at(page, 10) != Some(META) {
        return Err(broken("has no meta page header"));
    }
    let body = page.get(HEADER..).ok_or_else(cut)?;
    if u32_at(body, 0) != Some(MAGIC) {
        return Err(broken("has no magic number"));
    }
    let found = u32_at(body, 4).ok_or_else(cut)?;
    if found != 1 {
        return Err(PageError::DataVersion { found });
    }
    let page_size = u32_at(body, 24).ok_or_else(cut)? as usize;
    if !page_size.is_power_of_two() || !PAGE_SIZES.contains(&page_size.trailing_zeros()) {
        return Err(broken("page size is not a power of two from 512 to 32768"));
    }
    if u64_at(body, 8) != Some(0) {
        return Err(broken("asks for a fixed address"));
    }
    if u64_at(body, 16).is_none_or(|bytes| bytes > MAP_BYTES_MAX) {
        return Err(broken("map size is beyond every machine"));
    }
    let tree = |at: usize, flags| body.get(at..at + 48).and_then(|tree| Tree::parse(tree, flags));
    let free = tree(24, &FREE_FLAGS).ok_or_else(|| broken("free-list tree record is broken"))?;
    let main = tree(72, &[0]).filter(|_| u32_at(body, 72) == Some(0));
    let main = main.ok_or_else(|| broken("main tree record is broken"))?;
    let last_page = u64_at(body, 120).ok_or_else(cut)?;
    let version = u64_at(body, 128).ok_or_else(cut)?;
    if !(1..MAP_BYTES_MAX).contains(&last_page) {
        return Err(broken("last page number is below 1 or beyond every machine"));
    }
    // Transaction n writes meta n & 1; in a new file both are 0.
    if version != 0 && version & 1 != u64::from(slot) {
        return Err(broken("transaction number is not of this slot"));
    }
    // A writer would take either for a new file, and begin it anew. The first transaction makes
    // the tables, and they stay for ever. Of one that failed LMDB puts number and last page back,
    // but not the trees.
    if version == 0 && last_page != 1 {
        return Err(broken("counts pages of no transaction"));
    }
    if version > 0 && main.root.is_none() {
        return Err(broken("has lost the tables"));
    }
    Ok(Meta { slot, page_size, last_page, version, free, main })
}

/// A branch or leaf page, checked so that its nodes can be read.
#[derive(Clone, Copy)]
pub(super) struct Page<'f> {
    bytes: &'f [u8],
    number: u64,
    nodes: usize,
    /// Where the nodes begin.
    upper: usize,
}

/// The value of a leaf node.
pub(super) enum NodeValue<'f> {
    /// In the page.
    Inline(&'f [u8]),
    /// In `len` bytes of an overflow run.
    Overflow { page: u64, len: usize },
    /// A tree of its own: a named table.
    Table(Tree),
}

/// The pages of one file, of one size.
#[derive(Clone, Copy)]
pub(super) struct Pages<'f> {
    pub(super) bytes: &'f [u8],
    pub(super) page_size: usize,
    pub(super) last_page: u64,
}

impl<'f> Pages<'f> {
    fn broken(page: u64, rule: &'static str) -> PageError {
        PageError::Page { page, rule }
    }

    fn start(&self, number: u64) -> Result<usize, PageError> {
        if number < 2 || number > self.last_page {
            return Err(Self::broken(number, "is outside the file"));
        }
        usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_mul(self.page_size))
            .ok_or(Self::broken(number, "is outside the address space"))
    }

    /// So many bytes of the file. On a 32-bit machine the end may be beyond every address.
    fn slice(&self, begin: usize, len: usize) -> Option<&'f [u8]> {
        self.bytes.get(begin..begin.checked_add(len)?)
    }

    /// The page of that number, which must be a leaf or a branch as the level demands.
    pub(super) fn page(&self, number: u64, leaf: bool) -> Result<Page<'f>, PageError> {
        let start = self.start(number)?;
        let bytes =
            self.slice(start, self.page_size).ok_or(Self::broken(number, "is outside the file"))?;
        if u64_at(bytes, 0) != Some(number) {
            return Err(Self::broken(number, "carries another page's number"));
        }
        if u16_at(bytes, 10) != Some(if leaf { LEAF } else { BRANCH }) {
            return Err(Self::broken(number, "is not of the kind its level demands"));
        }
        self.nodes(number, leaf)
    }

    /// The same of a damaged file, whatever number and kind the page says it has.
    pub(super) fn nodes(&self, number: u64, leaf: bool) -> Result<Page<'f>, PageError> {
        let start = self.start(number)?;
        let bytes = self.slice(start, self.page_size).unwrap_or_default();
        let lower = usize::from(u16_at(bytes, 12).unwrap_or(0));
        let upper = usize::from(u16_at(bytes, 14).unwrap_or(0));
        let even = lower % 2 == 0 && upper % 2 == 0;
        if lower < HEADER || lower > upper || upper > self.page_size || !even {
            return Err(Self::broken(number, "has an impossible free space"));
        }
        let nodes = (lower - HEADER) / 2;
        if nodes < if leaf { 1 } else { 2 } {
            return Err(Self::broken(number, "has too few nodes"));
        }
        Ok(Page { bytes, number, nodes, upper })
    }

    /// Where a page stands among the bytes, if all of it is there.
    pub(super) fn place(&self, number: u64) -> Option<Range<usize>> {
        let start = self.start(number).ok()?;
        let end = start.checked_add(self.page_size)?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    /// The bytes of a value; none of a table.
    pub(super) fn bytes_of(&self, value: NodeValue<'f>) -> Result<Option<&'f [u8]>, PageError> {
        match value {
            NodeValue::Inline(bytes) => Ok(Some(bytes)),
            NodeValue::Overflow { page, len } => self.overflow(page, len).map(Some),
            NodeValue::Table(_) => Ok(None),
        }
    }

    /// The first `len` bytes of the overflow run that begins at that page.
    pub(super) fn overflow(&self, number: u64, len: usize) -> Result<&'f [u8], PageError> {
        self.overflow_run(number, len).map(|(value, _)| value)
    }

    /// The same of a damaged file, whatever the header of the run says.
    pub(super) fn behind_header(&self, number: u64, len: usize) -> Option<&'f [u8]> {
        let begin = self.start(number).ok()?.checked_add(HEADER)?;
        self.slice(begin, len)
    }

    /// As [`Pages::overflow`], and the pages of the run.
    pub(super) fn overflow_run(
        &self,
        number: u64,
        len: usize,
    ) -> Result<(&'f [u8], u64), PageError> {
        let start = self.start(number)?;
        let head = self.slice(start, HEADER).ok_or(Self::broken(number, "is outside the file"))?;
        if u64_at(head, 0) != Some(number) || u16_at(head, 10) != Some(OVERFLOW) {
            return Err(Self::broken(number, "is not the begin of an overflow run"));
        }
        let pages = u64::from(u32_at(head, 12).unwrap_or(0));
        let end = number.checked_add(pages).filter(|&end| end <= self.last_page + 1);
        let room = usize::try_from(pages)
            .ok()
            .and_then(|pages| pages.checked_mul(self.page_size))
            .and_then(|bytes| bytes.checked_sub(HEADER));
        if end.is_none() || room.is_none_or(|room| room < len) {
            return Err(Self::broken(number, "overflow run is too short for its value"));
        }
        let value = start.checked_add(HEADER).and_then(|begin| self.slice(begin, len));
        Ok((value.ok_or(Self::broken(number, "is outside the file"))?, pages))
    }
}

impl<'f> Page<'f> {
    /// Number of nodes.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Where the nodes stand: from there to the end of the page.
    pub(super) fn area(&self) -> Range<usize> {
        self.upper..self.bytes.len()
    }

    fn node(&self, index: usize) -> Result<&'f [u8], PageError> {
        let at = u16_at(self.bytes, HEADER + 2 * index)
            .filter(|_| index < self.nodes)
            .map(usize::from)
            .filter(|&at| at >= self.upper && at % 2 == 0);
        at.and_then(|at| self.bytes.get(at..))
            .filter(|node| node.len() >= NODE_HEADER)
            .ok_or(self.broken("has a node outside itself"))
    }

    fn broken(&self, rule: &'static str) -> PageError {
        PageError::Page { page: self.number, rule }
    }

    /// The key of a node. On a branch the first key is to be ignored.
    pub(super) fn key(&self, index: usize) -> Result<&'f [u8], PageError> {
        let node = self.node(index)?;
        let len = usize::from(u16_at(node, 6).unwrap_or(0));
        node.get(NODE_HEADER..NODE_HEADER + len).ok_or(self.broken("has a key outside itself"))
    }

    /// Where the node of that index stands in the page: from its header to its end, without the
    /// padding to an even length.
    pub(super) fn place(&self, index: usize, leaf: bool) -> Result<Range<usize>, PageError> {
        let begin = self.bytes.len() - self.node(index)?.len();
        let value = match leaf {
            false => 0,
            true => match self.value(index)? {
                NodeValue::Inline(bytes) => bytes.len(),
                NodeValue::Overflow { .. } => 8,
                NodeValue::Table(_) => 48,
            },
        };
        Ok(begin..begin + NODE_HEADER + self.key(index)?.len() + value)
    }

    /// The child of a branch node.
    pub(super) fn child(&self, index: usize) -> Result<u64, PageError> {
        let node = self.node(index)?;
        let half = |at| u64::from(u16_at(node, at).unwrap_or(0));
        Ok(half(0) | half(2) << 16 | half(4) << 32)
    }

    /// The value of a leaf node.
    pub(super) fn value(&self, index: usize) -> Result<NodeValue<'f>, PageError> {
        let node = self.node(index)?;
        let half = |at| usize::from(u16_at(node, at).unwrap_or(0));
        let len = half(0) | half(2) << 16;
        let begin = NODE_HEADER + half(6);
        let slice = |len: usize| {
            let end = begin.checked_add(len);
            end.and_then(|end| node.get(begin..end))
                .ok_or(self.broken("has a value outside itself"))
        };
        match u16_at(node, 4).unwrap_or(0) {
            0 => Ok(NodeValue::Inline(slice(len)?)),
            NODE_BIG => {
                let page = u64_at(slice(8)?, 0).ok_or(self.broken("has no overflow page"))?;
                Ok(NodeValue::Overflow { page, len })
            }
            NODE_SUB if len == 48 => Tree::parse(slice(48)?, &[0])
                .filter(|_| u32_at(node, begin) == Some(0))
                .map(NodeValue::Table)
                .ok_or(self.broken("has a broken table record")),
            _ => Err(self.broken("has a node of an unknown kind")),
        }
    }
}
