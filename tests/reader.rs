//! The portable reader against LMDB: equal answers on the same file, and never a panic on a
//! damaged one.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::{Content, Rng, content, depth};
use portolan::{
    CollectionOptions, Database, DatabaseOptions, Filter, Hit, Maintenance, Metric, Originals,
    Record, RecordId,
};

const SHAPES: [(usize, Metric, Originals); 4] = [
    (4, Metric::Cosine, Originals::F16),
    (33, Metric::L2, Originals::F32),
    (12, Metric::Dot, Originals::None),
    (300, Metric::Cosine, Originals::F16),
];

/// Fills a new file: several collections, small and large values, replacements and deletions,
/// segments with and without graphs, and what is left unsealed.
fn fill(path: &Path, seed: u64, records: u64) {
    let mut rng = Rng::new(seed);
    let options = DatabaseOptions::new().initial_map(64 * 1024);
    let options = options.maintenance(Maintenance::Inline { threshold: 700 });
    let db = options.open(path).expect("a database");
    for (at, (dimensions, metric, originals)) in SHAPES.into_iter().enumerate() {
        let options = CollectionOptions::new(dimensions, metric).originals(originals);
        let docs = db.create_collection(&format!("collection {at}"), options);
        let docs = docs.expect("a collection");
        // The first collection is large, so that its trees are deep; one stays empty.
        let count = [records, records / 8, records / 4, 0][at];
        let mut left = count;
        while left > 0 {
            let mut batch = docs.batch();
            for _ in 0..left.min(400) {
                batch.upsert(record(&mut rng, count, dimensions)).expect("a valid record");
                if rng.once_in(10) {
                    batch.delete(id(&mut rng, count));
                }
            }
            left -= left.min(400);
            batch.commit().expect("a commit");
            if rng.once_in(4) {
                docs.maintain().only_due().graph_min_rows(100).run().expect("maintenance");
            }
        }
    }
    if seed.is_multiple_of(2) {
        db.create_collection("gone", CollectionOptions::new(2, Metric::Dot)).expect("a collection");
        assert!(db.delete_collection("gone").expect("a removal"));
    }
    db.verify().expect("an undamaged file");
}

fn id(rng: &mut Rng, count: u64) -> RecordId {
    let number = rng.below(count);
    if number.is_multiple_of(3) {
        // Long keys make few of them fit a branch page, and so deep trees.
        RecordId::Text(format!("{number:0>300}"))
    } else {
        RecordId::Int(number as i64)
    }
}

fn record(rng: &mut Rng, count: u64, dimensions: usize) -> Record {
    let length = if rng.once_in(60) { rng.below(40_000) } else { rng.below(120) };
    let mut record = Record::new(id(rng, count)).text("r".repeat(length as usize));
    record = record.field("number", rng.below(50) as i64).field("even", rng.once_in(2));
    if rng.once_in(3) {
        record = record.field("tags", vec![format!("t{}", rng.below(9)), "all".to_owned()]);
    }
    if rng.once_in(8) { record } else { record.vector(rng.vector(dimensions)) }
}

fn filters() -> Vec<Filter> {
    vec![
        Filter::eq("number", 7),
        Filter::gt("number", 10).and(Filter::lte("number", 30.5)),
        !Filter::eq("even", true),
        Filter::any_of("tags", ["t1", "t2"]).or(Filter::lt("number", 3)),
        Filter::exists("tags"),
    ]
}

/// Answers to searches of all kinds on all collections.
fn answers(db: &Database) -> Vec<Vec<Hit>> {
    let mut answers = Vec::new();
    let mut rng = Rng::new(99);
    for name in db.collections().expect("names") {
        let docs = db.collection(&name).expect("a collection");
        for filter in filters() {
            let vector = rng.vector(docs.dimensions());
            let search = || docs.search(&vector).limit(12);
            answers.push(search().run().expect("a search").hits);
            answers.push(search().ef(1).run().expect("a search").hits);
            answers.push(search().exact().run().expect("a search").hits);
            answers.push(search().filter(filter).run().expect("a search").hits);
        }
    }
    answers
}

fn both(db: &Database) -> (Content, Vec<Vec<Hit>>) {
    (content(db), answers(db))
}

#[test]
fn both_readers_agree_on_random_databases_and_their_copies() {
    for seed in 0..4 * u64::from(depth()) {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, copy) = (dir.path().join("f.portolan"), dir.path().join("copy.portolan"));
        fill(&path, seed, [2_500, 40, 6_000, 300][seed as usize % 4]);
        let db = Database::open_existing(&path).expect("a database");
        let through_lmdb = both(&db);
        drop(db);
        let db = Database::open_read_only(&path).expect("a read-only database");
        assert!(both(&db) == through_lmdb, "seed {seed}: the readers differ");
        drop(db);

        let db = Database::open_existing(&path).expect("a database");
        db.compact_to(&copy).expect("a copy");
        // Making the copy folds the segments of the file as well.
        let folded = both(&db);
        drop(db);
        assert!(folded.0.records == through_lmdb.0.records, "seed {seed}: folding lost something");
        let read_only = Database::open_read_only(&copy).expect("a read-only database");
        assert!(both(&read_only) == folded, "seed {seed}: the copy differs");
        drop(read_only);
        let db = Database::open_existing(&copy).expect("a database");
        assert!(both(&db) == folded, "seed {seed}: the copy differs through LMDB");
    }
}

#[test]
fn read_only_handles_share_a_file_between_threads() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    fill(&path, 1, 600);
    let first = Database::open_read_only(&path).expect("a read-only database");
    let expected = both(&first);
    let second = Database::open_read_only(&path).expect("another handle");
    std::thread::scope(|scope| {
        for db in [&first, &first, &second] {
            let expected = &expected;
            scope.spawn(move || assert!(both(db) == *expected, "a thread reads otherwise"));
        }
    });
}

/// Opens and reads everything there is to read; errors are fine, whatever they are.
fn read_all(path: &Path) -> portolan::Result<()> {
    let db = Database::open_read_only(path)?;
    let verified = db.verify().map(|_| ());
    let info = db.info().map(|_| ());
    let mut results = vec![info];
    for name in db.collections()? {
        let docs = db.collection(&name)?;
        let mut after = None;
        // A damaged tree may lead round and round.
        for _ in 0..40 {
            let mut scan = docs.scan().limit(50).with_vectors();
            if let Some(after) = after.take() {
                scan = scan.after(after);
            }
            match scan.run() {
                Ok(page) => after = page.next,
                Err(error) => results.push(Err(error)),
            }
            if after.is_none() {
                break;
            }
        }
        let vector = vec![0.5; docs.dimensions()];
        results.push(docs.search(&vector).run().map(|_| ()));
        results.push(docs.search(&vector).exact().run().map(|_| ()));
        let filter = Filter::gte("number", 3);
        results.push(docs.search(&vector).ef(1).filter(filter).run().map(|_| ()));
        results.push(docs.get(1).map(|_| ()));
    }
    // Whatever else failed, reading damaged bytes never says that the input was wrong.
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(!error.is_invalid_input() && !error.is_retryable(), "{error:?}");
    }
    verified
}

/// One small file with everything in it: a segment with a graph, unsealed vectors, tombstones,
/// overflow values, field index.
fn small_file(path: &Path) -> Vec<u8> {
    let mut rng = Rng::new(21);
    let db = DatabaseOptions::new().maintenance(Maintenance::Manual).open(path);
    let db = db.expect("a database");
    let options = CollectionOptions::new(6, Metric::Cosine);
    let docs = db.create_collection("docs", options).expect("a collection");
    for round in 0..3 {
        let mut batch = docs.batch();
        for at in 0..70_i64 {
            let text = "s".repeat(if at == 5 { 9_000 } else { 20 });
            let record = Record::new(round * 50 + at).text(text).field("number", at % 7);
            batch.upsert(record.vector(rng.vector(6))).expect("a valid record");
        }
        batch.delete(3);
        batch.commit().expect("a commit");
        if round == 1 {
            docs.maintain().graph_min_rows(16).run().expect("maintenance");
        }
    }
    drop((docs, db));
    let bytes = std::fs::read(path).expect("the file");
    read_all(path).expect("an undamaged file");
    bytes
}

/// Reads the damaged bytes; whether `verify` found the damage.
fn survives(path: &Path, bytes: &[u8], what: &str) -> bool {
    std::fs::write(path, bytes).expect("the file");
    match catch_unwind(AssertUnwindSafe(|| read_all(path))) {
        Ok(result) => result.is_err(),
        Err(_) => panic!("a panic on {what}"),
    }
}

#[test]
fn flipped_bytes_never_cause_a_panic() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let bytes = small_file(&path);
    let mut rng = Rng::new(77);
    let mut found = 0;
    let rounds = 2_500 * depth();
    for round in 0..rounds {
        let mut damaged = bytes.clone();
        let flips = if rng.once_in(3) { 1 + rng.below(20) } else { 1 };
        for _ in 0..flips {
            // Page and node headers are where a reader steps; half of the flips hit them.
            let page = rng.below(bytes.len() as u64 / 4096) * 4096;
            let within = if rng.once_in(2) { rng.below(200) } else { rng.below(4096) };
            let at = (page + within) as usize;
            damaged[at] = match rng.below(4) {
                0 => damaged[at] ^ (1 << rng.below(8)),
                1 => 0xFF,
                2 => 0,
                _ => rng.next() as u8,
            };
        }
        found += u32::from(survives(&path, &damaged, &format!("seed 77, round {round}")));
    }
    // Many bytes of a file are free pages, padding, or repeated what was there.
    assert!(found > rounds / 10, "verify found {found} of {rounds}");
}

#[test]
fn truncated_and_rearranged_files_never_cause_a_panic() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let bytes = small_file(&path);
    let mut rng = Rng::new(78);
    // A compacted file has no free page at its end that it could do without.
    let compacted = dir.path().join("compacted.portolan");
    Database::open(&path).and_then(|db| db.compact_to(&compacted)).expect("a compacted copy");
    let dense = std::fs::read(&compacted).expect("the copy");
    for round in 0..150 * depth() {
        let length = rng.below(dense.len() as u64) as usize;
        let what = format!("seed 78, round {round}");
        assert!(survives(&path, &dense[..length], &what), "{what}: {length} bytes pass");
    }
    let pages = bytes.len() as u64 / 4096;
    for round in 0..400 * depth() {
        // One page stands where another should.
        let mut damaged = bytes.clone();
        let (from, to) = (rng.below(pages) as usize * 4096, rng.below(pages) as usize * 4096);
        damaged.copy_within(from..from + 4096, to);
        if rng.once_in(2) {
            // With the number of the place, so that the reader goes on.
            let number = (to as u64 / 4096).to_le_bytes();
            damaged[to..to + 8].copy_from_slice(&number);
        }
        survives(&path, &damaged, &format!("seed 78, page round {round}"));
    }
}
