//! Growing a graph: the links of an earlier segment are carried over, what was deleted is cut
//! out, and new positions are linked in.
//!
//! A row that named deleted positions takes their links as candidates for the vacant places, as
//! a deletion in place would (IP-DiskANN, arXiv 2502.13826). New positions are linked among
//! themselves as in a build and searched for in what was carried over. The projection is kept
//! while it serves the new positions as well as the old, and with it the navigation codes of these.
//! Costs as much for each new position as a build, and a tenth of it for each carried over.

use rayon::prelude::*;

use super::IndexError;
use super::build::{BuiltGraph, Report, all_entries, any_start, assemble, link};
use super::connect::attach;
use super::entries::some_entries;
use super::graph::GraphCopy;
use super::layer::Layer;
use super::nav::{Basis, NavCodes};
use super::params::{BuildParams, Progress};
use super::pool::Scored;
use super::reach::{lead_to_all, repair};
use super::refine::Refine;
use super::select::Selection;
use super::selected::BATCH;
use super::space::Space;
use crate::vectors::{Encoding, Rows};

/// Deleted links whose own links become candidates, at most: the nearest ones.
const DEAD_LINKS: usize = 8;

/// The graph of an earlier segment, and where its positions are now.
#[derive(Debug)]
pub struct Inherited {
    graph: GraphCopy,
    /// The new position of each old one; [`GONE`] if it was dropped.
    places: Vec<u32>,
}

/// Stands for a position that was dropped.
pub const GONE: u32 = u32::MAX;

impl Inherited {
    /// `places` ascend, are below `rows`, and are as many as the graph has rows; otherwise there
    /// is nothing to inherit.
    pub fn new(graph: GraphCopy, places: Vec<u32>, rows: u32) -> Option<Self> {
        let live = || places.iter().copied().filter(|&place| place != GONE);
        let fits = places.len() == graph.len()
            && live().all(|place| place < rows)
            && live().zip(live().skip(1)).all(|(a, b)| a < b);
        fits.then_some(Self { graph, places })
    }

    /// Where an old position is now.
    fn place(&self, old: u32) -> Option<u32> {
        self.places.get(old as usize).copied().filter(|&place| place != GONE)
    }

    /// The links an old position has now: those that are left, and in place of the others the
    /// best of what those led to.
    fn row(&self, space: &Space<'_>, old: u32, own: u32, width: usize) -> Vec<u32> {
        let mut ids = Vec::with_capacity(width);
        let mut dead = Vec::new();
        for &link in self.graph.row(old) {
            match self.place(link) {
                Some(place) => ids.push(place),
                None => dead.push(link),
            }
        }
        ids.retain(|&id| id != own);
        if dead.is_empty() {
            return ids;
        }
        let beyond = dead.iter().take(DEAD_LINKS).flat_map(|&dead| self.graph.row(dead));
        let mut new: Vec<u32> = beyond
            .filter_map(|&link| self.place(link))
            .filter(|id| *id != own && !ids.contains(id))
            .collect();
        new.sort_unstable();
        new.dedup();
        let mut candidates = space.ranked(own, &new);
        candidates.truncate(width);
        ids.sort_unstable();
        ids.dedup();
        candidates.extend(space.ranked(own, &ids));
        candidates.sort_unstable_by(Scored::rank);
        let selection = Selection::new(space, &candidates, width);
        selection.links.into_iter().map(|link| link.id).collect()
    }

    /// All rows that are carried over; new positions have none yet.
    fn layer(&self, space: &Space<'_>, width: usize) -> Layer {
        let olds: Vec<(u32, u32)> = (0_u32..)
            .zip(&self.places)
            .filter(|(_, place)| **place != GONE)
            .map(|(old, &place)| (old, place))
            .collect();
        let mut layer = Layer::new(space.len(), width);
        for olds in olds.chunks(BATCH) {
            let rows = olds.par_iter().map(|&(old, own)| self.row(space, old, own, width));
            let rows: Vec<Vec<u32>> = rows.collect();
            olds.iter().zip(rows).for_each(|(&(_, own), row)| layer.set(own, row.into_iter()));
        }
        layer
    }

    /// The entries that are left; for one that was dropped the nearest of its links that is left.
    fn entries(&self) -> Vec<u32> {
        let left = |&old: &u32| {
            let mut nearest = std::iter::once(&old).chain(self.graph.row(old));
            nearest.find_map(|&old| self.place(old))
        };
        let mut entries: Vec<u32> = self.graph.entries.iter().filter_map(left).collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    }

    /// New positions, ascending.
    fn fresh(&self, rows: u32) -> Vec<u32> {
        let mut carried = vec![false; rows as usize];
        for &place in self.places.iter().filter(|&&place| place != GONE) {
            carried[place as usize] = true;
        }
        (0..rows).filter(|&at| !carried[at as usize]).collect()
    }
}

/// As [`build`](super::build::build), from an inherited graph. The same for any number of threads.
pub fn grow(
    codes: &Rows,
    encoding: Encoding,
    (build, inherited, basis): (BuildParams, Inherited, Option<Basis>),
    progress: &Progress<'_>,
) -> Result<BuiltGraph, IndexError> {
    let params = build.graph;
    params.check()?;
    let report = Report { progress, total: u64::from(codes.len()) };
    report.share(0.0)?;
    let space = Space::new(codes, encoding);
    let fresh = inherited.fresh(space.len());
    let nav = NavCodes::inherit(&space, codes, (basis, &fresh), build);
    report.share(0.1)?;
    let width = params.base_links();
    let mut layer = inherited.layer(&space, width);
    report.share(0.25)?;
    let mut known = inherited.entries();
    let start = inherited.place(inherited.graph.entry);
    let start = start.unwrap_or_else(|| any_start(space.len(), params.seed));
    drop(inherited);
    if !fresh.is_empty() {
        known.extend(some_entries(&fresh, params.seed));
        let among = link(&space.among(&fresh), width, params.seed);
        for (at, &own) in (0_u32..).zip(&fresh) {
            layer.set(own, among.linked(at).iter().map(|&link| fresh[link as usize]));
        }
        drop(among);
        report.share(0.35)?;
        let rows = nav.as_ref().map(NavCodes::rows);
        let ef = params.ef_construction as usize;
        let refine = Refine { space: &space, nav: rows, layer: &layer, start, ef };
        let len = fresh.len() as u64;
        let forward = refine.run(&fresh, &|done| report.within(0.35, 0.8, done, len))?;
        attach(&space, &mut layer, &fresh, forward);
    }
    let is_whole = repair(&mut layer, start);
    let entries = all_entries((&space, nav.as_ref()), &layer, known, &fresh, &report)?;
    if !is_whole {
        lead_to_all(&mut layer, start, &entries);
    }
    assemble((&space, nav), layer, (start, entries), (params, &report))
}
