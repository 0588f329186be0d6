//! Searches by words, phrases and prefixes, wanted, required and excluded: which records have
//! them, by a look at their words. Their scores have tests of their own.

use std::collections::BTreeSet;
use std::ops::Range;

use portolan::{Collection, Record, RecordId, TextQuery};

use super::common::Rng;
use super::searches::{WORDS, ids};
use super::{Predicate, Side};

/// Title and text, of which each has words of its own.
fn texts(record: &Record) -> [Vec<&str>; 2] {
    let title = record.title.as_deref().unwrap_or_default();
    [title, record.text.as_str()].map(|text| text.split(' ').collect())
}

pub fn has(record: &Record, word: &str) -> bool {
    texts(record).iter().any(|words| words.contains(&word))
}

/// One word right behind the other.
fn has_phrase(record: &Record, phrase: [&str; 2]) -> bool {
    texts(record).iter().any(|words| words.windows(2).any(|pair| pair == phrase))
}

fn has_begin(record: &Record, begin: &str) -> bool {
    texts(record).iter().flatten().any(|word| word.starts_with(begin))
}

/// Where a text has a word as a whole.
pub fn marks(text: &str, wanted: &str) -> Vec<Range<usize>> {
    let (mut marks, mut at) = (Vec::new(), 0);
    for word in text.split(' ') {
        if word == wanted {
            marks.push(at..at + word.len());
        }
        at += word.len() + 1;
    }
    marks
}

/// A query, and whether it finds a record.
struct Asked {
    text: String,
    finds: Box<dyn Fn(&Record) -> bool>,
}

impl Asked {
    fn new(text: String, finds: impl Fn(&Record) -> bool + 'static) -> Self {
        Self { text, finds: Box::new(finds) }
    }

    fn any(rng: &mut Rng) -> Self {
        let mut word = || WORDS[rng.below(8) as usize];
        let (a, b, c) = (word(), word(), word());
        let begin = if rng.once_in(8) { "zz" } else { &a[..1 + rng.below(3) as usize] };
        match rng.below(10) {
            0 => Self::new(a.to_owned(), move |r| has(r, a)),
            1 => Self::new(format!("{a} {b} {c}"), move |r| has(r, a) || has(r, b) || has(r, c)),
            2 => {
                let all = move |r: &Record| has(r, a) && has(r, b) && has(r, c);
                Self::new(format!("+{a} +{b} +{c}"), all)
            }
            3 => Self::new(format!("+{a} {b}"), move |r| has(r, a)),
            4 => Self::new(format!("+{a} -{b}"), move |r| has(r, a) && !has(r, b)),
            5 => Self::new(format!("\"{a} {b}\""), move |r| has_phrase(r, [a, b])),
            6 => {
                let apart = move |r: &Record| has(r, c) && !has_phrase(r, [a, b]);
                Self::new(format!("{c} -\"{a} {b}\""), apart)
            }
            7 => Self::new(format!("{begin}*"), move |r| has_begin(r, begin)),
            8 => {
                let both = move |r: &Record| has_begin(r, begin) && !has(r, c);
                Self::new(format!("+{begin}* {b} -{c}"), both)
            }
            _ => {
                let either = move |r: &Record| has_begin(r, begin) || has(r, b);
                Self::new(format!("{b} {begin}*"), either)
            }
        }
    }
}

impl Side {
    pub fn with_word(&self, word: &str, filter: Option<&Predicate>) -> BTreeSet<RecordId> {
        let matching = self.passing(filter).filter(|record| has(record, word));
        matching.map(|record| record.id.clone()).collect()
    }
}

/// All that are found, and the first of them where no more are wanted.
pub fn check_words(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    for _ in 0..2 {
        let asked = Asked::any(rng);
        let text = &asked.text;
        let mut search = docs.search_text(TextQuery::parse(text));
        if let Some(filter) = filter {
            search = search.filter(filter.filter(rng));
        }
        let hits = search.clone().limit(usize::MAX).run().expect("a search").hits;
        assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "out of order");
        let found = ids(&hits);
        assert_eq!(found.len(), hits.len(), "a record twice");
        let wanted = side.passing(filter).filter(|record| (asked.finds)(record));
        let wanted: BTreeSet<RecordId> = wanted.map(|record| record.id.clone()).collect();
        assert!(found == wanted, "{text}: {} found, not {}", found.len(), wanted.len());

        let few = rng.below(20) as usize;
        let first = search.limit(few).run().expect("a search").hits;
        assert_eq!(first[..], hits[..few.min(hits.len())], "the first {few} of {text}");
    }
}
