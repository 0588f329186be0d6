//! A query over stages under one deadline: embed, search, rerank.

use std::time::{Duration, Instant};

use super::blocking;
use super::stage::{Embedder, RankedPassage, Reranker, Role};
use crate::db::{Collection, Hit, Hits, SearchReport};
use crate::error::{Error, Result};
use crate::filter::Filter;

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

/// What became of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageOutcome {
    /// It ran to its end.
    Done,
    /// It was not asked for, or had nothing to do.
    Skipped,
    /// It failed or ran out of time; the reason.
    Failed(String),
}

/// One stage of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageReport {
    /// `embed`, `search` or `rerank`.
    pub stage: &'static str,
    /// What became of it.
    pub outcome: StageOutcome,
    /// Wall time.
    pub took: Duration,
    /// Tokens the model read, if it tells.
    pub tokens: Option<u64>,
}

/// What a query did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct QueryReport {
    /// The stages, in order.
    pub stages: Vec<StageReport>,
    /// Candidates that the search gave to the next stage.
    pub candidates: usize,
    /// What the search did.
    pub search: SearchReport,
    /// Whether the hits are in the reranker's order.
    pub reranked: bool,
    /// Wall time of all.
    pub took: Duration,
}

/// Hits, best first, and how they came about.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// Best first.
    pub hits: Vec<Hit>,
    /// What was done, what was skipped, and why.
    pub report: QueryReport,
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
    on_rerank_failure: OnRerankFailure,
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
            on_rerank_failure: OnRerankFailure::default(),
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

    /// Time for all stages together. A reranker that is late is left out; an embedder that is
    /// late fails the query.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// What becomes of the query when the reranker fails or is late.
    pub fn on_rerank_failure(mut self, policy: OnRerankFailure) -> Self {
        self.on_rerank_failure = policy;
        self
    }

    /// Runs the stages. Must be called in a tokio runtime with time enabled.
    ///
    /// # Errors
    /// [`Error::Query`] without an embedder or vector, or with an empty text for a model;
    /// [`Error::Model`] and [`Error::DeadlineExceeded`] when embedding fails or is late, or
    /// reranking under [`OnRerankFailure::Fail`]; those of [`Search::run`](crate::Search::run).
    pub async fn run(self) -> Result<Answer> {
        let mut run = Run::begin(self.deadline);
        let (vector, model) = self.embed(&mut run).await?;
        let found = self.search(&mut run, vector, model).await?;
        let hits = self.rerank(&mut run, found).await?;
        run.report.took = run.begin.elapsed();
        Ok(Answer { hits, report: run.report })
    }

    async fn embed(&self, run: &mut Run) -> Result<(Vec<f32>, Option<String>)> {
        let stage = Instant::now();
        if let Some(vector) = &self.vector {
            run.report("embed", StageOutcome::Skipped, stage, None);
            return Ok((vector.clone(), None));
        }
        let reason = "it has neither an embedder nor a vector: add one of them";
        let embedder = self.embedder.ok_or(Error::Query { reason })?;
        if self.text.trim().is_empty() {
            return Err(Error::Query { reason: "its text is empty: ask something" });
        }
        let contract = embedder.contract();
        // Before the model is paid for a query that would be refused.
        let collection = self.collection.clone();
        let known = contract.clone();
        blocking(move || collection.refuse_other_model(&known)).await?;
        let texts = [self.text.as_str()];
        let embedded = run.bounded(embedder.embed(&texts, Role::Query, run.at)).await;
        let embedded = embedded.ok_or_else(|| run.late("embed"))?;
        let embedded = embedded.map_err(|error| run.failed("embed", error))?;
        let vector = embedded.vectors.into_iter().next();
        let missing = Error::Query { reason: "the embedder returned no vector: check the model" };
        run.report("embed", StageOutcome::Done, stage, embedded.tokens);
        Ok((vector.ok_or(missing)?, Some(contract.model)))
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
        let found = run.bounded(searching).await.ok_or_else(|| run.late("search"))??;
        run.report.candidates = found.hits.len();
        run.report.search = found.report.clone();
        run.report("search", StageOutcome::Done, stage, None);
        Ok(found)
    }

    async fn rerank(&self, run: &mut Run, found: Hits) -> Result<Vec<Hit>> {
        let stage = Instant::now();
        let mut hits = found.hits;
        let passages: Vec<String> = hits.iter().map(|hit| hit.record.passage()).collect();
        // A reranker refuses empty passages; such hits keep their place after the ranked ones.
        let places: Vec<usize> =
            (0..hits.len()).filter(|&at| !passages[at].trim().is_empty()).collect();
        let Some(reranker) = self.reranker.filter(|_| !places.is_empty() && self.limit > 0) else {
            run.report("rerank", StageOutcome::Skipped, stage, None);
            hits.truncate(self.limit);
            return Ok(hits);
        };
        if self.text.trim().is_empty() {
            return Err(Error::Query { reason: "its text is empty: a reranker needs one" });
        }
        let texts: Vec<&str> = places.iter().map(|&at| passages[at].as_str()).collect();
        let ranking = match run.bounded(reranker.rank(&self.text, &texts, run.at)).await {
            None => Err(run.late("rerank")),
            Some(Err(error)) => Err(run.failed("rerank", error)),
            Some(Ok(reranked)) if is_complete(&reranked.ranking, texts.len()) => Ok(reranked),
            Some(Ok(_)) => {
                let reason = "the reranker did not rank every passage once: check the model";
                Err(Error::Query { reason })
            }
        };
        match ranking {
            Ok(reranked) => {
                hits = reorder(hits, &places, &reranked.ranking);
                run.report.reranked = true;
                run.report("rerank", StageOutcome::Done, stage, reranked.tokens);
            }
            Err(error) if self.on_rerank_failure == OnRerankFailure::Fail => return Err(error),
            Err(error) => {
                run.report("rerank", StageOutcome::Failed(error.to_string()), stage, None);
            }
        }
        hits.truncate(self.limit);
        Ok(hits)
    }
}

fn is_complete(ranking: &[RankedPassage], passages: usize) -> bool {
    let mut seen = vec![false; passages];
    let fresh = ranking.iter().filter(|ranked| {
        ranked.score.is_finite()
            && seen.get_mut(ranked.index).is_some_and(|seen| !std::mem::replace(seen, true))
    });
    fresh.count() == passages && ranking.len() == passages
}

/// Ranked hits by score (ties keep the first-stage order), then the hits without a passage.
fn reorder(hits: Vec<Hit>, places: &[usize], ranking: &[RankedPassage]) -> Vec<Hit> {
    let mut scores = vec![None; hits.len()];
    for ranked in ranking {
        if let Some(&at) = places.get(ranked.index) {
            scores[at] = Some(ranked.score);
        }
    }
    let mut hits: Vec<Hit> = hits
        .into_iter()
        .zip(scores)
        .map(|(hit, score)| Hit { rerank_score: score, ..hit })
        .collect();
    let key = |hit: &Hit| hit.rerank_score.unwrap_or(f32::NEG_INFINITY);
    hits.sort_by(|a, b| key(b).total_cmp(&key(a)));
    hits
}

/// One query under way.
struct Run {
    begin: Instant,
    deadline: Option<Duration>,
    at: Option<Instant>,
    report: QueryReport,
}

impl Run {
    fn begin(deadline: Option<Duration>) -> Self {
        let begin = Instant::now();
        let at = deadline.and_then(|time| begin.checked_add(time));
        Self { begin, deadline, at, report: QueryReport::default() }
    }

    /// The result, or none if the deadline came first.
    async fn bounded<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.at {
            None => Some(work.await),
            Some(at) => tokio::time::timeout_at(at.into(), work).await.ok(),
        }
    }

    fn late(&self, stage: &'static str) -> Error {
        let deadline = self.deadline.unwrap_or_default();
        Error::DeadlineExceeded { stage, deadline_ms: deadline.as_millis() as u64 }
    }

    /// A model that gave up because the deadline passed is late, not broken.
    fn failed(&self, stage: &'static str, error: super::stage::StageError) -> Error {
        match self.at {
            Some(at) if Instant::now() >= at => self.late(stage),
            _ => error.into_error(stage),
        }
    }

    fn report(
        &mut self,
        stage: &'static str,
        outcome: StageOutcome,
        begin: Instant,
        tokens: Option<u64>,
    ) {
        self.report.stages.push(StageReport { stage, outcome, took: begin.elapsed(), tokens });
    }
}
