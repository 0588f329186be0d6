//! One level of a graph while it is built: for each node its links, their scores and how many
//! of them are diverse. Costs `width * 8 + 2` bytes a node.

use super::pool::Scored;
use super::select::Selection;
use super::walk::Adjacency;
use crate::kernels::prefetch;

/// Links of `len` nodes, at most `width` each.
#[derive(Debug)]
pub struct Layer {
    width: usize,
    ids: Vec<u32>,
    scores: Vec<f32>,
    /// Links and diverse links of each node; `width` is at most 128.
    counts: Vec<(u8, u8)>,
}

impl Layer {
    pub fn new(len: u32, width: usize) -> Self {
        let len = len as usize;
        Self {
            width,
            ids: vec![0; len * width],
            scores: vec![0.0; len * width],
            counts: vec![(0, 0); len],
        }
    }

    pub fn node_count(&self) -> u32 {
        self.counts.len() as u32
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn linked(&self, id: u32) -> &[u32] {
        let start = id as usize * self.width;
        &self.ids[start..start + usize::from(self.counts[id as usize].0)]
    }

    pub fn selection(&self, id: u32) -> Selection {
        let ids = self.linked(id);
        let scores = &self.scores[id as usize * self.width..];
        let links = ids.iter().zip(scores).map(|(&id, &score)| Scored { score, id }).collect();
        Selection { links, diverse: usize::from(self.counts[id as usize].1) }
    }

    pub fn set(&mut self, id: u32, selection: &Selection) {
        let start = id as usize * self.width;
        for (at, link) in selection.links.iter().take(self.width).enumerate() {
            self.ids[start + at] = link.id;
            self.scores[start + at] = link.score;
        }
        let len = selection.links.len().min(self.width);
        self.counts[id as usize] = (len as u8, selection.diverse.min(len) as u8);
    }

    /// Puts one more link in the last place of a row, instead of what is there when it is full.
    pub fn replace_last(&mut self, id: u32, link: u32, score: f32) {
        let (len, diverse) = &mut self.counts[id as usize];
        let full = usize::from(*len) == self.width;
        let at = id as usize * self.width + usize::from(*len) - usize::from(full);
        self.ids[at] = link;
        self.scores[at] = score;
        *len += u8::from(!full);
        *diverse = (*diverse).min(*len - 1);
    }

    /// The rows as they are stored: the ids, a missing link replaced by the node itself. The
    /// scores are dropped first.
    pub fn into_padded(self) -> Vec<u32> {
        let Self { width, mut ids, scores, counts } = self;
        drop(scores);
        for (id, (row, (len, _))) in ids.chunks_mut(width).zip(counts).enumerate() {
            row[usize::from(len)..].fill(id as u32);
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
