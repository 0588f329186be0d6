//! How a list of texts is cut into requests, and cut again when a server finds one too large.
//! Not the sending. Layer: above `reply`; pure.

use std::ops::Range;

use super::error::NimError;
use super::reply::{Oversize, TooLarge};

/// A plan over `texts`: requests are handed out in order of position, so the first input that does
/// not fit by itself is the first in the caller's slice.
#[derive(Debug)]
pub(super) struct BatchPlan<'a> {
    texts: &'a [&'a str],
    next: usize,
    /// Halves of refused requests, the leftmost on top.
    pending: Vec<Range<usize>>,
    max_items: usize,
    max_chars: usize,
}

impl<'a> BatchPlan<'a> {
    pub(super) fn new(texts: &'a [&'a str], max_items: usize, max_chars: usize) -> Self {
        Self { texts, next: 0, pending: Vec::new(), max_items: max_items.max(1), max_chars }
    }

    /// Positions of the next request: as many texts as both limits allow, and at least one.
    pub(super) fn next_range(&mut self) -> Option<Range<usize>> {
        if let Some(range) = self.pending.pop() {
            return Some(range);
        }
        let rest = self.texts.get(self.next..).filter(|rest| !rest.is_empty())?;
        let mut chars = 0_usize;
        let mut items = 0_usize;
        for text in rest.iter().take(self.max_items) {
            chars = chars.saturating_add(text.chars().count());
            if items > 0 && chars > self.max_chars {
                break;
            }
            items = items.saturating_add(1);
        }
        let start = self.next;
        self.next = start.saturating_add(items);
        Some(start..self.next)
    }

    /// Plans the parts of a refused request, or fails when one input alone is to blame.
    pub(super) fn shrink(&mut self, range: Range<usize>, large: TooLarge) -> Result<(), NimError> {
        let named = large.input.filter(|input| *input < range.len());
        let reply = large.reply;
        match (large.cause, named) {
            (Oversize::Tokens, Some(input)) => {
                let index = range.start.saturating_add(input);
                Err(NimError::InputTooLong { index, reply })
            }
            (cause, _) if self.split(range.clone(), cause) => Ok(()),
            (Oversize::Count, _) => Err(NimError::BadRequest(reply)),
            _ => Err(NimError::InputTooLong { index: range.start, reply }),
        }
    }

    /// Cuts a range in halves and lowers the limit it broke for the requests to come. False when
    /// there is only one text, which cannot be cut.
    fn split(&mut self, range: Range<usize>, cause: Oversize) -> bool {
        let half = range.len() / 2;
        if half == 0 {
            return false;
        }
        let middle = range.start.saturating_add(half);
        match cause {
            Oversize::Body => {
                let texts = self.texts.get(range.clone()).unwrap_or_default();
                let chars: usize = texts.iter().map(|text| text.chars().count()).sum();
                self.max_chars = self.max_chars.min(chars / 2);
            }
            Oversize::Count => self.max_items = self.max_items.min(half),
            Oversize::Tokens => {}
        }
        self.pending.push(middle..range.end);
        self.pending.push(range.start..middle);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(plan: &mut BatchPlan<'_>) -> Vec<Range<usize>> {
        std::iter::from_fn(|| plan.next_range()).collect()
    }

    #[test]
    fn batches_keep_both_limits_and_hold_at_least_one_text() {
        let texts = ["aaaa", "bb", "cc", "d", "e", "f"];
        assert_eq!(ranges(&mut BatchPlan::new(&texts, 2, 99)), [0..2, 2..4, 4..6]);
        assert_eq!(ranges(&mut BatchPlan::new(&texts, 9, 4)), [0..1, 1..3, 3..6]);
        assert_eq!(ranges(&mut BatchPlan::new(&texts, 0, 0)).len(), 6);
        assert_eq!(ranges(&mut BatchPlan::new(&[], 9, 9)), []);
    }

    #[test]
    fn a_split_hands_out_both_halves_first_and_lowers_later_batches() {
        let texts = ["aa"; 12];
        let mut plan = BatchPlan::new(&texts, 8, 99);
        assert_eq!(plan.next_range(), Some(0..8));
        assert!(plan.split(0..8, Oversize::Count));
        assert_eq!(ranges(&mut plan), [0..4, 4..8, 8..12]);

        let mut plan = BatchPlan::new(&texts, 6, 99);
        assert_eq!(plan.next_range(), Some(0..6));
        assert!(plan.split(0..6, Oversize::Body));
        assert_eq!(ranges(&mut plan), [0..3, 3..6, 6..9, 9..12]);
        assert!(!plan.split(3..4, Oversize::Tokens));
    }
}
