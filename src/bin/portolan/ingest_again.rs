//! What has to be known before documents go into a collection that is there already.

use std::collections::BTreeSet;

use portolan::{Collection, Maintenance, Value};

use crate::args::IngestArgs;
use crate::documents::{Survey, holds, is_text};
use crate::failure::{Failure, Result};
use crate::ingest::existing;
use crate::output::Output;

/// Records that are looked at to learn what fields hold.
const SAMPLE: usize = 100;

/// Tells of options that are for new collections alone, and refuses texts where the collection has
/// times: filters on the field would no longer find what they did.
pub fn check(args: &IngestArgs, survey: &Survey, out: &Output) -> Result<()> {
    let Some(collection) = existing(args, Maintenance::Manual)? else { return Ok(()) };
    let options = [
        ("--language", args.language.is_some(), "`portolan index-text`"),
        ("--stop-words", args.stop_words.is_some(), "`portolan index-text`"),
        ("--index-field", !args.index_field.is_empty(), "`portolan index-field`"),
    ];
    for (option, _, instead) in options.iter().filter(|(_, is_given, _)| *is_given) {
        out.warning(&format!(
            "collection {:?} is there already, and {option} is for new ones: {instead} changes it",
            args.collection
        ));
    }
    match times(&collection)?.iter().find(|name| survey.texts.contains(*name)) {
        Some(name) => Err(Failure::new(format!(
            "field {name:?} holds times in collection {:?}, and texts in {}: with \
             --timestamp-field {name} they are read as times; nothing was written",
            args.collection,
            args.docs.display()
        ))),
        None => Ok(()),
    }
}

/// The fields with times, and no texts, in the first records.
fn times(collection: &Collection) -> Result<BTreeSet<String>> {
    let page = collection.scan().limit(SAMPLE).run()?;
    let (mut times, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for (name, value) in page.records.iter().flat_map(|record| record.metadata.iter()) {
        if holds(value, |value| matches!(value, Value::Timestamp(_))) {
            times.insert(name.clone());
        } else if is_text(value) {
            texts.insert(name.clone());
        }
    }
    times.retain(|name| !texts.contains(name));
    Ok(times)
}
