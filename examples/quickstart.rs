//! The whole engine in one sitting, on 600 abstracts of SciFact with their real embeddings:
//! store, search by vector, by words and by both, filter, evaluate, delete, compact, reopen
//! read-only.
//!
//! `cargo run --release --example quickstart [FILE]`; without FILE the database goes to a folder
//! that is removed at the end. With `NVIDIA_API_KEY` (hosted) or `NVIDIA_BASE_URL` (a local NIM)
//! set, it also embeds and reranks through NIM.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portolan::eval::beir::{self, Document};
use portolan::eval::metrics::mean_scores;
use portolan::eval::report::{EvalReport, ModeReport};
use portolan::eval::vector_file::VectorFile;
use portolan::{
    Collection, CollectionOptions, Database, Filter, Hit, Language, Metric, Record, TextIndex,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => scratch.path().join("quickstart.portolan"),
    };
    println!("portolan quickstart, database file {}\n", path.display());

    let db = step("create the file and a collection", || Ok(Database::create(&path)?))?;
    let vectors = VectorFile::open(fixture("docs.minilm384.f16.npy"))?;
    let words = TextIndex::new(Language::English);
    let options = CollectionOptions::new(vectors.dim(), Metric::Cosine).text(words);
    let docs = db.create_collection("docs", options)?;

    let stored = step("store the documents in one commit", || store(&docs, &vectors))?;
    println!("    {stored} records, durable and searchable\n");

    let queries = beir::queries(fixture("queries.jsonl"))?;
    let query_vectors = VectorFile::open(fixture("queries.minilm384.f16.npy"))?;
    let claim = &queries[0];
    let vector = query_vectors.row(0)?;
    println!("  The claim: {:?}", claim.text);
    let hits = step("search", || Ok(docs.search(&vector).limit(3).run()?))?;
    hits.iter().for_each(show);

    let long = Filter::gte("chars", 1500);
    let hits = step("search among abstracts of 1500 characters or more", || {
        Ok(docs.search(&vector).filter(long).limit(3).run()?)
    })?;
    hits.iter().for_each(show);

    let both = || Ok(docs.find().dense(&vector).text(&claim.text).limit(3).run()?);
    let found = step("search by vector and by words, fused by rank", both)?;
    found.hits.iter().for_each(show);
    println!();

    let report = step("evaluate 40 judged queries in three ways", || evaluate(&docs))?;
    for line in report.to_string().lines() {
        println!("    {line}");
    }
    println!();

    let best = hits.hits.first().map(|hit| hit.id.clone()).ok_or("nothing was found")?;
    step("delete the best of these hits", || Ok(docs.delete(&best)?))?;
    let gone = docs.get(&best)?.is_none();
    let found = docs.search(&vector).limit(600).run()?.iter().any(|hit| hit.id == best);
    println!("    {best}: gone from the records: {gone}, found by a search: {found}\n");

    drop((docs, db));
    let compacted = step("compact the file", || Ok(Database::compact(&path)?))?;
    println!("    {} KiB before, {} KiB after\n", compacted.before / 1024, compacted.after / 1024);

    let db = step("reopen it read-only, as it would be shipped", || {
        Ok(Database::open_read_only(&path)?)
    })?;
    let docs = db.collection("docs")?;
    let hits = step("search again", || Ok(docs.search(&vector).limit(1).run()?))?;
    hits.iter().for_each(show);
    step("verify every checksum", || Ok(db.verify()?))?;
    println!();
    drop((docs, db));

    with_nim(&path, &claim.text)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scifact-small").join(name)
}

/// Runs one step and prints how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    let done = work()?;
    report(what, begin.elapsed());
    Ok(done)
}

fn report(what: &str, took: Duration) {
    println!("  {what:<54} {:>9.2} ms", took.as_secs_f64() * 1e3);
}

fn show(hit: &Hit) {
    let title: String = hit.title().unwrap_or("(no title)").chars().take(70).collect();
    let score = hit.rerank_score.map_or(String::new(), |score| format!("  rerank {score:.2}"));
    println!("    {:.4}{score}  {:>9}  {title}", hit.score, hit.id.to_string());
}

/// A document of the set as a record: title, text, and its counts as typed metadata.
fn record(document: Document) -> Record {
    let mut record = Record::new(document.id).title(document.title).text(document.text);
    for (name, value) in document.metadata {
        if let Some(number) = value.as_i64() {
            record = record.field(name, number);
        }
    }
    record
}

fn store(docs: &Collection, vectors: &VectorFile) -> Result<usize> {
    let mut batch = docs.batch();
    for (row, document) in beir::documents(fixture("docs.jsonl"))?.enumerate() {
        batch.upsert(record(document?).vector(vectors.row(row)?))?;
    }
    Ok(batch.commit()?.upserted)
}

fn evaluate(docs: &Collection) -> Result<EvalReport> {
    let queries = beir::queries(fixture("queries.jsonl"))?;
    let qrels = beir::qrels(fixture("qrels.tsv"))?;
    let vectors = VectorFile::open(fixture("queries.minilm384.f16.npy"))?;
    let mut modes = Vec::new();
    for (mode, dense, lexical) in
        [("dense", true, false), ("lexical", false, true), ("hybrid", true, true)]
    {
        let begin = Instant::now();
        let mut runs = HashMap::new();
        for (row, query) in queries.iter().enumerate() {
            let mut find = docs.find().limit(100);
            if dense {
                find = find.dense(&vectors.row(row)?);
            }
            if lexical {
                find = find.text(&query.text);
            }
            let ranking = find.run()?.hits.iter().map(|hit| hit.id.to_string()).collect();
            runs.insert(query.id.clone(), ranking);
        }
        let per_query = begin.elapsed().as_secs_f64() * 1e3 / queries.len() as f64;
        modes.push(ModeReport::new(mode, mean_scores(&qrels, &runs), per_query, queries.len()));
    }
    Ok(EvalReport { modes, ..EvalReport::default() })
}

/// The same over NIM, when the environment names a service. A service that fails is reported and
/// does not fail the rest.
#[cfg(feature = "nim")]
fn with_nim(path: &Path, question: &str) -> Result<()> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("NVIDIA_API_KEY") && !is_set("NVIDIA_BASE_URL") {
        println!(
            "  Set NVIDIA_API_KEY or NVIDIA_BASE_URL to embed and rerank through NIM as well."
        );
        return Ok(());
    }
    println!("  The same with models, through NIM:");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Err(error) = runtime.block_on(nim::embed_and_rerank(path, question)) {
        println!("    this did not work: {error}");
        println!("    (everything above needs no service and is done)");
    }
    Ok(())
}

#[cfg(not(feature = "nim"))]
fn with_nim(_: &Path, _: &str) -> Result<()> {
    println!("  Build with the feature `nim` to embed and rerank as well.");
    Ok(())
}

#[cfg(feature = "nim")]
mod nim {
    use super::*;
    use portolan::nim::{InputType, Nim, Truncate};
    use portolan::{Embedder, IngestProgress, StageOutcome};

    /// Documents that are embedded: enough to see it work, few enough not to wait.
    const DOCUMENTS: usize = 100;

    pub async fn embed_and_rerank(path: &Path, question: &str) -> Result<()> {
        let name = |variable, default: &str| std::env::var(variable).unwrap_or(default.to_owned());
        let embed_model = name("PORTOLAN_EMBED_MODEL", "nvidia/llama-nemotron-embed-1b-v2");
        let rerank_model = name("PORTOLAN_RERANK_MODEL", "nvidia/llama-nemotron-rerank-1b-v2");
        let nim = Nim::from_env()?;
        let embedder = nim.embedder(embed_model).truncate(Truncate::End);
        let reranker = nim.reranker(rerank_model);

        let begin = Instant::now();
        let probe = embedder.embed(&[question], InputType::Query).await?;
        let dimensions = probe.vectors.first().map_or(0, Vec::len);
        report(&format!("ask the model for its dimensions: {dimensions}"), begin.elapsed());

        let db = Database::open_existing(path)?;
        let options = CollectionOptions::new(dimensions, Metric::Cosine);
        let docs = db.create_collection("nim", options.model(embedder.contract()))?;
        let documents = beir::documents(fixture("docs.jsonl"))?.take(DOCUMENTS);
        let records: Vec<Record> = documents
            .map(|document| document.map(record))
            .collect::<std::result::Result<_, _>>()?;
        let told = |at: IngestProgress| println!("    {} embedded and committed", at.embedded);
        let ingest = docs.ingest(records).embedder(&embedder).batch_size(50).progress(told);
        let done = ingest.run().await?;
        report(&format!("embed and store {} documents", done.progress.embedded), done.took);

        let query = docs.query(question).embedder(&embedder).reranker(&reranker);
        let answer = query.candidates(50).limit(3).deadline(Duration::from_secs(20)).run().await?;
        report("embed the claim, search, rerank 50 candidates", answer.report.took);
        for stage in &answer.report.stages {
            if let StageOutcome::Failed(reason) = &stage.outcome {
                println!("    {} failed, so the order is the search's: {reason}", stage.stage);
            }
        }
        answer.hits.iter().for_each(show);
        Ok(())
    }
}
