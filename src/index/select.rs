//! Which links a node keeps (Malkov and Yashunin, algorithm 4, with the pruned ones kept).
//!
//! A candidate is *diverse* when no diverse link closer to the node is at least as close to the
//! candidate as the node is. Diverse links come first; the rest of the row is filled with the
//! best of the others, because a full row costs the same to read and finds more.

use super::pool::Scored;

/// The links of one node: the diverse ones best first, then the fill, best first.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub links: Vec<Scored>,
    pub diverse: usize,
}

impl Selection {
    /// Selects at most `width` of `candidates`, which come best first without repetition.
    /// `pair` scores two candidates against each other.
    pub fn new(
        candidates: impl Iterator<Item = Scored>,
        width: usize,
        pair: impl Fn(u32, u32) -> f32,
    ) -> Self {
        let mut links: Vec<Scored> = Vec::with_capacity(width);
        let mut fill = Vec::with_capacity(width);
        for candidate in candidates {
            if links.len() == width {
                break;
            }
            if links.iter().any(|kept| pair(kept.id, candidate.id) >= candidate.score) {
                if fill.len() < width {
                    fill.push(candidate);
                }
            } else {
                links.push(candidate);
            }
        }
        let diverse = links.len();
        links.extend(fill.into_iter().take(width - diverse));
        Self { links, diverse }
    }

    /// Offers one more link, keeping at most `width`. Costs about one score per diverse link,
    /// a tenth of selecting anew; a link that a demoted one had pruned stays in the fill.
    pub fn offer(&mut self, new: Scored, width: usize, pair: impl Fn(u32, u32) -> f32) {
        if self.links.iter().any(|kept| kept.id == new.id) {
            return;
        }
        let (diverse, fill) = self.links.split_at(self.diverse);
        let closer = diverse.partition_point(|kept| kept.rank(&new).is_lt());
        let pruned = diverse[..closer].iter().any(|kept| pair(kept.id, new.id) >= new.score);
        if pruned {
            let at = self.diverse + fill.partition_point(|kept| kept.rank(&new).is_lt());
            self.links.insert(at, new);
        } else {
            self.links.insert(closer, new);
            self.diverse += 1;
            self.demote_after(closer, new, pair);
        }
        self.links.truncate(width);
        self.diverse = self.diverse.min(width);
    }

    /// Moves the diverse links behind `at` that `new` prunes into the fill.
    fn demote_after(&mut self, at: usize, new: Scored, pair: impl Fn(u32, u32) -> f32) {
        let mut next = at + 1;
        while next < self.diverse {
            let link = self.links[next];
            if pair(new.id, link.id) >= link.score {
                self.links.remove(next);
                self.diverse -= 1;
                let fill = &self.links[self.diverse..];
                let to = self.diverse + fill.partition_point(|kept| kept.rank(&link).is_lt());
                self.links.insert(to, link);
            } else {
                next += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line around a node at 0; the score is the negative distance.
    fn near(points: &[f32]) -> Vec<Scored> {
        let mut links: Vec<Scored> = points
            .iter()
            .enumerate()
            .map(|(id, x)| Scored { score: -x.abs(), id: id as u32 })
            .collect();
        links.sort_by(Scored::rank);
        links
    }

    fn ids(selection: &Selection) -> Vec<u32> {
        selection.links.iter().map(|link| link.id).collect()
    }

    const POINTS: [f32; 5] = [1.0, 1.5, -2.0, 3.0, -2.5];

    fn pair(a: u32, b: u32) -> f32 {
        -(POINTS[a as usize] - POINTS[b as usize]).abs()
    }

    #[test]
    fn one_link_a_direction_is_diverse_and_the_nearest_of_the_rest_fill() {
        let selection = Selection::new(near(&POINTS).into_iter(), 4, pair);
        assert_eq!((ids(&selection), selection.diverse), (vec![0, 2, 1, 4], 2));
    }

    #[test]
    fn offering_one_by_one_in_any_order_selects_the_same() {
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 1, 2]] {
            let mut selection = Selection::default();
            for id in order {
                let score = -POINTS[id as usize].abs();
                selection.offer(Scored { score, id }, 4, pair);
                selection.offer(Scored { score, id }, 4, pair);
            }
            assert_eq!((ids(&selection), selection.diverse), (vec![0, 2, 1, 4], 2));
        }
    }
}
