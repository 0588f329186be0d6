//! A query against an index: its words as terms that texts have, with their weights, and what a
//! hit must and must not have.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use roaring::RoaringBitmap;

use super::analysis::each_token;
use super::bm25::{Scoring, idf};
use super::config::TextIndex;
use super::cursor::{Cursor, Postings};
use super::lengths::Stats;
use super::phrase::{Phrase, Phrases};
use super::prefix::{Prefixes, last_word};
use super::query::{Occur, Part, TextQuery};
use crate::storage::{Snapshot, StorageError};

/// A query in terms.
pub(super) struct Plan<'s> {
    pub(super) scoring: Scoring,
    pub(super) cursors: Vec<Cursor<'s, u32>>,
    /// A hit has a term of each.
    pub(super) required: Vec<Any<'s>>,
    /// A hit has none of these, of which there are two at most: terms and slots.
    pub(super) excluded: Vec<Any<'s>>,
    /// A hit has so many of these.
    pub(super) optional: Option<(usize, Vec<Any<'s>>)>,
    /// Phrases, and whether a hit has them.
    pub(super) phrases: Phrases,
    /// Whether texts are left out that have none of the terms that texts are scored by, but others
    /// of a prefix.
    pub(super) is_partial: bool,
    /// Whether a phrase of the query has no word and was left out.
    pub(super) lacks_phrase: bool,
    /// Terms, each counted once.
    pub(super) terms: usize,
}

/// Texts that have any of some terms.
pub(super) enum Any<'s> {
    /// Of these.
    Terms(Vec<Cursor<'s, u32>>),
    /// Of more than texts are scored by.
    Slots(Rc<RoaringBitmap>),
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
    slots: Option<Rc<RoaringBitmap>>,
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
    excluded: BTreeSet<Vec<u8>>,
    /// Texts that are excluded.
    excluded_slots: RoaringBitmap,
    /// The terms of groups without slots among the required and the optional: a text as a query
    /// has many.
    known: [HashSet<Vec<Vec<u8>>>; 2],
    phrases: HashSet<(Phrase, bool)>,
    /// Whether an optional prefix stands for more than its terms.
    is_partial: bool,
    /// Whether a phrase has no word.
    lacks_phrase: bool,
}

impl<'s> Plan<'s> {
    /// Reads the postings of a query's terms; none if nothing can be found. If not `whole`, texts
    /// may be left out that would come last: [`Plan::is_partial`].
    pub(super) fn new(
        snapshot: &'s dyn Snapshot,
        collection: u32,
        index: &TextIndex,
        query: &TextQuery,
        whole: bool,
    ) -> Result<Option<Self>, StorageError> {
        let terms = Terms::of(snapshot, collection, index, query, whole)?;
        let stats = Stats::read(snapshot, collection)?;
        let mut known: BTreeMap<&[u8], Postings<'s>> = BTreeMap::new();
        for term in terms.wanted.keys().chain(&terms.excluded) {
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
        let optional: Vec<Any<'s>> = terms.optional.iter().map(any).collect();
        let least = query.at_least.max(usize::from(required.is_empty())).min(optional.len());
        // That of a text that is scored, if there are no others.
        let has_slots = optional.iter().any(|any| matches!(any, Any::Slots(_)));
        let is_implied = least == 0 || (least == 1 && required.is_empty() && !has_slots);
        let optional = (!is_implied).then_some((least, optional));
        let of_terms = terms.excluded.iter().filter_map(|term| cursor(term, 0.0)).collect();
        let excluded = [Any::Terms(of_terms), Any::Slots(Rc::new(terms.excluded_slots))];
        let excluded = excluded.into_iter().filter(|any| !any.is_none()).collect();
        let cursors: Vec<Cursor<'s, u32>> = weights
            .iter()
            .filter_map(|(term, weight)| Some(at(known.remove(term)?, scoring.weight(*weight))))
            .collect();
        if cursors.is_empty() || required.iter().any(Any::is_none) {
            return Ok(None);
        }
        Ok(Some(Self {
            scoring,
            is_partial: terms.is_partial && required.is_empty(),
            lacks_phrase: terms.lacks_phrase,
            phrases: Phrases::new(terms.phrases),
            terms: cursors.len(),
            cursors,
            required,
            excluded,
            optional,
        }))
    }
}

impl Terms {
    fn of(
        snapshot: &dyn Snapshot,
        collection: u32,
        index: &TextIndex,
        query: &TextQuery,
        whole: bool,
    ) -> Result<Self, StorageError> {
        let mut analyzer = index.analyzer();
        let mut terms = Self::default();
        let mut prefixes = Prefixes::new(snapshot, collection);
        for (occur, part, times) in query.distinct() {
            let times = times as f32;
            match part {
                Part::Words(text) => each_token(text, |token| {
                    if let Some(term) = analyzer.term(token.raw) {
                        terms.take(occur, term.to_vec().into(), times, None);
                    }
                }),
                Part::Phrase(text) => {
                    let Some(phrase) = Phrase::new(text, &mut analyzer) else {
                        terms.lacks_phrase = true;
                        continue;
                    };
                    let wanted = occur != Occur::Not;
                    if wanted {
                        for term in phrase.terms() {
                            terms.take(Occur::Must, term.to_vec().into(), times, None);
                        }
                    }
                    terms.phrases.insert((phrase, wanted));
                }
                Part::Prefix(begin) => {
                    let (words, begin) = last_word(begin);
                    for word in words {
                        if let Some(term) = analyzer.term(word) {
                            terms.take(occur, term.to_vec().into(), times, None);
                        }
                    }
                    // Whether a text is a hit does not depend on which terms it is scored by.
                    let decides = whole || occur != Occur::Should || query.at_least > 0;
                    let found = prefixes.expand(begin, &mut analyzer, decides)?;
                    terms.is_partial |= found.is_more && !decides;
                    let group = Group { terms: found.terms, slots: found.slots };
                    terms.take(occur, group, times, Some(found.texts));
                }
            }
        }
        Ok(terms)
    }

    /// Takes a group that is asked for so many times, whose terms count as frequent as in `texts`.
    fn take(&mut self, occur: Occur, group: Group, times: f32, texts: Option<u32>) {
        if occur == Occur::Not {
            match group.slots {
                Some(slots) => self.excluded_slots |= slots.as_ref(),
                None => self.excluded.extend(group.terms),
            }
            return;
        }
        for term in &group.terms {
            let (sum, counts_as) = self.wanted.entry(term.clone()).or_insert((0.0, texts));
            *sum += times;
            // A word that is asked for by itself counts by itself.
            *counts_as = counts_as.and(texts);
        }
        let [required, optional] = &mut self.known;
        let (groups, known) = match occur {
            Occur::Must => (&mut self.required, required),
            _ => (&mut self.optional, optional),
        };
        let is_new = match &group.slots {
            None => known.insert(group.terms.clone()),
            Some(_) => !groups.contains(&group),
        };
        if is_new {
            groups.push(group);
        }
    }
}
