//! Orders, groups, facets, diversity, vectors, neighbors and the explanation.

use std::cmp::Ordering;

use portolan::{
    CollectionOptions, Database, Dense, Facet, Filter, IndexFields, Language, Matrix, Metric, Mmr,
    Order, Record, TextIndex, Value, VectorField,
};
use proptest::prelude::*;

use crate::world::{Passes, World, indexes, metrics, passes, run, steps, vectors, wide};

/// The order of values in filters, of those that occur here.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    let number = |value: &Value| match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    match (number(a), number(b), a, b) {
        (Some(a), Some(b), ..) => a.total_cmp(&b),
        (Some(_), None, ..) => Ordering::Less,
        (None, Some(_), ..) => Ordering::Greater,
        (.., Value::Text(a), Value::Text(b)) => a.cmp(b),
        other => panic!("no such value here: {other:?}"),
    }
}

pub fn items(record: &Record, field: &str) -> Vec<Value> {
    let mut items = match record.metadata.get(field) {
        None => Vec::new(),
        Some(Value::List(items)) => items.clone(),
        Some(single) => vec![single.clone()],
    };
    items.sort_by(compare);
    items.dedup_by(|a, b| compare(a, b).is_eq());
    items
}

/// How a field orders two records, those without it last.
pub fn in_order(a: &Record, b: &Record, field: &str, order: Order) -> Ordering {
    let key = |record: &Record| {
        let items = items(record, field);
        let last = order == Order::Descending;
        if last { items.last().cloned() } else { items.first().cloned() }
    };
    match (key(a), key(b)) {
        (Some(a), Some(b)) if order == Order::Descending => compare(&b, &a),
        (Some(a), Some(b)) => compare(&a, &b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

const FIELDS: [&str; 3] = ["lang", "year", "tags"];

pub fn counted<'r>(records: impl Iterator<Item = &'r Record>, field: &str) -> Vec<(Value, u64)> {
    let mut counts: Vec<(Value, u64)> = Vec::new();
    for item in records.flat_map(|record| items(record, field)) {
        match counts.iter_mut().find(|(value, _)| compare(value, &item).is_eq()) {
            Some((_, count)) => *count += 1,
            None => counts.push((item, 1)),
        }
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(compare(&a.0, &b.0)));
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn orders_groups_and_facets_are_those_of_a_look_at_each_record(
        metric in metrics(), steps in steps(), passes in passes(), vector in vectors(),
        depth in 1_usize..60, field in 0..FIELDS.len(), size in 1_usize..4, named in 1_usize..4,
        indexed in indexes(),
    ) {
        let world = World::indexed(metric, indexed, &steps);
        let field = FIELDS[field];
        let vector = wide(vector);
        let mut pool = world.nearest(&vector, passes);
        pool.truncate(depth);
        let find = passes.on(world.docs.find()).dense_with(Dense::new(vector)).depth(depth);
        let find = find.limit(1000);

        for order in [Order::Ascending, Order::Descending] {
            let mut expected = pool.clone();
            expected.sort_by(|a, b| {
                let ordered = in_order(&world.records[a.0], &world.records[b.0], field, order);
                ordered.then(b.1.total_cmp(&a.1)).then(a.0.cmp(&b.0))
            });
            let expected: Vec<usize> = expected.into_iter().map(|(at, _)| at).collect();
            let found = run(find.clone().order_by(field, order));
            prop_assert_eq!(world.places(&found), expected);

            // Without a list, all that match: by the index, where there is one.
            let all = (0..world.records.len()).filter(|at| passes.of(&world.records[*at]));
            let mut expected: Vec<usize> = all.collect();
            expected.sort_by(|a, b| in_order(&world.records[*a], &world.records[*b], field, order));
            for limit in [1000, depth, 1] {
                expected.truncate(limit);
                let listed = world.docs.find().order_by(field, order).limit(limit);
                prop_assert_eq!(world.places(&run(passes.on(listed))), expected.clone());
            }
        }

        let mut expected: Vec<(Value, Vec<usize>)> = Vec::new();
        for (at, _) in &pool {
            for item in items(&world.records[*at], field) {
                match expected.iter_mut().find(|(value, _)| compare(value, &item).is_eq()) {
                    Some((_, members)) if members.len() == size => {}
                    Some((_, members)) => members.push(*at),
                    None => expected.push((item, vec![*at])),
                }
            }
        }
        let found = run(find.clone().group_by(field, size));
        let groups: Vec<(Value, Vec<usize>)> =
            found.groups().map(|group| (group.value.clone(), world.places(group.hits))).collect();
        prop_assert_eq!(&groups, &expected);
        let all: usize = groups.iter().map(|(_, members)| members.len()).sum();
        prop_assert_eq!(found.hits.len(), all);

        let facets = [Facet::new(field).limit(named), Facet::new(field).of_found().limit(named)];
        let found = run(find.facets(facets));
        let matches = counted(world.records.iter().filter(|record| passes.of(record)), field);
        let of_found = counted(pool.iter().map(|(at, _)| &world.records[*at]), field);
        for (facet, expected) in found.facets.iter().zip([matches, of_found]) {
            prop_assert_eq!(facet.distinct, expected.len());
            prop_assert_eq!(facet.values.len(), expected.len().min(named));
            for (found, (value, count)) in facet.values.iter().zip(&expected) {
                prop_assert!(compare(&found.value, value).is_eq() && found.count == *count);
            }
        }
    }

    #[test]
    fn diverse_hits_are_picked_as_by_a_naive_greedy_choice(
        metric in metrics(), steps in steps(), vector in vectors(), lambda in 0_u8..5,
        pool in 1_usize..20, limit in 1_usize..15,
    ) {
        let world = World::new(metric, &steps);
        let (vector, lambda) = (wide(vector), f32::from(lambda) / 4.0);
        let all = world.nearest(&vector, Passes::All);
        let pool = pool.min(all.len());
        let find = world.docs.find().dense(&vector).depth(1000).limit(limit);
        let found = run(find.diversity(Mmr::new(lambda).candidates(pool.max(1))));
        let found = world.places(&found);
        prop_assert_eq!(found.len(), limit.min(all.len()));
        let of = |at: usize| world.records[at].vector.clone().unwrap();
        let alike = |a: usize, b: usize| {
            let (a, b) = (of(a), of(b));
            let pairs = || a.iter().zip(&b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
            match metric {
                Metric::L2 => 1.0 / (1.0 + pairs().map(|(x, y)| (x - y).powi(2)).sum::<f64>()),
                _ => {
                    let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
                    pairs().map(|(x, y)| x * y).sum::<f64>() / (norm(&a) * norm(&b)).sqrt()
                }
            }
        };
        let best = all.first().map_or(0.0, |first| first.1);
        let worst = all.get(pool.max(1) - 1).map_or(0.0, |last| last.1);
        let lambda = f64::from(lambda);
        for picked in 0..found.len().min(pool) {
            let value = |(at, score): &(usize, f64)| {
                let relevance = if best > worst { (score - worst) / (best - worst) } else { 1.0 };
                let similar = found[..picked].iter().map(|&shown| alike(*at, shown));
                let similar = similar.fold(f64::NEG_INFINITY, f64::max);
                let similar = if picked == 0 { 0.0 } else { similar };
                lambda * relevance - (1.0 - lambda) * similar
            };
            let left = || all[..pool].iter().filter(|(at, _)| !found[..picked].contains(at));
            let most = left().map(value).fold(f64::NEG_INFINITY, f64::max);
            let own = left().find(|(at, _)| *at == found[picked]);
            // Neither picked twice nor from outside of the pool.
            prop_assert!(own.is_some(), "{}", found[picked]);
            prop_assert!(own.is_some_and(|own| value(own) >= most - 1e-9));
        }
        let shown = found.len().saturating_sub(pool);
        let rest: Vec<usize> = all.iter().skip(pool).take(shown).map(|(at, _)| *at).collect();
        prop_assert_eq!(&found[pool.min(found.len())..], &rest[..]);
    }
}

#[test]
fn vectors_come_as_they_are_stored_and_only_when_asked_for() {
    let world = World::new(Metric::Cosine, &[]);
    world.docs.upsert(Record::new("a").vector([3.0, 0.0, 4.0]).text("reef")).unwrap();
    world.docs.upsert(Record::new("b").text("reef and wind")).unwrap();
    let find = world.docs.find().dense(&[1.0, 0.0, 0.0]).text("wind");
    assert!(run(find.clone()).iter().all(|hit| hit.record.vector.is_none()));
    let found = run(find.with_vectors());
    let vector = |id: &str| {
        let hit = found.iter().find(|hit| hit.id == id.into()).expect("found");
        hit.record.vector.clone()
    };
    assert_eq!((vector("a"), vector("b")), (Some(vec![0.6, 0.0, 0.8]), None));
}

#[test]
fn neighbors_are_the_chunks_around_a_hit_up_to_the_first_that_is_missing() {
    let world = World::new(Metric::Dot, &[]);
    let mut batch = world.docs.batch();
    let chunk = |document: &str, at: i64| {
        let record = Record::new(format!("{document}#{at}")).text(format!("{document} {at}"));
        record.field("document", document).field("chunk", at).vector([at as f32, 1.0, 0.0])
    };
    (0..7).filter(|at| *at != 5).for_each(|at| batch.upsert(chunk("a", at)).unwrap());
    // Under the id of a chunk of `b`, but of another document, and a chunk under another id.
    batch.upsert(chunk("b", 1)).unwrap();
    batch.upsert(Record::new("b#2").field("document", "c").field("chunk", 2)).unwrap();
    let mut loose = chunk("a", 2);
    loose.id = "loose".into();
    batch.upsert(loose).unwrap();
    batch.commit().unwrap();
    let of = |id: &str| {
        let (document, at) = id.split_once('#').unwrap_or(("a", "2"));
        let find = world.docs.find().filter(Filter::eq("document", document));
        let find = find.filter(
            Filter::eq("document", document).and(Filter::eq("chunk", at.parse::<i64>().unwrap())),
        );
        let found = run(find.neighbors(2));
        let hit = found.iter().find(|hit| hit.id == id.into()).expect("found").clone();
        let ids = |records: &[Record]| records.iter().map(|r| r.id.to_string()).collect::<Vec<_>>();
        (ids(&hit.before), ids(&hit.after))
    };
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(of("a#3"), (names(&["a#1", "a#2"]), names(&["a#4"])));
    assert_eq!(of("a#0"), (names(&[]), names(&["a#1", "a#2"])));
    assert_eq!(of("a#6"), (names(&[]), names(&[])));
    assert_eq!(of("b#1"), (names(&[]), names(&[])));
    assert_eq!(of("loose"), (names(&[]), names(&[])));
}

#[test]
fn highlights_are_the_words_of_all_lists() {
    let world = World::new(Metric::Dot, &[]);
    let text = "wind from the north, reef to the north";
    world.docs.upsert(Record::new(1).title("North wind").text(text)).unwrap();
    let find = world.docs.find().text("north").text("reef north");
    assert!(run(find.clone())[0].highlights.text.is_empty());
    let found = run(find.highlights());
    let marked = &found[0].highlights.text;
    assert_eq!(
        marked.iter().map(|at| &text[at.clone()]).collect::<Vec<_>>(),
        ["north", "reef", "north"]
    );
    let title = &found[0].highlights.title;
    assert_eq!((title.len(), title[0].clone()), (1, 0..5));
}

#[test]
fn highlights_of_metadata_are_those_of_the_fields_that_have_an_index_of_words() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("f.portolan")).unwrap();
    let index = TextIndex::new(Language::English).field("author", 1).field("tags", 2);
    let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Dot).text(index));
    let docs = docs.unwrap();
    let tags = Value::List(vec!["reefs".into(), 7.into(), "north".into()]);
    let record = Record::new(1).field("author", "A. North").field("tags", tags);
    docs.upsert(record.field("note", "north of the reef")).unwrap();
    let found = run(docs.find().text("north reef").highlights());
    let fields = &found[0].highlights.fields;
    let one = |at: &portolan::FieldHighlight| {
        assert_eq!(at.ranges.len(), 1);
        (at.field.clone(), at.item, at.ranges[0].clone())
    };
    let told: Vec<_> = fields.iter().map(one).collect();
    let expected = [("author", 0, 3..8), ("tags", 0, 0..5), ("tags", 2, 0..5)];
    assert_eq!(told, expected.map(|(field, item, at)| (field.to_owned(), item, at)));
}

#[test]
fn an_explanation_tells_lists_paths_stages_and_what_recall_to_expect() {
    let world = World::new(Metric::Cosine, &[]);
    let mut batch = world.docs.batch();
    for id in 0..900_i64 {
        let angle = id as f32 / 7.0;
        let record = Record::new(id).vector([angle.sin(), angle.cos(), 0.1]).text("chart");
        batch.upsert(record.field("half", id % 2)).unwrap();
    }
    batch.commit().unwrap();
    world.docs.maintain().graph_min_rows(500).run().unwrap();
    world.docs.upsert(Record::new("new").vector([1.0, 0.0, 0.0]).field("half", 0)).unwrap();
    let find = world.docs.find().dense_with(Dense::new([1.0, 0.0, 0.0]).recall(0.9)).text("chart");
    let find = find.filter(Filter::eq("half", 0)).min_score(0.001).limit(3).facets(["half"]);
    let found = run(find);
    let json = found.explain().to_json();
    assert_eq!(json["filter"], "half = 0");
    assert_eq!((&json["records"], &json["passing"]), (&451.into(), &451.into()));
    assert_eq!((&json["records_read"], &json["warnings"]), (&0.into(), &serde_json::json!([])));
    assert_eq!(json["fusion"], "reciprocal rank fusion with k = 60");
    let lists = json["lists"].as_array().unwrap();
    let kinds: Vec<&str> = lists.iter().filter_map(|list| list["kind"].as_str()).collect();
    assert_eq!(kinds, ["dense", "text"]);
    assert_eq!(
        (&lists[0]["segments"][0]["passing"], &lists[0]["found"]),
        (&450.into(), &100.into())
    );
    assert!(
        lists[0]["expected_recall"].as_f64().is_some_and(|recall| (0.85..=1.0).contains(&recall))
    );
    assert!(lists[1]["expected_recall"].is_null() && lists[1]["scored"].as_u64() > Some(99));
    let stages: Vec<&str> = found.report.stages.iter().map(|stage| stage.stage).collect();
    assert_eq!(stages, ["filter", "lists", "fusion", "threshold", "facets", "records"]);
    let words = found.explain().to_string();
    for part in [
        "filter: half = 0: 451 records pass, 451 with",
        "by indexes alone",
        "list 1: dense",
        "expected recall of the 100 nearest",
        "list 2: text",
        "fusion:",
        "total:",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
}

#[test]
fn fields_without_an_index_are_told_of_whatever_the_lists() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("w.portolan")).unwrap();
    let options = CollectionOptions::new(2, Metric::Dot)
        .index_fields(IndexFields::Declared)
        .text(TextIndex::default())
        .vector_field("words", VectorField::sparse())
        .vector_field("tokens", VectorField::multi(2));
    let docs = db.create_collection("docs", options).unwrap();
    let tokens = Matrix::new(2, [1.0, 0.5]).unwrap();
    let record = |id: i64| Record::new(id).text("reef").field("half", id % 2);
    for id in 0..6_i64 {
        let record = record(id).named_vector("words", [(1, 1.0)]);
        docs.upsert(record.named_vector("tokens", tokens.clone())).unwrap();
    }
    let filter = || Filter::eq("half", 0);
    let find = || docs.find().filter(filter());
    for query in [
        find(),
        find().text("reef"),
        find().sparse("words", &[(1, 1.0)]),
        find().multi("tokens", &tokens),
    ] {
        let found = run(query);
        assert_eq!(found.len(), 3);
        let report = &found.report;
        assert_eq!((report.records, report.passing, report.records_read), (3, 0, 6));
        assert_eq!(report.scanned, ["half"]);
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
        let words = found.explain().to_string();
        assert!(words.contains("warning: the field \"half\" has no index"), "{words}");
        assert!(words.contains("3 records pass"), "{words}");
        assert!(words.contains("6 records read for lack of an index: half"), "{words}");
        assert_eq!(found.explain().to_json()["warnings"].as_array().map(Vec::len), Some(1));
    }
    let ranked = docs.maxsim("tokens", &tokens).filter(filter()).run().unwrap();
    assert!(ranked.report.warnings[0].contains("half"));
    let faceted = run(docs.find().facets(["half"]));
    assert!(faceted.report.warnings[0].contains("facet"), "{:?}", faceted.report.warnings);
    let found = run(docs.find().text("reef").facets([Facet::new("half").of_found()]));
    assert!(found.report.warnings.is_empty());
}

#[test]
fn a_page_of_no_hits_has_no_page_after_it() {
    let world = World::new(Metric::Dot, &[]);
    world
        .docs
        .upsert(Record::new(1).text("reef").vector([1.0, 0.0, 0.0]).field("year", 1))
        .unwrap();
    let find = || world.docs.find().filter(Filter::exists("year")).limit(0);
    for query in [
        find(),
        find().group_by("year", 1),
        find().order_by("year", Order::Ascending),
        find().dense(&[1.0, 0.0, 0.0]).group_by("year", 1).facets([Facet::new("year").of_found()]),
    ] {
        let found = run(query);
        assert!(found.is_empty() && found.next.is_none());
    }
}
