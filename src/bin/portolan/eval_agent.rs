//! The agentic rows of `eval`: a chat model searches for the documents of each query, over the same
//! collection, by the same modes and with the same fusion, candidates and reranker as the other
//! rows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use portolan::agent::{Agent, AgentQuery, AgentResult, ResultSource, TraceUse};
use portolan::nim::RankingModel;
use portolan::{
    BoxFuture, CostMeter, Error, Fusion, OnRerankFailure, Reranked, Reranker, StageError,
};

use crate::agent::limited;
use crate::chat_args::chat;
use crate::eval_course::{Calls, Course, Ranked};
use crate::failure::{Failure, Result};
use crate::mode::Mode;
use crate::progress::Progress;

/// Documents that the agent names, as the benchmarks have it.
const NAMED: usize = 10;

impl Course<'_> {
    /// All queries, each as a run of the agent; and what the models of its searches were asked for
    /// all of them together.
    pub fn agentic(&self, mode: Mode) -> Result<(BTreeMap<String, Ranked>, Calls)> {
        let chat = chat(&self.args.chat, &self.args.embed.reach)?;
        let meter = CostMeter::new();
        let counted = self.reranker.map(Counted::new);
        let mut agent = limited(Agent::new(self.collection, &chat), &self.args.limits).limit(NAMED);
        // Its searches are its own words: the vectors of the set are of no use to them.
        agent = match self.embedder {
            Some(embedder) => agent.embedder(embedder).mode(mode.of_query()),
            None if self.collection.text_index()?.is_some() => agent.mode(Mode::Lexical.of_query()),
            None => {
                let reason = "the agent asks in words: give --embed-model, or make an \
                              index of words with `portolan index-text`";
                return Err(Failure::new(reason));
            }
        };
        agent = self.searching(agent).query(|query| query.meter(&meter));
        if let Some(reranker) = &counted {
            let candidates = self.args.rerank.candidates;
            agent = agent.query(move |query| {
                let query = query.reranker(reranker).candidates(candidates);
                query.on_rerank_failure(OnRerankFailure::Fail)
            });
        }
        if let Some(folder) = &self.args.traces {
            agent = agent.traces(folder).reuse(true);
        }
        let queries = self.judged.iter().map(|one| {
            let query = AgentQuery::new(one.query.text.as_str()).id(one.query.id.as_str());
            query.exclude(one.excluded.iter().cloned())
        });
        let progress = Progress::new("agentic", self.judged.len());
        let ended = |_: usize, result: &std::result::Result<AgentResult, Error>| {
            if let Ok(AgentResult { trace_use: TraceUse::Failed(reason), .. }) = result {
                self.out.warning(reason);
            }
            progress.step();
        };
        let results = self.runtime.block_on(agent.run_many(queries, self.args.parallel, ended));
        drop(progress);
        let reasons: Vec<String> = results.iter().filter_map(broken).collect();
        if let Some(first) = reasons.first() {
            let count = reasons.len();
            self.out
                .warning(&format!("{count} queries of the agent broke off; the first: {first}"));
        }
        let ranked = self.judged.iter().zip(&results);
        let ranked = ranked.map(|(one, result)| (one.query.id.clone(), of_result(result)));
        let (embed, rerank) = (meter.totals().embed.cost, meter.totals().rerank.cost);
        let mut shared = Calls {
            embed: embed.requests,
            rerank: rerank.requests,
            passages: counted
                .as_ref()
                .map_or(0, |counted| counted.passages.load(Ordering::Relaxed)),
            ..Calls::default()
        };
        shared.add_tokens(embed.tokens);
        shared.add_tokens(rerank.tokens);
        // The meter knows nothing of runs that were made before.
        let reused = results.iter().flatten().filter(|result| result.is_reused());
        reused.for_each(|result| shared.add(of_searches(result)));
        Ok((ranked.collect(), shared))
    }

    /// Its searches as those of the other rows.
    fn searching<'a>(&self, mut agent: Agent<'a>) -> Agent<'a> {
        let fusion = self.args.fusion;
        if fusion != Fusion::default() {
            // No trace tells what a closure does; the label does.
            agent = agent.query(move |query| query.find(move |find| find.fusion(fusion)));
            agent = agent.label(format!("eval: {fusion}"));
        }
        match (self.args.ef, self.args.recall) {
            (Some(ef), _) => agent.query(move |query| query.ef(ef)),
            (None, Some(recall)) => agent.query(move |query| query.recall(recall)),
            (None, None) => agent,
        }
    }
}

/// A reranker, and how many passages it was asked for.
struct Counted<'r> {
    inner: &'r RankingModel,
    passages: AtomicU64,
}

impl<'r> Counted<'r> {
    fn new(inner: &'r RankingModel) -> Self {
        Self { inner, passages: AtomicU64::new(0) }
    }
}

impl Reranker for Counted<'_> {
    fn model(&self) -> &str {
        Reranker::model(self.inner)
    }

    fn rank<'a>(
        &'a self,
        query: &'a str,
        passages: &'a [&'a str],
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, std::result::Result<Reranked, StageError>> {
        self.passages.fetch_add(passages.len() as u64, Ordering::Relaxed);
        Reranker::rank(self.inner, query, passages, deadline)
    }

    fn cache_key(&self) -> Cow<'_, str> {
        Reranker::cache_key(self.inner)
    }

    fn is_pointwise(&self) -> bool {
        self.inner.is_pointwise()
    }

    fn is_cacheable(&self) -> bool {
        self.inner.is_cacheable()
    }
}

/// What the searches of a run asked models for, as its trace tells.
fn of_searches(result: &AgentResult) -> Calls {
    let mut sum = Calls::default();
    for search in &result.trace.retrievals {
        sum.add(Calls {
            embed: search.requests.saturating_sub(search.rerank_requests),
            rerank: search.rerank_requests,
            passages: search.rerank_passages,
            tokens: search.tokens,
            ..Calls::default()
        });
    }
    sum
}

/// What kept a query from its end, if something is broken.
fn broken(result: &std::result::Result<AgentResult, Error>) -> Option<String> {
    match result {
        Err(error) => Some(error.to_string()),
        Ok(result) => {
            let failure = result.failure.as_ref().filter(|failure| failure.kind.is_fatal());
            failure.map(ToString::to_string)
        }
    }
}

/// Nothing was found if there is no result.
fn of_result(result: &std::result::Result<AgentResult, Error>) -> Ranked {
    let has_failed = broken(result).is_some();
    let Ok(result) = result else { return Ranked { has_failed, ..Ranked::default() } };
    let hits: Vec<(String, f32)> =
        result.scored().map(|(id, score)| (id.to_string(), score as f32)).collect();
    let (prompt, completion) = result.tokens();
    let calls = Calls {
        searches: result.retrievals() as u64,
        chat: result.steps() as u64,
        tokens: Some(prompt.saturating_add(completion)),
        ..Calls::default()
    };
    Ranked {
        scored: hits.len(),
        hits,
        took: result.took,
        calls,
        is_fallback: result.source != ResultSource::FinalResults,
        has_failed,
    }
}
