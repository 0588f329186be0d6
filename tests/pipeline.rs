//! Ingest and query with models of this process (real functions, counted) and with the NIM
//! client against a loopback server.
#![allow(clippy::expect_used, reason = "a test says what it expects")]
#![cfg(feature = "nim")]

#[path = "common/mod.rs"]
mod common;

#[path = "pipeline/cache.rs"]
mod cache;
#[path = "pipeline/chain.rs"]
mod chain;
#[path = "pipeline/documents.rs"]
mod documents;
#[path = "pipeline/dropped.rs"]
mod dropped;
#[path = "pipeline/end_to_end.rs"]
mod end_to_end;
#[path = "pipeline/in_flight.rs"]
mod in_flight;
#[path = "pipeline/ingest.rs"]
mod ingest;
#[path = "pipeline/late.rs"]
mod late;
#[path = "pipeline/models.rs"]
mod models;
#[path = "pipeline/modes.rs"]
mod modes;
#[path = "pipeline/pending.rs"]
mod pending;
#[path = "pipeline/query.rs"]
mod query;
#[path = "pipeline/scripted.rs"]
mod scripted;
#[allow(dead_code, reason = "the NIM client's own tests use the rest")]
#[path = "nim_client/server.rs"]
mod server;
#[path = "pipeline/several.rs"]
mod several;
#[path = "common/span_log.rs"]
mod span_log;
#[path = "pipeline/spans.rs"]
mod spans;
#[path = "pipeline/too_slow.rs"]
mod too_slow;

use portolan::{Collection, CollectionOptions, Database, DatabaseOptions, Metric, Record};

/// A database on a map of 64 KiB with an empty collection of the embedder's shape.
fn empty(dimensions: usize) -> (tempfile::TempDir, Database, Collection) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = DatabaseOptions::new().initial_map(64 * 1024);
    let db = options.open(dir.path().join("p.portolan")).expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(dimensions, Metric::Cosine));
    let docs = docs.expect("a collection");
    (dir, db, docs)
}

const WORDS: [&str; 12] = [
    "harbor", "compass", "rhumb", "wind", "rose", "vellum", "coast", "cape", "shoal", "anchor",
    "current", "star",
];

/// Records of a few words each, all different.
fn records(count: u32) -> Vec<Record> {
    let word = |at: u32| WORDS[at as usize % WORDS.len()];
    let text = |at: u32| format!("{} {} {} {at}", word(at), word(at / 5 + 3), word(at / 11 + 7));
    (0..count).map(|at| Record::new(at).text(text(at)).field("number", at)).collect()
}
