//! The cheap checks before a file is used: both metas, two page reads, and whether all its pages
//! are there.
//!
//! LMDB does not write a page that was taken and freed in one transaction, so a file may rightly
//! end before the last page that its meta counts. The writer extends the file after such a commit;
//! a process killed just then leaves it short. Only for a short file are the trees walked: it is
//! whole if every page in use is there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::pages::{Meta, NodeValue, PageError, Pages, Tree, both_metas, newest_meta};
use super::source::map_database;
use super::{StorageError, fresh};

/// Bytes that hold both metas at the largest page size.
pub(super) const HEAD_BYTES: u64 = 2 * 32768;

/// LMDB has pages as large as those of the machine that made the file. On smaller ones than any
/// machine has, its longest keys do not fit, and a write would fail halfway.
const PAGE_BYTES_MIN: usize = 4096;

/// Checks the two metas of an existing file and that no page is missing. An empty file passes, and
/// one that was not even begun whole (`fresh.rs`): it is a database that was never written to.
/// Returns the newest version in the file.
///
/// # Errors
/// [`StorageError::Page`] if LMDB must not open the file, [`StorageError::Io`].
pub(super) fn check_metas(path: &Path) -> Result<Option<u64>, StorageError> {
    let io =
        |source| StorageError::Io { action: "read the head of", path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    loop {
        let Some((meta, file_len)) = read_meta(&file, path)? else { return Ok(None) };
        if meta.check_length(file_len).is_ok() {
            return Ok(Some(meta.version));
        }
        // A short file may be whole; but what another process commits while the trees are walked
        // looks like damage.
        let map = map_database(&file, "read the head of", path)?;
        match newest_whole_meta(&map) {
            Ok(meta) => return Ok(Some(meta.version)),
            Err(error) => match read_meta(&file, path)? {
                Some((now, _)) if now.version != meta.version => {}
                _ => return Err(error.into()),
            },
        }
    }
}

/// The newest meta and the length of the file; none if it is empty.
fn read_meta(file: &File, path: &Path) -> Result<Option<(Meta, u64)>, StorageError> {
    let io =
        |source| StorageError::Io { action: "read the head of", path: path.to_owned(), source };
    let mut head = Vec::new();
    let mut from_start = file;
    from_start.seek(SeekFrom::Start(0)).map_err(io)?;
    from_start.take(HEAD_BYTES).read_to_end(&mut head).map_err(io)?;
    // After the head: another process may be growing the file, never shrinking it.
    let file_len = file.metadata().map_err(io)?.len();
    if file_len == 0 || head.is_empty() {
        return Ok(None);
    }
    let meta = match newest_meta(&head, file_len) {
        Ok(meta) => meta,
        Err(_) if file_len == head.len() as u64 && fresh::is_unfinished(&head) => return Ok(None),
        Err(error) => return Err(StorageError::of_page(error, path)),
    };
    if meta.page_size < PAGE_BYTES_MIN {
        let rule = "page size is below 4096, too small for LMDB to write";
        return Err(PageError::Meta { slot: meta.slot, rule }.into());
    }
    Ok(Some((meta, file_len)))
}

/// The newest meta of a whole file, given all its bytes. Cost: two pages, but for a short file all
/// pages of its trees.
///
/// # Errors
/// [`PageError`]; [`PageError::Truncated`] if a page in use is missing.
pub(super) fn newest_whole_meta(file: &[u8]) -> Result<Meta, PageError> {
    let meta = newest_meta(file, file.len() as u64)?;
    if let Err(cut) = meta.check_length(file.len() as u64) {
        let pages = Pages { bytes: file, page_size: meta.page_size, last_page: meta.last_page };
        let mut walk = Walk { pages, left: file.len() / meta.page_size };
        walk.tree(meta.free).and_then(|()| walk.tree(meta.main)).map_err(|_| cut)?;
    }
    Ok(meta)
}

/// The metas of a file that a transaction has written, the older first.
///
/// # Errors
/// As [`newest_meta`].
pub(super) fn whole_metas(file: &[u8]) -> Result<[Option<Meta>; 2], PageError> {
    let (older, newer) = both_metas(file, file.len() as u64)?;
    Ok([older, newer].map(|meta| (meta.version > 0).then_some(meta)))
}

struct Walk<'f> {
    pages: Pages<'f>,
    /// Pages that can still be visited: a damaged tree cannot make us loop.
    left: usize,
}

impl Walk<'_> {
    fn tree(&mut self, tree: Tree) -> Result<(), PageError> {
        let mut trees = vec![tree];
        while let Some(tree) = trees.pop() {
            let mut pages: Vec<(u64, u16)> = tree.root.map(|root| (root, 1)).into_iter().collect();
            while let Some((number, level)) = pages.pop() {
                let too_many = PageError::Page { page: number, rule: "is reached too often" };
                self.left = self.left.checked_sub(1).ok_or(too_many)?;
                let leaf = level == tree.depth;
                let page = self.pages.page(number, leaf)?;
                for index in 0..page.nodes() {
                    if !leaf {
                        pages.push((page.child(index)?, level + 1));
                        continue;
                    }
                    match page.value(index)? {
                        NodeValue::Inline(_) => {}
                        NodeValue::Overflow { page, len } => {
                            self.pages.overflow(page, len)?;
                        }
                        NodeValue::Table(table) => trees.push(table),
                    }
                }
            }
        }
        Ok(())
    }
}
