//! What many nodes select to be linked to, with scores: one array for all, as a list of its own
//! for each takes about twice as much. Costs `width * 8 + 2` bytes a node.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::Range;

use rayon::prelude::*;

use super::layer::Layer;
use super::pool::Scored;
use super::select::Selection;

/// Nodes whose new links wait in memory, at about 300 bytes each.
pub const BATCH: usize = 16_384;
/// Nodes whose new links are found by one task.
pub const TASK: usize = 128;

/// Rows of links, best first, and how many of each are diverse.
#[derive(Debug)]
pub struct Selected {
    width: usize,
    ids: Vec<u32>,
    scores: Vec<f32>,
    /// Links and diverse links of each node; `width` is at most 128.
    counts: Vec<(u8, u8)>,
}

impl Selected {
    /// Nodes without links.
    pub fn new(len: usize, width: usize) -> Self {
        let (ids, scores) = (vec![0; len * width], vec![0.0; len * width]);
        Self { width, ids, scores, counts: vec![(0, 0); len] }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Places of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The links of a node, in the order that [`Selected::set`] was given.
    pub fn links(&self, at: usize) -> impl Iterator<Item = Scored> + '_ {
        let (start, count) = (at * self.width, usize::from(self.counts[at].0));
        let ids = &self.ids[start..start + count];
        ids.iter().zip(&self.scores[start..]).map(|(&id, &score)| Scored { score, id })
    }

    /// The diverse ones among them, which come first.
    pub fn diverse(&self, at: usize) -> impl Iterator<Item = Scored> + '_ {
        self.links(at).take(usize::from(self.counts[at].1))
    }

    /// What was set.
    pub fn selection(&self, at: usize) -> Selection {
        let diverse = usize::from(self.counts[at].1);
        Selection { links: self.links(at).collect(), diverse }
    }

    /// Sets the links of a node; what is more than fits a row is left out.
    pub fn set(&mut self, at: usize, selection: &Selection) {
        let start = at * self.width;
        for (place, link) in selection.links.iter().take(self.width).enumerate() {
            self.ids[start + place] = link.id;
            self.scores[start + place] = link.score;
        }
        let len = selection.links.len().min(self.width);
        self.counts[at] = (len as u8, selection.diverse.min(len) as u8);
    }

    /// Sets the links of all nodes, those of [`TASK`] nodes by one call of `new`, in parallel.
    /// `new` may read what the same nodes had.
    pub fn replace(&mut self, new: impl Fn(&Self, Range<usize>) -> Vec<Selection> + Sync) {
        let Ok(()) = self.try_replace(new, |_| Ok::<(), Infallible>(()));
    }

    /// [`Selected::replace`], ended by an error of `report`, which is told how many are done.
    pub fn try_replace<E>(
        &mut self,
        new: impl Fn(&Self, Range<usize>) -> Vec<Selection> + Sync,
        mut report: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let len = self.len();
        for first in (0..len).step_by(BATCH) {
            let end = (first + BATCH).min(len);
            let (now, tasks) = (&*self, (first..end).into_par_iter().step_by(TASK));
            let new = |at: usize| new(now, at..(at + TASK).min(end));
            let selections: Vec<Vec<Selection>> = tasks.map(new).collect();
            debug_assert_eq!(selections.iter().map(Vec::len).sum::<usize>(), end - first);
            let selections = selections.iter().flatten();
            (first..end).zip(selections).for_each(|(at, selection)| self.set(at, selection));
            report(end)?;
        }
        Ok(())
    }

    /// Keeps the first `width` places of each row.
    pub fn narrow(&mut self, width: usize) {
        let (old, len) = (self.width, self.len());
        let width = width.min(old);
        for at in 0..len {
            self.ids.copy_within(at * old..at * old + width, at * width);
            self.scores.copy_within(at * old..at * old + width, at * width);
        }
        self.ids.truncate(len * width);
        self.ids.shrink_to_fit();
        self.scores.truncate(len * width);
        self.scores.shrink_to_fit();
        let most = width as u8;
        let cut = |(links, diverse): &mut (u8, u8)| {
            (*links, *diverse) = ((*links).min(most), (*diverse).min(most));
        };
        self.counts.iter_mut().for_each(cut);
        self.width = width;
    }

    /// The rows, so many in a part, to be filled by several threads.
    pub fn parts(&mut self, rows: usize) -> Vec<Part<'_>> {
        let width = self.width;
        let ids = self.ids.chunks_mut(rows * width);
        let scores = self.scores.chunks_mut(rows * width);
        let lists = ids.zip(scores).zip(self.counts.chunks_mut(rows));
        lists.map(|((ids, scores), counts)| Part { width, ids, scores, counts }).collect()
    }

    /// The links alone.
    pub fn into_layer(self) -> Layer {
        let Self { width, ids, scores, counts } = self;
        drop(scores);
        Layer::from_parts(width, ids, counts.into_iter().map(|(links, _)| links).collect())
    }
}

/// Some rows of [`Selected`], which keep the best of what they are offered.
pub struct Part<'a> {
    width: usize,
    ids: &'a mut [u32],
    scores: &'a mut [f32],
    counts: &'a mut [(u8, u8)],
}

impl Part<'_> {
    /// What the worst link of a full row scores: a new one that scores less is not kept.
    pub fn limit(&self, at: usize) -> f32 {
        match usize::from(self.counts[at].0) == self.width {
            true => self.scores[(at + 1) * self.width - 1],
            false => f32::NEG_INFINITY,
        }
    }

    /// Takes a link into a row, in its order, if it is among the best so far and not there: the
    /// same in whatever order links come.
    pub fn offer(&mut self, at: usize, new: Scored) {
        let (start, count) = (at * self.width, usize::from(self.counts[at].0));
        let ids = &mut self.ids[start..start + self.width];
        let scores = &mut self.scores[start..start + self.width];
        let better = |place: usize| Scored { score: scores[place], id: ids[place] }.rank(&new);
        if count == self.width && better(count - 1).is_le() {
            return;
        }
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            match better(middle) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return,
                Ordering::Greater => high = middle,
            }
        }
        let end = count.min(self.width - 1);
        ids.copy_within(low..end, low + 1);
        scores.copy_within(low..end, low + 1);
        (ids[low], scores[low]) = (new.id, new.score);
        self.counts[at].0 = (end + 1) as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_keeps_the_best_of_what_it_is_offered_once(
            offered in proptest::collection::vec(0_u32..40, 0..60), width in 1_usize..9,
        ) {
            // The score belongs to the id, and some ids share one.
            let of = |id: u32| Scored { score: (id / 3) as f32, id };
            let mut selected = Selected::new(3, width);
            let mut parts = selected.parts(2);
            offered.iter().for_each(|&id| parts[0].offer(1, of(id)));
            drop(parts);
            let mut expected: Vec<Scored> = offered.into_iter().map(of).collect();
            expected.sort_by(Scored::rank);
            expected.dedup();
            expected.truncate(width);
            prop_assert_eq!(selected.links(1).collect::<Vec<_>>(), expected);
            prop_assert_eq!(selected.links(0).count() + selected.links(2).count(), 0);
        }
    }

    #[test]
    fn narrow_rows_keep_their_first_links() {
        let mut selected = Selected::new(3, 4);
        for at in 0..3 {
            let link = |place: u32| Scored { score: -(place as f32), id: 10 * at + place };
            let links: Vec<Scored> = (0..=at + 1).map(link).collect();
            selected.set(at as usize, &Selection { links, diverse: at as usize + 1 });
        }
        selected.narrow(2);
        let ids = |at| selected.links(at).map(|link| link.id).collect::<Vec<_>>();
        assert_eq!([ids(0), ids(1), ids(2)], [[0, 1], [10, 11], [20, 21]]);
        assert_eq!([0, 1, 2].map(|at| selected.diverse(at).count()), [1, 2, 2]);
        assert_eq!(selected.into_layer().linked(2), [20, 21]);
    }
}
