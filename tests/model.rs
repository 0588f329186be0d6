//! The database against a model: random interleavings of every operation, on two collections of
//! all metrics and originals, compared with a map and a brute-force search. Both have a text index
//! and named vector fields; the fields of one are all indexed, of the other only one is. Among the
//! operations the file is reopened, compacted, repaired, and copied while it is open, as a process
//! leaves it that is killed between commits; `tests/crash.rs` has kills within.
//!
//! Nine shapes of 8 cases of 140 operations each are 10,080 operations. `PORTOLAN_DEPTH` multiplies
//! the cases: 20,160 operations in CI, which sets 2. `PORTOLAN_DEEP=1` alone means 100 times as
//! many, 1,008,000; with both set `PORTOLAN_DEPTH` decides.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "model/batched.rs"]
mod batched;
#[cfg(feature = "nim")]
#[path = "model/blended.rs"]
mod blended;
#[path = "model/chunked.rs"]
mod chunked;
#[path = "common/mod.rs"]
mod common;
#[path = "model/copies.rs"]
mod copies;
#[path = "model/explained.rs"]
mod explained;
#[path = "model/filters.rs"]
mod filters;
#[path = "model/fused.rs"]
mod fused;
#[path = "model/hybrid.rs"]
mod hybrid;
#[path = "model/like.rs"]
mod like;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/parts.rs"]
mod parts;
#[path = "model/records.rs"]
mod records;
#[cfg(feature = "nim")]
#[path = "model/reranked.rs"]
mod reranked;
#[path = "model/searches.rs"]
mod searches;
#[cfg(feature = "nim")]
#[path = "model/several.rs"]
mod several;
#[path = "model/shapes.rs"]
mod shapes;
#[path = "model/side.rs"]
mod side;
#[path = "model/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::oracle::Shape;
use common::{Content, Rng, content, deep, depth, setting};
use copies::Opened;
use filters::Predicate;
use ops::{Change, Op, op};
use portolan::{
    Batch, Collection, Database, DatabaseOptions, Hit, Maintenance, Metric, Originals, RecordId,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use records::{chunks_of, document, id_of, record_of, with_vector};
use searches::NAMED;
use side::Side;

/// Operations of one case, and cases of one shape: 9 shapes make 10,080 operations.
const STEPS: usize = 140;
const CASES: u32 = 8;
/// What `PORTOLAN_DEEP=1` multiplies the cases by: to a million operations and some.
const DEEP: u32 = 100;
/// Fields of records, each of one type.
const FIELDS: [&str; 5] = ["number", "tag", "list", "price", "time"];

#[derive(Default, Clone, Copy)]
struct Recall {
    found: usize,
    wanted: usize,
}

/// How the database is opened, and copies of it that are written to.
fn database_options() -> DatabaseOptions {
    let options = DatabaseOptions::new().initial_map(64 * 1024);
    options.maintenance(Maintenance::Inline { threshold: 300 })
}

/// A database and its model.
struct Run {
    path: PathBuf,
    db: Option<Database>,
    sides: [Side; 2],
    at: usize,
    bulks: i64,
    recall: Recall,
}

impl Run {
    fn new(path: PathBuf, shapes: [Shape; 2]) -> Self {
        let mut names = ["first", "second"].into_iter();
        let sides = shapes.map(|shape| {
            let name = names.next().expect("two names");
            Side::new(name, shape, name == "first")
        });
        let mut run = Self { path, db: None, sides, at: 0, bulks: 0, recall: Recall::default() };
        run.open();
        for side in &run.sides {
            run.db().create_collection(side.name, side.options()).expect("a collection");
        }
        run
    }

    fn open(&mut self) {
        self.db = Some(database_options().open(&self.path).expect("a database"));
    }

    fn db(&self) -> &Database {
        self.db.as_ref().expect("an open database")
    }

    fn side(&mut self) -> &mut Side {
        &mut self.sides[self.at]
    }

    fn collection(&self) -> Collection {
        self.db().collection(self.sides[self.at].name).expect("a collection")
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Batch(changes) => self.batch(changes),
            Op::Bulk { seed, count } => self.bulk(*seed, *count),
            Op::Search { seed, k, exact, filter } => {
                self.search(*seed, *k, *exact, filter.as_ref());
            }
            Op::Ask { ask, seed, filter } => {
                ask.check(&self.collection(), &self.sides[self.at], *seed, filter.as_ref());
            }
            #[cfg(feature = "nim")]
            Op::Several { seed, filter } => {
                several::check(self.db(), &self.sides, *seed, filter.as_ref());
            }
            #[cfg(not(feature = "nim"))]
            Op::Several { .. } => {}
            Op::Get(id) => {
                let id = id_of(*id);
                let found = self.collection().get(&id).expect("a lookup");
                assert_eq!(self.collection().contains(&id).expect("a lookup"), found.is_some());
                assert_eq!(found.as_ref(), self.side().expected(&id).as_ref());
            }
            Op::Scan { page } => self.check_all(*page),
            Op::Count { seed, filter } => {
                let side = &self.sides[self.at];
                parts::check_counts(&self.collection(), side, *seed, filter);
                parts::check_options(self.db(), side);
            }
            Op::Index { field, gradually } => {
                let (docs, name) = (self.collection(), FIELDS[*field]);
                let built = if *gradually {
                    docs.declare_field_gradually(name)
                } else {
                    docs.declare_field(name)
                };
                built.expect("an index");
            }
            Op::IndexText => parts::index_words(&self.collection(), &self.sides[self.at]),
            Op::WordsAnew(changes) => {
                let docs = self.collection();
                parts::remove_words(&docs);
                self.batch(changes);
                parts::check_no_words(self.db(), &docs);
                parts::index_words(&docs, &self.sides[self.at]);
            }
            Op::FieldAnew { field, seed, again } => {
                let docs = self.collection();
                parts::field_anew(&docs, self.side(), NAMED[*field], *seed, *again);
            }
            Op::Maintain { only_due, graph } => self.maintain(*only_due, *graph),
            Op::Reopen => self.reopen(),
            Op::Compact => {
                let before = self.content();
                self.db = None;
                Database::compact(&self.path).expect("a compaction");
                self.open();
                let after = self.content();
                assert_eq!(after.records, before.records);
                assert!(after.info.iter().all(|info| info.unsealed == 0 && info.deleted == 0));
            }
            Op::Crash { opened, batch } => self.crash(*opened, batch.as_ref()),
            Op::CompactTo(opened) => copies::check_compacted(self.db(), &self.sides, *opened),
            Op::Repair => copies::check_repaired(&self.path, &self.sides),
            Op::Switch => self.at = 1 - self.at,
            Op::Recreate => {
                let (name, options) = (self.side().name, self.side().options());
                assert!(self.db().delete_collection(name).expect("a removal"));
                self.db().collection_or_create(name, options).expect("a collection");
                self.side().model.clear();
            }
        }
    }

    fn content(&self) -> Content {
        content(self.db())
    }

    fn batch(&mut self, changes: &[Change]) {
        let (batch, counts) = self.filled(changes);
        commit(batch, counts);
    }

    /// The process is killed, and another opens what it leaves: between commits, or while a batch
    /// has changes that are not committed. The living process commits these then, or drops them.
    fn crash(&mut self, opened: Opened, batch: Option<&(Vec<Change>, bool)>) {
        let Some((changes, commits)) = batch else {
            return copies::check_killed(&self.path, self.db(), &self.sides, opened);
        };
        let committed = self.sides.clone();
        let (batch, counts) = self.filled(changes);
        copies::check_killed(&self.path, self.db(), &committed, opened);
        if *commits {
            commit(batch, counts);
        } else {
            drop(batch);
            self.sides = committed;
        }
    }

    /// A batch of changes that the model has already, and how many records it inserts and removes.
    fn filled(&mut self, changes: &[Change]) -> (Batch, (usize, usize)) {
        let mut batch = self.collection().batch();
        let side = self.side();
        let (mut upserted, mut deleted) = (0, 0);
        for change in changes {
            match change {
                Change::Upsert { id, seed, vector } => {
                    let record = record_of(id_of(*id), *seed, side.shape.dimensions, *vector);
                    batch.upsert(record.clone()).expect("a valid record");
                    side.insert(record);
                    upserted += 1;
                }
                Change::Pending { id, seed, vector } => {
                    let record = record_of(id_of(*id), *seed, side.shape.dimensions, *vector);
                    batch.upsert_pending(record.clone()).expect("a valid record");
                    side.insert_pending(record);
                    upserted += 1;
                }
                Change::Delete(id) => {
                    batch.delete(id_of(*id));
                    deleted += usize::from(side.model.remove(&id_of(*id)).is_some());
                }
                Change::DeleteChunk { id, chunk } => {
                    let id = RecordId::from(document(*id)).chunk((*chunk).into());
                    batch.delete(id.clone());
                    deleted += usize::from(side.model.remove(&id).is_some());
                }
                Change::Document { id, seed, chunks, cut } => {
                    let dimensions = side.shape.dimensions;
                    let chunks = match cut {
                        true => chunked::cut(*id, *seed, *chunks, dimensions),
                        false => chunks_of(*id, *seed, *chunks, dimensions),
                    };
                    batch.replace_document(document(*id), chunks.clone()).expect("valid chunks");
                    upserted += chunks.len();
                    let new: Vec<RecordId> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
                    deleted += side.prune(&document(*id), &new);
                    chunks.into_iter().for_each(|chunk| side.insert(chunk));
                }
                Change::DeleteDocument(id) => {
                    batch.delete_document(document(*id));
                    deleted += side.prune(&document(*id), &[]);
                }
            }
        }
        (batch, (upserted, deleted))
    }

    fn bulk(&mut self, seed: u64, count: u32) {
        let mut batch = self.collection().batch();
        self.bulks += 1;
        let base = self.bulks * 10_000;
        for at in 0..i64::from(count) {
            let dimensions = self.side().shape.dimensions;
            let seed = seed.wrapping_add(at as u64);
            let record = record_of(RecordId::Int(base + at), seed, dimensions, true);
            batch.upsert(record.clone()).expect("a valid record");
            self.side().insert(record);
        }
        batch.commit().expect("a commit");
    }

    fn search(&mut self, seed: u64, k: usize, exact: bool, filter: Option<&Predicate>) {
        let collection = self.collection();
        let side = &self.sides[self.at];
        let given = side.query(seed);
        let mut search = collection.search(&given).limit(k);
        if exact {
            search = search.exact();
        } else if seed.is_multiple_of(2) {
            // Few candidates, so that a graph of some hundred rows is walked.
            search = search.ef(24);
        }
        if let Some(filter) = filter {
            search = search.filter(filter.filter(&mut Rng::new(seed)));
        }
        let hits = search.run().expect("a search").hits;

        let query = side.shape.query(&given);
        let passing = side.scores(&query, filter);
        assert_eq!(hits.len(), k.min(passing.len()), "hits");
        let mut seen = BTreeSet::new();
        let mut worst = f64::INFINITY;
        for hit in &hits {
            assert!(seen.insert(hit.id.clone()), "{} twice", hit.id);
            let (score, tolerance) = passing[&hit.id];
            let found = f64::from(hit.score);
            assert!((found - score).abs() <= tolerance, "{} scores {found}, not {score}", hit.id);
            assert!(found <= worst, "out of order");
            worst = found;
            let stored = &side.model[&hit.id].0;
            assert_eq!(hit.record, with_vector(stored, None));
            assert_eq!(hit.rerank_score, None);
        }
        if exact {
            let missed = passing.iter().filter(|(id, _)| !seen.contains(id));
            for (id, (score, tolerance)) in missed {
                assert!(hits.len() < k || *score <= worst + 2.0 * tolerance, "{id} is missed");
            }
        } else {
            let mut best: Vec<f64> = passing.values().map(|(score, _)| *score).collect();
            best.sort_by(|a, b| b.total_cmp(a));
            if let Some(last) = hits.len().checked_sub(1) {
                let enough = |id| passing[id].0 >= best[last] - passing[id].1;
                self.recall.found += hits.iter().filter(|hit| enough(&hit.id)).count();
                self.recall.wanted += hits.len();
            }
        }
    }

    fn maintain(&mut self, only_due: bool, graph: bool) {
        let collection = self.collection();
        let before = collection.info().expect("the info");
        let mut maintain = collection.maintain();
        if only_due {
            maintain = maintain.only_due();
        }
        if graph {
            maintain = maintain.graph_min_rows(64);
        }
        maintain.run().expect("maintenance");
        let info = collection.info().expect("the info");
        assert_eq!((info.records, info.vectors), (before.records, before.vectors));
        assert_eq!(info.unsealed, 0);
        if !only_due {
            assert_eq!(info.deleted, 0);
            assert!(info.segments <= 1);
            assert!(!graph || info.vectors <= 64 || info.graphs == 1, "{info:?}");
        }
        let vectors = self.side().model.values().filter(|(_, kept)| kept.is_some()).count();
        assert_eq!(info.vectors, vectors as u64);
    }

    fn reopen(&mut self) {
        let before = (self.content(), self.answers());
        self.db = None;
        let read_only = Database::open_read_only(&self.path).expect("a read-only database");
        self.db = Some(read_only);
        assert!((self.content(), self.answers()) == before, "the portable reader differs");
        self.db = None;
        self.open();
        assert!((self.content(), self.answers()) == before, "the reopened file differs");
        self.check_all(50);
    }

    fn answers(&self) -> Vec<Vec<Hit>> {
        copies::answers(self.db(), &self.sides)
    }

    fn check_all(&self, page: usize) {
        self.sides[self.at].check(&self.collection(), page);
    }
}

/// Commits a batch that inserts and removes so many records.
fn commit(batch: Batch, (upserted, deleted): (usize, usize)) {
    let committed = batch.commit().expect("a commit");
    assert_eq!((committed.upserted, committed.deleted), (upserted, deleted));
}

/// Cases of a shape.
fn cases() -> u32 {
    let is_deep = deep() && setting("PORTOLAN_DEPTH").is_none();
    CASES * if is_deep { DEEP } else { depth() }
}

fn follows_the_model(metric: Metric, originals: Originals, seed: u8) {
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let (first, second) = (
        Shape { dimensions: 12, metric, originals },
        Shape { dimensions: 5, metric: Metric::Cosine, originals: Originals::F16 },
    );
    let recall = std::cell::Cell::new(Recall::default());
    let result = runner.run(&prop::collection::vec(op(), STEPS), |ops| {
        let dir = tempfile::tempdir().expect("a directory");
        let mut run = Run::new(dir.path().join("model.portolan"), [first, second]);
        // From the first search on there is a graph that is worth a walk.
        run.bulk(1, 1_000);
        run.maintain(false, true);
        for (at, op) in ops.iter().enumerate() {
            let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.apply(op)));
            if applied.is_err() {
                return Err(TestCaseError::fail(format!("operation {at}, {op:?}")));
            }
        }
        run.reopen();
        let so_far = recall.get();
        recall.set(Recall {
            found: so_far.found + run.recall.found,
            wanted: so_far.wanted + run.recall.wanted,
        });
        Ok(())
    });
    match result {
        Err(TestError::Fail(reason, ops)) => panic!("seed {seed}: {reason}\nof {ops:#?}"),
        Err(TestError::Abort(reason)) => panic!("seed {seed}: {reason}"),
        Ok(()) => {}
    }
    let Recall { found, wanted } = recall.get();
    assert!(wanted > 0 && found as f64 >= 0.9 * wanted as f64, "recall {found} of {wanted}");
    eprintln!("recall {found} of {wanted}");
}

#[test]
fn cosine_with_f16_follows_the_model() {
    follows_the_model(Metric::Cosine, Originals::F16, 1);
}

#[test]
fn cosine_with_f32_follows_the_model() {
    follows_the_model(Metric::Cosine, Originals::F32, 2);
}

#[test]
fn cosine_with_codes_alone_follows_the_model() {
    follows_the_model(Metric::Cosine, Originals::None, 3);
}

#[test]
fn dot_with_f16_follows_the_model() {
    follows_the_model(Metric::Dot, Originals::F16, 4);
}

#[test]
fn dot_with_f32_follows_the_model() {
    follows_the_model(Metric::Dot, Originals::F32, 5);
}

#[test]
fn dot_with_codes_alone_follows_the_model() {
    follows_the_model(Metric::Dot, Originals::None, 6);
}

#[test]
fn l2_with_f16_follows_the_model() {
    follows_the_model(Metric::L2, Originals::F16, 7);
}

#[test]
fn l2_with_f32_follows_the_model() {
    follows_the_model(Metric::L2, Originals::F32, 8);
}

#[test]
fn l2_with_codes_alone_follows_the_model() {
    follows_the_model(Metric::L2, Originals::None, 9);
}
