//! The embedding call: inputs in, checked vectors out, in the caller's order. How the answers of
//! its requests become one is in `collect`. Layer: top of `nim`, above `embed`, `lane` and `wire`.

mod collect;

use std::ops::Range;
use std::time::Instant;

use super::answer::{other_model, place};
use super::api::Api;
use super::client::CallOptions;
use super::components::{Component, norm};
use super::distinct::Distinct;
use super::embed::{EmbeddingModel, EmbeddingType, Encoding, InputType, Truncate};
use super::error::{NimError, Reply};
use super::exchange::Got;
use super::fault::ResponseFault;
use super::input::Input;
use super::meter::{CallCost, Spent, total};
use super::reply::Failure;
use super::target::Target;
use super::transport::{Tally, invalid};
use super::wire::nim::Modality;
use super::wire::{EmbedBody, Vectors, nim, ollama, openai, scan, tei};

/// Length assumed for an answer's size limit when none was asked for; no served model is longer.
const LONGEST_VECTOR: u64 = 16_384;
/// Bytes allowed per number of an answer, and for all that is not numbers.
const NUMBER_BYTES: u64 = 32;
const FRAME_BYTES: u64 = 64 << 10;
/// No answer may be larger, whatever was asked for.
const ANSWER_LIMIT: u64 = 64 << 20;

/// Vectors of one call and what they cost.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Embeddings {
    /// One vector per input, in the caller's order, all of one length, finite and not zero. Whether
    /// they have unit length is up to the model, unless
    /// [`normalize`](EmbeddingModel::normalize) is set.
    pub vectors: Vec<Vec<f32>>,
    /// Norms of the vectors as the server gave them; none without vectors.
    pub norms: Option<Norms>,
    /// Inputs whose estimated tokens exceed what the model is known to read: likely cut, where the
    /// call did not fail.
    pub likely_truncated: usize,
    /// Tokens read by the server, when every answer told.
    pub prompt_tokens: Option<u64>,
    /// What the call took: requests, retries, bytes, time.
    pub cost: CallCost,
    /// Model that the server says has answered, when it is not the one asked for. Letter case and a
    /// missing organization prefix make no difference.
    pub served_model: Option<String>,
}

/// Smallest and largest Euclidean length of some vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Norms {
    /// Of the shortest vector.
    pub min: f64,
    /// Of the longest vector.
    pub max: f64,
}

impl Norms {
    /// Whether all are 1 within a thousandth, the error of vectors that traveled as decimals.
    #[must_use]
    pub fn are_unit(&self) -> bool {
        self.min > 0.999 && self.max < 1.001
    }

    fn one(length: f64) -> Self {
        Self { min: length, max: length }
    }

    fn both(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Self { min: a.min.min(b.min), max: a.max.max(b.max) }),
            (a, b) => a.or(b),
        }
    }
}

/// Quantized vectors of one call and what they cost.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QuantizedEmbeddings {
    /// One vector per input, in the caller's order, all of one length.
    pub vectors: QuantizedVectors,
    /// Tokens read by the server, when every answer told.
    pub prompt_tokens: Option<u64>,
    /// What the call took: requests, retries, bytes, time.
    pub cost: CallCost,
    /// Model that the server says has answered, when it is not the one asked for.
    pub served_model: Option<String>,
}

/// Vectors of small numbers. How they were made from floats is up to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantizedVectors {
    /// One number per dimension.
    Int8(Vec<Vec<i8>>),
    /// One number per dimension.
    Uint8(Vec<Vec<u8>>),
    /// Eight dimensions per number. NVIDIA does not document the order of the bits.
    Binary(Vec<Vec<i8>>),
    /// As [`Binary`](Self::Binary), unsigned.
    Ubinary(Vec<Vec<u8>>),
}

/// How to quantize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// Integers from -128 to 127.
    Int8,
    /// Integers from 0 to 255.
    Uint8,
    /// Bits, eight to a signed byte.
    Binary,
    /// Bits, eight to an unsigned byte.
    Ubinary,
}

impl EmbeddingModel {
    /// Embeds `texts`, all in the same role. An empty slice costs no request.
    ///
    /// Equal texts are sent once. Requests go out side by side, up to
    /// [`concurrency`](Self::concurrency); one refused for its size is cut in halves. One that
    /// times out fails the call, and later requests are half as large until the server keeps up.
    /// All or nothing: to keep finished parts of a long list, call once per part.
    ///
    /// # Errors
    ///
    /// [`NimError::EmptyInput`] and [`NimError::Config`] before any request,
    /// [`NimError::InputTooLong`] with the position in `texts`, [`NimError::InvalidResponse`] when
    /// the vectors are not one per text, finite, not zero and of one length (the one asked for, if
    /// any), and any other [`NimError`]. The first failure ends the requests beside it.
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
        self.embed_counted(texts, role, options, &mut CallCost::default()).await
    }

    /// As [`embed_with`](Self::embed_with); tells what it took even when it fails.
    pub(crate) async fn embed_counted(
        &self,
        texts: &[&str],
        role: InputType,
        options: CallOptions,
        spent: &mut CallCost,
    ) -> Result<Embeddings, NimError> {
        let inputs: Vec<Input<'_>> = texts.iter().map(|text| Input::Text(text)).collect();
        let counter = Spent::default();
        let found = self.embed_all(&inputs, role, options, &counter).await;
        *spent = total(counter);
        found
    }

    /// As [`embed_with`](Self::embed_with), for texts and images. An image alone can only be a
    /// passage.
    ///
    /// # Errors
    ///
    /// As [`embed_with`](Self::embed_with).
    pub async fn embed_inputs(
        &self,
        inputs: &[Input<'_>],
        role: InputType,
        options: CallOptions,
    ) -> Result<Embeddings, NimError> {
        self.embed_all(inputs, role, options, &Spent::default()).await
    }

    async fn embed_all(
        &self,
        inputs: &[Input<'_>],
        role: InputType,
        options: CallOptions,
        spent: &Spent,
    ) -> Result<Embeddings, NimError> {
        let found = self.call::<f32>(inputs, role, None, options, spent).await?;
        Ok(self.embeddings(found))
    }

    fn embeddings(&self, mut found: Found<f32>) -> Embeddings {
        if self.normalize {
            for vector in &mut found.vectors {
                let length = norm(vector);
                vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
            }
        }
        Embeddings {
            vectors: found.vectors,
            norms: found.norms,
            likely_truncated: found.over_limit,
            prompt_tokens: found.tokens,
            cost: found.tally,
            served_model: found.served_model,
        }
    }

    /// As [`embed_inputs`](Self::embed_inputs), with vectors quantized by the server; for NIMs
    /// and models that offer it.
    ///
    /// # Errors
    ///
    /// As [`embed_inputs`](Self::embed_inputs); [`ConfigFault::EmbeddingType`] for a model known
    /// not to offer it.
    ///
    /// [`ConfigFault::EmbeddingType`]: super::ConfigFault::EmbeddingType
    pub async fn embed_quantized(
        &self,
        inputs: &[Input<'_>],
        role: InputType,
        quantization: Quantization,
        options: CallOptions,
    ) -> Result<QuantizedEmbeddings, NimError> {
        use QuantizedVectors as To;
        let spent = &Spent::default();
        match quantization {
            Quantization::Int8 => {
                let found =
                    self.call(inputs, role, Some(EmbeddingType::Int8), options, spent).await?;
                Ok(found.quantized(To::Int8))
            }
            Quantization::Uint8 => {
                let found =
                    self.call(inputs, role, Some(EmbeddingType::Uint8), options, spent).await?;
                Ok(found.quantized(To::Uint8))
            }
            Quantization::Binary => {
                let found =
                    self.call(inputs, role, Some(EmbeddingType::Binary), options, spent).await?;
                Ok(found.quantized(To::Binary))
            }
            Quantization::Ubinary => {
                let found =
                    self.call(inputs, role, Some(EmbeddingType::Ubinary), options, spent).await?;
                Ok(found.quantized(To::Ubinary))
            }
        }
    }

    async fn call<T: Component>(
        &self,
        inputs: &[Input<'_>],
        role: InputType,
        kind: Option<EmbeddingType>,
        options: CallOptions,
        spent: &Spent,
    ) -> Result<Found<T>, NimError> {
        let call = self.prepared(inputs, role, kind, options, spent)?;
        options.bound(call.run()).await
    }

    fn prepared<'a>(
        &'a self,
        inputs: &[Input<'a>],
        role: InputType,
        kind: Option<EmbeddingType>,
        options: CallOptions,
        spent: &'a Spent,
    ) -> Result<Call<'a>, NimError> {
        self.check(inputs, role, kind)?;
        let target = self.nim.embed_endpoint().target(&self.model)?;
        let deadline = options.latest();
        let distinct = Distinct::of(inputs);
        Ok(Call { model: self, target, role, kind, deadline, distinct, spent })
    }
}

/// One call.
struct Call<'a> {
    model: &'a EmbeddingModel,
    target: Target,
    role: InputType,
    kind: Option<EmbeddingType>,
    deadline: Option<Instant>,
    distinct: Distinct<'a>,
    spent: &'a Spent,
}

/// Whether a refusal says that vectors cannot travel as base64.
fn refuses_base64(reply: &Reply) -> bool {
    let names = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("encoding_format") || text.contains("base64")
    };
    matches!(reply.status, 400 | 422) && (names(&reply.message) || names(&reply.raw))
}

/// The answer to one request.
struct Part<T> {
    vectors: Vec<Vec<T>>,
    norms: Option<Norms>,
    tokens: Option<u64>,
    served_model: Option<String>,
    /// The server's name of the request.
    request_id: Option<String>,
}

/// What a call found.
struct Found<T> {
    vectors: Vec<Vec<T>>,
    norms: Option<Norms>,
    over_limit: usize,
    tokens: Option<u64>,
    served_model: Option<String>,
    tally: Tally,
}

impl<T> Found<T> {
    fn quantized(self, to: impl Fn(Vec<Vec<T>>) -> QuantizedVectors) -> QuantizedEmbeddings {
        QuantizedEmbeddings {
            vectors: to(self.vectors),
            prompt_tokens: self.tokens,
            cost: self.tally,
            served_model: self.served_model,
        }
    }
}

impl Call<'_> {
    /// The vectors of an answer in the order of its inputs, checked.
    fn read<T: Component>(&self, range: &Range<usize>, got: Got) -> Result<Part<T>, Failure> {
        let request_id = got.request_id();
        let answer: Vectors<T> = self.parse(got)?;
        let transport = self.model.nim.transport();
        let named = answer.model.as_deref();
        let served_model = other_model(transport, &self.model.model, named);
        let name = |place: usize| self.distinct.name(range.start.saturating_add(place));
        let wrong = |what| invalid(&self.target, what).of_request(request_id.as_deref());
        let vectors = place(answer.items, range.len(), name).map_err(wrong)?;
        let mut norms = None;
        let decoded = vectors.into_iter().enumerate().map(|(place, numbers)| {
            let index = name(place);
            let vector: Vec<T> = numbers.decode().ok_or(ResponseFault::Base64 { index })?;
            let length = T::measure(&vector, index)?;
            self.check_length(vector.len(), index)?;
            self.check_bits(vector.len(), index)?;
            norms = Norms::both(norms, length.map(Norms::one));
            Ok(vector)
        });
        let vectors = decoded.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        Ok(Part { vectors, norms, tokens: answer.tokens, served_model, request_id })
    }

    /// Asks for base64 unless told otherwise; a server that refuses it is asked for numbers, from
    /// then on at once.
    async fn ask(&self, range: Range<usize>, tally: &mut Tally) -> Result<Got, Failure> {
        let inputs = self.distinct.inputs.get(range).unwrap_or_default();
        let encoding = self.model.sent_encoding(self.kind);
        match self.post(inputs, encoding, tally).await {
            Err(Failure::Other(NimError::BadRequest(reply)))
                if encoding != self.model.encoding && refuses_base64(&reply) =>
            {
                self.model.send_floats();
                self.post(inputs, Encoding::Float, tally).await
            }
            answer => answer,
        }
    }

    async fn post(
        &self,
        inputs: &[Input<'_>],
        encoding: Encoding,
        tally: &mut Tally,
    ) -> Result<Got, Failure> {
        let body = self.body(inputs, encoding).write(&self.model.extra);
        let limit = self.answer_limit(inputs.len());
        let transport = self.model.nim.transport();
        transport.fetch(&self.target, body, limit, self.deadline, tally).await
    }

    fn parse<T: Component>(&self, got: Got) -> Result<Vectors<T>, Failure> {
        let (transport, target) = (self.model.nim.transport(), &self.target);
        Ok(match self.model.api() {
            Api::Tei => transport.whole::<tei::EmbedAnswer<T>>(target, got)?.into(),
            Api::Ollama => transport.whole::<ollama::EmbedAnswer<T>>(target, got)?.into(),
            Api::Nim | Api::OpenAi | Api::Cohere => {
                if let Got::Whole(answer) = &got
                    && let Some(found) = scan::vectors(&answer.body)
                {
                    return Ok(found);
                }
                transport.whole::<openai::EmbedAnswer<T>>(target, got)?.into()
            }
        })
    }

    fn body<'b>(&'b self, inputs: &[Input<'b>], encoding_format: Encoding) -> EmbedBody<'b> {
        let model = self.model;
        let prefix = model.prefix(self.role);
        let input = inputs.iter().map(|input| input.as_string(prefix)).collect();
        match model.api() {
            Api::Tei => EmbedBody::Tei(tei::EmbedRequest::new(input, model.truncate)),
            Api::Ollama => EmbedBody::Ollama(ollama::EmbedRequest {
                model: &model.model,
                input,
                truncate: model.truncate != Truncate::None,
            }),
            Api::OpenAi | Api::Cohere => EmbedBody::OpenAi(openai::EmbedRequest {
                model: &model.model,
                input,
                encoding_format,
                dimensions: model.dimensions,
            }),
            Api::Nim => EmbedBody::Nim(nim::EmbedRequest {
                model: &model.model,
                input,
                input_type: model.sends_input_type().then_some(self.role),
                encoding_format,
                embedding_type: self.kind,
                truncate: model.truncate,
                dimensions: model.sent_dimensions(),
                modality: model.sends_modality(inputs).then(|| Modality::of(inputs)),
            }),
        }
    }

    /// Numbers that a vector must have, where a length was asked for.
    fn length(&self) -> Option<usize> {
        let asked = usize::try_from(self.model.dimensions?).ok()?;
        match self.kind {
            Some(EmbeddingType::Binary | EmbeddingType::Ubinary) => Some(asked.div_ceil(8)),
            _ => Some(asked),
        }
    }

    /// Refuses another length than was asked for.
    fn check_length(&self, found: usize, index: usize) -> Result<(), ResponseFault> {
        match self.length() {
            Some(expected) if expected != found => {
                Err(ResponseFault::Dimensions { index, expected, found })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a number a dimension where eight dimensions a number were asked for.
    fn check_bits(&self, found: usize, index: usize) -> Result<(), ResponseFault> {
        let is_bits = matches!(self.kind, Some(EmbeddingType::Binary | EmbeddingType::Ubinary));
        let length = self.model.dimensions.or(self.model.facts.dimensions);
        let length = length.and_then(|length| usize::try_from(length).ok());
        match length.filter(|length| is_bits && found == *length && found > 8) {
            Some(length) => {
                Err(ResponseFault::Dimensions { index, expected: length.div_ceil(8), found })
            }
            None => Ok(()),
        }
    }

    fn answer_limit(&self, inputs: usize) -> u64 {
        let inputs = u64::try_from(inputs).unwrap_or(u64::MAX);
        let length = self.model.dimensions.map_or(LONGEST_VECTOR, u64::from);
        let numbers = inputs.saturating_mul(length);
        numbers.saturating_mul(NUMBER_BYTES).saturating_add(FRAME_BYTES).min(ANSWER_LIMIT)
    }
}
