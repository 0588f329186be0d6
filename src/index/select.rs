//! Which links a node keeps: as spread as possible, and never fewer than fit a row.
//!
//! A candidate is *diverse* when no link that is closer to the node is also closer to the
//! candidate than the node is (Malkov and Yashunin, 2018, algorithm 4). The rest of a row is
//! filled with candidates that fail this by little, then by more (SymphonyQG, Gou et al., 2025,
//! fills by a relaxed angle as well), then with the nearest: a full row costs no more to read,
//! and filling with the nearest alone lost whole clusters.

use super::pool::Scored;
use super::space::{Point, Space};

/// How much closer than the node another link must be to exclude a candidate, in distances
/// squared, one round after the other.
const RELAXED: [f32; 4] = [1.0, 1.03, 1.06, 1.1];

/// The links of one node: the diverse ones best first, then the fill.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub links: Vec<Scored>,
    pub diverse: usize,
}

impl Selection {
    /// Selects at most `width` of `candidates`, which come best first without repetition. Costs
    /// up to `candidates * width` products.
    pub fn new(space: &Space<'_>, candidates: &[Scored], width: usize) -> Self {
        let mut links: Vec<Scored> = Vec::with_capacity(width);
        let mut points: Vec<Point<'_>> = Vec::with_capacity(width);
        let mut left = candidates.to_vec();
        let mut diverse = 0;
        for factor in RELAXED {
            left.retain(|candidate| {
                if links.len() == width {
                    return true;
                }
                let point = space.point(candidate.id);
                // Scores are negative squared distances.
                let excluded = space.any_above(&point, &points, candidate.score / factor);
                if !excluded {
                    links.push(*candidate);
                    points.push(point);
                }
                excluded
            });
            if factor == RELAXED[0] {
                diverse = links.len();
            }
            if links.len() == width || left.is_empty() {
                break;
            }
        }
        let missing = width - links.len();
        links.extend(left.into_iter().take(missing));
        Self { links, diverse }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::vectors::{Encoding, Metric, Originals, Rows};

    /// Points on a line around a node at 0, the last of them.
    fn selected(points: &[f32], width: usize) -> (Vec<u32>, usize) {
        let encoding = Encoding::new(1, Metric::L2, Originals::None).unwrap();
        let mut bytes = Vec::new();
        for point in points.iter().chain(&[0.0]) {
            bytes.extend(encoding.encode(&[*point]).unwrap().code);
        }
        let rows = Rows::contiguous(Bytes::from(bytes), encoding.code_stride()).unwrap();
        let space = Space::new(&rows, encoding);
        let ids: Vec<u32> = (0..points.len() as u32).collect();
        let ranked = space.ranked(points.len() as u32, &ids);
        let selection = Selection::new(&space, &ranked, width);
        (selection.links.iter().map(|link| link.id).collect(), selection.diverse)
    }

    #[test]
    fn one_link_a_direction_is_diverse_and_the_nearest_of_the_rest_fill() {
        let points = [1.0, 1.5, -2.0, 3.0, -2.5];
        assert_eq!(selected(&points, 4), (vec![0, 2, 1, 4], 2));
        assert_eq!(selected(&points, 9).0.len(), 5);
        assert_eq!(selected(&points, 1), (vec![0], 1));
    }

    #[test]
    fn a_link_that_is_nearly_diverse_comes_before_nearer_ones() {
        // Seen from 1.0, the candidate 80.0 is nearly as far as from the node.
        assert_eq!(selected(&[1.0, 1.2, 80.0], 2), (vec![0, 2], 1));
    }
}
