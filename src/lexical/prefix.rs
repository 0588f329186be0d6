//! Words that begin so: the most frequent of them, by which texts are scored, and where it decides
//! what is a hit, the texts that have any of them.

use std::collections::HashMap;
use std::rc::Rc;

use roaring::RoaringBitmap;

use super::analysis::{Analyzer, each_token};
use super::cursor::Postings;
use super::keys;
use super::list::List;
use super::run::{Decoded, WHAT};
use crate::format::unseal;
use crate::storage::{Snapshot, StorageError, Table};

/// Terms that a prefix is scored by, at most.
const EXPANSIONS: usize = 64;
/// Terms that are looked at to find the most frequent ones of a prefix.
const EXPANSIONS_SEEN: usize = 65_536;

/// The begin of a word, after whole words: `e-mai` is the word `e` and the begin `mai`.
pub(super) fn last_word(text: &str) -> (Vec<&str>, &str) {
    let mut words = Vec::new();
    each_token(text, |token| words.push(token.raw));
    let begin = words.pop().unwrap_or(text);
    (words, begin)
}

/// What a prefix stands for.
#[derive(Clone)]
pub(super) struct Expansion {
    /// The most frequent terms, the first of them first.
    pub(super) terms: Vec<Vec<u8>>,
    /// How many texts have the first.
    pub(super) texts: u32,
    /// Whether it stands for more terms.
    pub(super) is_more: bool,
    /// The texts that have any of its terms, if those are more and it was asked for.
    pub(super) slots: Option<Rc<RoaringBitmap>>,
}

/// The prefixes of a query, each looked up once however often it is there.
pub(super) struct Prefixes<'s> {
    snapshot: &'s dyn Snapshot,
    collection: u32,
    known: HashMap<Prefix, Expansion>,
}

impl<'s> Prefixes<'s> {
    pub(super) fn new(snapshot: &'s dyn Snapshot, collection: u32) -> Self {
        Self { snapshot, collection, known: HashMap::new() }
    }

    /// The most frequent terms that begin so; with the texts of all of them if `whole`, for which
    /// the postings of all are read where there are more.
    ///
    /// # Errors
    /// Storage; damage.
    pub(super) fn expand(
        &mut self,
        begin: &str,
        analyzer: &mut Analyzer,
        whole: bool,
    ) -> Result<Expansion, StorageError> {
        let prefix = Prefix::new(self.collection, begin, analyzer);
        let mut expansion = match self.known.get(&prefix) {
            Some(known) => known.clone(),
            None => prefix.expand(self.snapshot)?,
        };
        if whole && expansion.is_more && expansion.slots.is_none() {
            expansion.slots = Some(Rc::new(prefix.slots(self.snapshot)?));
        }
        self.known.insert(prefix, expansion.clone());
        Ok(expansion)
    }
}

/// The terms that begin as a word does, and the one that has its stem.
#[derive(PartialEq, Eq, Hash)]
struct Prefix {
    collection: u32,
    stem: Option<Vec<u8>>,
    begin: Vec<u8>,
}

impl Prefix {
    fn new(collection: u32, begin: &str, analyzer: &mut Analyzer) -> Self {
        let stem = analyzer.term(begin).map(<[u8]>::to_vec);
        let begin = analyzer.prefix(begin).as_bytes().to_vec();
        let stem = stem.filter(|stem| !stem.starts_with(&begin));
        Self { collection, stem, begin }
    }

    /// The most frequent terms.
    fn expand(&self, snapshot: &dyn Snapshot) -> Result<Expansion, StorageError> {
        let mut found: Vec<(u32, Vec<u8>)> = Vec::new();
        if let Some(stem) = &self.stem {
            let at = keys::term(self.collection, stem);
            if let Some(sealed) = snapshot.get(Table::Postings, &at)? {
                let list = List::read(unseal(WHAT, Table::Postings as u8, &at, sealed)?)?;
                found.push((list.texts(), stem.clone()));
            }
        }
        let mut seen = found.len();
        let prefix = keys::term(self.collection, &self.begin);
        for entry in snapshot.range(Table::Postings, &prefix, &prefix)?.take(EXPANSIONS_SEEN) {
            let (at, sealed) = entry?;
            let list = List::read(unseal(WHAT, Table::Postings as u8, at, sealed)?)?;
            let term = keys::term_of(at).ok_or(StorageError::Missing { what: "a term" })?;
            found.push((list.texts(), term.to_vec()));
            seen += 1;
            if found.len() >= 2 * EXPANSIONS {
                keep_most_frequent(&mut found);
            }
        }
        keep_most_frequent(&mut found);
        let texts = found.first().map_or(0, |(texts, _)| *texts);
        let terms = found.into_iter().map(|(_, term)| term).collect();
        Ok(Expansion { terms, texts, is_more: seen > EXPANSIONS, slots: None })
    }

    /// The texts that have any of the terms, however many there are.
    fn slots(&self, snapshot: &dyn Snapshot) -> Result<RoaringBitmap, StorageError> {
        let (mut slots, mut decoded) = (RoaringBitmap::new(), Decoded::new());
        let mut add = |term: &[u8]| -> Result<(), StorageError> {
            let Some(postings) = Postings::of(snapshot, self.collection, term)? else {
                return Ok(());
            };
            for block in postings.blocks {
                block.decode(&mut decoded)?;
                slots.extend(decoded.postings().map(|posting| posting.slot));
            }
            Ok(())
        };
        if let Some(stem) = &self.stem {
            add(stem)?;
        }
        let prefix = keys::term(self.collection, &self.begin);
        for entry in snapshot.range(Table::Postings, &prefix, &prefix)? {
            add(keys::term_of(entry?.0).ok_or(StorageError::Missing { what: "a term" })?)?;
        }
        Ok(slots)
    }
}

fn keep_most_frequent(found: &mut Vec<(u32, Vec<u8>)>) {
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.truncate(EXPANSIONS);
}
