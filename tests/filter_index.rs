//! Filters against a predicate over all records that shares nothing with the library: on fields
//! with an index of each kind and without one, after inserts, replacements and deletions, through
//! LMDB and through the reader of shipped files.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use portolan::{
    Collection, CollectionOptions, Database, Filter, IndexFields, Metric, Record, RecordId, Value,
};
use proptest::prelude::*;

type Model = BTreeMap<i64, Record>;

/// The order of two values of one type; integers and floats by number, exactly.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => (a == b).then_some(Ordering::Equal),
        (Value::Int(a), Value::Int(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => {
            Some(a.cmp(b))
        }
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Float(b)) => {
            let (whole, rest) = (b.floor() as i128, b.fract() != 0.0);
            let of_rest = if rest { Ordering::Less } else { Ordering::Equal };
            Some(i128::from(*a).cmp(&whole).then(of_rest))
        }
        (Value::Float(_), Value::Int(_)) => order(b, a).map(Ordering::reverse),
        (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => None,
    }
}

fn holds(filter: &Filter, record: &Record) -> bool {
    let any = |field: &String, holds: &dyn Fn(&Value) -> bool| match record.metadata.get(field) {
        None => false,
        Some(Value::List(items)) => items.iter().any(holds),
        Some(single) => holds(single),
    };
    let equal = |a: &Value, b: &Value| order(a, b) == Some(Ordering::Equal);
    match filter {
        Filter::Eq(field, value) => any(field, &|of| equal(of, value)),
        Filter::In(field, values) => any(field, &|of| values.iter().any(|value| equal(of, value))),
        Filter::Range { field, lower, upper } => any(field, &|of| {
            let above = lower.as_ref().is_none_or(|(bound, included)| match order(of, bound) {
                Some(Ordering::Greater) => true,
                Some(Ordering::Equal) => *included,
                _ => false,
            });
            let below = upper.as_ref().is_none_or(|(bound, included)| match order(of, bound) {
                Some(Ordering::Less) => true,
                Some(Ordering::Equal) => *included,
                _ => false,
            });
            above && below
        }),
        // An empty list has no value.
        Filter::Exists(field) => any(field, &|_| true),
        Filter::StartsWith(field, begin) => any(field, &|of| match of {
            Value::Text(text) => text.as_bytes().starts_with(begin.as_bytes()),
            _ => false,
        }),
        Filter::Ids(ids) => ids.contains(&record.id),
        Filter::And(all) => all.iter().all(|inner| holds(inner, record)),
        Filter::Or(any) => any.iter().any(|inner| holds(inner, record)),
        Filter::Not(inner) => !holds(inner, record),
        other => panic!("unknown to the oracle: {other:?}"),
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::Timestamp(_) => 3,
        Value::Text(_) => 4,
        other => panic!("compared with a {other:?}"),
    }
}

/// Whether one comparison asks for kinds of values that no record has in its field; none for
/// filters of other forms.
fn is_unmet(model: &Model, filter: &Filter) -> Option<bool> {
    let (field, asked): (_, Vec<u8>) = match filter {
        Filter::Eq(field, value) => (field, vec![kind(value)]),
        Filter::In(field, values) => (field, values.iter().map(kind).collect()),
        Filter::StartsWith(field, _) => (field, vec![4]),
        Filter::Range { field, lower: Some((value, _)), upper: None }
        | Filter::Range { field, lower: None, upper: Some((value, _)) } => {
            (field, vec![kind(value)])
        }
        _ => return None,
    };
    let has = |value: &Value| asked.contains(&kind(value));
    let meets = model.values().any(|record| match record.metadata.get(field) {
        None => false,
        Some(Value::List(items)) => items.iter().any(has),
        Some(single) => has(single),
    });
    Some(!asked.is_empty() && !asked.contains(&0) && !meets)
}

/// What a filter finds.
struct Found {
    ids: BTreeSet<RecordId>,
    count: u64,
    /// Whether it had to read records, and was told that something in it cannot be met.
    scanned: bool,
    unmet: bool,
}

fn found(docs: &Collection, filter: &Filter) -> Found {
    let all = docs.count().unwrap() as usize;
    let hits = docs.search(&[1.0]).exact().limit(all).filter(filter.clone()).run().unwrap();
    let ids = hits.iter().map(|hit| hit.id.clone()).collect();
    let counted = docs.count_where(filter).unwrap();
    assert_eq!(counted.warnings.len(), hits.report.warnings.len());
    let (scans, others): (Vec<&String>, Vec<_>) =
        counted.warnings.iter().partition(|warning| warning.contains("has no index"));
    let (scanned, unmet) = (!scans.is_empty(), !others.is_empty());
    Found { ids, count: counted.records, scanned, unmet }
}

fn check(docs: &Collection, model: &Model, filter: &Filter) -> Result<bool, TestCaseError> {
    let matching = || model.values().filter(|record| holds(filter, record));
    let with_vector = matching().filter(|record| record.vector.is_some());
    let expected: BTreeSet<RecordId> = with_vector.map(|record| record.id.clone()).collect();
    let Found { ids, count, scanned, unmet } = found(docs, filter);
    prop_assert_eq!(ids, expected, "{}", filter);
    prop_assert_eq!(count, matching().count() as u64, "{}", filter);
    if let Some(expected) = is_unmet(model, filter).filter(|_| !scanned) {
        prop_assert_eq!(unmet, expected, "{}", filter);
    }
    Ok(scanned)
}

const FIELDS: [&str; 5] = ["number", "text", "list", "mixed", "rare"];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[abc]{0,3}",
        1 => "z\u{0}[abc]{0,2}",
        // Alike in the bytes that a key has of them.
        1 => "[abc]{0,2}".prop_map(|end| "y".repeat(191) + &end),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    let large = 9_007_199_254_740_990..9_007_199_254_740_999_i64;
    prop_oneof![
        4 => (-4..8_i64).prop_map(Value::Int),
        3 => (-8..16_i64).prop_map(|half| Value::Float(half as f64 / 2.0)),
        1 => large.clone().prop_map(Value::Int),
        1 => large.prop_map(|number| Value::Float(number as f64)),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        3 => number(),
        3 => text().prop_map(Value::Text),
        2 => (-3..3_i64).prop_map(Value::Timestamp),
    ]
}

fn value(field: &str) -> BoxedStrategy<Value> {
    let list = || prop::collection::vec(scalar(), 0..5).prop_map(Value::List);
    match field {
        "number" => number().boxed(),
        "text" => text().prop_map(Value::Text).boxed(),
        "list" => list().boxed(),
        _ => prop_oneof![3 => scalar(), 1 => list()].boxed(),
    }
}

fn record() -> impl Strategy<Value = Record> {
    let field = |name: &'static str| {
        let share = if name == "rare" { 0.1 } else { 0.8 };
        prop::option::weighted(share, value(name)).prop_map(move |value| (name, value))
    };
    let fields = FIELDS.map(field);
    (0..40_i64, prop::bool::weighted(0.8), fields).prop_map(|(id, has_vector, fields)| {
        let mut record = Record::new(id);
        for (name, value) in fields {
            record.metadata.extend(value.map(|value| (name.to_owned(), value)));
        }
        if has_vector { record.vector([1.0]) } else { record }
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let field = || prop::sample::select(&FIELDS[..]).prop_map(str::to_owned);
    let plain = || "[abc]{0,3}";
    // Bounds of one type; texts with zeros and long ones have no order of their own.
    let bounds = prop_oneof![
        (number(), number()),
        (plain(), plain()).prop_map(|(a, b)| (Value::Text(a), Value::Text(b))),
        (-3..3_i64, -3..3_i64).prop_map(|(a, b)| (Value::Timestamp(a), Value::Timestamp(b))),
    ];
    let bounds = (bounds, any::<[bool; 4]>()).prop_map(|((low, high), [a, b, c, d])| {
        let lower = (a || !b).then_some((low, c));
        (lower, b.then_some((high, d)))
    });
    let id = prop_oneof![
        4 => (0..45_i64).prop_map(RecordId::Int),
        1 => "[0-9]{1,2}".prop_map(RecordId::Text),
    ];
    let leaf = prop_oneof![
        (field(), scalar()).prop_map(|(field, value)| Filter::Eq(field, value)),
        (field(), prop::collection::vec(scalar(), 0..4))
            .prop_map(|(field, values)| Filter::In(field, values)),
        (field(), bounds).prop_map(|(field, (lower, upper))| Filter::Range { field, lower, upper }),
        field().prop_map(Filter::Exists),
        (field(), text()).prop_map(|(field, begin)| Filter::StartsWith(field, begin)),
        prop::collection::vec(id, 0..4).prop_map(Filter::Ids),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        let many = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            many.clone().prop_map(Filter::And),
            many.prop_map(Filter::Or),
            inner.prop_map(Filter::negate),
        ]
    })
}

#[derive(Debug, Clone)]
enum Step {
    Upsert(Record),
    Delete(i64),
}

fn batch() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => record().prop_map(Step::Upsert),
        1 => (0..40_i64).prop_map(Step::Delete),
    ];
    prop::collection::vec(step, 1..25)
}

/// Which fields are indexed, and which of them only once there are records.
#[derive(Debug, Clone)]
enum Indexed {
    All,
    Declared { first: Vec<&'static str>, later: &'static str, gradually: &'static str },
}

fn indexed() -> impl Strategy<Value = Indexed> {
    let field = || prop::sample::select(&FIELDS[..]);
    let first = prop::sample::subsequence(&FIELDS[..], 0..3);
    let declared = (first, field(), field())
        .prop_map(|(first, later, gradually)| Indexed::Declared { first, later, gradually });
    prop_oneof![1 => Just(Indexed::All), 2 => declared]
}

fn apply(docs: &Collection, model: &mut Model, steps: Vec<Step>) {
    let mut batch = docs.batch();
    for step in steps {
        match step {
            Step::Upsert(record) => {
                batch.upsert(record.clone()).unwrap();
                let RecordId::Int(id) = record.id else { panic!("an id of another kind") };
                model.insert(id, record);
            }
            Step::Delete(id) => {
                batch.delete(id);
                model.remove(&id);
            }
        }
    }
    batch.commit().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_filter_finds_what_a_predicate_over_all_records_finds(
        indexed in indexed(),
        batches in prop::collection::vec(batch(), 1..6),
        filters in prop::collection::vec(filter(), 12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.portolan");
        let db = Database::open(&path).unwrap();
        let mut options = CollectionOptions::new(1, Metric::Dot);
        if let Indexed::Declared { first, .. } = &indexed {
            options = options.index_fields(IndexFields::Declared);
            options = first.iter().fold(options, |options, name| options.index_field(*name));
        }
        let docs = db.create_collection("docs", options).unwrap();
        let mut model = Model::new();
        let middle = batches.len() / 2;
        for (at, steps) in batches.into_iter().enumerate() {
            apply(&docs, &mut model, steps);
            for filter in &filters[..3] {
                let scanned = check(&docs, &model, filter)?;
                let may_scan = matches!(indexed, Indexed::Declared { .. });
                prop_assert!(!scanned || may_scan);
            }
            if let Indexed::Declared { later, gradually, .. } = &indexed && at == middle {
                docs.declare_field(later).unwrap();
                docs.declare_field_gradually(gradually).unwrap();
            }
            db.verify().unwrap();
        }
        docs.upsert(Record::new(99).vector([1.0])).unwrap();
        model.insert(99, Record::new(99).vector([1.0]));
        for declared in docs.declared_fields().unwrap() {
            prop_assert!(declared.is_complete, "{:?}", declared);
            prop_assert!(!check(&docs, &model, &Filter::exists(declared.name))?);
        }
        docs.maintain().run().unwrap();
        db.verify().unwrap();
        for filter in &filters {
            check(&docs, &model, filter)?;
        }
        drop((docs, db));
        let db = Database::open_read_only(&path).unwrap();
        db.verify().unwrap();
        let docs = db.collection("docs").unwrap();
        for filter in &filters {
            check(&docs, &model, filter)?;
        }
    }
}

/// A record whose fields have few values and many, alone and in lists.
fn varied(id: i64, mix: i64) -> Record {
    let mixed = (id * 7_919 + mix * 104_729) % 10_007;
    let tags: Vec<Value> =
        (0..mixed % 5).map(|at| format!("t{}", (mixed + at) % 40).into()).collect();
    let record = Record::new(id).vector([1.0]).field("price", mixed as f64 / 7.0);
    let record = record.field("year", 1900 + mixed % 100).field("tags", tags);
    let record = record.field("path", format!("{}/{}/{}", mixed % 3, mixed % 50, mixed));
    if id % 97 == 0 { record.field("note", mixed % 9) } else { record }
}

#[test]
fn a_range_is_met_by_one_item_of_a_list_and_ids_in_words_are_those_of_records() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("kb.portolan")).unwrap();
    let declared = CollectionOptions::new(1, Metric::Dot).index_fields(IndexFields::Declared);
    for (name, options) in [("all", CollectionOptions::new(1, Metric::Dot)), ("none", declared)] {
        let docs = db.create_collection(name, options).unwrap();
        let list = |items: &[i64]| Value::List(items.iter().map(|&of| of.into()).collect());
        let record = |id: i64, of: Value| Record::new(id).field("n", of).vector([1.0]);
        docs.upsert(record(1, list(&[1, 20])).field("id", 2)).unwrap();
        docs.upsert(record(2, list(&[1, 7]))).unwrap();
        docs.upsert(record(3, list(&[]))).unwrap();
        docs.upsert(Record::new("a").field("id", 1).vector([1.0])).unwrap();
        let ids = |filter: Filter| found(&docs, &filter).ids.into_iter().collect::<Vec<_>>();
        assert_eq!(ids(Filter::range("n", 5..10)), [2.into()]);
        assert_eq!(ids(Filter::gte("n", 5).and(Filter::lt("n", 10))), [1.into(), 2.into()]);
        assert_eq!(ids(Filter::exists("n")), [1.into(), 2.into()]);
        let read = |text: &str| ids(text.parse().unwrap());
        assert_eq!(read("id = 1"), [1.into()]);
        assert_eq!(read("id = \"a\" or id in [3]"), [3.into(), "a".into()]);
        assert_eq!(read("id != 1"), [2.into(), 3.into(), "a".into()]);
        assert_eq!(read("`id` = 1"), ["a".into()]);
    }
}

#[test]
fn an_index_that_is_told_to_stop_is_not_used_and_goes_on_from_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("kb.portolan")).unwrap();
    let options = CollectionOptions::new(1, Metric::Dot).index_fields(IndexFields::Declared);
    let docs = db.create_collection("docs", options).unwrap();
    let mut batch = docs.batch();
    for id in 0..9_000_i64 {
        batch.upsert(Record::new(id).field("n", id % 10)).unwrap();
    }
    batch.commit().unwrap();
    let counted = || {
        let counted = docs.count_where(&Filter::eq("n", 3)).unwrap();
        (counted.records, counted.warnings.len())
    };
    let mut told = Vec::new();
    let is_complete = docs.declare_field_with("n", |done, total| {
        told.push((done, total));
        ControlFlow::Break(())
    });
    assert!(!is_complete.unwrap());
    assert_eq!(counted(), (900, 1));
    assert!(!docs.declared_fields().unwrap()[0].is_complete);
    let is_complete = docs.declare_field_with("n", |done, total| {
        told.push((done, total));
        ControlFlow::Continue(())
    });
    assert!(is_complete.unwrap());
    assert!(told.len() > 2 && told.is_sorted_by(|a, b| a.0 < b.0), "{told:?}");
    assert_eq!((told[0].1, *told.last().unwrap()), (9_000, (9_000, 9_000)));
    assert_eq!(counted(), (900, 0));
    let again = docs.declare_field_with("n", |_, _| panic!("there is nothing to do"));
    assert!(again.unwrap());
    assert_eq!(docs.indexed_fields().unwrap(), IndexFields::Declared);
    db.verify().unwrap();
}

#[test]
fn filters_over_many_blocks_find_what_a_predicate_finds_while_records_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("f.portolan")).unwrap();
    let options = CollectionOptions::new(1, Metric::Dot);
    let (docs, mut model) = (db.create_collection("docs", options).unwrap(), Model::new());
    for round in 0..2_i64 {
        for part in 0..3 {
            let ids = (0..9_000_i64).filter(|id| (id / (round * 500 + 1)) % 3 == part);
            let steps = ids.map(|id| match (id * 31 + round) % 11 {
                0 if round > 0 => Step::Delete(id),
                _ => Step::Upsert(varied(id, round)),
            });
            apply(&docs, &mut model, steps.collect());
        }
        db.verify().unwrap();
        for text in [
            "price < 700.5",
            "price >= 1429.4285714285713",
            "100 < price <= 100.5 or price = 3",
            "1950 <= year < 1970 and price > 200",
            "contains(tags, \"t7\") and not year = 1907",
            "tags in [\"t1\", \"t39\", \"none\"]",
            "starts_with(path, \"1/2\") or path = \"2/4/1004\"",
            "exists(note) and note != 4",
            "not exists(tags)",
            "id in (3, 500, 8999, 9001) or note = 8",
            "year < 1900 or price < 0 or path > \"3\" or note is null",
        ] {
            let scanned = check(&docs, &model, &text.parse().unwrap()).unwrap();
            assert!(!scanned, "{text}");
        }
    }
}

#[test]
fn a_filter_that_nothing_can_meet_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("kb.portolan")).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(1, Metric::Dot)).unwrap();
    let record = |id: i64| Record::new(id).field("year", id).field("added", "2024-01-31");
    docs.upsert(record(1)).unwrap();
    docs.upsert(record(2).field("note", Value::Null)).unwrap();
    let warnings = |filter: &str| {
        let filter: Filter = filter.parse().unwrap();
        let counted = docs.count_where(&filter).unwrap();
        let explained = docs.find().filter(filter).run().unwrap();
        assert_eq!(explained.report.warnings, counted.warnings);
        assert!(counted.warnings.iter().all(|one| explained.explain().to_string().contains(one)));
        counted.warnings
    };
    assert_eq!(
        warnings("yaer = 1 or year = 1"),
        ["no record has the field \"yaer\" of the filter: check its name"]
    );
    assert_eq!(
        warnings("added >= 2024-01-01"),
        ["the filter compares the field \"added\" with times, and it has only texts: values \
             match within their type alone"]
    );
    assert_eq!(warnings("not year = \"1\"").len(), 1);
    assert_eq!(warnings("year in [\"1\", true]").len(), 1);
    assert_eq!(warnings("a = 1 and b = 2").len(), 1, "nothing is left to ask b for");
    assert_eq!(warnings("a = 1 or a = 2").len(), 1, "the same is said once");
    // Values that are not there, and questions for what may be absent.
    for met in ["year = 99", "exists(draft)", "draft is null", "note is not null", "year in []"] {
        assert_eq!(warnings(met), [""; 0], "{met}");
    }
}
