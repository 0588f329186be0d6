//! Texts to postings, in memory: the words of many records, by term. Words are analyzed once for
//! all the texts that have them.

use super::analysis::{Analyzer, each_token};
use super::config::TextIndex;
use super::interner::Interner;
use super::run::Posting;
use crate::record::Record;

/// A word that is left out.
const STOP: u32 = u32::MAX;

/// A record's part of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) slot: u32,
    /// Weighted number of its words.
    pub(super) length: u64,
}

/// Collects the postings of records.
pub(super) struct Inverter {
    index: TextIndex,
    analyzer: Analyzer,
    /// Words as they stand in texts, and the term of each.
    words: Interner,
    term_of: Vec<u32>,
    terms: Interner,
    /// Weighted count of each term in the text at hand.
    counts: Vec<u32>,
    /// Terms of the text at hand.
    found: Vec<u32>,
    /// Term and posting, in the order of records.
    postings: Vec<(u32, Posting)>,
    pub(super) records: Vec<Indexed>,
}

impl Inverter {
    pub(super) fn new(index: &TextIndex) -> Self {
        Self {
            index: index.clone(),
            analyzer: index.analyzer(),
            words: Interner::default(),
            term_of: Vec::new(),
            terms: Interner::default(),
            counts: Vec::new(),
            found: Vec::new(),
            postings: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Postings so far.
    pub(super) fn len(&self) -> usize {
        self.postings.len()
    }

    /// Takes in a record.
    pub(super) fn add(&mut self, slot: u32, record: &Record) {
        let Self { index, analyzer, words, term_of, terms, counts, found, .. } = self;
        let mut length = 0;
        index.each_text(record, |text, weight| {
            each_token(text, |token| {
                let (word, new) = words.insert(token.raw.as_bytes());
                if new {
                    let term = analyzer.term(token.raw).map(|term| terms.insert(term).0);
                    term_of.push(term.unwrap_or(STOP));
                    counts.resize(terms.len(), 0);
                }
                let term = term_of.get(word as usize).copied().unwrap_or(STOP);
                if let Some(count) = counts.get_mut(term as usize) {
                    if *count == 0 {
                        found.push(term);
                    }
                    *count = count.saturating_add(weight);
                    length += u64::from(weight);
                }
            });
        });
        if length > 0 {
            self.records.push(Indexed { slot, length });
        }
        for term in self.found.drain(..) {
            if let Some(count) = self.counts.get_mut(term as usize) {
                let posting = Posting { slot, count: std::mem::take(count) };
                self.postings.push((term, posting));
            }
        }
    }

    /// The postings by term, terms in the order of their bytes.
    pub(super) fn by_term(&self) -> ByTerm<'_> {
        let mut ends = vec![0_usize; self.terms.len() + 1];
        for (term, _) in &self.postings {
            if let Some(end) = ends.get_mut(*term as usize + 1) {
                *end += 1;
            }
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let starts = ends.clone();
        let mut sorted = vec![Posting { slot: 0, count: 0 }; self.postings.len()];
        for (term, posting) in &self.postings {
            let next = &mut ends[*term as usize];
            sorted[*next] = *posting;
            *next += 1;
        }
        if !self.records.is_sorted_by_key(|of| of.slot) {
            for bounds in starts.windows(2) {
                if let Some(postings) = sorted.get_mut(bounds[0]..bounds[1]) {
                    postings.sort_unstable_by_key(|posting| posting.slot);
                }
            }
        }
        let mut order: Vec<u32> = (0..self.terms.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| self.terms.get(a).cmp(self.terms.get(b)));
        ByTerm { terms: &self.terms, order, starts, postings: sorted }
    }
}

/// See [`Inverter::by_term`].
pub(super) struct ByTerm<'i> {
    terms: &'i Interner,
    order: Vec<u32>,
    starts: Vec<usize>,
    postings: Vec<Posting>,
}

impl ByTerm<'_> {
    /// Every term with its postings, slots ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[Posting])> {
        self.order.iter().map(|&term| {
            let bounds = self.starts.get(term as usize).zip(self.starts.get(term as usize + 1));
            let postings = bounds.and_then(|(&from, &to)| self.postings.get(from..to));
            (self.terms.get(term), postings.unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexical::Language;

    #[test]
    fn postings_are_by_term_with_weighted_counts() {
        let index = TextIndex::new(Language::English).title(3);
        let mut inverter = Inverter::new(&index);
        inverter.add(9, &Record::new(3).text("SHIPS"));
        inverter.add(5, &Record::new(2));
        inverter.add(4, &Record::new(1).title("Sails").text("the sail, a ship"));
        let sorted = inverter.by_term();
        let found: Vec<_> = sorted.iter().collect();
        let posting = |slot, count| Posting { slot, count };
        let sail = [posting(4, 4)];
        let ship = [posting(4, 1), posting(9, 1)];
        assert_eq!(found, [(b"sail".as_slice(), &sail[..]), (b"ship", &ship[..])]);
        let lengths: Vec<_> = inverter.records.iter().map(|of| (of.slot, of.length)).collect();
        assert_eq!(lengths, [(9, 1), (4, 5)]);
    }
}
