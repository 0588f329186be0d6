//! Search through LMDB against search through the portable reader, on two equal files, in turns.

use std::error::Error;
use std::time::Instant;

use portolan::{Collection, Database, Result};

#[path = "shared/corpus.rs"]
mod corpus;
#[path = "shared/figures.rs"]
mod figures;

use corpus::{Corpus, NAME};

const ROUNDS: usize = 5;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let corpus = Corpus::new(figures::setting("PORTOLAN_BENCH_DIM", 384, 384))?;
    let queries = corpus.queries(figures::setting("PORTOLAN_BENCH_QUERIES", 200, 5));
    let (db, collection) = corpus.create("built.portolan")?;
    corpus.fill(&collection, corpus.rows, 1_000)?;
    collection.maintain().graph_min_rows(0).run()?;
    let (first, second) = (corpus.path("lmdb.portolan"), corpus.path("portable.portolan"));
    db.compact_to(&first)?;
    std::fs::copy(&first, &second)?;
    drop((db, collection));

    let lmdb = Database::open_existing(&first)?.collection(NAME)?;
    let portable = Database::open_read_only(&second)?.collection(NAME)?;
    println!("{} rows x {}, {} queries", corpus.rows, corpus.dimensions, queries.len());
    println!("{:<10}{:>14}{:>14}{:>10}", "search", "lmdb us", "portable us", "ratio");
    compare("ef 96", &lmdb, &portable, |collection| search(collection, &queries, false))?;
    compare("exact", &lmdb, &portable, |collection| search(collection, &queries, true))?;
    compare("get", &lmdb, &portable, |collection| get(collection, corpus.rows))?;
    Ok(())
}

/// Seconds for one call of the work and how many operations it did.
type Measured = Result<(f64, usize)>;

fn compare(
    name: &str,
    lmdb: &Collection,
    portable: &Collection,
    work: impl Fn(&Collection) -> Measured,
) -> Result<()> {
    let micros = |collection| -> Result<f64> {
        let (seconds, operations) = work(collection)?;
        Ok(seconds * 1e6 / operations.max(1) as f64)
    };
    micros(lmdb)?;
    micros(portable)?;
    let (mut first, mut second, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (micros(lmdb)?, micros(portable)?);
        first.push(a);
        second.push(b);
        ratios.push(b / a);
    }
    let medians = [first, second, ratios].map(figures::median);
    println!("{name:<10}{:>14.1}{:>14.1}{:>10.2}", medians[0], medians[1], medians[2]);
    Ok(())
}

fn search(collection: &Collection, queries: &[Vec<f32>], exact: bool) -> Measured {
    let begin = Instant::now();
    for query in queries {
        let search = collection.search(query);
        let search = if exact { search.exact() } else { search };
        std::hint::black_box(search.run()?);
    }
    Ok((begin.elapsed().as_secs_f64(), queries.len()))
}

/// Every 17th record by id.
fn get(collection: &Collection, rows: usize) -> Measured {
    let begin = Instant::now();
    let wanted = (0..rows).step_by(17);
    let operations = wanted.len();
    for row in wanted {
        std::hint::black_box(collection.get(format!("row-{row:08}"))?);
    }
    Ok((begin.elapsed().as_secs_f64(), operations))
}
