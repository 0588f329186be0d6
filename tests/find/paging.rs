//! Pages by cursor and by offset against one long page, and what a commit in between does.

use std::collections::BTreeSet;

use portolan::{Cursor, Dense, Error, Facet, Find, Mmr, Order, RecordId};
use proptest::prelude::*;

use crate::world::{Passes, World, metrics, passes, run, steps, vectors, wide};

/// Queries of every order there is, that can go on for as long as there are records.
fn queries(world: &World, passes: Passes, vector: &[f32]) -> Vec<(&'static str, Find)> {
    let find = || passes.on(world.docs.find());
    let dense = || find().dense_with(Dense::new(vector).exact());
    let listed = find().facets([Facet::new("lang")]);
    vec![
        ("one list", dense()),
        ("one deep list", dense().depth(1000)),
        ("two lists", dense().text("tide chart").depth(1000)),
        ("listed", listed.clone()),
        ("listed by value", listed.group_by("year", 2)),
        ("listed by field", find().order_by("year", Order::Descending)),
        ("by field", dense().order_by("tags", Order::Ascending).depth(1000)),
        ("diverse", dense().diversity(Mmr::new(0.5)).depth(1000)),
        ("grouped", dense().group_by("tags", 2).depth(1000)),
    ]
}

fn ids(world: &World, find: Find) -> Vec<usize> {
    world.places(&run(find))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn pages_join_to_one_long_page(
        metric in metrics(), steps in steps(), passes in passes(), vector in vectors(),
        page in 1_usize..9,
    ) {
        let world = World::new(metric, &steps);
        for (what, find) in queries(&world, passes, &wide(vector)) {
            let long = ids(&world, find.clone().limit(1000));
            let (mut joined, mut by_offset, mut pages) = (Vec::new(), Vec::new(), 0);
            let mut next: Option<Cursor> = None;
            loop {
                let query = find.clone().limit(page);
                let found = match next {
                    // As an application hands it out and gets it back.
                    Some(cursor) => run(query.after(cursor.to_string().parse().unwrap())),
                    None => run(query),
                };
                joined.extend(world.places(&found));
                by_offset.extend(ids(&world, find.clone().limit(page).offset(pages * page)));
                pages += 1;
                prop_assert!(!found.report.stale_cursor);
                prop_assert!(pages < 1000, "{}", what);
                next = found.next;
                if next.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&joined, &long, "{}", what);
            prop_assert_eq!(&by_offset, &long, "{}", what);
        }
    }

    #[test]
    fn records_that_are_not_changed_between_two_pages_are_neither_repeated_nor_left_out(
        metric in metrics(), (before, between) in (steps(), steps()), vector in vectors(),
        page in 1_usize..20,
    ) {
        let mut world = World::new(metric, &before);
        let vector = wide(vector);
        let order = |world: &World| {
            let mut queries = queries(world, Passes::All, &vector);
            let counted = ["two lists", "diverse", "grouped", "listed by value"];
            queries.retain(|(what, _)| !counted.contains(what));
            queries
        };
        let firsts: Vec<_> =
            order(&world).into_iter().map(|(what, find)| (what, run(find.limit(page)))).collect();
        let old: Vec<RecordId> = world.records.iter().map(|record| record.id.clone()).collect();
        let slots = world.records.clone();
        world.apply(&between);
        let changed: BTreeSet<RecordId> = between
            .iter()
            .filter_map(|step| match step {
                crate::world::Step::Upsert(id, _) | crate::world::Step::Delete(id) => Some(*id),
                crate::world::Step::Fold => None,
            })
            .map(RecordId::Int)
            .collect();
        prop_assert_eq!(slots.len(), old.len());
        for ((what, first), (_, find)) in firsts.into_iter().zip(order(&world)) {
            let Some(next) = first.next.clone() else { continue };
            let rest = run(find.clone().limit(1000).after(next));
            let shown = first.iter().chain(&rest).map(|hit| hit.id.clone());
            let mut shown: Vec<RecordId> = shown.filter(|id| !changed.contains(id)).collect();
            let long = run(find.limit(1000));
            let mut long: Vec<RecordId> =
                long.iter().map(|hit| hit.id.clone()).filter(|id| !changed.contains(id)).collect();
            shown.sort_unstable();
            long.sort_unstable();
            prop_assert_eq!(shown, long, "{}", what);
        }
    }
}

#[test]
fn cursors_of_counted_pages_end_with_a_commit_and_others_tell_of_it() {
    let mut batch_world = World::new(portolan::Metric::Dot, &[]);
    let record = |id: i64| {
        portolan::Record::new(id).vector([id as f32, 1.0, 0.0]).field("tags", vec!["t1", "t2"])
    };
    let mut batch = batch_world.docs.batch();
    (0..20).for_each(|id| batch.upsert(record(id)).unwrap());
    batch.commit().unwrap();
    let world = &mut batch_world;
    let dense = || world.docs.find().dense(&[1.0, 0.0, 0.0]).limit(1);
    let of = |find: Find| run(find).next.expect("there are more");
    let (plain, diverse, grouped) =
        (of(dense()), of(dense().diversity(Mmr::new(0.5))), of(dense().group_by("tags", 1)));
    // A cursor of one order is none of another.
    for wrong in [
        dense().after(diverse.clone()),
        dense().diversity(Mmr::new(0.5)).after(plain.clone()),
        dense().order_by("year", Order::Ascending).after(plain.clone()),
    ] {
        assert!(matches!(wrong.run(), Err(Error::Cursor { .. })));
    }
    world.docs.delete(3_i64).unwrap();
    assert!(run(dense().after(plain)).report.stale_cursor);
    for counted in [
        dense().diversity(Mmr::new(0.5)).after(diverse),
        dense().group_by("tags", 1).after(grouped),
    ] {
        let error = counted.run().unwrap_err();
        assert!(matches!(error, Error::Cursor { .. }) && error.is_invalid_input());
    }
}
