//! How a list of inputs is cut into requests, and cut again when a server finds one too large.
//! Not the sending, nor what outlives a call (see `lane`). Layer: above `input`, `reply`; pure.

use std::ops::Range;

use super::input::Size;

/// What one request may hold. A request holds at least one input, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) items: usize,
    pub(super) chars: usize,
    pub(super) tokens: usize,
    pub(super) bytes: usize,
    pub(super) images: usize,
}

impl Limits {
    fn hold(&self, size: Size) -> bool {
        size.chars <= self.chars
            && size.tokens <= self.tokens
            && size.bytes <= self.bytes
            && size.images <= self.images
    }
}

/// A plan over inputs of known size: requests are handed out in order of position.
#[derive(Debug)]
pub(super) struct BatchPlan {
    sizes: Vec<Size>,
    next: usize,
    /// Halves of refused requests, the leftmost on top.
    pending: Vec<Range<usize>>,
}

impl BatchPlan {
    pub(super) fn new(sizes: Vec<Size>) -> Self {
        Self { sizes, next: 0, pending: Vec::new() }
    }

    /// Positions of the next request: as many inputs as all limits allow, and at least one.
    pub(super) fn next_range(&mut self, limits: &Limits) -> Option<Range<usize>> {
        if let Some(range) = self.pending.pop() {
            return Some(range);
        }
        let start = self.next;
        let (first, rest) = self.sizes.get(start..)?.split_first()?;
        let mut sum = *first;
        let mut items = 1_usize;
        for size in rest.iter().take(limits.items.saturating_sub(1)) {
            sum = sum.plus(*size);
            if !limits.hold(sum) {
                break;
            }
            items = items.saturating_add(1);
        }
        self.next = start.saturating_add(items);
        Some(start..self.next)
    }

    /// No more requests than these are needed under these limits, if none is cut in halves.
    pub(super) fn requests(&self, limits: &Limits) -> usize {
        let inputs = self.sizes.len();
        let fits = limits.hold(self.size(&(0..inputs)));
        if fits { inputs.div_ceil(limits.items.max(1)) } else { inputs }
    }

    /// Whether every input was handed out.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.next >= self.sizes.len()
    }

    /// Size of the inputs of a request together.
    pub(super) fn size(&self, range: &Range<usize>) -> Size {
        let sizes = self.sizes.get(range.clone()).unwrap_or_default();
        sizes.iter().fold(Size::default(), |sum, size| sum.plus(*size))
    }

    /// Plans both halves of a refused request as the next ones. False for a single input, which
    /// cannot be cut.
    pub(super) fn split(&mut self, range: &Range<usize>) -> bool {
        let half = range.len() / 2;
        if half == 0 {
            return false;
        }
        let middle = range.start.saturating_add(half);
        self.pending.push(middle..range.end);
        self.pending.push(range.start..middle);
        true
    }

    /// Plans what stands before and behind one input of a refused request as the next ones.
    pub(super) fn without(&mut self, range: &Range<usize>, place: usize) {
        let behind = place.saturating_add(1)..range.end;
        for part in [behind, range.start..place] {
            if !part.is_empty() {
                self.pending.push(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nim::input::Input;

    const WIDE: Limits = Limits { items: 99, chars: 999, tokens: 999, bytes: 999, images: 9 };

    fn plan(texts: &[&str]) -> BatchPlan {
        BatchPlan::new(texts.iter().map(|text| Input::from(*text).size()).collect())
    }

    fn ranges(mut plan: BatchPlan, limits: Limits) -> Vec<Range<usize>> {
        std::iter::from_fn(|| plan.next_range(&limits)).collect()
    }

    #[test]
    fn batches_keep_every_limit_and_hold_at_least_one_input() {
        let texts = ["aaaa", "bb", "cc", "d", "e", "f"];
        let cases = [
            (Limits { items: 2, ..WIDE }, vec![0..2, 2..4, 4..6]),
            (Limits { chars: 4, ..WIDE }, vec![0..1, 1..3, 3..6]),
            (Limits { tokens: 2, ..WIDE }, vec![0..2, 2..4, 4..6]),
            (Limits { bytes: 6, ..WIDE }, vec![0..2, 2..6]),
            (Limits { items: 0, ..WIDE }, (0..6).map(|at| at..at + 1).collect()),
            (Limits { chars: 0, ..WIDE }, (0..6).map(|at| at..at + 1).collect()),
            (Limits { items: 5, ..WIDE }, vec![0..5, 5..6]),
        ];
        for (limits, expected) in cases {
            assert_eq!(ranges(plan(&texts), limits), expected, "{limits:?}");
        }
        assert_eq!(ranges(plan(&[]), WIDE), []);
    }

    #[test]
    fn no_plan_takes_more_requests_than_foretold() {
        let texts = ["aaaa", "bb", "cc", "d", "e", "f"];
        let foretold = |limits| plan(&texts).requests(&limits);
        assert_eq!(
            [1, 2, 4, 6, 9].map(|items| foretold(Limits { items, ..WIDE })),
            [6, 3, 2, 1, 1]
        );
        for limits in [WIDE, Limits { chars: 4, ..WIDE }, Limits { items: 0, ..WIDE }] {
            assert!(ranges(plan(&texts), limits).len() <= foretold(limits), "{limits:?}");
        }
        assert_eq!(plan(&[]).requests(&WIDE), 0);
    }

    #[test]
    fn images_are_counted() {
        let image = crate::nim::Image::new(b"GIF89a").expect("an image");
        let inputs = [Input::Image(&image), Input::from("a"), Input::Image(&image)];
        let sizes = || BatchPlan::new(inputs.iter().map(|input| input.size()).collect());
        assert_eq!(ranges(sizes(), Limits { images: 1, ..WIDE }), [0..2, 2..3]);
        assert_eq!(sizes().size(&(0..3)).images, 2);
    }

    #[test]
    fn a_split_hands_out_both_halves_first() {
        let mut plan = plan(&["aa"; 12]);
        let eight = Limits { items: 8, ..WIDE };
        assert_eq!(plan.next_range(&eight), Some(0..8));
        assert!(plan.split(&(0..8)));
        assert_eq!(ranges(plan, eight), [0..4, 4..8, 8..12]);
        assert!(!self::plan(&["a"]).split(&(0..1)));
    }

    #[test]
    fn what_is_left_without_an_input_is_handed_out_first() {
        let eight = Limits { items: 8, ..WIDE };
        for (place, expected) in
            [(0, vec![1..8, 8..12]), (3, vec![0..3, 4..8, 8..12]), (7, vec![0..7, 8..12])]
        {
            let mut plan = plan(&["aa"; 12]);
            assert_eq!(plan.next_range(&eight), Some(0..8));
            plan.without(&(0..8), place);
            assert_eq!(ranges(plan, eight), expected);
        }
    }
}
