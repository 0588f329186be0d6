//! `portolan ingest`: documents with their vectors, embedded by a model, or without.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use portolan::eval::vector_file::VectorFile;
use portolan::nim::EmbeddingModel;
use portolan::{
    Batch, Chunker, Collection, CollectionOptions, Database, Embedder, Error, IngestProgress,
    Maintenance, Metric, Role,
};
use serde::Serialize;

use crate::args::IngestArgs;
use crate::documents::{Documents, Line, Survey};
use crate::failure::{Failure, Result, in_commands};
use crate::index_field;
use crate::ingest_again;
use crate::ingest_words;
use crate::models::{self, runtime};
use crate::open;
use crate::output::{Output, printable};
use crate::progress::{Progress, locked, maintain};
use crate::rejects::Rejects;
use crate::timing::seconds;

/// Documents per commit where no model is asked.
pub const BATCH_WITHOUT_MODEL: usize = 1000;
/// Characters of the passage that tells a model's dimensions.
const PROBE_CHARS: usize = 200;

/// What an ingest came to.
#[derive(Default, Serialize)]
pub struct Ingested {
    collection: String,
    pub read: usize,
    embedded: usize,
    pub unchanged: usize,
    updated: usize,
    without_text: usize,
    with_vector: usize,
    /// Stored without one, with `--no-vectors`.
    pub without_vector: usize,
    pending: usize,
    pub rejected: usize,
    /// Documents with the id of one before them, of which the last of each is kept.
    repeated_ids: usize,
    /// Documents whose chunks are stored, with `--chunk-tokens`; other counts are of chunks then.
    pub chunked: usize,
    pub removed: usize,
    requests: u64,
    retries: u64,
    tokens: Option<u64>,
    likely_truncated: usize,
    /// Records that got the vector of a record before them with the same text.
    repeated_texts: usize,
    /// The model that answered, if it names itself otherwise than it was asked for.
    served_model: Option<String>,
    embedding_s: f64,
    took_s: f64,
    indexing_s: f64,
    graph: bool,
    records: u64,
    /// What is to be told behind all this.
    #[serde(skip)]
    refusal: Option<Failure>,
}

impl IngestArgs {
    /// The file of documents.
    pub fn documents(&self) -> Documents<'_> {
        Documents { path: &self.docs, timestamp_fields: &self.timestamp_field }
    }

    /// What cuts documents into chunks, if they are to be cut.
    pub fn chunker(&self) -> Option<Chunker> {
        let chunker = Chunker::new().tokens(self.chunk_tokens?).overlap(self.chunk_overlap);
        Some(chunker.markdown(self.chunk_markdown))
    }
}

/// Checks everything that can be checked, then stores the documents and indexes them.
pub fn run(args: &IngestArgs, out: &Output) -> Result<()> {
    let advice = match (&args.rejects, &args.vectors) {
        // Rows of vectors belong to lines, so none of these may be left out.
        (_, Some(_)) => Some("nothing was written"),
        (None, None) => Some("nothing was written; --rejects FILE would set it aside"),
        (Some(_), None) => None,
    };
    let survey = args.documents().survey(advice)?;
    warn(args, &survey, out);
    ingest_again::check(args, &survey, out)?;
    let begin = Instant::now();
    let (collection, mut done) = match &args.vectors {
        Some(vectors) => with_vectors(args, vectors, &survey)?,
        None if args.no_vectors => ingest_words::store(args, &survey)?,
        None => by_model(args, &survey)?,
    };
    warn_of_model(&done, out);
    done.repeated_ids = survey.repeated;
    let maintained = maintain(&collection, |maintain| maintain)?;
    done.indexing_s = seconds(maintained.took);
    done.graph = collection.info()?.graphs > 0;
    done.took_s = seconds(begin.elapsed());
    done.records = collection.count()?;
    done.collection = collection.name().to_owned();
    out.result(&done, summary)?;
    if let Some(refusal) = done.refusal {
        return Err(refusal);
    }
    match (&args.rejects, done.read) {
        (Some(path), read) if read > 0 && done.rejected == read => Err(Failure::new(format!(
            "none of {read} documents could be stored: {} tells why",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Tells what is no mistake, but hardly meant.
fn warn(args: &IngestArgs, survey: &Survey, out: &Output) {
    let path = args.docs.display();
    if let Some(first) = &survey.first_repeated {
        out.warning(&format!(
            "{path}: {} documents have the _id of one before them, of which the last is kept; the \
             first is {first:?}",
            survey.repeated
        ));
    }
    for name in &survey.absent {
        out.warning(&format!("{path}: no document has the field {name:?} of --timestamp-field"));
    }
}

/// Tells what the model did otherwise than it was asked.
fn warn_of_model(done: &Ingested, out: &Output) {
    if done.likely_truncated > 0 {
        out.warning(&format!(
            "{} texts are probably longer than the model reads, and their ends are not in their \
             vectors: --chunk-tokens cuts documents into pieces",
            done.likely_truncated
        ));
    }
    if let Some(model) = &done.served_model {
        out.warning(&format!("the service answers as {model:?}: check --embed-model"));
    }
}

fn summary(done: &Ingested) -> String {
    let counts = [
        ("embedded", done.embedded),
        ("with their vectors", done.with_vector),
        ("without vectors", done.without_vector),
        ("unchanged", done.unchanged),
        ("updated", done.updated),
        ("without text", done.without_text),
        ("pending", done.pending),
        ("set aside", done.rejected),
        ("stale chunks removed", done.removed),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(what, count)| format!("{count} {what}")).collect();
    let what = if done.chunked > 0 {
        format!("{} chunks of {} documents", done.read, done.chunked)
    } else {
        format!("{} documents", done.read)
    };
    let tokens = done.tokens.map_or_else(String::new, |tokens| format!(", {tokens} tokens"));
    format!(
        "read {what} in {:.1} s: {}{tokens}\n{} holds {} records; indexing took {:.1} s",
        done.took_s,
        if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") },
        printable(&done.collection),
        done.records,
        done.indexing_s,
    )
}

/// The collection that is there already, in a file that is there already.
pub fn existing(args: &IngestArgs, maintenance: Maintenance) -> Result<Option<Collection>> {
    if !args.db.exists() {
        return Ok(None);
    }
    match open::write(&args.db, maintenance)?.collection(&args.collection) {
        Err(Error::CollectionNotFound { .. }) => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// Options of a new collection for vectors of so many dimensions.
fn shaped(args: &IngestArgs, dimensions: usize) -> CollectionOptions {
    CollectionOptions::new(dimensions, args.metric.unwrap_or(Metric::Cosine))
}

/// Makes the collection, with the indexes that were asked for.
pub fn create(
    args: &IngestArgs,
    maintenance: Maintenance,
    options: CollectionOptions,
) -> Result<Collection> {
    let language = args.language.unwrap_or_default();
    let options = language.of(options, args.stop_words.unwrap_or_default());
    let options = index_field::declare(&args.index_field, options);
    let db: Database = open::write(&args.db, maintenance)?;
    Ok(db.collection_or_create(&args.collection, options)?)
}

fn check_metric(args: &IngestArgs, collection: &Collection) -> Result<()> {
    match args.metric {
        Some(asked) if asked != collection.metric() => Err(Failure::new(format!(
            "collection {:?} compares by {}, not {asked}: leave --metric out",
            args.collection,
            collection.metric()
        ))),
        _ => Ok(()),
    }
}

fn with_vectors(
    args: &IngestArgs,
    vectors: &Path,
    survey: &Survey,
) -> Result<(Collection, Ingested)> {
    let vectors_file = VectorFile::open(vectors)?;
    if vectors_file.len() != survey.documents {
        return Err(Failure::new(format!(
            "{} has {} rows but {} has {} documents: nothing was written",
            vectors.display(),
            vectors_file.len(),
            args.docs.display(),
            survey.documents
        )));
    }
    let collection = match existing(args, Maintenance::Manual)? {
        Some(collection) => collection,
        None => create(args, Maintenance::Manual, shaped(args, vectors_file.dim()))?,
    };
    check_metric(args, &collection)?;
    if collection.dimensions() != vectors_file.dim() {
        return Err(Failure::new(format!(
            "{} has {} dimensions but collection {:?} has {}: nothing was written",
            vectors.display(),
            vectors_file.dim(),
            args.collection,
            collection.dimensions()
        )));
    }
    let read = store(args, &vectors_file, survey, &collection)?;
    Ok((collection, Ingested { read, with_vector: read, ..Ingested::default() }))
}

/// Commits the documents with their rows; how many there were.
fn store(
    args: &IngestArgs,
    vectors: &VectorFile,
    survey: &Survey,
    collection: &Collection,
) -> Result<usize> {
    let size = args.batch_size.unwrap_or(BATCH_WITHOUT_MODEL);
    let progress = Progress::new("storing", survey.documents);
    let mut batch: Batch = collection.batch();
    let (mut row, mut stored) = (0, 0);
    for record in args.documents().records()? {
        batch.upsert(record?.vector(vectors.row(row)?)).map_err(|error| {
            let hint = format!("{stored} documents before it are stored: run the command again");
            Failure::from(error).hint(&hint)
        })?;
        row += 1;
        if row - stored >= size {
            std::mem::replace(&mut batch, collection.batch()).commit()?;
            stored = row;
            progress.at(stored);
        }
    }
    batch.commit()?;
    Ok(row)
}

fn by_model(args: &IngestArgs, survey: &Survey) -> Result<(Collection, Ingested)> {
    // Before anything is done whose rejects could not be kept.
    let rejects = Rejects::new(args.rejects.as_deref())?;
    let embedder = models::required(&args.embed, args.batch_size)?;
    let runtime = runtime()?;
    let maintenance = Maintenance::default();
    let collection = match existing(args, maintenance)? {
        Some(collection) if open::has_no_vectors(&collection)? => {
            return Err(Failure::new(format!(
                "collection {:?} was made with --no-vectors: use that again, or another \
                 --collection",
                args.collection
            )));
        }
        Some(collection) => collection,
        None => {
            let dimensions = runtime.block_on(first_dimensions(&embedder, args, survey))?;
            let options = shaped(args, dimensions).model(embedder.contract());
            create(args, maintenance, options)?
        }
    };
    check_metric(args, &collection)?;
    let embedder = models::suited(embedder, &args.embed, &collection)?;
    let done = runtime.block_on(embed(args, survey, &collection, &embedder, rejects))?;
    Ok((collection, done))
}

/// Dimensions of the model, by embedding one passage.
async fn first_dimensions(
    embedder: &dyn Embedder,
    args: &IngestArgs,
    survey: &Survey,
) -> Result<usize> {
    let Some(passage) = &survey.first_passage else {
        return Err(Failure::new(format!("{} has no text to embed", args.docs.display())));
    };
    // Short, so that no model finds it too long.
    let begin: String = passage.chars().take(PROBE_CHARS).collect();
    let embedded = embedder.embed(&[begin.trim()], Role::Passage, None).await?;
    let dimensions = embedded.vectors.first().map(Vec::len);
    dimensions.ok_or_else(|| Failure::new("the model returned no vector: check the model"))
}

async fn embed(
    args: &IngestArgs,
    survey: &Survey,
    collection: &Collection,
    embedder: &EmbeddingModel,
    rejects: Rejects,
) -> Result<Ingested> {
    let progress = Progress::new("embedding", survey.documents);
    let chunks = args.chunk_tokens.is_some();
    let told = |at: IngestProgress| {
        progress.waits(at.waiting > 0);
        if chunks {
            return progress.at(at.documents);
        }
        if args.pending && at.embedded == 0 {
            progress.now("storing", 0);
            return progress.at_beside(at.done() + at.pending, at.unchanged);
        }
        progress.now("embedding", at.done() - at.embedded);
        progress.at_beside(at.done(), at.unchanged);
    };
    // Lines and records are set aside on two threads.
    let (rejects, mut failed) = (Mutex::new(rejects), None);
    let mut lines = args.documents().lines()?;
    let records = std::iter::from_fn(|| {
        loop {
            match lines.next()? {
                Ok(Line::Record(record)) => return Some(record),
                Ok(Line::Bad(bad)) if args.rejects.is_some() => locked(&rejects).add_line(&bad),
                Ok(Line::Bad(bad)) => failed = Some(Failure::new(bad.problem)),
                Err(failure) => failed = Some(failure),
            }
            if failed.is_some() {
                return None;
            }
        }
    });
    let size = embedder.texts_per_request();
    let ingest = collection.ingest(records).embedder(embedder).batch_size(size).progress(told);
    let ingest = ingest.in_flight(args.in_flight).pending(args.pending);
    let ingest = match args.chunker() {
        Some(chunker) => ingest.chunker(chunker),
        None => ingest,
    };
    let run = ingest.on_reject(|one| locked(&rejects).add(one)).run().await;
    let report = run.map_err(|error| {
        let resumable = matches!(error, Error::Model { .. });
        let failure = Failure::from(error);
        let hint = match args.rejects {
            Some(_) => "what was committed stays: run it again, with another --rejects, to go on",
            None => "what was committed stays: run the same command again to go on",
        };
        if resumable { failure.hint(hint) } else { failure }
    })?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if let Some(reason) = &report.model_failure {
        let hint = "all texts are stored: run `portolan embed-pending` for their vectors";
        return Err(Failure::new(in_commands(reason)).hint(hint));
    }
    let rejects = rejects.into_inner().unwrap_or_else(PoisonError::into_inner);
    let bad = rejects.lines();
    let refusal = rejects.finish(&report).err();
    let IngestProgress { read, embedded, unchanged, updated, without_text, with_vector, .. } =
        report.progress;
    let (read, pending) = (read + bad, report.progress.pending);
    let rejected = report.progress.rejected + bad;
    let (chunked, removed) = (report.progress.documents, report.progress.removed);
    let (requests, retries, tokens) =
        (report.cost.requests, report.cost.retries, report.cost.tokens);
    let embedding_s = seconds(report.embedding);
    let counts = Ingested { read, embedded, unchanged, updated, ..Ingested::default() };
    let counts = Ingested { without_text, with_vector, pending, rejected, ..counts };
    let counts = Ingested { chunked, removed, ..counts };
    let (likely_truncated, served_model) = (report.likely_truncated, report.served_model);
    let repeated_texts = report.repeated;
    let counts = Ingested { likely_truncated, repeated_texts, served_model, refusal, ..counts };
    Ok(Ingested { requests, retries, tokens, embedding_s, ..counts })
}
