//! Records of the model: ids of two kinds, fields of each type, single ones and the chunks of
//! documents.

use portolan::{Record, RecordId, Value};

use super::common::Rng;
use super::searches;

/// Even ids are integers, some below zero, odd ones strings.
pub fn id_of(number: u8) -> RecordId {
    if number.is_multiple_of(2) {
        RecordId::Int(i64::from(number) - 100)
    } else {
        RecordId::Text(format!("id {number}"))
    }
}

/// One of twelve prices, so that there are equal ones.
pub fn price(quarters: i64) -> f64 {
    quarters as f64 / 4.0 - 1.0
}

/// One of eight times, half of them a microsecond after a full hour.
pub fn time(at: i64) -> Value {
    Value::Timestamp(1_700_000_000_000_000 + at / 2 * 3_600_000_000 + at % 2)
}

pub fn record_of(id: RecordId, seed: u64, dimensions: usize, vector: bool) -> Record {
    let mut rng = Rng::new(seed);
    let mut record = searches::content(Record::new(id), &mut rng);
    if !rng.once_in(4) {
        record = record.field("number", rng.below(8) as i64);
    }
    if !rng.once_in(3) {
        record = record.field("tag", format!("tag {}", rng.below(4)));
    }
    if !rng.once_in(3) {
        record = record.field("price", price(rng.below(12) as i64));
    }
    if !rng.once_in(3) {
        record = record.field("time", time(rng.below(8) as i64));
    }
    if rng.once_in(3) {
        let items: Vec<i64> = (0..rng.below(5)).map(|_| rng.below(4) as i64).collect();
        record = record.field("list", items);
    }
    if vector { record.vector(rng.vector(dimensions)) } else { record }
}

pub fn document(number: u8) -> String {
    format!("document {number}")
}

/// Chunks of a document, as they are stored.
pub fn chunks_of(number: u8, seed: u64, count: u8, dimensions: usize) -> Vec<Record> {
    let chunk = |at: u8| {
        let seed = seed.wrapping_add(u64::from(at));
        let id = RecordId::from(document(number)).chunk(at.into());
        let record = record_of(id, seed, dimensions, true);
        record.field("document", document(number)).field("chunk", i64::from(at))
    };
    (0..count).map(chunk).collect()
}

/// A record as a hit has it; what it has in named fields comes and goes with its vector.
pub fn with_vector(record: &Record, vector: Option<Vec<f32>>) -> Record {
    let mut record = record.clone();
    record.vector = vector;
    record.named_vectors.clear();
    record
}
