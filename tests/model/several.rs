//! One query over both collections: merged by rank, put on one scale by a reranker, and what
//! becomes of a collection that cannot answer.

use std::collections::{BTreeMap, BTreeSet};

use portolan::{
    Answer, Database, Hit, Merge, Mode, OnCollectionFailure, Query, RecordId, Rerank, StageOutcome,
    query_all,
};

use super::common::Rng;
use super::reranked::{reranker, runtime, score};
use super::searches::WORDS;
use super::shapes::filtered;
use super::{Predicate, Side};

/// A collection by name, and a record in it.
type Place = (String, RecordId);

fn place(hit: &Hit) -> Place {
    let origin = hit.origin.as_ref().expect("a hit of several collections has an origin");
    (origin.collection.clone(), hit.id.clone())
}

fn places(answer: &Answer) -> Vec<Place> {
    answer.hits.iter().map(place).collect()
}

pub fn check(db: &Database, sides: &[Side; 2], seed: u64, filter: Option<&Predicate>) {
    let rng = &mut Rng::new(seed);
    let both: Vec<_> =
        sides.iter().map(|side| db.collection(side.name).expect("a collection")).collect();
    let word = WORDS[rng.below(8) as usize];
    let limit = 1 + rng.below(60) as usize;
    let given = filter.map(|filter| filter.filter(rng));
    let with_filter = |query: Query<'static>| match &given {
        Some(filter) => query.filter(filter.clone()),
        None => query,
    };
    let query = || with_filter(query_all(&both, word).mode(Mode::Lexical)).limit(limit);

    // What each finds alone, the first of each before the second of each.
    let mut lists = Vec::new();
    for (docs, side) in both.iter().zip(sides) {
        let found = filtered(docs.find().text(word).limit(limit), given.as_ref()).run();
        let found: Vec<Place> = found
            .expect("a query")
            .iter()
            .map(|hit| (side.name.to_owned(), hit.id.clone()))
            .collect();
        assert_eq!(found.len(), limit.min(side.with_word(word, filter).len()));
        lists.push(found);
    }
    let at = |rank: usize| lists.iter().filter_map(move |list| list.get(rank));
    let expected: Vec<Place> = (0..limit).flat_map(at).take(limit).cloned().collect();
    let answer = runtime().block_on(query().run()).expect("an answer");
    assert_eq!(places(&answer), expected, "merged by rank");
    let counts: Vec<usize> = answer.report.collections.iter().map(|one| one.hits).collect();
    assert_eq!(counts, lists.iter().map(Vec::len).collect::<Vec<_>>());
    for ((report, side), list) in answer.report.collections.iter().zip(sides).zip(&lists) {
        assert_eq!(report.find.records, side.passing(filter).count() as u64);
        assert_eq!(report.find.lists[0].found, list.len());
    }
    let by_score = runtime().block_on(query().merge(Merge::Score).run());
    assert!(by_score.is_err(), "scores of words of two collections do not compare");

    // All candidates on the scale of one reranker, equal ones as they were merged.
    let model = reranker(seed);
    let all = sides.iter().map(|side| side.with_word(word, filter).len()).sum::<usize>().max(limit);
    let answer = query().rerank(Rerank::new(&model).candidates(all));
    let answer = runtime().block_on(answer.run()).expect("an answer");
    let mut wanted: BTreeMap<Place, f32> = BTreeMap::new();
    for side in sides {
        for id in side.with_word(word, filter) {
            let score = score(seed, &side.model[&id].0.passage());
            wanted.insert((side.name.to_owned(), id), score);
        }
    }
    let found: BTreeSet<Place> = places(&answer).into_iter().collect();
    assert_eq!(found.len(), limit.min(wanted.len()), "hits of both collections");
    let scores: Vec<f32> = answer.hits.iter().map(|hit| wanted[&place(hit)]).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "out of order");
    for (hit, score) in answer.hits.iter().zip(&scores) {
        assert_eq!(hit.rerank_score, Some(*score), "{}", hit.id);
    }
    let worst = scores.last().copied().unwrap_or(f32::INFINITY);
    let missed = wanted.iter().find(|(place, score)| **score > worst && !found.contains(*place));
    assert_eq!(missed, None, "better than the last hit");

    // A vector that only one collection can be asked for.
    let vector = sides[0].query(rng.next());
    let query = with_filter(query_all(&both, word).vector(vector.clone()).mode(Mode::Dense));
    let query = query.limit(limit).on_collection_failure(OnCollectionFailure::LeaveOut);
    let answer = runtime().block_on(query.run()).expect("an answer");
    let alone = filtered(both[0].find().dense(&vector).limit(limit), given.as_ref()).run();
    let alone =
        alone.expect("a query").hits.into_iter().map(|hit| (sides[0].name.to_owned(), hit.id));
    assert_eq!(places(&answer), alone.collect::<Vec<_>>());
    assert!(matches!(answer.report.collections[1].outcome, StageOutcome::Failed(_)));
}
