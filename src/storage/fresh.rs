//! A file until its first commit: the one time at which LMDB writes what a reader needs without a
//! sync before it.
//!
//! LMDB begins a file with two meta pages in one write. A full disk or a loss of power may keep any
//! sectors of them. Such a file is told from a damaged one by its bytes, of which each is zero or
//! LMDB's: nothing was ever committed to it, and it may begin anew. So that it is never longer,
//! both pages are made durable before the first commit.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::copy::first_meta;
use super::whole::HEAD_BYTES;

const PAGE_SIZES: [usize; 4] = [4096, 8192, 16384, 32768];
const SECTOR: usize = 512;
/// Where a meta page has the size of the map, which is the one thing that differs.
const MAP_BYTES_AT: std::ops::Range<usize> = 32..40;

/// Whether the first pages of a file were begun and not finished. An empty file was not begun.
///
/// # Errors
/// What the operating system says.
pub(super) fn is_unfinished_file(path: &Path) -> std::io::Result<bool> {
    let file = File::open(path)?;
    if file.metadata()?.len() > HEAD_BYTES {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    file.take(HEAD_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(is_unfinished(&bytes))
}

/// The same, given all bytes of the file.
pub(super) fn is_unfinished(file: &[u8]) -> bool {
    let whole_sectors = !file.is_empty() && file.len().is_multiple_of(SECTOR);
    whole_sectors && PAGE_SIZES.into_iter().any(|size| is_part(file, &first_metas(size), size))
}

/// Whether a file is a part of those two pages, but not all of them.
fn is_part(file: &[u8], metas: &[u8], page_size: usize) -> bool {
    let is_begun = |(at, (&found, &expected)): (usize, (&u8, &u8))| {
        found == 0 || found == expected || MAP_BYTES_AT.contains(&(at % page_size))
    };
    let magic = |page: usize| page + 16..page + 20;
    let is_there = |page: usize| file.get(magic(page)) == metas.get(magic(page));
    file.len() <= metas.len()
        && file.iter().zip(metas).enumerate().all(is_begun)
        && !(file.len() == metas.len() && is_there(0) && is_there(page_size))
}

/// The two pages that LMDB begins a file with, but for the size of the map.
fn first_metas(page_size: usize) -> Vec<u8> {
    let mut metas = vec![0; 2 * page_size];
    for (slot, page) in (0..).zip(metas.chunks_mut(page_size)) {
        first_meta(page, slot);
    }
    metas
}

/// Makes the names in the directory of a file durable: its own, when it is new or was replaced.
///
/// # Errors
/// What the operating system says.
pub(super) fn sync_directory(path: &Path) -> std::io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_first_pages_is_told_from_all_else() {
        let mut metas = first_metas(4096);
        metas[MAP_BYTES_AT].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 0]);
        assert!(!is_unfinished(&metas) && !is_unfinished(&[]) && !is_unfinished(&[0; 100]));
        assert!(is_unfinished(&[0; 512]) && is_unfinished(&[0; 8192]));
        assert!(!is_unfinished(&vec![0; 3 * 32768]));
        for sectors in 1..16 {
            assert!(is_unfinished(&metas[..sectors * SECTOR]), "{sectors}");
        }
        for lost in [0, 4096] {
            let mut torn = metas.clone();
            torn[lost..lost + SECTOR].fill(0);
            assert!(is_unfinished(&torn), "{lost}");
            // A commit, or anything else, is no part of them.
            for at in [144, 136, 600] {
                let mut other = torn.clone();
                other[4096 - lost + at] ^= 5;
                assert!(!is_unfinished(&other), "{lost} {at}");
            }
        }
        let longer = [&metas[..4096], &[0; 4096 * 2]].concat();
        assert!(!is_unfinished(&longer), "nothing was written behind them");
    }
}
