//! Closures as rerankers, and rerankers of records: what orders candidates without being a
//! service for texts.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::stage::{BoxFuture, RankedPassage, Reranked, Reranker, StageError};
use crate::db::Collection;
use crate::error::Error;
use crate::record::Record;

/// A record that waits for its place.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The collection it was found in.
    pub collection: &'a Collection,
    /// The record, without its vector.
    pub record: &'a Record,
    /// What the template of the stage makes of it; may be empty.
    pub text: &'a str,
    /// What the stage before ordered it by: the search, or a reranker; none if that gave none.
    pub score: Option<f32>,
}

/// Orders records by more than a text: by what is stored beside them, such as matrices of token
/// vectors, by age, by popularity. Nothing of it is cached.
///
/// ```
/// use portolan::{BoxFuture, Candidate, RankedPassage, RecordReranker, Reranked, StageError};
/// use portolan::Value;
///
/// /// The newest first.
/// struct ByYear;
///
/// impl RecordReranker for ByYear {
///     fn name(&self) -> &str {
///         "year"
///     }
///
///     fn rank<'a>(
///         &'a self,
///         _query: &'a str,
///         candidates: &'a [Candidate<'a>],
///         _deadline: Option<std::time::Instant>,
///     ) -> BoxFuture<'a, Result<Reranked, StageError>> {
///         let score = |candidate: &Candidate<'_>| match candidate.record.metadata.get("year") {
///             Some(Value::Int(year)) => *year as f32,
///             _ => 0.0,
///         };
///         let scores = candidates.iter().map(score).enumerate();
///         let ranking = scores.map(|(index, score)| RankedPassage { index, score }).collect();
///         Box::pin(async move { Ok(Reranked::new(ranking)) })
///     }
/// }
/// ```
pub trait RecordReranker: Send + Sync {
    /// What the report calls it.
    fn name(&self) -> &str;

    /// Orders candidates; those that it leaves out come after the others, in the order they had.
    /// Gives up at the deadline, if there is one. Work on the processor that takes long belongs on
    /// a blocking thread.
    fn rank<'a>(
        &'a self,
        query: &'a str,
        candidates: &'a [Candidate<'a>],
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>>;
}

type Score = dyn Fn(&str, &[&str]) -> Vec<f32> + Send + Sync;

/// A closure as a reranker. Made by [`rerank_fn`].
#[derive(Clone)]
#[must_use]
pub struct FnReranker {
    score: Arc<Score>,
}

/// A reranker that is a function of question and passages, to a score for each passage, in their
/// order; higher is better. It is called on a blocking thread, once a query, and its scores are
/// not cached.
///
/// ```
/// # use portolan::{Collection, CollectionOptions, Database, Metric, Record, Rerank};
/// use portolan::rerank_fn;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> portolan::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = Database::open(dir.path().join("kb.portolan"))?;
/// # let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine))?;
/// # docs.upsert(Record::new("a").text("of the sea").vector([1.0, 0.0]))?;
/// # docs.upsert(Record::new("b").text("a long text of the sea").vector([1.0, 0.1]))?;
/// let longest = rerank_fn(|_query, passages| {
///     passages.iter().map(|passage| passage.len() as f32).collect()
/// });
/// let answer = docs.query("sea").vector([1.0, 0.0]).reranker(&longest).run().await?;
/// assert_eq!(answer.hits[0].text(), "a long text of the sea");
/// # Ok(()) }
/// ```
pub fn rerank_fn(score: impl Fn(&str, &[&str]) -> Vec<f32> + Send + Sync + 'static) -> FnReranker {
    FnReranker { score: Arc::new(score) }
}

impl Reranker for FnReranker {
    fn model(&self) -> &str {
        "closure"
    }

    fn rank<'a>(
        &'a self,
        query: &'a str,
        passages: &'a [&'a str],
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>> {
        let score = Arc::clone(&self.score);
        let query = query.to_owned();
        let passages: Vec<String> = passages.iter().map(|&passage| passage.to_owned()).collect();
        Box::pin(async move {
            let scored = super::blocking(move || {
                let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
                Ok(score(&query, &passages))
            });
            let scores = scored.await.map_err(|error: Error| StageError::new(error))?;
            let ranking = scores.into_iter().enumerate();
            let ranking = ranking.map(|(index, score)| RankedPassage { index, score });
            Ok(Reranked::new(ranking.collect()))
        })
    }

    /// No name tells one closure from another.
    fn is_cacheable(&self) -> bool {
        false
    }
}

impl fmt::Debug for FnReranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnReranker").finish_non_exhaustive()
    }
}
