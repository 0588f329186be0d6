//! A stored graph, checked when it is opened and walked in place.
//!
//! Base rows: `2 * m` positions, u32 LE, padded with the row's own position. Upper rows: node
//! u32, down u32, `m` links u32, grouped by level, the top level first; links are rows of the
//! upper section, `down` is the row one level below, or at level 1 the base position. Links of a
//! damaged file may say anything: what is out of range is skipped.

use std::iter::once;
use std::ops::Range;

use super::builder::{check_len, check_stride};
use super::params::{GraphHeader, MAX_LEVELS, base_stride, check_m, upper_stride};
use super::pool::Pool;
use super::scan::scan_ranges;
use super::upper::GROUPS;
use super::walk::{Adjacency, Scorer, climb};
use super::{GraphParts, IndexError};
use crate::format::SectionKind;
use crate::kernels::prefetch;
use crate::vectors::Rows;

/// Candidates of a walk for each entry that it starts from: wide walks are for high recall, and
/// the best entry by a first line alone is not always the right one ...
const EF_PER_START: usize = 8;
/// ... at least, and at most.
const STARTS_MIN: usize = 2;
pub const STARTS_MAX: usize = 12;
/// The same under the dot product, where the entries hold the longest rows: much of what is found
/// is among them, in directions that links between near rows do not join ...
const STARTS_WIDE: usize = 64;
/// ... and the groups of entries that are scored there.
const GROUPS_WIDE: usize = 24;

/// What another graph can grow from: links and entries in memory.
#[derive(Debug, Clone)]
pub struct GraphCopy {
    /// Base links of all rows.
    links: Vec<u32>,
    width: usize,
    /// Positions that a search may start at.
    pub entries: Vec<u32>,
    /// Where the walks of a build start.
    pub entry: u32,
}

impl GraphCopy {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.links.len() / self.width
    }

    /// Links of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The links of a row; padding and repetitions as they are stored.
    pub fn row(&self, at: u32) -> &[u32] {
        let start = at as usize * self.width;
        self.links.get(start..start + self.width).unwrap_or_default()
    }
}

/// The links of one segment.
#[derive(Debug)]
pub struct Graph {
    entry: u32,
    /// Rows of each upper level, the top level first.
    levels: Vec<u32>,
    base: Base,
    upper: Upper,
}

/// Where a walk begins, and the memory that it takes to find that.
#[derive(Debug, Default)]
pub struct Starts {
    /// Base positions, best first.
    pub positions: Vec<u32>,
    best: Pool,
    groups: Pool,
}

/// The base level, read in place.
#[derive(Debug, Clone)]
pub struct Base(Rows);

#[derive(Debug)]
struct Upper(Rows);

impl Graph {
    /// Checks the shape of a graph over `rows` rows; costs nothing per row.
    pub fn open(parts: GraphParts, rows: u32) -> Result<Self, IndexError> {
        let GraphParts { header, links, upper } = parts;
        check_m(header.m)?;
        check_stride(SectionKind::Links, base_stride(header.m), links.stride())?;
        check_len(SectionKind::Links, u64::from(rows), links.len())?;
        let GraphHeader { entry, level_counts, m, .. } = header;
        let bad = IndexError::BadGraphHeader { entry, rows };
        if entry >= rows || level_counts.len() > MAX_LEVELS || level_counts.contains(&0) {
            return Err(bad);
        }
        let in_levels: u64 = level_counts.iter().map(|&count| u64::from(count)).sum();
        check_len(SectionKind::Upper, in_levels, upper.len())?;
        if in_levels > 0 {
            check_stride(SectionKind::Upper, upper_stride(m), upper.stride())?;
        }
        Ok(Self { entry, levels: level_counts, base: Base(links), upper: Upper(upper) })
    }

    /// Base positions to start a walk with `ef` candidates from, into `starts`, best first: the
    /// best of the entries when they have navigation codes, else where a descent from the top
    /// ends. Gives how many there are for the walk: there may be more if `least` were asked for,
    /// of which there are at most [`STARTS_MAX`].
    pub fn start<S: Scorer>(
        &self,
        scorer: &S,
        upper: Option<&impl Scorer>,
        (ef, least): (usize, usize),
        starts: &mut Starts,
    ) -> usize {
        let Starts { positions, best, groups } = starts;
        let (most, of_groups) = match scorer.best() {
            Some(_) => ((ef / EF_PER_START).clamp(STARTS_MIN, STARTS_MAX), GROUPS),
            None => (ef.clamp(STARTS_MIN, STARTS_WIDE), GROUPS_WIDE),
        };
        best.reset(most.max(least.min(STARTS_MAX)));
        match (upper, self.levels.as_slice()) {
            (Some(upper), [_]) => scan_ranges(upper, once(0..self.upper_rows()), best),
            (Some(upper), &[leaders, _]) => {
                groups.reset(of_groups);
                scan_ranges(upper, once(0..leaders), groups);
                let groups = groups.iter();
                scan_ranges(upper, groups.map(|leader| self.group(leader.id, leaders)), best);
            }
            _ => {}
        }
        positions.clear();
        positions.extend(best.iter().filter_map(|row| self.upper.word(row.id, 0)));
        if positions.is_empty() {
            positions.extend(self.descend(scorer));
        }
        positions.retain(|&start| start < self.base.len());
        if positions.is_empty() {
            positions.push(self.entry);
        }
        positions.len().min(most)
    }

    /// The rows of level 1 that a row of level 2 leads.
    fn group(&self, leader: u32, leaders: u32) -> Range<u32> {
        let rows = self.upper_rows();
        let first = self.upper.word(leader, 1).unwrap_or(rows).max(leaders);
        let next = if leader + 1 < leaders { self.upper.word(leader + 1, 1) } else { None };
        first..next.unwrap_or(rows).min(rows)
    }

    /// The base rows that no chain of links leads to from any entry, ascending. It is told of the
    /// links alone: a search starts at [`STARTS_WIDE`] of the entries at most, which depend on its
    /// query, and leaves off long before it has seen all that can be reached from there.
    pub fn unreachable(&self) -> Vec<u32> {
        let len = self.base.len();
        let mut reached = vec![false; len as usize];
        let mut waiting: Vec<u32> = Vec::new();
        let upper = (0..self.upper_rows()).filter_map(|row| self.upper.word(row, 0));
        let mut reach = |id: u32, waiting: &mut Vec<u32>| {
            if let Some(reached) = reached.get_mut(id as usize).filter(|reached| !**reached) {
                *reached = true;
                waiting.push(id);
            }
        };
        upper.chain([self.entry]).for_each(|id| reach(id, &mut waiting));
        while let Some(id) = waiting.pop() {
            words(self.base.0.row(id)).for_each(|link| reach(link, &mut waiting));
        }
        (0..len).filter(|&id| !reached[id as usize]).collect()
    }

    /// A copy to grow another graph from: 128 bytes a row with 32 links.
    pub fn copy(&self) -> GraphCopy {
        let rows = 0..self.base.len();
        let links: Vec<u32> = rows.flat_map(|at| words(self.base.0.row(at))).collect();
        let mut entries: Vec<u32> =
            (0..self.upper_rows()).filter_map(|row| self.upper.word(row, 0)).collect();
        entries.sort_unstable();
        entries.dedup();
        let width = self.base.0.stride() / size_of::<u32>();
        GraphCopy { links, width, entries, entry: self.entry }
    }

    /// Number of upper rows.
    pub fn upper_rows(&self) -> u32 {
        self.upper.0.len()
    }

    /// The base level as another copy of its rows has it.
    pub fn base_of(rows: Rows) -> Base {
        Base(rows)
    }

    /// The base level.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The base position below the best row of level 1; `None` when there is no upper level.
    fn descend<S: Scorer>(&self, scorer: &S) -> Option<u32> {
        let scorer = UpperScorer { scorer, upper: &self.upper };
        let mut at = None;
        for _ in 0..self.levels.len() {
            let best = climb(&scorer, &self.upper, at.unwrap_or(0));
            at = Some(self.upper.word(best, 1)?);
        }
        at
    }
}

impl Base {
    /// The rows of links.
    pub fn rows(&self) -> &Rows {
        &self.0
    }
}

impl Adjacency for Base {
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn each_link(&self, id: u32, visit: impl FnMut(u32)) {
        words(self.0.row(id)).for_each(visit);
    }

    #[inline]
    fn prefetch(&self, id: u32) {
        prefetch(self.0.row(id).unwrap_or_default());
    }
}

#[inline]
fn words(row: Option<&[u8]>) -> impl Iterator<Item = u32> {
    row.map_or(&[][..], |row| row.as_chunks().0).iter().map(|word| u32::from_le_bytes(*word))
}

impl Upper {
    fn word(&self, row: u32, at: usize) -> Option<u32> {
        words(self.0.row(row)).nth(at)
    }
}

impl Adjacency for Upper {
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn each_link(&self, id: u32, visit: impl FnMut(u32)) {
        words(self.0.row(id)).skip(2).for_each(visit);
    }

    #[inline]
    fn prefetch(&self, id: u32) {
        prefetch(self.0.row(id).unwrap_or_default());
    }
}

/// Scores rows of the upper section by the nodes they stand for.
struct UpperScorer<'a, S> {
    scorer: &'a S,
    upper: &'a Upper,
}

impl<S: Scorer> Scorer for UpperScorer<'_, S> {
    fn row(&self, row: u32) -> &[u8] {
        self.upper.word(row, 0).map_or(&[], |node| self.scorer.row(node))
    }

    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        self.scorer.score_all(rows, out);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Rows that are scores, and the best there can be.
    struct Scores(Vec<[u8; 4]>, Option<f32>);

    impl Scores {
        /// Zero for all of so many rows but some.
        fn new(rows: usize, some: impl IntoIterator<Item = (usize, f32)>) -> Self {
            let mut scores = vec![0.0_f32.to_le_bytes(); rows];
            some.into_iter().for_each(|(row, score)| scores[row] = score.to_le_bytes());
            Self(scores, Some(10.0))
        }
    }

    impl Scorer for Scores {
        fn best(&self) -> Option<f32> {
            self.1
        }

        fn row(&self, id: u32) -> &[u8] {
            self.0.get(id as usize).map_or(&[][..], |row| &row[..])
        }

        fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
            for (row, out) in rows.iter().zip(out) {
                *out = row.first_chunk().map_or(f32::MIN, |bytes| f32::from_le_bytes(*bytes));
            }
        }
    }

    fn section(words: &[u32], stride: usize) -> Rows {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Rows::contiguous(Bytes::from(bytes), stride).unwrap()
    }

    /// The position of a row of level 1.
    fn position(row: u32) -> u32 {
        (row - 16) * 101 % 514
    }

    /// 514 positions without links, 257 of which are entries in 16 groups, by the text of the
    /// format: the leaders are rows 0 to 15 of the section, then come the groups; `m` is 3.
    fn in_groups() -> Graph {
        let mut sizes = [16; 16];
        (sizes[0], sizes[1], sizes[15]) = (1, 31, 17);
        let mut rows: Vec<[u32; 5]> = Vec::new();
        let mut first = 16;
        for (leader, size) in (0..).zip(sizes) {
            // The position, the same entry one level below, and links padded with the row's own.
            rows.push([position(first), first, leader, leader, leader]);
            first += size;
        }
        rows.extend((16..273).map(|row| [position(row), position(row), row, row, row]));
        // From the first leader to the last, and from there to the last entry of its group.
        (rows[0][2], rows[256][4]) = (15, 272);
        let links: Vec<u32> = (0..514).flat_map(|position| [position; 6]).collect();
        let level_counts = vec![16, 257];
        let header = GraphHeader { entry: 3, level_counts, m: 3, ef_construction: 8, seed: 0 };
        let (links, upper) = (section(&links, 24), section(rows.as_flattened(), 20));
        Graph::open(GraphParts { header, links, upper }, 514).unwrap()
    }

    #[test]
    fn a_group_reaches_from_where_its_leader_leads_down_to_where_the_next_one_does() {
        let graph = in_groups();
        let groups: Vec<Range<u32>> = (0..16).map(|leader| graph.group(leader, 16)).collect();
        assert_eq!(groups[..3], [16..17, 17..48, 48..64]);
        assert_eq!(groups[14..], [240..256, 256..273]);
        assert!(groups.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn a_walk_starts_at_the_best_entries_of_the_groups_of_the_best_leaders() {
        let graph = in_groups();
        // The last 8 leaders are the best. Row 143 ends the group before theirs.
        let leaders = (8..16).map(|leader| (leader, 1.0));
        let entries = [(143, 9.0), (144, 2.0), (255, 3.0), (256, 4.0), (272, 5.0)];
        let scores = Scores::new(273, leaders.chain(entries));
        let mut starts = Starts::default();
        assert_eq!(graph.start(&scores, Some(&scores), (32, 0), &mut starts), 4);
        // 256 * 101, 240 * 101, 239 * 101 and 128 * 101, less multiples of 514.
        assert_eq!(starts.positions, [156, 82, 495, 78]);
        // More may be asked for; the walk starts from as many as before.
        assert_eq!(graph.start(&scores, Some(&scores), (32, 7), &mut starts), 4);
        assert_eq!((&starts.positions[..4], starts.positions.len()), (&[156, 82, 495, 78][..], 7));
        assert_eq!(graph.start(&scores, Some(&scores), (32, 99), &mut starts), 4);
        assert_eq!(starts.positions.len(), STARTS_MAX);
        // Where scores have no best, as products of vectors of any length, all 16 groups are few.
        let products = Scores(scores.0, None);
        graph.start(&products, Some(&products), (32, 0), &mut starts);
        assert_eq!((starts.positions[0], starts.positions.len()), (491, 32));
        graph.start(&products, Some(&products), (500, 0), &mut starts);
        assert_eq!(starts.positions.len(), STARTS_WIDE);
    }

    #[test]
    fn without_navigation_codes_a_descent_from_row_0_follows_links_and_leads_to_a_position() {
        let graph = in_groups();
        let scores = Scores::new(514, [(82, 1.0), (156, 2.0)]);
        let mut starts = Starts::default();
        graph.start(&scores, None::<&Scores>, (32, 0), &mut starts);
        assert_eq!(starts.positions, [156]);
    }
}
