//! The structural validator: a walk over every page in use, before LMDB touches a stranger's file.
//!
//! LMDB trusts its file: a wrong offset in it kills the process, or worse. What passes here, LMDB
//! reads and writes without leaving its pages. The rule that carries the walk: every page from 2
//! to the last is reached exactly once, through a tree or through the list of free pages. It rules
//! out cycles, shared children and free pages that are in use.
//!
//! Bounded: each page is visited once, trees are at most 31 levels deep, and memory is a bit per
//! page of the file and a word per free page beyond its end. Values are not read, but for the
//! free list. Content is the affair of checksums.

use super::Table;
use super::pages::{Meta, NodeValue, Page, PageCounts, PageError, Pages, Tree, newest_meta};

/// LMDB's limit.
const KEY_BYTES_MAX: usize = 511;

/// Walks the newest version of a file, given all its bytes.
///
/// Cost: the headers and keys of all branch and leaf pages, which is about a second per GB of
/// records, and the first page of each value that has pages of its own.
///
/// # Errors
/// [`PageError`]: the first rule that is broken.
pub(super) fn validate(file: &[u8]) -> Result<Meta, PageError> {
    let meta = newest_meta(file, file.len() as u64)?;
    let pages = Pages { bytes: file, page_size: meta.page_size, last_page: meta.last_page };
    let in_file = (file.len() / meta.page_size) as u64;
    let words = meta.last_page.min(in_file) / 64 + 1;
    let seen = vec![0; words as usize];
    let beyond = Vec::new();
    let mut walk = Walk { pages, version: meta.version, in_file, seen, beyond, marked: 0 };
    walk.tree(meta.free, Kind::Free)?;
    walk.check_beyond()?;
    let mut tables = Vec::new();
    walk.tree(meta.main, Kind::Main(&mut tables))?;
    for table in tables {
        walk.tree(table, Kind::Table)?;
    }
    if walk.marked != meta.last_page - 1 {
        return Err(PageError::Meta {
            slot: meta.slot,
            rule: "counts pages that nothing leads to",
        });
    }
    Ok(meta)
}

/// What a tree holds, which decides on keys and values.
enum Kind<'t> {
    /// Lists of free pages, by the number of the transaction that freed them.
    Free,
    /// The tables; their trees are collected.
    Main(&'t mut Vec<Tree>),
    /// Keys and values.
    Table,
}

/// Keys of a subtree: at least the first, below the second.
type Bounds<'f> = (Option<&'f [u8]>, Option<&'f [u8]>);

struct Walk<'f> {
    pages: Pages<'f>,
    version: u64,
    /// Pages that the file has room for.
    in_file: u64,
    /// A bit for each page of the file that was reached.
    seen: Vec<u64>,
    /// Free pages beyond the end of the file: LMDB does not write a page that was taken and freed
    /// in one transaction. As they come: a set of them would be larger than their lists.
    beyond: Vec<u64>,
    marked: u64,
}

/// The tree that is being walked.
struct Counted<'t> {
    kind: Kind<'t>,
    depth: u16,
    counts: PageCounts,
    entries: u64,
}

fn broken<T>(page: u64, rule: &'static str) -> Result<T, PageError> {
    Err(PageError::Page { page, rule })
}

impl<'f> Walk<'f> {
    /// Notes that a page is in use, or free.
    fn mark(&mut self, page: u64) -> Result<(), PageError> {
        if page < 2 || page > self.pages.last_page {
            return broken(page, "is outside the file");
        }
        let word = usize::try_from(page / 64).ok().and_then(|at| self.seen.get_mut(at));
        if let Some(word) = word {
            let bit = 1 << (page % 64);
            if *word & bit != 0 {
                return broken(page, "is reached twice");
            }
            *word |= bit;
        } else {
            self.beyond.push(page);
        }
        self.marked += 1;
        Ok(())
    }

    /// Whether a free page beyond the end is listed twice. Complete once the free lists are
    /// walked: what else leads beyond the end is refused, as a page that has to be read.
    fn check_beyond(&mut self) -> Result<(), PageError> {
        let mut beyond = std::mem::take(&mut self.beyond);
        beyond.sort_unstable();
        match beyond.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => broken(two[0], "is reached twice"),
            None => Ok(()),
        }
    }

    fn tree(&mut self, tree: Tree, kind: Kind<'_>) -> Result<(), PageError> {
        let Some(root) = tree.root else { return Ok(()) };
        let (counts, entries) = (PageCounts::default(), 0);
        let mut counted = Counted { kind, depth: tree.depth, counts, entries };
        self.subtree(root, 1, (None, None), &mut counted)?;
        if counted.counts != tree.counts || counted.entries != tree.entries {
            return broken(root, "is the root of a tree with other counts");
        }
        Ok(())
    }

    fn subtree(
        &mut self,
        number: u64,
        level: u16,
        bounds: Bounds<'f>,
        counted: &mut Counted<'_>,
    ) -> Result<(), PageError> {
        self.mark(number)?;
        let is_leaf = level == counted.depth;
        let page = self.pages.page(number, is_leaf)?;
        self.check_places(number, &page, is_leaf)?;
        if is_leaf {
            counted.counts.leaf += 1;
            return self.leaf(number, &page, bounds, counted);
        }
        counted.counts.branch += 1;
        let mut low = bounds.0;
        for index in 0..page.nodes() {
            // The key of node 0 stands for the lower bound, whatever it is.
            let high = if index + 1 < page.nodes() { Some(page.key(index + 1)?) } else { None };
            if let Some(key) = high {
                check_key(number, key, (low, bounds.1), false, &counted.kind)?;
            }
            let of_child = (low, high.or(bounds.1));
            self.subtree(page.child(index)?, level + 1, of_child, counted)?;
            low = high;
        }
        Ok(())
    }

    /// Nodes stand side by side, each at an even place: LMDB moves what it believes to be one
    /// node, and what it believes to be all below it.
    fn check_places(&self, number: u64, page: &Page<'_>, leaf: bool) -> Result<(), PageError> {
        let mut places = Vec::with_capacity(page.nodes());
        for index in 0..page.nodes() {
            places.push(page.place(index, leaf)?);
        }
        places.sort_unstable_by_key(|place| place.start);
        let area = page.area();
        let mut next = area.start;
        for place in places {
            if place.start != next {
                return broken(number, "has nodes that overlap or stand apart");
            }
            next = place.end.next_multiple_of(2);
        }
        if next == area.end { Ok(()) } else { broken(number, "has room behind its nodes") }
    }

    fn leaf(
        &mut self,
        number: u64,
        page: &Page<'f>,
        bounds: Bounds<'f>,
        counted: &mut Counted<'_>,
    ) -> Result<(), PageError> {
        let mut last: Option<&[u8]> = None;
        for index in 0..page.nodes() {
            let key = page.key(index)?;
            let low = if index == 0 { bounds.0 } else { last };
            check_key(number, key, (low, bounds.1), index == 0, &counted.kind)?;
            last = Some(key);
            counted.entries += 1;
            let value = match page.value(index)? {
                NodeValue::Inline(bytes) => Some(bytes),
                NodeValue::Overflow { page, len } => {
                    let (bytes, run) = self.run(page, len)?;
                    counted.counts.overflow += run;
                    Some(bytes)
                }
                NodeValue::Table(tree) => match &mut counted.kind {
                    Kind::Main(tables) => {
                        check_name(number, key)?;
                        tables.push(tree);
                        None
                    }
                    _ => return broken(number, "has a table within a table"),
                },
            };
            match (&counted.kind, value) {
                (Kind::Main(_), Some(_)) => return broken(number, "has a value among the tables"),
                (Kind::Free, Some(list)) => self.free_list(number, key, list)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A value with pages of its own; all of them are in the file.
    fn run(&mut self, first: u64, len: usize) -> Result<(&'f [u8], u64), PageError> {
        let (bytes, run) = self.pages.overflow_run(first, len)?;
        if first.checked_add(run).is_none_or(|end| end > self.in_file) {
            return broken(first, "begins an overflow run that leaves the file");
        }
        (first..first + run).try_for_each(|page| self.mark(page))?;
        Ok((bytes, run))
    }

    /// A count and so many page numbers, descending.
    fn free_list(&mut self, page: u64, key: &[u8], list: &[u8]) -> Result<(), PageError> {
        let freed_by = key.try_into().map_or(0, u64::from_le_bytes);
        if freed_by == 0 || freed_by > self.version {
            return broken(page, "has a free list of no transaction");
        }
        let (words, rest) = list.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let count = words.next().unwrap_or(u64::MAX);
        if !rest.is_empty() || count > words.len() as u64 {
            return broken(page, "has a free list of another length");
        }
        let mut above = u64::MAX;
        for free in words.take(count as usize) {
            if free >= above {
                return broken(page, "has a free list out of order");
            }
            self.mark(free)?;
            above = free;
        }
        Ok(())
    }
}

/// Within its bounds and of a length that fits; only the first key of a leaf may equal the lower
/// bound, which is the key that leads to it.
fn check_key(
    page: u64,
    key: &[u8],
    (low, high): Bounds<'_>,
    may_equal: bool,
    kind: &Kind<'_>,
) -> Result<(), PageError> {
    let is_free = matches!(kind, Kind::Free);
    if key.is_empty() || key.len() > KEY_BYTES_MAX || (is_free && key.len() != 8) {
        return broken(page, "has a key of an impossible length");
    }
    // The keys of the free list are numbers of this machine's order, which is little-endian.
    let order = |a: &[u8], b: &[u8]| {
        if is_free { a.iter().rev().cmp(b.iter().rev()) } else { a.cmp(b) }
    };
    let above = low.is_none_or(|low| {
        let order = order(low, key);
        order.is_lt() || (may_equal && order.is_eq())
    });
    if above && high.is_none_or(|high| order(key, high).is_lt()) {
        Ok(())
    } else {
        broken(page, "has a key out of order")
    }
}

fn check_name(page: u64, name: &[u8]) -> Result<(), PageError> {
    match Table::ALL.iter().any(|table| table.name().as_bytes() == name) {
        true => Ok(()),
        false => broken(page, "has a table that is not ours"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A walk over a file that ends far before its last page.
    fn walk() -> Walk<'static> {
        let pages = Pages { bytes: &[], page_size: 4096, last_page: 1_000 };
        Walk { pages, version: 9, in_file: 10, seen: vec![0], beyond: Vec::new(), marked: 0 }
    }

    fn list(pages: &[u64]) -> Vec<u8> {
        let count = pages.len() as u64;
        std::iter::once(&count).chain(pages).flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_free_page_beyond_the_end_of_the_file_is_listed_once() {
        let key = 3_u64.to_le_bytes();
        let mut once = walk();
        once.free_list(5, &key, &list(&[900, 700])).unwrap();
        once.free_list(5, &key, &list(&[800, 600, 7])).unwrap();
        assert_eq!(once.check_beyond(), Ok(()));
        assert_eq!(once.marked, 5);
        let mut twice = walk();
        twice.free_list(5, &key, &list(&[900, 700])).unwrap();
        twice.free_list(5, &key, &list(&[800, 700, 7])).unwrap();
        assert_eq!(twice.check_beyond(), broken(700, "is reached twice"));
    }

    #[test]
    fn a_free_page_of_the_file_is_listed_once() {
        let key = 3_u64.to_le_bytes();
        let mut walk = walk();
        walk.free_list(5, &key, &list(&[8, 7])).unwrap();
        let again = walk.free_list(5, &key, &list(&[9, 7]));
        assert_eq!(again, broken(7, "is reached twice"));
    }
}
