//! Building a graph in bulk: candidates from overlapping leaves, then one pass that searches for
//! every position on the graph of the first and links it anew, then the entries.
//!
//! No position is inserted one by one: every pass reads a finished graph and writes the next, in
//! parallel and yet the same for any number of threads.

use rayon::prelude::*;

use super::IndexError;
use super::connect::connect;
use super::entries::{entries, some_entries};
use super::layer::Layer;
use super::nav::{NavCodes, NavRows};
use super::neighbors::candidates;
use super::params::{GraphHeader, GraphParams, Progress};
use super::partition::leaves;
use super::pool::Scored;
use super::reach::repair;
use super::scratch::{Scratch, ScratchPool};
use super::select::Selection;
use super::space::{Point, Space};
use super::upper::upper;
use super::walk::{Scorer, walk};
use crate::vectors::{Encoding, Random, Rows};

/// Positions searched for between two reports of progress.
const BATCH: u32 = 16_384;
/// Positions of one task.
const TASK: usize = 128;

/// A graph in memory, words in host order.
#[derive(Debug)]
pub struct BuiltGraph {
    pub header: GraphHeader,
    /// Base rows, `2 * m` positions each.
    pub links: Vec<u32>,
    /// Upper rows: node, down, `m` links each.
    pub upper: Vec<u32>,
    /// The navigation codes, and those of the upper rows.
    pub nav: Option<(NavCodes, Vec<u8>)>,
}

/// Builds the graph of `codes` in the current rayon pool. Peak memory beside the codes: the
/// navigation codes, and while links are selected about `m * 48` bytes a row.
pub fn build(
    codes: &Rows,
    encoding: Encoding,
    params: GraphParams,
    progress: &Progress<'_>,
) -> Result<BuiltGraph, IndexError> {
    params.check()?;
    let total = u64::from(codes.len());
    let report = |done: u64| match progress(done.min(total), total).is_break() {
        true => Err(IndexError::Cancelled),
        false => Ok(()),
    };
    report(0)?;
    let space = Space::new(codes, encoding);
    let nav = NavCodes::build(&space, codes, params.seed);
    let rows = nav.as_ref().map(NavCodes::rows);
    report(total / 20)?;
    let first = link(&space, params.base_links(), params.seed);
    report(total / 4)?;
    let start = (Random::new(params.seed).next_u64() % total.max(1)) as u32;
    let refine = Refine { space: &space, nav: rows, layer: &first, start, params };
    let mut base = refine.run(&|done| report(total / 4 + done * 7 / 10))?;
    drop(first);
    repair(&mut base, start);
    let chosen = match &rows {
        Some(nav) if !space.is_augmented() => entries(&space, nav, &base, params.seed),
        _ => some_entries(space.len(), params.seed),
    };
    let upper = upper(&space, chosen, params)?;
    report(total)?;
    let header = GraphHeader {
        entry: start,
        level_counts: upper.level_counts,
        m: params.m,
        ef_construction: params.ef_construction,
        seed: params.seed,
    };
    let upper_nav = rows
        .map(|nav| upper.nodes.iter().flat_map(|&position| nav.row(position)).copied().collect());
    let links = base.into_padded();
    Ok(BuiltGraph { header, links, upper: upper.words, nav: nav.zip(upper_nav) })
}

/// A graph of the nearest, from the leaves alone.
pub fn link(space: &Space<'_>, width: usize, seed: u64) -> Layer {
    let candidates = candidates(space, &leaves(space, seed));
    let forward: Vec<Selection> = candidates
        .into_par_iter()
        .map(|candidates| Selection::new(space, &candidates, width))
        .collect();
    connect(space, forward, width)
}

/// One pass of refinement: a walk for every position over a finished graph.
struct Refine<'a> {
    space: &'a Space<'a>,
    nav: Option<NavRows<'a>>,
    layer: &'a Layer,
    /// Where all walks start: far from most positions, so that a walk also meets what links
    /// between clusters need.
    start: u32,
    params: GraphParams,
}

impl Refine<'_> {
    fn run(&self, report: &dyn Fn(u64) -> Result<(), IndexError>) -> Result<Layer, IndexError> {
        let len = self.space.len();
        let scratches = ScratchPool::default();
        let mut forward = Vec::with_capacity(len as usize);
        for first in (0..len).step_by(BATCH as usize) {
            let batch: Vec<u32> = (first..(first + BATCH).min(len)).collect();
            forward.par_extend(
                batch
                    .par_chunks(TASK)
                    .flat_map_iter(|task| scratches.with(|scratch| self.select(task, scratch))),
            );
            report(u64::from(first))?;
        }
        Ok(connect(self.space, forward, self.layer.width()))
    }

    fn select(&self, task: &[u32], scratch: &mut Scratch) -> Vec<Selection> {
        let mut selected = Vec::with_capacity(task.len());
        match &self.nav {
            // Under the dot product positions are not compared as queries are: by codes.
            Some(nav) if !self.space.is_augmented() => {
                nav.each_query(self.space, task, |position, query| {
                    selected.push(self.links(position, &nav.scorer(query), scratch));
                });
            }
            _ => {
                for &position in task {
                    let scorer =
                        PointScorer { space: self.space, point: self.space.point(position) };
                    selected.push(self.links(position, &scorer, scratch));
                }
            }
        }
        selected
    }

    fn links<S: Scorer>(&self, position: u32, scorer: &S, scratch: &mut Scratch) -> Selection {
        let ef = self.params.ef_construction as usize;
        walk(scorer, self.layer, &[self.start], ef, scratch, |_| {});
        let met = scratch.pool.iter().map(|scored| scored.id);
        let mut ids: Vec<u32> = met
            .chain(scratch.trail.iter().copied())
            .chain(self.layer.linked(position).iter().copied())
            .filter(|&id| id != position)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let ranked: Vec<Scored> = self.space.ranked(position, &ids);
        Selection::new(self.space, &ranked, self.layer.width())
    }
}

/// Scores positions against one of them by their codes.
struct PointScorer<'a> {
    space: &'a Space<'a>,
    point: Point<'a>,
}

impl Scorer for PointScorer<'_> {
    #[inline]
    fn row(&self, id: u32) -> &[u8] {
        self.space.bytes(id)
    }

    #[inline]
    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        self.space.score_all(&self.point, rows, out);
    }
}
