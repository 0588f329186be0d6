//! One file, any machine: a file of this version or of an earlier one, written on x86-64, gives the
//! same answers on every processor and byte order, whatever the size of its pages. `.ci/emulated`
//! runs this for others. `PORTOLAN_WRITE_FIXTURES=1` writes the file of this version and its
//! answers anew.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};

use common::{Rng, everything};
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Filter, Find, Fusion, Hits,
    IndexFields, Language, Maintenance, Matrix, MatrixCodec, Metric, Originals, Record, TextIndex,
    TextQuery, VectorField, Verify, internals,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The file that is written, and all that are read, with their answers.
const NEWEST: &str = "version-3";
const FILES: [&str; 2] = ["version-2", NEWEST];

fn file(name: &str) -> PathBuf {
    fixture(&format!("{name}.portolan"))
}

const SHAPES: [(&str, usize, Metric, Originals); 3] = [
    ("docs", 7, Metric::Cosine, Originals::F16),
    ("points", 5, Metric::L2, Originals::F32),
    ("codes", 6, Metric::Dot, Originals::None),
];
const IMAGE: usize = 6;
const ROW: usize = 4;
const WORDS: [&str; 7] =
    ["harbor", "charts", "pilots", "wind", "north", "K\u{fc}ste", "\u{6d77}\u{56f3}"];

/// `docs` has words in a language and every kind of vector field, `points` words of none and an
/// index of one field, `codes` has no words; matrices are kept in another way in each.
fn options(name: &str, dimensions: usize, metric: Metric) -> CollectionOptions {
    let options = CollectionOptions::new(dimensions, metric);
    match name {
        "docs" => options
            .text(TextIndex::new(Language::English).title(3).field("word", 2))
            .vector_field("image", VectorField::new(IMAGE, Metric::L2))
            .vector_field("tokens", VectorField::multi(ROW))
            .vector_field("terms", VectorField::sparse()),
        "points" => options
            .text(TextIndex::new(Language::None))
            .index_fields(IndexFields::Declared)
            .index_field("word")
            .vector_field("tokens", VectorField::multi(ROW).codec(MatrixCodec::Int8)),
        _ => options.vector_field("tokens", VectorField::multi(ROW).codec(MatrixCodec::Bit)),
    }
}

fn matrix(rng: &mut Rng) -> Matrix {
    let rows: Vec<Vec<f32>> = (0..1 + rng.below(3)).map(|_| rng.vector(ROW)).collect();
    Matrix::from_rows(rows).expect("a matrix")
}

fn pairs(rng: &mut Rng) -> Vec<(u32, f32)> {
    (0..4).map(|at| (at * 9 + rng.below(9) as u32, 0.25 + rng.below(8) as f32)).collect()
}

fn record(name: &str, at: i64, dimensions: usize, rng: &mut Rng) -> Record {
    let record = match name {
        "points" => Record::new(format!("point {at}")),
        _ => Record::new(at),
    };
    let word = |rng: &mut Rng| WORDS[rng.below(7) as usize];
    let text = match at {
        // With pages of its own; and one that is compressed.
        7 if name == "docs" => rng.noise(4_500),
        8 => "the wind of the north ".repeat(300),
        _ => format!("{} {} {}", word(rng), word(rng), word(rng)),
    };
    let record = record.text(text).field("number", at % 9).vector(rng.vector(dimensions));
    let mut record = record.field("word", ["harbor", "chart", "pilot"][at as usize % 3]);
    if at % 4 == 0 {
        record = record.title(word(rng)).field("list", vec![at % 5, at % 7]);
    }
    if name == "docs" && at % 3 != 1 {
        record = record.named_vector("image", rng.vector(IMAGE)).named_vector("terms", pairs(rng));
    }
    if at % 3 != 2 {
        record = record.named_vector("tokens", matrix(rng));
    }
    record
}

/// Everything a file can hold: graphs with navigation codes, tombstones, unsealed vectors, ids
/// of both kinds, values with pages of their own, compressed records, fields in blocks, words,
/// vector fields of every kind, a list of free pages.
fn write(path: &Path) {
    let mut rng = Rng::new(3);
    for part in 0..2 {
        let db_options = DatabaseOptions::new().maintenance(Maintenance::Manual);
        let db = db_options.open(path).expect("a file");
        for &(name, dimensions, metric, originals) in &SHAPES[..1 + 2 * part] {
            let options = options(name, dimensions, metric).originals(originals);
            let docs = db.collection_or_create(name, options).expect("a collection");
            let mut batch = docs.batch();
            let changed = if name != "docs" { 0..24 } else { [0..60, 57..64][part].clone() };
            for at in changed {
                batch.upsert(record(name, at, dimensions, &mut rng)).expect("a valid record");
            }
            if part == 1 {
                batch.delete(40);
            }
            batch.commit().expect("a commit");
            if part == 0 {
                docs.maintain().graph_min_rows(55).run().expect("maintenance");
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

/// What can be asked of vectors, in words.
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
        text += &answers_since_3(&docs, &name, &mut rng);
    }
    text
}

/// What can be asked of words and named vector fields, where there are any.
fn answers_since_3(docs: &Collection, name: &str, rng: &mut Rng) -> String {
    let mut text = String::new();
    let mut tell = |what: &str, hits: &Hits| text += &format!("{name}, {what}\n{}", lines_of(hits));
    let mut find: Option<Find> = None;
    if docs.text_index().expect("a setting").is_some() {
        for asked in [
            "harbors chart -wind",
            "\"north wind\" +pilots",
            "\u{6d77}\u{56f3} k\u{fc}ste",
            "wind* nor*",
        ] {
            let search = docs.search_text(TextQuery::parse(asked)).filter(Filter::gt("number", 1));
            tell(asked, &search.limit(4).run().expect("a search"));
        }
        find = Some(docs.find().text("harbor charts").dense(&rng.vector(docs.dimensions())));
    }
    for field in docs.vector_fields().expect("settings") {
        let hits = match field.as_str() {
            "image" => docs.search(&rng.vector(IMAGE)).field(&field).limit(4).run(),
            "terms" => docs.search_sparse(&field, &pairs(rng)).limit(4).run(),
            _ => docs.maxsim(&field, &matrix(rng)).filter(Filter::lt("number", 7)).limit(4).run(),
        };
        let all = everything(docs, 64);
        let have = all.iter().filter(|record| record.named_vectors.contains_key(&field));
        tell(&format!("{field} of {}", have.count()), &hits.expect("a search"));
    }
    if let Some(find) = find {
        let find = find.fusion(Fusion::rrf()).facets(["number", "word", "list"]).limit(5);
        let found = find.run().expect("a query");
        text += &format!("{name}, both\n");
        text.extend(found.iter().map(|hit| format!("  {} {:.4}\n", hit.id, hit.score)));
        for facet in &found.facets {
            let values = facet.values.iter();
            text.extend(
                values.map(|of| format!("  {} {:?} {}\n", facet.field, of.value, of.count)),
            );
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
fn files_of_all_versions_are_read_equal_on_every_machine_and_page_size() {
    let place = |name: &str| fixture(&format!("{name}.answers.txt"));
    if std::env::var_os("PORTOLAN_WRITE_FIXTURES").is_some() {
        let _ = std::fs::remove_file(file(NEWEST));
        write(&file(NEWEST));
        let db = Database::open_read_only(file(NEWEST)).expect("the file");
        std::fs::write(place(NEWEST), answers(&db)).expect("the answers");
    }
    for name in FILES {
        let expected = std::fs::read_to_string(place(name)).expect("the answers");
        let bytes = std::fs::read(file(name)).expect("the file");
        for verify in [Verify::None, Verify::Touched, Verify::Full] {
            let options = DatabaseOptions::new().verify(verify);
            let db = options.clone().open_read_only(file(name)).expect("the file");
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
}

#[test]
fn files_of_all_versions_are_written_by_lmdb_where_they_can_be() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, page_bytes) in
        FILES.into_iter().flat_map(|of| [(of, 4_096), (of, 16_384), (of, 32_768)])
    {
        let bytes = std::fs::read(file(name)).expect("the file");
        let path = dir.path().join(format!("{name}-{page_bytes}.portolan"));
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
        let vector = vec![1.0; docs.dimensions()];
        let record = Record::new(1_000_000).text("a stranger").vector(vector.clone());
        docs.upsert(record).expect("a commit");
        docs.maintain().run().expect("maintenance");
        db.verify().expect("a whole file");
        let hits = docs.search(&vector).limit(1).run().expect("a search");
        assert_eq!(hits[0].id, 1_000_000.into());
        if name == NEWEST {
            let hits = docs.search_text("strangers").run().expect("a search");
            assert_eq!((hits.len(), &hits[0].id), (1, &1_000_000.into()));
        }
    }
}
