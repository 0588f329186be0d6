//! Too little address space for the map of a file: at every limit an error that names the need, no
//! loss of what was acknowledged, and reads that go on.
//!
//! What a process takes beside the map differs from machine to machine. So a child without a limit
//! tells what a few batches take at most; the others get so much, and some more for the map. It
//! grows only where the larger map fits beside the old one, so that a third of that stays free: it
//! is never the heap that ends, which would be an abort.

use std::path::{Path, PathBuf};

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Error, Maintenance, Metric, Record,
    StorageError, Verify,
};

use super::{Kind, kind, listing};
use crate::common::Rng;
use crate::common::process::{Role, command, limited, role, tell, wait_for_parent};

const TEST: &str = "address_space::child_has_little_address_space";
const MEASURED: &str = "measured";
const WRITER: &str = "writer in little space";
const READER: &str = "reader in little space";
const REFUSED: &str = "refused in little space";

/// What writers may take beyond what was measured, in KiB. Each has enough to grow what the one
/// before it has left.
const SPACES_KIB: [u64; 3] = [24 << 10, 48 << 10, 96 << 10];
/// Too little for what the writers leave, but enough for the first batches.
const LEAST_KIB: u64 = 8 << 10;

/// Batches of the child without a limit.
const FEW: i64 = 4;
/// Records of a batch, and letters of each: together some 800 KB, which no compression shortens by
/// much.
const RECORDS: i64 = 8;
const LETTERS: u64 = 100_000;
const DIMENSIONS: usize = 8;

/// The records of a batch, always the same for its number.
fn records(number: i64) -> Vec<Record> {
    let mut rng = Rng::new(number as u64);
    let record = |at: i64| {
        let record = Record::new(number * RECORDS + at).text(rng.noise(LETTERS));
        record.vector(rng.vector(DIMENSIONS))
    };
    (0..RECORDS).map(record).collect()
}

fn commit(docs: &Collection, number: i64) -> portolan::Result<()> {
    let mut batch = docs.batch();
    for record in records(number) {
        batch.upsert(record)?;
    }
    batch.commit().map(|_| ())
}

/// Reads all batches, one at a time, and searches.
fn check(docs: &Collection, batches: i64) {
    assert_eq!(docs.count().expect("a count") as i64, batches * RECORDS);
    let parts = |of: &Record| (of.id.clone(), of.text.clone());
    for number in 0..batches {
        let scan = docs.scan().after(number * RECORDS - 1).limit(RECORDS as usize);
        let found = scan.run().expect("a page").records;
        assert!(found.iter().map(parts).eq(records(number).iter().map(parts)), "batch {number}");
    }
    let hits = docs.search(&[0.5; DIMENSIONS]).limit(5).exact().run().expect("a search");
    assert_eq!(hits.len(), 5);
}

fn small_map() -> DatabaseOptions {
    DatabaseOptions::new().initial_map(64 * 1024).maintenance(Maintenance::Manual)
}

fn docs_of(db: &Database) -> Collection {
    let options = CollectionOptions::new(DIMENSIONS, Metric::Cosine);
    db.collection_or_create("docs", options).expect("a collection")
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the file").len()
}

/// The bytes of the map that there was no room for, which the message tells as well.
fn wanted(error: &Error) -> u64 {
    let Error::Storage(StorageError::AddressSpace { wanted }) = error else { panic!("{error:?}") };
    assert!(error.to_string().contains(&wanted.to_string()), "{error}");
    assert_eq!(kind(error), Kind::Other);
    *wanted
}

/// Plays the children; does nothing when this process is not one.
#[test]
fn child_has_little_address_space() {
    match role().as_deref() {
        Some(MEASURED) => measure(),
        Some(WRITER) => write(),
        Some(READER) => read_beside_writers(),
        Some(REFUSED) => open_in_every_way(),
        _ => {}
    }
}

fn place() -> PathBuf {
    PathBuf::from(std::env::var_os("PORTOLAN_TEST_PATH").expect("a path"))
}

/// The most address space that this process has had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("what the system tells");
    let size = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let peak = size("VmPeak:").or_else(|| size("VmSize:")).expect("a size");
    peak.split_whitespace().next().expect("a figure").parse().expect("a number")
}

fn measure() {
    let db = small_map().open(place()).expect("a database");
    let docs = docs_of(&db);
    for number in 0..FEW {
        commit(&docs, number).expect("a commit");
        tell(number);
    }
    check(&docs, FEW);
    db.verify().expect("an undamaged file");
    tell(format_args!("peak {}", peak_kib()));
}

/// Commits batches until there is no room for the map. What is there can be read then.
fn write() {
    let db = small_map().open(place()).expect("a database");
    let docs = docs_of(&db);
    let mut batches = docs.count().expect("a count") as i64 / RECORDS;
    let mut needed = 0;
    // Twice: the handle outlives it.
    for _ in 0..2 {
        let error = loop {
            match commit(&docs, batches) {
                Ok(()) => tell(batches),
                Err(error) => break error,
            }
            batches += 1;
        };
        needed = wanted(&error);
    }
    check(&docs, batches);
    if let Err(error) = db.verify() {
        // It maps the file once more.
        assert!(wanted(&error) >= length(&place()), "{error}");
    }
    tell(format_args!("full {needed}"));
}

/// Has a file open that others make larger than what there is room for.
fn read_beside_writers() {
    let db = small_map().open(place()).expect("a database");
    let docs = docs_of(&db);
    check(&docs, FEW);
    // What searches keep of this version would keep its pages.
    db.release();
    tell("open");
    wait_for_parent();
    for _ in 0..2 {
        let reading = docs.count().expect_err("no room");
        let writing = docs.upsert(Record::new("new")).expect_err("no room");
        for error in [reading, writing] {
            assert!(wanted(&error) >= length(&place()), "{error}");
        }
    }
    tell("outgrown");
}

fn open_in_every_way() {
    let path = place();
    let checked = || small_map().verify(Verify::Touched);
    for opened in [
        Database::open_read_only(&path).map(|_| ()),
        checked().open_read_only(&path).map(|_| ()),
        Database::open(&path).map(|_| ()),
        small_map().open(&path).map(|_| ()),
        checked().open(&path).map(|_| ()),
        Database::compact(&path).map(|_| ()),
        Database::damage(&path).map(|_| ()),
        Database::repair(&path, path.with_extension("repaired")).map(|_| ()),
    ] {
        let error = opened.expect_err("no room");
        assert!(wanted(&error) >= length(&path), "{error}");
    }
    tell("refused");
}

/// Starts a child with so many KiB of address space, or as much as there is.
fn start(role: &str, kib: Option<u64>, path: &Path) -> Role {
    let mut command = match kib {
        Some(kib) => limited(TEST, role, kib),
        None => command(TEST, role),
    };
    // Nothing takes address space by the number of processors.
    command.env("MALLOC_ARENA_MAX", "1").env("RAYON_NUM_THREADS", "1");
    command.env("PORTOLAN_TEST_PATH", path);
    Role::start(command)
}

/// Counts the batches that a child acknowledges until it ends, as it must; what it tells beside
/// them.
fn hear(mut child: Role, batches: &mut i64) -> String {
    let mut told = String::new();
    while let Some(line) = child.hear() {
        match line.parse::<i64>() {
            Ok(number) => {
                assert_eq!(number, *batches);
                *batches += 1;
            }
            Err(_) => told = line,
        }
    }
    let status = child.status();
    assert!(status.success(), "{status} behind {batches} batches and {told:?}");
    told
}

/// The figure behind a word that a child tells.
fn figure(told: &str, word: &str) -> u64 {
    let figure = told.strip_prefix(word).unwrap_or_else(|| panic!("{told:?} is not {word:?}"));
    figure.trim().parse().expect("a number")
}

#[test]
fn too_little_address_space_is_told_with_the_need_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let mut batches = 0;
    let taken = figure(&hear(start(MEASURED, None, &path), &mut batches), "peak");
    let least = Some(taken + LEAST_KIB);
    let mut reader = start(READER, least, &path);
    assert_eq!(reader.hear().as_deref(), Some("open"));
    for space in SPACES_KIB {
        let before = batches;
        let told = hear(start(WRITER, Some(taken + space), &path), &mut batches);
        assert!(figure(&told, "full") > length(&path), "{told} for {} bytes", length(&path));
        assert!(batches > before, "no batch fits into {space} KiB");
        let db = Database::open_existing(&path).expect("a database");
        db.verify().expect("an undamaged file");
        check(&docs_of(&db), batches);
    }
    reader.close();
    assert_eq!(hear(reader, &mut batches), "outgrown");
    assert_eq!(hear(start(REFUSED, least, &path), &mut batches), "refused");
    assert_eq!(listing(&path), ["f.portolan"]);
    let db = Database::open_read_only(&path).expect("a read-only database");
    check(&docs_of(&db), batches);
    drop(db);
    let db = Database::open_existing(&path).expect("a database");
    commit(&docs_of(&db), batches).expect("a commit where there is room");
    check(&docs_of(&db), batches + 1);
}
