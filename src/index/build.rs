//! Building a graph in bulk: candidates from overlapping leaves, then one pass that searches for
//! every position on the graph of the first and links it anew, then the entries.
//!
//! No position is inserted one by one: every pass reads a finished graph and writes the next, in
//! parallel and yet the same for any number of threads.

use std::ops::Range;

use super::IndexError;
use super::connect::connect;
use super::entries::{Search, add_longest, entries, some_entries};
use super::layer::Layer;
use super::nav::{NavCodes, NavRows};
use super::neighbors::candidates;
use super::params::{BuildParams, GraphHeader, GraphParams, Progress};
use super::partition::leaves;
use super::reach::{lead_to_all, repair};
use super::refine::Refine;
use super::select::Selection;
use super::selected::Selected;
use super::space::Space;
use super::upper::upper;
use crate::kernels::nav::LINE;
use crate::kernels::prefetch;
use crate::vectors::{Encoding, Random, Rows};

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
/// navigation codes and 386 bytes a row (at `m = 16`): 48 candidates of each at first, then the
/// links of the first graph and what was selected for the second.
///
/// All but the upper levels is done on positions that are numbered leaf by leaf: what is worked
/// on one after the other is near, and still in the cache.
pub fn build(
    codes: &Rows,
    encoding: Encoding,
    build: BuildParams,
    progress: &Progress<'_>,
) -> Result<BuiltGraph, IndexError> {
    let params = build.graph;
    params.check()?;
    let total = u64::from(codes.len());
    let report = Report { progress, total };
    report.share(0.0)?;
    let rows = Space::new(codes, encoding);
    let mut leaves = leaves(&rows, params.seed);
    let order = in_leaf_order(&mut leaves, rows.len());
    let space = rows.among(&order);
    let nav = NavCodes::build(&space, codes, build);
    report.share(0.05)?;
    let first = link_leaves(&space, leaves, params.base_links());
    report.share(0.25)?;
    let all: Vec<u32> = (0..space.len()).collect();
    let start = any_start(space.len(), params.seed);
    let ef = params.ef_construction as usize;
    let nav_rows = nav.as_ref().map(NavCodes::rows);
    let refine = Refine { space: &space, nav: nav_rows, layer: &first, start, ef };
    let forward = refine.run(&all, &|done| report.within(0.25, 0.85, done, total))?;
    drop(first);
    let mut base = connect(&space, forward);
    let is_whole = repair(&mut base, start);
    let known = some_entries(&all, params.seed);
    let entries = all_entries((&space, nav.as_ref()), &base, known, &all, &report)?;
    if !is_whole {
        // Only now: an entry needs no link, nor does what it leads to.
        lead_to_all(&mut base, start, &entries);
    }
    let at = |place: u32| order[place as usize];
    let (start, entries) = (at(start), entries.into_iter().map(at).collect());
    let base = base.renumbered(&order);
    let nav = nav.map(|nav| nav.renumbered(&order));
    assemble((&rows, nav), base, (start, entries), (params, &report))
}

/// All positions, those of a leaf one after another, the first leaf first. The leaves name
/// places of that order from then on.
fn in_leaf_order(leaves: &mut [Vec<u32>], len: u32) -> Vec<u32> {
    let mut places = vec![u32::MAX; len as usize];
    let mut order = Vec::with_capacity(len as usize);
    for position in leaves.iter_mut().flatten() {
        let place = &mut places[*position as usize];
        if *place == u32::MAX {
            *place = order.len() as u32;
            order.push(*position);
        }
        *position = *place;
    }
    order
}

/// Where the walks of a build start: anywhere, which is far from most positions.
pub fn any_start(len: u32, seed: u64) -> u32 {
    (Random::new(seed).next_u64() % u64::from(len.max(1))) as u32
}

/// The entries of a finished base level: those `known`, and what is hard to find of `positions`, or
/// under the dot product the longest of them.
pub fn all_entries(
    (space, nav): (&Space<'_>, Option<&NavCodes>),
    base: &Layer,
    known: Vec<u32>,
    positions: &[u32],
    report: &Report<'_>,
) -> Result<Vec<u32>, IndexError> {
    match nav.map(NavCodes::rows) {
        Some(nav) if !space.is_augmented() => {
            let search = Search { space, nav: &nav, base };
            let len = positions.len() as u64;
            entries(&search, known, positions, &|done| report.within(0.85, 1.0, done, len))
        }
        _ if space.is_augmented() => Ok(add_longest(space, known, positions)),
        _ => Ok(known),
    }
}

/// The last step of building and of growing: puts all parts together.
pub fn assemble(
    (space, nav): (&Space<'_>, Option<NavCodes>),
    base: Layer,
    (start, entries): (u32, Vec<u32>),
    (params, report): (GraphParams, &Report<'_>),
) -> Result<BuiltGraph, IndexError> {
    let upper = upper(space, entries, params);
    report.share(1.0)?;
    let header = GraphHeader {
        entry: start,
        level_counts: upper.level_counts,
        m: params.m,
        ef_construction: params.ef_construction,
        seed: params.seed,
    };
    let first_lines = |nav: NavRows<'_>| -> Vec<u8> {
        let lines = upper.nodes.iter().flat_map(|&at| nav.row(at).iter().take(LINE));
        lines.copied().collect()
    };
    let upper_nav = nav.as_ref().map(|nav| first_lines(nav.rows()));
    let links = base.into_padded();
    Ok(BuiltGraph { header, links, upper: upper.words, nav: nav.zip(upper_nav) })
}

/// Progress in rows of the whole, whatever the steps count.
pub struct Report<'a> {
    pub progress: &'a Progress<'a>,
    pub total: u64,
}

impl Report<'_> {
    /// That a share of the work is done.
    pub fn share(&self, share: f64) -> Result<(), IndexError> {
        let done = (share * self.total as f64) as u64;
        match (self.progress)(done.min(self.total), self.total).is_break() {
            true => Err(IndexError::Cancelled),
            false => Ok(()),
        }
    }

    /// That `done` of `of` are done of the step that leads from one share to another.
    pub fn within(&self, from: f64, to: f64, done: u64, of: u64) -> Result<(), IndexError> {
        self.share(from + (to - from) * done as f64 / of.max(1) as f64)
    }
}

/// A graph of the nearest, from leaves alone.
pub fn link(space: &Space<'_>, width: usize, seed: u64) -> Layer {
    link_leaves(space, leaves(space, seed), width)
}

fn link_leaves(space: &Space<'_>, leaves: Vec<Vec<u32>>, width: usize) -> Layer {
    let mut links = candidates(space, &leaves, width);
    drop(leaves);
    let select = |candidates: &Selected, rows: Range<usize>| {
        let select = |at: usize| {
            let candidates: Vec<_> = candidates.links(at).collect();
            candidates.iter().for_each(|of| prefetch(space.bytes(of.id)));
            Selection::new(space, &candidates, width)
        };
        rows.map(select).collect()
    };
    links.replace(select);
    links.narrow(width);
    connect(space, links)
}
