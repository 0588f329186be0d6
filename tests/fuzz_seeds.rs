//! The databases that fuzzing starts from: committed, and current. `PORTOLAN_WRITE_SEEDS=1` writes
//! it anew after a change of the format.

use std::path::{Path, PathBuf};

use portolan::eval::synthetic::Synthetic;
use portolan::{
    CollectionOptions, Database, DatabaseOptions, Filter, Language, Matrix, Metric, Record,
    SearchPath, TextIndex, VectorField, Verify,
};

/// Two lines a navigation code, and a projection of as many directions.
const DIM: usize = 120;
const ROWS: usize = 40;

fn seed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/database/seed-graph")
}

/// A graph with all its sections, deleted rows, unsealed ones, fields in blocks, words, and a
/// vector field of each kind.
fn write(path: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::create(dir.path().join("large.portolan")).unwrap();
    let options = CollectionOptions::new(DIM, Metric::Cosine)
        .text(TextIndex::new(Language::English))
        .vector_field("image", VectorField::new(3, Metric::L2))
        .vector_field("terms", VectorField::sparse())
        .vector_field("tokens", VectorField::multi(2));
    let docs = db.create_collection("docs", options).unwrap();
    let vectors = Synthetic::with_clusters(DIM, 7, 4).vectors(ROWS + 2);
    let record = |at: usize| {
        let record = Record::new(at as i64).text(format!("chart {at}"));
        let record = record.field("year", 1280 + at as i64).field("tag", format!("t{}", at % 3));
        let record = if at.is_multiple_of(4) {
            let tokens = Matrix::from_rows([[1.0, at as f32], [0.5, 0.25]]).unwrap();
            let record = record.named_vector("tokens", tokens);
            let record = record.named_vector("image", [1.0, 0.5, at as f32].to_vec());
            record.named_vector("terms", [(at as u32 % 5, 1.0), (9, 0.5)])
        } else {
            record
        };
        record.vector(&vectors[at * DIM..(at + 1) * DIM])
    };
    let mut batch = docs.batch();
    (0..ROWS).for_each(|at| batch.upsert(record(at)).unwrap());
    batch.commit().unwrap();
    docs.maintain().graph_min_rows(0).run().unwrap();
    let made = dir.path().join("small.portolan");
    db.compact_to(&made).unwrap();
    drop((docs, db));
    let db = Database::open_existing(&made).unwrap();
    let docs = db.collection("docs").unwrap();
    docs.delete(3_i64).unwrap();
    docs.upsert(record(ROWS)).unwrap();
    docs.upsert(record(ROWS + 1)).unwrap();
    drop((docs, db));
    std::fs::copy(&made, path).unwrap();
}

/// A graph that a search with few candidates walks, and little else.
fn write_walked(path: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::create(dir.path().join("large.portolan")).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(3, Metric::L2)).unwrap();
    let vectors = Synthetic::with_clusters(3, 7, 4).vectors(260);
    let mut batch = docs.batch();
    for (at, vector) in vectors.chunks_exact(3).enumerate() {
        let year = 1_280 + at as i64;
        batch.upsert(Record::new(at as i64).field("year", year).vector(vector)).unwrap();
    }
    batch.commit().unwrap();
    docs.maintain().graph_min_rows(0).run().unwrap();
    db.compact_to(path).unwrap();
}

/// Small files for the reader of pages, of several page sizes.
const PAGES: [(&str, usize); 3] = [("seed-512", 512), ("seed-4096", 4_096), ("seed-16384", 16_384)];

fn pages(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/pages").join(name)
}

/// Bytes of an input of a repair, at most; as in its target.
const REPAIRED_BYTES_MAX: u64 = 48 << 10;

/// Where repairs begin with a copy of a seed that is for others.
fn repaired(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/repair").join(name)
}

/// Some records, so that there are branches in pages of 512 bytes; in larger ones a few.
fn write_pages(path: &Path, page_bytes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (made, copied) = (dir.path().join("f"), dir.path().join("copy"));
    let db = Database::create(&made).unwrap();
    if page_bytes < 16_384 {
        let docs = db.create_collection("docs", CollectionOptions::new(3, Metric::Dot)).unwrap();
        let mut batch = docs.batch();
        for at in 0..if page_bytes < 4_096 { 40 } else { 4_i64 } {
            let text = "t".repeat(if at == 2 { 1_500 } else { 10 });
            let record = Record::new(at).text(text).field("year", 1289 + at % 3);
            batch.upsert(record.vector([1.0, at as f32, 0.5])).unwrap();
        }
        batch.commit().unwrap();
    }
    drop(db);
    Database::open_read_only(&made).unwrap().compact_to(&copied).unwrap();
    let whole = std::fs::read(copied).unwrap();
    std::fs::write(path, portolan::internals::rewrite(&whole, page_bytes).unwrap()).unwrap();
}

#[test]
fn the_seeds_of_pages_open_whole() {
    for (name, page_bytes) in PAGES {
        let path = pages(name);
        if std::env::var_os("PORTOLAN_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_pages(&path, page_bytes);
        }
        let db = DatabaseOptions::new().verify(Verify::Full).open_read_only(&path).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes <= 64 << 10 && bytes.is_multiple_of(page_bytes as u64), "{bytes}");
        assert_eq!(db.collections().unwrap().len(), usize::from(page_bytes < 16_384));
        if bytes <= REPAIRED_BYTES_MAX {
            if std::env::var_os("PORTOLAN_WRITE_SEEDS").is_some() {
                std::fs::copy(&path, repaired(name)).unwrap();
            }
            let (copy, seed) = (std::fs::read(repaired(name)), std::fs::read(&path));
            assert!(copy.unwrap() == seed.unwrap(), "{name} of repairs is another");
        }
    }
}

#[test]
fn the_seeds_of_repairs_have_vectors_and_are_small() {
    for name in ["seed-delta", "seed-leading"] {
        let bytes = std::fs::read(repaired(name)).unwrap();
        assert!(bytes.len() as u64 <= REPAIRED_BYTES_MAX, "{name}: {} bytes", bytes.len());
        assert!(bytes == std::fs::read(seed().with_file_name(name)).unwrap(), "{name} is another");
        // An extent of codes.
        assert!(bytes.windows(8).any(|of| of == b"PTLX\x01\0\x02\0"), "{name}");
    }
}

#[test]
fn the_seed_of_databases_opens_whole_with_a_graph_and_navigation_codes() {
    if std::env::var_os("PORTOLAN_WRITE_SEEDS").is_some() {
        write(&seed());
    }
    let db = Database::open_read_only(seed()).unwrap();
    // Two records, one of which waits in two named fields too.
    assert_eq!(db.verify().unwrap().unsealed, 4);
    let info = db.info().unwrap();
    let docs = &info.collections[0];
    assert_eq!((docs.graphs, docs.deleted, docs.unsealed), (1, 1, 2));
    assert!(docs.space.navigation > 0 && docs.space.links > 0, "{:?}", docs.space);
    let docs = db.collection("docs").unwrap();
    let hits = docs.search(&[0.1; DIM]).ef(12).limit(5).run().unwrap();
    assert_eq!(hits.len(), 5);
    assert_eq!(docs.search_text("charts").limit(50).run().unwrap().len(), ROWS + 1);
    let tokens = Matrix::from_rows([[0.5, 1.0]]).unwrap();
    // Every fourth, and one that waits.
    let named = ROWS / 4 + 1;
    assert_eq!(docs.maxsim("tokens", &tokens).limit(50).run().unwrap().len(), named);
    assert_eq!(docs.search_sparse("terms", &[(9, 1.0)]).limit(50).run().unwrap().len(), named);
    assert_eq!(docs.search(&[1.0; 3]).field("image").limit(50).run().unwrap().len(), named);
}

#[test]
fn the_graph_of_a_seed_is_walked_with_few_candidates() {
    let path = seed().with_file_name("seed-walked");
    if std::env::var_os("PORTOLAN_WRITE_SEEDS").is_some() {
        let _ = std::fs::remove_file(&path);
        write_walked(&path);
    }
    assert!(std::fs::metadata(&path).unwrap().len() <= 176 << 10);
    let db = Database::open_read_only(&path).unwrap();
    db.verify().unwrap();
    let docs = db.collection("docs").unwrap();
    let search = || docs.search(&[0.5; 3]).limit(1).ef(1);
    assert_eq!(search().run().unwrap().report.paths, [SearchPath::Walk]);
    let filtered = search().filter(Filter::gte("year", 1_290)).run().unwrap();
    assert_eq!(filtered.report.paths, [SearchPath::MaskedWalk]);
}

#[test]
fn the_seeds_of_field_blocks_are_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/field_block");
    for name in ["seed-pairs", "seed-layer"] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let length = |at: usize| usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8;
        let (directory, rest) = bytes[6..].split_at(length(0));
        let (slots, group) = rest.split_at(length(2));
        let low = length(4) as u32;
        assert!(portolan::internals::field_block(directory, slots, group, low), "{name}");
        assert!(!portolan::internals::field_block(&directory[1..], slots, group, low), "{name}");
    }
}
