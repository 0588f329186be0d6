//! The parameters of a graph and of a search, and the header a graph is stored with.

use std::ops::ControlFlow;

use super::IndexError;

/// Told `(done, total)` rows from time to time while a graph is built; `Break` cancels.
pub type Progress<'a> = dyn Fn(u64, u64) -> ControlFlow<()> + Sync + 'a;

/// Most levels above the base; `m = 2` and 2^31 rows stay below it.
pub(super) const MAX_LEVELS: usize = 32;

/// How a graph is built. Checked when a build starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphParams {
    /// Links of a node in the upper levels; the base level has twice as many. 2 to 64.
    pub m: u32,
    /// Candidates considered for the links of a new node. 8 to 4,096; higher is a better graph
    /// and a proportionally longer build.
    pub ef_construction: u32,
    /// Seed of the levels and of the insertion order. Equal rows, parameters and seed give an
    /// equal graph, whatever the number of threads.
    pub seed: u64,
}

impl Default for GraphParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 128, seed: 0x0070_6F72_746F_6C61 }
    }
}

impl GraphParams {
    /// Links of a node at the base level.
    #[must_use]
    pub fn base_links(&self) -> usize {
        self.m as usize * 2
    }

    /// Checks the parameters against their ranges.
    ///
    /// # Errors
    /// [`IndexError::GraphParameter`].
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        check_m(self.m)?;
        in_range("ef_construction", self.ef_construction, 8, 4_096)
    }
}

/// What must be stored beside the links to walk a graph. The caller encodes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphHeader {
    /// Position the walk of the base level starts at when there is no upper level.
    pub entry: u32,
    /// Rows of each upper level, the top level first, as they lie in the upper section.
    pub level_counts: Vec<u32>,
    /// [`GraphParams::m`].
    pub m: u32,
    /// [`GraphParams::ef_construction`].
    pub ef_construction: u32,
    /// [`GraphParams::seed`].
    pub seed: u64,
}

/// Bytes of a base row: `2 * m` links of u32.
pub(super) fn base_stride(m: u32) -> usize {
    m as usize * 2 * size_of::<u32>()
}

/// Bytes of an upper row: node, down, and `m` links of u32.
pub(super) fn upper_stride(m: u32) -> usize {
    (m as usize + 2) * size_of::<u32>()
}

pub(super) fn check_m(m: u32) -> Result<(), IndexError> {
    in_range("m", m, 2, 64)
}

fn in_range(name: &'static str, found: u32, min: u32, max: u32) -> Result<(), IndexError> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(IndexError::GraphParameter { name, found, min, max })
    }
}

/// How a segment is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchParams {
    /// Hits wanted.
    pub k: usize,
    /// Candidates the walk keeps: higher finds more of the true neighbors and takes longer, in
    /// proportion. Raised to what `k` needs.
    pub ef: usize,
    /// Compare with every original instead of walking: exact and slow.
    pub exact: bool,
}

impl SearchParams {
    /// Approximate search for `k` hits with `ef` candidates.
    #[must_use]
    pub fn new(k: usize, ef: usize) -> Self {
        Self { k, ef, exact: false }
    }

    /// Exact search for `k` hits.
    #[must_use]
    #[cfg(test)]
    pub fn exact(k: usize) -> Self {
        Self { k, ef: 0, exact: true }
    }

    /// Candidates whose originals are read to order the hits: int8 codes misplace few.
    pub(super) fn rescored(&self) -> usize {
        self.k.saturating_add((self.k / 4).max(4))
    }
}
