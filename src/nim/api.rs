//! Families of model servers by the shape of their requests, and the paths they serve.
//! Not the requests (see `wire`). Layer: leaf of `nim`; pure.

use super::target::Service;

/// Which requests a server understands.
///
/// | | embeddings | ranking | its base URL ends in `/v1` |
/// |---|---|---|---|
/// | `Nim` | `/embeddings` | `/ranking`, hosted `/reranking` | yes |
/// | `OpenAi` | `/embeddings` | as `Cohere` | yes |
/// | `Tei` | `/embed` | `/rerank` | no |
/// | `Ollama` | `/api/embed` | none | no |
/// | `Cohere` | none | `/rerank` | yes |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Api {
    /// NVIDIA NeMo Retriever NIM, hosted or local.
    #[default]
    Nim,
    /// OpenAI's embeddings, as vLLM, llama.cpp and many others serve them; what these serve for
    /// ranking has Cohere's shape.
    OpenAi,
    /// Hugging Face Text Embeddings Inference, its own routes.
    Tei,
    /// Ollama's own route.
    Ollama,
    /// Cohere's and Jina's rerank, also served by vLLM, llama.cpp and NVIDIA's `LiteLLM` gateway.
    Cohere,
}

impl Api {
    /// Its name in errors and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nim => "nim",
            Self::OpenAi => "openai",
            Self::Tei => "tei",
            Self::Ollama => "ollama",
            Self::Cohere => "cohere",
        }
    }

    /// Path below the base of the service, or none where there is no such service.
    pub(super) fn path(self, service: Service) -> Option<&'static [&'static str]> {
        match (self, service) {
            (Self::Tei | Self::Cohere, Service::Chat) => None,
            // Ollama's own route has another shape; this is the one it has for others.
            (Self::Ollama, Service::Chat) => Some(&["v1", "chat", "completions"]),
            (_, Service::Chat) => Some(&["chat", "completions"]),
            (Self::Nim | Self::OpenAi, Service::Embedding) => Some(&["embeddings"]),
            (Self::Tei, Service::Embedding) => Some(&["embed"]),
            (Self::Ollama, Service::Embedding) => Some(&["api", "embed"]),
            (Self::Nim, Service::Ranking) => Some(&["ranking"]),
            (Self::OpenAi | Self::Tei | Self::Cohere, Service::Ranking) => Some(&["rerank"]),
            (Self::Cohere, Service::Embedding) | (Self::Ollama, Service::Ranking) => None,
        }
    }

    /// Whether an address that ends in `segment` is the full address of the service.
    pub(super) fn owns(self, service: Service, segment: &str) -> bool {
        let is_own = self.path(service).and_then(<[_]>::last).is_some_and(|own| *own == segment);
        is_own || (service == Service::Ranking && segment == "reranking" && self != Self::Ollama)
    }

    /// Whether the base of the service carries the version of the API, `/v1`.
    pub(super) fn is_versioned(self) -> bool {
        matches!(self, Self::Nim | Self::OpenAi | Self::Cohere)
    }

    /// Path that tells whether the server is ready, and whether it lies below the version.
    pub(super) fn health(self) -> (&'static [&'static str], bool) {
        match self {
            Self::Nim => (&["health", "ready"], true),
            Self::OpenAi | Self::Tei | Self::Cohere => (&["health"], false),
            Self::Ollama => (&["api", "version"], false),
        }
    }

    /// Path that names the models served.
    pub(super) fn models(self) -> &'static [&'static str] {
        match self {
            Self::Nim | Self::OpenAi | Self::Cohere => &["models"],
            Self::Tei => &["info"],
            Self::Ollama => &["api", "tags"],
        }
    }
}
