//! A query against an index: its words as terms that texts have, with their weights, and what a
//! hit must and must not have.

use std::collections::{BTreeMap, HashSet};

use roaring::RoaringBitmap;

use super::analysis::each_token;
use super::bm25::{Scoring, idf};
use super::config::TextIndex;
use super::cursor::{Cursor, Postings};
use super::lengths::Stats;
use super::phrase::Phrase;
use super::prefix::{Prefix, last_word};
use super::query::{Occur, Part, TextQuery};
use crate::storage::{Snapshot, StorageError};

/// A query in terms.
pub(super) struct Plan<'s> {
    pub(super) scoring: Scoring,
    pub(super) cursors: Vec<Cursor<'s, u32>>,
    /// A hit has a term of each.
    pub(super) required: Vec<Any<'s>>,
    /// A hit has none of these.
    pub(super) excluded: Vec<Any<'s>>,
    /// A hit has so many of these.
    pub(super) optional: Option<(usize, Vec<Any<'s>>)>,
    /// Phrases, and whether a hit has them.
    pub(super) phrases: Vec<(Phrase, bool)>,
    /// Terms, each counted once.
    pub(super) terms: usize,
}

/// Texts that have any of some terms.
pub(super) enum Any<'s> {
    /// Of these.
    Terms(Vec<Cursor<'s, u32>>),
    /// Of more than texts are scored by.
    Slots(RoaringBitmap),
}

impl Any<'_> {
    fn is_none(&self) -> bool {
        match self {
            Self::Terms(cursors) => cursors.is_empty(),
            Self::Slots(slots) => slots.is_empty(),
        }
    }
}

/// Any of some terms.
#[derive(Default, PartialEq)]
struct Group {
    terms: Vec<Vec<u8>>,
    /// The texts that have any of them and of those that were too many.
    slots: Option<RoaringBitmap>,
}

impl From<Vec<u8>> for Group {
    fn from(term: Vec<u8>) -> Self {
        Self { terms: vec![term], slots: None }
    }
}

/// The parts of a query in terms, before their postings are read.
#[derive(Default)]
struct Terms {
    /// How often each is asked for, and how frequent it counts as if not by itself.
    wanted: BTreeMap<Vec<u8>, (f32, Option<u32>)>,
    required: Vec<Group>,
    optional: Vec<Group>,
    excluded: Vec<Group>,
    /// Single terms among the required and the optional: a text as a query has many.
    known: [HashSet<Vec<u8>>; 2],
    phrases: Vec<(Phrase, bool)>,
}

impl<'s> Plan<'s> {
    /// Reads the postings of a query's terms; none if nothing can be found.
    pub(super) fn new(
        snapshot: &'s dyn Snapshot,
        collection: u32,
        index: &TextIndex,
        query: &TextQuery,
    ) -> Result<Option<Self>, StorageError> {
        let terms = Terms::of(snapshot, collection, index, query)?;
        let stats = Stats::read(snapshot, collection)?;
        let mut known: BTreeMap<&[u8], Postings<'s>> = BTreeMap::new();
        let excluded = terms.excluded.iter().flat_map(|group| &group.terms);
        for term in terms.wanted.keys().chain(excluded) {
            if !known.contains_key(term.as_slice())
                && let Some(postings) = Postings::of(snapshot, collection, term)?
            {
                known.insert(term, postings);
            }
        }
        let weights = terms.wanted.iter().filter_map(|(term, (times, texts))| {
            let postings = known.get(term.as_slice())?;
            Some((term.as_slice(), times * idf(texts.unwrap_or(postings.texts), stats)))
        });
        let weights: Vec<(&[u8], f32)> = weights.collect();
        let sum = weights.iter().map(|(_, weight)| weight).sum();
        let scoring = Scoring::new(index.saturation(), stats, sum);
        let at = |postings: Postings<'s>, weight: f32| {
            let bound = |peak: Option<_>| peak.map_or(u32::MAX, |peak| scoring.bound(weight, peak));
            Cursor::new(postings, weight, bound)
        };
        let cursor = |term: &[u8], weight: f32| known.get(term).map(|of| at(of.clone(), weight));
        let any = |group: &Group| match &group.slots {
            Some(slots) => Any::Slots(slots.clone()),
            None => Any::Terms(group.terms.iter().filter_map(|term| cursor(term, 0.0)).collect()),
        };
        let required: Vec<Any<'s>> = terms.required.iter().map(any).collect();
        let least = terms.optional.len().min(query.at_least);
        let is_implied = least == 0 || (least == 1 && required.is_empty());
        let optional = (!is_implied).then(|| (least, terms.optional.iter().map(any).collect()));
        let excluded = terms.excluded.iter().map(any).collect();
        let cursors: Vec<Cursor<'s, u32>> = weights
            .iter()
            .filter_map(|(term, weight)| Some(at(known.remove(term)?, scoring.weight(*weight))))
            .collect();
        if cursors.is_empty() || required.iter().any(Any::is_none) {
            return Ok(None);
        }
        let (phrases, terms) = (terms.phrases, cursors.len());
        Ok(Some(Self { scoring, cursors, required, excluded, optional, phrases, terms }))
    }
}

impl Terms {
    fn of(
        snapshot: &dyn Snapshot,
        collection: u32,
        index: &TextIndex,
        query: &TextQuery,
    ) -> Result<Self, StorageError> {
        let mut analyzer = index.analyzer();
        let mut terms = Self::default();
        for (occur, part) in &query.parts {
            match part {
                Part::Words(text) => each_token(text, |token| {
                    if let Some(term) = analyzer.term(token.raw) {
                        terms.take(*occur, term.to_vec().into(), None);
                    }
                }),
                Part::Phrase(text) => {
                    let Some(phrase) = Phrase::new(text, &mut analyzer) else { continue };
                    let wanted = *occur != Occur::Not;
                    if wanted {
                        for term in phrase.terms() {
                            terms.take(Occur::Must, term.to_vec().into(), None);
                        }
                    }
                    terms.phrases.push((phrase, wanted));
                }
                Part::Prefix(begin) => {
                    let (words, begin) = last_word(begin);
                    for word in words {
                        if let Some(term) = analyzer.term(word) {
                            terms.take(*occur, term.to_vec().into(), None);
                        }
                    }
                    // Whether a text is a hit does not depend on which terms it is scored by.
                    let decides = *occur != Occur::Should || query.at_least > 0;
                    let prefix = Prefix::new(collection, begin, &mut analyzer);
                    let found = prefix.expand(snapshot, decides)?;
                    let group = Group { terms: found.terms, slots: found.slots };
                    terms.take(*occur, group, Some(found.texts));
                }
            }
        }
        Ok(terms)
    }

    fn take(&mut self, occur: Occur, group: Group, texts: Option<u32>) {
        if occur == Occur::Not {
            self.excluded.push(group);
            return;
        }
        for term in &group.terms {
            let (times, counts_as) = self.wanted.entry(term.clone()).or_insert((0.0, texts));
            *times += 1.0;
            // A word that is asked for by itself counts by itself.
            *counts_as = counts_as.and(texts);
        }
        let [required, optional] = &mut self.known;
        let (groups, known) = match occur {
            Occur::Must => (&mut self.required, required),
            _ => (&mut self.optional, optional),
        };
        let is_new = match (group.terms.as_slice(), &group.slots) {
            ([term], None) => known.insert(term.clone()),
            _ => !groups.contains(&group),
        };
        if is_new {
            groups.push(group);
        }
    }
}
