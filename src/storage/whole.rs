//! Whether all pages of a file are there.
//!
//! LMDB does not write a page that was taken and freed in one transaction, so a file may rightly
//! end before the last page that its meta counts. The writer extends the file after such a commit;
//! a process killed just then leaves it short. Only for a short file are the trees walked: it is
//! whole if every page in use is there.

use super::pages::{Meta, NodeValue, PageError, Pages, Tree, newest_meta};

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
