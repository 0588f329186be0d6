//! From the links each position selects to the rows of a level: links back are added, and rows
//! that get too many are selected again.

use std::ops::Range;

use rayon::prelude::*;

use super::layer::Layer;
use super::pool::Scored;
use super::select::Selection;
use super::selected::{BATCH, Selected};
use super::space::Space;

/// Fills a level from the selection of each position. Only diverse links are answered by a link
/// back; the fill makes up what a row then lacks. The same for any number of threads.
pub fn connect(space: &Space<'_>, forward: Selected) -> Layer {
    let positions: Vec<u32> = (0..space.len()).collect();
    let back = Back::new(space, &positions, &forward);
    answered(space, &positions, forward, &back).into_layer()
}

/// Puts new positions with what they selected into a level whose other rows stand. Those of
/// them that get links back are selected again.
pub fn attach(space: &Space<'_>, layer: &mut Layer, positions: &[u32], forward: Selected) {
    let back = Back::new(space, positions, &forward);
    let new = answered(space, positions, forward, &back);
    let mut is_new = vec![false; space.len() as usize];
    positions.iter().for_each(|&id| is_new[id as usize] = true);
    let touched = (0..space.len()).filter(|&id| !is_new[id as usize] && back.leads_to(id));
    let touched: Vec<u32> = touched.collect();
    let width = layer.width();
    for touched in touched.chunks(BATCH) {
        let select = |&id: &u32| {
            let mut ids: Vec<u32> = back.to(id).iter().map(|link| link.id).collect();
            ids.extend(layer.linked(id));
            ids.sort_unstable();
            ids.dedup();
            Selection::new(space, &space.ranked(id, &ids), width)
        };
        let rows: Vec<Selection> = touched.par_iter().map(select).collect();
        for (&id, row) in touched.iter().zip(rows) {
            layer.set(id, row.links.iter().map(|link| link.id));
        }
    }
    for (at, &id) in positions.iter().enumerate() {
        layer.set(id, new.links(at).map(|link| link.id));
    }
}

/// The rows of positions, given what they selected and the links back.
fn answered(space: &Space<'_>, positions: &[u32], mut forward: Selected, back: &Back) -> Selected {
    let width = forward.width();
    let rows = |own: &Selected, places: Range<usize>| {
        let row = |at| row(space, own.selection(at), &back.to(positions[at]), width);
        places.map(row).collect()
    };
    forward.replace(rows);
    forward
}

/// Links back, by where they start.
struct Back {
    /// Where the links of each position begin, and the end of the last.
    starts: Vec<usize>,
    links: Vec<Scored>,
}

impl Back {
    /// Those that answer the diverse links of `positions`.
    fn new(space: &Space<'_>, positions: &[u32], forward: &Selected) -> Self {
        let mut starts = vec![0_usize; space.len() as usize + 1];
        let diverse = |at: usize| forward.diverse(at);
        (0..forward.len()).flat_map(diverse).for_each(|link| starts[link.id as usize] += 1);
        let mut total = 0;
        for start in &mut starts {
            total += *start;
            *start = total;
        }
        let mut links = vec![Scored { score: 0.0, id: 0 }; total];
        for (at, &from) in positions.iter().enumerate() {
            for link in forward.diverse(at) {
                // Each group is filled from its end, which leaves its start here.
                let place = &mut starts[link.id as usize];
                *place -= 1;
                links[*place] = Scored { score: link.score, id: from };
            }
        }
        Self { starts, links }
    }

    /// Those of one position, best first.
    fn to(&self, id: u32) -> Vec<Scored> {
        let id = id as usize;
        let mut links = self.links[self.starts[id]..self.starts[id + 1]].to_vec();
        links.sort_unstable_by(Scored::rank);
        links
    }

    /// Whether there are some.
    fn leads_to(&self, id: u32) -> bool {
        self.starts[id as usize] < self.starts[id as usize + 1]
    }
}

/// One row: the diverse links, those that came back, and then the fill.
fn row(space: &Space<'_>, own: Selection, back: &[Scored], width: usize) -> Selection {
    let (diverse, fill) = own.links.split_at(own.diverse);
    let mut links = diverse.to_vec();
    let is_new = |links: &[Scored], id: u32| links.iter().all(|known| known.id != id);
    for link in back {
        if is_new(diverse, link.id) {
            links.push(*link);
        }
    }
    links.sort_unstable_by(Scored::rank);
    if links.len() > width {
        return Selection::new(space, &links, width);
    }
    let diverse = links.len();
    for link in fill {
        if links.len() < width && is_new(&links, link.id) {
            links.push(*link);
        }
    }
    Selection { links, diverse }
}
