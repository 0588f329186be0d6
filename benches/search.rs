//! Searches of 20,000 rows (`PORTOLAN_BENCH_ROWS`) at two dimensions: one query, a batch, filters
//! of several shares, codes without a graph, the exact scan, and a file that is opened anew. Each
//! collection is built once; the recall of the graph is told beside the times, which mean
//! nothing without it.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;
use portolan::{Collection, Database, Filter, Result};

#[path = "shared/corpus.rs"]
mod corpus;
#[path = "shared/figures.rs"]
mod figures;

use corpus::{BUCKETS, Corpus, NAME};

const K: usize = 10;
const DIMENSIONS: [usize; 2] = [384, 1024];
/// Thousandths of the rows that pass a filter, at each number of dimensions.
const FILTERED: [(usize, i64); 8] =
    [(384, 500), (384, 100), (384, 10), (384, 1), (1024, 500), (1024, 100), (1024, 10), (1024, 1)];

/// One collection with a graph and one without, of the same rows.
struct Shape {
    corpus: Corpus,
    queries: Vec<Vec<f32>>,
    graph: Collection,
    flat: Collection,
    /// The query whose turn it is.
    turn: AtomicUsize,
}

/// Filled before and emptied after the benches: a static is never dropped, and its files would
/// stay.
static SHAPES: RwLock<Vec<Shape>> = RwLock::new(Vec::new());

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let shapes = DIMENSIONS.into_iter().map(Shape::build);
    let shapes = shapes.collect::<std::result::Result<Vec<_>, _>>()?;
    *SHAPES.write().map_err(|error| error.to_string())? = shapes;
    let benches = divan::Divan::from_args();
    if is_bench {
        benches.run_benches()
    } else {
        benches.test_benches()
    }
    let shapes = std::mem::take(&mut *SHAPES.write().map_err(|error| error.to_string())?);
    for Shape { corpus, queries, graph, flat, .. } in shapes {
        drop((graph, flat));
        first_query(&corpus.path("graph.portolan"), &queries)?;
    }
    Ok(())
}

impl Shape {
    fn build(dimensions: usize) -> std::result::Result<Self, Box<dyn Error>> {
        let corpus = Corpus::new(dimensions)?;
        let queries = corpus.queries(figures::setting("PORTOLAN_BENCH_QUERIES", 200, 5));
        let collection = |name: &str, graph_min_rows| -> Result<Collection> {
            let (_, collection) = corpus.create(name)?;
            corpus.fill(&collection, corpus.rows, 1_000)?;
            collection.maintain().graph_min_rows(graph_min_rows).run()?;
            Ok(collection)
        };
        let graph = collection("graph.portolan", 0)?;
        let flat = collection("flat.portolan", u32::MAX)?;
        let shape = Self { corpus, queries, graph, flat, turn: AtomicUsize::new(0) };
        let recall = shape.recall()?;
        let Corpus { rows, dimensions, .. } = &shape.corpus;
        println!("{rows} rows x {dimensions}, recall@{K} of the graph {recall:.4}");
        Ok(shape)
    }

    /// Share of the true neighbors that the graph finds.
    fn recall(&self) -> Result<f64> {
        let truth = self.graph.search_batch(&self.queries).limit(K).exact().run()?;
        let found = self.graph.search_batch(&self.queries).limit(K).run()?;
        let right = truth.iter().zip(&found).map(|(truth, found)| {
            found.iter().filter(|hit| truth.iter().any(|other| other.id == hit.id)).count()
        });
        let all: usize = truth.iter().map(Vec::len).sum();
        Ok(right.sum::<usize>() as f64 / all.max(1) as f64)
    }

    /// Another query each time.
    fn query(&self) -> &[f32] {
        &self.queries[self.turn.fetch_add(1, Ordering::Relaxed) % self.queries.len()]
    }
}

/// Runs a bench on the shape of so many dimensions.
fn on(dimensions: usize, bench: impl FnOnce(&Shape)) {
    let shapes = SHAPES.read().expect("no bench panicked");
    bench(shapes.iter().find(|shape| shape.corpus.dimensions == dimensions).expect("it was built"));
}

#[divan::bench(args = DIMENSIONS, max_time = 2)]
fn one_query(bencher: Bencher<'_, '_>, dimensions: usize) {
    on(dimensions, |shape| {
        bencher
            .counter(ItemsCount::new(1_usize))
            .bench(|| shape.graph.search(shape.query()).limit(K).run().expect("a search"));
    });
}

#[divan::bench(args = DIMENSIONS, max_time = 2)]
fn batch(bencher: Bencher<'_, '_>, dimensions: usize) {
    on(dimensions, |shape| {
        bencher
            .counter(ItemsCount::new(shape.queries.len()))
            .bench(|| shape.graph.search_batch(&shape.queries).limit(K).run().expect("a search"));
    });
}

#[divan::bench(args = FILTERED, max_time = 2)]
fn filtered(bencher: Bencher<'_, '_>, (dimensions, passing): (usize, i64)) {
    // thousandths of the rows
    assert_eq!(BUCKETS, 1_000);
    on(dimensions, |shape| {
        bencher.counter(ItemsCount::new(1_usize)).bench(|| {
            let search = shape.graph.search(shape.query()).limit(K);
            search.filter(Filter::lt("bucket", passing)).run().expect("a search")
        });
    });
}

#[divan::bench(args = DIMENSIONS, max_time = 2)]
fn flat(bencher: Bencher<'_, '_>, dimensions: usize) {
    on(dimensions, |shape| {
        bencher
            .counter(ItemsCount::new(1_usize))
            .bench(|| shape.flat.search(shape.query()).limit(K).run().expect("a search"));
    });
}

#[divan::bench(args = DIMENSIONS, max_time = 2)]
fn exact(bencher: Bencher<'_, '_>, dimensions: usize) {
    on(dimensions, |shape| {
        bencher
            .counter(ItemsCount::new(1_usize))
            .bench(|| shape.graph.search(shape.query()).limit(K).exact().run().expect("a search"));
    });
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
    let dimensions = query.len();
    println!("open and first query at {dimensions}: {:.2} ms", figures::median(rounds(false)?));
    println!("the same from disk: {:.2} ms", figures::median(rounds(true)?));
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
