//! `portolan ingest`: documents with their vectors, or embedded by a model.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use portolan::eval::vector_file::VectorFile;
use portolan::nim::EmbeddingModel;
use portolan::{
    Batch, Chunker, Collection, CollectionOptions, Database, Embedder, Error, IngestProgress,
    Maintenance, Metric, ModelContract, Role,
};
use serde::Serialize;

use crate::args::IngestArgs;
use crate::documents::{self, Line, Survey};
use crate::failure::{Failure, Result};
use crate::index_field;
use crate::models::{self, runtime};
use crate::open;
use crate::output::{Output, printable};
use crate::progress::{Progress, maintain};
use crate::rejects::Rejects;
use crate::timing::seconds;

/// Documents per commit when vectors are given.
const BATCH_WITH_VECTORS: usize = 1000;
/// Characters of the passage that tells a model's dimensions.
const PROBE_CHARS: usize = 200;

#[derive(Default, Serialize)]
struct Ingested {
    collection: String,
    read: usize,
    embedded: usize,
    unchanged: usize,
    updated: usize,
    without_text: usize,
    with_vector: usize,
    pending: usize,
    rejected: usize,
    /// Documents whose chunks are stored, with `--chunk-tokens`; other counts are of chunks then.
    chunked: usize,
    removed: usize,
    requests: u64,
    retries: u64,
    tokens: Option<u64>,
    embedding_s: f64,
    took_s: f64,
    indexing_s: f64,
    graph: bool,
    records: u64,
}

/// Checks everything that can be checked, then stores the documents and indexes them.
pub fn run(args: &IngestArgs, out: &Output) -> Result<()> {
    // Rows of vectors belong to lines, so none of these may be left out.
    let strict = args.rejects.is_none() || args.vectors.is_some();
    let survey = documents::survey(&args.docs, strict)?;
    let begin = Instant::now();
    let (collection, mut done) = match &args.vectors {
        Some(vectors) => with_vectors(args, vectors, &survey)?,
        None => by_model(args, &survey)?,
    };
    let maintained = maintain(&collection, |maintain| maintain)?;
    done.indexing_s = seconds(maintained.took);
    done.graph = collection.info()?.graphs > 0;
    done.took_s = seconds(begin.elapsed());
    done.records = collection.count()?;
    done.collection = collection.name().to_owned();
    out.result(&done, summary)
}

fn summary(done: &Ingested) -> String {
    let counts = [
        ("embedded", done.embedded),
        ("with their vectors", done.with_vector),
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
fn existing(args: &IngestArgs, maintenance: Maintenance) -> Result<Option<Collection>> {
    if !args.db.exists() {
        return Ok(None);
    }
    match open::write(&args.db, maintenance)?.collection(&args.collection) {
        Err(Error::CollectionNotFound { .. }) => Ok(None),
        found => Ok(Some(found?)),
    }
}

fn create(
    args: &IngestArgs,
    maintenance: Maintenance,
    dimensions: usize,
    contract: Option<ModelContract>,
) -> Result<Collection> {
    let metric = args.metric.unwrap_or(Metric::Cosine);
    let options = args.language.of(CollectionOptions::new(dimensions, metric), args.stop_words);
    let mut options = index_field::declare(&args.index_field, options);
    if let Some(contract) = contract {
        options = options.model(contract);
    }
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
        None => create(args, Maintenance::Manual, vectors_file.dim(), None)?,
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
    let size = args.batch_size.unwrap_or(BATCH_WITH_VECTORS);
    let progress = Progress::new("storing", survey.documents);
    let mut batch: Batch = collection.batch();
    let mut row = 0;
    for record in documents::records(&args.docs)? {
        batch.upsert(record?.vector(vectors.row(row)?))?;
        row += 1;
        if batch.len() >= size {
            std::mem::replace(&mut batch, collection.batch()).commit()?;
            progress.at(row);
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
        Some(collection) => collection,
        None => {
            let dimensions = runtime.block_on(first_dimensions(&embedder, args, survey))?;
            create(args, maintenance, dimensions, Some(embedder.contract()))?
        }
    };
    check_metric(args, &collection)?;
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
        if chunks {
            return progress.at(at.documents);
        }
        let IngestProgress { embedded, unchanged, updated, without_text, with_vector, .. } = at;
        progress.at(embedded + unchanged + updated + without_text + with_vector + at.rejected);
    };
    // Lines and records are set aside on two threads.
    let (rejects, mut failed) = (Mutex::new(rejects), None);
    let mut lines = documents::lines(&args.docs)?;
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
    let ingest = match args.chunk_tokens {
        Some(tokens) => {
            let chunker = Chunker::new().tokens(tokens).overlap(args.chunk_overlap);
            ingest.chunker(chunker.markdown(args.chunk_markdown))
        }
        None => ingest,
    };
    let run = ingest.on_reject(|one| locked(&rejects).add(one)).run().await;
    let report = run.map_err(|error| {
        let resumable = matches!(error, Error::Model { .. });
        let failure = Failure::from(error);
        let hint = "what was committed stays: run the same command again to go on";
        if resumable { failure.hint(hint) } else { failure }
    })?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if let Some(reason) = &report.model_failure {
        let hint = "all texts are stored: run `portolan embed-pending` for their vectors";
        return Err(Failure::new(reason.as_str()).hint(hint));
    }
    let rejects = rejects.into_inner().unwrap_or_else(PoisonError::into_inner);
    let bad = rejects.lines();
    rejects.finish(&report)?;
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
    Ok(Ingested { requests, retries, tokens, embedding_s, ..counts })
}

fn locked(rejects: &Mutex<Rejects>) -> MutexGuard<'_, Rejects> {
    rejects.lock().unwrap_or_else(PoisonError::into_inner)
}
