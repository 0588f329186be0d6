//! How often a search asks for memory: for its result and the query, not for its work.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use portolan::{Collection, CollectionOptions, Database, Filter, Metric, Record};

/// Counts what the thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator as it came; counting allocates nothing,
// as the counter is a constant without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn filled(dir: &tempfile::TempDir, rows: usize) -> (Collection, Vec<Vec<f32>>) {
    let db = Database::create(dir.path().join("a.portolan")).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(24, Metric::Cosine)).unwrap();
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut vector = || (0..24).map(|_| draw()).collect::<Vec<f32>>();
    let mut batch = docs.batch();
    for id in 0..rows as i64 {
        batch.upsert(Record::new(id).vector(vector()).field("third", id % 3)).unwrap();
    }
    batch.commit().unwrap();
    docs.maintain().graph_min_rows(0).run().unwrap();
    (docs, (0..64).map(|_| vector()).collect())
}

#[test]
fn a_search_allocates_its_query_and_its_hits() {
    let dir = tempfile::tempdir().unwrap();
    let (docs, queries) = filled(&dir, 3_000);
    // One thread does all, and this one.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
    let run = |queries: &[Vec<f32>]| {
        let before = COUNT.get();
        pool.install(|| docs.search_batch(queries).ef(32).run().unwrap());
        COUNT.get() - before
    };
    run(&queries);
    let (all, half) = (run(&queries), run(&queries[..32]));
    let each = (all - half) as f64 / 32.0;
    // Values and code of the query, its hits, and the same with ids; and what 16 queries share.
    assert!(each < 6.0, "{each} allocations a query");
}

#[test]
fn a_search_allocates_no_more_where_it_looks_at_more() {
    let dir = tempfile::tempdir().unwrap();
    let (docs, queries) = filled(&dir, 6_000);
    let count = |ef: usize, filter: Option<&Filter>| {
        let search = docs.search(&queries[0]).ef(ef);
        let search = match filter {
            Some(filter) => search.filter(filter.clone()),
            None => search,
        };
        let before = COUNT.get();
        search.run().unwrap();
        COUNT.get() - before
    };
    // What a filter lets pass is kept, and a scratch grows to the widest walk, at first.
    let third = Filter::eq("third", 1);
    let all = || [None, Some(&third)].map(|filter| [30, 200].map(|ef| count(ef, filter)));
    all();
    let [free, filtered] = all();
    assert_eq!(free[0], free[1]);
    assert_eq!(filtered[0], filtered[1]);
    // Vectors that wait to be folded are scored one by one.
    let wait = |rows: std::ops::Range<i64>| {
        let mut batch = docs.batch();
        for id in rows {
            let vector = queries[id as usize % queries.len()].clone();
            batch.upsert(Record::new(10_000 + id).vector(vector)).unwrap();
        }
        batch.commit().unwrap();
        count(30, None);
        count(30, None)
    };
    let (few, many) = (wait(0..500), wait(500..2_500));
    assert!(many <= few + 2, "{few} for 500, {many} for 2,500");
}
