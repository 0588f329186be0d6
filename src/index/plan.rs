//! Whether to walk or to scan, decided by how many rows pass the filter.

use super::Passing;

/// How the candidates of a search were found in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SearchPath {
    /// Every row that passes was scored by its code: there is no graph, or few rows pass.
    Scan,
    /// The graph was walked; every row passes.
    Walk,
    /// The graph was walked through rows that pass, crossing others only to reach them.
    FilteredWalk,
    /// The graph was walked as without a filter; what does not pass was left out.
    MaskedWalk,
    /// Every row that passes was scored at full precision.
    Exact,
}

impl SearchPath {
    /// The name in reports: `scan`, `walk`, `filtered_walk`, `masked_walk` or `exact`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Walk => "walk",
            Self::FilteredWalk => "filtered_walk",
            Self::MaskedWalk => "masked_walk",
            Self::Exact => "exact",
        }
    }
}

impl std::fmt::Display for SearchPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

fn env(name: &'static str, default: usize) -> usize {
    super::filtered::env(name, default)
}

/// How a search finds its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Score every passing row.
    Scan,
    /// Walk the graph with this many candidates.
    Walk {
        /// Capacity of the pool of candidates.
        ef: usize,
    },
}

impl Plan {
    pub fn choose(passing: &Passing, ef: usize, keep: usize) -> Self {
        let ef = ef.max(keep);
        let rows = if passing.is_all() { 24 } else { env("P_ROWS", 160) };
        if ef.saturating_mul(rows) < passing.count() as usize {
            Self::Walk { ef }
        } else {
            Self::Scan
        }
    }
}

pub fn walk_through(passing: &Passing, local: f64, ef: usize, keep: usize) -> (SearchPath, usize) {
    let share = f64::from(passing.count()) / f64::from(passing.len().max(1));
    let few = local < share / 4.0;
    if !few && share.min(local) * ef as f64 >= 1.5 * keep as f64 && env("P_NOMASK", 0) == 0 {
        return (SearchPath::MaskedWalk, ef);
    }
    let tenths = if few { env("P_FAR", 30) } else { env("P_MID", 15) };
    (SearchPath::FilteredWalk, ef * tenths / 10)
}
