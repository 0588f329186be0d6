//! How many of the true best by MaxSim a search by candidates finds, on documents about a few
//! topics each.

use portolan::{CollectionOptions, Database, Matrix, MatrixCodec, Metric, Record, VectorField};

use crate::common::Rng;

const DIM: usize = 64;
const DOCUMENTS: usize = 3_000;
const TOPICS: usize = 60;

struct Corpus {
    topics: Vec<Vec<f32>>,
    rng: Rng,
}

impl Corpus {
    fn new() -> Self {
        let mut rng = Rng::new(21);
        let topics = (0..TOPICS).map(|_| rng.vector(DIM)).collect();
        Self { topics, rng }
    }

    /// Normalized rows, each near one of some topics.
    fn rows(&mut self, count: usize, topics: &[usize], noise: f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(count * DIM);
        for at in 0..count {
            let topic = &self.topics[topics[at % topics.len()]];
            let row: Vec<f32> = topic.iter().map(|x| x + noise * self.rng.component()).collect();
            push_normalized(&mut values, &row);
        }
        values
    }
}

fn push_normalized(values: &mut Vec<f32>, row: &[f32]) {
    let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    values.extend(row.iter().map(|x| x / norm));
}

#[test]
fn two_hundred_candidates_of_three_thousand_hold_nearly_all_of_the_true_best() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = Database::open(dir.path().join("r.portolan")).expect("opens");
    let options = CollectionOptions::new(2, Metric::Dot)
        .vector_field("tokens", VectorField::multi(DIM).codec(MatrixCodec::Int8));
    let docs = db.create_collection("docs", options).expect("creates");
    let mut corpus = Corpus::new();
    let mut matrices = Vec::new();
    let mut batch = docs.batch();
    for id in 0..DOCUMENTS {
        let topics: Vec<usize> = (0..3).map(|_| corpus.rng.below(TOPICS as u64) as usize).collect();
        let rows = corpus.rows(24, &topics, 1.5);
        let tokens = Matrix::new(DIM, rows.clone()).expect("rows");
        batch.upsert(Record::new(id as i64).named_vector("tokens", tokens)).expect("fits");
        matrices.push(rows);
    }
    batch.commit().expect("commits");
    docs.maintain().run().expect("folds");
    let (mut found, mut wanted) = (0, 0);
    for of in (0..DOCUMENTS).step_by(DOCUMENTS / 30) {
        // A question has some rows of a document, blurred.
        let mut query = Vec::new();
        for row in matrices[of].chunks(DIM).step_by(3) {
            let row: Vec<f32> = row.iter().map(|x| x + 0.15 * corpus.rng.component()).collect();
            push_normalized(&mut query, &row);
        }
        let query = Matrix::new(DIM, query).expect("rows");
        let search = || docs.maxsim("tokens", &query).limit(10);
        let (hits, truth) =
            (search().run().expect("searches"), search().exact().run().expect("searches"));
        assert_eq!((hits.report.candidates, truth.report.candidates), (200, DOCUMENTS));
        assert_eq!(truth[0].id, (of as i64).into());
        wanted += truth.len();
        found += truth.iter().filter(|true_| hits.iter().any(|hit| hit.id == true_.id)).count();
    }
    let recall = found as f64 / wanted as f64;
    println!("recall of 10 by MaxSim with 200 candidates of {DOCUMENTS}: {recall:.4}");
    assert!(recall >= 0.95, "{recall}");
}
