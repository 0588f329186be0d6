//! `portolan create`: an empty collection.

use std::path::PathBuf;

use portolan::{CollectionOptions, Database};
use serde::Serialize;

use crate::args::CreateArgs;
use crate::failure::Result;
use crate::index_field;
use crate::output::{Output, dimensions_text, printable};

#[derive(Serialize)]
struct Created {
    path: PathBuf,
    collection: String,
    dimensions: usize,
    leading_dimensions: usize,
    metric: String,
}

/// Makes the collection, and the file if it is absent.
pub fn run(args: &CreateArgs, out: &Output) -> Result<()> {
    let db = Database::open(&args.db)?;
    let options = match args.dim {
        Some(dim) => {
            CollectionOptions::new(dim, args.metric).leading_dimensions(args.leading.unwrap_or(dim))
        }
        None => CollectionOptions::without_vectors(),
    };
    let options =
        index_field::declare(&args.index_field, args.language.of(options, args.stop_words));
    let collection = db.create_collection(&args.collection, options)?;
    let created = Created {
        path: db.path().to_owned(),
        collection: collection.name().to_owned(),
        dimensions: collection.dimensions(),
        leading_dimensions: collection.leading_dimensions(),
        metric: collection.metric().to_string(),
    };
    out.result(&created, |created| {
        let Created { path, collection, metric, .. } = created;
        let (name, path) = (printable(collection), path.display());
        if args.no_vectors {
            return format!("created {name} in {path}: no vectors");
        }
        let shape = dimensions_text(created.dimensions, created.leading_dimensions);
        format!("created {name} in {path}: {shape}, {metric}")
    })
}
