//! One level of a graph while it is built: for each node the nodes it is linked to. Costs
//! `width * 4 + 1` bytes a node.

use super::walk::Adjacency;
use crate::kernels::prefetch;

/// Links of `len` nodes, at most `width` each.
#[derive(Debug)]
pub struct Layer {
    width: usize,
    ids: Vec<u32>,
    /// Links of each node; `width` is at most 128.
    counts: Vec<u8>,
}

impl Layer {
    /// Nodes without links.
    pub fn new(len: u32, width: usize) -> Self {
        let len = len as usize;
        Self::from_parts(width, vec![0; len * width], vec![0; len])
    }

    /// Rows of `width` places, of which the first `counts` are taken.
    pub fn from_parts(width: usize, ids: Vec<u32>, counts: Vec<u8>) -> Self {
        Self { width, ids, counts }
    }

    /// The same links where node `at` has the number `order[at]`.
    pub fn renumbered(self, order: &[u32]) -> Self {
        let mut layer = Self::new(self.node_count(), self.width);
        for (at, &id) in order.iter().enumerate() {
            layer.set(id, self.linked(at as u32).iter().map(|&link| order[link as usize]));
        }
        layer
    }

    pub fn node_count(&self) -> u32 {
        self.counts.len() as u32
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn linked(&self, id: u32) -> &[u32] {
        let start = id as usize * self.width;
        &self.ids[start..start + usize::from(self.counts[id as usize])]
    }

    pub fn set(&mut self, id: u32, links: impl Iterator<Item = u32>) {
        let start = id as usize * self.width;
        let mut count = 0;
        for (place, link) in self.ids[start..start + self.width].iter_mut().zip(links) {
            *place = link;
            count += 1;
        }
        self.counts[id as usize] = count;
    }

    /// Puts one more link in the last place of a row, instead of what is there when it is full.
    pub fn replace_last(&mut self, id: u32, link: u32) {
        let count = &mut self.counts[id as usize];
        let full = usize::from(*count) == self.width;
        let at = id as usize * self.width + usize::from(*count) - usize::from(full);
        self.ids[at] = link;
        *count += u8::from(!full);
    }

    /// The rows as they are stored: a missing link is replaced by the node itself.
    pub fn into_padded(self) -> Vec<u32> {
        let Self { width, mut ids, counts } = self;
        for (id, (row, count)) in ids.chunks_mut(width).zip(counts).enumerate() {
            row[usize::from(count)..].fill(id as u32);
        }
        ids
    }
}

impl Adjacency for Layer {
    fn len(&self) -> u32 {
        self.node_count()
    }

    #[inline]
    fn each_link(&self, id: u32, visit: impl FnMut(u32)) {
        self.linked(id).iter().copied().for_each(visit);
    }

    #[inline]
    fn prefetch(&self, id: u32) {
        prefetch(bytemuck::cast_slice(self.linked(id)));
    }
}
