//! What a hit has with it: marks on the words that were looked for and the chunks around it, each
//! against a naive look.

use std::collections::BTreeMap;
use std::ops::Range;

use portolan::{
    CollectionOptions, Database, Dense, Filter, Language, Lexical, Metric, Record, RecordId,
    TextIndex, TextQuery, Value,
};
use proptest::prelude::*;

use crate::world::run;

/// Words of one to three letters and digits in both cases, with what stands between them. Some
/// characters are of more than a byte.
fn texts() -> impl Strategy<Value = String> {
    let word = "[abcABC\u{e9}\u{c9}7]{1,3}";
    let between = prop_oneof![
        3 => Just(" "),
        1 => proptest::sample::select(vec!["-", ", ", "\u{2014}", "\n", " (", ")", "...", "/"]),
    ];
    proptest::collection::vec((word, between), 0..14)
        .prop_map(|parts| parts.into_iter().map(|(word, between)| word + between).collect())
}

/// A part of a query: its text, and which folded words it marks.
#[derive(Debug, Clone)]
enum Part {
    Word(String),
    Required(String),
    Excluded(String),
    Phrase(String, String),
    Begin(String),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let word = || "[abcABC\u{e9}7]{1,2}";
    let part = prop_oneof![
        3 => word().prop_map(Part::Word),
        1 => word().prop_map(Part::Required),
        1 => word().prop_map(Part::Excluded),
        1 => (word(), word()).prop_map(|(a, b)| Part::Phrase(a, b)),
        1 => word().prop_map(Part::Begin),
    ];
    proptest::collection::vec(part, 1..4)
}

impl Part {
    fn text(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Required(word) => format!("+{word}"),
            Self::Excluded(word) => format!("-{word}"),
            Self::Phrase(a, b) => format!("\"{a} {b}\""),
            Self::Begin(begin) => format!("{begin}*"),
        }
    }

    fn marks(&self, word: &str) -> bool {
        let is = |own: &str| own.to_lowercase() == word;
        match self {
            Self::Word(own) | Self::Required(own) => is(own),
            Self::Excluded(_) => false,
            Self::Phrase(a, b) => is(a) || is(b),
            Self::Begin(begin) => word.starts_with(&begin.to_lowercase()),
        }
    }
}

/// Runs of letters and digits that one of the parts marks.
fn naive(text: &str, parts: &[Part]) -> Vec<Range<usize>> {
    let (mut found, mut begin) = (Vec::new(), None);
    for (at, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        match (begin, letter.is_alphanumeric()) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                let word = text[from..at].to_lowercase();
                if parts.iter().any(|part| part.marks(&word)) {
                    found.push(from..at);
                }
                begin = None;
            }
            _ => {}
        }
    }
    found
}

fn query(parts: &[Part]) -> TextQuery {
    let texts: Vec<String> = parts.iter().map(Part::text).collect();
    TextQuery::parse(&texts.join(" "))
}

/// A record that stands in for a chunk: of which document, where, and what is wrong with it.
#[derive(Debug, Clone)]
struct Chunk {
    document: usize,
    at: i64,
    flaw: Flaw,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    OtherId,
    OtherPlace,
    NoPlace,
    OtherDocument,
}

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let flaw = prop_oneof![
        8 => Just(Flaw::None),
        1 => Just(Flaw::OtherId),
        1 => Just(Flaw::OtherPlace),
        1 => Just(Flaw::NoPlace),
        1 => Just(Flaw::OtherDocument),
    ];
    let chunk = (0..4_usize, 0..9_i64, flaw);
    let chunk = chunk.prop_map(|(document, at, flaw)| Chunk { document, at, flaw });
    proptest::collection::vec(chunk, 0..40)
}

/// Documents of which two have ids that are written the same, and one that begins as another.
fn document(number: usize) -> Value {
    [Value::from("a"), Value::from("a#1"), Value::from("7"), Value::Int(7)][number].clone()
}

fn chunk_id(document: &Value, at: i64) -> RecordId {
    match document {
        Value::Text(text) => RecordId::from(format!("{text}#{at}")),
        Value::Int(number) => RecordId::from(format!("{number}#{at}")),
        other => panic!("no document here: {other:?}"),
    }
}

impl Chunk {
    fn record(&self) -> Record {
        let own = document(self.document);
        let id = match self.flaw {
            Flaw::OtherId => RecordId::from(format!("x{}", self.at)),
            _ => chunk_id(&own, self.at),
        };
        let record = Record::new(id).text(format!("{self:?}"));
        let record = match self.flaw {
            Flaw::OtherDocument => record.field("document", "b"),
            _ => record.field("document", own),
        };
        match self.flaw {
            Flaw::NoPlace => record,
            Flaw::OtherPlace => record.field("chunk", self.at + 1),
            _ => record.field("chunk", self.at),
        }
    }
}

/// The chunks on one side of a record, the nearest first, up to the first that is missing.
fn beside(known: &BTreeMap<RecordId, Record>, of: &Record, step: i64, most: usize) -> Vec<Record> {
    let field = |record: &Record, field: &str| record.metadata.get(field).cloned();
    let (Some(document), Some(Value::Int(at))) = (field(of, "document"), field(of, "chunk")) else {
        return Vec::new();
    };
    if of.id != chunk_id(&document, at) {
        return Vec::new();
    }
    let next = (1..).map(|far| known.get(&chunk_id(&document, at + far * step)));
    let chunks =
        next.map_while(|found| found.filter(|r| field(r, "document") == field(of, "document")));
    chunks.take(most).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn marks_stand_where_a_naive_look_finds_the_words(
        records in proptest::collection::vec((proptest::option::of(texts()), texts()), 1..6),
        first in parts(), second in parts(),
    ) {
        let dir = crate::common::quick_dir();
        let db = Database::open(dir.path().join("m.portolan")).unwrap();
        let index = TextIndex::new(Language::None);
        let options = CollectionOptions::new(2, Metric::Dot).text(index.clone());
        let docs = db.create_collection("docs", options).unwrap();
        let mut batch = docs.batch();
        for (id, (title, text)) in records.iter().enumerate() {
            let record = Record::new(id as i64).text(text.clone()).vector([1.0, 0.0]);
            let record = match title {
                Some(title) => record.title(title.clone()),
                None => record,
            };
            batch.upsert(record).unwrap();
        }
        batch.commit().unwrap();
        // The list of vectors finds all, so that records without the words are looked at too.
        let find = docs.find().dense_with(Dense::new([1.0, 0.0]));
        let find = find.text_with(Lexical::new(query(&first)));
        let find = find.text_with(Lexical::new(query(&second)));
        let found = run(find.highlights());
        prop_assert_eq!(found.hits.len(), records.len());
        let parts = [first.clone(), second].concat();
        for hit in &found {
            let title = hit.record.title.as_deref().unwrap_or_default();
            prop_assert_eq!(&hit.highlights.title, &naive(title, &parts), "{:?}", title);
            prop_assert_eq!(&hit.highlights.text, &naive(hit.text(), &parts), "{:?}", hit.text());
            let alone = index.highlight(&query(&first), hit.text());
            prop_assert_eq!(alone, naive(hit.text(), &first));
        }
    }

    #[test]
    fn neighbors_are_those_of_a_naive_look(chunks in chunks(), most in 1_usize..4) {
        let dir = crate::common::quick_dir();
        let db = Database::open(dir.path().join("n.portolan")).unwrap();
        let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Dot)).unwrap();
        let mut known = BTreeMap::new();
        let mut batch = docs.batch();
        for chunk in &chunks {
            let record = chunk.record();
            batch.upsert(record.clone()).unwrap();
            known.insert(record.id.clone(), record);
        }
        batch.commit().unwrap();
        let found = run(docs.find().filter(Filter::exists("document")).neighbors(most).limit(100));
        prop_assert_eq!(found.hits.len(), known.len());
        for hit in &found {
            let mut before = beside(&known, &hit.record, -1, most);
            before.reverse();
            prop_assert_eq!(&hit.before, &before, "before {}", &hit.id);
            let after = beside(&known, &hit.record, 1, most);
            prop_assert_eq!(&hit.after, &after, "after {}", &hit.id);
        }
    }
}
