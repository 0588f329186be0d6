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
    let mut back: Vec<(u32, Scored)> = forward
        .par_iter()
        .enumerate()
        .flat_map_iter(|(from, selection)| {
            let diverse = &selection.links[..selection.diverse];
            diverse.iter().map(move |link| (link.id, Scored { score: link.score, id: from as u32 }))
        })
        .collect();
    back.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.rank(&b.1)));
    let starts: Vec<usize> =
        (0..=forward.len() as u32).map(|id| back.partition_point(|link| link.0 < id)).collect();
    let rows: Vec<Selection> = forward
        .into_par_iter()
        .enumerate()
        .map(|(id, own)| row(space, own, &back[starts[id]..starts[id + 1]], width))
        .collect();
    let mut layer = Layer::new(space.len(), width);
    for (id, selection) in (0_u32..).zip(&rows) {
        layer.set(id, selection);
    }
    layer
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
