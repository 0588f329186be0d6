//! Cutting the positions of a segment into overlapping leaves of near positions, inside which
//! all pairs are compared (PiPNN, arXiv 2602.21247): leaders are drawn at random, each position
//! goes to the nearest few of them, and what is too large is cut again.

use rayon::prelude::*;

use super::space::{Point, Space};
use crate::kernels::{Panel, level};
use crate::vectors::Random;

/// Positions of a leaf, at most.
pub const LEAF: usize = 1_000;
/// Leaders a position goes to, by depth of the cut; deeper cuts are not overlapping.
const FAN: [usize; 2] = [4, 2];
/// Leaders per leaf's worth of positions.
const LEADERS_PER_LEAF: usize = 4;
const MAX_LEADERS: usize = 1_000;
/// Cuts deeper than this no longer tell positions apart: mostly equal vectors.
const MAX_DEPTH: usize = 12;
/// Positions of one task.
const TASK: usize = 256;

/// The leaves of all positions. Every position is in at least one leaf and in about seven.
pub fn leaves(space: &Space<'_>, seed: u64) -> Vec<Vec<u32>> {
    cut(space, (0..space.len()).collect(), 0, seed)
}

fn cut(space: &Space<'_>, positions: Vec<u32>, depth: usize, seed: u64) -> Vec<Vec<u32>> {
    if positions.len() <= LEAF {
        return vec![positions];
    }
    let mut random = Random::new(seed);
    let fan = FAN.get(depth).copied().unwrap_or(1);
    let wanted = (positions.len() * LEADERS_PER_LEAF / LEAF).clamp(fan * 2, MAX_LEADERS);
    let mut leaders: Vec<u32> = (0..wanted)
        .map(|_| positions[(random.next_u64() % positions.len() as u64) as usize])
        .collect();
    leaders.sort_unstable();
    leaders.dedup();
    let groups = merge_small(assign(space, &positions, &leaders, fan));
    let total = positions.len();
    drop(positions);
    groups
        .into_par_iter()
        .enumerate()
        .flat_map_iter(|(at, group)| {
            if group.len() == total || depth + 1 >= MAX_DEPTH {
                // No cut tells them apart: equal vectors, of which any order serves.
                group.chunks(LEAF).map(<[u32]>::to_vec).collect()
            } else {
                cut(space, group, depth + 1, random.clone().next_u64() ^ (at as u64) << 32)
            }
        })
        .collect()
}

/// The positions that go to each leader.
fn assign(space: &Space<'_>, positions: &[u32], leaders: &[u32], fan: usize) -> Vec<Vec<u32>> {
    let (panel, points) = panel(space, leaders);
    let chosen: Vec<Vec<u16>> = positions
        .par_chunks(TASK)
        .flat_map_iter(|task| {
            let (own, own_points) = crate::index::partition::panel(space, task);
            let mut dots = Vec::new();
            own.dots(level(), (0, own.len()), &panel, &mut dots);
            let nearest = |(point, dots): (&Point<'_>, &[i32])| nearest(point, dots, &points, fan);
            own_points.iter().zip(dots.chunks(leaders.len())).map(nearest).collect::<Vec<_>>()
        })
        .collect();
    let mut groups = vec![Vec::new(); leaders.len()];
    for (position, leaders) in positions.iter().zip(chosen) {
        for leader in leaders {
            groups[usize::from(leader)].push(*position);
        }
    }
    groups
}

/// The `fan` nearest leaders of a point, by the products of its code with theirs.
fn nearest(point: &Point<'_>, dots: &[i32], leaders: &[Point<'_>], fan: usize) -> Vec<u16> {
    let mut best: Vec<(f32, u16)> = Vec::with_capacity(fan + 1);
    for (at, (leader, dot)) in leaders.iter().zip(dots).enumerate() {
        let score = point.score(leader, *dot);
        if best.len() < fan || best.last().is_some_and(|worst| score > worst.0) {
            let to = best.partition_point(|other| other.0 >= score);
            best.insert(to, (score, at as u16));
            best.truncate(fan);
        }
    }
    best.into_iter().map(|(_, leader)| leader).collect()
}

/// Joins groups that are too small to tell anything into groups of half a leaf.
fn merge_small(mut groups: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    groups.retain(|group| !group.is_empty());
    groups.sort_by_key(Vec::len);
    let small = groups.partition_point(|group| group.len() < LEAF / 8);
    let large = groups.split_off(small);
    let mut merged = Vec::with_capacity(large.len() + 1);
    let mut joint: Vec<u32> = Vec::new();
    for group in groups {
        joint.extend(group);
        if joint.len() >= LEAF / 2 {
            merged.push(unique(std::mem::take(&mut joint)));
        }
    }
    if !joint.is_empty() {
        merged.push(unique(joint));
    }
    merged.extend(large);
    merged
}

fn unique(mut positions: Vec<u32>) -> Vec<u32> {
    positions.sort_unstable();
    positions.dedup();
    positions
}

/// The codes of some positions side by side, and their points.
pub fn panel<'a>(space: &Space<'a>, positions: &[u32]) -> (Panel, Vec<Point<'a>>) {
    let mut panel = Panel::new(space.encoding().coded_dim());
    let points: Vec<Point<'a>> = positions.iter().map(|&at| space.point(at)).collect();
    points.iter().for_each(|point| panel.push(point.row.codes));
    (panel, points)
}
