//! hannoy as bench/peers asks for it: one command builds a store from raw float32 rows, another
//! searches it on one thread, asked over standard input.
//!
//! `build ROWS DIM METRIC M EF THREADS STORE` ends when the store is on disk.
//! `search QUERIES DIM METRIC K STORE` answers each line `EF` with `done` after it searched for
//! all queries with that ef, and the line `ids` with the row numbers that the last one found, -1
//! where there are fewer than k.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::path::Path;

use hannoy::distances::{Cosine, Euclidean};
use hannoy::{Database, Distance, Reader, Writer};
use heed::{CommitOrAbort, Env, EnvOpenOptions, WithTls};
use rand::SeedableRng;
use rand::rngs::StdRng;

type Done<T> = Result<T, Box<dyn Error>>;

/// Address space for the store; the file takes what it needs.
const MAP_BYTES: usize = 1 << 36;
const SEED: u64 = 42;

fn main() -> Done<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["build", rows, dim, metric, m, ef, threads, store] => {
            rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
            let (shape, store) = ((dim.parse()?, m.parse()?, ef.parse()?), Path::new(store));
            match *metric {
                "l2" => build::<Euclidean>(rows, shape, store),
                _ => build::<Cosine>(rows, shape, store),
            }
        }
        ["search", queries, dim, metric, k, store] => {
            let (dim, k, store) = (dim.parse()?, k.parse()?, Path::new(store));
            match *metric {
                "l2" => search::<Euclidean>(queries, dim, k, store),
                _ => search::<Cosine>(queries, dim, k, store),
            }
        }
        _ => Err("usage: build ROWS DIM METRIC M EF THREADS STORE | search QUERIES DIM METRIC K STORE".into()),
    }
}

fn open(store: &Path) -> Done<Env<WithTls>> {
    let mut options = EnvOpenOptions::new();
    // SAFETY: the store lies in the folder of one run; this process alone opens it, once.
    Ok(unsafe { options.map_size(MAP_BYTES).open(store)? })
}

fn database<D: Distance>(env: &Env<WithTls>) -> Done<Database<'_, D>> {
    let made = env.create_databases_and_commit(env.write_txn()?, |of, txn| -> heed::Result<_> {
        of.create_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    Ok(made.unwrap_commit())
}

fn build<D: Distance>(rows: &str, (dim, m, ef): (usize, usize, usize), store: &Path) -> Done<()> {
    let env = open(store)?;
    let writer = Writer::<D>::new(database(&env)?, 0, dim);
    let mut txn = env.write_txn()?;
    let mut file = BufReader::with_capacity(1 << 20, File::open(rows)?);
    let mut row = vec![0.0_f32; dim];
    let mut number = 0;
    while !file.fill_buf()?.is_empty() {
        file.read_exact(bytemuck::cast_slice_mut(&mut row))?;
        writer.add_item(&mut txn, number, &row)?;
        number += 1;
    }
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut builder = writer.builder(&mut rng);
    builder.ef_construction(ef);
    match m {
        16 => builder.build::<16, 32>(&mut txn)?,
        32 => builder.build::<32, 64>(&mut txn)?,
        _ => return Err("M is 16 or 32".into()),
    }
    txn.commit()?;
    Ok(())
}

fn search<D: Distance>(queries: &str, dim: usize, k: usize, store: &Path) -> Done<()> {
    let bytes = std::fs::read(queries)?;
    let queries: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    let env = open(store)?;
    let database = database::<D>(&env)?;
    let txn = env.read_txn()?;
    let reader = Reader::<D>::open(&txn, 0, database)?;
    let mut found: Vec<Vec<(u32, f32)>> = Vec::new();
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let line = line?;
        if line == "ids" {
            let ids = found.iter().flat_map(|hits| {
                (0..k).map(|at| hits.get(at).map_or(-1, |hit| i64::from(hit.0)).to_string())
            });
            writeln!(out, "{}", ids.collect::<Vec<_>>().join(" "))?;
        } else {
            let ef = line.parse()?;
            found.clear();
            for query in queries.chunks_exact(dim) {
                let hits = reader.nns(k).ef_search(ef).by_vector(&txn, query)?;
                found.push(hits.into_nns());
            }
            writeln!(out, "done")?;
        }
        out.flush()?;
    }
    Ok(())
}
