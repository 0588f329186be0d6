//! One collection and what it must hold: its records, in which order they came, and the scores of
//! their vectors.

use std::collections::{BTreeMap, BTreeSet};

use portolan::{Collection, CollectionOptions, Record, RecordId};

use super::common::oracle::{Kept, Shape};
use super::common::{Rng, everything};
use super::{Predicate, searches};

/// One collection and what it must hold.
#[derive(Clone)]
pub struct Side {
    pub name: &'static str,
    pub shape: Shape,
    /// Whether all fields have an index.
    pub all_fields: bool,
    pub model: BTreeMap<RecordId, (Record, Option<Kept>)>,
    /// When each record came that is or was there.
    ages: BTreeMap<RecordId, u64>,
    inserted: u64,
    /// When each record came whose vector is to come, be it that it is gone.
    pending: BTreeSet<u64>,
}

impl Side {
    pub fn new(name: &'static str, shape: Shape, all_fields: bool) -> Self {
        let (model, ages) = (BTreeMap::new(), BTreeMap::new());
        let pending = BTreeSet::new();
        Self { name, shape, all_fields, model, ages, inserted: 0, pending }
    }

    /// The options that the collection is made with.
    pub fn options(&self) -> CollectionOptions {
        searches::options(self.shape, self.all_fields)
    }

    pub fn insert(&mut self, record: Record) {
        let kept = record.vector.as_ref().map(|vector| self.shape.keep(vector));
        self.inserted += 1;
        self.ages.insert(record.id.clone(), self.inserted);
        self.model.insert(record.id.clone(), (record, kept));
    }

    /// Inserts a record whose vector is to come, unless it has one.
    pub fn insert_pending(&mut self, record: Record) {
        let is_pending = record.vector.is_none();
        self.insert(record);
        if is_pending {
            self.pending.insert(self.inserted);
        }
    }

    /// Ids of the records whose vector is to come, in the order of insertion.
    pub fn pending(&self) -> Vec<RecordId> {
        let is_pending = |id: &&RecordId| self.pending.contains(&self.age(id));
        let mut ids: Vec<RecordId> = self.model.keys().filter(is_pending).cloned().collect();
        ids.sort_by_key(|id| self.age(id));
        ids
    }

    /// The place of a record in the order of insertion.
    pub fn age(&self, id: &RecordId) -> u64 {
        self.ages[id]
    }

    /// Removes the chunks of a document but those that are kept; how many there were.
    pub fn prune(&mut self, document: &str, keep: &[RecordId]) -> usize {
        let before = self.model.len();
        self.model.retain(|id, (record, _)| {
            record.metadata.get("document") != Some(&document.into()) || keep.contains(id)
        });
        before - self.model.len()
    }

    /// Takes from all records what they have in a named field; those that had something in it, as
    /// they were.
    pub fn forget(&mut self, field: &str) -> Vec<Record> {
        let mut had = Vec::new();
        for (record, _) in self.model.values_mut() {
            if record.named_vectors.contains_key(field) {
                had.push(record.clone());
                record.named_vectors.remove(field);
            }
        }
        had
    }

    /// What `get` must return.
    pub fn expected(&self, id: &RecordId) -> Option<Record> {
        let (record, kept) = self.model.get(id)?;
        let mut record = record.clone();
        record.vector = kept.as_ref().map(|kept| kept.values.clone());
        Some(record)
    }

    /// Compares all records of a collection, read in pages, with what they must be.
    pub fn check(&self, docs: &Collection, page: usize) {
        let found = everything(docs, page);
        // A map of ids is in the order that a scan promises: integers, then strings.
        let expected: Vec<Record> =
            self.model.keys().map(|id| self.expected(id).expect("a record")).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected);
        }
    }

    /// A stored vector, or a new one.
    pub fn query(&self, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        if rng.once_in(3) && !self.model.is_empty() {
            let at = rng.below(self.model.len() as u64) as usize;
            if let Some(vector) = self.model.values().nth(at).and_then(|(r, _)| r.vector.clone()) {
                return vector;
            }
        }
        rng.vector(self.shape.dimensions)
    }

    pub fn passing<'s>(
        &'s self,
        filter: Option<&'s Predicate>,
    ) -> impl Iterator<Item = &'s Record> {
        let records = self.model.values().map(|(record, _)| record);
        records.filter(move |record| filter.is_none_or(|filter| filter.holds(record)))
    }

    /// Score and tolerance of all that pass and have a vector.
    pub fn scores(
        &self,
        query: &Kept,
        filter: Option<&Predicate>,
    ) -> BTreeMap<RecordId, (f64, f64)> {
        let passing = self
            .model
            .values()
            .filter(|(record, _)| filter.is_none_or(|filter| filter.holds(record)));
        let scored = passing.filter_map(|(record, kept)| {
            let kept = kept.as_ref()?;
            let score = self.shape.score(query, kept);
            Some((record.id.clone(), (score, self.shape.tolerance(query, kept))))
        });
        scored.collect()
    }
}
