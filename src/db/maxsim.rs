//! Search and ranking by late interaction: candidates by the vectors that stand for matrices,
//! then the exact MaxSim of each.

use std::time::Instant;

use rayon::prelude::*;

use super::Collection;
use super::matching::Matching;
use super::search::{Depth, Hits, SearchReport};
use super::space::Field;
use super::space_vectors::read_matrix;
use super::view::View;
use crate::error::{Error, Result};
use crate::filter::{Filter, Slots};
use crate::index::{Effort, Neighbor, SearchPath, best_of};
use crate::record::{Matrix, RecordId, Slot};
use crate::storage::keys as key;
use crate::storage::{Snapshot, StorageError, Table, tables, vector_fields};
use crate::vectors::{MaxSimQuery, MaxSimScratch, PreparedQuery};

/// Records whose matrices are compared if nothing else was said.
pub(super) const CANDIDATES: usize = 200;
/// Rows of a query by which candidates are looked for one by one, beside the query as a whole.
const ROW_SEARCHES: usize = 32;
/// Matrices that are read before they are scored, in an exact search.
const CHUNK: usize = 1024;
/// Bytes of matrices times rows of the query from which several threads score.
const PARALLEL_WORK: usize = 1 << 24;

/// A search, or a ranking, by the matrix of a query. Made by [`Collection::maxsim`].
#[derive(Debug, Clone)]
#[must_use]
pub struct MaxSim<'q> {
    collection: Collection,
    field: String,
    matrix: &'q Matrix,
    limit: usize,
    candidates: usize,
    exact: bool,
    filter: Option<Filter>,
    model: Option<String>,
}

impl Collection {
    /// Compares a query of many vectors with the matrices of a field made by
    /// [`VectorField::multi`](crate::VectorField::multi). The score of a record is MaxSim: for
    /// each row of the query the largest dot product with any row of the record, summed.
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Matrix, Metric, Record, VectorField};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("kb.portolan");
    /// let db = Database::open(&path)?;
    /// let options = CollectionOptions::new(3, Metric::Cosine)
    ///     .vector_field("tokens", VectorField::multi(2));
    /// let docs = db.create_collection("docs", options)?;
    /// let tokens = Matrix::from_rows([[1.0, 0.0], [0.0, 1.0]])?;
    /// docs.upsert(Record::new("both").named_vector("tokens", tokens.clone()))?;
    /// docs.upsert(Record::new("one").named_vector("tokens", Matrix::new(2, [1.0, 0.0])?))?;
    ///
    /// let hits = docs.maxsim("tokens", &tokens).limit(1).run()?;
    /// assert_eq!((hits[0].id.to_string(), hits[0].score), ("both".to_owned(), 2.0));
    /// // Or as a reranker of what was found otherwise.
    /// let scores = docs.maxsim("tokens", &tokens).scores(&["one".into(), "none".into()])?;
    /// assert_eq!(scores, [Some(1.0), None]);
    /// # Ok(()) }
    /// ```
    pub fn maxsim<'q>(&self, field: impl Into<String>, matrix: &'q Matrix) -> MaxSim<'q> {
        MaxSim {
            collection: self.clone(),
            field: field.into(),
            matrix,
            limit: 10,
            candidates: CANDIDATES,
            exact: false,
            filter: None,
            model: None,
        }
    }

    /// A query for a field of matrices.
    pub(super) fn maxsim_query(&self, field: &Field, matrix: &Matrix) -> Result<MaxSimQuery> {
        let dim = field.space.encoding.dim();
        MaxSimQuery::new(matrix.dimensions(), dim, matrix.values())
            .map_err(|source| Error::NamedVector { field: field.name.clone(), id: None, source })
    }
}

impl MaxSim<'_> {
    /// At most so many hits. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// Records whose matrices are compared, at least as many as the limit: more is slower and
    /// finds more. They are those whose rows are nearest on average to the query's on average, and
    /// to each of its rows. Default: 200.
    pub fn candidates(mut self, records: usize) -> Self {
        self.candidates = records;
        self
    }

    /// Compares the matrices of all records: the true order, in linear time.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Finds only records that match.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Names the model that encoded the query; another than the field's is refused.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Runs the search on the newest version of the file. Much work is spread over the threads of
    /// the current rayon pool, so it must not be called from a task that a rayon worker may steal
    /// while another writes.
    ///
    /// # Errors
    /// [`Error::VectorFieldNotFound`], [`Error::VectorFieldKind`]; [`Error::NamedVector`] for rows
    /// of another length, NaN, infinity, or zeros alone; [`Error::ModelMismatch`];
    /// [`Error::Filter`]; storage.
    pub fn run(self) -> Result<Hits> {
        let begin = Instant::now();
        let collection = &self.collection;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let (field, query) = self.prepare(snapshot)?;
        let view = collection.view_of(snapshot, field.space)?;
        let matching = view.matching(self.filter.as_ref(), snapshot, collection.id)?;
        let of = (view.as_ref(), matching.as_ref());
        let depth =
            MaxSimDepth { limit: self.limit, candidates: self.candidates, exact: self.exact };
        let (found, compared) = collection.nearest_maxsim(snapshot, &field, &query, of, depth)?;
        let report = SearchReport {
            took: begin.elapsed(),
            segments: view.segments.len(),
            delta: view.delta.len(),
            candidates: compared.matrices,
            passing: matching.passing,
            paths: compared.paths.unwrap_or_default(),
            warnings: matching.warnings.clone(),
            ..SearchReport::default()
        };
        Ok(Hits { hits: collection.hits(snapshot, found)?, report })
    }

    /// The scores of records that were found otherwise, in the same order; none for a record that
    /// is not there or has no matrix in the field. Knows no limit and no filter.
    ///
    /// # Errors
    /// As [`MaxSim::run`].
    pub fn scores(&self, ids: &[RecordId]) -> Result<Vec<Option<f32>>> {
        let snapshot = self.collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let (field, query) = self.prepare(snapshot)?;
        let mut slots = Vec::with_capacity(ids.len());
        for id in ids {
            slots.push(tables::slot(snapshot, self.collection.id, id)?.map(|slot| slot.0));
        }
        let known: Vec<u32> = slots.iter().flatten().copied().collect();
        let mut found = scores_of(snapshot, &field, &query, &known)?;
        found.sort_unstable_by_key(|neighbor| neighbor.slot);
        let score = |slot: u32| {
            let at = found.binary_search_by_key(&slot, |neighbor| neighbor.slot).ok()?;
            found.get(at).map(|neighbor| neighbor.score)
        };
        Ok(slots.into_iter().map(|slot| slot.and_then(score)).collect())
    }

    fn prepare(&self, snapshot: &dyn Snapshot) -> Result<(Field, MaxSimQuery)> {
        let field = self.collection.multi_field(snapshot, &self.field)?;
        if let Some(model) = &self.model {
            let manifest = self.collection.manifest_of(snapshot, field.space)?;
            self.collection.check_model(&manifest, model)?;
        }
        let query = self.collection.maxsim_query(&field, self.matrix)?;
        Ok((field, query))
    }
}

/// How far a search by MaxSim goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaxSimDepth {
    pub(super) limit: usize,
    pub(super) candidates: usize,
    pub(super) exact: bool,
}

/// What a search by MaxSim compared.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    /// Matrices.
    pub(super) matrices: usize,
    /// How each segment was searched for candidates; none if the matrices are those of all records
    /// that pass.
    pub(super) paths: Option<Vec<SearchPath>>,
}

impl Collection {
    /// The best `limit` of what passes in a view of the field, and how they were found.
    pub(super) fn nearest_maxsim(
        &self,
        snapshot: &dyn Snapshot,
        field: &Field,
        query: &MaxSimQuery,
        (view, matching): (&View, &Matching),
        depth: MaxSimDepth,
    ) -> Result<(Vec<Neighbor>, Compared)> {
        let mut paths = None;
        let found = if depth.limit == 0 {
            Vec::new()
        } else if depth.exact || matching.passing <= depth.candidates as u64 {
            exact(snapshot, field, query, &matching.slots)?
        } else {
            // There are no more, however many are asked for.
            let passing = usize::try_from(matching.passing).unwrap_or(usize::MAX);
            let most = depth.candidates.max(depth.limit).min(passing);
            let (slots, searched) = self.maxsim_candidates(view, query, matching, most)?;
            paths = Some(searched);
            scores_of(snapshot, field, query, &slots)?
        };
        let compared = Compared { matrices: found.len(), paths };
        Ok((best_of(found, depth.limit), compared))
    }

    /// Slots whose matrices are worth comparing, at most so many: in turn the best of the query as
    /// a whole and of some of its rows. With them, how each segment was searched.
    pub(super) fn maxsim_candidates(
        &self,
        view: &View,
        query: &MaxSimQuery,
        matching: &Matching,
        most: usize,
    ) -> Result<(Vec<u32>, Vec<SearchPath>)> {
        let prepare = |vector: &[f32]| PreparedQuery::new(&view.encoding, vector);
        let refused = |source| Error::Vector { id: None, source };
        let whole = prepare(&query.pooled().map_err(refused)?).map_err(refused)?;
        // A row of zeros is nearer to nothing.
        let rows: Vec<&[f32]> = query.rows().filter(|row| row.iter().any(|x| *x != 0.0)).collect();
        let step = rows.len().div_ceil(ROW_SEARCHES).max(1);
        let mut queries = vec![whole];
        queries.extend(rows.iter().step_by(step).filter_map(|row| prepare(row).ok()));
        let depth = Depth { limit: most, effort: Effort::default(), exact: false };
        let searched = view.nearest_many(&queries, matching, depth);
        let (lists, paths) = searched.map_err(|source| self.failed(source))?;
        Ok((in_turn(&lists, most), paths))
    }
}

/// The best of each list in turn, the first list as often as all others together.
fn in_turn(lists: &[Vec<Neighbor>], most: usize) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    let mut slots = Vec::with_capacity(most);
    let Some((whole, rows)) = lists.split_first() else { return slots };
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let of_rows = (0..longest).flat_map(|rank| rows.iter().filter_map(move |list| list.get(rank)));
    let (mut of_whole, mut of_rows) = (whole.iter(), of_rows);
    while slots.len() < most {
        let (first, second) = (of_whole.next(), of_rows.next());
        if first.is_none() && second.is_none() {
            break;
        }
        let new = first.into_iter().chain(second).filter(|found| seen.insert(found.slot));
        slots.extend(new.map(|found| found.slot));
    }
    slots.truncate(most);
    slots
}

/// A matrix as it lies in the file, with its key.
type Sealed<'s> = ([u8; 8], &'s [u8]);

/// The scores of those of the slots that have a matrix.
pub(super) fn scores_of(
    snapshot: &dyn Snapshot,
    field: &Field,
    query: &MaxSimQuery,
    slots: &[u32],
) -> Result<Vec<Neighbor>> {
    let mut matrices = Vec::with_capacity(slots.len());
    for &slot in slots {
        let at = key::slot(field.space.id, Slot(slot));
        if let Some(sealed) = snapshot.get(Table::Matrices, &at)? {
            matrices.push((at, sealed));
        }
    }
    score_all(field, query, &matrices)
}

/// The scores of all matrices whose slots pass.
fn exact(
    snapshot: &dyn Snapshot,
    field: &Field,
    query: &MaxSimQuery,
    passing: &Slots,
) -> Result<Vec<Neighbor>> {
    if let Slots::Only(slots) = passing {
        return scores_of(snapshot, field, query, &slots.iter().collect::<Vec<u32>>());
    }
    let prefix = key::collection(field.space.id);
    let (mut found, mut chunk) = (Vec::new(), Vec::new());
    for entry in snapshot.range(Table::Matrices, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let at: [u8; 8] =
            at.try_into().map_err(|_| StorageError::Missing { what: "the slot of a matrix" })?;
        if key::slot_of(&at).is_some_and(|slot| passing.contains(slot.0)) {
            chunk.push((at, sealed));
        }
        if chunk.len() == CHUNK {
            found.extend(score_all(field, query, &chunk)?);
            chunk.clear();
        }
    }
    found.extend(score_all(field, query, &chunk)?);
    Ok(found)
}

/// Scores matrices, on several threads if there is much to do.
fn score_all(field: &Field, query: &MaxSimQuery, matrices: &[Sealed<'_>]) -> Result<Vec<Neighbor>> {
    let dim = field.space.encoding.dim();
    let score = |scratch: &mut MaxSimScratch, (at, sealed): &Sealed<'_>| {
        let matrix = read_matrix(vector_fields::unseal_matrix(sealed, at)?, dim)?;
        let slot = key::slot_of(at).map_or(u32::MAX, |slot| slot.0);
        Ok(Neighbor { slot, score: query.score(&matrix, scratch) })
    };
    let bytes: usize = matrices.iter().map(|(_, sealed)| sealed.len()).sum();
    if bytes.saturating_mul(query.rows().len()) < PARALLEL_WORK {
        let mut scratch = MaxSimScratch::default();
        return matrices.iter().map(|matrix| score(&mut scratch, matrix)).collect();
    }
    matrices.par_iter().map_init(MaxSimScratch::default, score).collect()
}
