//! Embedding models as a user sets them up: what is asked for, and what is known before asking.
//! Not the call (see `embed_call`), ranking or storage. Layer: top of `nim`, next to `rank`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::Value;

use super::api::Api;
use super::batch::Limits;
use super::client::Nim;
use super::error::NimError;
use super::extra::Extra;
use super::fault::ConfigFault;
use super::input::Input;
use super::lane::{HOSTED_WIDTH, LOCAL_WIDTH, Lane};
use super::models::{ModelFacts, Task, sent_name};
use super::spans;

/// Inputs per request unless set.
const BATCH_SIZE: usize = 50;
/// The same for TEI, whose own default is the most that it takes.
const BATCH_SIZE_TEI: usize = 32;
/// Characters and tokens per request unless set: time and memory of a server follow text, not
/// count.
const BATCH_CHARS: usize = 128_000;
const BATCH_TOKENS: usize = 32_000;
/// Images per request unless set, as NVIDIA's own ingest sends them.
const BATCH_IMAGES: usize = 4;
/// Bytes of inputs per request: the hosted catalog takes bodies of 5 MB.
pub(super) const BATCH_BYTES: usize = 4_800_000;

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

/// What the server does with a text longer than its model allows. Ollama knows no `Start`; servers
/// of the `OpenAI` family take no such setting and do as they are configured.
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

/// How vectors travel. Answers are read in either form, whichever was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Base64 of floats where the server's family knows it (NIM, `OpenAI`); numbers from a server
    /// that refuses it, once it has, and for quantized vectors.
    #[default]
    #[serde(rename = "float")]
    Auto,
    /// JSON numbers: understood by every server, 8 to 20 bytes a number.
    Float,
    /// Base64 of little-endian binary numbers: 5.3 bytes for a float, and exact. Servers with a
    /// route of their own (TEI, Ollama) have no such choice and send JSON numbers.
    Base64,
}

/// Type of the numbers of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingType {
    /// 32-bit floats.
    Float,
    /// Integers from -128 to 127.
    Int8,
    /// Integers from 0 to 255.
    Uint8,
    /// Bits, eight to a signed byte.
    Binary,
    /// Bits, eight to an unsigned byte.
    Ubinary,
}

/// An embedding model of a server. Cheap to clone. Clones share the bound on requests in flight
/// and what the server was seen to take: batch sizes, base64; no call leaves anything else behind.
#[derive(Clone)]
#[must_use]
pub struct EmbeddingModel {
    pub(super) nim: Nim,
    pub(super) model: String,
    pub(super) facts: ModelFacts,
    pub(super) dimensions: Option<u32>,
    pub(super) truncate: Truncate,
    pub(super) encoding: Encoding,
    /// Whether the server was seen to refuse base64.
    floats_only: Arc<AtomicBool>,
    pub(super) limits: Limits,
    pub(super) normalize: bool,
    pub(super) lane: Arc<Lane>,
    text_modality: bool,
    prefixes: Option<(String, String)>,
    pub(super) extra: Extra,
}

/// The name that a server is sent for a model, and what is known of it. Tells a subscriber where
/// the user should know something, too.
pub(super) fn looked_up(api: Api, model: &str) -> (String, ModelFacts) {
    let facts = ModelFacts::of(model);
    let sent = model.to_owned();
    let sent = if api == Api::Nim { sent_name(sent) } else { sent };
    spans::named(model, &sent, facts);
    (sent, facts)
}

impl EmbeddingModel {
    pub(super) fn new(nim: Nim, model: String) -> Self {
        let endpoint = nim.embed_endpoint();
        let api = endpoint.api();
        let width = if endpoint.is_hosted() { HOSTED_WIDTH } else { LOCAL_WIDTH };
        let limits = Limits {
            items: if api == Api::Tei { BATCH_SIZE_TEI } else { BATCH_SIZE },
            chars: BATCH_CHARS,
            tokens: BATCH_TOKENS,
            bytes: BATCH_BYTES,
            images: BATCH_IMAGES,
        };
        let (model, facts) = looked_up(api, &model);
        Self {
            model,
            facts,
            dimensions: None,
            truncate: Truncate::None,
            encoding: Encoding::Auto,
            floats_only: Arc::default(),
            limits,
            normalize: false,
            lane: Arc::new(Lane::new(width)),
            text_modality: false,
            prefixes: None,
            extra: Extra::default(),
            nim,
        }
    }

    /// Asks for vectors of this length; for Matryoshka models only, others refuse the field. The
    /// field is left out where it asks for the only length that the model has.
    pub fn dimensions(mut self, dimensions: Option<u32>) -> Self {
        self.dimensions = dimensions;
        self
    }

    /// What happens to texts that are too long; [`Truncate::None`] unless set.
    pub fn truncate(mut self, truncate: Truncate) -> Self {
        self.truncate = truncate;
        self
    }

    /// How vectors travel; [`Encoding::Auto`] unless set.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Scales each vector to unit length after its norm was taken. Off unless set.
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }

    /// Texts to put in front of queries and passages, for models that tell them apart by prefix on
    /// servers that add none. The request then names no input type. Servers other than NIMs get
    /// the prefixes of [`ModelFacts`] where the model has some; two empty texts send none.
    pub fn prefixes(mut self, query: impl Into<String>, passage: impl Into<String>) -> Self {
        self.prefixes = Some((query.into(), passage.into()));
        self
    }

    /// What is known of the model, instead of what the table says. With [`ModelFacts::unknown`]
    /// everything is sent as asked.
    pub fn facts(mut self, facts: ModelFacts) -> Self {
        self.facts = facts;
        self
    }

    /// Most inputs per request, at least 1; 50 unless set, 32 for TEI.
    pub fn batch_size(mut self, inputs: usize) -> Self {
        self.limits.items = inputs.max(1);
        self
    }

    /// Most characters per request, unless one text alone is longer; 128,000 unless set.
    pub fn batch_chars(mut self, chars: usize) -> Self {
        self.limits.chars = chars;
        self
    }

    /// Most tokens per request, estimated at four ASCII characters or one other character each,
    /// unless one text alone has more; 32,000 unless set.
    pub fn batch_tokens(mut self, tokens: usize) -> Self {
        self.limits.tokens = tokens;
        self
    }

    /// Most images per request, at least 1; 4 unless set.
    pub fn batch_images(mut self, images: usize) -> Self {
        self.limits.images = images.max(1);
        self
    }

    /// Most requests in flight, at least 1, over all calls of this model and its later clones;
    /// unless set 4 at the hosted catalog and 8 elsewhere.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.lane = Arc::new(Lane::new(requests));
        self
    }

    /// Says in each request that the inputs are text, as is always done for models known to read
    /// images: they would otherwise take a text that contains `data:image/...` for one. Other
    /// models may refuse the field.
    pub fn text_modality(mut self, declare: bool) -> Self {
        self.text_modality = declare;
        self
    }

    /// A field of each request that has no method here, such as `user` of NIMs,
    /// `truncate_prompt_tokens` of vLLM, `prompt_name` of TEI, or `options` and `keep_alive` of
    /// Ollama. Fields that the client writes win. Queries and passages get the same field: where
    /// it has to differ, each role takes a model of its own.
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

    /// Most inputs per request, as set.
    #[must_use]
    pub fn texts_per_request(&self) -> usize {
        self.limits.items
    }

    /// What is put in front of queries and of passages, if anything is.
    #[must_use]
    pub fn role_prefixes(&self) -> Option<(&str, &str)> {
        let known = || self.facts.prefixes.filter(|_| self.api() != Api::Nim);
        let set = self.prefixes.as_ref().map(|(query, passage)| (query.as_str(), passage.as_str()));
        set.or_else(known).filter(|pair| *pair != ("", ""))
    }

    /// Whether requests name an input type: those to NIMs do, unless prefixes are set or the model
    /// is known to be symmetric.
    #[must_use]
    pub fn sends_input_type(&self) -> bool {
        self.api() == Api::Nim && self.prefixes.is_none() && !self.facts.symmetric
    }

    /// All that decides on a vector but text, role, prefixes and dimensions. The name of the model
    /// comes last, so that no two settings read alike.
    pub(crate) fn cache_key(&self) -> String {
        let (api, truncate, normalize) = (self.api().name(), self.truncate, self.normalize);
        let extra = self.extra.key();
        let modality = if self.text_modality { " modality" } else { "" };
        format!("{api}{extra}{modality} truncate={truncate:?} normalize={normalize} {}", self.model)
    }

    pub(super) fn api(&self) -> Api {
        self.nim.embed_endpoint().api()
    }

    pub(super) fn prefix(&self, role: InputType) -> &str {
        match (self.role_prefixes(), role) {
            (Some((query, _)), InputType::Query) => query,
            (Some((_, passage)), InputType::Passage) => passage,
            (None, _) => "",
        }
    }

    /// Whether the request says what its inputs are: always for models that read images.
    pub(super) fn sends_modality(&self, inputs: &[Input<'_>]) -> bool {
        self.text_modality
            || self.facts.images == Some(true)
            || inputs.iter().any(|input| input.image().is_some())
    }

    /// The field `dimensions`, unless it would ask a model of fixed length for that length.
    pub(super) fn sent_dimensions(&self) -> Option<u32> {
        let is_only =
            self.facts.reducible == Some(false) && self.facts.dimensions == self.dimensions;
        self.dimensions.filter(|_| !is_only)
    }

    /// What the field `encoding_format` says.
    pub(super) fn sent_encoding(&self, kind: Option<EmbeddingType>) -> Encoding {
        let is_known = matches!(self.api(), Api::Nim | Api::OpenAi) && kind.is_none();
        match self.encoding {
            Encoding::Auto if is_known && !self.floats_only.load(Ordering::Relaxed) => {
                Encoding::Base64
            }
            Encoding::Auto => Encoding::Float,
            told => told,
        }
    }

    /// From now on, unless told otherwise.
    pub(super) fn send_floats(&self) {
        self.floats_only.store(true, Ordering::Relaxed);
    }

    /// Refuses what the server would refuse.
    pub(super) fn check(
        &self,
        inputs: &[Input<'_>],
        role: InputType,
        kind: Option<EmbeddingType>,
    ) -> Result<(), NimError> {
        if self.dimensions == Some(0) {
            return Err(ConfigFault::ZeroDimensions.into());
        }
        self.check_facts(inputs, kind)?;
        self.check_api(inputs, kind)?;
        if let Some(index) = inputs.iter().position(|input| input.is_empty()) {
            return Err(NimError::EmptyInput { index });
        }
        // NIMs encode an image as a passage only.
        let is_image_query = |input: &Input<'_>| input.image().is_some() && input.text().is_none();
        if role == InputType::Query && inputs.iter().any(is_image_query) {
            return Err(ConfigFault::ImageAsQuery.into());
        }
        Ok(())
    }

    fn check_facts(
        &self,
        inputs: &[Input<'_>],
        kind: Option<EmbeddingType>,
    ) -> Result<(), ConfigFault> {
        let facts = &self.facts;
        if facts.task.is_some_and(|task| task != Task::Embedding) {
            return Err(ConfigFault::WrongTask { service: "embeddings" });
        }
        match (self.sent_dimensions(), facts.dimensions, facts.reducible) {
            (Some(_), served, Some(false)) => {
                return Err(ConfigFault::FixedDimensions { served });
            }
            (Some(asked), Some(longest), _) if asked > longest => {
                return Err(ConfigFault::TooManyDimensions { asked, longest });
            }
            _ => {}
        }
        let types = facts.embedding_types.unwrap_or_default();
        if kind.is_some_and(|kind| !types.is_empty() && !types.contains(&kind)) {
            return Err(ConfigFault::EmbeddingType);
        }
        if facts.images == Some(false) && inputs.iter().any(|input| input.image().is_some()) {
            return Err(ConfigFault::TextOnly);
        }
        Ok(())
    }

    fn check_api(
        &self,
        inputs: &[Input<'_>],
        kind: Option<EmbeddingType>,
    ) -> Result<(), ConfigFault> {
        let api = self.api();
        let setting = match api {
            Api::Nim => return Ok(()),
            _ if inputs.iter().any(|input| input.image().is_some()) => "images",
            _ if kind.is_some() => "embedding types",
            Api::Tei | Api::Ollama if self.dimensions.is_some() => "dimensions",
            Api::Ollama if self.truncate == Truncate::Start => "truncation at the start",
            _ => return Ok(()),
        };
        Err(ConfigFault::Unsupported { api: api.name(), setting })
    }
}

impl fmt::Debug for EmbeddingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingModel")
            .field("model", &self.model)
            .field("api", &self.api())
            .field("dimensions", &self.dimensions)
            .field("truncate", &self.truncate)
            .field("nim", &self.nim)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn further_fields_are_in_the_cache_key_and_without_them_it_stays_as_it_was() {
        let nim = Nim::builder().base_url("http://localhost:8000").build().expect("a client");
        let model = nim.embedder("my/model");
        assert_eq!(model.cache_key(), "nim truncate=None normalize=false my/model");
        let told = model.clone().extra("user", "a b").extra("truncate_prompt_tokens", 512);
        let key = r#"nim extra={"truncate_prompt_tokens":512,"user":"a b"} truncate=None"#;
        assert_eq!(told.cache_key(), format!("{key} normalize=false my/model"));
        let keys = [
            model.clone().extra("user", "a").cache_key(),
            model.clone().extra("user", "b").cache_key(),
            model.clone().extra("user", json!(["a"])).cache_key(),
            // The name of a model may read like a further field.
            nim.embedder(r#"extra={"user":"a"} my/model"#).cache_key(),
            model.cache_key(),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key}");
        }
    }
}
