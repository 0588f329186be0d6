//! Damage within extents of vectors: a repair loses rows, not extents, names what it lost, and
//! keeps nothing that is not what was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use portolan::{
    CollectionOptions, DamagedPart, Database, DatabaseOptions, FieldVector, Maintenance, Metric,
    Originals, Record, RecordId, Repaired, VectorField,
};

use crate::common::{Rng, everything};

const DIM: usize = 12;
const RECORDS: i64 = 70;
const NAMES: [&str; 4] = ["bare", "cut", "half", "single"];

fn options(name: &str) -> CollectionOptions {
    let of = |metric, originals| CollectionOptions::new(DIM, metric).originals(originals);
    match name {
        "bare" => of(Metric::Cosine, Originals::None),
        "cut" => of(Metric::Cosine, Originals::F32).leading_dimensions(DIM / 2),
        "half" => of(Metric::Cosine, Originals::F16)
            .vector_field("image", VectorField::new(DIM, Metric::L2).originals(Originals::F32)),
        _ => of(Metric::Dot, Originals::F32),
    }
}

fn options_of_file() -> DatabaseOptions {
    DatabaseOptions::new().maintenance(Maintenance::Manual)
}

/// Every collection with one segment, in which a few rows are dead.
fn fill(path: &Path) {
    let mut rng = Rng::new(11);
    let db = options_of_file().open(path).expect("a database");
    for name in NAMES {
        let docs = db.create_collection(name, options(name)).expect("a collection");
        let mut batch = docs.batch();
        for at in 0..RECORDS {
            let mut record = Record::new(at).text(format!("{name} {at}"));
            // Slots of vectors have gaps.
            if at % 9 != 4 {
                record = record.vector(rng.vector(DIM));
            }
            if name == "half" {
                record = record.named_vector("image", rng.vector(DIM));
            }
            batch.upsert(record).expect("a valid record");
        }
        batch.commit().expect("a commit");
        docs.maintain().run().expect("maintenance");
    }
    drop(db);
    // One copy of each extent; the rows of what is deleted then stay.
    Database::compact(path).expect("a compaction");
    let db = options_of_file().open(path).expect("a database");
    for name in NAMES {
        let docs = db.collection(name).expect("a collection");
        for at in [3, 20, 21, RECORDS - 1] {
            assert!(docs.delete(at).expect("a removal"));
        }
    }
}

fn below(rng: &mut Rng, end: usize) -> usize {
    rng.below(end as u64) as usize
}

/// An extent of the file.
#[derive(Debug, Clone, Copy)]
struct Extent {
    kind: u16,
    /// Where its header stands.
    at: usize,
    rows: usize,
    stride: usize,
}

impl Extent {
    fn row(&self, row: usize) -> usize {
        self.at + 48 + row * self.stride
    }
}

struct World {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
    before: BTreeMap<&'static str, Vec<Record>>,
    extents: Vec<Extent>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("w.portolan");
        fill(&path);
        let bytes = std::fs::read(&path).expect("the file");
        let db = Database::from_bytes(bytes.clone()).expect("the file");
        let before = NAMES.map(|name| (name, all_of(&db, name)));
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let heads = (0..bytes.len() - 48).filter(|&at| bytes[at..at + 6] == *b"PTLX\x01\0");
        let extents = heads.map(|at| Extent {
            kind: u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]),
            at,
            rows: number(at + 12) as usize,
            stride: number(at + 16) as usize,
        });
        let extents: Vec<Extent> = extents.filter(|of| of.kind <= 3).collect();
        // Slots and codes of five spaces, originals of four.
        assert_eq!(extents.len(), 5 + 5 + 4, "{extents:?}");
        Self { dir, before: before.into(), extents, bytes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Repairs the file with some bytes changed.
    fn repair(&self, changes: &[(usize, u8)]) -> (Repaired, BTreeMap<&'static str, Vec<Record>>) {
        let mut bytes = self.bytes.clone();
        for (at, mask) in changes {
            bytes[*at] ^= mask;
        }
        let (path, target) = (self.path("w.portolan"), self.path("target"));
        std::fs::write(&path, bytes).expect("the file");
        let refused = Database::open_read_only(&path).and_then(|db| db.verify()).is_err();
        let repaired = Database::repair(&path, &target).expect("a repair");
        assert_eq!(refused, !repaired.damage.is_empty(), "{changes:?}: {:?}", repaired.damage);
        let db = Database::open_read_only(&target).expect("the repaired file");
        db.verify().expect("a whole file");
        let after = NAMES.map(|name| (name, all_of(&db, name)));
        drop(db);
        std::fs::remove_file(&target).expect("the copy");
        (repaired, after.into())
    }
}

fn all_of(db: &Database, name: &str) -> Vec<Record> {
    everything(&db.collection(name).expect("a collection"), 50)
}

fn named(record: &Record) -> Option<&Vec<f32>> {
    match record.named_vectors.get("image") {
        Some(FieldVector::Dense(vector)) => Some(vector),
        _ => None,
    }
}

#[test]
fn one_changed_byte_anywhere_in_an_extent_loses_nothing() {
    let world = World::new();
    let mut rng = Rng::new(29);
    for extent in &world.extents {
        let random = |rng: &mut Rng| extent.row(0) + below(rng, extent.rows * extent.stride);
        let end = extent.row(extent.rows);
        // Page header, magic, kind, index, rows, stride, segment, collection, zero, checksum.
        let mut places = vec![extent.at - 15, extent.at - 6, extent.at - 3];
        places.extend([1, 6, 9, 12, 13, 17, 21, 24, 29, 33, 47].map(|at| extent.at + at));
        // The first row and the last, and behind it.
        places.extend([extent.row(0), end - 1, end]);
        let mut places = rng.sample(places, 6);
        places.extend((0..3).map(|_| random(&mut rng)));
        for at in places {
            let mask = 1 + rng.below(255) as u8;
            let (repaired, after) = world.repair(&[(at, mask)]);
            let place = at as i64 - extent.at as i64;
            assert!(repaired.is_complete(), "{extent:?} {place}: {:?}", repaired.damage);
            assert!(after == world.before, "{extent:?} {place}: something changed");
        }
    }
}

/// What a repair may do to a vector in a row with a changed byte.
fn is_allowed(part: DamagedPart, before: Option<&Vec<f32>>, after: Option<&Vec<f32>>) -> bool {
    match (before, after) {
        (Some(_), None) => part == DamagedPart::Vector,
        // From the code, which is within half a step, and as f16 again.
        (Some(before), Some(after)) => {
            let largest = before.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            let mut pairs = before.iter().zip(after);
            part == DamagedPart::Original
                && pairs.all(|(a, b)| (a - b).abs() <= largest / 127.0 * 0.6)
        }
        (None, after) => after.is_none(),
    }
}

#[test]
fn of_several_changed_rows_no_more_than_those_are_lost_and_each_is_named() {
    let world = World::new();
    let mut rng = Rng::new(31);
    let mut lost = 0;
    for (round, extent) in world.extents.iter().cycle().take(42).enumerate() {
        let changed: BTreeSet<usize> =
            (0..2 + rng.below(5)).map(|_| below(&mut rng, extent.rows)).collect();
        let place = |row: &usize, rng: &mut Rng| extent.row(*row) + below(rng, extent.stride);
        let changes: Vec<(usize, u8)> =
            changed.iter().map(|row| (place(row, &mut rng), 1 + rng.below(255) as u8)).collect();
        let (repaired, after) = world.repair(&changes);
        let told: BTreeMap<RecordId, DamagedPart> =
            (repaired.damage.iter()).filter_map(|of| Some((of.id.clone()?, of.part))).collect();
        // Of the extent as a whole: what its rows do not show.
        let of_extent: Vec<DamagedPart> =
            repaired.damage.iter().filter(|of| of.id.is_none()).map(|of| of.part).collect();
        let mut differing = 0;
        for (name, before) in &world.before {
            assert_eq!(before.len(), after[name].len());
            for (before, after) in before.iter().zip(&after[name]) {
                assert_eq!((&before.id, &before.text), (&after.id, &after.text));
                for of in [|of: &Record| of.vector.clone(), |of: &Record| named(of).cloned()] {
                    let (before_vector, after_vector) = (of(before), of(after));
                    if before_vector == after_vector {
                        continue;
                    }
                    differing += 1;
                    let (had, has) = (before_vector.as_ref(), after_vector.as_ref());
                    let context =
                        format!("round {round}, {extent:?}, {}: {had:?} {has:?}", before.id);
                    let Some(part) = told.get(&before.id) else {
                        // A change that its row does not show, in an extent that is told of.
                        assert!(extent.kind != 1 && has.is_some(), "{context}");
                        assert!(!repaired.is_complete(), "{context}");
                        let part = of_extent.first().copied();
                        let is_bare = extent.kind == 2;
                        let wanted =
                            if is_bare { DamagedPart::Vector } else { DamagedPart::Original };
                        assert_eq!(part, Some(wanted), "{context}");
                        continue;
                    };
                    assert!(is_allowed(*part, had, has), "{context}: {part}");
                    lost += 1;
                }
            }
        }
        assert!(differing <= changed.len(), "round {round}, {extent:?}: {differing} {changes:?}");
    }
    assert!(lost > 12, "{lost}");
}

#[test]
fn slots_that_the_records_tell_are_put_right_however_many_are_lost() {
    let world = World::new();
    for extent in world.extents.iter().filter(|of| of.kind == 1) {
        // Zeros from the fifth row to the last but two, as a lost sector leaves them.
        let lost = extent.row(5)..extent.row(extent.rows - 2);
        let changes: Vec<(usize, u8)> =
            lost.filter(|at| world.bytes[*at] != 0).map(|at| (at, world.bytes[at])).collect();
        let (repaired, after) = world.repair(&changes);
        assert!(after == world.before, "{extent:?}: {:?}", repaired.damage);
        assert!(repaired.is_complete(), "{extent:?}: {:?}", repaired.damage);
    }
}

#[test]
fn records_that_may_have_the_vector_of_another_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, target) = (dir.path().join("w.portolan"), dir.path().join("target"));
    let db = options_of_file().open(&path).expect("a database");
    let field = VectorField::new(DIM, Metric::Dot);
    let options = CollectionOptions::new(DIM, Metric::Dot).vector_field("image", field);
    let docs = db.create_collection("docs", options).expect("a collection");
    let (mut batch, mut rng) = (docs.batch(), Rng::new(37));
    for at in 0..60_i64 {
        let record = Record::new(at).vector(rng.vector(DIM));
        let has_image = at % 2 == 0;
        let image = has_image.then(|| rng.vector(DIM));
        let with = |record: Record, image| record.named_vector("image", image);
        batch.upsert(image.into_iter().fold(record, with)).expect("a valid record");
    }
    batch.commit().expect("a commit");
    docs.maintain().run().expect("maintenance");
    let before = all_of(&db, "docs");
    drop((docs, db));
    Database::compact(&path).expect("a compaction");
    let mut bytes = std::fs::read(&path).expect("the file");
    let is_slots_of_images = |at: &usize| {
        bytes[*at..*at + 8] == *b"PTLX\x01\0\x01\0" && bytes[*at + 12..*at + 16] == [30, 0, 0, 0]
    };
    let at = (0..bytes.len() - 48).find(is_slots_of_images).expect("the slots of the field");
    // Two even slots become the odd ones behind them, whose records have no image.
    for row in [4, 11] {
        bytes[at + 48 + row * 4] ^= 1;
    }
    std::fs::write(&path, bytes).expect("the file");
    let repaired = Database::repair(&path, &target).expect("a repair");
    assert!(!repaired.is_complete(), "{:?}", repaired.damage);
    let after = all_of(&Database::open_read_only(&target).expect("the file"), "docs");
    let told: BTreeSet<&RecordId> =
        repaired.damage.iter().filter_map(|of| of.id.as_ref()).collect();
    let mut wrong = 0;
    for (before, after) in before.iter().zip(&after) {
        if named(after).is_some() && named(before) != named(after) {
            assert!(told.contains(&after.id), "{}: {:?}", after.id, repaired.damage);
            wrong += 1;
        }
    }
    assert_eq!(wrong, 2);
}
