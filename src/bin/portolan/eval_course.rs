//! Runs the judged queries of `eval` in each mode, one after the other, as `Collection::query` runs
//! them: the time of a query is what one caller waits. Questions are embedded once; that time and
//! cost count in each mode that needs the vector.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use portolan::eval::trec_run::Run;
use portolan::nim::{EmbeddingModel, RankingModel};
use portolan::{
    Answer, BoxFuture, Collection, Dense, Embedded, Embedder, Hit, ModelContract, OnRerankFailure,
    Query, Role, StageError, StageOutcome,
};
use tokio::runtime::Runtime;

use crate::eval_args::EvalArgs;
use crate::eval_mode::{Row, Way};
use crate::eval_set::Judged;
use crate::failure::{Failure, Result};
use crate::mode::Mode;
use crate::output::Output;
use crate::progress::Progress;

/// What was found for one query, and what that took.
#[derive(Clone, Default)]
pub struct Ranked {
    /// Ids with scores, best first.
    pub hits: Vec<(String, f32)>,
    /// So many of them have a score of the last stage; the others stand behind it in the order of
    /// the stage before.
    pub scored: usize,
    pub took: Duration,
    pub calls: Calls,
    /// Whether the agent did not name the hits itself.
    pub is_fallback: bool,
    pub has_failed: bool,
}

/// Whom a query asked how often.
#[derive(Clone, Copy, Default)]
pub struct Calls {
    pub searches: u64,
    pub embed: u64,
    pub rerank: u64,
    /// Passages that the reranker scored.
    pub passages: u64,
    pub chat: u64,
    /// As far as the models told.
    pub tokens: Option<u64>,
}

impl Calls {
    /// Adds other calls. Whatever servers tell, no sum overflows.
    pub fn add(&mut self, other: Self) {
        self.searches = self.searches.saturating_add(other.searches);
        self.embed = self.embed.saturating_add(other.embed);
        self.rerank = self.rerank.saturating_add(other.rerank);
        self.passages = self.passages.saturating_add(other.passages);
        self.chat = self.chat.saturating_add(other.chat);
        self.add_tokens(other.tokens);
    }

    /// Adds tokens, if the model told.
    pub fn add_tokens(&mut self, told: Option<u64>) {
        if let Some(tokens) = told {
            self.tokens = Some(self.tokens.unwrap_or(0).saturating_add(tokens));
        }
    }
}

/// All queries in one mode.
pub struct ModeRun {
    pub name: String,
    /// By query id.
    pub queries: BTreeMap<String, Ranked>,
    /// Calls of all queries together that no query tells of by itself.
    pub shared: Calls,
}

impl ModeRun {
    pub fn new(name: impl Into<String>, queries: BTreeMap<String, Ranked>) -> Self {
        Self { name: name.into(), queries, shared: Calls::default() }
    }

    /// Rankings with scores, as trec_eval reads them.
    pub fn run(&self) -> Run {
        self.queries.iter().map(|(id, ranked)| (id.clone(), ranked.hits.clone())).collect()
    }
}

/// A model that says again what it said: a query is then refused as it would be with the model.
struct Remembered<'j> {
    contract: &'j ModelContract,
    vector: &'j [f32],
}

impl Embedder for Remembered<'_> {
    fn contract(&self) -> ModelContract {
        self.contract.clone()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        _: Role,
        _: Option<Instant>,
    ) -> BoxFuture<'a, std::result::Result<Embedded, StageError>> {
        let vectors = vec![self.vector.to_vec(); texts.len()];
        Box::pin(std::future::ready(Ok(Embedded::new(vectors))))
    }
}

/// What queries are run with.
pub struct Course<'c> {
    pub args: &'c EvalArgs,
    pub collection: &'c Collection,
    pub runtime: &'c Runtime,
    /// The model of the vectors, if it is known.
    pub model: Option<ModelContract>,
    pub embedder: Option<&'c EmbeddingModel>,
    pub reranker: Option<&'c RankingModel>,
    pub out: &'c Output,
    pub judged: &'c [Judged],
    /// Results per query.
    pub depth: usize,
}

impl Course<'_> {
    /// All queries in the mode of a row. `before` are the rows that were run.
    pub fn row(&self, row: &Row, before: &[ModeRun]) -> Result<ModeRun> {
        let by_vector = row.way.needs_vector();
        let mut shared = Calls::default();
        let queries = match row.way {
            Way::Search(mode) => self.each(&row.name, by_vector, |one| self.searched(one, mode))?,
            Way::Exact => self.each(&row.name, by_vector, |one| self.exact(one))?,
            Way::Rerank(mode) => self.each(&row.name, by_vector, |one| {
                let mut ranked = self.reranked(one, mode)?;
                self.fill(&mut ranked, one, mode, before)?;
                Ok(ranked)
            })?,
            Way::Agent(mode) => {
                let (mut queries, calls) = self.agentic(mode)?;
                shared = calls;
                for one in self.judged {
                    let ranked =
                        queries.get_mut(&one.query.id).filter(|found| !found.hits.is_empty());
                    if let Some(ranked) = ranked {
                        self.fill(ranked, one, mode, before)?;
                    }
                }
                queries
            }
        };
        Ok(ModeRun { name: row.name.clone(), queries, shared })
    }

    /// Dense search for the ten best with so many candidates, without the time of the model.
    pub fn with_ef(&self, ef: usize) -> Result<BTreeMap<String, Ranked>> {
        self.each("candidates", false, |one| {
            let begin = Instant::now();
            let remembered = self.remembered(one);
            let query = self.query(one, Mode::Dense, remembered.as_ref()).ef(ef).limit(10);
            let hits = self.runtime.block_on(query.run())?.hits;
            Ok(of_hits(&hits, begin.elapsed(), Calls { searches: 1, ..Calls::default() }))
        })
    }

    /// The ten nearest of each query.
    pub fn nearest(&self) -> Result<BTreeMap<String, Ranked>> {
        self.each("exact", false, |one| self.exact(one))
    }

    fn remembered<'j>(&'j self, one: &'j Judged) -> Option<Remembered<'j>> {
        let contract = self.model.as_ref()?;
        Some(Remembered { contract, vector: &one.vector })
    }

    /// The query of a question, as an application runs it.
    fn query<'q>(
        &'q self,
        one: &'q Judged,
        mode: Mode,
        remembered: Option<&'q Remembered<'q>>,
    ) -> Query<'q> {
        let query = self.collection.query(one.query.text.as_str());
        let mut query = query.mode(mode.of_query()).cache(false).limit(self.depth);
        let fusion = self.args.fusion;
        query = query.find(move |find| find.fusion(fusion));
        query = match remembered {
            Some(embedder) => query.embedder(embedder),
            None if mode.needs_vector() => query.vector(one.vector.as_slice()),
            None => query,
        };
        if let Some(passing) = one.passing() {
            query = query.filter(passing);
        }
        match (self.args.ef, self.args.recall) {
            (Some(ef), _) => query.ef(ef),
            (None, Some(recall)) => query.recall(recall),
            (None, None) => query,
        }
    }

    fn searched(&self, one: &Judged, mode: Mode) -> Result<Ranked> {
        let begin = Instant::now();
        let remembered = self.remembered(one);
        let answer = self.runtime.block_on(self.query(one, mode, remembered.as_ref()).run())?;
        let took = begin.elapsed();
        Ok(of_hits(&answer.hits, took, calls(&answer)))
    }

    /// The candidates of a search in the reranker's order, and no others.
    fn reranked(&self, one: &Judged, mode: Mode) -> Result<Ranked> {
        let no_reranker = || Failure::Usage("--rerank-model is missing".to_owned());
        let reranker = self.reranker.ok_or_else(no_reranker)?;
        let candidates = self.args.rerank.candidates;
        let begin = Instant::now();
        let remembered = self.remembered(one);
        let query = self.query(one, mode, remembered.as_ref());
        let query = query.reranker(reranker).candidates(candidates);
        let query = query.on_rerank_failure(OnRerankFailure::Fail);
        let query = query.limit(self.depth.min(candidates));
        let answer = self.runtime.block_on(query.run())?;
        let took = begin.elapsed();
        Ok(of_hits(&answer.hits, took, calls(&answer)))
    }

    /// The best that any index can do.
    fn exact(&self, one: &Judged) -> Result<Ranked> {
        let begin = Instant::now();
        let exact = Dense::new(one.vector.as_slice()).exact();
        let mut find = self.collection.find().dense_with(exact).limit(self.depth);
        if let Some(passing) = one.passing() {
            find = find.filter(passing);
        }
        let hits = find.run()?.hits;
        Ok(of_hits(&hits, begin.elapsed(), Calls { searches: 1, ..Calls::default() }))
    }

    /// Puts behind the hits of a later stage what one search finds besides.
    fn fill(
        &self,
        ranked: &mut Ranked,
        one: &Judged,
        mode: Mode,
        before: &[ModeRun],
    ) -> Result<()> {
        let known = before.iter().find(|run| run.name == mode.name());
        let first = match known.and_then(|run| run.queries.get(&one.query.id)) {
            Some(known) => known.hits.clone(),
            None => self.searched(one, mode)?.hits,
        };
        let known: HashSet<String> = ranked.hits.iter().map(|(id, _)| id.clone()).collect();
        ranked.hits.extend(first.into_iter().filter(|(id, _)| !known.contains(id)));
        ranked.hits.truncate(self.depth);
        Ok(())
    }

    /// Runs all queries; with the time and cost of their vectors if the way needs them.
    fn each(
        &self,
        what: &str,
        with_embedding: bool,
        run: impl Fn(&Judged) -> Result<Ranked>,
    ) -> Result<BTreeMap<String, Ranked>> {
        let progress = Progress::new(what.to_owned(), self.judged.len());
        let mut queries = BTreeMap::new();
        for one in self.judged {
            let mut ranked = run(one)?;
            if with_embedding {
                let (took, cost) = one.embedding;
                ranked.took += took;
                let (embed, tokens) = (cost.requests, cost.tokens);
                ranked.calls.add(Calls { embed, tokens, ..Calls::default() });
            }
            queries.insert(one.query.id.clone(), ranked);
            progress.step();
        }
        Ok(queries)
    }
}

fn of_hits(hits: &[Hit], took: Duration, calls: Calls) -> Ranked {
    let score = |hit: &Hit| hit.rerank_score.unwrap_or(hit.score);
    let hits: Vec<(String, f32)> =
        hits.iter().map(|hit| (hit.id.to_string(), score(hit))).collect();
    Ranked { scored: hits.len(), hits, took, calls, ..Ranked::default() }
}

/// What the report of a query tells of its calls.
fn calls(answer: &Answer) -> Calls {
    let mut sum = Calls::default();
    for stage in &answer.report.stages {
        let (requests, tokens) = (stage.cost.requests, stage.cost.tokens);
        let mut calls = Calls { tokens, ..Calls::default() };
        match stage.stage {
            "search" => calls.searches = u64::from(stage.outcome == StageOutcome::Done),
            "embed" => calls.embed = requests,
            _ => (calls.rerank, calls.passages) = (requests, stage.scored),
        }
        sum.add(calls);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_what_servers_tell_do_not_overflow() {
        let most =
            Calls { searches: 1, embed: u64::MAX, tokens: Some(u64::MAX), ..Calls::default() };
        let mut sum = Calls::default();
        sum.add(Calls { rerank: 2, passages: 50, ..Calls::default() });
        assert_eq!(sum.tokens, None);
        (0..2).for_each(|_| sum.add(most));
        let counts = [sum.searches, sum.embed, sum.rerank, sum.passages, sum.chat];
        assert_eq!((counts, sum.tokens), ([2, u64::MAX, 2, 50, 0], Some(u64::MAX)));
    }
}
