//! Orders by a field of more records than two blocks of an index hold, page after page, with and
//! without an index, against a plain sort.

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Filter, Find, IndexFields,
    Maintenance, Metric, Order, Record, RecordId, Value,
};

use crate::common::Rng;
use crate::shaping::in_order;
use crate::world::{DIM, run};

/// Records at first: three blocks of 4,032 slots, and what is replaced goes to a fourth.
const COUNT: i64 = 12_000;
/// All that a record can have: few values, values of three types, lists, values of few records,
/// values of the newest alone, one value of all, and one of each record.
const FIELDS: [&str; 7] = ["few", "wide", "list", "rare", "late", "one", "number"];

fn record(id: i64, is_late: bool, rng: &mut Rng) -> Record {
    let mut record = Record::new(id).field("one", "same").field("number", (id * 7919) % COUNT);
    if !rng.once_in(10) {
        record = record.field("few", rng.below(3) as i64);
    }
    let number = rng.below(400) as i64;
    record = match rng.below(6) {
        0 | 1 => record.field("wide", number),
        2 => record.field("wide", number as f64 / 2.0),
        3 => record.field("wide", format!("w{number}")),
        _ => record,
    };
    if !rng.once_in(4) {
        let items: Vec<i64> = (0..rng.below(4)).map(|_| rng.below(40) as i64).collect();
        record = record.field("list", items);
    }
    if rng.once_in(400) {
        record = record.field("rare", rng.below(9) as i64);
    }
    if is_late && rng.once_in(2) {
        record = record.field("late", rng.below(5) as i64);
    }
    record
}

/// A collection and its records in order of insertion.
struct Long {
    docs: Collection,
    records: Vec<Record>,
    _db: Database,
    _dir: tempfile::TempDir,
}

impl Long {
    /// Many records, of which some are replaced and some deleted, here and there.
    fn new(indexed: IndexFields) -> Self {
        let dir = crate::common::quick_dir();
        let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
        let db = options.open(dir.path().join("w.portolan")).unwrap();
        let options = CollectionOptions::new(DIM, Metric::Dot).index_fields(indexed);
        let docs = db.create_collection("docs", options).unwrap();
        let mut long = Self { docs, records: Vec::new(), _db: db, _dir: dir };
        let rng = &mut Rng::new(1);
        let new: Vec<Record> = (0..COUNT).map(|id| record(id, id > 9_000, rng)).collect();
        for some in new.chunks(5_000) {
            long.apply(some.to_vec(), &[]);
        }
        for _ in 0..3 {
            let ids = rng.sample((0..COUNT).collect(), 900);
            let (replaced, deleted) = ids.split_at(500);
            let new = replaced.iter().map(|id| record(*id, true, rng)).collect();
            long.apply(new, deleted);
        }
        assert!(long.records.len() > 10_000);
        long
    }

    /// One batch of changes; a record that is replaced is the newest.
    fn apply(&mut self, new: Vec<Record>, deleted: &[i64]) {
        let mut batch = self.docs.batch();
        deleted.iter().for_each(|id| batch.delete(*id));
        let mut gone: std::collections::BTreeSet<RecordId> =
            deleted.iter().map(|id| RecordId::Int(*id)).collect();
        gone.extend(new.iter().map(|record| record.id.clone()));
        self.records.retain(|record| !gone.contains(&record.id));
        for record in new {
            batch.upsert(record.clone()).unwrap();
            self.records.push(record);
        }
        batch.commit().unwrap();
    }

    /// All that pass, sorted; equal ones in order of insertion.
    fn sorted(&self, field: &str, order: Order, passes: Passes) -> Vec<RecordId> {
        let mut passing: Vec<&Record> = self.records.iter().filter(|r| passes(r)).collect();
        passing.sort_by(|a, b| in_order(a, b, field, order));
        passing.into_iter().map(|record| record.id.clone()).collect()
    }
}

type Passes = fn(&Record) -> bool;

fn is_one(record: &Record) -> bool {
    record.metadata.get("few") == Some(&Value::Int(1))
}

fn is_small(record: &Record) -> bool {
    matches!(record.metadata.get("number"), Some(Value::Int(..150)))
}

/// Up to so many pages of a query, joined.
fn walk(find: &Find, limit: usize, pages: usize) -> Vec<RecordId> {
    let find = find.clone().limit(limit);
    let (mut joined, mut after) = (Vec::new(), None);
    for _ in 0..pages {
        let page = find.clone();
        let found = run(if let Some(cursor) = after { page.after(cursor) } else { page });
        joined.extend(found.iter().map(|hit| hit.id.clone()));
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    joined
}

/// Walks of every field in both directions: of all records in large pages and the first of them in
/// small ones, and of some by a filter. Without an index each page reads all that passes, so its
/// pages are fewer.
fn check(long: &Long, large: usize, small: usize) {
    let some = long.docs.find().filter(Filter::eq("few", 1));
    let tiny = long.docs.find().filter(Filter::lt("number", 150));
    let queries: [(Find, Passes, usize); 3] =
        [(long.docs.find(), |_| true, large), (some, is_one, large), (tiny, is_small, small)];
    for field in FIELDS {
        for order in [Order::Ascending, Order::Descending] {
            for (find, passes, limit) in &queries {
                let what = format!("{field}, {order:?}, pages of {limit}");
                let find = find.clone().order_by(field, order);
                let sorted = long.sorted(field, order, *passes);
                assert!(walk(&find, *limit, usize::MAX) == sorted, "{what}");
                let first = walk(&find, 7, 5);
                assert_eq!(first, sorted[..35], "the first of {what}");
            }
        }
    }
}

#[test]
fn an_order_by_an_index_of_several_blocks_is_that_of_a_sort_page_after_page() {
    check(&Long::new(IndexFields::All), 1_900, 9);
}

#[test]
fn an_order_of_many_records_without_an_index_is_that_of_a_sort_page_after_page() {
    check(&Long::new(IndexFields::Declared), 6_000, 60);
}

#[test]
fn an_index_that_is_built_of_many_records_later_orders_them_as_well() {
    let long = Long::new(IndexFields::Declared);
    for field in FIELDS {
        long.docs.declare_field(field).unwrap();
    }
    check(&long, 4_500, 30);
}

#[test]
fn an_explanation_tells_whether_an_index_gave_the_order() {
    for (indexed, told) in [
        (IndexFields::All, "listing: 8 records, the first by the index of few,"),
        (IndexFields::Declared, "records listed,"),
    ] {
        let long = Long::new(indexed);
        let found = run(long.docs.find().order_by("few", Order::Ascending).limit(7));
        let words = found.explain().to_string();
        assert!(words.contains(told), "{words}");
    }
}

#[test]
fn a_walk_goes_on_at_its_place_when_records_come_and_go_in_other_blocks() {
    for indexed in [IndexFields::All, IndexFields::Declared] {
        let mut long = Long::new(indexed);
        let order = Order::Descending;
        let find = long.docs.find().order_by("few", order);
        let before = long.sorted("few", order, |_| true);
        let first = run(find.clone().limit(5_000));
        let shown: Vec<RecordId> = first.iter().map(|hit| hit.id.clone()).collect();
        assert!(shown == before[..5_000], "{indexed:?}");
        // One that was shown goes, one that was not goes, and a new one would be the last of the
        // best, another the very last.
        let number = |id: &RecordId| match id {
            RecordId::Int(number) => *number,
            RecordId::Text(text) => panic!("{text}"),
        };
        let deleted = [number(&shown[10]), number(&before[9_000])];
        let new = vec![Record::new(-1).field("few", 2), Record::new(-2)];
        long.apply(new, &deleted);
        let after = first.next.clone().expect("there are more");
        let rest = run(find.limit(20_000).after(after));
        assert!(rest.report.stale_cursor);
        let rest: Vec<RecordId> = rest.iter().map(|hit| hit.id.clone()).collect();
        let mut wanted = before[5_000..].to_vec();
        wanted.remove(4_000);
        wanted.push(RecordId::Int(-2));
        assert!(rest == wanted, "{indexed:?}");
    }
}
