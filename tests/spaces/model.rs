//! Random changes of records with default vectors, two named fields and matrices, with folds and
//! reopenings in between, compared with a map and with the definitions of the scores in f64.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, FieldVector, Filter, Hits,
    Maintenance, Matrix, MatrixCodec, Metric, Originals, Record, RecordId, VectorField,
};
use proptest::prelude::*;

use crate::common::Rng;
use crate::common::oracle::Shape;

const DEFAULT: Shape = Shape { dimensions: 6, metric: Metric::Cosine, originals: Originals::F16 };
const IMAGE: Shape = Shape { dimensions: 4, metric: Metric::L2, originals: Originals::F32 };
const SOUND: Shape = Shape { dimensions: 9, metric: Metric::Dot, originals: Originals::None };
/// Components of a row of a matrix.
const ROW: usize = 8;

#[derive(Debug, Clone)]
enum Op {
    Batch(Vec<Change>),
    Maintain { only_due: bool },
    Reopen,
    Compact,
}

#[derive(Debug, Clone)]
enum Change {
    /// Bits of `has`: default vector, image, sound, tokens, words.
    Upsert {
        id: u8,
        seed: u64,
        has: u8,
    },
    Delete(u8),
}

/// What a record should have.
#[derive(Debug, Clone)]
struct Kept {
    tag: i64,
    vector: Option<Vec<f32>>,
    image: Option<Vec<f32>>,
    sound: Option<Vec<f32>>,
    tokens: Option<Matrix>,
    words: Option<Vec<(u32, f32)>>,
}

impl Kept {
    fn new(seed: u64, has: u8) -> Self {
        let mut rng = Rng::new(seed);
        let mut vector = |dim: usize| (0..dim).map(|_| rng.component()).collect::<Vec<f32>>();
        let (a, b, c) = (vector(6), vector(4), vector(9));
        let rows = 1 + (seed % 5) as usize;
        let tokens = Matrix::new(ROW, vector(rows * ROW)).expect("whole rows");
        // Of few indices, so that lists are long, and of one far away.
        let words =
            vector(3).into_iter().zip(0..).map(|(x, at)| (at * 5 + seed as u32 % 4, x.abs()));
        let words = words.chain([(u32::MAX - seed as u32 % 2, 0.5)]).collect();
        Self {
            tag: (seed % 3) as i64,
            vector: (has & 1 != 0).then_some(a),
            image: (has & 2 != 0).then_some(b),
            sound: (has & 4 != 0).then_some(c),
            tokens: (has & 8 != 0).then_some(tokens),
            words: (has & 16 != 0).then_some(words),
        }
    }

    fn record(&self, id: u8) -> Record {
        let mut record = Record::new(i64::from(id)).text("t").field("tag", self.tag);
        record.vector.clone_from(&self.vector);
        for (name, vector) in [("image", &self.image), ("sound", &self.sound)] {
            if let Some(vector) = vector {
                record = record.named_vector(name, vector.clone());
            }
        }
        if let Some(words) = &self.words {
            record = record.named_vector("words", words.clone());
        }
        match &self.tokens {
            Some(tokens) => record.named_vector("tokens", tokens.clone()),
            None => record,
        }
    }
}

/// What a record has in one field.
type Given = fn(&Kept) -> Option<&Vec<f32>>;

struct World {
    _dir: tempfile::TempDir,
    path: PathBuf,
    codec: MatrixCodec,
    kept: BTreeMap<u8, Kept>,
}

fn open(path: &PathBuf) -> Database {
    let inline = Maintenance::Inline { threshold: 12 };
    DatabaseOptions::new().maintenance(inline).open(path).expect("opens")
}

fn options(codec: MatrixCodec) -> CollectionOptions {
    let field =
        |shape: Shape| VectorField::new(shape.dimensions, shape.metric).originals(shape.originals);
    CollectionOptions::new(DEFAULT.dimensions, DEFAULT.metric)
        .vector_field("image", field(IMAGE))
        .vector_field("sound", field(SOUND))
        .vector_field("tokens", VectorField::multi(ROW).codec(codec))
        .vector_field("words", VectorField::sparse())
}

impl World {
    fn apply(&mut self, docs: &Collection, changes: &[Change]) {
        let mut batch = docs.batch();
        for change in changes {
            match *change {
                Change::Upsert { id, seed, has } => {
                    let kept = Kept::new(seed, has);
                    batch.upsert(kept.record(id)).expect("a record that fits");
                    self.kept.insert(id, kept);
                }
                Change::Delete(id) => {
                    batch.delete(i64::from(id));
                    self.kept.remove(&id);
                }
            }
        }
        batch.commit().expect("commits");
    }

    fn check(&self, db: &Database, docs: &Collection, seed: u64) {
        db.verify().expect("whole");
        assert_eq!(docs.count().expect("counts"), self.kept.len() as u64);
        self.check_records(docs);
        let mut rng = Rng::new(seed);
        let mut query = |dim: usize| (0..dim).map(|_| rng.component()).collect::<Vec<f32>>();
        for (name, shape, of) in self.dense() {
            let query = query(shape.dimensions);
            let search = || match name {
                "" => docs.search(&query),
                name => docs.search(&query).field(name),
            };
            let wanted = |tag: Option<i64>| -> BTreeMap<u8, f64> {
                let kept = self.kept.iter().filter(|(_, kept)| tag.is_none_or(|t| kept.tag == t));
                let vectors = kept.filter_map(|(id, kept)| Some((*id, of(kept)?)));
                let asked = shape.query(&query);
                vectors.map(|(id, of)| (id, shape.score(&shape.keep(of), &asked))).collect()
            };
            let found = search().exact().limit(7).run().expect("searches");
            assert_best(&found, &wanted(None), 7, |_| 2e-3);
            let all = search().limit(100).run().expect("searches");
            assert_eq!(all.len(), wanted(None).len(), "{name}");
            let tagged = search().exact().limit(5).filter(Filter::eq("tag", 1_i64));
            assert_best(&tagged.run().expect("searches"), &wanted(Some(1)), 5, |_| 2e-3);
        }
        self.check_maxsim(docs, &Matrix::new(ROW, query(3 * ROW)).expect("whole rows"));
        let words = query(12).into_iter().zip(0..).map(|(x, at)| (at, x.abs()));
        self.check_sparse(docs, &words.chain([(u32::MAX, 0.25)]).collect::<Vec<_>>());
    }

    fn check_sparse(&self, docs: &Collection, query: &[(u32, f32)]) {
        let wanted = |tag: Option<i64>| -> BTreeMap<u8, f64> {
            let kept = self.kept.iter().filter(|(_, kept)| tag.is_none_or(|t| kept.tag == t));
            let sparse =
                kept.filter_map(|(id, kept)| Some((*id, kept_weights(kept.words.as_ref()?))));
            let score = |words: &BTreeMap<u32, f32>| -> f64 {
                let pairs = query.iter().filter_map(|(index, x)| Some((x, words.get(index)?)));
                pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
            };
            sparse
                .map(|(id, words)| (id, score(&words)))
                .filter(|(_, score)| *score > 0.0)
                .collect()
        };
        let found = docs.search_sparse("words", query).limit(6).run().expect("searches");
        assert_best(&found, &wanted(None), 6, |score| score * 1e-6);
        let found = docs.search_sparse("words", query).filter(Filter::eq("tag", 1_i64));
        assert_best(&found.run().expect("searches"), &wanted(Some(1)), 10, |score| score * 1e-6);
    }

    fn dense(&self) -> [(&'static str, Shape, Given); 3] {
        [
            ("", DEFAULT, |kept| kept.vector.as_ref()),
            ("image", IMAGE, |kept| kept.image.as_ref()),
            ("sound", SOUND, |kept| kept.sound.as_ref()),
        ]
    }

    /// Read back by id and by scan, with vectors as they are kept.
    fn check_records(&self, docs: &Collection) {
        let page = docs.scan().limit(1000).with_vectors().run().expect("scans");
        assert_eq!(page.records.len(), self.kept.len());
        for (found, (id, kept)) in page.records.iter().zip(&self.kept) {
            assert_eq!(found.id, RecordId::Int(i64::from(*id)));
            let got = docs.get(i64::from(*id)).expect("reads").expect("is there");
            assert_eq!(got, *found);
            let vector = kept.vector.as_ref().map(|vector| DEFAULT.keep(vector).values);
            assert_eq!(found.vector, vector);
            let mut names = Vec::new();
            for (name, shape, given) in
                [("image", IMAGE, &kept.image), ("sound", SOUND, &kept.sound)]
            {
                let Some(given) = given else { continue };
                let wanted = FieldVector::Dense(shape.keep(given).values);
                assert_eq!(found.named_vectors.get(name), Some(&wanted));
                names.push(name);
            }
            if let Some(given) = &kept.tokens {
                let Some(FieldVector::Multi(read)) = found.named_vectors.get("tokens") else {
                    panic!("no matrix of {id}");
                };
                assert_eq!(read.rows().len(), given.rows().len());
                names.push("tokens");
            }
            if let Some(given) = &kept.words {
                let kept: BTreeMap<u32, f32> = kept_weights(given);
                let wanted = FieldVector::Sparse(kept.into_iter().collect());
                assert_eq!(found.named_vectors.get("words"), Some(&wanted));
                names.push("words");
            }
            assert!(found.named_vectors.keys().eq(names), "{id}");
        }
        assert_eq!(docs.get(200_i64).expect("reads"), None);
    }

    fn check_maxsim(&self, docs: &Collection, query: &Matrix) {
        let wanted: BTreeMap<u8, f64> = (self.kept.iter())
            .filter_map(|(id, kept)| Some((*id, self.maxsim(query, kept.tokens.as_ref()?))))
            .collect();
        // What int8 codes of both sides, or of the query alone, can be off by.
        let rows = query.rows().len() as f64;
        let error = if self.codec == MatrixCodec::F16 { 4e-3 } else { 0.03 } * rows * ROW as f64;
        let found = docs.maxsim("tokens", query).exact().limit(6).run().expect("searches");
        assert_best(&found, &wanted, 6, |_| error);
        let all = docs.maxsim("tokens", query).limit(100).run().expect("searches");
        assert_eq!(all.len(), wanted.len());
        let ids: Vec<RecordId> = (0..40_i64).map(RecordId::Int).collect();
        let scores = docs.maxsim("tokens", query).scores(&ids).expect("scores");
        for (id, score) in (0_u8..).zip(scores) {
            match (score, wanted.get(&id)) {
                (Some(found), Some(wanted)) => {
                    assert!((f64::from(found) - wanted).abs() <= error, "{found} {wanted}");
                }
                (found, wanted) => assert!(found.is_none() && wanted.is_none(), "{id}"),
            }
        }
    }

    /// The definition, on rows as the codec keeps them where that is not nearly what was given.
    fn maxsim(&self, query: &Matrix, tokens: &Matrix) -> f64 {
        let kept: Vec<Vec<f64>> = tokens.rows().map(|row| self.kept_row(row)).collect();
        let best = |q: &[f32]| {
            let dot = |row: &Vec<f64>| q.iter().zip(row).map(|(x, y)| f64::from(*x) * y).sum();
            kept.iter().map(dot).fold(f64::MIN, f64::max)
        };
        query.rows().map(best).sum()
    }

    fn kept_row(&self, row: &[f32]) -> Vec<f64> {
        let row = row.iter().map(|x| f64::from(*x));
        if self.codec != MatrixCodec::Bit {
            return row.collect();
        }
        let norm_sq: f64 = row.clone().map(|x| x * x).sum();
        let factor = norm_sq / row.clone().map(f64::abs).sum::<f64>();
        row.map(|x| if x >= 0.0 { factor } else { -factor }).collect()
    }
}

/// Weights as they are kept: the upper half of an f32, the nearest, of equally near the even one.
fn kept_weights(pairs: &[(u32, f32)]) -> BTreeMap<u32, f32> {
    let half = |weight: f32| {
        let low = f32::from_bits(weight.to_bits() & 0xFFFF_0000);
        let high = f32::from_bits((weight.to_bits() & 0xFFFF_0000) + 0x1_0000);
        match (weight - low).total_cmp(&(high - weight)) {
            std::cmp::Ordering::Less => low,
            std::cmp::Ordering::Greater => high,
            _ if low.to_bits() >> 16 & 1 == 0 => low,
            _ => high,
        }
    };
    let kept = pairs.iter().map(|(index, weight)| (*index, half(*weight)));
    kept.filter(|(_, weight)| *weight > 0.0).collect()
}

/// Each hit has the score of its record, and together they are the best there are.
fn assert_best(found: &Hits, wanted: &BTreeMap<u8, f64>, limit: usize, error: impl Fn(f64) -> f64) {
    let mut scores: Vec<f64> = wanted.values().copied().collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.truncate(limit);
    assert_eq!(found.len(), scores.len());
    for (hit, best) in found.iter().zip(&scores) {
        let RecordId::Int(id) = hit.id else { panic!("{:?}", hit.id) };
        let own = wanted[&u8::try_from(id).expect("one of ours")];
        let (score, error) = (f64::from(hit.score), error(own));
        assert!((score - own).abs() <= error, "record {id}: {score}, not {own}");
        assert!((score - best).abs() <= error, "record {id}: {score}, and {best} is the best");
    }
}

fn change() -> impl Strategy<Value = Change> {
    let upsert = (0..40_u8, any::<u64>(), 0..32_u8);
    prop_oneof![
        4 => upsert.prop_map(|(id, seed, has)| Change::Upsert { id, seed, has }),
        1 => (0..40_u8).prop_map(Change::Delete),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => proptest::collection::vec(change(), 1..20).prop_map(Op::Batch),
        2 => any::<bool>().prop_map(|only_due| Op::Maintain { only_due }),
        1 => Just(Op::Reopen),
        1 => Just(Op::Compact),
    ]
}

fn run(codec: MatrixCodec, ops: &[Op], seed: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.portolan");
    let mut world = World { _dir: dir, path, codec, kept: BTreeMap::new() };
    let mut db = open(&world.path);
    let mut docs = db.create_collection("docs", options(codec)).expect("creates");
    for (at, op) in (0_u64..).zip(ops) {
        match op {
            Op::Batch(changes) => world.apply(&docs, changes),
            Op::Maintain { only_due } => {
                let maintain = docs.maintain().graph_min_rows(5);
                let maintain = if *only_due { maintain.only_due() } else { maintain };
                maintain.run().expect("folds");
            }
            Op::Reopen | Op::Compact => {
                drop((docs, db));
                if matches!(op, Op::Compact) {
                    Database::compact(&world.path).expect("compacts");
                }
                let read_only = Database::open_read_only(&world.path).expect("opens");
                let shipped = read_only.collection("docs").expect("is there");
                world.check(&read_only, &shipped, seed ^ at);
                drop((shipped, read_only));
                db = open(&world.path);
                docs = db.collection("docs").expect("is there");
            }
        }
        world.check(&db, &docs, seed ^ at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn every_field_agrees_with_the_model_after_any_changes(
        ops in proptest::collection::vec(op(), 8..20), seed in any::<u64>(),
    ) {
        for codec in [MatrixCodec::F16, MatrixCodec::Int8, MatrixCodec::Bit] {
            run(codec, &ops, seed);
        }
    }
}
