//! The model services that the options and the environment name, and the runtime to call them.

use std::env;

use portolan::nim::{EmbeddingModel, NimBuilder, RankingModel};
use portolan::{Collection, ModelContract, Roles};
use tokio::runtime::{Builder, Runtime};

use crate::failure::{Failure, Result};
use crate::model_args::{EmbedArgs, RerankArgs};

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
        let nim = builder(embed, rerank)?.build()?;
        Ok(Self {
            embedder: embed_model.map(|model| embedder(nim.embedder(model), embed)),
            reranker: rerank_model.map(|model| nim.reranker(model)),
        })
    }

    /// See [`suited`].
    pub fn suited(self, args: &EmbedArgs, collection: &Collection) -> Result<Self> {
        let embedder = self.embedder.map(|model| suited(model, args, collection)).transpose()?;
        Ok(Self { embedder, ..self })
    }
}

/// The model with the prefixes that a collection was filled with, where the options name none.
/// Refuses a length that is not the collection's before anything is sent.
pub fn suited(
    model: EmbeddingModel,
    args: &EmbedArgs,
    collection: &Collection,
) -> Result<EmbeddingModel> {
    let stored = collection.dimensions();
    if let Some(asked) = args.embed_dim.filter(|asked| *asked != stored) {
        return Err(Failure::new(format!(
            "--embed-dim {asked}: collection {:?} has vectors of {stored} dimensions: ask for \
             these, or leave --embed-dim out if the model gives no others",
            collection.name()
        )));
    }
    Ok(prefixed(model, args, collection.model()?.as_ref()))
}

/// The model with prefixes as of a contract, where the options name none.
pub fn prefixed(
    model: EmbeddingModel,
    args: &EmbedArgs,
    contract: Option<&ModelContract>,
) -> EmbeddingModel {
    let Some(Roles::Prefix { query, passage }) = contract.map(|contract| &contract.roles) else {
        return model;
    };
    let given = |option: &Option<String>, stored| option.as_ref().unwrap_or(stored).clone();
    model.prefixes(given(&args.query_prefix, query), given(&args.passage_prefix, passage))
}

/// The embedding model that a command cannot do without, with so many texts per request.
pub fn required(args: &EmbedArgs, batch_size: Option<usize>) -> Result<EmbeddingModel> {
    let no_model = || Failure::Usage("--embed-model is missing".to_owned());
    let model = Models::new(args, None)?.embedder.ok_or_else(no_model)?;
    Ok(match batch_size {
        Some(size) => model.batch_size(size),
        None => model,
    })
}

/// A client that is set up as the options and the environment say, but for its models.
pub fn builder(embed: &EmbedArgs, rerank: Option<&RerankArgs>) -> Result<NimBuilder> {
    let mut builder = embed.reach.builder()?;
    if let Some(patience) = embed.reach.timeout() {
        builder = builder.attempt_timeout(patience).read_timeout(patience);
    }
    builder = builder.embed_api(embed.embed_api.into());
    if let Some(url) = &embed.embed_url {
        builder = builder.embed_url(url);
    }
    if let Some(key) = key_of("--embed-key-env", embed.embed_key_env.as_deref())? {
        builder = builder.embed_key(key);
    }
    if let Some(url) = rerank.and_then(|rerank| rerank.rerank_url.as_ref()) {
        builder = builder.rerank_url(url);
    }
    let rerank_key_env = rerank.and_then(|rerank| rerank.rerank_key_env.as_deref());
    if let Some(key) = key_of("--rerank-key-env", rerank_key_env)? {
        builder = builder.rerank_key(key);
    }
    if let Some(api) = rerank.and_then(|rerank| rerank.rerank_api) {
        builder = builder.rerank_api(api.into());
    }
    Ok(builder)
}

/// The key in the variable that an option names, blank for "none"; nothing without the option.
pub fn key_of(option: &str, name: Option<&str>) -> Result<Option<String>> {
    let Some(name) = name else { return Ok(None) };
    if name == "none" {
        return Ok(Some(String::new()));
    }
    let key = env::var(name).ok().filter(|key| !key.trim().is_empty());
    // Who took the option for the key itself must not see it printed.
    let is_name =
        name.len() < 40 && !name.contains(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    let name = if is_name { format!(" {name}") } else { String::new() };
    let absent = || {
        Failure::Usage(format!("{option}: the variable{name} that it names is not set, or blank"))
    };
    key.map(Some).ok_or_else(absent)
}

/// The embedding model with the settings of the options.
pub fn embedder(model: EmbeddingModel, args: &EmbedArgs) -> EmbeddingModel {
    let dimensions = args.embed_dim.and_then(|dimensions| u32::try_from(dimensions).ok());
    let model = model.truncate(args.truncate.into()).dimensions(dimensions);
    match (&args.query_prefix, &args.passage_prefix) {
        (None, None) => model,
        (query, passage) => {
            let text = |prefix: &Option<String>| prefix.clone().unwrap_or_default();
            model.prefixes(text(query), text(passage))
        }
    }
}

/// A runtime for calls of models.
pub fn runtime() -> Result<Runtime> {
    let built = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    built.map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))
}
