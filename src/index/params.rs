//! The parameters of a graph and of a search, and the header a graph is stored with.

use std::ops::ControlFlow;

use super::IndexError;
use super::curve::Curve;

/// Told `(done, total)` rows from time to time while a graph is built; `Break` cancels.
pub type Progress<'a> = dyn Fn(u64, u64) -> ControlFlow<()> + Sync + 'a;

/// Recall of a search that was not told how hard to try ...
const USUAL_RECALL: f32 = 0.98;
/// ... and the candidates it has at least.
const USUAL_EF_MIN: usize = 64;
/// Candidates for each more that is ordered by its original where codes leave out dimensions.
const CUT_EF_PER_RESCORED: usize = 3;

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
    /// Seed of all that is drawn. Equal rows, parameters, seed and working memory give an equal
    /// graph, whatever the number of threads.
    pub seed: u64,
}

impl Default for GraphParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 96, seed: 0x0070_6F72_746F_6C61 }
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

/// How a graph is built, and with what.
#[derive(Debug, Clone, Copy)]
pub struct BuildParams {
    /// Parameters of the graph.
    pub graph: GraphParams,
    /// Bytes of working memory, beside those of each row.
    pub memory: usize,
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

/// How hard a search tries to find the true neighbors.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Effort {
    /// So many candidates.
    Ef(usize),
    /// As many candidates as this share of the true neighbors needs, by the curve of the
    /// segment; all rows for a share of 1.
    Recall(f32),
    /// Recall of 0.98, with 64 candidates or more in case queries are harder than the vectors
    /// the curve was measured with.
    #[default]
    Usual,
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
    /// Codes leave out dimensions, so that more candidates are ordered by originals.
    pub is_cut: bool,
}

impl SearchParams {
    /// Approximate search for `k` hits with `ef` candidates.
    #[must_use]
    pub fn new(k: usize, ef: usize) -> Self {
        Self { k, ef, exact: false, is_cut: false }
    }

    /// Exact search for `k` hits.
    #[must_use]
    #[cfg(test)]
    pub fn exact(k: usize) -> Self {
        Self { exact: true, ..Self::new(k, 0) }
    }

    /// Search for `k` hits as hard as asked, by a segment's curve.
    pub(super) fn with_effort(k: usize, effort: Effort, curve: &Curve) -> Self {
        let mut params = match effort {
            Effort::Ef(ef) => Self::new(k, ef),
            Effort::Recall(recall) if recall >= 1.0 => Self { exact: true, ..Self::new(k, 0) },
            Effort::Recall(recall) => Self::new(k, curve.ef(recall, k)),
            Effort::Usual => Self::new(k, curve.ef(USUAL_RECALL, k).max(USUAL_EF_MIN)),
        };
        params.ef = params.ef.max(params.rescored());
        params
    }

    /// Candidates that a walk goes by to tell whether it is at its end: a few more than hits.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.k.saturating_add((self.k / 4).max(4))
    }

    /// Candidates whose originals are read to order the hits: int8 codes misplace few, those that
    /// leave out dimensions more, the more of them the more recall is asked for.
    #[must_use]
    pub fn rescored(&self) -> usize {
        let wanted = self.wanted();
        if !self.is_cut {
            return wanted;
        }
        wanted.saturating_add(self.ef / CUT_EF_PER_RESCORED).min(self.ef).max(wanted)
    }
}
