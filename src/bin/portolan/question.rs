//! A question as the options describe it: the collection that is asked, and the query.

use std::path::Path;
use std::time::Duration;

use portolan::eval::vector_file::VectorFile;
use portolan::{Collection, Filter, FilterError, Query};

use crate::failure::{Failure, Result};
use crate::find_args::FindArgs;
use crate::mode::Mode;
use crate::models::Models;
use crate::open;
use crate::output::printable;

/// What is needed to ask.
pub struct Question<'a> {
    args: &'a FindArgs,
    /// None where the library is to choose.
    mode: Option<Mode>,
    text: &'a str,
    filter: Option<Filter>,
    models: Models,
    collection: Collection,
}

impl<'a> Question<'a> {
    /// Checks that the options fit together, and opens the file.
    pub fn new(db: &Path, text: Option<&'a str>, args: &'a FindArgs) -> Result<Self> {
        if args.rerank.rerank_model.is_some() && text.is_none() {
            return Err(Failure::Usage("a reranker needs the question: give TEXT too".to_owned()));
        }
        if args.words.is_some() && args.mode == Some(Mode::Dense) {
            return Err(Failure::Usage("--words is not for --mode dense".to_owned()));
        }
        let has_vector = args.vector.is_some() || args.embed.embed_model.is_some();
        if args.mode.is_some_and(Mode::needs_vector) && !has_vector {
            return Err(Failure::Usage("--vector or --embed-model is missing".to_owned()));
        }
        let filter = args.filter.as_deref().map(filter).transpose()?;
        let models = Models::new(&args.embed, Some(&args.rerank))?;
        let collection = if args.cache {
            open::write_collection(db, &args.collection)?
        } else {
            open::read_collection(db, &args.collection)?
        };
        let models = models.suited(&args.embed, &collection)?;
        if args.vector.is_some() && open::has_no_vectors(&collection)? {
            return Err(Failure::new(format!(
                "collection {:?} has no vectors: leave --vector out, and give TEXT or --words",
                args.collection
            )));
        }
        let has_text = text.is_some_and(|text| !text.trim().is_empty());
        let has_words = has_text || args.words.is_some();
        if args.mode.map_or(!has_vector, Mode::needs_words) && !has_words {
            return Err(Failure::Usage("words are searched for: give TEXT or --words".to_owned()));
        }
        if args.embed.embed_model.is_some() && args.mode != Some(Mode::Lexical) && !has_text {
            return Err(Failure::Usage("a model needs the question: give TEXT too".to_owned()));
        }
        let mode = match args.mode {
            // Where there are no vectors, the question need not become one.
            None if has_words && open::has_no_vectors(&collection)? => Some(Mode::Lexical),
            asked => asked,
        };
        let by_words = mode.map_or(!has_vector, |mode| mode == Mode::Lexical);
        if args.mode.is_none() && by_words && collection.text_index()?.is_none() {
            let reason = "the collection has no index of words: give --vector or --embed-model, \
                          or make one with `portolan index-text`";
            return Err(Failure::new(reason));
        }
        Ok(Self { args, mode, text: text.unwrap_or_default(), filter, models, collection })
    }

    /// The query, but for its limit.
    pub fn query(&self) -> Result<Query<'_>> {
        let args = self.args;
        let mut query = self.collection.query(self.text);
        if let Some(mode) = self.mode {
            query = query.mode(mode.of_query());
        }
        if let Some(words) = &args.words {
            query = query.words(words);
        }
        let fusion = args.fusion;
        query = query.find(move |find| find.fusion(fusion));
        if let Some(path) = &args.vector {
            query = query.vector(VectorFile::open(path)?.row(args.row)?);
        }
        if let Some(embedder) = &self.models.embedder {
            query = query.embedder(embedder);
        }
        if let Some(reranker) = &self.models.reranker {
            query = query.reranker(reranker).candidates(args.rerank.candidates);
        }
        if let Some(filter) = &self.filter {
            query = query.filter(filter.clone());
        }
        if let Some(recall) = args.recall {
            query = query.recall(recall);
        }
        if let Some(ef) = args.ef {
            query = query.ef(ef);
        }
        if let Some(deadline) = args.deadline_ms {
            query = query.deadline(Duration::from_millis(deadline));
        }
        if args.cache {
            query = query.cache(true);
        }
        Ok(query)
    }
}

/// Reads a filter, as JSON if it begins like that; an error shows the place.
pub fn filter(text: &str) -> Result<Filter> {
    if text.trim_start().starts_with(['{', '[']) {
        let usage = |error: &dyn std::fmt::Display| Failure::Usage(format!("--filter: {error}"));
        let json = serde_json::from_str(text).map_err(|error| usage(&error))?;
        return Filter::from_json(&json).map_err(|error| usage(&error));
    }
    text.parse().map_err(|error: FilterError| {
        let before = error.place().and_then(|at| text.get(..at));
        let place = before.map(|before| before.chars().count());
        let shown = place.map(|at| format!("\n  {}\n  {}^", printable(text), " ".repeat(at)));
        Failure::Usage(format!("--filter: {error}{}", shown.unwrap_or_default()))
    })
}
