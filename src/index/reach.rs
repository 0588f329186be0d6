//! Makes every node of a finished base level reachable from the entry, where that is possible.
//!
//! Full rows drop the links back to a few nodes; a node that no row names is never found. Each
//! takes the place of the last link, the least useful one, of a node that it links to itself.

use std::collections::HashSet;

use super::layer::Layer;

/// A replaced link may have been the only way to another node, so the repair repeats. More
/// rounds would only matter among hundreds of identical vectors, of which any serves.
const ROUNDS: usize = 4;

/// Repairs `layer`; costs a traversal of all links, and again per round that found something.
pub fn repair(layer: &mut Layer, entry: u32) {
    for _ in 0..ROUNDS {
        let reached = reached(layer, entry);
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
            return;
        }
    }
}

/// Which nodes can be reached from `entry`.
pub fn reached(layer: &Layer, entry: u32) -> Vec<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_nodes_are_linked_from_a_node_they_link_to() {
        let mut layer = Layer::new(5, 2);
        // A ring of 0, 1 and 2; nobody names 3 and 4.
        for (id, links) in [(0, [1, 2]), (1, [2, 0]), (2, [0, 1]), (3, [1, 2]), (4, [3, 1])] {
            layer.set(id, links.into_iter());
        }
        assert_eq!(reached(&layer, 0), [true, true, true, false, false]);
        repair(&mut layer, 0);
        assert_eq!(reached(&layer, 0), [true; 5]);
    }
}
