//! Records per second committed in batches of 1, 100 and 1,000, bytes of the file per record,
//! milliseconds of a search before maintenance, and seconds of maintenance. Every commit is
//! durable: it waits for the disk.

use std::error::Error;
use std::time::Instant;

use portolan::{Collection, Database};

#[path = "shared/corpus.rs"]
mod corpus;
#[path = "shared/figures.rs"]
mod figures;

use corpus::Corpus;

const BATCHES: [usize; 3] = [1, 100, 1_000];
/// Commits of one batch size at most: each waits for the disk.
const COMMITS_MAX: usize = 500;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let corpus = Corpus::new(figures::setting("PORTOLAN_BENCH_DIM", 384, 384))?;
    println!("{} rows x {}", corpus.rows, corpus.dimensions);
    let queries = corpus.queries(5);
    println!(
        "{:<8}{:>10}{:>12}{:>16}{:>12}",
        "batch", "records", "records/s", "bytes/record", "scan ms"
    );
    for batch in BATCHES {
        let rows = corpus.rows.min(COMMITS_MAX * batch);
        let name = format!("batch-{batch}.portolan");
        let (db, collection) = corpus.create(&name)?;
        let begin = Instant::now();
        corpus.fill(&collection, rows, batch)?;
        let rate = rows as f64 / begin.elapsed().as_secs_f64();
        let bytes = db.info()?.file_bytes / rows.max(1) as u64;
        let scan = scan(&collection, &queries)?;
        println!("{batch:<8}{rows:>10}{rate:>12.0}{bytes:>16}{scan:>12.2}");
    }
    maintain(&corpus)?;
    Ok(())
}

/// Milliseconds for a search while no vector is sealed.
fn scan(collection: &Collection, queries: &[Vec<f32>]) -> portolan::Result<f64> {
    let mut times = Vec::new();
    for query in queries {
        let begin = Instant::now();
        collection.search(query).run()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(figures::median(times))
}

fn maintain(corpus: &Corpus) -> portolan::Result<()> {
    let (db, collection) = corpus.create("maintained.portolan")?;
    corpus.fill(&collection, corpus.rows, 1_000)?;
    let done = collection.maintain().graph_min_rows(0).run()?;
    let grown = db.info()?.file_bytes / corpus.rows.max(1) as u64;
    let target = corpus.path("compacted.portolan");
    db.compact_to(&target)?;
    let compacted = Database::open_read_only(&target)?.info()?;
    println!("\nmaintenance: {:.2} s for {} rows", done.took.as_secs_f64(), done.rows);
    println!("bytes per record: {grown} maintained, {} compacted", {
        compacted.file_bytes / corpus.rows.max(1) as u64
    });
    for collection in compacted.collections {
        println!("{:#?}", collection.space);
    }
    Ok(())
}
