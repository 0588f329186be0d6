//! From the links each position selects to the rows of a level: links back are added, and rows
//! that get too many are selected again.

use rayon::prelude::*;

use super::layer::Layer;
use super::pool::Scored;
use super::select::Selection;
use super::space::Space;

/// Fills a level from the selection of each position. Only diverse links are answered by a link
/// back; the fill makes up what a row then lacks. The same for any number of threads.
pub fn connect(space: &Space<'_>, forward: Vec<Selection>, width: usize) -> Layer {
    let positions: Vec<u32> = (0..space.len()).collect();
    let back = Back::new(&positions, &forward);
    let rows: Vec<Selection> = forward
        .into_par_iter()
        .enumerate()
        .map(|(id, own)| row(space, own, back.to(id as u32), width))
        .collect();
    let mut layer = Layer::new(space.len(), width);
    for (id, selection) in (0_u32..).zip(&rows) {
        layer.set(id, selection);
    }
    layer
}

/// Puts new positions with what they selected into a level whose other rows stand. Those of
/// them that get links back are selected again.
pub fn attach(space: &Space<'_>, layer: &mut Layer, positions: &[u32], forward: Vec<Selection>) {
    let width = layer.width();
    let back = Back::new(positions, &forward);
    let new: Vec<Selection> = forward
        .into_par_iter()
        .zip(positions)
        .map(|(own, &id)| row(space, own, back.to(id), width))
        .collect();
    let mut is_new = vec![false; space.len() as usize];
    positions.iter().for_each(|&id| is_new[id as usize] = true);
    let touched = back.targets().into_iter().filter(|&id| !is_new[id as usize]);
    let touched: Vec<u32> = touched.collect();
    let old: Vec<Selection> = touched
        .par_iter()
        .map(|&id| {
            let mut ids: Vec<u32> = back.to(id).iter().map(|(_, link)| link.id).collect();
            ids.extend(layer.linked(id));
            ids.sort_unstable();
            ids.dedup();
            Selection::new(space, &space.ranked(id, &ids), width)
        })
        .collect();
    let rows = positions.iter().zip(&new).chain(touched.iter().zip(&old));
    rows.for_each(|(&id, row)| layer.set(id, row));
}

/// Links back, by where they start.
struct Back(Vec<(u32, Scored)>);

impl Back {
    /// Those that answer the diverse links of `positions`.
    fn new(positions: &[u32], forward: &[Selection]) -> Self {
        let mut back: Vec<(u32, Scored)> = forward
            .par_iter()
            .zip(positions)
            .flat_map_iter(|(selection, &from)| {
                let diverse = &selection.links[..selection.diverse];
                diverse.iter().map(move |link| (link.id, Scored { score: link.score, id: from }))
            })
            .collect();
        back.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.rank(&b.1)));
        Self(back)
    }

    /// Those of one position, best first.
    fn to(&self, id: u32) -> &[(u32, Scored)] {
        let first = self.0.partition_point(|link| link.0 < id);
        let count = self.0[first..].iter().take_while(|link| link.0 == id).count();
        &self.0[first..first + count]
    }

    /// The positions they start at, ascending.
    fn targets(&self) -> Vec<u32> {
        let mut targets: Vec<u32> = self.0.iter().map(|link| link.0).collect();
        targets.dedup();
        targets
    }
}

/// One row: the diverse links, those that came back, and then the fill.
fn row(space: &Space<'_>, own: Selection, back: &[(u32, Scored)], width: usize) -> Selection {
    let (diverse, fill) = own.links.split_at(own.diverse);
    let mut links = diverse.to_vec();
    let is_new = |links: &[Scored], id: u32| links.iter().all(|known| known.id != id);
    for (_, link) in back {
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
