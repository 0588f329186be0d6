//! The model services that the options and the environment name, and the runtime to call them.

use portolan::nim::{EmbeddingModel, Nim, RankingModel};
use tokio::runtime::{Builder, Runtime};

use crate::args::{EmbedArgs, RerankArgs};
use crate::failure::{Failure, Result};

/// The models of one command; none where none was asked for.
pub struct Models {
    pub embedder: Option<EmbeddingModel>,
    pub reranker: Option<RankingModel>,
}

impl Models {
    /// Sets up the models. Sends nothing. Key and base URL come from the environment, as far as
    /// the options leave them open.
    pub fn new(embed: &EmbedArgs, rerank: Option<&RerankArgs>) -> Result<Self> {
        let embed_model = embed.embed_model.as_ref();
        let rerank_model = rerank.and_then(|rerank| rerank.rerank_model.as_ref());
        if embed_model.is_none() && rerank_model.is_none() {
            return Ok(Self { embedder: None, reranker: None });
        }
        let mut builder = Nim::builder().env()?.allow_insecure_http(embed.allow_http);
        if let Some(url) = &embed.embed_url {
            builder = builder.embed_url(url);
        }
        if let Some(url) = rerank.and_then(|rerank| rerank.rerank_url.as_ref()) {
            builder = builder.rerank_url(url);
        }
        let nim = builder.build().map_err(|error| {
            let insecure = error.to_string().contains("allow_insecure_http");
            let failure = Failure::from(error);
            if insecure {
                failure.hint("on the command line that is --allow-http")
            } else {
                failure
            }
        })?;
        let embedder = |model| nim.embedder(model).truncate(embed.truncate.into());
        Ok(Self {
            embedder: embed_model.map(embedder),
            reranker: rerank_model.map(|model| nim.reranker(model)),
        })
    }
}

/// A runtime for calls of models.
pub fn runtime() -> Result<Runtime> {
    let built = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    built.map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))
}
