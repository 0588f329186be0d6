//! Vectors of texts that a run has embedded, so that a text of several records is sent once: what
//! stands at the end of each page, or in each version of a document. In bounded memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Bytes of texts and vectors of the younger half; maps take some tens of bytes more for each.
const HALF_BYTES: usize = 8 << 20;

/// The texts that a run has embedded lately, with their vectors. Shared by the batches of a run.
#[derive(Debug)]
pub(super) struct Seen(Mutex<Halves>);

/// What was embedded or asked for since the younger half was empty, and what in the time before it.
/// When the younger one is full it becomes the older one, which is forgotten.
#[derive(Debug)]
struct Halves {
    young: HashMap<Box<str>, Vec<f32>>,
    old: HashMap<Box<str>, Vec<f32>>,
    young_bytes: usize,
    most_bytes: usize,
}

impl Seen {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self::with_bytes(HALF_BYTES)
    }

    fn with_bytes(most_bytes: usize) -> Self {
        let (young, old) = Default::default();
        Self(Mutex::new(Halves { young, old, young_bytes: 0, most_bytes }))
    }

    /// The vector of a text, if it is known.
    pub(super) fn vector(&self, text: &str) -> Option<Vec<f32>> {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vector) = halves.young.get(text) {
            return Some(vector.clone());
        }
        let (text, vector) = halves.old.remove_entry(text)?;
        halves.insert(text, vector.clone());
        Some(vector)
    }

    /// Keeps the vector of a text.
    pub(super) fn keep(&self, text: &str, vector: &[f32]) {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        halves.insert(text.into(), vector.to_vec());
    }
}

impl Halves {
    fn insert(&mut self, text: Box<str>, vector: Vec<f32>) {
        let bytes = text.len() + size_of_val(vector.as_slice());
        if bytes > self.most_bytes {
            return;
        }
        if self.young_bytes.saturating_add(bytes) > self.most_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(text, vector).is_none() {
            self.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_lately_is_forgotten_and_the_rest_is_kept() {
        // A text of one letter and its vector take 9 bytes: three of them fit into a half.
        let seen = Seen::with_bytes(27);
        for (at, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
            seen.keep(text, &[at as f32, 1.0]);
        }
        assert_eq!(seen.vector("a"), Some(vec![0.0, 1.0]));
        for text in ["e", "f", "g"] {
            seen.keep(text, &[9.0, 9.0]);
        }
        // The half with d, a, e became the older one; b and c were in the one before.
        let known = ["a", "b", "c", "f", "g"].map(|text| seen.vector(text).is_some());
        assert_eq!(known, [true, false, false, true, true]);
    }

    #[test]
    fn what_is_larger_than_a_half_is_not_kept() {
        let seen = Seen::with_bytes(27);
        seen.keep("a", &[1.0, 0.0]);
        for text in ["long", "longer"] {
            seen.keep(text, &[0.0; 32]);
            assert_eq!(seen.vector(text), None);
        }
        assert_eq!(seen.vector("a"), Some(vec![1.0, 0.0]));
    }
}
