//! BM25 as its formula says, over words between spaces: no index, no bounds, no integers.

use std::collections::BTreeMap;

use portolan::{Language, StopWords, TextIndex, TextQuery};

/// The content of a record.
#[derive(Debug, Clone)]
pub struct Doc {
    pub title: String,
    pub text: String,
    pub tag: String,
}

/// A part of a query.
#[derive(Debug, Clone)]
pub enum Want {
    Any(String),
    Must(String),
    Not(String),
    Phrase(String),
    NotPhrase(String),
    Begin(String),
    MustBegin(String),
    NotBegin(String),
}

/// The same query for the library.
pub fn query(wants: &[Want]) -> TextQuery {
    // The one part that only text can say.
    let excluded = wants.iter().filter_map(|want| match want {
        Want::NotBegin(begin) => Some(format!("-{begin}*")),
        _ => None,
    });
    let excluded = TextQuery::parse(&excluded.collect::<Vec<_>>().join(" "));
    wants.iter().fold(excluded, |query, want| match want {
        Want::Any(word) => query.words(word),
        Want::Must(word) => query.must(word),
        Want::Not(word) => query.not(word),
        Want::Phrase(words) => query.phrase(words),
        Want::NotPhrase(words) => query.not_phrase(words),
        Want::Begin(begin) => query.prefix(begin),
        Want::MustBegin(begin) => query.must_prefix(begin),
        Want::NotBegin(_) => query,
    })
}

/// How texts are indexed and scored.
#[derive(Debug, Clone)]
pub struct Setup {
    pub language: Language,
    pub stop_words: StopWords,
    /// Weights of title, text and tag.
    pub weights: [u8; 3],
    pub k1: f32,
    pub b: f32,
}

/// What Snowball's English makes of the words that occur here and are no stems.
const STEMS: [(&str, &str); 5] = [
    ("ships", "ship"),
    ("winds", "wind"),
    ("harbors", "harbor"),
    ("sailing", "sail"),
    ("isle", "isl"),
];

impl Setup {
    /// The same for the library.
    pub fn index(&self) -> TextIndex {
        let [title, text, tag] = self.weights;
        let index = TextIndex::new(self.language).stop_words(self.stop_words);
        index.title(title).text(text).field("tag", tag).k1(self.k1).b(self.b)
    }

    /// The term of a word; none if it is left out. Words with a stop word's meaning here are "the"
    /// and "of", and "from" in the full list alone.
    fn term(&self, word: &str) -> Option<String> {
        let word = word.to_lowercase();
        if self.language == Language::None {
            return Some(word);
        }
        let is_left_out = match self.stop_words {
            StopWords::Short => ["the", "of"].contains(&word.as_str()),
            StopWords::Full => ["the", "of", "from"].contains(&word.as_str()),
            _ => false,
        };
        let stem = STEMS.iter().find(|(of, _)| *of == word);
        (!is_left_out).then(|| stem.map_or(word, |(_, stem)| (*stem).to_owned()))
    }

    /// Words in their places.
    fn places(&self, text: &str) -> Vec<Option<String>> {
        text.split(' ').filter(|word| !word.is_empty()).map(|word| self.term(word)).collect()
    }

    /// The words of a phrase in their places, from the first that counts to the last; none if no
    /// word counts.
    fn phrase(&self, text: &str) -> Option<Vec<Option<String>>> {
        let mut places = self.places(text);
        while places.pop_if(|last| last.is_none()).is_some() {}
        let first = places.iter().take_while(|place| place.is_none()).count();
        places.drain(..first);
        (!places.is_empty()).then_some(places)
    }

    fn words(&self, text: &str) -> Vec<String> {
        self.places(text).into_iter().flatten().collect()
    }
}

/// Records by id, with the number of the change that made them.
pub struct Naive {
    setup: Setup,
    docs: BTreeMap<i64, (u64, Doc)>,
    changes: u64,
}

impl Naive {
    pub fn new(setup: Setup) -> Self {
        Self { setup, docs: BTreeMap::new(), changes: 0 }
    }

    pub fn change(&mut self, id: i64, doc: Option<Doc>) {
        self.changes += 1;
        match doc {
            Some(doc) => self.docs.insert(id, (self.changes, doc)),
            None => self.docs.remove(&id),
        };
    }

    /// Fields that are indexed, with their weights.
    fn fields<'d>(&self, doc: &'d Doc) -> impl Iterator<Item = (&'d str, f64)> + use<'d> {
        let texts = [doc.title.as_str(), &doc.text, &doc.tag].into_iter();
        let weights = self.setup.weights.map(f64::from);
        texts.zip(weights).filter(|(_, weight)| *weight > 0.0)
    }

    fn count(&self, doc: &Doc, is: impl Fn(&str) -> bool) -> f64 {
        let of = |(text, weight): (&str, f64)| {
            weight * self.setup.words(text).iter().filter(|word| is(word)).count() as f64
        };
        self.fields(doc).map(of).sum()
    }

    /// Words that are left out of a phrase stand for any.
    fn has_phrase(&self, doc: &Doc, phrase: &[Option<String>]) -> bool {
        let is_it = |found: &[Option<String>]| {
            found.iter().zip(phrase).all(|(own, wanted)| wanted.is_none() || own == wanted)
        };
        self.fields(doc).any(|(text, _)| self.setup.places(text).windows(phrase.len()).any(is_it))
    }

    /// Terms of all records, with how many have each.
    fn frequencies(&self) -> BTreeMap<String, f64> {
        let mut found: BTreeMap<String, f64> = BTreeMap::new();
        for (_, doc) in self.docs.values() {
            let mut own: Vec<String> =
                self.fields(doc).flat_map(|(text, _)| self.setup.words(text)).collect();
            own.sort();
            own.dedup();
            own.into_iter().for_each(|word| *found.entry(word).or_default() += 1.0);
        }
        found
    }

    /// Ids and scores of what is found, best first, of equal ones the older first.
    pub fn search(
        &self,
        wants: &[Want],
        at_least: usize,
        passes: impl Fn(i64) -> bool,
    ) -> Vec<(i64, f64)> {
        let lengths = self.docs.values().map(|(_, doc)| self.count(doc, |_| true));
        let lengths: Vec<f64> = lengths.filter(|length| *length > 0.0).collect();
        let (all, sum) = (lengths.len() as f64, lengths.iter().sum::<f64>());
        let frequencies = self.frequencies();
        let idf = |texts: f64| (1.0 + (all - texts + 0.5) / (texts + 0.5)).ln();
        // Terms that add to the score: how often they are wanted, and how frequent they count as.
        let mut terms: BTreeMap<String, (f64, Option<f64>)> = BTreeMap::new();
        let mut optional: Vec<Vec<String>> = Vec::new();
        let mut required: Vec<Vec<String>> = Vec::new();
        let (mut excluded, mut phrases) = (Vec::new(), Vec::new());
        let mut excluded_phrases = Vec::new();
        let words = |text: &str| self.setup.words(text);
        let begins = |begin: &str| -> Vec<String> {
            frequencies.keys().filter(|word| word.starts_with(begin)).cloned().collect()
        };
        for want in wants {
            let (group, as_group, into): (Vec<String>, bool, _) = match want {
                Want::Any(word) => (words(word), false, &mut optional),
                Want::Must(word) => (words(word), false, &mut required),
                Want::Not(word) => {
                    excluded.extend(words(word));
                    continue;
                }
                Want::Phrase(text) => {
                    phrases.extend(self.setup.phrase(text));
                    (words(text), false, &mut required)
                }
                Want::NotPhrase(text) => {
                    excluded_phrases.extend(self.setup.phrase(text));
                    continue;
                }
                Want::NotBegin(begin) => {
                    excluded.extend(begins(begin));
                    continue;
                }
                Want::Begin(begin) => (begins(begin), true, &mut optional),
                Want::MustBegin(begin) => (begins(begin), true, &mut required),
            };
            let most = group.iter().filter_map(|word| frequencies.get(word)).copied();
            let most = most.fold(0.0, f64::max);
            for word in &group {
                let (times, counts_as) =
                    terms.entry(word.clone()).or_insert((0.0, as_group.then_some(most)));
                *times += 1.0;
                *counts_as = counts_as.and(as_group.then_some(most));
            }
            let groups =
                if as_group { vec![group] } else { group.into_iter().map(|w| vec![w]).collect() };
            for group in groups {
                if !into.contains(&group) {
                    into.push(group);
                }
            }
        }
        let least = if required.is_empty() { at_least.max(1) } else { at_least };
        let least = least.min(optional.len());
        let mut found = Vec::new();
        for (&id, (age, doc)) in self.docs.iter().filter(|(id, _)| passes(**id)) {
            let has = |group: &&Vec<String>| {
                self.count(doc, |word| group.iter().any(|w| w == word)) > 0.0
            };
            if !required.iter().all(|group| has(&group))
                || optional.iter().filter(has).count() < least
                || has(&&excluded)
                || !phrases.iter().all(|phrase| self.has_phrase(doc, phrase))
                || excluded_phrases.iter().any(|phrase| self.has_phrase(doc, phrase))
            {
                continue;
            }
            let length = self.count(doc, |_| true);
            let score: f64 = terms
                .iter()
                .map(|(term, (times, counts_as))| {
                    let count = self.count(doc, |word| word == term);
                    let texts = counts_as.or(frequencies.get(term).copied()).unwrap_or(0.0);
                    let (k1, b) = (f64::from(self.setup.k1), f64::from(self.setup.b));
                    let norm = k1 * (1.0 - b + b * length / (sum / all));
                    if count > 0.0 { times * idf(texts) * count / (count + norm) } else { 0.0 }
                })
                .sum();
            if score > 0.0 {
                found.push((id, *age, score));
            }
        }
        found.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.1.cmp(&b.1)));
        found.into_iter().map(|(id, _, score)| (id, score)).collect()
    }
}
