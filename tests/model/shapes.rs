//! Queries whose answer is shaped, not scored: pages in order of a field, and diverse records.

use std::collections::BTreeSet;

use portolan::{
    Collection, Dense, Facet, Filter, Find, Findings, Hit, Metric, Mmr, Order, Record, RecordId,
    Value,
};

use super::common::Rng;
use super::hybrid::counted;
use super::{FIELDS, Predicate, Side};

/// A value of a field, of which each has one type.
pub type Key = (i64, String);

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

/// The values of a field, once each, in order.
fn keys(record: &Record, field: &str) -> BTreeSet<Key> {
    match record.metadata.get(field) {
        None => BTreeSet::new(),
        Some(Value::List(items)) => items.iter().map(key).collect(),
        Some(single) => BTreeSet::from([key(single)]),
    }
}

/// The first `size` of each value of records in an order, in order of the first of each.
pub fn best_of_each<'r>(
    records: impl Iterator<Item = &'r Record>,
    field: &str,
    size: usize,
) -> Vec<(Key, Vec<RecordId>)> {
    let mut groups: Vec<(Key, Vec<RecordId>)> = Vec::new();
    for record in records {
        for key in keys(record, field) {
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, members)) if members.len() == size => {}
                Some((_, members)) => members.push(record.id.clone()),
                None => groups.push((key, vec![record.id.clone()])),
            }
        }
    }
    groups
}

/// The groups of a query as [`best_of_each`] has them.
pub fn grouped(found: &Findings) -> Vec<(Key, Vec<RecordId>)> {
    let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect();
    found.groups().map(|group| (key(group.value), ids(group.hits))).collect()
}

/// What a field orders a record by; none if it has no value.
fn deciding(record: &Record, field: &str, order: Order) -> Option<Key> {
    let keys = keys(record, field);
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

    // Groups and facets of what matches, in order of insertion.
    let mut passing: Vec<&Record> = side.passing(filter).collect();
    passing.sort_by_key(|record| side.age(&record.id));
    let size = 1 + rng.below(3) as usize;
    let find = filtered(docs.find().facets([Facet::new(field).limit(50)]), given.as_ref());
    let found = find.group_by(field, size).limit(limit).run().expect("a query");
    let counts = found.facets[0].values.iter().map(|one| (format!("{:?}", one.value), one.count));
    let wanted = counted(passing.iter().copied(), field);
    assert_eq!(found.facets[0].distinct, wanted.len());
    assert!(counts.clone().count() == wanted.len().min(50), "values of {field}");
    counts.for_each(|(value, count)| assert_eq!(wanted[&value], count, "{field} = {value}"));
    let mut groups = best_of_each(passing.into_iter(), field, size);
    groups.truncate(limit);
    assert!(grouped(&found) == groups, "groups by {field}");
}

/// Each diverse hit is one that a greedy choice can make, up to rounding.
fn check_greedy(side: &Side, best: &[Hit], diverse: &[Hit], lambda: f64) {
    let of = |hit: &Hit| side.expected(&hit.id).and_then(|record| record.vector).expect("a vector");
    let alike = |a: &Hit, b: &Hit| {
        let (a, b) = (of(a), of(b));
        let pairs = || a.iter().zip(&b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
        if side.shape.metric == Metric::L2 {
            return 1.0 / (1.0 + pairs().map(|(x, y)| (x - y).powi(2)).sum::<f64>());
        }
        let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let norms = (norm(&a) * norm(&b)).sqrt();
        if norms > 0.0 { pairs().map(|(x, y)| x * y).sum::<f64>() / norms } else { 0.0 }
    };
    let score = |hit: &Hit| f64::from(hit.score);
    let (Some(first), Some(last)) = (best.first(), best.last()) else { return };
    let range = score(first) - score(last);
    let mut left: Vec<(&Hit, f64)> = best.iter().map(|hit| (hit, 0.0)).collect();
    for (at, picked) in diverse.iter().enumerate() {
        let value = |(hit, similar): &(&Hit, f64)| {
            let relevance = if range > 0.0 { (score(hit) - score(last)) / range } else { 1.0 };
            lambda * relevance - (1.0 - lambda) * similar
        };
        let most = left.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
        let place = left.iter().position(|(hit, _)| hit.id == picked.id).expect("of the pool");
        let own = value(&left.remove(place));
        assert!(own >= most - 1e-4, "{} at {at} is worth {own} of {most}", picked.id);
        for (hit, similar) in &mut left {
            let alike = alike(hit, picked);
            *similar = if at == 0 { alike } else { similar.max(alike) };
        }
    }
}

/// Diverse hits are those of the pool that they are picked of, the best first.
pub fn check_diverse(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let vector = side.query(rng.next());
    let (pool, limit) = (1 + rng.below(40) as usize, 1 + rng.below(40) as usize);
    let dense = || docs.find().dense_with(Dense::new(vector.clone()).exact()).depth(pool);
    let given = filter.map(|filter| filter.filter(rng));
    let best = filtered(dense().limit(pool), given.as_ref()).run().expect("a query").hits;
    let lambda = rng.below(5) as f32 / 4.0;
    let mmr = Mmr::new(lambda).candidates(pool);
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
    check_greedy(side, &best, &diverse.hits, f64::from(lambda));
}
