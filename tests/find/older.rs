//! Facets, groups and orders where a field has no index in blocks: in files of before version 3,
//! whose entries are walked, before and after they are compacted.

use std::path::Path;

use portolan::{Collection, Database, Facet, Filter, Maintenance, Order, Record, RecordId, Value};

use crate::shaping::{compare, counted, items};
use crate::world::run;

const FIELDS: [&str; 4] = ["number", "word", "tags", "absent"];
/// Rank of a hit and its key, for a sort by both.
type Keyed<'r> = (Option<Value>, &'r Record);

/// The records of `docs` of the fixture in order of insertion, and then some that are new.
fn changed(docs: &Collection) -> Vec<Record> {
    let mut batch = docs.batch();
    for at in 0..40_i64 {
        let record = Record::new(at * 7).text("new").vector([at as f32 + 1.0; 24]);
        // 5 and 5.0 are one value; a list counts for each of its items.
        let record = match at % 4 {
            0 => record.field("number", at % 9),
            1 => record.field("number", (at % 9) as f64),
            2 => record.field("number", "unknown"),
            _ => record,
        };
        let tags: Vec<String> = (0..at % 3).map(|tag| format!("t{}", (at + tag) % 5)).collect();
        batch.upsert(record.field("tags", tags)).unwrap();
    }
    batch.delete(11);
    batch.commit().unwrap();
    stored(docs)
}

/// All records; new ones were written by ascending id after the others.
fn stored(docs: &Collection) -> Vec<Record> {
    let mut records = docs.scan().limit(usize::MAX).run().unwrap().records;
    records.sort_by_key(|record| record.text == "new");
    records
}

fn ids<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<RecordId> {
    records.into_iter().map(|record| record.id.clone()).collect()
}

/// `says` is what every grouping and order warns of, if they do.
fn check(docs: &Collection, records: &[Record], says: Option<&str>) {
    let warns = |found: &portolan::Findings| {
        let warnings = &found.report.warnings;
        assert_eq!(warnings.len(), usize::from(says.is_some()), "{warnings:?}");
        assert!(warnings.iter().zip(says).all(|(one, says)| one.contains(says)), "{warnings:?}");
    };
    type Passes = fn(&Record) -> bool;
    let pilot: Passes = |record| record.metadata.get("word") == Some(&"pilot".into());
    let every = !Filter::exists("nothing");
    let both = [(every, (|_| true) as Passes), (Filter::eq("word", "pilot"), pilot)];
    for (filter, passes) in both {
        let all: Vec<&Record> = records.iter().filter(|record| passes(record)).collect();
        let find = docs.find().filter(filter);
        let find = find.limit(1_000);
        assert_eq!(ids(run(find.clone()).iter().map(|hit| &hit.record)), ids(all.clone()));
        for field in FIELDS {
            let expected = counted(all.iter().copied(), field);
            let facets = [Facet::new(field).limit(99), Facet::new(field).of_found().limit(99)];
            for facet in run(find.clone().depth(1_000).facets(facets)).facets {
                assert_eq!((facet.distinct, facet.values.len()), (expected.len(), expected.len()));
                for (found, (value, count)) in facet.values.iter().zip(&expected) {
                    assert!(compare(&found.value, value).is_eq(), "{field}: {found:?} {value:?}");
                    assert_eq!(found.count, *count, "{field}: {value:?}");
                }
            }
            let grouped = run(find.clone().depth(1_000).group_by(field, 1_000));
            warns(&grouped);
            let mut groups = 0;
            for group in grouped.groups() {
                let is_in = |record: &&&Record| {
                    items(record, field).iter().any(|item| compare(item, group.value).is_eq())
                };
                let expected = all.iter().filter(is_in).copied();
                assert_eq!(ids(group.hits.iter().map(|hit| &hit.record)), ids(expected));
                groups += 1;
            }
            assert_eq!(groups, expected.len());

            let mut keyed: Vec<Keyed<'_>> =
                all.iter().map(|record| (items(record, field).first().cloned(), *record)).collect();
            keyed.sort_by(|a, b| match (&a.0, &b.0) {
                (Some(a), Some(b)) => compare(a, b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
            let ordered = run(find.clone().depth(1_000).order_by(field, Order::Ascending));
            warns(&ordered);
            let expected = ids(keyed.into_iter().map(|(_, record)| record));
            assert_eq!(ids(ordered.iter().map(|hit| &hit.record)), expected, "{field}");
        }
    }
}

#[test]
fn fields_of_an_older_file_are_counted_grouped_and_ordered_by_their_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.portolan");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-2.portolan");
    std::fs::copy(fixture, &path).unwrap();
    let open = || {
        let options = portolan::DatabaseOptions::new().maintenance(Maintenance::Manual);
        options.open(&path).unwrap()
    };
    let db = open();
    let docs = db.collection("docs").unwrap();
    let says = Some("`portolan compact`");
    check(&docs, &stored(&docs), says);
    let records = changed(&docs);
    check(&docs, &records, says);
    drop((docs, db));
    Database::compact(&path).unwrap();
    let db = open();
    let docs = db.collection("docs").unwrap();
    check(&docs, &records, says);
    // Entries are kept until the field is declared.
    FIELDS.iter().for_each(|field| docs.declare_field(field).unwrap());
    check(&docs, &records, None);
}
