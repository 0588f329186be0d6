//! Late interaction as a stage of a cascade: candidates by the MaxSim of the matrices that are
//! stored beside them.

use std::sync::Arc;
use std::time::Instant;

use super::closure::{Candidate, RecordReranker};
use super::stage::{BoxFuture, RankedPassage, Reranked, StageError};
use crate::db::Collection;
use crate::error::{Error, Result};
use crate::record::{Matrix, RecordId};

/// Orders candidates by [`Collection::maxsim`]: what a ColBERT-like model says of each, without
/// asking a model for more than the matrix of the query. It asks no service, so a cascade can let
/// it choose from hundreds what a cross-encoder gets to read.
///
/// Matrices are read and compared on a blocking thread, some microseconds each. Records without
/// one in the field come after the others, in the order they had. Scores of several collections
/// compare if one model made their matrices.
///
/// ```
/// # use portolan::{CollectionOptions, Database, Metric, Record, VectorField, rerank_fn};
/// use portolan::{Matrix, MaxSimReranker, Rerank};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = Database::open(dir.path().join("kb.portolan"))?;
/// # let tokens = VectorField::multi(2);
/// # let options = CollectionOptions::new(2, Metric::Cosine).vector_field("tokens", tokens);
/// # let docs = db.create_collection("docs", options)?;
/// # let record = |id: &str| Record::new(id).text("of the sea").vector([1.0, 0.0]);
/// # docs.upsert(record("a").named_vector("tokens", Matrix::new(2, [1.0, 0.0])?))?;
/// # docs.upsert(record("b").named_vector("tokens", Matrix::new(2, [0.0, 1.0, 1.0, 0.0])?))?;
/// # let model = rerank_fn(|_, passages| vec![0.0; passages.len()]);
/// let tokens = Matrix::from_rows([[0.0, 1.0], [1.0, 0.0]])?; // of the words of the query
/// let colbert = MaxSimReranker::new("tokens", tokens);
/// let query = docs.query("sea").vector([1.0, 0.0]);
/// let query = query.rerank(Rerank::records(&colbert).candidates(200));
/// let answer = query.rerank(Rerank::new(&model).candidates(50)).limit(10).run().await?;
/// assert_eq!(answer.hits[0].id, "b".into());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct MaxSimReranker {
    field: String,
    matrix: Arc<Matrix>,
    model: Option<String>,
}

/// Candidates of one collection: their places and ids.
type Group = (Collection, Vec<(usize, RecordId)>);

impl MaxSimReranker {
    /// By a field made by [`VectorField::multi`](crate::VectorField::multi) and the matrix of the
    /// query.
    pub fn new(field: impl Into<String>, matrix: Matrix) -> Self {
        Self { field: field.into(), matrix: Arc::new(matrix), model: None }
    }

    /// Names the model that encoded the query; a field of another fails the stage.
    ///
    /// ```
    /// # fn main() -> Result<(), portolan::MatrixError> {
    /// use portolan::{Matrix, MaxSimReranker};
    ///
    /// let tokens = Matrix::from_rows([[0.0, 1.0]])?;
    /// let colbert = MaxSimReranker::new("tokens", tokens).model("colbert-ir/colbertv2.0");
    /// # Ok(()) }
    /// ```
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    fn scores(&self, (collection, members): &Group) -> Result<Vec<RankedPassage>> {
        let mut by = collection.maxsim(self.field.as_str(), &self.matrix);
        if let Some(model) = &self.model {
            by = by.model(model.as_str());
        }
        let ids: Vec<RecordId> = members.iter().map(|(_, id)| id.clone()).collect();
        let scores = members.iter().zip(by.scores(&ids)?);
        let scored = scores
            .filter_map(|((index, _), score)| Some(RankedPassage { index: *index, score: score? }));
        Ok(scored.collect())
    }
}

impl RecordReranker for MaxSimReranker {
    fn name(&self) -> &str {
        self.model.as_deref().unwrap_or("maxsim")
    }

    fn rank<'a>(
        &'a self,
        _query: &'a str,
        candidates: &'a [Candidate<'a>],
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, std::result::Result<Reranked, StageError>> {
        let (by, groups) = (self.clone(), by_collection(candidates));
        Box::pin(async move {
            let scored = super::blocking(move || {
                let mut ranking = Vec::new();
                for group in &groups {
                    if deadline.is_some_and(|at| Instant::now() >= at) {
                        // Whoever waited has left, and told so.
                        return Err(Error::Cancelled);
                    }
                    ranking.extend(by.scores(group)?);
                }
                Ok(ranking)
            });
            let failed = |error: Error| {
                let retryable = error.is_retryable();
                StageError::new(error).retryable(retryable)
            };
            let mut ranking = scored.await.map_err(failed)?;
            ranking.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
            Ok(Reranked::new(ranking))
        })
    }
}

fn by_collection(candidates: &[Candidate<'_>]) -> Vec<Group> {
    let mut groups: Vec<(&Collection, Group)> = Vec::new();
    for (at, candidate) in candidates.iter().enumerate() {
        let member = (at, candidate.record.id.clone());
        match groups.iter_mut().find(|(of, _)| std::ptr::eq(*of, candidate.collection)) {
            Some((_, (_, members))) => members.push(member),
            None => {
                let collection = candidate.collection.clone();
                groups.push((candidate.collection, (collection, vec![member])));
            }
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
