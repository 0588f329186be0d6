//! Filters of one and three clauses, negated ones too, over 1,000,000 records
//! (`PORTOLAN_BENCH_RECORDS`), from the file to a bitmap: nothing is kept between two evaluations,
//! the pages of the file are in memory. Tells the bytes of the index per record, and what it costs
//! to write it.

use std::error::Error;
use std::path::Path;
use std::sync::RwLock;
use std::time::Instant;

use divan::Bencher;
use portolan::{Collection, CollectionOptions, Database, IndexFields, Metric, Record, Value};

const RECORDS: i64 = 1_000_000;
const BATCH: i64 = 1_000;
/// The first time of a record, the begin of 2022, in microseconds.
const FIRST: i64 = 1_640_995_200_000_000;
const FILTERS: [&str; 12] = [
    "lang = \"en\" and 1990 <= year < 2010 and price < 10.5",
    "lang = \"en\" and 2023-01-01 <= added < 2023-07-01 and price < 10.5",
    "not (lang = \"en\" and 1990 <= year < 2010 and price < 10.5)",
    "not lang = \"en\"",
    "2023-01-01 <= added < 2023-07-01",
    "lang = \"en\"",
    "1990 <= year < 2010",
    "price < 10.5",
    "price = 3.5",
    "contains(tags, \"t17\")",
    "starts_with(path, \"docs/12\")",
    "path = \"docs/123456\"",
];

static DOCS: RwLock<Option<Collection>> = RwLock::new(None);

fn main() -> Result<(), Box<dyn Error>> {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let asked = std::env::var("PORTOLAN_BENCH_RECORDS").ok().and_then(|text| text.parse().ok());
    let records = asked.unwrap_or(if is_bench { RECORDS } else { 10_000 });
    let dir = tempfile::tempdir()?;
    for fields in [IndexFields::Declared, IndexFields::All] {
        let path = dir.path().join(format!("{fields:?}.portolan"));
        let begin = Instant::now();
        let (db, docs) = store(&path, records, fields)?;
        let (took, info) = (begin.elapsed(), docs.info()?);
        let bytes = info.space.fields as f64 / records as f64;
        println!("{fields:?}: {records} records in {took:.1?}, {bytes:.1} bytes of index a record");
        println!("  the file has {} bytes a record", db.info()?.file_bytes as i64 / records);
        *DOCS.write().map_err(|error| error.to_string())? = Some(docs);
    }
    let benches = divan::Divan::from_args();
    if is_bench {
        benches.run_benches()
    } else {
        benches.test_benches()
    }
    *DOCS.write().map_err(|error| error.to_string())? = None;
    Ok(())
}

/// A number that says nothing about the one it is made of (SplitMix64).
fn mixed(id: i64) -> u64 {
    let mut z = id.cast_unsigned().wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn store(
    path: &Path,
    records: i64,
    fields: IndexFields,
) -> portolan::Result<(Database, Collection)> {
    let db = Database::create(path)?;
    let options = CollectionOptions::new(1, Metric::Dot).index_fields(fields);
    let docs = db.create_collection("docs", options)?;
    for first in (0..records).step_by(BATCH as usize) {
        let mut batch = docs.batch();
        for id in first..records.min(first + BATCH) {
            let random = mixed(id);
            let part = |shift: u32, of: u64| (random >> shift) % of;
            // Half of all are English; prices are distinct, and half of them below 10.5.
            let lang = if part(0, 2) == 0 { "en" } else { ["de", "fr", "ja"][part(1, 3) as usize] };
            let tags: Vec<String> = (0..3).map(|at| format!("t{}", part(at * 8, 60))).collect();
            let record = Record::new(id).field("lang", lang).field("tags", tags);
            let record = record.field("year", 1970 + part(3, 50) as i64);
            let record = record.field("price", (random >> 11) as f64 / (1_u64 << 53) as f64 * 21.0);
            // Distinct times of two years, in no order.
            let added = FIRST + part(13, 63_072_000_000_000) as i64;
            let record = record.field("added", Value::Timestamp(added));
            batch.upsert(record.field("path", format!("docs/{id}")))?;
        }
        batch.commit()?;
    }
    Ok((db, docs))
}

#[divan::bench(args = FILTERS, sample_size = 1)]
fn evaluated(bencher: Bencher, filter: &str) {
    let docs = DOCS.read().expect("a lock that no thread poisoned").clone().expect("a collection");
    let filter = filter.parse().expect("a filter");
    bencher.bench(|| docs.count_where(&filter).expect("an undamaged file").records);
}
