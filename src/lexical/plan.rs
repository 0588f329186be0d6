//! A query against an index: its words as terms that texts have, with their weights, and what a
//! hit must and must not have.

use std::collections::BTreeMap;

use super::analysis::{Analyzer, each_token};
use super::bm25::{Scoring, idf};
use super::config::TextIndex;
use super::cursor::{Cursor, Postings};
use super::keys;
use super::lengths::Stats;
use super::list::List;
use super::phrase::Phrase;
use super::query::{Occur, Part, TextQuery};
use super::run::WHAT;
use crate::format::unseal;
use crate::storage::{Snapshot, StorageError, Table};

/// Terms that a prefix stands for, at most.
const EXPANSIONS: usize = 64;
/// Terms that are looked at to find the most frequent ones of a prefix.
const EXPANSIONS_SEEN: usize = 65_536;

/// A query in terms.
pub(super) struct Plan<'s> {
    pub(super) scoring: Scoring,
    pub(super) cursors: Vec<Cursor<'s>>,
    /// A hit has a term of each.
    pub(super) required: Vec<Vec<Cursor<'s>>>,
    /// A hit has none of these.
    pub(super) excluded: Vec<Cursor<'s>>,
    /// A hit has so many of these.
    pub(super) optional: Option<(usize, Vec<Vec<Cursor<'s>>>)>,
    /// Phrases, and whether a hit has them.
    pub(super) phrases: Vec<(Phrase, bool)>,
    /// Terms, each counted once.
    pub(super) terms: usize,
}

/// Any of these terms.
type Group = Vec<Vec<u8>>;

/// The parts of a query in terms, before their postings are read.
#[derive(Default)]
struct Terms {
    /// How often each is asked for, and how frequent it counts as if not by itself.
    wanted: BTreeMap<Vec<u8>, (f32, Option<u32>)>,
    required: Vec<Group>,
    optional: Vec<Group>,
    excluded: Group,
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
        let excluded = terms.excluded.iter();
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
        let cursor = |term: &[u8], weight: f32| {
            known.get(term).map(|of| Cursor::new(of.clone(), &scoring, weight))
        };
        let group = |group: &Group| group.iter().filter_map(|term| cursor(term, 0.0)).collect();
        let required: Vec<Vec<Cursor<'s>>> = terms.required.iter().map(group).collect();
        let least = terms.optional.len().min(query.at_least);
        let is_implied = least == 0 || (least == 1 && required.is_empty());
        let optional = (!is_implied).then(|| (least, terms.optional.iter().map(group).collect()));
        let excluded = terms.excluded.iter().filter_map(|term| cursor(term, 0.0)).collect();
        let cursors: Vec<Cursor<'s>> = weights
            .iter()
            .filter_map(|(term, weight)| {
                Some(Cursor::new(known.remove(term)?, &scoring, scoring.weight(*weight)))
            })
            .collect();
        if cursors.is_empty() || required.iter().any(Vec::is_empty) {
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
        let mut analyzer = Analyzer::new(index.language());
        let mut terms = Self::default();
        for (occur, part) in &query.parts {
            match part {
                Part::Words(text) => each_token(text, |token| {
                    if let Some(term) = analyzer.term(token.raw) {
                        terms.take(*occur, vec![term.to_vec()], None);
                    }
                }),
                Part::Phrase(text) => {
                    let Some(phrase) = Phrase::new(text, &mut analyzer) else { continue };
                    let wanted = *occur != Occur::Not;
                    if wanted {
                        for term in phrase.terms() {
                            terms.take(Occur::Must, vec![term.to_vec()], None);
                        }
                    }
                    terms.phrases.push((phrase, wanted));
                }
                Part::Prefix(begin) => {
                    let stem = analyzer.term(begin).map(<[u8]>::to_vec);
                    let begin = analyzer.prefix(begin);
                    let (group, texts) = expand(snapshot, collection, begin.as_bytes(), stem)?;
                    terms.take(*occur, group, Some(texts));
                }
            }
        }
        Ok(terms)
    }

    fn take(&mut self, occur: Occur, group: Group, texts: Option<u32>) {
        if occur == Occur::Not {
            self.excluded.extend(group);
            return;
        }
        for term in &group {
            let (times, counts_as) = self.wanted.entry(term.clone()).or_insert((0.0, texts));
            *times += 1.0;
            // A word that is asked for by itself counts by itself.
            *counts_as = counts_as.and(texts);
        }
        let groups = if occur == Occur::Must { &mut self.required } else { &mut self.optional };
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
}

/// The most frequent terms that begin so, and how many texts have the first of them.
fn expand(
    snapshot: &dyn Snapshot,
    collection: u32,
    begin: &[u8],
    stem: Option<Vec<u8>>,
) -> Result<(Group, u32), StorageError> {
    let mut found: Vec<(u32, Vec<u8>)> = Vec::new();
    if let Some(stem) = stem.filter(|stem| !stem.starts_with(begin)) {
        let at = keys::term(collection, &stem);
        if let Some(sealed) = snapshot.get(Table::Postings, &at)? {
            let list = List::read(unseal(WHAT, Table::Postings as u8, &at, sealed)?)?;
            found.push((list.texts(), stem));
        }
    }
    let prefix = keys::term(collection, begin);
    for entry in snapshot.range(Table::Postings, &prefix, &prefix)?.take(EXPANSIONS_SEEN) {
        let (at, sealed) = entry?;
        let list = List::read(unseal(WHAT, Table::Postings as u8, at, sealed)?)?;
        let term = keys::term_of(at).ok_or(StorageError::Missing { what: "a term" })?;
        found.push((list.texts(), term.to_vec()));
        if found.len() >= 2 * EXPANSIONS {
            keep_most_frequent(&mut found);
        }
    }
    keep_most_frequent(&mut found);
    let texts = found.first().map_or(0, |(texts, _)| *texts);
    Ok((found.into_iter().map(|(_, term)| term).collect(), texts))
}

fn keep_most_frequent(found: &mut Vec<(u32, Vec<u8>)>) {
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.truncate(EXPANSIONS);
}
