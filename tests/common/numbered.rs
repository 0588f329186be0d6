//! Batches that are known by their numbers: whoever knows the number of the last one knows what
//! the collection must hold, whatever happened to the process that committed them.

use std::collections::{BTreeMap, BTreeSet};

use portolan::{
    Collection, CollectionOptions, Committed, Database, FieldVector, Language, Metric, Originals,
    Record, RecordId, TextIndex, Value, VectorField,
};

use super::Rng;
use super::oracle::{Kept, Shape};

pub const SHAPE: Shape = Shape { dimensions: 8, metric: Metric::L2, originals: Originals::F16 };
/// Name of the collection.
pub const NAME: &str = "docs";
/// The field of sparse vectors.
const TERMS: &str = "terms";
const WORDS: [&str; 6] = ["tide", "chart", "north", "star", "reef", "wind"];
/// Record of this id holds the number of the last batch.
const MARKER: i64 = -1;

/// What a collection holds after some batches.
pub type Model = BTreeMap<RecordId, (Record, Option<Kept>)>;

enum Change {
    Upsert(Record),
    Delete(RecordId),
}

fn words(rng: &mut Rng) -> String {
    let words = (0..rng.below(12)).map(|_| WORDS[rng.below(6) as usize]);
    words.collect::<Vec<_>>().join(" ")
}

/// A sequence of batches without end.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    pub seed: u64,
    /// Ids in use; the fewer, the more replacements.
    pub ids: u64,
    /// Most changes of four batches in five.
    pub usual: u64,
    /// Most changes of the others.
    pub large: u64,
    /// One change in so many is a delete.
    pub deletes: u64,
    /// One text in so many takes pages of its own.
    pub long_texts: u64,
}

impl Batches {
    /// The changes of a batch, always the same for its number.
    fn changes(&self, number: i64) -> Vec<Change> {
        let mut rng = Rng::new(number as u64 ^ self.seed);
        let large = rng.once_in(5);
        let size = 1 + rng.below(if large { self.large } else { self.usual });
        let mut changes = vec![Change::Upsert(Record::new(MARKER).field("batch", number))];
        for _ in 0..size {
            let id = rng.below(self.ids) as i64;
            if rng.once_in(self.deletes) {
                changes.push(Change::Delete(RecordId::Int(id)));
                continue;
            }
            let long = rng.once_in(self.long_texts);
            let mut text = words(&mut rng);
            if long {
                // No repeats that compression would shorten.
                text.push(' ');
                (0..600).for_each(|_| text.push_str(&format!("{:016x}", rng.next())));
            }
            let mut record = Record::new(id).text(text).field("batch", number);
            if rng.once_in(3) {
                let weight = (1 + rng.below(16)) as f32 / 8.0;
                record = record.named_vector(TERMS, [(rng.below(5) as u32, weight)]);
            }
            if !rng.once_in(6) {
                record = record.vector(rng.vector(SHAPE.dimensions));
            }
            changes.push(Change::Upsert(record));
        }
        changes
    }

    /// Commits a batch. Once more does no harm: the content is the same.
    pub fn commit(&self, collection: &Collection, number: i64) -> portolan::Result<Committed> {
        let mut pending = collection.batch();
        for change in self.changes(number) {
            match change {
                // A vector of a named field is checked against the file.
                Change::Upsert(record) => pending.upsert(record)?,
                Change::Delete(id) => pending.delete(id),
            }
        }
        pending.commit()
    }

    /// Does to the model what a batch does to the collection.
    pub fn apply(&self, model: &mut Model, number: i64) {
        for change in self.changes(number) {
            match change {
                Change::Upsert(record) => {
                    let kept = record.vector.as_ref().map(|vector| SHAPE.keep(vector));
                    model.insert(record.id.clone(), (record, kept));
                }
                Change::Delete(id) => drop(model.remove(&id)),
            }
        }
    }
}

/// The collection, made if it is absent.
pub fn collection(db: &Database) -> portolan::Result<Collection> {
    let options = CollectionOptions::new(SHAPE.dimensions, SHAPE.metric)
        .text(TextIndex::new(Language::None))
        .vector_field(TERMS, VectorField::sparse());
    db.collection_or_create(NAME, options.originals(SHAPE.originals))
}

/// The number of the last batch that is in the file, -1 if none is.
pub fn last_batch(docs: &Collection) -> portolan::Result<i64> {
    match docs.get(MARKER)?.map(|marker| marker.metadata["batch"].clone()) {
        None => Ok(-1),
        Some(Value::Int(number)) => Ok(number),
        Some(other) => panic!("{other:?}"),
    }
}

/// What reading the collection must give.
pub struct Expected {
    records: Vec<Record>,
    vectors: Vec<Kept>,
}

impl Expected {
    pub fn of(model: &Model) -> Self {
        let records = model.values().map(|(record, kept)| {
            let mut expected = record.clone();
            expected.vector = kept.as_ref().map(|kept| kept.values.clone());
            expected
        });
        let vectors = model.values().filter_map(|(_, kept)| kept.clone());
        Self { records: records.collect(), vectors: vectors.collect() }
    }

    /// Reads all records, and searches by vector, by words and in the field of sparse vectors.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn compare(&self, docs: &Collection, rng: &mut Rng) -> Result<(), String> {
        let found = super::try_everything(docs, 400).map_err(|error| error.to_string())?;
        if found.len() != self.records.len() {
            return Err(format!("{} records, not {}", found.len(), self.records.len()));
        }
        if let Some((found, expected)) = found.iter().zip(&self.records).find(|(a, b)| a != b) {
            return Err(format!("{found:?} is not {expected:?}"));
        }
        let given = rng.vector(SHAPE.dimensions);
        let query = SHAPE.query(&given);
        let mut scores: Vec<f64> =
            self.vectors.iter().map(|kept| SHAPE.score(&query, kept)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let hits =
            docs.search(&given).limit(20).exact().run().map_err(|error| error.to_string())?;
        if hits.len() != scores.len().min(20) {
            return Err(format!("{} hits of {} vectors", hits.len(), scores.len()));
        }
        let mut pairs = hits.iter().zip(scores);
        match pairs.find(|(hit, score)| (f64::from(hit.score) - score).abs() >= 1e-3) {
            Some((hit, score)) => Err(format!("a score of {} is not {score}", hit.score)),
            None => self.compare_postings(docs, rng),
        }
    }

    fn compare_postings(&self, docs: &Collection, rng: &mut Rng) -> Result<(), String> {
        let with = |is: &dyn Fn(&Record) -> bool| -> BTreeSet<RecordId> {
            self.records
                .iter()
                .filter(|record| is(record))
                .map(|record| record.id.clone())
                .collect()
        };
        let ids = |hits: portolan::Result<portolan::Hits>| -> Result<BTreeSet<RecordId>, String> {
            let hits = hits.map_err(|error| error.to_string())?;
            Ok(hits.iter().map(|hit| hit.id.clone()).collect())
        };
        let word = WORDS[rng.below(6) as usize];
        let found = ids(docs.search_text(word).limit(usize::MAX).run())?;
        if found != with(&|record| record.text.split(' ').any(|own| own == word)) {
            return Err(format!("{} records with {word:?}", found.len()));
        }
        let index = rng.below(5) as u32;
        let found = ids(docs.search_sparse(TERMS, &[(index, 1.0)]).limit(usize::MAX).run())?;
        let has = |record: &Record| match record.named_vectors.get(TERMS) {
            Some(FieldVector::Sparse(pairs)) => pairs.iter().any(|(own, _)| *own == index),
            _ => false,
        };
        match found == with(&has) {
            true => Ok(()),
            false => Err(format!("{} records with index {index}", found.len())),
        }
    }
}
