//! A query over stages under one deadline: embed, search, rerank.

mod budget;
mod report;
mod rerank;

use std::time::{Duration, Instant};

use tracing::Instrument;

pub use report::{Answer, CacheUse, QueryReport, StageOutcome, StageReport};

use super::blocking;
use super::cost::{Cost, CostMeter};
use super::stage::{Embedder, Reranker, Role};
use crate::db::{Collection, Hits};
use crate::error::{Error, Result};
use crate::filter::Filter;
use budget::Run;

/// What becomes of the query when the reranker fails or is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnRerankFailure {
    /// The hits come in first-stage order, and the report says why.
    #[default]
    FirstStageOrder,
    /// The query fails.
    Fail,
}

/// A query by text. Made by [`Collection::query`].
#[must_use]
pub struct Query<'q> {
    collection: Collection,
    text: String,
    vector: Option<Vec<f32>>,
    embedder: Option<&'q dyn Embedder>,
    reranker: Option<&'q dyn Reranker>,
    candidates: Option<usize>,
    limit: usize,
    ef: Option<usize>,
    recall: Option<f32>,
    filter: Option<Filter>,
    deadline: Option<Duration>,
    search_reserve: Duration,
    rerank_within: Option<Duration>,
    on_rerank_failure: OnRerankFailure,
    cache: Option<bool>,
    meter: Option<CostMeter>,
}

/// Candidates for a reranker unless the query says otherwise.
const CANDIDATES: usize = 50;

impl Collection {
    /// Asks in words: embeds the text, searches, and lets a reranker order what was found.
    pub fn query<'q>(&self, text: impl Into<String>) -> Query<'q> {
        Query {
            collection: self.clone(),
            text: text.into(),
            vector: None,
            embedder: None,
            reranker: None,
            candidates: None,
            limit: 10,
            ef: None,
            recall: None,
            filter: None,
            deadline: None,
            search_reserve: Duration::ZERO,
            rerank_within: None,
            on_rerank_failure: OnRerankFailure::default(),
            cache: None,
            meter: None,
        }
    }
}

impl<'q> Query<'q> {
    /// The model that encodes the text. Must be the collection's.
    pub fn embedder(mut self, embedder: &'q dyn Embedder) -> Self {
        self.embedder = Some(embedder);
        self
    }

    /// The vector of the text, if the application has it: then no embedder is asked.
    pub fn vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
        self
    }

    /// The model that orders the candidates.
    pub fn reranker(mut self, reranker: &'q dyn Reranker) -> Self {
        self.reranker = Some(reranker);
        self
    }

    /// Candidates the search gives to the reranker. Default: 50, or the limit if that is more.
    pub fn candidates(mut self, candidates: usize) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// At most so many hits. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// See [`Search::ef`](crate::Search::ef).
    pub fn ef(mut self, candidates: usize) -> Self {
        (self.ef, self.recall) = (Some(candidates), None);
        self
    }

    /// See [`Search::recall`](crate::Search::recall).
    pub fn recall(mut self, target: f32) -> Self {
        (self.ef, self.recall) = (None, Some(target));
        self
    }

    /// Finds only records that match.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Time for all stages together, from [`run`](Self::run) on. Each stage gets what is left, and
    /// so do the retries in it. A reranker that is late is left out, or fails the query
    /// ([`on_rerank_failure`](Self::on_rerank_failure)); an embedder or a search that is late
    /// fails it. Default: none.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// The part of the deadline that embedding leaves alone: a vector that comes at the last
    /// moment is worth nothing without the time to search with it. Default: none.
    pub fn search_reserve(mut self, time: Duration) -> Self {
        self.search_reserve = time;
        self
    }

    /// Longest time for reranking alone, within the deadline if there is one. Default: what is
    /// left.
    pub fn rerank_within(mut self, time: Duration) -> Self {
        self.rerank_within = Some(time);
        self
    }

    /// What becomes of the query when the reranker fails or is late.
    pub fn on_rerank_failure(mut self, policy: OnRerankFailure) -> Self {
        self.on_rerank_failure = policy;
        self
    }

    /// Whether what models said before is taken from the file and what they say now is kept
    /// there. Default: as the file was opened ([`DatabaseOptions::cache`]). Vectors are looked up
    /// by everything that decides on them and the whole question, logits by model, its settings,
    /// question and passage. Keeping is done after the answer, many queries at a time.
    ///
    /// [`DatabaseOptions::cache`]: crate::DatabaseOptions::cache
    pub fn cache(mut self, cache: bool) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Adds what this query costs to a meter.
    pub fn meter(mut self, meter: &CostMeter) -> Self {
        self.meter = Some(meter.clone());
        self
    }

    fn uses_cache(&self) -> bool {
        self.cache.unwrap_or_else(|| self.collection.caches())
    }

    /// Runs the stages. Must be called in a tokio runtime with time enabled.
    ///
    /// The future can be dropped at any point: a request in flight is closed, a search that has
    /// begun ends by itself on its thread, and nothing is left half done.
    ///
    /// # Errors
    /// [`Error::Query`] without an embedder or vector, or with an empty text for a model;
    /// [`Error::Model`] and [`Error::DeadlineExceeded`] when embedding fails or is late, or
    /// reranking under [`OnRerankFailure::Fail`]; those of [`Search::run`](crate::Search::run).
    pub async fn run(self) -> Result<Answer> {
        let span = tracing::debug_span!(
            "query",
            collection = self.collection.name(),
            limit = self.limit,
            text_bytes = self.text.len(),
            deadline_ms = self.deadline.map(|time| time.as_millis() as u64),
        );
        self.stages().instrument(span).await
    }

    async fn stages(self) -> Result<Answer> {
        let mut run = Run::begin(self.deadline, self.meter.clone());
        run.report.cache.used = self.uses_cache();
        let (vector, model) = self.embed(&mut run).await?;
        let found = self.search(&mut run, vector, model).await?;
        let hits = self.rerank(&mut run, found).await?;
        if run.cache_is_due {
            let collection = self.collection.clone();
            // Not waited for: the answer is there.
            drop(tokio::task::spawn_blocking(move || collection.try_write_cache()));
        }
        run.report.cache.skipped = self.collection.cache_skipped();
        run.report.took = run.begin.elapsed();
        Ok(Answer { hits, report: run.report })
    }

    async fn embed(&self, run: &mut Run) -> Result<(Vec<f32>, Option<String>)> {
        let stage = Instant::now();
        if let Some(vector) = &self.vector {
            run.report("embed", StageOutcome::Skipped, stage, Cost::new());
            return Ok((vector.clone(), None));
        }
        let reason = "it has neither an embedder nor a vector: add one of them";
        let embedder = self.embedder.ok_or(Error::Query { reason })?;
        if self.text.trim().is_empty() {
            return Err(Error::Query { reason: "its text is empty: ask something" });
        }
        let model = embedder.contract().model;
        let bytes = self.text.len();
        let span = tracing::debug_span!("embed", model = model.as_str(), texts = 1, bytes);
        match self.embedded(run, embedder).instrument(span).await {
            Ok((vector, outcome, cost)) => {
                run.report.cache.embedding = outcome == StageOutcome::Cached;
                run.report("embed", outcome, stage, cost);
                Ok((vector, Some(model)))
            }
            Err(error) => Err(run.failing("embed", stage, error)),
        }
    }

    async fn embedded(
        &self,
        run: &mut Run,
        embedder: &dyn Embedder,
    ) -> Result<(Vec<f32>, StageOutcome, Cost)> {
        let until = run.until(self.search_reserve, None);
        let contract = embedder.contract();
        // Before the model is paid for a query that would be refused.
        let (collection, known) = (self.collection.clone(), contract.clone());
        let key = embedder.cache_key();
        let of = key.clone().into_owned();
        let question = self.uses_cache().then(|| self.text.clone());
        let checked = until.bound(blocking(move || {
            collection.refuse_other_model(&known)?;
            // A cache that cannot be read is no reason to fail.
            Ok(question.and_then(|text| collection.said_vector(&of, &known, &text).ok().flatten()))
        }));
        if let Some(vector) = checked.await.ok_or_else(|| until.late("embed"))?? {
            return Ok((vector, StageOutcome::Cached, Cost::new()));
        }
        let texts = [self.text.as_str()];
        let embedded = until.bound(embedder.embed(&texts, Role::Query, until.at)).await;
        let embedded = embedded.ok_or_else(|| until.late("embed"))?;
        let embedded = embedded.map_err(|error| until.failed("embed", error))?;
        let vector = embedded.vectors.into_iter().next();
        let missing = Error::Query { reason: "the embedder returned no vector: check the model" };
        let vector = vector.ok_or(missing)?;
        let is_sound = vector.iter().all(|x| x.is_finite());
        if self.uses_cache() && is_sound && vector.len() == self.collection.dimensions() {
            run.cache_is_due |= self.collection.keep_vector(&key, &contract, &self.text, &vector);
        }
        Ok((vector, StageOutcome::Done, embedded.cost))
    }

    async fn search(&self, run: &mut Run, vector: Vec<f32>, model: Option<String>) -> Result<Hits> {
        let stage = Instant::now();
        let collection = self.collection.clone();
        let limit = if self.reranker.is_some() {
            self.candidates.unwrap_or(CANDIDATES).max(self.limit)
        } else {
            self.limit
        };
        let (filter, ef, recall) = (self.filter.clone(), self.ef, self.recall);
        let searching = blocking(move || {
            let mut search = collection.search(&vector).limit(limit);
            if let Some(filter) = filter {
                search = search.filter(filter);
            }
            if let Some(ef) = ef {
                search = search.ef(ef);
            }
            if let Some(recall) = recall {
                search = search.recall(recall);
            }
            if let Some(model) = model {
                search = search.model(model);
            }
            search.run()
        });
        let span = tracing::debug_span!("search", limit, filtered = self.filter.is_some());
        let until = run.until(Duration::ZERO, None);
        let found = match until.bound(searching.instrument(span)).await {
            Some(found) => found,
            None => Err(until.late("search")),
        };
        let found = found.map_err(|error| run.failing("search", stage, error))?;
        run.report.candidates = found.hits.len();
        run.report.search = found.report.clone();
        run.report("search", StageOutcome::Done, stage, Cost::new());
        Ok(found)
    }
}
