//! Groups where one value owns most records: as many as there are, up to the limit.

use portolan::{CollectionOptions, Database, Filter, Find, Metric, Order, Record, RecordId, Value};
use proptest::prelude::*;

use crate::common::Rng;
use crate::world::run;

/// Records in order of score and the value of each: the first 90 percent are of one.
struct Skewed {
    docs: portolan::Collection,
    owners: Vec<i64>,
    _db: Database,
    _dir: tempfile::TempDir,
}

impl Skewed {
    fn new(records: usize, values: u64, seed: u64) -> Self {
        let dir = crate::common::quick_dir();
        let db = Database::open(dir.path().join("s.portolan")).unwrap();
        let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Dot)).unwrap();
        let mut rng = Rng::new(seed);
        let mut batch = docs.batch();
        let mut owners = Vec::new();
        for place in 0..records {
            let owner = if place * 10 < records * 9 { 0 } else { rng.below(values) as i64 };
            let vector = [(records - place) as f32, 1.0];
            batch.upsert(Record::new(place as i64).vector(vector).field("owner", owner)).unwrap();
            owners.push(owner);
        }
        batch.commit().unwrap();
        Self { docs, owners, _db: db, _dir: dir }
    }

    fn find(&self) -> Find {
        self.docs.find().dense(&[1.0, 0.0])
    }

    /// Owners in order of their best records, and the place of that.
    fn expected(&self) -> Vec<(Value, RecordId)> {
        let mut firsts: Vec<(i64, usize)> = Vec::new();
        for (place, owner) in self.owners.iter().enumerate() {
            if firsts.iter().all(|(known, _)| known != owner) {
                firsts.push((*owner, place));
            }
        }
        let named = |(owner, place): (i64, usize)| (owner.into(), (place as i64).into());
        firsts.into_iter().map(named).collect()
    }
}

fn firsts(found: &portolan::Findings) -> Vec<(Value, RecordId)> {
    found.groups().map(|group| (group.value.clone(), group.hits[0].id.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn there_are_as_many_groups_as_values_up_to_the_limit_and_pages_of_them_join(
        records in 200_usize..2_000, values in 1_u64..40, seed in any::<u64>(),
        limit in 1_usize..12, size in 1_usize..3,
    ) {
        let skewed = Skewed::new(records, values, seed);
        let expected = skewed.expected();
        let find = skewed.find().group_by("owner", size).limit(limit);
        let found = run(find.clone());
        prop_assert_eq!(&firsts(&found)[..], &expected[..limit.min(expected.len())]);

        let (mut joined, mut after) = (firsts(&found), found.next);
        while let Some(cursor) = after {
            let page = run(find.clone().after(cursor));
            joined.extend(firsts(&page));
            after = page.next;
        }
        prop_assert_eq!(&joined, &expected);

        // Two lists of one order: the groups are as many, and the first the same.
        let both = run(find.clone().dense(&[2.0, 0.0]));
        prop_assert_eq!(&firsts(&both)[..], &expected[..limit.min(expected.len())]);
    }
}

#[test]
fn lists_that_are_deepened_more_than_once_are_warned_of_and_a_set_depth_is_kept() {
    let skewed = Skewed::new(2_000, 20, 7);
    let find = skewed.find().group_by("owner", 1).limit(5);
    let found = run(find.clone());
    assert_eq!(found.groups().count(), 5);
    assert_eq!(found.report.lists[0].depth, 2_000);
    assert!(found.report.warnings[0].contains("2000 records deep"), "{:?}", found.report.warnings);
    let shallow = run(find.clone().depth(100));
    assert_eq!((shallow.groups().count(), shallow.next), (1, None));
    let few = run(find.filter(Filter::ne("owner", 0)));
    assert_eq!(few.groups().count(), 5);
    assert_eq!(few.report.warnings, [""; 0]);
}

#[test]
fn pages_of_several_lists_keep_their_depth_and_tell_where_groups_end_with_it() {
    let skewed = Skewed::new(2_000, 20, 7);
    let find = skewed.find().dense(&[2.0, 0.0]).group_by("owner", 1).limit(1);
    let first = run(find.clone());
    assert_eq!(first.report.lists[0].depth, 100);
    let second = run(find.after(first.next.expect("there can be more")));
    assert!(second.is_empty() && second.next.is_none());
    assert!(second.report.warnings[0].contains("100 records deep"), "{:?}", second.report.warnings);
}

#[test]
fn an_offset_in_order_of_an_index_reads_the_records_of_the_page_and_one_more() {
    let skewed = Skewed::new(500, 20, 7);
    for order in [Order::Ascending, Order::Descending] {
        let find = skewed.docs.find().order_by("owner", order);
        let all: Vec<RecordId> =
            run(find.clone().limit(500)).iter().map(|hit| hit.id.clone()).collect();
        for offset in [0, 3, 450, 497, 500, 900] {
            let found = run(find.clone().offset(offset).limit(5));
            let ids: Vec<RecordId> = found.iter().map(|hit| hit.id.clone()).collect();
            let from = offset.min(500);
            assert_eq!(ids, all[from..(from + 5).min(500)]);
            let stage = found.report.stages.iter().find(|stage| stage.stage == "order");
            assert!(stage.expect("a stage").kept <= 6, "{offset}");
            let Some(next) = found.next else { continue };
            let rest = run(find.clone().offset(2).limit(5).after(next));
            let ids: Vec<RecordId> = rest.iter().map(|hit| hit.id.clone()).collect();
            let from = (from + 7).min(500);
            assert_eq!(ids, all[from..(from + 5).min(500)]);
        }
    }
}
