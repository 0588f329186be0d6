//! By vector, by words, or by both: what is chosen, what a failing embedder leaves, and what the
//! search is shaped to.

use std::time::Duration;

use portolan::{
    Answer, Collection, CollectionOptions, Database, Dense, Error, Fusion, Hit, Language, Merge,
    Metric, Mode, OnCollectionFailure, OnEmbedFailure, RecordId, StageOutcome, TextIndex,
    query_all, rerank_fn,
};

use super::models::{DIMENSIONS, Fate, WordEmbedder, bag_of_words};
use super::records;

const QUESTION: &str = "compass wind rose";

/// Two collections of the same records, the first with an index of words.
async fn filled() -> (tempfile::TempDir, Collection, Collection, WordEmbedder) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path().join("p.portolan")).expect("a database");
    let options = || CollectionOptions::new(DIMENSIONS, Metric::Cosine);
    let words = options().text(TextIndex::new(Language::English));
    let words = db.create_collection("words", words).expect("a collection");
    let plain = db.create_collection("plain", options()).expect("a collection");
    let embedder = WordEmbedder::new(Fate::Answer);
    for one in [&words, &plain] {
        one.ingest(records(120)).embedder(&embedder).run().await.expect("an ingest");
    }
    (dir, words, plain, embedder.fated(Fate::Answer))
}

fn ids(hits: &[Hit]) -> Vec<RecordId> {
    hits.iter().map(|hit| hit.id.clone()).collect()
}

fn lists(answer: &Answer, collection: usize) -> Vec<&'static str> {
    let find = &answer.report.collections[collection].find;
    find.lists.iter().map(|list| list.kind).collect()
}

fn outcome(answer: &Answer) -> &StageOutcome {
    &answer.report.stages[0].outcome
}

#[tokio::test]
async fn the_lists_are_those_that_the_collection_and_the_question_allow() {
    let (_dir, words, plain, embedder) = filled().await;
    let both = words.query(QUESTION).embedder(&embedder).run().await.expect("an answer");
    assert_eq!(lists(&both, 0), ["dense", "text"]);
    let dense = plain.query(QUESTION).embedder(&embedder).run().await.expect("an answer");
    assert_eq!(lists(&dense, 0), ["dense"]);
    assert_eq!(embedder.calls(), 2);
    let by_vector = words.query(QUESTION).vector(bag_of_words(QUESTION)).run().await;
    assert_eq!(by_vector.expect("an answer").hits, both.hits);
    let no_text = words.query(" ").vector(bag_of_words(QUESTION)).run().await.expect("an answer");
    assert_eq!(lists(&no_text, 0), ["dense"]);
    let no_model = words.query(QUESTION).run().await.expect("an answer");
    assert_eq!(lists(&no_model, 0), ["text"]);
    assert_eq!(outcome(&no_model), &StageOutcome::Skipped);
    let error = plain.query(QUESTION).run().await.expect_err("nothing to search by");
    assert!(matches!(error, Error::Query { .. }), "{error}");

    let query = |collection: &Collection| collection.query(QUESTION).embedder(&embedder);
    let lexical = query(&words).mode(Mode::Lexical).run().await.expect("an answer");
    assert_eq!(lexical.hits, no_model.hits);
    let alone = query(&words).mode(Mode::Dense).run().await.expect("an answer");
    assert_eq!((lists(&alone, 0), ids(&alone.hits)), (vec!["dense"], ids(&dense.hits)));
    assert_eq!(embedder.calls(), 3);
    for mode in [Mode::Lexical, Mode::Hybrid] {
        query(&plain).mode(mode).run().await.expect_err("words are not indexed");
    }
    let error = words.query(QUESTION).mode(Mode::Hybrid).run().await.expect_err("no vector");
    assert!(matches!(error, Error::Query { .. }), "{error}");
}

#[tokio::test]
async fn a_hybrid_query_is_the_find_of_both_lists() {
    let (_dir, words, _, embedder) = filled().await;
    for fusion in [Fusion::rrf(), Fusion::weighted()] {
        let query = words.query(QUESTION).embedder(&embedder).fusion(fusion).limit(20);
        let answer = query.run().await.expect("an answer");
        let dense = Dense::new(bag_of_words(QUESTION));
        let find = words.find().dense_with(dense).text(QUESTION).fusion(fusion).limit(20);
        assert_eq!(answer.hits, find.run().expect("hits").hits);
    }
}

#[tokio::test]
async fn an_embedder_that_fails_or_is_late_leaves_the_words_if_that_was_chosen() {
    let (_dir, words, plain, _) = filled().await;
    let lexical = words.query(QUESTION).run().await.expect("an answer");
    let (failing, late) = (WordEmbedder::new(Fate::FailAt(0)), WordEmbedder::new(Fate::HangAt(0)));
    let degrade = OnEmbedFailure::Lexical;
    let query = words.query(QUESTION).embedder(&failing).on_embed_failure(degrade);
    let answer = query.run().await.expect("an answer");
    assert_eq!(answer.hits, lexical.hits);
    let failed = |answer: &Answer| match outcome(answer) {
        StageOutcome::Failed(reason) => reason.clone(),
        other => panic!("{other:?}"),
    };
    assert!(failed(&answer).contains("ran out"), "{}", failed(&answer));
    let time = Duration::from_secs(60);
    let query = words.query(QUESTION).embedder(&late).on_embed_failure(degrade).deadline(time);
    // All of it but a moment is kept for the search.
    let query = query.search_reserve(time - Duration::from_millis(20));
    let answer = query.run().await.expect("an answer");
    assert_eq!(answer.hits, lexical.hits);
    assert!(failed(&answer).contains("deadline"), "{}", failed(&answer));
    // Not chosen, or nothing to fall back to.
    let failing = WordEmbedder::new(Fate::FailAt(0));
    let error = words.query(QUESTION).embedder(&failing).run().await.expect_err("it fails");
    assert!(matches!(error, Error::Model { stage: "embed", .. }), "{error}");
    for query in [plain.query(QUESTION), words.query(QUESTION).mode(Mode::Dense)] {
        let failing = WordEmbedder::new(Fate::FailAt(0));
        let error = query.embedder(&failing).on_embed_failure(degrade).run().await;
        assert!(matches!(error, Err(Error::Model { stage: "embed", .. })));
    }
    let failing = WordEmbedder::new(Fate::FailAt(0));
    let query = query_all([&plain, &words], QUESTION).embedder(&failing).on_embed_failure(degrade);
    let answer = query.on_collection_failure(OnCollectionFailure::LeaveOut).run().await;
    let answer = answer.expect("an answer");
    assert_eq!(ids(&answer.hits), ids(&lexical.hits));
    assert!(matches!(answer.report.collections[0].outcome, StageOutcome::Failed(_)));
    assert_eq!(lists(&answer, 1), ["text"]);
}

#[tokio::test]
async fn what_a_find_can_shape_a_query_can() {
    let (_dir, words, plain, embedder) = filled().await;
    let query = |question: &str| words.query(question).embedder(&embedder).limit(3);
    let shaped =
        query(QUESTION).find(|find| find.group_by("number", 1).facets(["number"]).highlights());
    let shaped = shaped.run().await.expect("an answer");
    assert_eq!(shaped.groups().count(), 3);
    assert!(shaped.groups().all(|group| *group.value == group.hits[0].metadata()["number"]));
    assert_eq!(shaped.facets()[0].distinct, 120);
    assert!(shaped.hits.iter().any(|hit| !hit.highlights.text.is_empty()));
    let first = query(QUESTION).run().await.expect("an answer");
    let next = first.next.clone().expect("another page");
    let second = query(QUESTION).find(move |find| find.after(next.clone())).run().await;
    let all = query(QUESTION).limit(6).run().await.expect("an answer");
    let pages = [ids(&first.hits), ids(&second.expect("an answer").hits)].concat();
    assert_eq!(pages, ids(&all.hits));
    assert!(all.report.collections[0].explain().to_string().contains("dense"));
    // A reranker takes groups apart, and has no pages.
    let flat = rerank_fn(|_, passages| vec![0.0; passages.len()]);
    let reranked = query(QUESTION).find(|find| find.group_by("number", 1)).reranker(&flat);
    let reranked = reranked.run().await.expect("an answer");
    assert_eq!((reranked.groups().count(), reranked.next, reranked.hits.len()), (0, None, 3));
    // Each collection is shaped alike.
    let several = query_all([&words, &plain], QUESTION).embedder(&embedder);
    let several = several.find(|find| find.facets(["number"])).run().await.expect("an answer");
    assert!(several.report.collections.iter().all(|one| one.facets[0].distinct == 120));
    let by_score = query_all([&words, &plain], QUESTION).embedder(&embedder).merge(Merge::Score);
    assert!(matches!(by_score.run().await, Err(Error::Query { .. })));
    let by_score = query_all([&words, &plain], QUESTION).embedder(&embedder).merge(Merge::Score);
    by_score.mode(Mode::Dense).run().await.expect("an answer");
}
