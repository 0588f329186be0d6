//! Recall@10 against exact search and queries per second on one thread: the graph at several
//! `ef`, the exact scan, filters of 50, 10, 1 and 0.1 %, and the first query of a fresh handle.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use portolan::{Collection, Database, Filter, RecordId, Result, Search};

#[path = "shared/corpus.rs"]
mod corpus;
#[path = "shared/figures.rs"]
mod figures;

use corpus::{BUCKETS, Corpus, NAME};

const K: usize = 10;
const EFS: [usize; 6] = [16, 32, 64, 96, 128, 256];
/// Thousandths of the rows that pass a filter.
const PASSING: [i64; 4] = [500, 100, 10, 1];

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let corpus = Corpus::from_environment()?;
    let queries = corpus.queries(figures::setting("PORTOLAN_BENCH_QUERIES", 200, 5));
    println!("{} rows x {}, {} queries, k = {K}", corpus.rows, corpus.dimensions, queries.len());
    let collection = build(&corpus)?;
    println!("\n{:<18}{:>11}{:>12}", "search", "recall@10", "queries/s");
    graph(&collection, &queries)?;
    filtered(&collection, &queries)?;
    drop(collection);
    first_query(&corpus.path("search.portolan"), &queries)?;
    Ok(())
}

fn build(corpus: &Corpus) -> Result<Collection> {
    let begin = Instant::now();
    let (_, collection) = corpus.create("search.portolan")?;
    corpus.fill(&collection, corpus.rows, 1_000)?;
    let written = begin.elapsed().as_secs_f64();
    let done = collection.maintain().graph_min_rows(0).run()?;
    println!("written in {written:.1} s, graph in {:.1} s", done.took.as_secs_f64());
    Ok(collection)
}

fn graph(collection: &Collection, queries: &[Vec<f32>]) -> Result<()> {
    let exact = |query: &[f32]| ids(collection.search(query).limit(K).exact().run()?);
    let truth = run("exact", queries, None, exact)?;
    for ef in EFS {
        let search = |query: &[f32]| ids(collection.search(query).limit(K).ef(ef).run()?);
        run(&format!("ef {ef}"), queries, Some(&truth), search)?;
    }
    Ok(())
}

fn filtered(collection: &Collection, queries: &[Vec<f32>]) -> Result<()> {
    for passing in PASSING {
        let percent = passing as f64 * 100.0 / BUCKETS as f64;
        let name = format!("filter {percent} %");
        let exact = |query: &[f32]| ids(among(collection, query, passing).exact().run()?);
        let truth = run(&format!("{name} exact"), queries, None, exact)?;
        run(&name, queries, Some(&truth), |query| ids(among(collection, query, passing).run()?))?;
    }
    Ok(())
}

/// A search among so many thousandths of the rows.
fn among<'q>(collection: &Collection, query: &'q [f32], passing: i64) -> Search<'q> {
    collection.search(query).limit(K).filter(Filter::lt("bucket", passing))
}

fn ids(hits: portolan::Hits) -> Result<Vec<RecordId>> {
    Ok(hits.into_iter().map(|hit| hit.id).collect())
}

/// Runs all queries once to warm up and once for the clock; prints a line.
fn run(
    name: &str,
    queries: &[Vec<f32>],
    truth: Option<&[Vec<RecordId>]>,
    search: impl Fn(&[f32]) -> Result<Vec<RecordId>>,
) -> Result<Vec<Vec<RecordId>>> {
    let all = || queries.iter().map(|query| search(query)).collect::<Result<Vec<_>>>();
    all()?;
    let begin = Instant::now();
    let found = all()?;
    let rate = queries.len() as f64 / begin.elapsed().as_secs_f64();
    let recall = truth.map_or_else(String::new, |truth| format!("{:.4}", recall(&found, truth)));
    println!("{name:<18}{recall:>11}{rate:>12.0}");
    Ok(found)
}

fn recall(found: &[Vec<RecordId>], truth: &[Vec<RecordId>]) -> f64 {
    let pairs = found.iter().zip(truth);
    let shared = pairs.map(|(found, truth)| {
        let truth: HashSet<&RecordId> = truth.iter().collect();
        found.iter().filter(|id| truth.contains(id)).count()
    });
    let all: usize = truth.iter().map(Vec::len).sum();
    shared.sum::<usize>() as f64 / all.max(1) as f64
}

/// Opens the file anew and asks once, with its pages in the cache of the system and without.
fn first_query(file: &Path, queries: &[Vec<f32>]) -> Result<()> {
    let Some(query) = queries.first() else { return Ok(()) };
    let rounds = |evicted: bool| -> Result<Vec<f64>> {
        let round = |_| {
            if evicted && !evict(file) {
                return Ok(f64::NAN);
            }
            let begin = Instant::now();
            let db = Database::open_read_only(file)?;
            db.collection(NAME)?.search(query).limit(K).run()?;
            Ok(begin.elapsed().as_secs_f64() * 1e3)
        };
        (0..5).map(round).collect()
    };
    println!("\nopen and first query: {:.2} ms", figures::median(rounds(false)?));
    println!("the same from disk:   {:.2} ms", figures::median(rounds(true)?));
    Ok(())
}

/// Asks the system to forget the cached pages of a file that nobody has mapped.
fn evict(file: &Path) -> bool {
    let mut input = std::ffi::OsString::from("if=");
    input.push(file);
    let mut command = Command::new("dd");
    let command = command.arg(input).args(["iflag=nocache", "count=0", "status=none"]);
    command.status().is_ok_and(|status| status.success())
}
