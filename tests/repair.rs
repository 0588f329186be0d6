//! A damaged file: every damage is told of, a repair saves the rest into a new file, and what was
//! deleted is in no byte of a compacted one.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "repair/agreement.rs"]
mod agreement;
#[path = "common/mod.rs"]
mod common;
#[path = "repair/rows.rs"]
mod rows;

use std::path::{Path, PathBuf};

use common::page_editor::Pages;
use common::{Rng, everything};
use portolan::{
    CollectionOptions, Damage, DamagedPart, Database, DatabaseOptions, Error, Filter, Hit,
    Language, Maintenance, Matrix, MatrixCodec, Metric, ModelContract, Originals, Record, Repaired,
    StorageError, TextIndex, TextQuery, VectorField,
};

const DIMENSIONS: usize = 16;
const RECORDS: i64 = 300;

fn text(at: i64) -> String {
    format!("needle number {at:05} of the haystack")
}

/// Two collections: one sealed with a graph and a few vectors unsealed, one of codes alone.
fn fill(path: &Path) {
    let mut rng = Rng::new(3);
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(path).expect("a database");
    for (name, originals) in [("docs", Originals::F16), ("codes", Originals::None)] {
        let options = CollectionOptions::new(DIMENSIONS, Metric::Cosine).originals(originals);
        let options = options.model(ModelContract::new("model"));
        let docs = db.create_collection(name, options).expect("a collection");
        for half in [0..RECORDS - 20, RECORDS - 20..RECORDS] {
            let mut batch = docs.batch();
            for at in half {
                let record = Record::new(at).text(text(at)).field("number", at % 7);
                let record = record.field("word", format!("w{at}"));
                let record =
                    if at % 10 == 9 { record } else { record.vector(rng.vector(DIMENSIONS)) };
                batch.upsert(record).expect("a valid record");
            }
            batch.commit().expect("a commit");
            if docs.count().expect("a count") < RECORDS as u64 {
                docs.maintain().graph_min_rows(50).run().expect("maintenance");
            }
        }
    }
    db.verify().expect("an undamaged file");
}

/// Enough dimensions for navigation codes.
const WIDE: usize = 120;

/// A collection with an index of words, and a segment with a graph and navigation codes.
fn fill_with_words(path: &Path) {
    let mut rng = Rng::new(13);
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(path).expect("a database");
    let options = CollectionOptions::new(WIDE, Metric::Cosine);
    let options = options.text(TextIndex::new(Language::English));
    let docs = db.create_collection("docs", options).expect("a collection");
    let mut batch = docs.batch();
    for at in 0..80 {
        let record = Record::new(at).text(text(at)).vector(rng.vector(WIDE));
        batch.upsert(record).expect("a valid record");
    }
    batch.commit().expect("a commit");
    docs.maintain().graph_min_rows(0).run().expect("maintenance");
    db.verify().expect("an undamaged file");
}

/// What words and a vector find in it, with their scores.
fn found_by_words_and_vector(db: &Database) -> Vec<Vec<Hit>> {
    let docs = db.collection("docs").expect("a collection");
    let mut found = Vec::new();
    for words in ["haystack", "needle 00017", "\"number 00003\""] {
        let search = docs.search_text(TextQuery::parse(words)).limit(100);
        found.push(search.run().expect("a search").hits);
    }
    let vector = Rng::new(19).vector(WIDE);
    found.push(docs.search(&vector).exact().limit(20).run().expect("a search").hits);
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [80, 80, 1, 20]);
    found
}

struct Fixture {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        Self::of(fill)
    }

    fn of(make: fn(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f.portolan");
        make(&path);
        let bytes = std::fs::read(&path).expect("the file");
        Self { dir, bytes }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("f.portolan")
    }

    /// Writes the file with one byte changed at each place.
    fn damage(&self, places: &[usize]) {
        let mut bytes = self.bytes.clone();
        for &at in places {
            bytes[at] ^= 0x55;
        }
        std::fs::write(self.path(), bytes).expect("the file");
    }

    /// Where some bytes stand in the file.
    fn find(&self, wanted: &[u8]) -> Vec<usize> {
        let places = self.bytes.windows(wanted.len()).enumerate();
        places.filter(|(_, bytes)| *bytes == wanted).map(|(at, _)| at).collect()
    }

    /// The payload of the extents of a kind.
    fn extents(&self, kind: u16) -> Vec<usize> {
        let head = [&b"PTLX"[..], &1_u16.to_le_bytes(), &kind.to_le_bytes()].concat();
        self.find(&head).into_iter().map(|at| at + 48).collect()
    }

    /// Those of them that are of a collection.
    fn extents_of(&self, kind: u16, collection: u32) -> Vec<usize> {
        let number = collection.to_le_bytes();
        let of = |at: &usize| self.bytes[at - 24..at - 20] == number;
        self.extents(kind).into_iter().filter(of).collect()
    }

    /// The last byte of the list of a term of the first collection.
    fn list_of(&self, term: &str) -> usize {
        let pages = Pages::new(self.bytes.clone());
        let key = [&[0, 0, 0, 0, 2][..], term.as_bytes()].concat();
        pages.value(pages.find(pages.table("postings"), &key)).end - 1
    }

    /// Repairs a file of [`fill_with_words`] with such damage, of which nothing is lost.
    fn repair_derived(&self, places: &[usize]) {
        self.damage(places);
        let (repaired, db) = self.repair();
        assert!(repaired.is_complete(), "{:?}", repaired.damage);
        let parts: Vec<DamagedPart> = repaired.damage.iter().map(|of| of.part).collect();
        assert!(!parts.is_empty() && parts.iter().all(|of| *of == DamagedPart::Index), "{parts:?}");
        assert!(all_of(&db, "docs") == self.expected("docs"), "the copy differs");
        let before = Database::from_bytes(self.bytes.clone()).expect("the file before");
        assert_eq!(found_by_words_and_vector(&db), found_by_words_and_vector(&before));
    }

    fn repair(&self) -> (Repaired, Database) {
        assert!(
            Database::open_read_only(self.path()).and_then(|db| db.verify()).is_err(),
            "the damage is not found"
        );
        let target = self.dir.path().join("repaired.portolan");
        let repaired = Database::repair(self.path(), &target).expect("a repair");
        let db = Database::open_read_only(&target).expect("the repaired file");
        db.verify().expect("a whole file");
        (repaired, db)
    }

    /// The records before the damage.
    fn expected(&self, name: &str) -> Vec<Record> {
        let db = Database::from_bytes(self.bytes.clone()).expect("the file before");
        everything(&db.collection(name).expect("a collection"), 100)
    }
}

fn all_of(db: &Database, name: &str) -> Vec<Record> {
    everything(&db.collection(name).expect("a collection"), 100)
}

#[test]
fn derived_parts_are_made_anew_and_nothing_is_lost() {
    let fixture = Fixture::new();
    // codes beside originals, links, and the key of a block of a field
    let (codes, links) = (fixture.extents_of(2, 0)[0], fixture.extents_of(4, 0)[0]);
    // A page that is free by now may hold the block too.
    let fields = fixture.find(b"word\0\x10\0").into_iter().map(|at| at + 7);
    fixture.damage(&fields.chain([codes + 5, links + 9]).collect::<Vec<_>>());
    let (repaired, db) = fixture.repair();
    assert!(repaired.is_complete(), "{:?}", repaired.damage);
    assert!(repaired.damage.len() >= 3, "{:?}", repaired.damage);
    assert_eq!((repaired.collections, repaired.records), (2, 2 * RECORDS as u64));
    for name in ["docs", "codes"] {
        assert!(all_of(&db, name) == fixture.expected(name), "{name}: the copy differs");
        let docs = db.collection(name).expect("a collection");
        assert_eq!(docs.model().expect("a model").expect("the same").model, "model");
        let mut rng = Rng::new(8);
        let filter = Filter::eq("word", "w17");
        let hits = docs.search(&rng.vector(DIMENSIONS)).filter(filter).run().expect("a search");
        assert_eq!(hits.len(), 1);
    }
}

#[test]
fn damaged_postings_are_made_anew_and_words_find_the_same() {
    let fixture = Fixture::of(fill_with_words);
    // A term of every text, whose list has a form of its own, and one of a single text.
    for terms in [&["haystack"][..], &["00017"], &["haystack", "00003", "00017"]] {
        let places: Vec<usize> = terms.iter().map(|term| fixture.list_of(term)).collect();
        fixture.repair_derived(&places);
        std::fs::remove_file(fixture.dir.path().join("repaired.portolan")).expect("the copy");
    }
}

#[test]
fn damaged_navigation_codes_are_made_anew_and_vectors_find_the_same() {
    let fixture = Fixture::of(fill_with_words);
    // Of each kind all that look so: pages that are free by now may hold some too.
    let (codes, projection) = (fixture.extents_of(11, 0), fixture.extents_of(7, 0));
    assert!(!codes.is_empty() && !projection.is_empty());
    let places = codes.into_iter().chain(projection).map(|at| at + 5);
    fixture.repair_derived(&places.collect::<Vec<_>>());
}

#[test]
fn a_damaged_record_is_named_and_the_rest_is_saved() {
    let fixture = Fixture::new();
    fixture.damage(&[fixture.find(text(123).as_bytes())[0] + 3]);
    let (repaired, db) = fixture.repair();
    assert!(!repaired.is_complete());
    let named = repaired.damage.iter().find(|damage| damage.id.is_some()).expect("a name");
    assert_eq!((named.part, named.id.clone()), (DamagedPart::Record, Some(123.into())));
    assert_eq!(named.collection.as_deref(), Some("docs"));
    let mut expected = fixture.expected("docs");
    expected.retain(|record| record.id != 123.into());
    assert!(all_of(&db, "docs") == expected);
    assert!(all_of(&db, "codes") == fixture.expected("codes"));
}

#[test]
fn damaged_originals_are_taken_from_their_codes_and_told_of() {
    let fixture = Fixture::new();
    // The upper byte of a value in each of three rows, of 32 bytes.
    let places = [1, 32 * 40 + 7, 32 * 99 + 11].map(|at| fixture.extents(3)[0] + at);
    fixture.damage(&places);
    let (repaired, db) = fixture.repair();
    let told: Vec<&Damage> = repaired.damage.iter().filter(|of| of.id.is_some()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|damage| damage.part == DamagedPart::Original), "{told:?}");
    assert!(!repaired.is_complete());
    let (found, expected) = (all_of(&db, "docs"), fixture.expected("docs"));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((&found.id, &found.text), (&expected.id, &expected.text));
        if !told.iter().any(|damage| damage.id.as_ref() == Some(&found.id)) {
            assert_eq!(found.vector, expected.vector);
        }
        let pairs = found.vector.iter().flatten().zip(expected.vector.iter().flatten());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 0.01));
        assert_eq!(found.vector.is_some(), expected.vector.is_some());
    }
}

/// A copy would get a checksum of its own, and the damage would be whole.
#[test]
fn maintenance_refuses_to_copy_what_is_damaged() {
    let fixture = Fixture::new();
    fixture.damage(&[fixture.extents(3)[0] + 100]);
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(fixture.path()).expect("a database");
    let docs = db.collection("docs").expect("a collection");
    let refused = docs.maintain().rebuild().run().expect_err("damage");
    assert!(refused.is_corruption(), "{refused}");
    drop((docs, db));
    let (repaired, _) = fixture.repair();
    assert!(!repaired.damage.is_empty());
}

#[test]
fn a_lost_vector_leaves_its_record() {
    let fixture = Fixture::new();
    let unsealed = fixture.expected("docs").remove(RECORDS as usize - 5);
    let half = |x: &f32| half::f16::from_f32(*x).to_le_bytes();
    let raw: Vec<u8> = unsealed.vector.iter().flatten().flat_map(half).collect();
    let places = fixture.find(&raw).into_iter().map(|at| at + 1);
    fixture.damage(&places.collect::<Vec<_>>());
    let (repaired, db) = fixture.repair();
    let lost: Vec<&Damage> = repaired.damage.iter().filter(|of| of.id.is_some()).collect();
    assert_eq!((lost.len(), lost[0].part), (1, DamagedPart::Vector));
    assert_eq!(lost[0].id, Some(unsealed.id.clone()));
    let found = db.collection("docs").expect("a collection").get(unsealed.id.clone());
    let found = found.expect("a lookup").expect("the record");
    assert_eq!((found.text, found.vector), (unsealed.text, None));
}

#[test]
fn a_file_without_its_newest_meta_gives_what_can_be_reached() {
    let fixture = Fixture::new();
    for slot in [0, 1] {
        fixture.damage(&[slot * 4096 + 17]);
        let (repaired, db) = fixture.repair();
        // The version before lacks the last commit at most.
        assert!(repaired.records >= 2 * RECORDS as u64 - 20, "{}", repaired.records);
        assert!(!all_of(&db, "docs").is_empty());
        drop(db);
        std::fs::remove_file(fixture.dir.path().join("repaired.portolan")).expect("the copy");
    }
}

#[test]
fn a_compacted_file_without_its_only_commit_gives_its_records() {
    let mut fixture = Fixture::new();
    let compacted = fixture.dir.path().join("compacted.portolan");
    let db = Database::open(fixture.path()).expect("a database");
    db.compact_to(&compacted).expect("a copy");
    drop(db);
    fixture.bytes = std::fs::read(&compacted).expect("the copy");
    // In the meta page of the commit; the other one knows of no table.
    fixture.damage(&[4_140]);
    let (repaired, db) = fixture.repair();
    assert_eq!((repaired.collections, repaired.records), (2, 2 * RECORDS as u64));
    for name in ["docs", "codes"] {
        assert_eq!(all_of(&db, name).len(), fixture.expected(name).len());
    }
}

#[test]
fn a_file_that_was_cut_short_gives_the_records_that_are_left() {
    let fixture = Fixture::new();
    Database::compact(fixture.path()).expect("a compaction");
    let whole = std::fs::read(fixture.path()).expect("the file");
    // The root of all tables is at the end of a compacted file.
    std::fs::write(fixture.path(), &whole[..whole.len() - 4096]).expect("the file");
    let (repaired, db) = fixture.repair();
    assert_eq!((repaired.collections, repaired.records), (2, 2 * RECORDS as u64));
    assert!(!repaired.is_complete());
    for name in ["docs", "codes"] {
        assert!(all_of(&db, name) == fixture.expected(name), "{name}: the copy differs");
    }
}

#[test]
fn a_repair_refuses_to_overwrite_and_has_nothing_to_do_with_foreign_files() {
    let fixture = Fixture::new();
    fixture.damage(&[]);
    let target = fixture.dir.path().join("target");
    std::fs::write(&target, b"mine").expect("a file");
    let error = Database::repair(fixture.path(), &target).expect_err("a refusal");
    assert!(matches!(error, Error::Storage(StorageError::Exists { .. })), "{error}");
    assert_eq!(std::fs::read(&target).expect("the file"), b"mine");
    let other = fixture.dir.path().join("other");
    assert!(Database::repair(&target, &other).is_err());
    assert!(!other.exists());
    assert_eq!(Database::damage(fixture.path()).expect("a survey"), []);
    let repaired = Database::repair(fixture.path(), &other).expect("a copy");
    assert!(repaired.is_complete() && repaired.damage.is_empty());
    let copy = Database::open_read_only(&other).expect("the copy");
    assert!(all_of(&copy, "docs") == fixture.expected("docs"));
}

#[test]
fn no_byte_of_a_deleted_record_is_left_after_compacting() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    fill(&path);
    let db = Database::open(&path).expect("a database");
    let docs = db.collection("docs").expect("a collection");
    let kept = docs.get(5).expect("a lookup").expect("a record");
    let mut traces: Vec<Vec<u8>> = Vec::new();
    for at in [3_i64, 150, RECORDS - 3] {
        let record = docs.get(at).expect("a lookup").expect("a record");
        // A value of a field that no other record has.
        let mark = Rng::new(at as u64).noise(40);
        docs.upsert(record.clone().field("mark", mark.as_str())).expect("a commit");
        traces.push(mark.into_bytes());
        let half = |x: &f32| half::f16::from_f32(*x).to_le_bytes();
        traces.push(record.vector.iter().flatten().flat_map(half).collect());
        traces.push(text(at).into_bytes());
        assert!(docs.delete(at).expect("a removal"));
        // A replacement leaves no trace either.
        docs.upsert(Record::new(at + 1).text("another")).expect("a commit");
        traces.push(text(at + 1).into_bytes());
    }
    // A text with pages of its own.
    let long = Rng::new(7).noise(26_000);
    docs.upsert(Record::new("long").text(&long)).expect("a commit");
    assert!(docs.delete("long").expect("a removal"));
    traces.push(long.as_bytes()[20_000..20_040].to_vec());
    drop((docs, db));
    let has = |bytes: &[u8], trace: &[u8]| bytes.windows(trace.len()).any(|of| of == trace);
    let before = std::fs::read(&path).expect("the file");
    let there = traces.iter().filter(|trace| has(&before, trace)).count();
    assert!(there > traces.len() / 2, "LMDB leaves traces: the search finds them");
    Database::compact(&path).expect("a compaction");
    let after = std::fs::read(&path).expect("the file");
    for trace in &traces {
        let shown = String::from_utf8_lossy(trace);
        // The other collection has the same texts, and was not touched.
        let other = usize::from(shown.contains("needle"));
        let count = after.windows(trace.len()).filter(|of| of == trace).count();
        assert_eq!(count, other, "{shown:?} is still there");
    }
    let db = Database::open_read_only(&path).expect("a database");
    assert_eq!(all_of(&db, "docs").iter().find(|record| record.id == kept.id), Some(&kept));
    db.verify().expect("a whole file");
}

/// A record of what no other has, and how each of it stands in a file.
fn distinct(at: i64) -> (Record, Vec<Vec<u8>>) {
    let mut rng = Rng::new(900 + at as u64);
    // No ending that a stem leaves out.
    let word = format!("zq{:012x}x", rng.next() >> 16);
    let mut indices: Vec<u32> = (0..8).map(|_| rng.next() as u32).collect();
    indices.sort_unstable();
    // Weights are kept as the upper halves of their f32.
    let halves: Vec<u16> = (0..8).map(|_| 0x3f00 + rng.below(256) as u16).collect();
    let weights = halves.iter().map(|half| f32::from_bits(u32::from(*half) << 16));
    let pairs: Vec<(u32, f32)> = indices.iter().copied().zip(weights).collect();
    let rows: [Vec<half::f16>; 2] =
        [0, 1].map(|_| (0..12).map(|_| half::f16::from_f32(rng.component())).collect());
    let matrix = rows.iter().map(|row| row.iter().map(|x| x.to_f32()).collect::<Vec<f32>>());
    // Of whole numbers up to 127, the largest being that, the codes are they themselves.
    let mut codes: Vec<i8> = (0..32).map(|_| (rng.below(255) as i64 - 127) as i8).collect();
    codes[0] = 127;
    let vector: Vec<f32> = codes.iter().map(|code| f32::from(*code)).collect();
    let record = Record::new(at).text(format!("the {word} of a record")).vector(vector);
    let record = record.named_vector("terms", pairs);
    let record = record.named_vector("tokens", Matrix::from_rows(matrix).expect("a matrix"));
    let traces = vec![
        [&[0, 0, 0, 0, 2][..], word.as_bytes()].concat(),
        halves.iter().flat_map(|half| half.to_le_bytes()).collect(),
        [&[2_u8][..], &indices[3].to_be_bytes()].concat(),
        rows[1].iter().flat_map(|x| x.to_le_bytes()).collect(),
        codes.iter().map(|code| *code as u8).collect(),
    ];
    (record, traces)
}

#[test]
fn no_term_weight_row_or_code_of_a_deleted_record_is_left_after_compacting() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(&path).expect("a database");
    let options = CollectionOptions::new(32, Metric::Dot)
        .text(TextIndex::new(Language::English))
        .vector_field("terms", VectorField::sparse())
        .vector_field("tokens", VectorField::multi(12).codec(MatrixCodec::F16));
    let docs = db.create_collection("docs", options).expect("a collection");
    for half in [0..40, 40..50] {
        let mut batch = docs.batch();
        for at in half {
            batch.upsert(distinct(at).0).expect("a valid record");
        }
        batch.commit().expect("a commit");
        // The vectors of the others stay unsealed.
        if docs.count().expect("a count") == 40 {
            docs.maintain().graph_min_rows(16).run().expect("maintenance");
        }
    }
    drop((docs, db));
    let deleted = [3, 20, 44];
    let traces: Vec<Vec<u8>> = deleted.iter().flat_map(|at| distinct(*at).1).collect();
    let has = |bytes: &[u8], trace: &[u8]| bytes.windows(trace.len()).any(|of| of == trace);
    let before = std::fs::read(&path).expect("the file");
    for trace in &traces {
        assert!(has(&before, trace), "{trace:02x?} is not how it stands in the file");
    }
    let db = Database::open(&path).expect("a database");
    let docs = db.collection("docs").expect("a collection");
    for at in deleted {
        assert!(docs.delete(at).expect("a removal"));
    }
    drop((docs, db));
    Database::compact(&path).expect("a compaction");
    let after = std::fs::read(&path).expect("the file");
    for trace in &traces {
        assert!(!has(&after, trace), "{trace:02x?} is still there");
    }
    for trace in &distinct(4).1 {
        assert!(has(&after, trace), "{trace:02x?} of a record that stays is gone");
    }
    Database::open_read_only(&path).and_then(|db| db.verify()).expect("a whole file");
}
