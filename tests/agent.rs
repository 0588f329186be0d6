//! The agent against a scripted chat service over loopback HTTP: every way a run can end, what the
//! model is shown, traces, several runs at once, and the command.

#![cfg(feature = "nim")]
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "agent/branches.rs"]
mod branches;
#[cfg(feature = "cli")]
#[path = "agent/command.rs"]
mod command;
#[path = "agent/endings.rs"]
mod endings;
#[path = "agent/excluded.rs"]
mod excluded;
#[path = "agent/limits.rs"]
mod limits;
#[path = "agent/many.rs"]
mod many;
#[path = "pipeline/models.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod models;
#[path = "agent/script.rs"]
mod script;
#[path = "nim_client/server.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod server;
#[path = "agent/shown.rs"]
mod shown;
#[path = "agent/traces.rs"]
mod traces;

use portolan::{Collection, CollectionOptions, Database, Language, Metric, Record, TextIndex};

const WORDS: [&str; 12] = [
    "harbor", "compass", "rhumb", "wind", "rose", "vellum", "coast", "cape", "shoal", "anchor",
    "current", "star",
];

/// A collection whose words are indexed, with records of a few words each, without vectors.
fn docs(count: u32) -> (tempfile::TempDir, Database, Collection) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path().join("sea.portolan")).expect("a database");
    let words = TextIndex::new(Language::English);
    let options = CollectionOptions::new(models::DIMENSIONS, Metric::Cosine).text(words);
    let docs = db.create_collection("docs", options).expect("a collection");
    fill(&docs, count);
    (dir, db, docs)
}

fn fill(docs: &Collection, count: u32) {
    let mut batch = docs.batch();
    for at in 0..count {
        batch.upsert(record(at)).expect("a record");
    }
    batch.commit().expect("a commit");
}

fn record(at: u32) -> Record {
    let word = |at: u32| WORDS[at as usize % WORDS.len()];
    let text = format!("{} {} {} {at}", word(at), word(at / 5 + 3), word(at / 11 + 7));
    let vector = models::bag_of_words(&text);
    Record::new(format!("d{at}")).title(format!("Sheet {at}")).text(text).vector(vector)
}
