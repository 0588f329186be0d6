//! One question to several collections: merged by the rule, one embedding a model, and what one
//! that fails does to the others.

use std::time::Duration;

use portolan::{
    Collection, CollectionOptions, Database, Error, Filter, Merge, Metric, OnCollectionFailure,
    Record, RecordId, Rerank, StageOutcome, query_all, rerank_fn,
};

use super::models::{DIMENSIONS, Fate, WordEmbedder};
use super::records;
use crate::common::Rng;

struct Files {
    dir: tempfile::TempDir,
    collections: Vec<Collection>,
    databases: Vec<Database>,
}

/// Two files of two collections each, of different sizes.
fn files(rng: &mut Rng, metric: Metric) -> Files {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut collections, mut databases) = (Vec::new(), Vec::new());
    for file in 0..2 {
        let db = Database::open(dir.path().join(format!("{file}.portolan"))).expect("a database");
        for name in ["a", "b"] {
            let made = db.create_collection(name, CollectionOptions::new(4, metric));
            let made = made.expect("a collection");
            let mut batch = made.batch();
            for at in 0..rng.below(30) as i64 {
                let record = Record::new(at).text(format!("{file} {name} {at}"));
                batch.upsert(record.field("n", at % 3).vector(rng.vector(4))).expect("a record");
            }
            batch.commit().expect("a commit");
            collections.push(made);
        }
        databases.push(db);
    }
    Files { dir, collections, databases }
}

/// Where a hit is from, its id and score.
type Place = (String, String, RecordId, f32);

#[tokio::test]
async fn lists_are_merged_as_the_rule_says() {
    let mut rng = Rng::new(3);
    for round in 0..20 {
        let files = files(&mut rng, Metric::L2);
        let vector = rng.vector(4);
        let limit = 1 + rng.below(40) as usize;
        let filter = Filter::lt("n", 2);
        let mut lists: Vec<Vec<Place>> = Vec::new();
        for (at, collection) in files.collections.iter().enumerate() {
            let search = collection.search(&vector).filter(filter.clone()).limit(limit);
            let file = format!("{}.portolan", at / 2);
            let place = |hit: portolan::Hit| {
                (file.clone(), collection.name().to_owned(), hit.id, hit.score)
            };
            lists.push(search.run().expect("hits").into_iter().map(place).collect());
        }
        let by_rank = {
            let deepest = lists.iter().map(Vec::len).max().unwrap_or(0);
            let at = |rank: usize| lists.iter().filter_map(move |list| list.get(rank));
            (0..deepest).flat_map(at).take(limit).cloned().collect::<Vec<Place>>()
        };
        let mut by_score: Vec<Place> = lists.concat();
        by_score.sort_by(|a, b| b.3.total_cmp(&a.3));
        by_score.truncate(limit);
        for (merge, expected) in [
            (Merge::default(), by_rank.clone()),
            (Merge::Rrf { k: 0.0 }, by_rank),
            (Merge::Score, by_score),
        ] {
            let query = query_all(&files.collections, "q").vector(vector.clone()).merge(merge);
            let query = query.filter(filter.clone()).limit(limit);
            let answer = query.run().await.expect("an answer");
            let place = |hit: &portolan::Hit| {
                let origin = hit.origin.as_ref().expect("an origin");
                let file = origin.path.file_name().expect("a name").to_string_lossy();
                (file.into_owned(), origin.collection.clone(), hit.id.clone(), hit.score)
            };
            let found: Vec<Place> = answer.hits.iter().map(place).collect();
            assert_eq!(found, expected, "round {round}, {merge:?}");
            let counts: Vec<usize> = answer.report.collections.iter().map(|c| c.hits).collect();
            assert_eq!(counts, lists.iter().map(Vec::len).collect::<Vec<_>>());
        }
        drop(files.databases);
        files.dir.close().expect("the directory is removed");
    }
}

#[tokio::test]
async fn a_reranker_puts_hits_of_all_collections_on_one_scale() {
    let files = files(&mut Rng::new(9), Metric::Cosine);
    let backwards =
        rerank_fn(|_, texts| texts.iter().map(|text| f32::from(text.as_bytes()[2])).collect());
    let query = query_all(&files.collections, "q").vector([1.0, 0.0, 0.0, 0.0]);
    let answer = query.rerank(Rerank::new(&backwards).candidates(40)).limit(40).run().await;
    let answer = answer.expect("an answer");
    let names = answer.hits.iter().map(|hit| hit.text().as_bytes()[2]);
    assert!(names.is_sorted_by(|a, b| a >= b));
    assert!(answer.hits.iter().all(|hit| hit.rerank_score.is_some()));
}

/// A file with a collection of that model's vectors.
async fn of_model(dir: &std::path::Path, model: &'static str) -> Collection {
    let db = Database::open(dir.join(format!("{model}.portolan").replace('/', "-")));
    let options = CollectionOptions::new(DIMENSIONS, Metric::Cosine);
    let docs = db.expect("a database").create_collection("docs", options).expect("a collection");
    let embedder = WordEmbedder::new(Fate::Answer).model(model);
    docs.ingest(records(30)).embedder(&embedder).run().await.expect("an ingest");
    docs
}

#[tokio::test]
async fn each_model_is_asked_once_for_all_collections_of_its_vectors() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (of_model(dir.path(), "m/one").await, of_model(dir.path(), "m/two").await);
    let (first, second) = (
        WordEmbedder::new(Fate::Answer).model("m/one"),
        WordEmbedder::new(Fate::Answer).model("m/two"),
    );
    let all = [&one, &two, &one];
    let query = || query_all(all, "compass wind").embedder(&first).embedder(&second);
    let answer = query().run().await.expect("an answer");
    assert_eq!((first.calls(), second.calls()), (1, 1));
    let models: Vec<_> = answer.report.stages.iter().map(|stage| stage.model.as_deref()).collect();
    assert_eq!(models, [Some("m/one"), Some("m/two"), None, None]);
    assert_eq!(answer.report.collections.len(), 3);
    let error = query().merge(Merge::Score).run().await.expect_err("two models");
    assert!(matches!(error, Error::Query { .. }), "{error}");
    let same = query_all([&one, &one], "compass").embedder(&first).merge(Merge::Score);
    assert_eq!(same.run().await.expect("an answer").hits.len(), 10);
}

#[tokio::test]
async fn a_collection_that_cannot_be_searched_fails_the_query_or_is_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (of_model(dir.path(), "m/one").await, of_model(dir.path(), "m/two").await);
    let embedder = WordEmbedder::new(Fate::Answer).model("m/one");
    let query = || query_all([&one, &two], "compass wind").embedder(&embedder);
    let error = query().run().await.expect_err("no model for the second");
    assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
    let leave_out = OnCollectionFailure::LeaveOut;
    let answer = query().on_collection_failure(leave_out).run().await.expect("an answer");
    let alone = one.query("compass wind").embedder(&embedder).run().await.expect("an answer");
    let ids = |hits: &[portolan::Hit]| hits.iter().map(|h| h.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&answer.hits), ids(&alone.hits));
    assert_eq!(answer.report.collections[0].outcome, StageOutcome::Done);
    match &answer.report.collections[1].outcome {
        StageOutcome::Failed(reason) => assert!(reason.contains("m/two"), "{reason}"),
        other => panic!("{other:?}"),
    }
    // A model that is down takes its collections with it; if that is all, the query fails.
    let down = WordEmbedder::new(Fate::FailAt(0)).model("m/two");
    let query = query().embedder(&down).on_collection_failure(leave_out);
    let answer = query.run().await.expect("an answer");
    assert_eq!(ids(&answer.hits), ids(&alone.hits));
    let down = WordEmbedder::new(Fate::FailAt(0)).model("m/two");
    let query = query_all([&two, &two], "compass").embedder(&down).on_collection_failure(leave_out);
    let error = query.run().await.expect_err("nothing is left");
    assert!(matches!(error, Error::Model { stage: "embed", .. }), "{error}");
    let none: [&Collection; 0] = [];
    let error = query_all(none, "compass").vector([1.0]).run().await.expect_err("nothing");
    assert!(matches!(error, Error::Query { .. }), "{error}");
}

#[tokio::test]
async fn collections_of_another_metric_or_shape_are_merged_by_rank_or_left_out() {
    let mut rng = Rng::new(4);
    let (near, far) = (files(&mut rng, Metric::Cosine), files(&mut rng, Metric::L2));
    let both = [&near.collections[0], &far.collections[0]];
    let query = || query_all(both, "q").vector([1.0, 0.0, 0.0, 0.5]);
    query().run().await.expect("an answer");
    let error = query().merge(Merge::Score).run().await.expect_err("two metrics");
    assert!(matches!(error, Error::Query { .. }), "{error}");
    let dir = tempfile::tempdir().expect("a directory");
    let two = of_model(dir.path(), "m/one").await;
    let query = || query_all([&near.collections[0], &two], "q").vector([1.0, 0.0, 0.0, 0.5]);
    let error = query().run().await.expect_err("other dimensions");
    assert!(matches!(error, Error::Vector { .. }), "{error}");
    let query = query().on_collection_failure(OnCollectionFailure::LeaveOut);
    let answer = query.run().await.expect("an answer");
    assert_eq!(answer.report.collections[1].hits, 0);
    // A deadline that has passed leaves nothing to answer with.
    let late = query_all(both, "q").vector([1.0, 0.0, 0.0, 0.5]).deadline(Duration::ZERO);
    let late = late.on_collection_failure(OnCollectionFailure::LeaveOut).run().await;
    let late = late.expect_err("it is late");
    assert!(matches!(late, Error::DeadlineExceeded { stage: "search", .. }), "{late}");
}
