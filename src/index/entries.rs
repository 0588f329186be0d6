//! The entries of a graph: positions a walk may start at, and the small graph over them that
//! finds the best ones for a query.
//!
//! Links lead from near to nearer; between clusters there may be none, and a walk that starts in
//! a large cluster fills its pool there and never leaves. So every position is searched for once,
//! with a short walk, and one that is not found becomes an entry itself: about 1 in 70 at
//! 100,000 embedding-like vectors, and the share falls as a set grows denser.

use std::collections::HashSet;

use rayon::prelude::*;

use super::IndexError;
use super::layer::Layer;
use super::nav::NavRows;
use super::pool::Scored;
use super::scratch::ScratchPool;
use super::space::Space;
use super::upper::{GROUPS, group};
use super::walk::walk;
use crate::kernels::{NavQuery, level};
use crate::vectors::Random;

/// One in so many positions is an entry from the start.
const SHARE: usize = 256;
/// One in so many positions is among the longest ...
const LONGEST_SHARE: usize = 64;
/// ... unless their squared lengths differ by less than this factor.
const ALIKE: f32 = 1.1;
/// At least one position in so many is not an entry, whatever is not found.
const MAX_SHARE: usize = 16;
/// Candidates of the walk that looks for a position: as few as a fast search would have.
const EF: usize = 12;
/// Positions looked for before the entries found missing are added.
const BATCH: usize = 8_192;
/// Positions of one task.
const TASK: usize = 128;

/// What positions are looked for in.
pub struct Search<'a> {
    pub space: &'a Space<'a>,
    pub nav: &'a NavRows<'a>,
    pub base: &'a Layer,
}

/// The entries for a finished base level, in the order they were found: those `known`, and
/// what is not found of `positions`. `report` is told how many were looked for.
pub fn entries(
    search: &Search<'_>,
    known: Vec<u32>,
    positions: &[u32],
    report: &dyn Fn(u64) -> Result<(), IndexError>,
) -> Result<Vec<u32>, IndexError> {
    let mut entries = known;
    let mut known: HashSet<u32> = entries.iter().copied().collect();
    let scratches = ScratchPool::default();
    let most = search.space.len() as usize / MAX_SHARE;
    for (done, batch) in positions.chunks(BATCH).enumerate() {
        report((done * BATCH) as u64)?;
        let grouped = Grouped::new(search.space, &entries);
        let missed: Vec<u32> = batch
            .par_chunks(TASK)
            .flat_map_iter(|task| search.missed(&grouped, task, &scratches))
            .collect();
        // A position next to one that was just added would be found from there.
        let mut added = HashSet::new();
        for position in missed {
            let near = search.base.linked(position).iter().any(|link| added.contains(link));
            if !near && entries.len() < most && known.insert(position) {
                added.insert(position);
                entries.push(position);
            }
        }
    }
    Ok(entries)
}

/// One position in 256, drawn at random.
pub fn some_entries(positions: &[u32], seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut known = HashSet::new();
    let mut entries = Vec::new();
    while entries.len() < positions.len().div_ceil(SHARE) {
        let position = positions[(random.next_u64() % positions.len() as u64) as usize];
        if known.insert(position) {
            entries.push(position);
        }
    }
    entries
}

/// Those `known` and the longest positions, where lengths differ. A long vector has large products
/// with all queries that point its way: much of what is found is among the longest, and links
/// between near ones do not join them.
pub fn add_longest(space: &Space<'_>, known: Vec<u32>, positions: &[u32]) -> Vec<u32> {
    let mut longest: Vec<(f32, u32)> =
        positions.iter().map(|&at| (space.point(at).row.norm_sq, at)).collect();
    longest.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    longest.truncate(positions.len().div_ceil(LONGEST_SHARE));
    let mut entries = known;
    if let (Some(first), Some(last)) = (longest.first(), longest.last())
        && first.0 <= ALIKE * last.0
    {
        return entries;
    }
    let known: HashSet<u32> = entries.iter().copied().collect();
    let new = longest.into_iter().map(|(_, at)| at).filter(|at| !known.contains(at));
    entries.extend(new);
    entries
}

impl Search<'_> {
    /// The positions of a task that a walk from the best entry does not find.
    fn missed(&self, entries: &Grouped, task: &[u32], scratches: &ScratchPool) -> Vec<u32> {
        let mut missed = Vec::new();
        scratches.with(|scratch| {
            self.nav.each_query(self.space, task, |position, query| {
                let Some(start) = entries.nearest(self.nav, query, position) else { return };
                let scorer = self.nav.scorer(query);
                walk(&scorer, self.base, &[start], EF, scratch);
                if scratch.pool.iter().all(|found| found.id != position) {
                    missed.push(position);
                }
            });
        });
        missed
    }
}

/// Entries in groups, as a search has them: all leaders are scored, then the groups of the best.
struct Grouped {
    leaders: Vec<u32>,
    groups: Vec<Vec<u32>>,
}

impl Grouped {
    fn new(space: &Space<'_>, entries: &[u32]) -> Self {
        let (leaders, members) = group(space, entries);
        let mut groups: Vec<Vec<u32>> = Vec::with_capacity(leaders.len());
        for member in members {
            // Each group begins with its leader, in the order of the leaders.
            if leaders.get(groups.len()) == Some(&member) {
                groups.push(Vec::new());
            }
            if let Some(group) = groups.last_mut() {
                group.push(member);
            }
        }
        Self { leaders, groups }
    }

    /// The best of the entries for a query, but for the position that is looked for.
    fn nearest(&self, nav: &NavRows<'_>, query: &NavQuery, but: u32) -> Option<u32> {
        let mut leaders: Vec<(usize, Scored)> = Vec::with_capacity(self.leaders.len());
        score_each(nav, query, &self.leaders, |at, scored| leaders.push((at, scored)));
        if leaders.len() > GROUPS {
            leaders.select_nth_unstable_by(GROUPS - 1, |a, b| a.1.rank(&b.1));
            leaders.truncate(GROUPS);
        }
        let mut best: Option<Scored> = None;
        for (group, _) in leaders {
            score_each(nav, query, &self.groups[group], |_, scored| {
                if scored.id != but && best.is_none_or(|best| scored.rank(&best).is_lt()) {
                    best = Some(scored);
                }
            });
        }
        best.map(|best| best.id)
    }
}

fn score_each(
    nav: &NavRows<'_>,
    query: &NavQuery,
    ids: &[u32],
    mut take: impl FnMut(usize, Scored),
) {
    for (task, ids) in ids.chunks(TASK).enumerate() {
        let mut rows = [&[][..]; TASK];
        rows.iter_mut().zip(ids).for_each(|(row, &id)| *row = nav.row(id));
        let mut scores = [f32::MIN; TASK];
        // By first lines, which are all that is stored of entries.
        query.reach_all(level(), &rows[..ids.len()], &mut scores);
        for (at, (&id, score)) in ids.iter().zip(scores).enumerate() {
            take(task * TASK + at, Scored { score, id });
        }
    }
}
