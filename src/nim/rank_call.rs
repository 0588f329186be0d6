//! The ranking call: one query and many passages in, one checked logit per passage out, best first.
//! Layer: top of `nim`, above `rank`, `lane` and `wire`.

use std::ops::Range;
use std::time::Instant;

use super::answer::{add_tokens, other_model, place};
use super::api::Api;
use super::client::CallOptions;
use super::error::NimError;
use super::exchange::Got;
use super::fault::ResponseFault;
use super::input::Input;
use super::lane::{Ending, OnFailure};
use super::meter::{CallCost, Counted, Spent, total};
use super::rank::{RankTruncate, Ranked, RankingModel, Rankings, best_first};
use super::reply::Failure;
use super::target::Target;
use super::transport::{Tally, invalid};
use super::wire::{RankBody, Scores, cohere, nim, scan, tei};

/// No right answer is larger, unless the server sends the passages back.
const ANSWER_LIMIT: u64 = 4 << 20;
/// Some of the Cohere family do, with escapes.
const ANSWER_LIMIT_COHERE: u64 = 16 << 20;

impl RankingModel {
    /// Scores every passage against `query`. No passages cost no request.
    ///
    /// # Errors
    ///
    /// [`NimError::EmptyQuery`], [`NimError::EmptyInput`] and [`NimError::Config`] before any
    /// request, [`NimError::InputTooLong`] with the position in `passages`,
    /// [`NimError::InvalidResponse`] when there is not exactly one finite logit per passage, and
    /// any other [`NimError`]. The first failure ends the requests beside it.
    pub async fn rank(&self, query: &str, passages: &[&str]) -> Result<Rankings, NimError> {
        self.rank_with(query, passages, CallOptions::new()).await
    }

    /// As [`rank`](Self::rank), with a deadline.
    ///
    /// # Errors
    ///
    /// As [`rank`](Self::rank), and [`NimError::DeadlineExceeded`].
    pub async fn rank_with(
        &self,
        query: &str,
        passages: &[&str],
        options: CallOptions,
    ) -> Result<Rankings, NimError> {
        self.rank_counted(query, passages, options, &mut CallCost::default()).await
    }

    /// As [`rank_with`](Self::rank_with); tells what it took even when it fails.
    pub(crate) async fn rank_counted(
        &self,
        query: &str,
        passages: &[&str],
        options: CallOptions,
        spent: &mut CallCost,
    ) -> Result<Rankings, NimError> {
        let passages: Vec<Input<'_>> = passages.iter().map(|text| Input::Text(text)).collect();
        let counter = Spent::default();
        let found = self.rank_all(query, &passages, options, &counter).await;
        *spent = total(counter);
        found
    }

    /// As [`rank_with`](Self::rank_with), for passages that are texts, images or both. Equal
    /// passages are each ranked: logits depend slightly on what stands beside a passage.
    ///
    /// # Errors
    ///
    /// As [`rank_with`](Self::rank_with).
    pub async fn rank_inputs(
        &self,
        query: &str,
        passages: &[Input<'_>],
        options: CallOptions,
    ) -> Result<Rankings, NimError> {
        self.rank_all(query, passages, options, &Spent::default()).await
    }

    async fn rank_all(
        &self,
        query: &str,
        passages: &[Input<'_>],
        options: CallOptions,
        spent: &Spent,
    ) -> Result<Rankings, NimError> {
        self.check(query, passages)?;
        let target = self.target()?;
        if passages.is_empty() {
            return Ok(Rankings::default());
        }
        let deadline = options.latest();
        let call = Call { model: self, target, query, passages, deadline, spent };
        options.bound(call.run()).await
    }
}

/// One call.
struct Call<'a> {
    model: &'a RankingModel,
    target: &'a Target,
    query: &'a str,
    passages: &'a [Input<'a>],
    deadline: Option<Instant>,
    spent: &'a Spent,
}

/// The answer to one request.
struct Part {
    logits: Vec<f32>,
    tokens: Option<u64>,
    served_model: Option<String>,
}

impl Call<'_> {
    async fn run(&self) -> Result<Rankings, NimError> {
        let sizes = self.passages.iter().map(|passage| passage.size()).collect();
        let send = |range| async move {
            let mut counted = Counted::of(self.spent);
            (self.ask(range, &mut counted.tally).await, counted.tally)
        };
        let read = |range: &Range<usize>, got| self.read(range, got);
        let limits = self.model.limits;
        let lane = &self.model.lane;
        // Deadlines of queries are tight by intent: one that was missed says little of how many
        // passages a request may have, and many small ones would be later still.
        let ending = Ending { on_failure: OnFailure::Discard, deadline: None };
        let done = lane.run(sizes, limits, |index| index, send, read, ending).await?;
        let mut found = Rankings { prompt_tokens: Some(0), ..Rankings::default() };
        let is_logit = matches!(self.model.api(), Api::Nim | Api::Tei);
        for (range, part) in done.parts {
            let ranked = range.zip(part.logits);
            found.scores.extend(ranked.map(|(index, logit)| Ranked { index, logit, is_logit }));
            found.prompt_tokens = add_tokens(found.prompt_tokens, part.tokens);
            found.served_model = part.served_model.or(found.served_model);
        }
        found.scores.sort_by(best_first);
        found.cost = done.tally;
        Ok(found)
    }

    /// The logits of an answer in the order of its passages, checked.
    fn read(&self, range: &Range<usize>, got: Got) -> Result<Part, Failure> {
        let request_id = got.request_id();
        let answer = self.parse(got)?;
        let named = answer.model.as_deref();
        let served_model = other_model(self.model.nim.transport(), &self.model.model, named);
        let wrong = |what| invalid(self.target, what).of_request(request_id.as_deref());
        let name = |place: usize| range.start.saturating_add(place);
        let logits = place(answer.items, range.len(), name).map_err(wrong)?;
        // Numbers beyond single precision have become infinite while they were parsed.
        if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(wrong(ResponseFault::NotFinite { index: name(at) }).into());
        }
        Ok(Part { logits, tokens: answer.tokens, served_model })
    }

    async fn ask(&self, range: Range<usize>, tally: &mut Tally) -> Result<Got, Failure> {
        let passages = self.passages.get(range).unwrap_or_default();
        let limit = match self.model.api() {
            Api::Nim | Api::Tei => ANSWER_LIMIT,
            Api::Cohere | Api::OpenAi | Api::Ollama => ANSWER_LIMIT_COHERE,
        };
        let transport = self.model.nim.transport();
        let body = self.body(passages).write(&self.model.extra);
        transport.fetch(self.target, body, limit, self.deadline, tally).await
    }

    fn parse(&self, got: Got) -> Result<Scores, Failure> {
        let (transport, target, api) = (self.model.nim.transport(), self.target, self.model.api());
        if let Got::Whole(answer) = &got {
            let found = match api {
                Api::Nim => scan::logits(&answer.body),
                Api::Tei => None,
                Api::Cohere | Api::OpenAi | Api::Ollama => scan::relevance(&answer.body),
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Ok(match api {
            Api::Nim => transport.whole::<nim::RankAnswer>(target, got)?.into(),
            Api::Tei => transport.whole::<tei::RankAnswer>(target, got)?.into(),
            Api::Cohere | Api::OpenAi | Api::Ollama => {
                transport.whole::<cohere::RankAnswer>(target, got)?.into()
            }
        })
    }

    fn body<'b>(&'b self, passages: &[Input<'b>]) -> RankBody<'b> {
        let model = self.model;
        let texts = || passages.iter().filter_map(|passage| passage.text()).collect();
        match model.api() {
            Api::Nim => RankBody::Nim(nim::RankRequest {
                model: &model.model,
                query: nim::Text { text: self.query },
                passages: passages.iter().map(|passage| (*passage).into()).collect(),
                truncate: Some(model.truncate).filter(|at| *at != RankTruncate::Unset),
            }),
            Api::Tei => RankBody::Tei(tei::RankRequest {
                query: self.query,
                texts: texts(),
                raw_scores: true,
                truncate: match model.truncate {
                    RankTruncate::Unset => None,
                    truncate => Some(truncate == RankTruncate::End),
                },
            }),
            Api::Cohere | Api::OpenAi | Api::Ollama => RankBody::Cohere(cohere::RankRequest {
                model: &model.model,
                query: self.query,
                documents: texts(),
                top_n: passages.len(),
            }),
        }
    }
}
