//! What a case is made of: operations on the database, and the changes of one batch.

use proptest::prelude::*;

use super::FIELDS;
use super::copies::{Opened, opened};
use super::filters::{Predicate, predicate};
use super::searches::{Ask, NAMED};

#[derive(Debug, Clone)]
pub enum Op {
    /// One batch of changes.
    Batch(Vec<Change>),
    /// Many new vectors at once, enough for a graph that is walked.
    Bulk {
        seed: u64,
        count: u32,
    },
    Search {
        seed: u64,
        k: usize,
        exact: bool,
        filter: Option<Predicate>,
    },
    /// By something else than the vectors, or by many of them at once.
    Ask {
        ask: Ask,
        seed: u64,
        filter: Option<Predicate>,
    },
    /// Both collections by one query.
    Several {
        seed: u64,
        filter: Option<Predicate>,
    },
    Get(u8),
    Scan {
        page: usize,
    },
    /// All records, those that match a filter, and those whose vector is to come.
    Count {
        seed: u64,
        filter: Predicate,
    },
    Maintain {
        only_due: bool,
        graph: bool,
    },
    Reopen,
    Compact,
    /// Copies the file as a killed process leaves it, and opens the copy.
    Crash {
        opened: Opened,
        /// What the batch has that was not committed when the process was killed, if there was
        /// one; and whether the living process commits it then.
        batch: Option<(Vec<Change>, bool)>,
    },
    /// Writes a compacted copy, and opens it.
    CompactTo(Opened),
    /// Repairs a copy of the file, in which nothing is damaged.
    Repair,
    /// Builds the index of a field, at once or with the commits that follow, and of words anew.
    Index {
        field: usize,
        gradually: bool,
    },
    IndexText,
    /// Removes the index of words, and makes it again after a batch of changes.
    WordsAnew(Vec<Change>),
    /// Removes a named vector field and adds it again; those that had something in it are stored
    /// again, or not.
    FieldAnew {
        field: usize,
        seed: u64,
        again: bool,
    },
    /// Works on the other collection from now on.
    Switch,
    /// Removes the collection and makes it again.
    Recreate,
}

#[derive(Debug, Clone)]
pub enum Change {
    Upsert {
        id: u8,
        seed: u64,
        vector: bool,
    },
    /// A record whose vector is to come, unless it has one.
    Pending {
        id: u8,
        seed: u64,
        vector: bool,
    },
    Delete(u8),
    /// One chunk of a document, so that its neighbors have a gap between them.
    DeleteChunk {
        id: u8,
        chunk: u8,
    },
    /// A document as a whole, in so many chunks, or cut by a chunker.
    Document {
        id: u8,
        seed: u64,
        chunks: u8,
        cut: bool,
    },
    DeleteDocument(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        10 => (any::<u8>(), any::<u64>(), prop::bool::weighted(0.85))
            .prop_map(|(id, seed, vector)| Change::Upsert { id, seed, vector }),
        1 => (any::<u8>(), any::<u64>(), prop::bool::weighted(0.2))
            .prop_map(|(id, seed, vector)| Change::Pending { id, seed, vector }),
        4 => any::<u8>().prop_map(Change::Delete),
        1 => (0..6_u8, 0..5_u8).prop_map(|(id, chunk)| Change::DeleteChunk { id, chunk }),
        2 => (0..6_u8, any::<u64>(), 0..5_u8, any::<bool>())
            .prop_map(|(id, seed, chunks, cut)| Change::Document { id, seed, chunks, cut }),
        1 => (0..6_u8).prop_map(Change::DeleteDocument),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..25)
}

/// What copies the file and reads the copy whole: rare, as it takes the time of many others.
fn of_copies() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (opened(), prop::option::of((changes(), any::<bool>())))
            .prop_map(|(opened, batch)| Op::Crash { opened, batch }),
        2 => opened().prop_map(Op::CompactTo),
        1 => Just(Op::Repair),
    ]
}

/// What removes a part of a collection and makes it again.
fn anew() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => changes().prop_map(Op::WordsAnew),
        1 => (0..NAMED.len(), any::<u64>(), any::<bool>())
            .prop_map(|(field, seed, again)| Op::FieldAnew { field, seed, again }),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    let search = (
        any::<u64>(),
        prop_oneof![0..30_usize, Just(300)],
        any::<bool>(),
        prop::option::of(predicate()),
    );
    let ask = prop_oneof![
        4 => Just(Ask::Words),
        2 => Just(Ask::Image),
        2 => Just(Ask::MaxSim),
        2 => Just(Ask::Sparse),
        3 => Just(Ask::Hybrid),
        3 => Just(Ask::Pages),
        2 => Just(Ask::Listed),
        2 => Just(Ask::Like),
        1 => Just(Ask::Diverse),
        2 => Just(Ask::Fused),
        2 => Just(Ask::Explained),
        2 => Just(Ask::Candidates),
        2 => Just(Ask::Batched),
        1 => Just(Ask::Reranked),
        2 => Just(Ask::Blended),
    ];
    let ask = (ask, any::<u64>(), prop::option::of(predicate()));
    prop_oneof![
        24 => changes().prop_map(Op::Batch),
        1 => (any::<u64>(), 300..900_u32).prop_map(|(seed, count)| Op::Bulk { seed, count }),
        22 => search
            .prop_map(|(seed, k, exact, filter)| Op::Search { seed, k, exact, filter }),
        22 => ask.prop_map(|(ask, seed, filter)| Op::Ask { ask, seed, filter }),
        2 => (any::<u64>(), prop::option::of(predicate()))
            .prop_map(|(seed, filter)| Op::Several { seed, filter }),
        6 => any::<u8>().prop_map(Op::Get),
        3 => (1..200_usize).prop_map(|page| Op::Scan { page }),
        4 => (any::<u64>(), predicate()).prop_map(|(seed, filter)| Op::Count { seed, filter }),
        6 => (any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(only_due, graph)| Op::Maintain { only_due, graph }),
        2 => (0..FIELDS.len(), any::<bool>())
            .prop_map(|(field, gradually)| Op::Index { field, gradually }),
        1 => Just(Op::IndexText),
        1 => anew(),
        3 => Just(Op::Reopen),
        1 => Just(Op::Compact),
        2 => of_copies(),
        4 => Just(Op::Switch),
        1 => Just(Op::Recreate),
    ]
}
