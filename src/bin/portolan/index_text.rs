//! `portolan index-text`: makes the index of words that searches by words need.

use portolan::TextIndex;
use serde::Serialize;

use crate::args::IndexTextArgs;
use crate::failure::Result;
use crate::open;
use crate::output::Output;

#[derive(Serialize)]
struct Indexed {
    collection: String,
    language: &'static str,
    records: u64,
}

/// Indexes the words of all records, and of those that come later.
pub fn run(args: &IndexTextArgs, out: &Output) -> Result<()> {
    let collection = open::write_collection(&args.db, &args.collection)?;
    let index = TextIndex::new(args.language).title(args.title_weight);
    let index = index.stop_words(args.stop_words);
    let records = collection.index_text(&index)?;
    let collection = args.collection.clone();
    let indexed = Indexed { collection, language: args.language.code(), records };
    out.result(&indexed, |indexed| {
        format!("indexed the words of {} records of {}", indexed.records, indexed.collection)
    })
}
