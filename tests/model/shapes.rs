//! Queries whose answer is shaped, not scored: pages in order of a field, records like others, and
//! diverse ones.

use std::collections::BTreeSet;

use portolan::{Collection, Dense, Find, Like, LikeStrategy, Mmr, Order, Record, RecordId, Value};

use super::common::Rng;
use super::{Predicate, Side};

/// A value of a field, of which each has one type.
type Key = (i64, String);

fn key(value: &Value) -> Key {
    match value {
        Value::Int(number) => (*number, String::new()),
        Value::Text(text) => (0, text.clone()),
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

pub fn filtered(find: Find, filter: Option<&Predicate>, rng: &mut Rng) -> Find {
    match filter {
        Some(filter) => find.filter(filter.filter(rng)),
        None => find,
    }
}

/// All that match, page after page in order of a field: each once, those without the field last.
pub fn check_listed(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let field = ["number", "tag", "list"][rng.below(3) as usize];
    let order = if rng.once_in(2) { Order::Descending } else { Order::Ascending };
    let limit = 1 + rng.below(400) as usize;
    let find = filtered(docs.find().order_by(field, order).limit(limit), filter, rng);
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
    let keys = listed.iter().map(|id| deciding(&side.model[id].0, field, order));
    let is_sorted = match order {
        Order::Ascending => keys.is_sorted_by_key(|key| (key.is_none(), key)),
        Order::Descending => keys.is_sorted_by(|a, b| a >= b),
    };
    assert!(is_sorted, "{field}, {order:?}");
}

/// Records like some and unlike others: never the examples, and as many as there are.
pub fn check_like(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let with_vector = |record: &&Record| record.vector.is_some();
    let all: Vec<RecordId> =
        side.passing(None).filter(with_vector).map(|record| record.id.clone()).collect();
    let mut examples = rng.sample(all, 3);
    if examples.is_empty() {
        return;
    }
    let negative = if examples.len() > 2 { examples.split_off(2) } else { Vec::new() };
    let limit = 1 + rng.below(30) as usize;
    let strategy = if rng.once_in(2) { LikeStrategy::Average } else { LikeStrategy::BestScore };
    let like = Like::new(examples.clone(), negative.clone()).strategy(strategy).exact();
    let found = filtered(docs.find().like_with(like).limit(limit), filter, rng).run();
    let hits = match found {
        Ok(found) => found.hits,
        // Examples that cancel each other out are no direction.
        Err(portolan::Error::Vector { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let is_example = |id: &RecordId| examples.contains(id) || negative.contains(id);
    let others = side.passing(filter).filter(with_vector).filter(|record| !is_example(&record.id));
    let wanted: BTreeSet<&RecordId> = others.map(|record| &record.id).collect();
    let found: BTreeSet<&RecordId> = hits.iter().map(|hit| &hit.id).collect();
    assert_eq!(found.len(), hits.len(), "a record twice");
    assert!(found.is_subset(&wanted), "{strategy:?} finds what it must not");
    if strategy == LikeStrategy::Average {
        assert_eq!(found.len(), limit.min(wanted.len()), "hits like others");
    }
}

/// Diverse hits are those of the pool that they are picked of, the best first.
pub fn check_diverse(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let vector = side.query(rng.next());
    let (pool, limit) = (1 + rng.below(40) as usize, 1 + rng.below(40) as usize);
    let dense = || docs.find().dense_with(Dense::new(vector.clone()).exact()).depth(pool);
    let best = filtered(dense().limit(pool), filter, rng).run().expect("a query").hits;
    let mmr = Mmr::new(rng.below(5) as f32 / 4.0).candidates(pool);
    let diverse =
        filtered(dense().diversity(mmr).limit(limit), filter, rng).run().expect("a query");
    let of_pool: BTreeSet<&RecordId> = best.iter().map(|hit| &hit.id).collect();
    let found: BTreeSet<&RecordId> = diverse.hits.iter().map(|hit| &hit.id).collect();
    assert_eq!(found.len(), diverse.hits.len(), "a record twice");
    assert_eq!(found.len(), limit.min(best.len()), "diverse hits");
    assert!(found.is_subset(&of_pool), "what is in no pool");
    if limit >= best.len() {
        assert!(found == of_pool, "what is left out");
    }
}
