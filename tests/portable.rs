//! One file, any machine: a file of this version, written on x86-64, gives the same answers on
//! every processor and byte order, whatever the size of its pages. `.ci/emulated` runs this for
//! others. `PORTOLAN_WRITE_FIXTURES=1` writes the file and its answers anew.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};

use common::{Rng, everything};
use portolan::{
    CollectionOptions, Database, DatabaseOptions, Filter, Hits, Maintenance, Metric, Originals,
    Record, Verify, internals,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

const FILE: &str = "version-2.portolan";
const ANSWERS: &str = "version-2.answers.txt";
const SHAPES: [(&str, usize, Metric, Originals); 3] = [
    ("docs", 24, Metric::Cosine, Originals::F16),
    ("points", 9, Metric::L2, Originals::F32),
    ("codes", 40, Metric::Dot, Originals::None),
];

/// Everything a file can hold: a graph with navigation codes, tombstones, unsealed vectors, ids
/// of both kinds, values with pages of their own, field entries, a list of free pages.
fn write(path: &Path) {
    let mut rng = Rng::new(2);
    for part in 0..2_i64 {
        let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
        let db = options.open(path).expect("a file");
        for (name, dimensions, metric, originals) in SHAPES {
            let options = CollectionOptions::new(dimensions, metric).originals(originals);
            let docs = db.collection_or_create(name, options).expect("a collection");
            let mut batch = docs.batch();
            for at in [0..210, 200..220][part as usize].clone() {
                let record = match name {
                    "points" => Record::new(format!("point {at}")),
                    _ => Record::new(at),
                };
                let text = if at == 7 { "long ".repeat(900) } else { format!("text {at}") };
                let record = record.text(text).field("number", at % 9);
                let record = record.field("word", ["harbor", "chart", "pilot"][at as usize % 3]);
                batch.upsert(record.vector(rng.vector(dimensions))).expect("a valid record");
            }
            if part == 1 {
                batch.delete(40);
            }
            batch.commit().expect("a commit");
            if part == 0 && name == "docs" {
                docs.maintain().graph_min_rows(100).run().expect("maintenance");
            }
        }
        drop(db);
        if part == 0 {
            // What was folded without a deletion stays as it is.
            Database::compact(path).expect("a small file");
        }
    }
}

fn lines_of(hits: &Hits) -> String {
    let lines = hits.iter().map(|hit| format!("  {} {:.4}\n", hit.id, hit.score));
    lines.collect()
}

/// What can be asked, in words.
fn answers(db: &Database) -> String {
    db.verify().expect("a whole file");
    let mut text = String::new();
    for name in db.collections().expect("names") {
        let docs = db.collection(&name).expect("a collection");
        let records = everything(&docs, 50);
        let characters: usize = records.iter().map(|record| record.text.len()).sum();
        let sum: f64 = records
            .iter()
            .flat_map(|record| record.vector.iter().flatten())
            .map(|x| f64::from(*x))
            .sum();
        text += &format!("{name}: {} records, {characters} characters, {sum:.3}\n", records.len());
        let mut rng = Rng::new(99);
        for filter in [None, Some(Filter::eq("word", "pilot").and(Filter::lt("number", 5.5)))] {
            let vector = rng.vector(docs.dimensions());
            for exact in [false, true] {
                let mut search = docs.search(&vector).limit(5);
                if exact {
                    search = search.exact();
                }
                if let Some(filter) = filter.clone() {
                    search = search.filter(filter);
                }
                let hits = search.run().expect("a search");
                text += &format!("{name}, filtered {}, exact {exact}\n", filter.is_some());
                text += &lines_of(&hits);
            }
        }
    }
    text
}

/// Equal lines, numbers within a rounding of sums in another order.
fn assert_equal(found: &str, expected: &str) {
    let (found, expected): (Vec<&str>, Vec<&str>) =
        (found.lines().collect(), expected.lines().collect());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let (head, number) = found.rsplit_once(' ').expect("two words");
        let (wanted, about) = expected.rsplit_once(' ').expect("two words");
        assert_eq!(head, wanted);
        match (number.parse::<f64>(), about.parse::<f64>()) {
            (Ok(a), Ok(b)) => assert!((a - b).abs() < 2e-3, "{found} is not {expected}"),
            _ => assert_eq!(number, about),
        }
    }
}

#[test]
fn a_file_of_this_version_is_read_equal_on_every_machine_and_page_size() {
    if std::env::var_os("PORTOLAN_WRITE_FIXTURES").is_some() {
        let _ = std::fs::remove_file(fixture(FILE));
        write(&fixture(FILE));
        let db = Database::open_read_only(fixture(FILE)).expect("the file");
        std::fs::write(fixture(ANSWERS), answers(&db)).expect("the answers");
    }
    let expected = std::fs::read_to_string(fixture(ANSWERS)).expect("the answers");
    let bytes = std::fs::read(fixture(FILE)).expect("the file");
    for verify in [Verify::None, Verify::Touched, Verify::Full] {
        let options = DatabaseOptions::new().verify(verify);
        let db = options.clone().open_read_only(fixture(FILE)).expect("the file");
        assert_equal(&answers(&db), &expected);
        let db = options.clone().from_bytes(bytes.clone()).expect("the bytes");
        assert_equal(&answers(&db), &expected);
        for page_bytes in [4_096, 8_192, 16_384, 32_768] {
            let rewritten =
                internals::rewrite(&bytes, page_bytes).expect("the file with new pages");
            assert_ne!(rewritten, bytes);
            let db = options.clone().from_bytes(rewritten).expect("the bytes");
            assert_equal(&answers(&db), &expected);
        }
    }
}

#[test]
fn a_file_of_this_version_is_written_by_lmdb_where_it_can_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = std::fs::read(fixture(FILE)).expect("the file");
    for page_bytes in [4_096, 16_384, 32_768] {
        let path = dir.path().join(format!("{page_bytes}.portolan"));
        let rewritten = internals::rewrite(&bytes, page_bytes).expect("the file with new pages");
        std::fs::write(&path, rewritten).expect("a file");
        let options = DatabaseOptions::new().verify(Verify::Full);
        if cfg!(any(target_endian = "big", target_pointer_width = "32")) {
            // LMDB's files are of its machine's byte order and word size.
            assert!(options.open(&path).is_err());
            continue;
        }
        let db = options.open(&path).expect("the file");
        let docs = db.collection("docs").expect("a collection");
        docs.upsert(Record::new(1_000_000).vector([1.0; 24])).expect("a commit");
        docs.maintain().run().expect("maintenance");
        db.verify().expect("a whole file");
        let hits = docs.search(&[1.0; 24]).limit(1).run().expect("a search");
        assert_eq!(hits[0].id, 1_000_000.into());
    }
}
