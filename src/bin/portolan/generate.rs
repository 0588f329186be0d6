//! `portolan generate-vectors`: embedding-like vectors from a seed.

use std::path::PathBuf;

use portolan::eval::synthetic::Synthetic;
use portolan::eval::vector_file::write_npy_f32;
use serde::Serialize;

use crate::args::GenerateArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;

#[derive(Serialize)]
struct Generated {
    path: PathBuf,
    rows: usize,
    dim: usize,
    seed: u64,
    queries: bool,
}

/// Writes the file, which must be new. Holds all vectors in memory: 4 bytes a value.
pub fn run(args: &GenerateArgs, out: &Output) -> Result<()> {
    let GenerateArgs { rows, dim, seed, queries, length_spread, .. } = *args;
    // no allocation can be larger, and none that fails here would be reported kindly
    let size = rows.checked_mul(dim).and_then(|values| values.checked_mul(size_of::<f32>()));
    if size.is_none_or(|size| isize::try_from(size).is_err()) {
        return Err(Failure::Usage("rows times dim is more than memory can hold".to_owned()));
    }
    // A typing error must not cost a file of embeddings.
    if args.out.is_file() {
        let name = args.out.display();
        return Err(Failure::new(format!("{name} exists already: remove it, or name another")));
    }
    let synthetic = Synthetic::new(dim, seed).length_spread(length_spread);
    let vectors = if queries { synthetic.queries(rows) } else { synthetic.vectors(rows) };
    write_npy_f32(&args.out, &vectors, dim)?;
    let generated = Generated { path: args.out.clone(), rows, dim, seed, queries };
    out.result(&generated, |generated| {
        let kind = if queries { "queries" } else { "vectors" };
        format!("wrote {rows} {kind} of {dim} dimensions to {}", generated.path.display())
    })
}
