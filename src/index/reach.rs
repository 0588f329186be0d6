//! Makes every node of a finished base level reachable.
//!
//! Full rows drop the links back to a few nodes; a node that no row names is never found. Each
//! takes the place of the last link, the least useful one, of a node that it links to itself.
//! That is enough for nearly all graphs, but not where hundreds of identical vectors link to the
//! same few: those have fewer last links than nodes wait for them. What is still lost hangs on
//! what was saved before it, wherever a link can be spared ([`lead_to_all`]).

use std::collections::{HashMap, HashSet};

use super::layer::Layer;

/// A replaced link may have been the only way to another node, so the repair repeats. More rounds
/// would only undo one another: the last link of a row leads to one node, however many want it.
const ROUNDS: usize = 4;

/// Repairs `layer` by links from what lost nodes link to; whether all is known to be reached from
/// `entry` now. Costs a traversal of all links, and again per round that found something.
pub fn repair(layer: &mut Layer, entry: u32) -> bool {
    for _ in 0..ROUNDS {
        let reached = reached(layer, entry);
        if reached.iter().all(|reached| *reached) {
            return true;
        }
        let mut changed = HashSet::new();
        for id in (0..layer.node_count()).filter(|&id| !reached[id as usize]) {
            let mut links = layer.linked(id).iter().copied();
            let is_usable = |link: &u32| reached[*link as usize] && !changed.contains(link);
            if let Some(link) = links.find(is_usable) {
                layer.replace_last(link, id);
                changed.insert(link);
            }
        }
        if changed.is_empty() {
            break;
        }
    }
    false
}

/// Which nodes can be reached from `entry`.
fn reached(layer: &Layer, entry: u32) -> Vec<bool> {
    let mut reached = vec![false; layer.node_count() as usize];
    let mut waiting = Vec::new();
    if let Some(first) = reached.get_mut(entry as usize) {
        *first = true;
        waiting.push(entry);
    }
    while let Some(id) = waiting.pop() {
        for &link in layer.linked(id) {
            if !std::mem::replace(&mut reached[link as usize], true) {
                waiting.push(link);
            }
        }
    }
    reached
}

/// Leads a chain of links from `start` or from an entry to every node, whatever the links are.
/// Changes nothing where that is so already. Costs a traversal of all links and 5 bytes a node.
///
/// A lost node takes the last place of a row that is reached, and never one whose link is the only
/// way to another: of the links that lead to what is reached, one to each node is kept. These are
/// a tree below each entry. There always is a place outside of them, as a tree has leaves, and
/// none of a leaf's own links is in it. With the lost node a tree takes in all that can be
/// reached from there. So nothing is lost again, and to look at each node twice is enough.
pub fn lead_to_all(layer: &mut Layer, start: u32, entries: &[u32]) {
    let mut tree = Tree::new(layer, start, entries);
    // What links only to what is lost as well waits until that hangs. Of an island nothing tells
    // what is near: then its first node hangs behind all that hangs on the start.
    for with_islands in [false, true] {
        for id in 0..layer.node_count() {
            if tree.reached[id as usize] {
                continue;
            }
            let near = tree.nearest(layer, id);
            if let Some(at) = near.or(with_islands.then_some(start)) {
                tree.hang(layer, at, id);
            }
        }
    }
}

/// Links that lead to all that can be reached, one to each node.
struct Tree {
    reached: Vec<bool>,
    /// For a row whose last place is of the tree, where that leads to, or to what comes further
    /// down by last places; for every other row itself.
    onward: Vec<u32>,
    /// How many were hung on a row and behind it.
    hung: HashMap<u32, u32>,
}

impl Tree {
    fn new(layer: &Layer, start: u32, entries: &[u32]) -> Self {
        let len = layer.node_count();
        let reached = vec![false; len as usize];
        let mut tree = Self { reached, onward: (0..len).collect(), hung: HashMap::new() };
        tree.add(layer, start);
        entries.iter().for_each(|&entry| tree.add(layer, entry));
        tree
    }

    /// Adds a node and all that it leads to.
    fn add(&mut self, layer: &Layer, node: u32) {
        let mut waiting = Vec::new();
        if !std::mem::replace(&mut self.reached[node as usize], true) {
            waiting.push(node);
        }
        while let Some(id) = waiting.pop() {
            for (place, &link) in layer.linked(id).iter().enumerate() {
                if !std::mem::replace(&mut self.reached[link as usize], true) {
                    waiting.push(link);
                    if place + 1 == layer.width() {
                        self.onward[id as usize] = link;
                    }
                }
            }
        }
    }

    /// The one to hang a lost node on of those that it links to, if any of them is reached: its
    /// last place is free, or else the fewest were hung on it, so that chains stay short.
    fn nearest(&self, layer: &Layer, lost: u32) -> Option<u32> {
        let reached = layer.linked(lost).iter().copied().filter(|&at| self.reached[at as usize]);
        reached.min_by_key(|&at| (self.onward[at as usize] != at, self.hung.get(&at).copied()))
    }

    /// Hangs a lost node on a row, or where its last place is of the tree, on the first row whose
    /// last place is not, down from there.
    fn hang(&mut self, layer: &mut Layer, at: u32, lost: u32) {
        let end = self.end(at);
        layer.replace_last(end, lost);
        if layer.linked(end).len() == layer.width() {
            self.onward[end as usize] = lost;
        }
        *self.hung.entry(at).or_default() += 1;
        self.add(layer, lost);
    }

    /// The first row whose last place can be taken, from a row down by last places. Ways are
    /// halved as they are gone: a chain may be as long as there are nodes.
    fn end(&mut self, mut at: u32) -> u32 {
        loop {
            let next = self.onward[at as usize];
            if next == at {
                return at;
            }
            let after = self.onward[next as usize];
            self.onward[at as usize] = after;
            at = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer_of(rows: &[Vec<u32>], width: usize) -> Layer {
        let mut layer = Layer::new(rows.len() as u32, width);
        for (id, row) in (0_u32..).zip(rows) {
            layer.set(id, row.iter().copied());
        }
        layer
    }

    fn rows_of(layer: &Layer) -> Vec<Vec<u32>> {
        (0..layer.node_count()).map(|id| layer.linked(id).to_vec()).collect()
    }

    /// How many links the way to each node has from the nearest of `roots`, if there is one.
    fn distances(layer: &Layer, roots: &[u32]) -> Vec<Option<usize>> {
        let mut distances: Vec<Option<usize>> = vec![None; layer.node_count() as usize];
        let (mut nodes, mut distance) = (roots.to_vec(), 0);
        while !nodes.is_empty() {
            nodes.sort_unstable();
            nodes.dedup();
            nodes.retain(|&id| distances[id as usize].is_none());
            nodes.iter().for_each(|&id| distances[id as usize] = Some(distance));
            nodes = nodes.iter().flat_map(|&id| layer.linked(id)).copied().collect();
            distance += 1;
        }
        distances
    }

    /// Words of a row: how many links it has, and six at most.
    const WORDS: usize = 7;

    /// Links to any others, to the same four, to the next three or to others of an island of five.
    fn rows(len: u32, width: usize, kind: u32, words: &[u32]) -> Vec<Vec<u32>> {
        let row = |(id, words): (u32, &[u32])| -> Vec<u32> {
            let link = |word: u32| match kind {
                0 => word % len,
                1 => word % len.min(4),
                2 => (id + 1 + word % 3) % len,
                _ => (id / 5 * 5 + word % 5).min(len - 1),
            };
            // Half of the rows are full.
            let count = (words[0] as usize % (2 * width)).min(width);
            let links = words[1..].iter().copied().take(count).map(link);
            links.filter(|&link| link != id).collect()
        };
        (0..len).zip(words.chunks(WORDS)).map(row).collect()
    }

    proptest! {
        #[test]
        fn all_can_be_reached_and_rows_give_up_no_link_but_the_last(
            len in 1_u32..60, width in 1_usize..WORDS, kind in 0_u32..4,
            words in proptest::collection::vec(any::<u32>(), 60 * WORDS),
            roots in proptest::collection::vec(any::<u32>(), 1..4),
            has_rounds in any::<bool>(),
        ) {
            let before = rows(len, width, kind, &words);
            let roots: Vec<u32> = roots.iter().map(|root| root % len).collect();
            let mut layer = layer_of(&before, width);
            if has_rounds && repair(&mut layer, roots[0]) {
                prop_assert!(distances(&layer, &roots[..1]).iter().all(Option::is_some));
            }
            let lost = distances(&layer, &roots).iter().filter(|way| way.is_none()).count();
            let repaired = rows_of(&layer);
            lead_to_all(&mut layer, roots[0], &roots[1..]);
            prop_assert!(distances(&layer, &roots).iter().all(Option::is_some));

            let after = rows_of(&layer);
            let changed = repaired.iter().zip(&after).filter(|(old, new)| old != new).count();
            prop_assert!(changed <= lost);
            for (id, (old, new)) in (0_u32..).zip(before.iter().zip(&after)) {
                prop_assert!(!new.contains(&id));
                prop_assert!(new.len() >= old.len() && new.len() <= width);
                let kept = old.len().min(width - 1);
                prop_assert_eq!(&old[..kept], &new[..kept]);
            }
        }
    }

    #[test]
    fn lost_nodes_are_linked_from_a_node_they_link_to() {
        let mut layer = Layer::new(5, 2);
        // A ring of 0, 1 and 2; nobody names 3 and 4.
        for (id, links) in [(0, [1, 2]), (1, [2, 0]), (2, [0, 1]), (3, [1, 2]), (4, [3, 1])] {
            layer.set(id, links.into_iter());
        }
        assert_eq!(reached(&layer, 0), [true, true, true, false, false]);
        assert!(repair(&mut layer, 0));
        assert_eq!(reached(&layer, 0), [true; 5]);
        let repaired = rows_of(&layer);
        lead_to_all(&mut layer, 0, &[4]);
        assert_eq!(rows_of(&layer), repaired);
    }

    #[test]
    fn nodes_that_link_to_the_same_few_hang_there_in_chains_of_the_same_length() {
        let first = |id: u32| (0..5).filter(|&link| link != id).take(4).collect::<Vec<u32>>();
        let rows: Vec<Vec<u32>> = (0..100).map(first).collect();
        let mut layer = layer_of(&rows, 4);
        // Each round saves four, in the places of the four before them.
        assert!(!repair(&mut layer, 0));
        assert!(distances(&layer, &[0]).iter().filter(|way| way.is_none()).count() > 80);
        lead_to_all(&mut layer, 0, &[]);
        let farthest = distances(&layer, &[0]).into_iter().map(Option::unwrap).max();
        assert!(farthest < Some(30), "{farthest:?}");
    }

    #[test]
    fn a_last_link_that_is_the_way_to_another_node_stays_and_what_is_lost_hangs_behind_that() {
        let mut layer = layer_of(&[vec![1, 2], vec![0], vec![0, 1], vec![0]], 2);
        lead_to_all(&mut layer, 0, &[]);
        assert_eq!(rows_of(&layer), [vec![1, 2], vec![0], vec![0, 3], vec![0]]);
    }

    #[test]
    fn islands_hang_behind_the_start_unless_an_entry_is_in_them() {
        // 0 and 1, and an island of 2 and 3, which 4 leads to.
        let rows = [vec![1], vec![0], vec![3], vec![2], vec![2]];
        let mut layer = layer_of(&rows, 1);
        assert!(!repair(&mut layer, 0));
        assert_eq!(rows_of(&layer), rows);
        lead_to_all(&mut layer, 0, &[]);
        assert_eq!(rows_of(&layer), [vec![1], vec![2], vec![3], vec![4], vec![2]]);

        let mut layer = layer_of(&rows, 1);
        lead_to_all(&mut layer, 0, &[4]);
        assert_eq!(rows_of(&layer), rows);
    }

    #[test]
    fn two_nodes_without_links_are_linked_and_one_is_left_alone() {
        let mut two = Layer::new(2, 2);
        assert!(!repair(&mut two, 0));
        lead_to_all(&mut two, 0, &[1]);
        assert_eq!((two.linked(0).len(), two.linked(1).len()), (0, 0));
        lead_to_all(&mut two, 0, &[]);
        assert_eq!((two.linked(0), two.linked(1).len()), (&[1][..], 0));

        let mut one = Layer::new(1, 2);
        assert!(repair(&mut one, 0));
        lead_to_all(&mut one, 0, &[]);
        assert!(one.linked(0).is_empty());
    }
}
