//! Building a graph: HNSW by batch insertion, in parallel and yet deterministic.
//!
//! Nodes are inserted highest level first, otherwise in a random order fixed by the seed, so the
//! entry never changes and upper levels are done first. Each batch is small beside what is
//! already in; its nodes are searched for on the frozen graph in parallel, and then the links
//! back to them are applied grouped by target, in parallel again (as ParlayANN does). No locks,
//! and the same graph for any number of threads.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::IndexError;
use super::layer::Layer;
use super::params::{GraphHeader, GraphParams, MAX_LEVELS, Progress};
use super::pool::Scored;
use super::reach::repair;
use super::scratch::{Scratch, ScratchPool};
use super::select::Selection;
use super::walk::{Scorer, climb, touch_row, walk};
use crate::vectors::code::CodeRow;
use crate::vectors::{Encoding, Metric, Rows, finite};

/// A batch is at most this fraction of the nodes already inserted ...
const BATCH_SHARE: u32 = 16;
/// ... and at most this many nodes, which bounds the memory of the links back.
const MAX_BATCH: u32 = 4_096;

/// A graph in memory, words in host order.
#[derive(Debug)]
pub struct BuiltGraph {
    pub header: GraphHeader,
    /// Base rows, `2 * m` positions each.
    pub links: Vec<u32>,
    /// Upper rows: node, down, `m` links each.
    pub upper: Vec<u32>,
}

/// Builds the graph of `codes` in the current rayon pool. Peak memory beside the codes: links
/// and scores, `m * 16` bytes a row.
pub fn build(
    codes: &Rows,
    encoding: Encoding,
    params: GraphParams,
    progress: &Progress<'_>,
) -> Result<BuiltGraph, IndexError> {
    params.check()?;
    let mut builder = Builder::new(Space::new(codes, encoding), params);
    let total = codes.len();
    let mut done = 0;
    while done < total {
        if progress(u64::from(done), u64::from(total)).is_break() {
            return Err(IndexError::Cancelled);
        }
        let batch = (done / BATCH_SHARE).clamp(1, MAX_BATCH).min(total - done);
        builder.insert(done, done + batch);
        done += batch;
    }
    if progress(u64::from(total), u64::from(total)).is_break() {
        return Err(IndexError::Cancelled);
    }
    Ok(builder.finish())
}

/// The codes as a space of comparable positions.
///
/// Under the dot product a graph built by plain scores leaves short vectors unreachable, because
/// every node prefers to link to long ones. So nodes are compared as if each had one more
/// coordinate that brings all to the largest norm (Neyshabur and Srebro, 2015); queries, whose
/// coordinate would be zero, score as before.
#[derive(Clone, Copy)]
struct Space<'a> {
    codes: &'a Rows,
    encoding: Encoding,
    /// Largest squared norm, under the dot product only.
    max_norm_sq: Option<f32>,
}

impl<'a> Space<'a> {
    fn new(codes: &'a Rows, encoding: Encoding) -> Self {
        let mut space = Self { codes, encoding, max_norm_sq: None };
        if encoding.metric() == Metric::Dot {
            let norms = (0..codes.len()).into_par_iter().filter_map(|at| space.row(at));
            space.max_norm_sq = Some(norms.map(|row| row.norm_sq).reduce(|| 0.0, f32::max));
        }
        space
    }

    fn row(&self, position: u32) -> Option<CodeRow<'a>> {
        CodeRow::read(self.codes.row(position)?, self.encoding.dim())
    }

    fn score(&self, row: &CodeRow<'_>, position: u32) -> f32 {
        let Some(other) = self.row(position) else { return f32::MIN };
        let score = row.score(&other, self.encoding.metric());
        match self.max_norm_sq {
            None => score,
            Some(max) => {
                let missing = |norm_sq: f32| (max - norm_sq).max(0.0).sqrt();
                finite(score + missing(row.norm_sq) * missing(other.norm_sq))
            }
        }
    }

    fn pair(&self, a: u32, b: u32) -> f32 {
        self.row(a).map_or(f32::MIN, |row| self.score(&row, b))
    }
}

/// Scores ids of one level against the node being inserted. Ids are positions at the base and
/// ranks (places in the insertion order) above it.
struct NodeScorer<'a> {
    space: Space<'a>,
    row: CodeRow<'a>,
    order: Option<&'a [u32]>,
}

impl Scorer for NodeScorer<'_> {
    fn score(&self, id: u32) -> f32 {
        self.space.score(&self.row, name(self.order, id))
    }

    fn touch(&self, id: u32) -> u8 {
        touch_row(self.space.codes.row(name(self.order, id)))
    }
}

/// The position that `id` stands for.
fn name(order: Option<&[u32]>, id: u32) -> u32 {
    order.map_or(id, |order| order[id as usize])
}

/// The links selected for one new node, lowest level first.
type NodeLinks = Vec<Selection>;

struct Builder<'a> {
    space: Space<'a>,
    params: GraphParams,
    /// Positions in the order of insertion, highest level first.
    order: Vec<u32>,
    /// The base, then the upper levels. Level `l` holds the first `layers[l].len()` ranks.
    layers: Vec<Layer>,
    scratches: ScratchPool,
}

impl<'a> Builder<'a> {
    fn new(space: Space<'a>, params: GraphParams) -> Self {
        let (order, counts) = insertion_order(space.codes.len(), params);
        let layers = counts
            .iter()
            .enumerate()
            .map(|(level, &len)| match level {
                0 => Layer::new(len, params.base_links()),
                _ => Layer::new(len, params.m as usize),
            })
            .collect();
        Self { space, params, order, layers, scratches: ScratchPool::default() }
    }

    /// How the ids of a level are named; the base uses positions themselves.
    fn names(&self, level: usize) -> Option<&[u32]> {
        (level > 0).then_some(self.order.as_slice())
    }

    fn id_at(&self, level: usize, rank: u32) -> u32 {
        if level == 0 { self.order[rank as usize] } else { rank }
    }

    /// Inserts the ranks from `start` to `end`.
    fn insert(&mut self, start: u32, end: u32) {
        let this = &*self;
        let selected: Vec<NodeLinks> = (start..end)
            .into_par_iter()
            .map(|rank| this.scratches.with(|scratch| this.select(rank, start, scratch)))
            .collect();
        for level in 0..self.layers.len() {
            let nodes: Vec<(u32, &Selection)> = (start..end)
                .zip(&selected)
                .filter_map(|(rank, links)| Some((self.id_at(level, rank), links.get(level)?)))
                .collect();
            self.connect(level, &nodes);
        }
    }

    /// Searches for the node of `rank` among the `inserted` ranks and selects its links.
    fn select(&self, rank: u32, inserted: u32, scratch: &mut Scratch) -> NodeLinks {
        let Some(row) = self.space.row(self.order[rank as usize]) else { return Vec::new() };
        let levels = self.layers.iter().filter(|layer| rank < layer.node_count()).count();
        let mut selected = vec![Selection::default(); levels];
        if inserted == 0 {
            return selected;
        }
        let mut entry = 0;
        for (level, layer) in self.layers.iter().enumerate().rev() {
            let order = self.names(level);
            let scorer = NodeScorer { space: self.space, row, order };
            let start = if level == 0 { self.order[entry as usize] } else { entry };
            let Some(selection) = selected.get_mut(level) else {
                entry = climb(&scorer, layer, start, &mut scratch.links);
                continue;
            };
            let ef = self.params.ef_construction as usize;
            walk(&scorer, layer, start, ef, scratch, |_| {});
            let pair = |a, b| self.space.pair(name(order, a), name(order, b));
            *selection = Selection::new(scratch.pool.iter(), layer.width(), pair);
            entry = scratch.pool.iter().next().map_or(entry, |best| best.id);
        }
        selected
    }

    /// Writes the links of new nodes into a level, and the links back to them.
    fn connect(&mut self, level: usize, nodes: &[(u32, &Selection)]) {
        let mut back: Vec<(u32, Scored)> = Vec::new();
        for (id, selection) in nodes {
            self.layers[level].set(*id, selection);
            let reverse = |link: &Scored| (link.id, Scored { score: link.score, id: *id });
            back.extend(selection.links.iter().map(reverse));
        }
        back.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.rank(&b.1)));
        let groups: Vec<&[(u32, Scored)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
        let (layer, order) = (&self.layers[level], self.names(level));
        let pair = |a, b| self.space.pair(name(order, a), name(order, b));
        let updated: Vec<(u32, Selection)> = groups
            .par_iter()
            .filter_map(|group| {
                let target = group.first()?.0;
                let mut selection = layer.selection(target);
                for (_, link) in group.iter() {
                    selection.offer(*link, layer.width(), pair);
                }
                Some((target, selection))
            })
            .collect();
        for (id, selection) in &updated {
            self.layers[level].set(*id, selection);
        }
    }

    fn finish(self) -> BuiltGraph {
        let Self { params, order, mut layers, .. } = self;
        if let (Some(base), Some(&entry)) = (layers.first_mut(), order.first()) {
            repair(base, entry);
        }
        let upper_layers = layers.split_off(layers.len().min(1));
        let header = GraphHeader {
            entry: order.first().copied().unwrap_or(0),
            level_counts: upper_layers.iter().rev().map(Layer::node_count).collect(),
            m: params.m,
            ef_construction: params.ef_construction,
            seed: params.seed,
        };
        let upper = upper_rows(upper_layers, &order, params.m as usize);
        let links = layers.pop().map(Layer::into_padded).unwrap_or_default();
        BuiltGraph { header, links, upper }
    }
}

/// The upper section: levels from the top down, links as row indexes of the whole section.
fn upper_rows(layers: Vec<Layer>, order: &[u32], m: usize) -> Vec<u32> {
    let rows: usize = layers.iter().map(|layer| layer.node_count() as usize).sum();
    let mut out = Vec::with_capacity(rows * (m + 2));
    let mut first = 0;
    for (above, layer) in layers.into_iter().enumerate().rev() {
        let below = first + layer.node_count();
        for (rank, row) in (0_u32..).zip(layer.into_padded().chunks(m)) {
            let node = order[rank as usize];
            out.extend([node, if above == 0 { node } else { below + rank }]);
            out.extend(row.iter().map(|link| first + link));
        }
        first = below;
    }
    out
}

/// The positions in the order of insertion, and the number of nodes of each level from the base
/// up. A node reaches each further level with probability `1 / m`; integer arithmetic only, so
/// that every host draws the same levels.
fn insertion_order(len: u32, params: GraphParams) -> (Vec<u32>, Vec<u32>) {
    let mut keys: Vec<(Reverse<usize>, u64, u32)> = (0..len)
        .map(|position| {
            let mut draw = mix(params.seed ^ mix(u64::from(position)));
            let shuffle = draw;
            let mut level = 0;
            while level < MAX_LEVELS {
                draw = mix(draw);
                if draw >= u64::MAX / u64::from(params.m) {
                    break;
                }
                level += 1;
            }
            (Reverse(level), shuffle, position)
        })
        .collect();
    keys.par_sort_unstable();
    let top = keys.first().map_or(0, |key| key.0.0);
    let reaching = |level| keys.partition_point(|key| key.0.0 >= level) as u32;
    let counts = (0..=top).map(reaching).collect();
    (keys.into_iter().map(|key| key.2).collect(), counts)
}

/// The splitmix64 step.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_a_permutation_with_shrinking_levels() {
        let (mut order, counts) = insertion_order(10_000, GraphParams::default());
        assert_eq!(counts[0], 10_000);
        assert!(counts.is_sorted_by(|a, b| a > b));
        assert!((500..760).contains(&counts[1]), "about 1 in 16, got {}", counts[1]);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..10_000));
    }
}
