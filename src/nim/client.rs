//! The client: one set of connections to the embedding and the ranking service.
//! Not their requests (see `embed`, `rank`) nor its set-up (see `builder`). Layer: top of `nim`.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::builder::NimBuilder;
use super::chat::Chat;
use super::document::Document;
use super::embed::EmbeddingModel;
use super::endpoint::Endpoint;
use super::error::NimError;
use super::meter::MeterSnapshot;
use super::rank::RankingModel;
use super::target::Service;
use super::transport::Transport;

/// Largest list of models that is read.
const MODELS_LIMIT: u64 = 1 << 20;
/// Largest metadata document that is read.
const METADATA_LIMIT: u64 = 1 << 20;
/// Longest model name that is listed, in bytes.
const NAME_LIMIT: usize = 256;

/// A client of NeMo Retriever NIMs, hosted or local. Cheap to clone; clones share connections.
///
/// Its futures are `Send`, need a tokio runtime with time enabled, and can be dropped at any point:
/// that closes the request in flight and leaves nothing behind.
#[derive(Clone)]
pub struct Nim {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) transport: Transport,
    pub(super) embed: Endpoint,
    pub(super) rank: Endpoint,
    pub(super) chat: Endpoint,
    /// Default models that services were asked for.
    pub(super) defaults: Mutex<Vec<(Service, String)>>,
}

/// Settings of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct CallOptions {
    deadline: Option<Instant>,
}

impl CallOptions {
    /// No deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the call, all batches, retries and waits included, at this instant.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Ends the call this long from now.
    pub fn timeout(self, timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }

    pub(super) fn latest(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) async fn bound<T>(
        &self,
        work: impl Future<Output = Result<T, NimError>>,
    ) -> Result<T, NimError> {
        let Some(deadline) = self.deadline else {
            return work.await;
        };
        if deadline <= Instant::now() {
            return Err(NimError::DeadlineExceeded);
        }
        match tokio::time::timeout_at(deadline.into(), work).await {
            Ok(done) => done,
            Err(_) => Err(NimError::DeadlineExceeded),
        }
    }
}

/// The lists of models of the families: `/v1/models`, TEI's `/info`, Ollama's `/api/tags`.
#[derive(Deserialize)]
#[serde(try_from = "AnyList")]
struct ModelList(Vec<ModelEntry>);

/// One of these is there. Read by name, not by trial: that would hold the whole document, at many
/// times its size.
#[derive(Deserialize)]
struct AnyList {
    data: Option<Vec<ModelEntry>>,
    models: Option<Vec<NamedModel>>,
    model_id: Option<String>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    /// The model that an adapter stands on; equal to `id`, or absent, for a model of its own.
    root: Option<String>,
}

#[derive(Deserialize)]
struct NamedModel {
    name: String,
}

impl TryFrom<AnyList> for ModelList {
    type Error = &'static str;

    fn try_from(any: AnyList) -> Result<Self, Self::Error> {
        let own = |id| ModelEntry { id, root: None };
        match any {
            AnyList { data: Some(data), .. } => Ok(Self(data)),
            AnyList { models: Some(models), .. } => {
                Ok(Self(models.into_iter().map(|model| own(model.name)).collect()))
            }
            AnyList { model_id: Some(id), .. } => Ok(Self(vec![own(id)])),
            _ => Err("neither `data` nor `models` nor `model_id` is there"),
        }
    }
}

impl Nim {
    /// Starts a configuration that reads no environment variable.
    pub fn builder() -> NimBuilder {
        NimBuilder::new()
    }

    /// A client from `NVIDIA_API_KEY` and `NVIDIA_BASE_URL` (default: the hosted catalog).
    ///
    /// # Errors
    ///
    /// As [`NimBuilder::build`].
    pub fn from_env() -> Result<Self, NimError> {
        Self::builder().env()?.build()
    }

    pub(super) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// An embedding model by name, such as `nvidia/llama-nemotron-embed-1b-v2`. Sends nothing; a
    /// `tracing` subscriber is warned of a model that is deprecated and of a name that is old.
    pub fn embedder(&self, model: impl Into<String>) -> EmbeddingModel {
        EmbeddingModel::new(self.clone(), model.into())
    }

    /// A ranking model by name, such as `nvidia/llama-nemotron-rerank-1b-v2`. Sends nothing and
    /// warns as [`embedder`](Self::embedder).
    pub fn reranker(&self, model: impl Into<String>) -> RankingModel {
        RankingModel::new(self.clone(), model.into())
    }

    /// A chat model by name, such as `nvidia/llama-3.3-nemotron-super-49b-v1.5`. Sends nothing.
    pub fn chat(&self, model: impl Into<String>) -> Chat {
        Chat::new(self.clone(), model.into())
    }

    /// What this client and its clones have done so far.
    #[must_use]
    pub fn meter(&self) -> MeterSnapshot {
        self.transport().meter.snapshot()
    }

    /// Whether a local service says it is ready: `GET {base}/health/ready` (other families have
    /// other addresses), one request, no retry, judged by a status 2xx alone. The hosted catalog
    /// has no such address.
    ///
    /// # Errors
    ///
    /// [`NimError::Connect`], [`NimError::Timeout`] and the like when no answer came.
    pub async fn health_ready(&self, service: Service) -> Result<bool, NimError> {
        let target = self.endpoint(service).health();
        let status = self.transport().probe(&target).await?;
        Ok((200..300).contains(&status))
    }

    /// Whether a NIM says it is alive, which it may be long before it is ready:
    /// `GET {base}/health/live`, one request, no retry, judged by a status 2xx alone.
    ///
    /// # Errors
    ///
    /// As [`health_ready`](Self::health_ready).
    pub async fn health_live(&self, service: Service) -> Result<bool, NimError> {
        let target = self.endpoint(service).under(&["health", "live"]);
        let status = self.transport().probe(&target).await?;
        Ok((200..300).contains(&status))
    }

    /// What a NIM tells of itself: `GET {base}/metadata`, at most 1 MiB. Its fields are not
    /// documented and differ between releases. Takes as long as the builder's timeouts and retries
    /// allow; for a deadline drop the future, as `tokio::time::timeout` does.
    ///
    /// # Errors
    ///
    /// Any [`NimError`] but those about inputs.
    pub async fn metadata(&self, service: Service) -> Result<Value, NimError> {
        self.document(service, "metadata").await
    }

    /// The release of a NIM: `GET {base}/version`, at most 1 MiB; its form is not documented. Takes
    /// as long as [`metadata`](Self::metadata).
    ///
    /// # Errors
    ///
    /// Any [`NimError`] but those about inputs.
    pub async fn version(&self, service: Service) -> Result<Value, NimError> {
        self.document(service, "version").await
    }

    /// Whether the key is accepted where `model` is served: one POST of an empty object. NVIDIA's
    /// servers look at the key before the body and charge nothing for it, so any refusal but 401
    /// and 403 means that the key passed. A server that wants no key accepts any.
    ///
    /// # Errors
    ///
    /// [`NimError::Unauthorized`], [`NimError::Forbidden`], [`NimError::MissingKey`],
    /// [`NimError::ProxyLogin`], those of the connection; [`NimError::Server`] and
    /// [`NimError::UnexpectedStatus`] leave the question open.
    pub async fn check_key(&self, service: Service, model: &str) -> Result<(), NimError> {
        let target = self.endpoint(service).target(model)?;
        if target.hosted && self.transport().keys.of(service).is_none() {
            return Err(NimError::MissingKey { url: target.url.to_string() });
        }
        match self.transport().knock(&target).await {
            Err(
                error @ (NimError::Unauthorized(_)
                | NimError::Forbidden(_)
                | NimError::ProxyLogin { .. }
                | NimError::Connect { .. }
                | NimError::Tls { .. }
                | NimError::Disconnected { .. }
                | NimError::Timeout { .. }
                | NimError::UnexpectedStatus(_)),
            ) => Err(error),
            // 500 may be what a server makes of an empty object; the others come from before it.
            Err(NimError::Server { reply, retry_after }) if reply.status > 500 => {
                Err(NimError::Server { reply, retry_after })
            }
            _ => Ok(()),
        }
    }

    async fn document(&self, service: Service, name: &str) -> Result<Value, NimError> {
        let target = self.endpoint(service).under(&[name]);
        let Document(document) = self.transport().get(&target, METADATA_LIMIT).await?;
        Ok(self.transport().redact_json(document))
    }

    /// Names of the models of a service, each once, in the server's order: `GET {base}/models`. The
    /// hosted catalog also lists models that the account may not call. Takes as long as
    /// [`metadata`](Self::metadata).
    ///
    /// # Errors
    ///
    /// Any [`NimError`] but those about inputs.
    pub async fn models(&self, service: Service) -> Result<Vec<String>, NimError> {
        let models = self.model_list(service).await?.into_iter();
        let names = models.map(|model| self.transport().presentable(&model.id, NAME_LIMIT));
        let mut seen = HashSet::new();
        Ok(names.filter(|name| seen.insert(name.clone())).collect())
    }

    /// The model that a local service serves by default: the first that is not an adapter on
    /// another one. One request, as [`models`](Self::models); once there is such a model, a client
    /// and its clones keep its name and ask no more.
    ///
    /// # Errors
    ///
    /// As [`models`](Self::models).
    pub async fn default_model(&self, service: Service) -> Result<Option<String>, NimError> {
        let known = || self.inner.defaults.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().iter().find(|(of, _)| *of == service).map(|(_, name)| name.clone());
        if found.is_some() {
            return Ok(found);
        }
        let mut models = self.model_list(service).await?.into_iter();
        let own = models.find(|model| model.root.as_ref().is_none_or(|root| *root == model.id));
        let name = own.map(|model| self.transport().presentable(&model.id, NAME_LIMIT));
        known().extend(name.iter().map(|name| (service, name.clone())));
        Ok(name)
    }

    async fn model_list(&self, service: Service) -> Result<Vec<ModelEntry>, NimError> {
        let target = self.endpoint(service).models();
        let list: ModelList = self.transport().get(&target, MODELS_LIMIT).await?;
        Ok(list.0)
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    pub(super) fn embed_endpoint(&self) -> &Endpoint {
        &self.inner.embed
    }

    pub(super) fn rank_endpoint(&self) -> &Endpoint {
        &self.inner.rank
    }

    pub(super) fn chat_endpoint(&self) -> &Endpoint {
        &self.inner.chat
    }

    fn endpoint(&self, service: Service) -> &Endpoint {
        match service {
            Service::Chat => &self.inner.chat,
            Service::Embedding => &self.inner.embed,
            Service::Ranking => &self.inner.rank,
        }
    }
}

impl fmt::Debug for Nim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nim")
            .field("embed", &self.inner.embed.root())
            .field("rank", &self.inner.rank.root())
            .field("chat", &self.inner.chat.root())
            .field("has_key", &self.inner.transport.keys.has_any())
            .finish_non_exhaustive()
    }
}
