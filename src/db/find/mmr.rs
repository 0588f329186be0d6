//! Diversity: maximal marginal relevance over the stored vectors of the candidates.
//!
//! Carbonell, Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and
//! Producing Summaries", SIGIR 1998.

use super::list::Given;
use super::run::Candidate;
use crate::db::view::View;
use crate::error::{Error, Result};
use crate::record::Slot;
use crate::vectors::Metric;

/// Candidates that are reordered, unless said otherwise.
const CANDIDATES: usize = 100;

/// How much relevance counts against being unlike what is shown already; for
/// [`Find::diversity`](crate::Find::diversity).
///
/// The next hit is always the candidate with the largest
/// `lambda * relevance - (1 - lambda) * similarity`: its score from 0 (the last candidate's) to 1
/// (the first's), and its greatest similarity to a hit before it. Similarity is the cosine of the
/// stored vectors; under the metric L2, `1 / (1 + d^2)`; 0 for records without a vector. Of equal
/// ones the better score comes first.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
/// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
/// use portolan::Mmr;
///
/// let alike = docs.find().dense(&[1.0, 0.1, 0.0]).limit(2).run()?;
/// assert_eq!(alike.hits[1].text(), "depths of the harbor mouth");
/// let query = docs.find().dense(&[1.0, 0.1, 0.0]).diversity(Mmr::new(0.3)).limit(2);
/// assert_eq!(query.run()?.hits[1].text(), "stars to steer by");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Mmr {
    pub(super) lambda: f32,
    pub(super) candidates: usize,
    field: Option<String>,
}

impl Mmr {
    /// With 1 only relevance counts, with 0 only diversity.
    pub fn new(lambda: f32) -> Self {
        Self { lambda, candidates: CANDIDATES, field: None }
    }

    /// Reorders so many of the best candidates; those after them follow by score. Default: 100.
    /// Each hit costs a comparison with each of them.
    pub fn candidates(mut self, candidates: usize) -> Self {
        self.candidates = candidates;
        self
    }

    /// Compares the vectors of a named field, of one vector a record, by its metric. Default: the
    /// default vectors.
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Metric, Mmr, Record, VectorField};
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("kb.portolan");
    /// let db = Database::open(&path)?;
    /// let options = CollectionOptions::new(2, Metric::Cosine)
    ///     .vector_field("image", VectorField::new(2, Metric::Cosine));
    /// let docs = db.create_collection("docs", options)?;
    /// for (id, text, image) in [
    ///     ("a", [1.0, 0.0], [1.0, 0.0]),
    ///     ("b", [1.0, 0.1], [1.0, 0.1]),
    ///     ("c", [1.0, 0.2], [0.0, 1.0]),
    /// ] {
    ///     docs.upsert(Record::new(id).vector(text).named_vector("image", image))?;
    /// }
    /// // Found by text, and no two that look alike.
    /// let diverse = Mmr::new(0.3).field("image").candidates(50);
    /// let found = docs.find().dense(&[1.0, 0.0]).diversity(diverse).limit(2).run()?;
    /// let ids: Vec<String> = found.iter().map(|hit| hit.id.to_string()).collect();
    /// assert_eq!(ids, ["a", "c"]);
    /// # Ok(()) }
    /// ```
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason| Err(Error::Query { reason });
        if !(0.0..=1.0).contains(&self.lambda) {
            return refuse("the lambda of Mmr is outside of 0 to 1");
        }
        if self.candidates == 0 {
            return refuse("Mmr has no candidates: give at least 1");
        }
        Ok(())
    }

    /// Puts the first `wanted` candidates in their order; those are in order of score.
    pub(super) fn reorder(
        &self,
        given: Given<'_>,
        candidates: Vec<Candidate>,
        wanted: usize,
    ) -> Result<Vec<Candidate>> {
        let Some(field) = &self.field else {
            return self.reorder_in(given.view, candidates, wanted);
        };
        let space = given.collection.dense_space(given.snapshot, Some(field))?;
        let view = given.collection.view_of(given.snapshot, space)?;
        self.reorder_in(&view, candidates, wanted)
    }

    fn reorder_in(
        &self,
        view: &View,
        candidates: Vec<Candidate>,
        wanted: usize,
    ) -> Result<Vec<Candidate>> {
        let pool = candidates.len().min(self.candidates);
        let mut vectors = Vec::with_capacity(pool);
        for candidate in candidates.iter().take(pool) {
            let slot = Slot(candidate.slot);
            let vector = if view.has_vector(slot) { Some(view.vector(slot)?) } else { None };
            vectors.push(vector.map(|vector| Placed::new(view.encoding.metric(), vector)));
        }
        let best = candidates.first().map_or(0.0, |first| first.score);
        let range = best - candidates.get(pool.saturating_sub(1)).map_or(best, |last| last.score);
        let relevance = |candidate: &Candidate| {
            if range > 0.0 { 1.0 - (best - candidate.score) / range } else { 1.0 }
        };
        let lambda = f64::from(self.lambda);
        // What is left, in order of score, with the greatest similarity to what was picked.
        let mut left: Vec<(usize, f64)> = (0..pool).map(|at| (at, 0.0)).collect();
        let mut picked: Vec<usize> = Vec::with_capacity(pool);
        while picked.len() < wanted.min(pool) {
            let mut first: Option<(usize, f64)> = None;
            for (place, (at, similar)) in left.iter().enumerate() {
                let Some(candidate) = candidates.get(*at) else { continue };
                let value = lambda * relevance(candidate) - (1.0 - lambda) * similar;
                if first.is_none_or(|(_, most)| value > most) {
                    first = Some((place, value));
                }
            }
            let Some((place, _)) = first else { break };
            let (next, _) = left.remove(place);
            let shown = vectors.get(next).and_then(Option::as_ref);
            for (at, similar) in &mut left {
                let other = vectors.get(*at).and_then(Option::as_ref);
                let alike = other.zip(shown).map_or(0.0, |(other, shown)| other.alike(shown));
                *similar = if picked.is_empty() { alike } else { similar.max(alike) };
            }
            picked.push(next);
        }
        let order = picked.into_iter().chain(left.into_iter().map(|(at, _)| at));
        let mut taken: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
        let mut ordered: Vec<Candidate> =
            order.filter_map(|at| taken.get_mut(at).and_then(Option::take)).collect();
        ordered.extend(taken.into_iter().flatten());
        Ok(ordered)
    }
}

/// A stored vector, to be compared.
struct Placed {
    metric: Metric,
    vector: Vec<f32>,
    norm: f64,
}

impl Placed {
    fn new(metric: Metric, vector: Vec<f32>) -> Self {
        let norm = f64::from(Metric::Dot.score(&vector, &vector)).sqrt();
        Self { metric, vector, norm }
    }

    /// The similarity, up to 1.
    fn alike(&self, other: &Self) -> f64 {
        match self.metric {
            Metric::L2 => {
                let distance = -f64::from(Metric::L2.score(&self.vector, &other.vector));
                1.0 / (1.0 + distance)
            }
            Metric::Cosine | Metric::Dot => {
                let norms = self.norm * other.norm;
                let dot = f64::from(Metric::Dot.score(&self.vector, &other.vector));
                if norms > 0.0 { (dot / norms).clamp(-1.0, 1.0) } else { 0.0 }
            }
        }
    }
}
