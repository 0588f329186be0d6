//! The last stages of a query: the order of each reranker in turn, from the cache as far as that
//! has it.

use std::time::{Duration, Instant};

use tracing::Instrument;

use super::budget::{Run, Until};
use super::chain::{Orders, Rerank};
use super::merge::Ranked;
use super::report::StageOutcome;
use super::{OnRerankFailure, Query};
use crate::error::{Error, Result};
use crate::pipeline::blocking;
use crate::pipeline::closure::Candidate;
use crate::pipeline::cost::Cost;
use crate::pipeline::stage::{RankedPassage, Reranked, Reranker, StageError};

/// The score of each passage, if it got one, and what it took to get them.
struct Scores {
    scores: Vec<Option<f32>>,
    /// How many of them the cache had.
    hits: usize,
    cost: Cost,
}

/// Candidates with what a reranker reads of them.
struct Read<'r> {
    ranked: &'r [Ranked],
    /// Those that it is to order.
    places: Vec<usize>,
    texts: Vec<String>,
}

impl Query<'_> {
    /// Lets each stage order what the one before left to it.
    pub(super) async fn cascade(&self, run: &mut Run, found: Vec<Ranked>) -> Result<Vec<Ranked>> {
        let mut ranked = found;
        if self.stages.is_empty() {
            run.report("rerank", None, StageOutcome::Skipped, Instant::now(), Cost::new());
        }
        for (stage, candidates) in self.stages.iter().zip(self.narrowing()) {
            ranked.truncate(candidates);
            ranked = self.stage(run, stage, ranked).await?;
        }
        if !self.stages.is_empty() {
            // A search alone may have groups of several hits.
            ranked.truncate(self.limit);
        }
        Ok(ranked)
    }

    async fn stage(
        &self,
        run: &mut Run,
        stage: &Rerank<'_>,
        ranked: Vec<Ranked>,
    ) -> Result<Vec<Ranked>> {
        let begin = Instant::now();
        let name = Some(stage.by.name());
        let texts = ranked.iter().map(|one| stage.text(&one.hit.record)).enumerate();
        // A model refuses empty passages; such hits keep their place after the ranked ones.
        let reads = |text: &str| matches!(stage.by, Orders::Records(_)) || !text.trim().is_empty();
        let (places, texts): (Vec<usize>, Vec<String>) =
            texts.filter(|(_, text)| reads(text)).unzip();
        if places.is_empty() || self.limit == 0 {
            run.report("rerank", name, StageOutcome::Skipped, begin, Cost::new());
            return Ok(ranked);
        }
        if matches!(stage.by, Orders::Texts(_)) && self.text.trim().is_empty() {
            return Err(Error::Query { reason: "its text is empty: a reranker needs one" });
        }
        let until = run.until(Duration::ZERO, stage.within.or(self.rerank_within));
        let count = places.len();
        let bytes: usize = texts.iter().map(String::len).sum();
        let span = tracing::debug_span!("rerank", model = name, passages = count, bytes);
        let read = Read { ranked: &ranked, places, texts };
        match self.ordered(run, &until, stage.by, &read).instrument(span).await {
            Ok(Scores { scores, hits: known, cost }) => {
                let scored = read.places.iter().zip(&scores);
                let (places, scores): (Vec<usize>, Vec<f32>) =
                    scored.filter_map(|(&at, score)| Some((at, (*score)?))).unzip();
                let ranked = reorder(ranked, &places, &scores, stage);
                run.report.reranked = true;
                run.report.cache.rerank_hits += known;
                run.report.cache.rerank_misses += count - known;
                let outcome =
                    if known == count { StageOutcome::Cached } else { StageOutcome::Done };
                run.report("rerank", name, outcome, begin, cost);
                run.scored(places.len() as u64);
                Ok(ranked)
            }
            Err(error) => {
                let policy = stage.on_failure.unwrap_or(self.on_rerank_failure);
                if policy == OnRerankFailure::Fail {
                    return Err(run.failing("rerank", begin, error));
                }
                let outcome = StageOutcome::failed(&error);
                run.report("rerank", name, outcome, begin, Cost::new());
                Ok(ranked)
            }
        }
    }

    async fn ordered(
        &self,
        run: &mut Run,
        until: &Until,
        by: Orders<'_>,
        read: &Read<'_>,
    ) -> Result<Scores> {
        match by {
            Orders::Texts(reranker) => self.scores(run, until, reranker, &read.texts).await,
            Orders::Records(reranker) => {
                let both = read.places.iter().zip(&read.texts);
                let candidates = both.filter_map(|(&at, text)| {
                    let Ranked { hit, by, from } = read.ranked.get(at)?;
                    let collection = self.collections.get(*from)?;
                    Some(Candidate { collection, record: &hit.record, text, score: *by })
                });
                let candidates: Vec<Candidate<'_>> = candidates.collect();
                let ranked = until.bound(reranker.rank(&self.text, &candidates, until.at)).await;
                let ranked = sound(ranked, until, candidates.len())?;
                let mut scores = vec![None; candidates.len()];
                for of in &ranked.ranking {
                    if let Some(score) = scores.get_mut(of.index) {
                        *score = Some(of.score);
                    }
                }
                Ok(Scores { scores, hits: 0, cost: ranked.cost })
            }
        }
    }

    async fn scores(
        &self,
        run: &mut Run,
        until: &Until,
        reranker: &dyn Reranker,
        passages: &[String],
    ) -> Result<Scores> {
        let mut scores = self.known(until, reranker, passages).await?;
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
            let ranked = sound(ranked, until, texts.len())?;
            if ranked.ranking.len() < texts.len() {
                return Err(INCOMPLETE);
            }
            cost = ranked.cost;
            for of in &ranked.ranking {
                if let Some(score) = asked.get(of.index).and_then(|&at| scores.get_mut(at)) {
                    *score = Some(of.score);
                }
            }
            self.keep_scores(run, reranker, &asked, passages, &scores);
        }
        Ok(Scores { scores, hits, cost })
    }

    /// The scores that the cache has of the passages.
    async fn known(
        &self,
        until: &Until,
        reranker: &dyn Reranker,
        passages: &[String],
    ) -> Result<Vec<Option<f32>>> {
        let none = vec![None; passages.len()];
        let Some(collection) = self.cache_of(reranker) else { return Ok(none) };
        let (collection, key) = (collection.clone(), reranker.cache_key().into_owned());
        let (query, passages) = (self.text.clone(), passages.to_vec());
        let looked_up = until.bound(blocking(move || {
            let texts: Vec<&str> = passages.iter().map(String::as_str).collect();
            let known = collection.said_logits(&key, &query, &texts);
            // A cache that cannot be read is no reason to fail.
            Ok(known.unwrap_or_else(|_| vec![None; texts.len()]))
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
        if let Some(collection) = self.cache_of(reranker) {
            let rows = asked.iter().filter_map(|&at| Some((passages[at].as_str(), scores[at]?)));
            let (rows, merge): (Vec<(&str, f32)>, _) = (rows.collect(), reranker.is_pointwise());
            let due = collection.keep_logits(&reranker.cache_key(), &self.text, &rows, merge);
            run.cache_is_due |= due;
        }
    }

    /// The collection whose file caches what this reranker says.
    fn cache_of(&self, reranker: &dyn Reranker) -> Option<&crate::db::Collection> {
        self.caching().filter(|_| reranker.is_cacheable())
    }
}

const INCOMPLETE: Error =
    Error::Query { reason: "the reranker did not rank every passage once: check the model" };

/// A ranking, in time, of no passage twice and by numbers.
fn sound(
    ranked: Option<std::result::Result<Reranked, StageError>>,
    until: &Until,
    passages: usize,
) -> Result<Reranked> {
    let ranked = ranked.ok_or_else(|| until.late("rerank"))?;
    let ranked = ranked.map_err(|error| until.failed("rerank", error))?;
    let mut seen = vec![false; passages];
    let is_fresh = |of: &RankedPassage| {
        of.score.is_finite()
            && seen.get_mut(of.index).is_some_and(|seen| !std::mem::replace(seen, true))
    };
    if ranked.ranking.iter().all(is_fresh) { Ok(ranked) } else { Err(INCOMPLETE) }
}

/// Ranked hits by score (ties keep the order before), then the hits that were not ranked.
fn reorder(
    ranked: Vec<Ranked>,
    places: &[usize],
    scores: &[f32],
    stage: &Rerank<'_>,
) -> Vec<Ranked> {
    let before: Vec<Option<f32>> =
        places.iter().map(|&at| ranked.get(at).and_then(|one| one.by)).collect();
    let mut blended = vec![None; ranked.len()];
    for (&place, score) in places.iter().zip(stage.blend.scores(&before, scores)) {
        blended[place] = Some(score);
    }
    let mut scored: Vec<(Option<f64>, Ranked)> = blended.into_iter().zip(ranked).collect();
    let key = |score: &Option<f64>| score.unwrap_or(f64::NEG_INFINITY);
    scored.sort_by(|a, b| key(&b.0).total_cmp(&key(&a.0)));
    let settle = |(score, mut one): (Option<f64>, Ranked)| {
        one.by = score.map(|score| score as f32);
        one.hit.rerank_score = one.by;
        one
    };
    scored.into_iter().map(settle).collect()
}
