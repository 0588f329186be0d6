//! Queries without lists: groups, facets of what was found and pages behind a commit, by the index
//! or by a look at each record, which the report warns of.

use portolan::{Facet, Filter, IndexFields, Metric, Order, Value};
use proptest::prelude::*;

use crate::shaping::{compare, counted, in_order, items};
use crate::world::{World, indexes, passes, run, steps};

const FIELDS: [&str; 3] = ["lang", "year", "tags"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn groups_and_facets_without_lists_are_those_of_a_look_at_each_record(
        steps in steps(), passes in passes(), field in 0..FIELDS.len(), by in 0..FIELDS.len(),
        (size, limit, offset) in (1_usize..4, 1_usize..6, 0_usize..3), indexed in indexes(),
    ) {
        let world = World::indexed(Metric::Dot, indexed, &steps);
        let (field, by) = (FIELDS[field], FIELDS[by]);
        let all: Vec<usize> =
            (0..world.records.len()).filter(|at| passes.of(&world.records[*at])).collect();
        let find = || passes.on(world.docs.find().facets([Facet::new(field).limit(3)]));
        let grouped = |order: &[usize]| {
            let mut groups: Vec<(Value, Vec<usize>)> = Vec::new();
            for at in order {
                for item in items(&world.records[*at], field) {
                    match groups.iter_mut().find(|(value, _)| compare(value, &item).is_eq()) {
                        Some((_, members)) if members.len() == size => {}
                        Some((_, members)) => members.push(*at),
                        None => groups.push((item, vec![*at])),
                    }
                }
            }
            groups.into_iter().skip(offset).take(limit).collect::<Vec<_>>()
        };
        let mut ordered = all.clone();
        ordered.sort_by(|a, b| {
            in_order(&world.records[*a], &world.records[*b], by, Order::Descending)
        });
        let query = || find().group_by(field, size).limit(limit).offset(offset);
        let in_order = query().order_by(by, Order::Descending);
        for (query, expected) in [(query(), grouped(&all)), (in_order, grouped(&ordered))] {
            let found = run(query);
            let groups: Vec<(Value, Vec<usize>)> = found
                .groups()
                .map(|group| (group.value.clone(), world.places(group.hits)))
                .collect();
            // A value that is one number in two types has that of the first record with it.
            prop_assert_eq!(groups, expected);
        }

        let found = run(find().facets([Facet::new(field).of_found().limit(3)]).limit(limit));
        let (of_all, of_found) = (&found.facets[0], &found.facets[1]);
        prop_assert_eq!(of_all, of_found);
        let mut expected = counted(all.iter().map(|at| &world.records[*at]), field);
        prop_assert_eq!(of_found.distinct, expected.len());
        expected.truncate(3);
        let told = of_found.values.iter().map(|value| (value.value.clone(), value.count));
        for (told, expected) in told.zip(&expected) {
            prop_assert!(compare(&told.0, &expected.0).is_eq() && told.1 == expected.1);
        }
    }
}

/// Fifty records, `lang` with an index and `year` with or without one.
fn world(indexed: IndexFields) -> World {
    let mut world = World::indexed(Metric::Dot, indexed, &[]);
    let mut batch = world.docs.batch();
    for id in 0..50_i64 {
        let record = portolan::Record::new(id).field("year", id % 7).field("lang", "l1");
        world.records.push(record.clone());
        batch.upsert(record).unwrap();
    }
    batch.commit().unwrap();
    world
}

#[test]
fn what_reads_each_record_that_matches_is_warned_of_and_what_an_index_tells_is_not() {
    let with = world(IndexFields::All);
    let without = world(IndexFields::Declared);
    let find = |world: &World| world.docs.find().filter(Filter::eq("lang", "l1")).limit(3);
    let stale = |world: &World| {
        let first = run(find(world).order_by("year", Order::Ascending));
        world.docs.upsert(portolan::Record::new(1_000)).unwrap();
        let rest = run(find(world).order_by("year", Order::Ascending).after(first.next.unwrap()));
        assert!(rest.report.stale_cursor);
        rest
    };
    let queries = |world: &World| {
        [
            ("grouping", run(find(world).group_by("year", 1))),
            ("order", run(find(world).order_by("year", Order::Ascending))),
            ("order", stale(world)),
            ("facet", run(find(world).facets([Facet::new("year").of_found()]))),
        ]
    };
    for (what, found) in queries(&without) {
        let warning = &found.report.warnings[..];
        let said = format!("the field \"year\" has no index: its {what} read each record");
        assert!(warning.len() == 1 && warning[0].starts_with(&said), "{what}: {warning:?}");
        assert!(found.explain().to_string().contains(&said));
    }
    for ((what, found), (_, other)) in queries(&with).into_iter().zip(queries(&without)) {
        assert_eq!(found.report.warnings, [""; 0], "{what}");
        assert_eq!(with.places(&found), without.places(&other), "{what}");
        if what != "facet" {
            let listing = found.report.stages.iter().find(|stage| stage.stage == "listing");
            let listing = listing.expect("a stage");
            assert!(listing.note.contains("by the index of year"), "{what}: {}", listing.note);
            assert!(listing.kept <= 7, "{what}: {} kept", listing.kept);
        }
    }
    let both = find(&with).group_by("year", 1).order_by("lang", Order::Ascending);
    let found = run(both);
    assert!(found.report.warnings[0].contains("leave the order out"), "{:?}", found.report);
    // With a list no more is read than it finds.
    let listed = find(&without).dense(&[1.0, 0.0, 0.0]).group_by("year", 1);
    assert_eq!(run(listed).report.warnings, [""; 0]);
}
