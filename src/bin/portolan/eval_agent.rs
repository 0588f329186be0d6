//! The agentic rows of `eval`: a chat model searches for the documents of each query, over the same
//! collection and by the same modes as the other rows.

use std::collections::BTreeMap;

use portolan::agent::{Agent, AgentQuery, AgentResult, ResultSource, TraceUse};
use portolan::{CostMeter, Error};

use crate::agent::limited;
use crate::chat_args::chat;
use crate::eval_course::{Calls, Course, Ranked};
use crate::failure::{Failure, Result};
use crate::mode::Mode;
use crate::progress::Progress;

/// Documents that the agent names, as the benchmarks have it.
const NAMED: usize = 10;

impl Course<'_> {
    /// All queries, each as a run of the agent; and what the embedding model was asked for all of
    /// them together.
    pub fn agentic(&self, mode: Mode) -> Result<(BTreeMap<String, Ranked>, Calls)> {
        let chat = chat(&self.args.chat, self.args.embed.allow_http)?;
        let meter = CostMeter::new();
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
        agent = agent.query(|query| query.meter(&meter));
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
        let embed = meter.totals().embed.cost;
        let mut shared = Calls { embed: embed.requests, ..Calls::default() };
        shared.add_tokens(embed);
        Ok((ranked.collect(), shared))
    }
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
        tokens: Some(prompt + completion),
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
