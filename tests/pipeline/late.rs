//! MaxSim as a stage of a cascade: against the stages one after the other, computed record by
//! record, over several collections; what has no matrix, what is late and what is refused.

use std::time::Duration;

use portolan::{
    Collection, CollectionOptions, Database, Hit, Matrix, MaxSimReranker, Metric, ModelContract,
    OnRerankFailure, Record, RecordId, Rerank, StageOutcome, VectorField, query_all, rerank_fn,
};

use crate::common::Rng;

const DIM: usize = 3;

/// Rows of small integers: f16 keeps them, and their dot products are exact.
fn rows(rng: &mut Rng, most: u64) -> Vec<[f32; DIM]> {
    let mut row = || [1.0, rng.below(7) as f32 - 3.0, rng.below(5) as f32];
    let mut rows = vec![row()];
    rows.extend((0..most).map(|_| row()));
    let count = 1 + rng.below(most) as usize;
    rows.truncate(count);
    rows
}

type Rows = Vec<[f32; DIM]>;

/// MaxSim by its definition.
fn maxsim(query: &Rows, of: &Rows) -> f32 {
    let dot = |a: &[f32; DIM], b: &[f32; DIM]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    query.iter().map(|a| of.iter().map(|b| dot(a, b)).fold(f32::MIN, f32::max)).sum()
}

struct World {
    collections: Vec<Collection>,
    /// What each record of each collection has in the field.
    matrices: Vec<Vec<Option<Rows>>>,
    _files: Vec<(Database, tempfile::TempDir)>,
}

fn world(rng: &mut Rng) -> World {
    let mut world = World { collections: vec![], matrices: vec![], _files: vec![] };
    for _ in 0..2 {
        let dir = tempfile::tempdir().expect("a directory");
        let db = Database::open(dir.path().join("p.portolan")).expect("a database");
        let tokens = VectorField::multi(DIM).model(ModelContract::new("test/tokens"));
        let options = CollectionOptions::new(2, Metric::Cosine).vector_field("tokens", tokens);
        let docs = db.create_collection("docs", options).expect("a collection");
        let (mut batch, mut matrices) = (docs.batch(), Vec::new());
        for at in 0..70_i64 {
            let record = Record::new(at).text(format!("text {at}")).vector(rng.vector(2));
            let of = (!rng.once_in(4)).then(|| rows(rng, 5));
            let record = match &of {
                Some(rows) => {
                    record.named_vector("tokens", Matrix::from_rows(rows).expect("a matrix"))
                }
                None => record,
            };
            batch.upsert(record).expect("a record");
            matrices.push(of);
        }
        batch.commit().expect("a commit");
        world.collections.push(docs);
        world.matrices.push(matrices);
        world._files.push((db, dir));
    }
    world
}

fn length_of(passage: &str) -> f32 {
    (passage.len() % 3) as f32 + passage.bytes().map(f32::from).sum::<f32>() % 5.0
}

impl World {
    /// Which collection a hit is from, if there are several.
    fn matrix(&self, hit: &Hit) -> Option<&Rows> {
        let from = hit.origin.as_ref().map_or(0, |origin| {
            let same = |one: &Collection| one.origin().path == origin.path;
            self.collections.iter().position(same).expect("one of them")
        });
        let RecordId::Int(id) = hit.id else { panic!("{}", hit.id) };
        self.matrices[from][id as usize].as_ref()
    }
}

fn key(hit: &Hit) -> (Option<std::path::PathBuf>, RecordId) {
    (hit.origin.as_ref().map(|origin| origin.path.clone()), hit.id.clone())
}

#[tokio::test]
async fn maxsim_before_a_reranker_is_one_after_the_other() {
    let mut rng = Rng::new(71);
    let world = world(&mut rng);
    let last = rerank_fn(|_, passages| passages.iter().map(|text| length_of(text)).collect());
    for round in 0..40 {
        let asked = &world.collections[..1 + round % 2];
        let query = rows(&mut rng, 4);
        let vector = rng.vector(2);
        let (first, second) = (20 + rng.below(100) as usize, 5 + rng.below(20) as usize);
        let matrix = Matrix::from_rows(&query).expect("a matrix");
        let late = MaxSimReranker::new("tokens", matrix).model("test/tokens");
        let ask = || query_all(asked, "question").vector(vector.clone()).limit(4);

        let found = ask().limit(first).run().await.expect("an answer").hits;
        let (mut scored, mut unscored) = (Vec::new(), Vec::new());
        for hit in found {
            match world.matrix(&hit) {
                Some(of) => scored.push((maxsim(&query, of), hit)),
                None => unscored.push(hit),
            }
        }
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let after_first: Vec<(Option<f32>, Hit)> = scored
            .into_iter()
            .map(|(score, hit)| (Some(score), hit))
            .chain(unscored.into_iter().map(|hit| (None, hit)))
            .collect();

        let alone = ask().limit(first).rerank(Rerank::records(&late)).candidates(first);
        let alone = alone.run().await.expect("an answer");
        let told: Vec<_> = alone.hits.iter().map(|hit| (hit.rerank_score, key(hit))).collect();
        let expected: Vec<_> = after_first.iter().map(|(score, hit)| (*score, key(hit))).collect();
        assert_eq!(told, expected);
        assert_eq!(alone.report.stages[2].model.as_deref(), Some("test/tokens"));

        let mut expected: Vec<Hit> = after_first.into_iter().map(|(_, hit)| hit).collect();
        expected.truncate(second);
        let read = |hit: &Hit| length_of(&hit.record.passage());
        expected.sort_by(|a, b| read(b).total_cmp(&read(a)));
        expected.truncate(4);
        let cascade = ask().rerank(Rerank::records(&late).candidates(first));
        let cascade = cascade.rerank(Rerank::new(&last).candidates(second));
        let answer = cascade.run().await.expect("an answer");
        let keys = |hits: &[Hit]| hits.iter().map(key).collect::<Vec<_>>();
        assert_eq!(keys(&answer.hits), keys(&expected));
    }
}

#[tokio::test]
async fn a_stage_that_cannot_compare_or_is_late_leaves_the_order_or_fails_the_query() {
    let mut rng = Rng::new(72);
    let world = world(&mut rng);
    let docs = &world.collections[0];
    let matrix = || Matrix::from_rows(rows(&mut Rng::new(5), 3)).expect("a matrix");
    let query = || docs.query("question").vector([1.0, 0.2]);
    let plain = query().run().await.expect("an answer").hits;
    let wide = Matrix::new(4, [1.0; 8]).expect("a matrix");
    for (reranker, words) in [
        (MaxSimReranker::new("nothing", matrix()), "nothing"),
        (MaxSimReranker::new("tokens", matrix()).model("test/another"), "test/another"),
        (MaxSimReranker::new("tokens", wide), "tokens"),
    ] {
        let answer = query().rerank(Rerank::records(&reranker)).run().await.expect("an answer");
        assert_eq!(answer.hits, plain);
        match &answer.report.stages[2].outcome {
            StageOutcome::Failed(reason) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
        let must = Rerank::records(&reranker).on_failure(OnRerankFailure::Fail);
        query().rerank(must).run().await.expect_err("a stage that must not fail");
    }
    let late = MaxSimReranker::new("tokens", matrix());
    let none = Rerank::records(&late).within(Duration::ZERO);
    let answer = query().rerank(none).run().await.expect("an answer");
    assert_eq!(answer.hits, plain);
    match &answer.report.stages[2].outcome {
        StageOutcome::Failed(reason) => assert!(reason.contains("deadline"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
