//! Files that cannot be opened, and handles that cannot be written.

use std::path::Path;

use portolan::{
    CollectionOptions, Database, Error, FORMAT_VERSION, FormatError, Maintenance, Metric,
    PageError, Record, StorageError,
};

use super::{Fixture, Kind, kind, listing};
use crate::common::page_editor::sealed;
use crate::common::{Rng, content, raw_lmdb};

/// The bytes of a valid database.
fn valid_file() -> Vec<u8> {
    let fixture = Fixture::new();
    let path = fixture.path();
    let Fixture { dir, db, docs } = fixture;
    docs.upsert(Record::new("long").text(Rng::new(1).noise(20_000))).expect("a commit");
    drop((db, docs));
    let bytes = std::fs::read(path).expect("the file");
    drop(dir);
    bytes
}

/// Opens a file in all three ways, which must fail alike and leave it and its directory alone.
fn refused(path: &Path) -> Error {
    let before = std::fs::read(path).expect("the file");
    let errors = [
        Database::open(path).expect_err("a refusal"),
        Database::open_existing(path).expect_err("a refusal"),
        Database::open_read_only(path).expect_err("a refusal"),
        Database::compact(path).expect_err("a refusal"),
    ];
    let [first, rest @ ..] = errors;
    for error in rest {
        assert_eq!(error.to_string(), first.to_string());
    }
    assert!(std::fs::read(path).expect("the file") == before, "the file was changed");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(listing(path), [name], "files are left beside it");
    first
}

/// Writes the bytes to a new file and expects that it is refused.
fn refused_bytes(bytes: &[u8]) -> Error {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    std::fs::write(&path, bytes).expect("the file");
    refused(&path)
}

#[test]
fn absent_and_present_files_are_told_apart() {
    let fixture = Fixture::new();
    let absent = fixture.beside("absent.portolan");
    for error in [
        Database::open_existing(&absent).expect_err("absent"),
        Database::open_read_only(&absent).expect_err("absent"),
        Database::compact(&absent).expect_err("absent"),
    ] {
        assert!(
            matches!(&error, Error::Storage(StorageError::NotFound { path }) if *path == absent)
        );
        assert_eq!(kind(&error), Kind::NotFound);
    }
    assert!(!absent.exists());
    let error = fixture.refuses(|f| Database::create(f.path()));
    assert!(matches!(error, Error::Storage(StorageError::Exists { .. })));
    assert_eq!(kind(&error), Kind::Other);
    let nowhere = fixture.beside("no/such/directory/f.portolan");
    let error = Database::open(&nowhere).expect_err("no directory");
    assert!(matches!(error, Error::Storage(StorageError::Io { .. })), "{error:?}");
    drop(Database::create(&absent).expect("a new file"));
    drop(Database::open_existing(&absent).expect("it is there now"));
}

#[test]
fn a_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for error in [
        Database::open(dir.path()).expect_err("a directory"),
        Database::open_existing(dir.path()).expect_err("a directory"),
        Database::open_read_only(dir.path()).expect_err("a directory"),
        Database::create(dir.path()).expect_err("a directory"),
    ] {
        assert!(matches!(
            error,
            Error::Storage(StorageError::Io { .. } | StorageError::Exists { .. })
        ));
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a listing").count(), 0);
}

#[test]
fn an_empty_file_becomes_a_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    std::fs::write(&path, "").expect("the file");
    let error = Database::open_read_only(&path).expect_err("nothing to read");
    assert!(matches!(error, Error::Storage(StorageError::Page(PageError::TooShort { found: 0 }))));
    let db = Database::open_existing(&path).expect("a database");
    assert_eq!(db.collections().expect("names"), Vec::<String>::new());
    drop(db);
    let db = Database::open_read_only(&path).expect("a database");
    assert_eq!(db.collections().expect("names"), Vec::<String>::new());
}

#[test]
fn files_that_are_not_databases_are_refused() {
    let text = "# Notes\nThis is a text, and no database at all.\n".repeat(1_000);
    for bytes in [&[0; 1][..], &[0; 20_000], &[0xFF; 9_000], text.as_bytes(), b"SQLite format 3\0"]
    {
        let error = refused_bytes(bytes);
        let short = bytes.len() < 4096;
        match &error {
            Error::Storage(StorageError::Page(PageError::TooShort { .. })) => assert!(short),
            Error::Storage(StorageError::NotADatabase { path, reason }) => {
                assert!(!short && path.ends_with("f.portolan") && reason.contains("magic number"));
            }
            _ => panic!("{error:?}"),
        }
        assert_eq!(kind(&error), Kind::Corruption);
    }
}

#[test]
fn a_file_that_lost_a_page_in_use_is_refused_at_every_length() {
    let bytes = valid_file();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    std::fs::write(&path, &bytes).expect("the file");
    let before = content(&Database::open_read_only(&path).expect("a read-only database"));
    let pages = bytes.len() / 4096;
    let lengths = (1..pages).map(|page| page * 4096).chain([1, 100, 151, 4_095, bytes.len() - 1]);
    let (mut refused, mut whole) = (0, 0);
    for length in lengths {
        std::fs::write(&path, &bytes[..length]).expect("the file");
        match Database::open_read_only(&path) {
            // Only free pages are gone.
            Ok(db) => {
                assert!(content(&db) == before, "{length}");
                whole += 1;
            }
            Err(_) => {
                let error = refused_bytes(&bytes[..length]);
                let page = matches!(error, Error::Storage(StorageError::Page(_)));
                assert!(page, "{length}: {error:?}");
                assert_eq!(kind(&error), Kind::Corruption, "{length}");
                refused += 1;
            }
        }
    }
    assert!(refused > 8 && whole < 8, "{refused} refused, {whole} whole");
}

#[test]
fn files_of_other_machines_are_refused_by_their_magic() {
    let mut bytes = valid_file();
    for meta in [16, 4096 + 16] {
        bytes[meta..meta + 4].reverse();
    }
    let error = refused_bytes(&bytes);
    assert!(matches!(error, Error::Storage(StorageError::Page(PageError::BigEndian))));
    assert_eq!(kind(&error), Kind::Corruption);

    let mut bytes = valid_file();
    let magic: [u8; 4] = bytes[16..20].try_into().expect("four bytes");
    bytes[12..16].copy_from_slice(&magic);
    bytes[16..20].fill(0);
    let error = refused_bytes(&bytes);
    assert!(matches!(error, Error::Storage(StorageError::Page(PageError::Bits32))));

    let mut bytes = valid_file();
    bytes[20] = 2;
    let error = refused_bytes(&bytes);
    assert!(matches!(
        error,
        Error::Storage(StorageError::Page(PageError::DataVersion { found: 2 }))
    ));
}

#[test]
fn an_lmdb_file_of_other_software_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    std::fs::write(&path, "").expect("the file");
    raw_lmdb::put(&path, "addresses", b"alice", b"1 Main Street");
    let error = refused_kind(&path);
    assert!(matches!(error, Error::Storage(StorageError::NotADatabase { .. })), "{error:?}");
    assert_eq!(kind(&error), Kind::Corruption);
    assert_eq!(raw_lmdb::count(&path, "addresses"), 1);
}

/// As [`refused`], where the two readers may give different reasons.
fn refused_kind(path: &Path) -> Error {
    let before = std::fs::read(path).expect("the file");
    let error = Database::open(path).expect_err("a refusal");
    let read_only = Database::open_read_only(path).expect_err("a refusal");
    assert_eq!(
        std::mem::discriminant(kind_of(&error)),
        std::mem::discriminant(kind_of(&read_only))
    );
    assert!(std::fs::read(path).expect("the file") == before, "the file was changed");
    error
}

fn kind_of(error: &Error) -> &StorageError {
    match error {
        Error::Storage(error) => error,
        other => panic!("{other:?}"),
    }
}

/// The value of `meta/format`: its seal, magic and version.
fn format_entry(magic: &[u8; 8], version: u32) -> Vec<u8> {
    sealed("meta", b"format", &[&magic[..], &version.to_le_bytes()].concat())
}

#[test]
fn a_file_of_another_format_version_is_refused_but_not_called_damaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    std::fs::write(&path, valid_file()).expect("the file");
    raw_lmdb::put(&path, "meta", b"format", &format_entry(b"PORTOLAN", FORMAT_VERSION));
    drop(Database::open(&path).expect("the version of this library"));

    let newer = FORMAT_VERSION + 1;
    raw_lmdb::put(&path, "meta", b"format", &format_entry(b"PORTOLAN", newer));
    let error = refused(&path);
    let expected = FormatError::Version { found: newer, supported: FORMAT_VERSION };
    assert!(matches!(&error, Error::Storage(StorageError::Format(e)) if *e == expected), "{error}");
    // A file of a newer version must not be thrown away as damaged.
    assert_eq!(kind(&error), Kind::Other);

    raw_lmdb::put(&path, "meta", b"format", &format_entry(b"NOT OURS", FORMAT_VERSION));
    assert_eq!(kind(&refused(&path)), Kind::Corruption);
    let mut damaged = format_entry(b"PORTOLAN", FORMAT_VERSION);
    damaged[3] ^= 1;
    raw_lmdb::put(&path, "meta", b"format", &damaged);
    let error = refused(&path);
    let sum = matches!(&error, Error::Storage(StorageError::Format(FormatError::Checksum { .. })));
    assert!(sum, "{error}");
    assert_eq!(kind(&error), Kind::Corruption);
}

#[test]
fn a_read_only_handle_refuses_every_write() {
    let Fixture { dir, db, docs } = Fixture::new();
    let path = db.path().to_owned();
    drop((db, docs));
    let bytes = std::fs::read(&path).expect("the file");
    let db = Database::open_read_only(&path).expect("a read-only database");
    assert!(db.is_read_only());
    let docs = db.collection("docs").expect("a collection");
    let before = content(&db);
    let options = || CollectionOptions::new(3, Metric::Cosine);
    let errors = [
        docs.upsert(Record::new("b")).expect_err("read-only"),
        docs.delete("a").expect_err("read-only"),
        docs.batch().commit().expect_err("read-only"),
        docs.maintain().run().expect_err("read-only"),
        db.create_collection("new", options()).expect_err("read-only"),
        db.collection_or_create("new", options()).expect_err("read-only"),
        db.delete_collection("docs").expect_err("read-only"),
    ];
    for error in &errors {
        assert!(matches!(error, Error::Storage(StorageError::ReadOnly)), "{error:?}");
        assert_eq!(kind(error), Kind::Other);
    }
    assert!(content(&db) == before);
    db.collection_or_create("docs", options()).expect("the one that is there");
    // A copy changes nothing.
    let copy = dir.path().join("copy");
    db.compact_to(&copy).expect("a copy");
    assert!(content(&Database::open_read_only(&copy).expect("a copy")) == before);
    std::fs::remove_file(copy).expect("the copy");
    assert!(std::fs::read(&path).expect("the file") == bytes);
    assert_eq!(listing(&path), ["f.portolan"]);
}

#[test]
fn one_file_is_one_handle_by_whatever_name() {
    let fixture = Fixture::new();
    let (symbolic, hard) = (fixture.beside("symbolic"), fixture.beside("hard"));
    #[cfg(unix)]
    std::os::unix::fs::symlink(fixture.path(), &symbolic).expect("a link");
    std::fs::hard_link(fixture.path(), &hard).expect("a link");
    let dotted = fixture.beside("./f.portolan");
    for (at, name) in [fixture.path(), dotted, symbolic, hard].iter().enumerate() {
        if !name.exists() {
            continue;
        }
        // The options of the first opening stay, and so does its path.
        let options = portolan::DatabaseOptions::new().maintenance(Maintenance::Manual);
        let again = options.open(name).expect("the same handle");
        assert_eq!(again.path(), fixture.path());
        again
            .collection("docs")
            .expect("a collection")
            .upsert(Record::new(at as i64 + 100))
            .expect("a commit");
        assert!(fixture.docs.contains(at as i64 + 100).expect("a lookup"));
        let error = Database::compact(name).expect_err("it is open");
        assert!(matches!(error, Error::Storage(StorageError::InUse { .. })));
        assert_eq!(kind(&error), Kind::Retryable);
    }
    fixture.db.verify().expect("an undamaged file");
}

#[test]
fn many_threads_that_open_one_file_share_one_handle() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let options = || CollectionOptions::new(3, Metric::Cosine);
    std::thread::scope(|scope| {
        for thread in 0..8_i64 {
            let path = &path;
            scope.spawn(move || {
                for round in 0..10 {
                    let db = Database::open(path).expect("a database");
                    let docs = db.collection_or_create("docs", options()).expect("a collection");
                    docs.upsert(Record::new(thread * 100 + round)).expect("a commit");
                }
            });
        }
    });
    let db = Database::open(&path).expect("a database");
    assert_eq!(db.collection("docs").expect("a collection").count().expect("a count"), 80);
    drop(db);
    assert_eq!(listing(&path), ["f.portolan"]);
}

#[test]
fn side_files_stand_beside_an_open_file_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a name with spaces, \u{e9}\u{4e16} and 'quotes'.portolan");
    let db = Database::open(&path).expect("a database");
    let docs = db.create_collection("d\u{f6}cs", CollectionOptions::new(2, Metric::Dot));
    docs.expect("a collection").upsert(Record::new("\u{1f5fa}")).expect("a commit");
    assert_eq!(listing(&path).len(), 3, "{:?}", listing(&path));
    let error = Database::open_read_only(&path).expect_err("it is open");
    assert!(matches!(error, Error::Storage(StorageError::InUse { .. })));
    assert_eq!(kind(&error), Kind::Retryable);
    drop(db);
    assert_eq!(listing(&path).len(), 1);
    let db = Database::open_read_only(&path).expect("a read-only database");
    assert_eq!(db.collections().expect("names"), ["d\u{f6}cs"]);
    assert!(
        db.collection("d\u{f6}cs").expect("a collection").contains("\u{1f5fa}").expect("a lookup")
    );
    assert_eq!(listing(&path).len(), 1);
    drop(db);
    Database::compact(&path).expect("a compaction");
    assert_eq!(listing(&path).len(), 1);
}

#[test]
fn a_path_with_nul_is_refused() {
    for error in [
        Database::open("a\0b").expect_err("NUL"),
        Database::open_read_only("a\0b").expect_err("NUL"),
        Database::compact("a\0b").expect_err("NUL"),
    ] {
        assert!(matches!(error, Error::Storage(StorageError::Io { .. })), "{error:?}");
    }
}

#[test]
fn a_copy_is_never_written_over_a_file() {
    let fixture = Fixture::new();
    let target = fixture.beside("target");
    std::fs::write(&target, "precious").expect("the file");
    let error = fixture.refuses(|f| f.db.compact_to(&target));
    assert!(matches!(error, Error::Storage(StorageError::Exists { .. })), "{error:?}");
    assert_eq!(std::fs::read_to_string(&target).expect("the file"), "precious");
    let error = fixture.refuses(|f| f.db.compact_to(f.path()));
    assert!(matches!(error, Error::Storage(StorageError::Exists { .. })), "{error:?}");
}
