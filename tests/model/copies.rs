//! Copies of the file: as a killed process leaves it, compacted, and repaired. Each is opened in
//! one of the ways there are, and has what was committed, all of it and nothing else.

use std::path::Path;

use portolan::{Database, Filter, Hit, Record};
use proptest::prelude::*;

use super::common::{Rng, quick_dir};
use super::{Side, database_options};

/// How a copy is opened.
#[derive(Debug, Clone, Copy)]
pub enum Opened {
    Writable,
    ReadOnly,
    Bytes,
}

pub fn opened() -> impl Strategy<Value = Opened> {
    prop_oneof![Just(Opened::Writable), Just(Opened::ReadOnly), Just(Opened::Bytes)]
}

impl Opened {
    fn open(self, path: &Path) -> Database {
        let db = match self {
            Self::Writable => database_options().must_exist().open(path),
            Self::ReadOnly => Database::open_read_only(path),
            Self::Bytes => Database::from_bytes(std::fs::read(path).expect("the bytes")),
        };
        db.expect("a copy that opens")
    }
}

/// Answers to some fixed searches, to compare two ways to read one file.
pub fn answers(db: &Database, sides: &[Side; 2]) -> Vec<Vec<Hit>> {
    let mut answers = Vec::new();
    for side in sides {
        let collection = db.collection(side.name).expect("a collection");
        for seed in 0..4_u64 {
            let vector = Rng::new(seed).vector(side.shape.dimensions);
            let search = collection.search(&vector).limit(5).ef(1);
            let search = if seed == 0 { search.exact() } else { search };
            let search = search.filter(Filter::gte("number", seed as i64));
            answers.push(search.run().expect("a search").hits);
        }
    }
    answers
}

/// Nothing is damaged, and the content is that of the model.
fn check(db: &Database, sides: &[Side; 2]) {
    db.verify().expect("an undamaged copy");
    let names: Vec<&str> = sides.iter().map(|side| side.name).collect();
    assert_eq!(db.collections().expect("names"), names);
    let mut waiting = 0;
    for side in sides {
        let docs = db.collection(side.name).expect("a collection");
        side.check(&docs, 97);
        let pending = side.pending();
        assert_eq!(docs.pending().expect("a list"), pending, "pending in {}", side.name);
        waiting += pending.len() as u64;
    }
    assert_eq!(db.pending_count().expect("a count"), waiting);
}

/// Copies the file as a process that is killed now leaves it, and opens the copy. `live` is the
/// handle that has the file open.
pub fn check_killed(path: &Path, live: &Database, sides: &[Side; 2], opened: Opened) {
    let dir = quick_dir();
    let copy = dir.path().join("killed.portolan");
    std::fs::copy(path, &copy).expect("a copy");
    let db = opened.open(&copy);
    check(&db, sides);
    assert!(answers(&db, sides) == answers(live, sides), "the copy answers otherwise");
    assert_eq!(db.is_read_only(), !matches!(opened, Opened::Writable));
    if !db.is_read_only() {
        // The next writer goes on where the killed one was.
        let docs = db.collection(sides[0].name).expect("a collection");
        docs.upsert(Record::new("after the kill").text("tide")).expect("a commit");
        assert_eq!(docs.count().expect("a count"), sides[0].model.len() as u64 + 1);
        db.verify().expect("an undamaged copy");
    }
}

/// Folds the open file into a compacted copy, and opens that.
pub fn check_compacted(live: &Database, sides: &[Side; 2], opened: Opened) {
    let dir = quick_dir();
    let target = dir.path().join("compacted.portolan");
    let compacted = live.compact_to(&target).expect("a compacted copy");
    assert_eq!(compacted.after, std::fs::metadata(&target).expect("the file").len());
    assert!(live.compact_to(&target).is_err(), "the copy is written over");
    let db = opened.open(&target);
    check(&db, sides);
    let info = |db: &Database| db.info().expect("the info").collections;
    let (of_copy, of_live) = (info(&db), info(live));
    assert_eq!(of_copy, of_live);
    assert!(of_copy.iter().all(|info| info.unsealed == 0 && info.deleted == 0), "{of_copy:?}");
    assert!(answers(&db, sides) == answers(live, sides), "the copy answers otherwise");
}

/// A copy of the file has no damage to be told of, and a repair of it loses nothing.
pub fn check_repaired(path: &Path, sides: &[Side; 2]) {
    let dir = quick_dir();
    let [copy, target] = ["whole", "repaired"].map(|name| dir.path().join(name));
    std::fs::copy(path, &copy).expect("a copy");
    let damage = Database::damage(&copy).expect("a survey");
    assert!(damage.is_empty(), "{damage:?}");
    let repaired = Database::repair(&copy, &target).expect("a repair");
    assert!(repaired.is_complete() && repaired.damage.is_empty(), "{repaired:?}");
    let kept = || sides.iter().flat_map(|side| side.model.values());
    let vectors = kept().filter(|(_, kept)| kept.is_some()).count();
    assert_eq!(repaired.collections, sides.len());
    assert_eq!(repaired.records, kept().count() as u64);
    assert_eq!(repaired.vectors, vectors as u64);
    check(&Opened::Writable.open(&target), sides);
}
