//! Databases to damage: small ones that together have everything a file can have.

use std::path::Path;

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, IndexFields, Language, Maintenance,
    Matrix, MatrixCodec, Metric, Originals, Record, RecordId, TextIndex, VectorField,
};

use super::Rng;

/// Writes a sample to a path that is free.
pub type Sample = fn(&Path);

/// The samples by name.
pub const SAMPLES: [(&str, Sample); 9] = [
    ("lived", lived),
    ("dense", dense),
    ("deep", deep),
    ("projected", projected),
    ("churned", churned),
    ("worded", worded),
    ("walked", walked),
    ("pages16k", |path| paged(path, 16_384)),
    ("pages32k", |path| paged(path, 32_768)),
];

fn create(path: &Path) -> Database {
    DatabaseOptions::new().maintenance(Maintenance::Manual).open(path).expect("a database")
}

fn record(rng: &mut Rng, id: impl Into<RecordId>, dimensions: usize) -> Record {
    let length = if rng.once_in(40) { 3_000 + rng.below(9_000) } else { 5 + rng.below(60) };
    let number = rng.below(30) as i64;
    let record = Record::new(id).text(rng.noise(length)).field("number", number);
    let record = record.field("tag", format!("t{}", rng.below(5))).field("even", number % 2 == 0);
    record.vector(rng.vector(dimensions))
}

/// Rounds of upserts with some deletions, each a commit.
fn rounds(docs: &Collection, rng: &mut Rng, rounds: i64, each: i64) {
    for round in 0..rounds {
        let mut batch = docs.batch();
        for at in 0..each {
            let id = round * each * 2 / 3 + at;
            batch.upsert(record(rng, id, docs.dimensions())).expect("a valid record");
        }
        batch.delete(round * 5 + 3);
        batch.commit().expect("a commit");
    }
}

/// Two segments with graphs, tombstones, unsealed vectors, values with pages of their own, a list
/// of free pages and a second collection.
pub fn lived(path: &Path) {
    let mut rng = Rng::new(31);
    let db = create(path);
    let docs = db.create_collection("docs", CollectionOptions::new(6, Metric::Cosine));
    let docs = docs.expect("a collection");
    rounds(&docs, &mut rng, 2, 60);
    docs.maintain().graph_min_rows(16).run().expect("maintenance");
    rounds(&docs, &mut rng, 3, 30);
    docs.upsert(Record::new("long").text(rng.noise(20_000))).expect("a commit");
    let notes = db.create_collection("notes", CollectionOptions::new(3, Metric::L2));
    let notes = notes.expect("a collection");
    rounds(&notes, &mut rng, 1, 20);
    for at in 0..40_i64 {
        notes.upsert(Record::new(format!("{at:0>200}")).field("number", at)).expect("a commit");
    }
}

/// What a compaction makes of [`lived`]: no free page, one meta page of no version.
pub fn dense(path: &Path) {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-lived");
    lived(beside.as_ref());
    let db = Database::open(&beside).expect("a database");
    db.compact_to(path).expect("a copy");
    drop(db);
    std::fs::remove_file(beside).expect("the original");
}

/// Trees of three levels and more: long ids and long texts in the field index.
pub fn deep(path: &Path) {
    let mut rng = Rng::new(32);
    let db = create(path);
    let options = CollectionOptions::new(4, Metric::Dot).originals(Originals::F32);
    let docs = db.create_collection("docs", options).expect("a collection");
    for round in 0..3_u64 {
        let mut batch = docs.batch();
        for at in 0..80 {
            let number = at * 3 + round;
            let record = record(&mut rng, format!("{number:0>400}"), 4);
            let long = format!("{number:0>190}");
            batch.upsert(record.field("long", long)).expect("a valid record");
        }
        batch.commit().expect("a commit");
    }
    docs.delete(format!("{:0>400}", 7)).expect("a commit");
}

/// A segment with navigation codes and everything that belongs to them.
pub fn projected(path: &Path) {
    let mut rng = Rng::new(33);
    let db = create(path);
    let docs = db.create_collection("docs", CollectionOptions::new(120, Metric::Cosine));
    let docs = docs.expect("a collection");
    rounds(&docs, &mut rng, 1, 60);
    docs.maintain().graph_min_rows(0).run().expect("maintenance");
    rounds(&docs, &mut rng, 1, 6);
}

/// A graph of so many rows that few candidates are found by a walk, and little else.
pub fn walked(path: &Path) {
    let mut rng = Rng::new(35);
    let db = create(path);
    let docs = db.create_collection("docs", CollectionOptions::new(6, Metric::Cosine));
    let docs = docs.expect("a collection");
    let mut batch = docs.batch();
    for at in 0..300_i64 {
        let record = Record::new(at).field("number", at % 30).vector(rng.vector(6));
        batch.upsert(record).expect("a valid record");
    }
    batch.commit().expect("a commit");
    docs.maintain().graph_min_rows(0).run().expect("maintenance");
    docs.delete(7_i64).expect("a commit");
    docs.upsert(Record::new(9).field("number", 9).vector(rng.vector(6))).expect("a commit");
}

/// Many small commits, so that the list of free pages has many entries; no originals.
pub fn churned(path: &Path) {
    let mut rng = Rng::new(34);
    let db = create(path);
    let options = CollectionOptions::new(12, Metric::L2).originals(Originals::None);
    let docs = db.create_collection("docs", options).expect("a collection");
    rounds(&docs, &mut rng, 12, 20);
    docs.maintain().graph_min_rows(1_000).run().expect("maintenance");
    rounds(&docs, &mut rng, 6, 12);
    db.create_collection("gone", CollectionOptions::new(2, Metric::Dot)).expect("a collection");
    assert!(db.delete_collection("gone").expect("a removal"));
}

/// A text index, an index of some fields, a vector field of each kind, compressed records; sealed,
/// unsealed and deleted vectors in each field.
pub fn worded(path: &Path) {
    let mut rng = Rng::new(36);
    let db = create(path);
    let options = CollectionOptions::new(6, Metric::Cosine)
        .text(TextIndex::new(Language::English).title(2).field("tag", 1))
        .index_fields(IndexFields::Declared)
        .index_field("number")
        .vector_field("image", VectorField::new(4, Metric::L2).originals(Originals::F32))
        .vector_field("terms", VectorField::sparse())
        .vector_field("tokens", VectorField::multi(4).codec(MatrixCodec::Int8));
    let docs = db.create_collection("docs", options).expect("a collection");
    for round in 0..3_i64 {
        let mut batch = docs.batch();
        for at in 0..30 {
            batch.upsert(worded_record(&mut rng, round * 20 + at)).expect("a valid record");
        }
        batch.delete(round * 5 + 3);
        batch.commit().expect("a commit");
        if round == 0 {
            docs.maintain().graph_min_rows(16).run().expect("maintenance");
        }
    }
}

fn worded_record(rng: &mut Rng, id: i64) -> Record {
    let words = ["harbor", "charts", "pilot", "wind", "north", "the"];
    let text = (0..2 + rng.below(70)).map(|_| words[rng.below(6) as usize]);
    let text = text.collect::<Vec<_>>().join(" ");
    let number = rng.below(30) as i64;
    let record = Record::new(id).text(text).title(words[rng.below(6) as usize]);
    let record = record.field("number", number).field("tag", format!("t{}", rng.below(5)));
    let mut record = record.field("even", number % 2 == 0).vector(rng.vector(6));
    if !rng.once_in(3) {
        let rows: Vec<Vec<f32>> = (0..1 + rng.below(3)).map(|_| rng.vector(4)).collect();
        let pairs: Vec<(u32, f32)> = (0..4).map(|at| (at * 3, 0.5 + at as f32)).collect();
        record = record.named_vector("image", rng.vector(4)).named_vector("terms", pairs);
        record = record.named_vector("tokens", Matrix::from_rows(&rows).expect("a matrix"));
    }
    record
}

/// What [`lived`] is on a machine with larger pages.
fn paged(path: &Path, page_bytes: usize) {
    dense(path);
    let small = std::fs::read(path).expect("the file");
    let large = portolan::internals::rewrite(&small, page_bytes).expect("a whole file");
    std::fs::write(path, large).expect("the file");
    // A commit or two, so that LMDB has written pages of this size too.
    let db = create(path);
    let docs = db.collection("docs").expect("a collection");
    rounds(&docs, &mut Rng::new(35), 2, 30);
}
