//! Parts of a collection that go and come again, its index of words and its named vector fields;
//! what it counts; and options that fit it or do not.

use portolan::{Collection, Database, Error, Hits, Record};

use super::common::Rng;
use super::common::oracle::Shape;
use super::searches::{IMAGE, WORDS, matrix, options, terms, text_index, vector_field, with_named};
use super::{Predicate, Side};

/// How many records there are, how many match, and which wait for their vector.
pub fn check_counts(docs: &Collection, side: &Side, seed: u64, filter: &Predicate) {
    assert_eq!(docs.count().expect("a count"), side.model.len() as u64);
    let counted = docs.count_where(&filter.filter(&mut Rng::new(seed))).expect("a count");
    assert_eq!(counted.records, side.passing(Some(filter)).count() as u64, "{filter:?}");
    let reads = counted.warnings.iter().any(|warning| warning.contains("has no index"));
    assert!(!(side.all_fields && reads), "{:?}", counted.warnings);
    let pending = side.pending();
    assert_eq!(docs.pending_count().expect("a count"), pending.len() as u64);
    assert_eq!(docs.pending().expect("a list"), pending);
}

/// A collection that is there is opened by the options that it was made with, and refused by those
/// for vectors of another length.
pub fn check_options(db: &Database, side: &Side) {
    let found = db.collection_or_create(side.name, side.options()).expect("the collection");
    assert_eq!(found.count().expect("a count"), side.model.len() as u64);
    let longer = Shape { dimensions: side.shape.dimensions + 1, ..side.shape };
    let refused = db.collection_or_create(side.name, options(longer, side.all_fields));
    assert!(matches!(refused, Err(Error::CollectionDiffers { .. })), "{refused:?}");
}

/// Indexes the words of all records, whether they are indexed or not.
pub fn index_words(docs: &Collection, side: &Side) {
    let index = text_index();
    assert_eq!(docs.index_text(&index).expect("an index"), side.model.len() as u64);
    assert_eq!(docs.text_index().expect("a setting"), Some(index));
}

pub fn remove_words(docs: &Collection) {
    assert!(docs.remove_text_index().expect("a removal"));
    assert!(!docs.remove_text_index().expect("a removal"), "the words go twice");
}

/// Nothing is left of the index of words, and nothing comes to it.
pub fn check_no_words(db: &Database, docs: &Collection) {
    db.verify().expect("an undamaged file");
    assert_eq!(docs.text_index().expect("a setting"), None);
    let found = docs.search_text(WORDS[0]).run();
    assert!(matches!(found, Err(Error::Text(_))), "{found:?}");
}

/// What a query by a named field finds.
fn asked(docs: &Collection, field: &str, rng: &mut Rng) -> portolan::Result<Hits> {
    match field {
        "image" => docs.search(&rng.vector(IMAGE.dimensions)).field(field).run(),
        "tokens" => docs.maxsim(field, &matrix(rng)).run(),
        _ => docs.search_sparse(field, &terms(rng)).run(),
    }
}

/// Removes a named vector field, which takes from all records what they have in it, and adds it
/// again. With `again` those records are then stored as they were.
pub fn field_anew(docs: &Collection, side: &mut Side, field: &str, seed: u64, again: bool) {
    let rng = &mut Rng::new(seed);
    let mut stale = docs.batch();
    stale.upsert(with_named(Record::new("stale"), field, rng)).expect("a valid record");
    assert!(docs.remove_vector_field(field).expect("a removal"));
    assert!(!docs.remove_vector_field(field).expect("a removal"), "{field} goes twice");
    let had = side.forget(field);
    side.check(docs, 97);
    let found = asked(docs, field, rng);
    assert!(matches!(found, Err(Error::VectorFieldNotFound { .. })), "{found:?}");
    let early = docs.batch().upsert(with_named(Record::new("early"), field, rng));
    assert!(matches!(early, Err(Error::VectorFieldNotFound { .. })), "{early:?}");

    docs.add_vector_field(field, vector_field(field)).expect("a field");
    let twice = docs.add_vector_field(field, vector_field(field));
    assert!(matches!(twice, Err(Error::VectorFieldExists { .. })), "{twice:?}");
    // What was meant for the field that is gone does not reach the one of the same name.
    let late = stale.commit();
    assert!(matches!(late, Err(Error::VectorFieldNotFound { .. })), "{late:?}");
    assert!(!docs.contains("stale").expect("a lookup"));
    assert!(asked(docs, field, rng).expect("a search").is_empty(), "a new field has something");

    let count = if again { had.len() } else { 0 };
    if again {
        let mut batch = docs.batch();
        for record in had {
            batch.upsert(record.clone()).expect("a valid record");
            side.insert(record);
        }
        assert_eq!(batch.commit().expect("a commit").upserted, count);
        side.check(docs, 97);
    }
    let info = docs.info().expect("the info");
    let found = info.vector_fields.iter().find(|of| of.name == field).map(|of| of.vectors);
    assert_eq!(found, Some(count as u64), "what is in {field}");
}
