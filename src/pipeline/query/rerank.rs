//! The last stage of a query: the reranker's order, from the cache as far as that has it.

use std::time::{Duration, Instant};

use tracing::Instrument;

use super::budget::{Run, Until};
use super::report::StageOutcome;
use super::{OnRerankFailure, Query};
use crate::db::{Hit, Hits};
use crate::error::{Error, Result};
use crate::pipeline::blocking;
use crate::pipeline::cost::Cost;
use crate::pipeline::stage::{RankedPassage, Reranker};

/// A score for each passage, and what it took to get them.
struct Scores {
    scores: Vec<f32>,
    /// How many of them the cache had.
    hits: usize,
    cost: Cost,
}

impl Query<'_> {
    pub(super) async fn rerank(&self, run: &mut Run, found: Hits) -> Result<Vec<Hit>> {
        let stage = Instant::now();
        let mut hits = found.hits;
        let passages: Vec<String> = hits.iter().map(|hit| hit.record.passage()).collect();
        // A reranker refuses empty passages; such hits keep their place after the ranked ones.
        let (places, passages): (Vec<usize>, Vec<String>) =
            passages.into_iter().enumerate().filter(|(_, text)| !text.trim().is_empty()).unzip();
        let Some(reranker) = self.reranker.filter(|_| !places.is_empty() && self.limit > 0) else {
            run.report("rerank", StageOutcome::Skipped, stage, Cost::new());
            hits.truncate(self.limit);
            return Ok(hits);
        };
        if self.text.trim().is_empty() {
            return Err(Error::Query { reason: "its text is empty: a reranker needs one" });
        }
        let until = run.until(Duration::ZERO, self.rerank_within);
        let count = passages.len();
        let bytes: usize = passages.iter().map(String::len).sum();
        let span =
            tracing::debug_span!("rerank", model = reranker.model(), passages = count, bytes);
        match self.scores(run, &until, reranker, passages).instrument(span).await {
            Ok(Scores { scores, hits: known, cost }) => {
                hits = reorder(hits, &places, &scores);
                run.report.reranked = true;
                run.report.cache.rerank_hits = known;
                run.report.cache.rerank_misses = count - known;
                let outcome =
                    if known == count { StageOutcome::Cached } else { StageOutcome::Done };
                run.report("rerank", outcome, stage, cost);
            }
            Err(error) if self.on_rerank_failure == OnRerankFailure::Fail => {
                return Err(run.failing("rerank", stage, error));
            }
            Err(error) => {
                run.report("rerank", StageOutcome::Failed(error.to_string()), stage, Cost::new());
            }
        }
        hits.truncate(self.limit);
        Ok(hits)
    }

    async fn scores(
        &self,
        run: &mut Run,
        until: &Until,
        reranker: &dyn Reranker,
        passages: Vec<String>,
    ) -> Result<Scores> {
        let (passages, mut scores) = self.known(until, reranker, passages).await?;
        if !reranker.is_pointwise() && scores.iter().any(Option::is_none) {
            // Scores of several calls do not compare.
            scores.fill(None);
        }
        let asked: Vec<usize> = (0..scores.len()).filter(|&at| scores[at].is_none()).collect();
        let hits = scores.len() - asked.len();
        let mut cost = Cost::new();
        if !asked.is_empty() {
            let texts: Vec<&str> = asked.iter().map(|&at| passages[at].as_str()).collect();
            let ranked = until.bound(reranker.rank(&self.text, &texts, until.at)).await;
            let ranked = ranked.ok_or_else(|| until.late("rerank"))?;
            let ranked = ranked.map_err(|error| until.failed("rerank", error))?;
            if !is_complete(&ranked.ranking, texts.len()) {
                let reason = "the reranker did not rank every passage once: check the model";
                return Err(Error::Query { reason });
            }
            cost = ranked.cost;
            for of in &ranked.ranking {
                if let Some(score) = asked.get(of.index).and_then(|&at| scores.get_mut(at)) {
                    *score = Some(of.score);
                }
            }
            self.keep_scores(run, reranker, &asked, &passages, &scores);
        }
        Ok(Scores { scores: scores.into_iter().flatten().collect(), hits, cost })
    }

    /// The passages, and the scores that the cache has of them.
    async fn known(
        &self,
        until: &Until,
        reranker: &dyn Reranker,
        passages: Vec<String>,
    ) -> Result<(Vec<String>, Vec<Option<f32>>)> {
        if !self.uses_cache() {
            let none = vec![None; passages.len()];
            return Ok((passages, none));
        }
        let (collection, key) = (self.collection.clone(), reranker.cache_key().into_owned());
        let query = self.text.clone();
        let looked_up = until.bound(blocking(move || {
            let texts: Vec<&str> = passages.iter().map(String::as_str).collect();
            let known = collection.said_logits(&key, &query, &texts);
            // A cache that cannot be read is no reason to fail.
            let known = known.unwrap_or_else(|_| vec![None; passages.len()]);
            Ok((passages, known))
        }));
        looked_up.await.ok_or_else(|| until.late("rerank"))?
    }

    fn keep_scores(
        &self,
        run: &mut Run,
        reranker: &dyn Reranker,
        asked: &[usize],
        passages: &[String],
        scores: &[Option<f32>],
    ) {
        if self.uses_cache() {
            let rows = asked.iter().filter_map(|&at| Some((passages[at].as_str(), scores[at]?)));
            let (rows, merge): (Vec<(&str, f32)>, _) = (rows.collect(), reranker.is_pointwise());
            let due = self.collection.keep_logits(&reranker.cache_key(), &self.text, &rows, merge);
            run.cache_is_due |= due;
        }
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
fn reorder(hits: Vec<Hit>, places: &[usize], ranked: &[f32]) -> Vec<Hit> {
    let mut scores = vec![None; hits.len()];
    for (&place, &score) in places.iter().zip(ranked) {
        scores[place] = Some(score);
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
