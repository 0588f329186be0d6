//! The true neighbors of a segment's own vectors by their originals: what recall is measured
//! against where codes leave out dimensions and so cannot tell.

use std::ops::Range;

use rayon::prelude::*;

use super::TopK;
use crate::vectors::{Encoding, PreparedQuery};

/// Reads the raw rows of some positions, one after another; none if they are gone. Called from
/// several threads at once.
pub type RawRows<'r> = dyn Fn(Range<usize>) -> Option<Vec<u8>> + Sync + 'r;

/// Rows read at a time: a megabyte at 2,048 dimensions.
const READ: usize = 256;
/// Rows that stay in the cache while each query meets them.
const BLOCK: usize = 16;

/// Where the originals of a segment are, whose sections may not have them.
#[derive(Clone, Copy)]
pub struct OriginalRows<'r> {
    pub encoding: Encoding,
    pub read: &'r RawRows<'r>,
}

impl OriginalRows<'_> {
    /// The `keep` best of `rows` rows for each of some positions, the position itself among
    /// them; none if rows are gone. A position whose vector is no query finds nothing.
    ///
    /// Reads all originals once and scores each against all positions, in the current rayon pool.
    pub fn nearest(&self, positions: &[u32], rows: u32, keep: usize) -> Option<Vec<TopK>> {
        let query = |&position: &u32| {
            let at = position as usize;
            let vector = self.encoding.decode_raw(&(self.read)(at..at + 1)?).ok()?;
            Some(PreparedQuery::new(&self.encoding, &vector).ok())
        };
        let queries = positions.iter().map(query).collect::<Option<Vec<_>>>()?;
        let none = || -> Vec<TopK> { queries.iter().map(|_| TopK::new(keep)).collect() };
        // Few long parts: a collector is slow until it is full.
        let part = (rows as usize).div_ceil(rayon::current_num_threads() * 4).max(READ);
        let parts: Vec<usize> = (0..rows as usize).step_by(part).collect();
        let scan = |first: usize| {
            let mut tops = none();
            let end = (first + part).min(rows as usize);
            for first in (first..end).step_by(READ) {
                self.score(first..(first + READ).min(end), &queries, &mut tops)?;
            }
            Some(tops)
        };
        let join = |mut all: Vec<TopK>, tops: Vec<TopK>| {
            for (all, top) in all.iter_mut().zip(tops) {
                top.into_sorted().into_iter().for_each(|(id, score)| all.push(id, score));
            }
            Some(all)
        };
        parts.into_par_iter().map(scan).try_reduce(none, join)
    }

    /// Offers some rows to the collectors of all queries.
    fn score(
        &self,
        rows: Range<usize>,
        queries: &[Option<PreparedQuery>],
        tops: &mut [TopK],
    ) -> Option<()> {
        let (originals, stride) = (self.encoding.originals(), self.encoding.raw_stride());
        let bytes = (self.read)(rows.clone())?;
        let mut values = Vec::new();
        let blocks = rows.step_by(BLOCK).zip(bytes.chunks(BLOCK * stride));
        for (first, block) in blocks {
            for (query, top) in queries.iter().zip(tops.iter_mut()) {
                let Some(query) = query else { continue };
                for (id, row) in (first as u32..).zip(block.chunks(stride)) {
                    let score = query.score_raw(row, originals, &mut values);
                    if !top.refuses(score) {
                        top.push(id, score);
                    }
                }
            }
        }
        Some(())
    }
}
