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

#[cfg(test)]
mod tests {
    use super::super::tests::{clustered, segment_of};
    use super::super::{Allow, IndexError, SearchParams};
    use super::*;
    use crate::vectors::{Metric, Originals};

    /// More than is read at a time, and no multiple of it.
    const ROWS: usize = 700;

    #[test]
    fn the_nearest_are_those_of_an_exact_search_and_none_once_rows_are_gone() {
        let vectors = clustered(ROWS, 24, 31);
        let positions = [0, 300, ROWS as u32 - 1];
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let encoding = Encoding::new(24, metric, Originals::F16).unwrap().leading(6).unwrap();
            let segment = segment_of(&vectors, encoding, 1, u32::MAX);
            let raw = |rows: Range<usize>| {
                let raw = |vector: &Vec<f32>| encoding.encode(vector).unwrap().raw.unwrap();
                Some(vectors[rows].iter().flat_map(raw).collect())
            };
            let originals = OriginalRows { encoding, read: &raw };
            let nearest = originals.nearest(&positions, ROWS as u32, 11).unwrap();
            for (&position, top) in positions.iter().zip(nearest) {
                let vector = segment.raw_vector(position).unwrap();
                let query = PreparedQuery::new(&encoding, &vector).unwrap();
                let exact = segment.search(&query, &SearchParams::exact(11), Allow::All).unwrap();
                let of = |slot| segment.position_of(slot).unwrap();
                let exact: Vec<u32> = exact.into_iter().map(|hit| of(hit.slot)).collect();
                let found: Vec<u32> = top.into_sorted().into_iter().map(|(id, _)| id).collect();
                assert_eq!(found, exact, "{metric}");
            }
            let gone = |rows: Range<usize>| raw(rows.clone()).filter(|_| rows.end < ROWS);
            let originals = OriginalRows { encoding, read: &gone };
            assert!(originals.nearest(&positions, ROWS as u32, 11).is_none());
        }
    }

    #[test]
    fn a_query_of_another_cut_is_refused() {
        let encoding = Encoding::new(24, Metric::Dot, Originals::F16).unwrap().leading(6).unwrap();
        let vectors = clustered(20, 24, 32);
        let segment = segment_of(&vectors, encoding, 1, u32::MAX);
        let other = PreparedQuery::new(&encoding.leading(7).unwrap(), &vectors[0]).unwrap();
        let error = segment.search(&other, &SearchParams::new(3, 10), Allow::All).unwrap_err();
        let shape = |coded| (Metric::Dot, coded);
        let expected = IndexError::OtherEncoding { expected: shape(6), found: shape(7) };
        assert_eq!(error, expected);
    }
}
