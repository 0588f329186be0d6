//! Queries whose answer is shaped, not scored: pages in order of a field, and diverse records.

use std::collections::BTreeSet;

use portolan::{Collection, Dense, Filter, Find, Mmr, Order, Record, RecordId, Value};

use super::common::Rng;
use super::{FIELDS, Predicate, Side};

/// A value of a field, of which each has one type.
type Key = (i64, String);

fn key(value: &Value) -> Key {
    match value {
        Value::Int(number) => (*number, String::new()),
        Value::Text(text) => (0, text.clone()),
        // Quarters.
        Value::Float(number) => ((number * 4.0) as i64, String::new()),
        Value::Timestamp(micros) => (*micros, String::new()),
        other => panic!("no such value here: {other:?}"),
    }
}

/// What a field orders a record by; none if it has no value.
fn deciding(record: &Record, field: &str, order: Order) -> Option<Key> {
    let keys: BTreeSet<Key> = match record.metadata.get(field)? {
        Value::List(items) => items.iter().map(key).collect(),
        single => BTreeSet::from([key(single)]),
    };
    if order == Order::Descending { keys.last().cloned() } else { keys.first().cloned() }
}

pub fn filtered(find: Find, filter: Option<&Filter>) -> Find {
    match filter {
        Some(filter) => find.filter(filter.clone()),
        None => find,
    }
}

/// All that match, page after page in order of a field: each once, those without the field last.
pub fn check_listed(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let field = FIELDS[rng.below(FIELDS.len() as u64) as usize];
    let order = if rng.once_in(2) { Order::Descending } else { Order::Ascending };
    let limit = 1 + rng.below(400) as usize;
    let given = filter.map(|filter| filter.filter(rng));
    let find = filtered(docs.find().order_by(field, order).limit(limit), given.as_ref());
    let mut listed: Vec<RecordId> = Vec::new();
    let mut page = find.clone().run().expect("a query");
    loop {
        listed.extend(page.hits.iter().map(|hit| hit.id.clone()));
        let Some(cursor) = page.next else { break };
        assert_eq!(page.hits.len(), limit, "a page before the last");
        page = find.clone().after(cursor).run().expect("a query");
    }
    let wanted: BTreeSet<&RecordId> = side.passing(filter).map(|record| &record.id).collect();
    assert_eq!(listed.len(), wanted.len(), "records in order of {field}");
    assert!(listed.iter().collect::<BTreeSet<_>>() == wanted, "what is listed");
    let key = |id: &RecordId| deciding(&side.model[id].0, field, order);
    let follows = |a: &RecordId, b: &RecordId| match (key(a), key(b)) {
        (Some(a), Some(b)) if a != b => (a > b) == (order == Order::Descending),
        (Some(_), None) => true,
        (None, Some(_)) => false,
        _ => side.age(a) < side.age(b),
    };
    assert!(listed.is_sorted_by(follows), "{field}, {order:?}");
}

/// Diverse hits are those of the pool that they are picked of, the best first.
pub fn check_diverse(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let vector = side.query(rng.next());
    let (pool, limit) = (1 + rng.below(40) as usize, 1 + rng.below(40) as usize);
    let dense = || docs.find().dense_with(Dense::new(vector.clone()).exact()).depth(pool);
    let given = filter.map(|filter| filter.filter(rng));
    let best = filtered(dense().limit(pool), given.as_ref()).run().expect("a query").hits;
    let mmr = Mmr::new(rng.below(5) as f32 / 4.0).candidates(pool);
    let diverse =
        filtered(dense().diversity(mmr).limit(limit), given.as_ref()).run().expect("a query");
    let of_pool: BTreeSet<&RecordId> = best.iter().map(|hit| &hit.id).collect();
    let found: BTreeSet<&RecordId> = diverse.hits.iter().map(|hit| &hit.id).collect();
    assert_eq!(found.len(), diverse.hits.len(), "a record twice");
    assert_eq!(found.len(), limit.min(best.len()), "diverse hits");
    assert!(found.is_subset(&of_pool), "what is in no pool");
    if limit >= best.len() {
        assert!(found == of_pool, "what is left out");
    }
}
