//! Search by words against a naive BM25 that knows nothing of postings: random records inserted,
//! replaced and deleted, every kind of query part, filters, other handles and files.

use std::collections::BTreeMap;
use std::path::Path;

use portolan::eval::beir;
use portolan::eval::metrics::mean_scores;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Error, Filter, Language, Metric,
    Record, StopWords, TextError, TextIndex, TextQuery, Verify,
};
use proptest::prelude::*;

#[path = "lexical/naive.rs"]
mod naive;
#[path = "lexical/prefixes.rs"]
mod prefixes;

use naive::{Doc, Naive, Setup, Want};

/// Words so that some are in nearly every text and some in few.
const WORDS: [&str; 19] = [
    "sea", "the", "chart", "port", "ship", "wind", "star", "harbor", "anchor", "portolan", "Rhumb",
    "x7", "isle", "of", "from", "ships", "Winds", "sailing", "harbors",
];

fn setup() -> Setup {
    let (language, stop_words) = (Language::None, StopWords::default());
    Setup { language, stop_words, weights: [3, 1, 2], k1: 0.9, b: 0.4 }
}

/// Any language, stop words, weights and saturation.
fn setups() -> impl Strategy<Value = Setup> {
    let analyzer = prop_oneof![
        Just((Language::None, StopWords::default())),
        Just((Language::English, StopWords::None)),
        Just((Language::English, StopWords::Short)),
        Just((Language::English, StopWords::Full)),
    ];
    let weight = || prop_oneof![0..4_u8, Just(40)];
    let k1 = prop_oneof![Just(0.0), Just(0.9), Just(1.2), 0.0..5.0_f32, Just(100.0)];
    let b = prop_oneof![Just(0.0), Just(0.4), Just(1.0), 0.0..1.0_f32];
    (analyzer, weight(), 1..4_u8, weight(), k1, b).prop_map(
        |((language, stop_words), title, text, tag, k1, b)| Setup {
            language,
            stop_words,
            weights: [title, text, tag],
            k1,
            b,
        },
    )
}

fn options_of(setup: &Setup) -> CollectionOptions {
    CollectionOptions::new(2, Metric::Dot).text(setup.index())
}

fn options() -> CollectionOptions {
    options_of(&setup())
}

fn naive() -> Naive {
    Naive::new(setup())
}

fn open(path: &Path) -> Collection {
    Database::open(path).unwrap().collection_or_create("docs", options()).unwrap()
}

fn record(id: i64, doc: &Doc) -> Record {
    let record = Record::new(id).text(doc.text.as_str()).field("n", id % 3);
    let record = record.field("tag", doc.tag.as_str());
    if doc.title.is_empty() { record } else { record.title(doc.title.as_str()) }
}

fn text(words: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let word = prop_oneof![3 => 0usize..3, 1 => 0usize..WORDS.len()];
    proptest::collection::vec(word, words)
        .prop_map(|all| all.into_iter().map(|at| WORDS[at]).collect::<Vec<_>>().join(" "))
}

fn doc() -> impl Strategy<Value = Doc> {
    (text(0..3), text(0..14), text(0..2)).prop_map(|(title, text, tag)| Doc { title, text, tag })
}

/// A change: an id with its new content, or without.
fn change() -> impl Strategy<Value = (i64, Option<Doc>)> {
    (0i64..40, prop_oneof![4 => doc().prop_map(Some), 1 => Just(None)])
}

fn part() -> impl Strategy<Value = Want> {
    let word = || (0usize..WORDS.len()).prop_map(|at| WORDS[at].to_owned());
    prop_oneof![
        5 => word().prop_map(Want::Any),
        1 => word().prop_map(Want::Must),
        1 => word().prop_map(Want::Not),
        1 => text(1..4).prop_map(Want::Phrase),
        1 => text(1..5).prop_map(Want::NotPhrase),
        1 => Just(Want::Begin("po".into())),
        1 => Just(Want::Begin("ship".into())),
        1 => Just(Want::MustBegin("s".into())),
        1 => prop_oneof![Just("wi"), Just("x")].prop_map(|begin| Want::NotBegin(begin.into())),
    ]
}

/// Parts of a query, some of them again.
fn parts() -> impl Strategy<Value = Vec<Want>> {
    let again = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    (proptest::collection::vec(part(), 1..5), again).prop_map(|(mut parts, again)| {
        let again: Vec<Want> = again.iter().map(|at| at.get(&parts).clone()).collect();
        parts.extend(again);
        parts
    })
}

fn apply(collection: &Collection, naive: &mut Naive, changes: &[(i64, Option<Doc>)]) {
    let mut batch = collection.batch();
    for (id, doc) in changes {
        match doc {
            Some(doc) => batch.upsert(record(*id, doc)).unwrap(),
            None => batch.delete(*id),
        }
        naive.change(*id, doc.clone());
    }
    batch.commit().unwrap();
}

/// Compares all hits of a query, and those of small limits, with the naive order.
fn compare(collection: &Collection, naive: &Naive, wants: &[Want], at_least: usize) {
    let query = naive::query(wants).at_least(at_least);
    let all = collection.search_text(&query).limit(1_000).run().unwrap();
    let expected = naive.search(wants, at_least, |_| true);
    check(&all, &expected, wants);
    for limit in [1, 3] {
        let few = collection.search_text(&query).limit(limit).run().unwrap();
        // The same to the last bit, and of equal scores the same.
        assert_eq!(few.hits[..], all.hits[..limit.min(all.len())], "{wants:?}");
    }
    let filter = Filter::eq("n", 1);
    let some = collection.search_text(&query).limit(1_000).filter(filter).run().unwrap();
    check(&some, &naive.search(wants, at_least, |id| id % 3 == 1), wants);
}

fn check(hits: &[portolan::Hit], expected: &[(i64, f64)], wants: &[Want]) {
    let by_id: BTreeMap<i64, f64> = expected.iter().copied().collect();
    assert_eq!(hits.len(), by_id.len(), "{wants:?}: {hits:?} {expected:?}");
    let mut last = f64::INFINITY;
    for hit in hits {
        let portolan::RecordId::Int(id) = hit.id else { panic!("no integer") };
        let score = *by_id.get(&id).unwrap_or_else(|| panic!("{wants:?} has no {id}"));
        assert!((f64::from(hit.score) - score).abs() <= 2e-6 * score.max(1.0), "{wants:?} {id}");
        assert!(f64::from(hit.score) <= last);
        last = f64::from(hit.score);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn scores_and_order_are_those_of_a_naive_bm25(
        setup in setups(),
        batches in proptest::collection::vec(proptest::collection::vec(change(), 1..30), 1..5),
        queries in proptest::collection::vec((parts(), 0usize..3), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text.portolan");
        let options = options_of(&setup);
        let collection = Database::open(&path).unwrap().create_collection("docs", options).unwrap();
        let mut naive = Naive::new(setup);
        for batch in &batches {
            apply(&collection, &mut naive, batch);
            for (wants, at_least) in &queries {
                compare(&collection, &naive, wants, *at_least);
            }
        }
        let made_later = collection.index_text(&collection.text_index().unwrap().unwrap()).unwrap();
        prop_assert_eq!(made_later, collection.count().unwrap());
        Database::open(&path).unwrap().verify().unwrap();
        drop(collection);
        let shipped = DatabaseOptions::new().verify(Verify::Full).open_read_only(&path).unwrap();
        let shipped = shipped.collection("docs").unwrap();
        for (wants, at_least) in &queries {
            compare(&shipped, &naive, wants, *at_least);
        }
    }
}

/// Texts of a small vocabulary, from a seed.
struct Texts(u64);

impl Texts {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn doc(&mut self) -> Doc {
        let words = 1 + self.next(12);
        // The square makes low numbers frequent.
        let word = |texts: &mut Self| format!("w{}", texts.next(30) * texts.next(30) / 30);
        let text = (0..words).map(|_| word(self)).collect::<Vec<_>>().join(" ");
        Doc { title: String::new(), text, tag: "t".to_owned() }
    }
}

#[test]
fn thousands_of_postings_of_a_term_are_split_found_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.portolan");
    let collection = open(&path);
    let (mut naive, mut texts) = (naive(), Texts(7));
    let queries = [
        vec![Want::Any("w0".into())],
        vec![Want::Any("t".into()), Want::Any("w3".into()), Want::Any("w20".into())],
        vec![Want::Any("w1".into()), Want::Must("w2".into()), Want::Not("w0".into())],
        vec![Want::Phrase("w0 w1".into())],
        vec![Want::Begin("w2".into())],
    ];
    for round in 0..6 {
        // Rounds 3 and 4 replace records of earlier rounds.
        let from = [0, 4_000, 8_000, 1_000, 3_000, 12_000][round];
        let changes: Vec<_> = (from..from + 4_000).map(|id| (id, Some(texts.doc()))).collect();
        for changes in changes.chunks(900) {
            apply(&collection, &mut naive, changes);
        }
        let gone: Vec<_> =
            (0..16_000).filter(|id| (id + round as i64) % 7 == 0).map(|id| (id, None)).collect();
        apply(&collection, &mut naive, &gone);
        for wants in &queries {
            let hits = collection.search_text(naive::query(wants)).limit(20_000).run().unwrap();
            check(&hits, &naive.search(wants, 0, |_| true), wants);
            let best = collection.search_text(naive::query(wants)).limit(10).run().unwrap();
            assert_eq!(best.hits[..], hits.hits[..10], "{wants:?}");
        }
        Database::open(&path).unwrap().verify().unwrap();
    }
    // Deleting all leaves nothing of the postings.
    let all: Vec<_> = (0..20_000).map(|id| (id, None)).collect();
    apply(&collection, &mut naive, &all);
    assert!(collection.search_text("w0 w1 t").run().unwrap().is_empty());
    assert!(collection.info().unwrap().space.postings < 100);
}

#[test]
fn an_index_made_later_equals_one_that_was_there_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("later.portolan")).unwrap();
    let early = db.create_collection("early", options()).unwrap();
    let late = db.create_collection("late", CollectionOptions::new(2, Metric::Dot)).unwrap();
    let (mut texts, mut unused) = (Texts(3), naive());
    let changes: Vec<_> = (0..7_000).map(|id| (id, Some(texts.doc()))).collect();
    for collection in [&early, &late] {
        for changes in changes.chunks(1_500) {
            apply(collection, &mut unused, changes);
        }
        collection.delete(17_i64).unwrap();
    }
    let refused = late.search_text("w0").run().unwrap_err();
    assert!(matches!(&refused, Error::Text(TextError::NoIndex { .. })), "{refused}");
    assert!(refused.is_invalid_input() && refused.to_string().contains("index_text"));
    assert_eq!(late.index_text(&early.text_index().unwrap().unwrap()).unwrap(), 6_999);
    late.upsert(record(9_000, &texts.doc())).unwrap();
    early.upsert(late.get(9_000_i64).unwrap().unwrap()).unwrap();
    for query in ["w0", "w3 w7 t", "w29 w4"] {
        let of =
            |collection: &Collection| collection.search_text(query).limit(50).run().unwrap().hits;
        assert_eq!(of(&early), of(&late), "{query}");
    }
    db.verify().unwrap();
    assert!(late.remove_text_index().unwrap() && !late.remove_text_index().unwrap());
    assert!(late.search_text("w0").run().is_err());
    db.verify().unwrap();
    db.delete_collection("early").unwrap();
    db.verify().unwrap();
}

#[test]
fn copies_and_repaired_files_search_alike() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.portolan");
    let collection = open(&path);
    let (mut texts, mut unused) = (Texts(5), naive());
    let changes: Vec<_> = (0..500).map(|id| (id, Some(texts.doc()))).collect();
    apply(&collection, &mut unused, &changes);
    let of =
        |collection: &Collection| collection.search_text("w0 w5 t").limit(20).run().unwrap().hits;
    let expected = of(&collection);
    assert_eq!(expected.len(), 20);
    let copy = dir.path().join("copy.portolan");
    Database::open(&path).unwrap().compact_to(&copy).unwrap();
    drop(collection);
    let mended = dir.path().join("mended.portolan");
    assert!(Database::repair(&path, &mended).unwrap().is_complete());
    for path in [&copy, &mended] {
        let db = DatabaseOptions::new().verify(Verify::Full).open(path).unwrap();
        let collection = db.collection("docs").unwrap();
        assert_eq!(collection.text_index().unwrap(), open_index());
        assert_eq!(of(&collection), expected);
    }
}

fn open_index() -> Option<TextIndex> {
    Some(setup().index())
}

#[test]
fn stems_and_case_are_the_language_s() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("two.portolan")).unwrap();
    let texts =
        [(1, "The sailors were SAILING"), (2, "Die H\u{e4}user am H\u{c4}FEN"), (3, "Haus")];
    let found = |language, query: &str| {
        let name = format!("{language} {query}");
        let options = CollectionOptions::new(2, Metric::Dot).text(TextIndex::new(language));
        let docs = db.create_collection(&name, options).unwrap();
        for (id, text) in texts {
            docs.upsert(Record::new(id).text(text)).unwrap();
        }
        let hits = docs.search_text(query).run().unwrap();
        let mut ids: Vec<_> = hits.iter().map(|hit| hit.id.to_string()).collect();
        ids.sort();
        ids.concat()
    };
    assert_eq!(found(Language::English, "sails"), "1");
    assert_eq!(found(Language::English, "the"), "");
    assert_eq!(found(Language::None, "sails!"), "");
    assert_eq!(found(Language::None, "SAILING THE"), "1");
    assert_eq!(found(Language::German, "Hauses"), "23");
    assert_eq!(found(Language::German, "h\u{e4}fen"), "2");
}

#[test]
fn a_phrase_of_stop_words_beside_other_words_is_told_as_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("told.portolan")).unwrap();
    let options = CollectionOptions::new(2, Metric::Dot).text(TextIndex::new(Language::English));
    let docs = db.create_collection("docs", options).unwrap();
    docs.upsert(Record::new(1).text("charts of the sea")).unwrap();
    for (query, told) in [("sea \"of the\"", 1), ("sea -\"of the\"", 1), ("the sea \"sea\"", 0)] {
        let query = TextQuery::parse(query);
        let hits = docs.search_text(&query).run().unwrap();
        let findings = docs.find().text(&query).run().unwrap();
        for (hits, warnings) in
            [(&hits.hits, &hits.report.warnings), (&findings.hits, &findings.report.warnings)]
        {
            assert_eq!((hits.len(), warnings.len()), (1, told), "{query:?}: {warnings:?}");
            assert!(warnings.iter().all(|told| told.contains("was left out")), "{warnings:?}");
        }
    }
}

/// Many texts whose points differ by less than their scores can tell.
#[test]
fn texts_of_equal_scores_stand_in_order_of_insertion_and_pages_lose_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("ties.portolan")).unwrap();
    let index = TextIndex::new(Language::None).k1(1e-5).b(0.0);
    let options = CollectionOptions::new(2, Metric::Dot).text(index);
    let docs = db.create_collection("docs", options).unwrap();
    let mut batch = docs.batch();
    for id in 0..60_i64 {
        // The more of a word, the more points, by one or two in the last place of a term's.
        let text = |word: &str, step: i64| word.repeat((40 + id * step) as usize);
        batch.upsert(Record::new(id).text(text("sea ", 5) + &text("chart ", 3))).unwrap();
    }
    batch.upsert(Record::new(60).text("sea")).unwrap();
    batch.commit().unwrap();
    let all = docs.search_text("sea chart").limit(100).run().unwrap().hits;
    let ties = all.windows(2).filter(|two| two[0].score == two[1].score);
    assert!(ties.count() > 10);
    let id = |hit: &portolan::Hit| hit.id.to_string().parse::<i64>().unwrap();
    let in_order = |a: &portolan::Hit, b: &portolan::Hit| {
        a.score > b.score || (a.score == b.score && id(a) < id(b))
    };
    assert!(all.is_sorted_by(in_order), "{:?}", all.iter().map(id).collect::<Vec<_>>());
    for limit in [1, 4, 7] {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let mut find = docs.find().text("sea chart").limit(limit);
            if let Some(cursor) = next.take() {
                find = find.after(cursor);
            }
            let page = find.run().unwrap();
            found.extend(page.hits.iter().map(|hit| hit.id.clone()));
            let Some(cursor) = page.next else { break };
            next = Some(cursor);
        }
        assert_eq!(found, all.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>(), "{limit}");
    }
}

#[test]
fn bm25_of_the_scifact_excerpt_is_as_good_as_it_was_measured() {
    let fixture = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scifact-small").join(name)
    };
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("scifact.portolan")).unwrap();
    let options = CollectionOptions::new(2, Metric::Dot).text(TextIndex::new(Language::English));
    let docs = db.create_collection("docs", options).unwrap();
    let mut batch = docs.batch();
    for document in beir::documents(fixture("docs.jsonl")).unwrap() {
        let document = document.unwrap();
        batch.upsert(Record::new(document.id).title(document.title).text(document.text)).unwrap();
    }
    batch.commit().unwrap();
    let qrels = beir::qrels(fixture("qrels.tsv")).unwrap();
    let mut runs = std::collections::HashMap::new();
    for query in beir::queries(fixture("queries.jsonl")).unwrap() {
        let hits = docs.search_text(query.text).limit(100).run().unwrap();
        runs.insert(query.id, hits.iter().map(|hit| hit.id.to_string()).collect::<Vec<_>>());
    }
    let mean = mean_scores(&qrels, &runs);
    println!("{mean:?}");
    assert!(mean.ndcg_10 > 0.80, "{mean:?}");
}
