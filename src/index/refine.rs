//! Better links for some positions: a walk for each over a finished level, and a selection from
//! all that it met.

use std::ops::Range;

use super::IndexError;
use super::layer::Layer;
use super::nav::NavRows;
use super::pool::Scored;
use super::scratch::{Scratch, ScratchPool};
use super::select::Selection;
use super::selected::Selected;
use super::space::{Point, Space};
use super::walk::{Scorer, walk};

/// One pass of refinement.
pub struct Refine<'a> {
    pub space: &'a Space<'a>,
    pub nav: Option<NavRows<'a>>,
    pub layer: &'a Layer,
    /// Where all walks start: far from most positions, so that a walk also meets what links
    /// between clusters need. A walk that also started next to its position would be full of
    /// what it knows already, and never leave.
    pub start: u32,
    /// Candidates of a walk.
    pub ef: usize,
}

impl Refine<'_> {
    /// The new links of each position, in the order given; `report` is told how many are done.
    pub fn run(
        &self,
        positions: &[u32],
        report: &dyn Fn(u64) -> Result<(), IndexError>,
    ) -> Result<Selected, IndexError> {
        let scratches = ScratchPool::default();
        let mut selected = Selected::new(positions.len(), self.layer.width());
        let select = |_: &Selected, places: Range<usize>| {
            scratches.with(|scratch| self.select(&positions[places], scratch))
        };
        selected.try_replace(select, |done| report(done as u64))?;
        Ok(selected)
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
        let linked = self.layer.linked(position);
        walk(scorer, self.layer, &[self.start], self.ef, scratch);
        let met = scratch.pool.iter().map(|scored| scored.id);
        let mut ids: Vec<u32> = met
            .chain(scratch.trail.iter().copied())
            .chain(linked.iter().copied())
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
