//! Embeddings: texts in, checked vectors out, in the caller's order. Not ranking, not storage.
//! Layer: top of `nim`, next to `rank`. Endpoint: `POST {base}/embeddings`, NeMo Retriever NIM.

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::answer::{Usage, add_tokens, other_model, place};
use super::batch::BatchPlan;
use super::client::{CallOptions, Nim};
use super::endpoint::Target;
use super::error::{ConfigFault, NimError, ResponseFault};
use super::reply::Failure;
use super::transport::{Tally, invalid};

/// Inputs per request unless set.
const BATCH_SIZE: usize = 50;
/// Characters per request unless set: time and memory of a server follow text, not count.
const BATCH_CHARS: usize = 128_000;
/// Length assumed for an answer's size limit when none was asked for; no served model is longer.
const LONGEST_VECTOR: u64 = 16_384;
/// Bytes allowed per number of an answer, and for all that is not numbers.
const NUMBER_BYTES: u64 = 32;
const FRAME_BYTES: u64 = 64 << 10;
/// No answer may be larger, whatever was asked for.
const ANSWER_LIMIT: u64 = 64 << 20;

/// What a text is to the model. Asymmetric models place queries and passages differently, so this
/// is a parameter of each call and never a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// A search query.
    Query,
    /// A text to be found.
    Passage,
}

/// What the server does with a text longer than its model allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Truncate {
    /// Refuse it; the call fails with [`NimError::InputTooLong`].
    #[default]
    None,
    /// Drop its start.
    Start,
    /// Drop its end.
    End,
}

/// Vectors of one call and what they cost.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Embeddings {
    /// One vector per text, in the caller's order, all of one length, finite and not zero. Whether
    /// they have unit length is up to the model.
    pub vectors: Vec<Vec<f32>>,
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

/// An embedding model of a NIM. Cheap to clone; holds no state that a call changes.
#[derive(Clone)]
#[must_use]
pub struct EmbeddingModel {
    nim: Nim,
    model: String,
    dimensions: Option<u32>,
    truncate: Truncate,
    batch_size: usize,
    batch_chars: usize,
    text_modality: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    input_type: InputType,
    encoding_format: &'static str,
    truncate: Truncate,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modality: Option<&'static str>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Item {
    index: serde_json::Number,
    embedding: Vec<f32>,
}

impl EmbeddingModel {
    pub(super) fn new(nim: Nim, model: String) -> Self {
        Self {
            nim,
            model,
            dimensions: None,
            truncate: Truncate::None,
            batch_size: BATCH_SIZE,
            batch_chars: BATCH_CHARS,
            text_modality: false,
        }
    }

    /// Asks for vectors of this length; for Matryoshka models only, others refuse the field.
    pub fn dimensions(mut self, dimensions: Option<u32>) -> Self {
        self.dimensions = dimensions;
        self
    }

    /// What happens to texts that are too long; [`Truncate::None`] unless set.
    pub fn truncate(mut self, truncate: Truncate) -> Self {
        self.truncate = truncate;
        self
    }

    /// Most texts per request, at least 1; 50 unless set.
    pub fn batch_size(mut self, texts: usize) -> Self {
        self.batch_size = texts.max(1);
        self
    }

    /// Most characters per request, unless one text alone is longer; 128,000 unless set.
    pub fn batch_chars(mut self, chars: usize) -> Self {
        self.batch_chars = chars;
        self
    }

    /// Says in each request that the inputs are text. Models that also read images would otherwise
    /// take a text that contains `data:image/...` for one; other models may refuse the field.
    pub fn text_modality(mut self, declare: bool) -> Self {
        self.text_modality = declare;
        self
    }

    /// Name of the model, as sent.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Embeds `texts`, all in the same role. An empty slice costs no request.
    ///
    /// Requests go out one after the other. A request refused for its size is cut in halves.
    /// All or nothing: to keep finished parts of a long list, call once per part.
    ///
    /// # Errors
    ///
    /// [`NimError::EmptyInput`] before any request, [`NimError::InputTooLong`] with the position in
    /// `texts`, [`NimError::InvalidResponse`] when the vectors are not one per text, finite, not
    /// zero and of one length (the one asked for, if any), and any other [`NimError`].
    pub async fn embed(&self, texts: &[&str], role: InputType) -> Result<Embeddings, NimError> {
        self.embed_with(texts, role, CallOptions::new()).await
    }

    /// As [`embed`](Self::embed), with a deadline.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed), and [`NimError::DeadlineExceeded`].
    pub async fn embed_with(
        &self,
        texts: &[&str],
        role: InputType,
        options: CallOptions,
    ) -> Result<Embeddings, NimError> {
        if self.dimensions == Some(0) {
            return Err(ConfigFault::ZeroDimensions.into());
        }
        if let Some(index) = texts.iter().position(|text| text.is_empty()) {
            return Err(NimError::EmptyInput { index });
        }
        let target = self.nim.embed_endpoint().target(&self.model)?;
        if texts.is_empty() {
            return Ok(Embeddings::default());
        }
        options.bound(self.run(&target, texts, role, options.latest())).await
    }

    async fn run(
        &self,
        target: &Target,
        texts: &[&str],
        role: InputType,
        deadline: Option<Instant>,
    ) -> Result<Embeddings, NimError> {
        let mut plan = BatchPlan::new(texts, self.batch_size, self.batch_chars);
        let mut tally = Tally::default();
        let mut tokens = Some(0_u64);
        let mut found = Embeddings::default();
        while let Some(range) = plan.next_range() {
            let part = texts.get(range.clone()).unwrap_or_default();
            let limit = answer_limit(part.len(), self.expected_length(&found));
            let request = self.request(part, role);
            let sent = self.nim.transport().post(target, &request, limit, deadline, &mut tally);
            let answer: Answer = match sent.await {
                Ok(answer) => answer,
                Err(Failure::TooLarge(large)) => {
                    plan.shrink(range, large)?;
                    continue;
                }
                Err(Failure::Other(error)) => return Err(error),
            };
            tokens = add_tokens(tokens, answer.usage.as_ref());
            let other = other_model(self.nim.transport(), &self.model, answer.model.as_deref());
            found.served_model = other.or(found.served_model);
            let vectors = checked(answer.data, range, self.expected_length(&found))
                .map_err(|what| invalid(target, what))?;
            found.vectors.extend(vectors);
        }
        found.prompt_tokens = tokens;
        found.requests = tally.requests;
        found.retries = tally.retries;
        Ok(found)
    }

    fn request<'a>(&'a self, input: &'a [&'a str], input_type: InputType) -> Request<'a> {
        Request {
            model: &self.model,
            input,
            input_type,
            encoding_format: "float",
            truncate: self.truncate,
            dimensions: self.dimensions,
            modality: self.text_modality.then_some("text"),
        }
    }

    fn expected_length(&self, found: &Embeddings) -> Option<usize> {
        let asked = self.dimensions.and_then(|length| usize::try_from(length).ok());
        asked.or_else(|| found.vectors.first().map(Vec::len))
    }
}

impl fmt::Debug for EmbeddingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingModel")
            .field("model", &self.model)
            .field("dimensions", &self.dimensions)
            .field("truncate", &self.truncate)
            .field("nim", &self.nim)
            .finish_non_exhaustive()
    }
}

fn answer_limit(texts: usize, length: Option<usize>) -> u64 {
    let texts = u64::try_from(texts).unwrap_or(u64::MAX);
    let length = length.and_then(|l| u64::try_from(l).ok()).unwrap_or(LONGEST_VECTOR);
    let numbers = texts.saturating_mul(length).saturating_mul(NUMBER_BYTES);
    numbers.saturating_add(FRAME_BYTES).min(ANSWER_LIMIT)
}

/// The vectors of the inputs in `range`, in their order, each checked.
fn checked(
    items: Vec<Item>,
    range: Range<usize>,
    expected: Option<usize>,
) -> Result<Vec<Vec<f32>>, ResponseFault> {
    let start = range.start;
    let vectors = place(items.into_iter().map(|item| (item.index, item.embedding)), &range)?;
    let mut expected = expected;
    for (offset, vector) in vectors.iter().enumerate() {
        let index = start.saturating_add(offset);
        let expected = *expected.get_or_insert(vector.len());
        if vector.len() != expected {
            return Err(ResponseFault::Dimensions { index, expected, found: vector.len() });
        }
        // Numbers beyond single precision have become infinite while they were parsed.
        if vector.iter().any(|x| !x.is_finite()) {
            return Err(ResponseFault::NotFinite { index });
        }
        if vector.iter().all(|x| *x == 0.0) {
            return Err(ResponseFault::ZeroVector { index });
        }
    }
    Ok(vectors)
}
