//! Whether to walk or to scan, decided by how many rows pass the filter.

/// What one step of a walk costs, in rows of a scan: it scores about half of its 32 links at
/// random addresses, and a scan reads rows in order.
const ROWS_PER_STEP: f64 = 24.0;

/// How a search finds its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Score every passing row.
    Scan,
    /// Walk the graph with this many candidates, returning those that pass.
    Walk {
        /// Capacity of the pool of candidates, passing or not.
        ef: usize,
    },
}

impl Plan {
    /// Chooses for `passing` of `rows` rows, where `ef` candidates would do without a filter
    /// and `keep` passing ones are needed at least.
    ///
    /// A filter that lets the share s pass needs `ef / sqrt(s)` candidates for the same recall,
    /// and at least `keep / s` to find enough.
    pub fn choose(rows: u32, passing: u32, ef: usize, keep: usize) -> Self {
        let share = f64::from(passing) / f64::from(rows.max(1));
        let ef = (ef.max(keep) as f64 / share.sqrt()).max(keep as f64 / share);
        // Not a number or infinite when nothing passes: then the scan, of nothing.
        if ef * ROWS_PER_STEP < f64::from(passing) {
            Self::Walk { ef: ef.ceil() as usize }
        } else {
            Self::Scan
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_passing_rows_are_scanned_and_many_are_walked() {
        assert_eq!(Plan::choose(100_000, 100_000, 100, 26), Plan::Walk { ef: 100 });
        assert_eq!(Plan::choose(100_000, 25_000, 100, 26), Plan::Walk { ef: 200 });
        assert_eq!(Plan::choose(100_000, 2_000, 100, 26), Plan::Scan);
        assert_eq!(Plan::choose(100_000, 0, 100, 26), Plan::Scan);
        assert_eq!(Plan::choose(0, 0, 100, 26), Plan::Scan);
        assert_eq!(Plan::choose(1_000, 1_000, 100, 26), Plan::Scan);
        assert_eq!(Plan::choose(100_000, 100_000, 100, 50_000), Plan::Scan);
    }
}
