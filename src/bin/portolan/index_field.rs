//! `portolan index-field`: makes the index of a metadata field that filters on it need. And the
//! option that tells which fields a new collection indexes.

use std::ops::ControlFlow;

use portolan::CollectionOptions;
use serde::Serialize;

use crate::args::IndexFieldArgs;
use crate::failure::Result;
use crate::open;
use crate::output::{Output, printable};
use crate::progress::Progress;

#[derive(Serialize)]
struct Indexed {
    collection: String,
    field: String,
    /// False if it was indexed already.
    built: bool,
    records: u64,
}

/// Indexes a field of all records, and of those that come later.
pub fn run(args: &IndexFieldArgs, out: &Output) -> Result<()> {
    let collection = open::write_collection(&args.db, &args.collection)?;
    let progress = Progress::new("indexing", 0);
    let mut built = false;
    collection.declare_field_with(&args.field, |done, total| {
        built = true;
        progress.of(done, total);
        ControlFlow::Continue(())
    })?;
    drop(progress);
    let records = collection.count()?;
    let (collection, field) = (args.collection.clone(), args.field.clone());
    out.result(&Indexed { collection, field, built, records }, |of| {
        let (field, name) = (printable(&of.field), printable(&of.collection));
        match of.built {
            true => format!("indexed {field} of {} records of {name}", of.records),
            false => format!("{field} of {name} is indexed already"),
        }
    })
}

/// Options of a collection that indexes these fields alone, or all if there are none.
pub fn declare(fields: &[String], options: CollectionOptions) -> CollectionOptions {
    fields.iter().fold(options, |options, field| options.index_field(field.as_str()))
}
