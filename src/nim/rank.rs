//! Ranking models as a user sets them up, and what a ranking is. Not the call (see `rank_call`) nor
//! first-stage search. Layer: top of `nim`, next to `embed`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::Value;

use super::api::Api;
use super::batch::Limits;
use super::client::Nim;
use super::embed::{BATCH_BYTES, looked_up};
use super::error::NimError;
use super::extra::Extra;
use super::fault::ConfigFault;
use super::input::Input;
use super::lane::{HOSTED_WIDTH, LOCAL_WIDTH, Lane};
use super::meter::CallCost;
use super::models::{ModelFacts, Task};
use super::target::Target;

/// Most passages that the service takes per request, and the default.
const MAX_PASSAGES: usize = 512;
/// Passages per request for TEI, whose own default is the most that it takes.
const BATCH_SIZE_TEI: usize = 32;
/// Characters per request unless set: below the hosted catalog's 5 MB at four bytes per character.
const BATCH_CHARS: usize = 1_000_000;

/// What the server does with a query and passage longer than its model allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RankTruncate {
    /// Refuse them; the call fails with [`NimError::InputTooLong`].
    None,
    /// Cut the pair from its end, the passage first, so that one long passage cannot fail the rest.
    #[default]
    End,
    /// Say nothing, and leave it to the server; NIMs refuse then.
    Unset,
}

/// The score of one passage.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Position of the passage in the caller's slice.
    pub index: usize,
    /// Raw score of the model: finite, without bounds, comparable within one call. Servers of the
    /// Cohere family give scores of their own scale, mostly from 0 to 1.
    pub logit: f32,
    pub(super) is_logit: bool,
}

impl Ranked {
    /// The logistic function of the logit, between 0 and 1; monotone, so the order stays. A score
    /// of the Cohere family's own scale is given as it is.
    #[must_use]
    pub fn relevance(&self) -> f32 {
        if self.is_logit { 1.0 / (1.0 + (-self.logit).exp()) } else { self.logit }
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
    /// What the call took: requests, retries, bytes, time.
    pub cost: CallCost,
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

/// A ranking model of a server. Cheap to clone. Clones share the bound on requests in flight and
/// the batch sizes that the server was seen to take; no call leaves anything else behind.
#[derive(Clone)]
#[must_use]
pub struct RankingModel {
    pub(super) nim: Nim,
    pub(super) model: String,
    pub(super) facts: ModelFacts,
    pub(super) truncate: RankTruncate,
    pub(super) limits: Limits,
    pub(super) lane: Arc<Lane>,
    pub(super) extra: Extra,
    /// Where requests go, once that was found out.
    target: Arc<OnceLock<Target>>,
}

impl RankingModel {
    pub(super) fn new(nim: Nim, model: String) -> Self {
        let endpoint = nim.rank_endpoint();
        let api = endpoint.api();
        let width = if endpoint.is_hosted() { HOSTED_WIDTH } else { LOCAL_WIDTH };
        let limits = Limits {
            items: if api == Api::Tei { BATCH_SIZE_TEI } else { MAX_PASSAGES },
            chars: BATCH_CHARS,
            tokens: usize::MAX,
            bytes: BATCH_BYTES,
            images: usize::MAX,
        };
        let (model, facts) = looked_up(api, &model);
        let truncate = RankTruncate::default();
        let (lane, target) = (Arc::new(Lane::new(width)), Arc::default());
        let extra = Extra::default();
        Self { nim, model, facts, truncate, limits, lane, extra, target }
    }

    /// What happens to passages that are too long; [`RankTruncate::End`] unless set. Servers of
    /// the Cohere family take no such setting.
    pub fn truncate(mut self, truncate: RankTruncate) -> Self {
        self.truncate = truncate;
        self
    }

    /// What is known of the model, instead of what the table says. With [`ModelFacts::unknown`]
    /// everything is sent as asked.
    pub fn facts(mut self, facts: ModelFacts) -> Self {
        self.facts = facts;
        self
    }

    /// Most passages per request, from 1 to 512, which is also the default (32 for TEI). Logits
    /// depend slightly on the batch, so smaller batches can swap passages that are nearly equal.
    pub fn batch_size(mut self, passages: usize) -> Self {
        self.limits.items = passages.clamp(1, MAX_PASSAGES);
        self
    }

    /// Most characters of passages per request, unless one alone is longer; 1,000,000 unless set.
    pub fn batch_chars(mut self, chars: usize) -> Self {
        self.limits.chars = chars;
        self
    }

    /// Most requests in flight, at least 1, over all calls of this model and its later clones;
    /// unless set 4 at the hosted catalog and 8 elsewhere.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.lane = Arc::new(Lane::new(requests));
        self
    }

    /// A field of each request that has no method here, such as `truncate_prompt_tokens` of vLLM or
    /// `truncation_direction` of TEI. Fields that the client writes win. NIMs refuse what they do
    /// not know.
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.set(name.into(), value.into());
        self
    }

    /// Name of the model, as sent. Old aliases of NIMs have given way to current names.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What is known of the model.
    pub fn known(&self) -> ModelFacts {
        self.facts
    }

    /// All that decides on a score but query and passage. The name of the model comes last, so
    /// that no two settings read alike.
    pub(crate) fn cache_key(&self) -> String {
        let (api, extra, truncate) = (self.api().name(), self.extra.key(), self.truncate);
        format!("{api}{extra} truncate={truncate:?} {}", self.model)
    }

    /// Where requests go; making it out takes longer than to rank a few passages nearby.
    pub(super) fn target(&self) -> Result<&Target, ConfigFault> {
        match self.target.get() {
            Some(target) => Ok(target),
            None => {
                let target = self.nim.rank_endpoint().target(&self.model)?;
                Ok(self.target.get_or_init(|| target))
            }
        }
    }

    pub(super) fn api(&self) -> Api {
        self.nim.rank_endpoint().api()
    }

    /// Refuses what the server would refuse.
    pub(super) fn check(&self, query: &str, passages: &[Input<'_>]) -> Result<(), NimError> {
        if query.is_empty() {
            return Err(NimError::EmptyQuery);
        }
        if self.facts.task.is_some_and(|task| task != Task::Ranking) {
            return Err(ConfigFault::WrongTask { service: "ranking" }.into());
        }
        if passages.iter().any(|passage| passage.image().is_some()) {
            if self.facts.images == Some(false) {
                return Err(ConfigFault::TextOnly.into());
            }
            if self.api() != Api::Nim {
                let (api, setting) = (self.api().name(), "images");
                return Err(ConfigFault::Unsupported { api, setting }.into());
            }
        }
        match passages.iter().position(|passage| passage.is_empty()) {
            Some(index) => Err(NimError::EmptyInput { index }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RankingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RankingModel")
            .field("model", &self.model)
            .field("api", &self.api())
            .field("truncate", &self.truncate)
            .field("batch_size", &self.limits.items)
            .field("nim", &self.nim)
            .finish_non_exhaustive()
    }
}

/// Best first; equal scores in the caller's order.
pub(super) fn best_first(a: &Ranked, b: &Ranked) -> Ordering {
    let by_logit = b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal);
    by_logit.then(a.index.cmp(&b.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_is_the_logistic_function_and_never_leaves_its_range() {
        let relevance = |logit| Ranked { index: 0, logit, is_logit: true }.relevance();
        assert_eq!(relevance(0.0), 0.5);
        assert!((relevance(2.0) - 0.880_797).abs() < 1e-6);
        assert_eq!(relevance(f32::MAX), 1.0);
        assert_eq!(relevance(f32::MIN), 0.0);
        assert_eq!(Ranked { index: 0, logit: 0.25, is_logit: false }.relevance(), 0.25);
    }

    #[test]
    fn equal_logits_keep_the_callers_order() {
        let mut scores: Vec<Ranked> = [(2, -0.0), (1, 0.0), (0, -1.0), (3, 5.0)]
            .map(|(index, logit)| Ranked { index, logit, is_logit: true })
            .to_vec();
        scores.sort_by(best_first);
        assert_eq!(scores.iter().map(|s| s.index).collect::<Vec<_>>(), [3, 1, 2, 0]);
    }

    #[test]
    fn further_fields_are_in_the_cache_key_and_without_them_it_stays_as_it_was() {
        let nim = Nim::builder().base_url("http://localhost:8000").build().expect("a client");
        let model = nim.reranker("my/model");
        assert_eq!(model.cache_key(), "nim truncate=End my/model");
        let told = model.clone().extra("truncate_prompt_tokens", 512);
        let key = r#"nim extra={"truncate_prompt_tokens":512} truncate=End my/model"#;
        assert_eq!(told.cache_key(), key);
        assert_ne!(model.extra("truncate_prompt_tokens", 256).cache_key(), key);
        // The name of a model may read like a further field.
        let posing = nim.reranker(r#"extra={"truncate_prompt_tokens":512} my/model"#);
        assert_ne!(posing.cache_key(), key);
    }
}
