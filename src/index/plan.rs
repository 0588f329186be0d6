//! Whether to walk or to scan, and how, decided by how many rows pass the filter and how many of
//! them near the query. Costs are counted in candidates of a walk without a filter
//! (`docs/index-performance.md` has the measurements).

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

/// Rows that a scan of everything scores while a walk takes one candidate further.
const ROWS: usize = 24;
/// The same for a scan of copied codes, which the caches of the processor hold.
const ROWS_COPIED: usize = 100;
/// What passes of the pool of a masked walk, to what is needed: some of what is needed is not
/// among the best by navigation code.
const SPARE: f64 = 1.5;
/// Candidates of a filter-first walk, to those of a walk without a filter: links across rows
/// that do not pass are none that the build chose.
const WIDER: f64 = 1.5;
/// The same where hardly anything passes near the query, measured for a half that passes: twice as
/// many found 0.94.
const WIDER_FAR: f64 = 3.0;
/// The share that this is for. Where fewer pass, what is near lies further apart: of a million rows
/// three times as many candidates found 0.85 of a tenth.
const FAR_SHARE: f64 = 0.5;
/// Candidates that a filter-first walk counts with at least: with 24 one found 0.73 of a hundredth
/// of a million rows, and 0.91 of a twentieth, where the walk without a filter found 0.96.
const EF_MIN: usize = 64;
/// The query is far from what passes when near it this part of the usual share passes.
const FAR: f64 = 0.4;
/// What a candidate of a filter-first walk costs, to one of a walk: links of crossed rows.
const CROSSING: f64 = 1.2;
/// Candidates with which a walk spends as much on keeping its pool in order as on all else, after
/// what 250 to 4,000 cost.
const POOL: f64 = 12_000.0;

/// What a walk costs, in candidates of a walk with few: each one that comes is put into its place
/// among the others.
fn cost(ef: f64) -> f64 {
    ef * (1.0 + ef / POOL)
}

/// The same of a filter-first walk.
fn crossing(ef: f64) -> f64 {
    cost(ef) * CROSSING
}

/// A scan of what passes.
#[derive(Debug, Clone, Copy)]
pub struct Scanned {
    /// Part of the segment that passes.
    share: f64,
    /// What it costs.
    cost: f64,
}

impl Scanned {
    /// `is_copied` if the codes of what passes are worth a copy.
    pub fn new(passing: &Passing, is_copied: bool) -> Self {
        let rows = if is_copied { ROWS_COPIED } else { ROWS };
        let count = f64::from(passing.count());
        Self { share: count / f64::from(passing.len().max(1)), cost: count / rows as f64 }
    }

    /// Entries whose links tell the share that passes near a query: so many that of 32 links each,
    /// 16 are expected to lead to what passes. There may be fewer.
    pub fn share_from(&self) -> usize {
        ((0.5 / self.share).ceil() as usize).max(2)
    }

    /// Whether so few rows pass that it is cheaper than any walk with `ef` candidates.
    pub fn is_cheaper(&self, ef: usize) -> bool {
        self.cost <= cost(ef as f64)
    }
}

/// How a search of a segment with a graph finds its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub path: SearchPath,
    /// Candidates of a walk.
    pub ef: usize,
    /// How many of them count: the walk may end when no more of these are to be expected.
    pub wanted: usize,
}

impl Plan {
    /// Chooses the cheapest path for what a filter lets pass: `local` is the share that passes
    /// near the query, `ef` candidates would do without a filter, and `keep` that pass are needed.
    pub fn choose(scan: Scanned, local: f64, ef: usize, keep: usize) -> Self {
        if local < FAR * scan.share {
            return Self::far(scan, ef, keep);
        }
        // Infinite where nothing passes, and then not chosen.
        let needed = SPARE * keep as f64 / local;
        let masked = needed.max(ef as f64);
        let filtered = ef.max(EF_MIN) as f64 * WIDER;
        if cost(masked) <= scan.cost.min(crossing(filtered)) {
            let wanted = needed.ceil() as usize;
            Self { path: SearchPath::MaskedWalk, ef: masked.ceil() as usize, wanted }
        } else {
            Self::filter_first(scan, filtered, ef, keep)
        }
    }

    /// Where hardly anything passes near the query, and where a masked walk found too little.
    pub fn far(scan: Scanned, ef: usize, keep: usize) -> Self {
        let filtered = ef.max(EF_MIN) as f64 * WIDER_FAR * (FAR_SHARE / scan.share).max(1.0);
        Self::filter_first(scan, filtered, ef, keep)
    }

    /// A filter-first walk with so many candidates, or a scan where that is cheaper.
    fn filter_first(scan: Scanned, filtered: f64, ef: usize, keep: usize) -> Self {
        if crossing(filtered) <= scan.cost {
            Self { path: SearchPath::FilteredWalk, ef: filtered.ceil() as usize, wanted: keep }
        } else {
            Self { path: SearchPath::Scan, ef, wanted: keep }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::passing::Words;
    use super::*;

    fn of(rows: u32, passing: u32) -> Passing {
        let mut words = Words::none(rows);
        (0..passing).for_each(|position| words.insert(position));
        words.finish()
    }

    fn path(passing: &Passing, local: f64) -> (SearchPath, usize) {
        let plan = Plan::choose(Scanned::new(passing, true), local, 60, 14);
        (plan.path, plan.ef)
    }

    #[test]
    fn few_rows_are_scanned_whatever_the_query() {
        let few = |passing: &Passing, ef| Scanned::new(passing, !passing.is_all()).is_cheaper(ef);
        assert!(few(&of(100_000, 6_000), 60) && few(&of(100_000, 0), 60));
        assert!(few(&of(100_000, 6_030), 60) && !few(&of(100_000, 6_031), 60));
        assert!(few(&Passing::all(1_447), 60) && !few(&Passing::all(1_448), 60));
        // Wide walks cost more a candidate.
        let million = Passing::all(1_000_000);
        assert!(few(&million, 18_000) && !few(&million, 16_000));
        assert!(few(&Passing::all(0), 0));
    }

    #[test]
    fn without_a_copy_a_deleted_row_changes_little() {
        let rows = [Passing::all(100_000), of(100_000, 99_999)];
        for passing in &rows {
            let scan = Scanned::new(passing, false);
            assert!(!scan.is_cheaper(3_000) && scan.is_cheaper(4_000));
            assert_eq!(Plan::choose(scan, 1.0, 1_000, 1_000).path, SearchPath::MaskedWalk);
        }
    }

    #[test]
    fn most_rows_are_masked_and_some_are_walked_first() {
        let (half, fifth, tenth) = (of(100_000, 50_000), of(100_000, 20_000), of(100_000, 10_000));
        assert_eq!(path(&of(100_000, 99_000), 0.99), (SearchPath::MaskedWalk, 60));
        assert_eq!(path(&half, 0.5), (SearchPath::MaskedWalk, 60));
        assert_eq!(path(&half, 0.1), (SearchPath::FilteredWalk, 192));
        assert_eq!(path(&half, 0.0), (SearchPath::FilteredWalk, 192));
        assert_eq!(path(&fifth, 0.2), (SearchPath::MaskedWalk, 105));
        assert_eq!(path(&fifth, 0.1), (SearchPath::FilteredWalk, 96));
        assert_eq!(path(&tenth, 1.0), (SearchPath::MaskedWalk, 60));
        assert_eq!(path(&tenth, 0.1).0, SearchPath::Scan);
        assert_eq!(path(&of(1_000_000, 100_000), 0.1), (SearchPath::FilteredWalk, 96));
        // Far from a part that is not small a scan is what finds its best.
        assert_eq!(path(&of(1_000_000, 100_000), 0.01).0, SearchPath::Scan);
        assert_eq!(path(&of(4_000_000, 400_000), 0.01), (SearchPath::FilteredWalk, 960));
        assert_eq!(Plan::far(Scanned::new(&half, true), 60, 14).ef, 192);
    }
}
