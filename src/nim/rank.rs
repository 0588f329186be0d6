//! Ranking: one query and many passages in, one checked logit per passage out, best first.
//! Not first-stage search. Layer: top of `nim`, next to `embed`. Endpoint: `POST {base}/ranking`
//! (hosted: `.../<model>/reranking`), NeMo Retriever NIM.

use std::cmp::Ordering;
use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::answer::{Usage, add_tokens, other_model, place};
use super::batch::BatchPlan;
use super::client::{CallOptions, Nim};
use super::endpoint::Target;
use super::error::{NimError, ResponseFault};
use super::reply::Failure;
use super::transport::{Tally, invalid};

/// Most passages that the service takes per request, and the default.
const MAX_PASSAGES: usize = 512;
/// Characters per request unless set: below the hosted catalog's 5 MB at four bytes per character.
const BATCH_CHARS: usize = 1_000_000;
/// No right answer is larger.
const ANSWER_LIMIT: u64 = 4 << 20;

/// What the server does with a query and passage longer than its model allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RankTruncate {
    /// Refuse them; the call fails with [`NimError::InputTooLong`].
    None,
    /// Cut the pair from its end, the passage first.
    #[default]
    End,
}

/// The score of one passage.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Position of the passage in the caller's slice.
    pub index: usize,
    /// Raw score of the model: finite, without bounds, comparable within one call.
    pub logit: f32,
}

impl Ranked {
    /// The logistic function of the logit, between 0 and 1; monotone, so the order stays.
    #[must_use]
    pub fn relevance(&self) -> f32 {
        1.0 / (1.0 + (-self.logit).exp())
    }
}

/// Scores of one call and what they cost.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Rankings {
    /// One score per passage: highest logit first, equal logits by position.
    pub scores: Vec<Ranked>,
    /// Tokens read by the server, when every answer told.
    pub prompt_tokens: Option<u64>,
    /// HTTP requests sent, retries and status requests included.
    pub requests: u32,
    /// Requests sent again after a passing failure.
    pub retries: u32,
    /// Model that the server says has answered, when it is not the one asked for. Letter case and a
    /// missing organization prefix make no difference.
    pub served_model: Option<String>,
}

impl Rankings {
    /// The best `n`, or all when there are fewer.
    #[must_use]
    pub fn top(&self, n: usize) -> &[Ranked] {
        self.scores.get(..n).unwrap_or(&self.scores)
    }
}

/// A ranking model of a NIM. Cheap to clone; holds no state that a call changes.
#[derive(Clone)]
#[must_use]
pub struct RankingModel {
    nim: Nim,
    model: String,
    truncate: RankTruncate,
    batch_size: usize,
    batch_chars: usize,
}

/// Exactly these four fields: servers refuse any other, a `top_n` too.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    query: Text<'a>,
    passages: Vec<Text<'a>>,
    truncate: RankTruncate,
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    rankings: Vec<Item>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Item {
    index: serde_json::Number,
    logit: f32,
}

impl RankingModel {
    pub(super) fn new(nim: Nim, model: String) -> Self {
        let truncate = RankTruncate::End;
        Self { nim, model, truncate, batch_size: MAX_PASSAGES, batch_chars: BATCH_CHARS }
    }

    /// What happens to passages that are too long; [`RankTruncate::End`] unless set.
    pub fn truncate(mut self, truncate: RankTruncate) -> Self {
        self.truncate = truncate;
        self
    }

    /// Most passages per request, from 1 to 512, which is also the default. Logits depend slightly
    /// on the batch, so smaller batches can swap passages that are nearly equal.
    pub fn batch_size(mut self, passages: usize) -> Self {
        self.batch_size = passages.clamp(1, MAX_PASSAGES);
        self
    }

    /// Most characters of passages per request, unless one alone is longer; 1,000,000 unless set.
    pub fn batch_chars(mut self, chars: usize) -> Self {
        self.batch_chars = chars;
        self
    }

    /// Name of the model, as sent.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Scores every passage against `query`. No passages cost no request.
    ///
    /// # Errors
    ///
    /// [`NimError::EmptyQuery`] and [`NimError::EmptyInput`] before any request,
    /// [`NimError::InputTooLong`] with the position in `passages`, [`NimError::InvalidResponse`]
    /// when there is not exactly one finite logit per passage, and any other [`NimError`].
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
        if query.is_empty() {
            return Err(NimError::EmptyQuery);
        }
        if let Some(index) = passages.iter().position(|passage| passage.is_empty()) {
            return Err(NimError::EmptyInput { index });
        }
        let target = self.nim.rank_endpoint().target(&self.model)?;
        if passages.is_empty() {
            return Ok(Rankings::default());
        }
        options.bound(self.run(&target, query, passages, options.latest())).await
    }

    async fn run(
        &self,
        target: &Target,
        query: &str,
        passages: &[&str],
        deadline: Option<Instant>,
    ) -> Result<Rankings, NimError> {
        let transport = self.nim.transport();
        let mut plan = BatchPlan::new(passages, self.batch_size, self.batch_chars);
        let mut tally = Tally::default();
        let mut tokens = Some(0_u64);
        let mut found = Rankings::default();
        while let Some(range) = plan.next_range() {
            let part = passages.get(range.clone()).unwrap_or_default();
            let request = self.request(query, part);
            let sent = transport.post(target, &request, ANSWER_LIMIT, deadline, &mut tally).await;
            let answer: Answer = match sent {
                Ok(answer) => answer,
                Err(Failure::TooLarge(large)) => {
                    plan.shrink(range, large)?;
                    continue;
                }
                Err(Failure::Other(error)) => return Err(error),
            };
            tokens = add_tokens(tokens, answer.usage.as_ref());
            let other = other_model(transport, &self.model, answer.model.as_deref());
            found.served_model = other.or(found.served_model);
            let items = answer.rankings.into_iter().map(|item| (item.index, item.logit));
            let logits = place(items, &range).map_err(|what| invalid(target, what))?;
            for (index, logit) in range.zip(logits) {
                // Numbers beyond single precision have become infinite while they were parsed.
                if !logit.is_finite() {
                    return Err(invalid(target, ResponseFault::NotFinite { index }));
                }
                found.scores.push(Ranked { index, logit });
            }
        }
        found.scores.sort_by(best_first);
        found.prompt_tokens = tokens;
        found.requests = tally.requests;
        found.retries = tally.retries;
        Ok(found)
    }

    fn request<'a>(&'a self, query: &'a str, passages: &[&'a str]) -> Request<'a> {
        Request {
            model: &self.model,
            query: Text { text: query },
            passages: passages.iter().map(|text| Text { text }).collect(),
            truncate: self.truncate,
        }
    }
}

impl fmt::Debug for RankingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RankingModel")
            .field("model", &self.model)
            .field("truncate", &self.truncate)
            .field("batch_size", &self.batch_size)
            .field("nim", &self.nim)
            .finish_non_exhaustive()
    }
}

fn best_first(a: &Ranked, b: &Ranked) -> Ordering {
    let by_logit = b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal);
    by_logit.then(a.index.cmp(&b.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_is_the_logistic_function_and_never_leaves_its_range() {
        let relevance = |logit| Ranked { index: 0, logit }.relevance();
        assert_eq!(relevance(0.0), 0.5);
        assert!((relevance(2.0) - 0.880_797).abs() < 1e-6);
        assert_eq!(relevance(f32::MAX), 1.0);
        assert_eq!(relevance(f32::MIN), 0.0);
    }

    #[test]
    fn equal_logits_keep_the_callers_order() {
        let mut scores: Vec<Ranked> = [(2, -0.0), (1, 0.0), (0, -1.0), (3, 5.0)]
            .map(|(index, logit)| Ranked { index, logit })
            .to_vec();
        scores.sort_by(best_first);
        assert_eq!(scores.iter().map(|s| s.index).collect::<Vec<_>>(), [3, 1, 2, 0]);
    }
}
