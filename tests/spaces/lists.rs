//! Named fields, matrices and sparse vectors as lists of one query: each list is what the search of
//! its own gives.

use portolan::{
    Collection, CollectionOptions, Database, Dense, Error, Filter, Hits, Like, LikeStrategy,
    Matrix, MatrixCodec, Metric, Mmr, ModelContract, Multi, Record, RecordId, Sparse, VectorField,
};

use crate::common::Rng;

const DIM: usize = 6;

fn filled(dir: &tempfile::TempDir) -> Collection {
    let db = Database::open(dir.path().join("l.portolan")).expect("opens");
    let options = CollectionOptions::new(3, Metric::Cosine)
        .vector_field("image", VectorField::new(DIM, Metric::L2))
        .vector_field("tokens", VectorField::multi(DIM).codec(MatrixCodec::Int8))
        .vector_field("words", VectorField::sparse());
    let docs = db.create_collection("docs", options).expect("creates");
    let mut rng = Rng::new(4);
    let mut batch = docs.batch();
    for id in 0..80_i64 {
        let mut record = Record::new(id).field("tag", id % 3).vector(rng.vector(3));
        if id % 4 != 0 {
            record = record.named_vector("image", rng.vector(DIM));
        }
        if id % 5 != 0 {
            let rows: Vec<f32> = (0..3 * DIM).map(|_| rng.component()).collect();
            record = record.named_vector("tokens", Matrix::new(DIM, rows).expect("rows"));
        }
        let word = (id as u32 % 7, 0.1 + rng.component().abs());
        batch.upsert(record.named_vector("words", [word, (100, 0.25)])).expect("fits");
    }
    batch.commit().expect("commits");
    docs.maintain().run().expect("folds");
    docs
}

fn scored(hits: &Hits) -> Vec<(RecordId, f32)> {
    hits.iter().map(|hit| (hit.id.clone(), hit.score)).collect()
}

#[test]
fn each_kind_of_list_gives_what_its_own_search_gives() {
    let dir = tempfile::tempdir().expect("a folder");
    let docs = filled(&dir);
    let vector = [0.5_f32, -0.5, 1.0, 0.0, 0.25, 0.75];
    let matrix =
        Matrix::new(DIM, [vector, [1.0, 0.0, 0.0, -1.0, 0.0, 0.5]].concat()).expect("rows");
    let words = [(3, 2.0), (100, 1.0)];
    let tag = || Filter::eq("tag", 1_i64);
    let listed = |find: portolan::Find| {
        let found = find.filter(tag()).limit(9).run().expect("runs");
        let kind = found.report.lists[0].kind;
        (kind, found.hits.iter().map(|hit| (hit.id.clone(), hit.score)).collect::<Vec<_>>())
    };
    let image = docs.search(&vector).field("image").filter(tag()).limit(9).run().expect("runs");
    let found = listed(docs.find().dense_with(Dense::new(vector).field("image")));
    assert_eq!(found, ("dense", scored(&image)));
    let tokens = docs.maxsim("tokens", &matrix).filter(tag()).limit(9).run().expect("runs");
    assert_eq!(tokens.len(), 9);
    assert_eq!(listed(docs.find().multi("tokens", &matrix)), ("multi", scored(&tokens)));
    let sparse = docs.search_sparse("words", &words).filter(tag()).limit(9).run().expect("runs");
    assert_eq!(sparse.len(), 9);
    assert_eq!(listed(docs.find().sparse("words", &words)), ("sparse", scored(&sparse)));

    let told = docs.find().multi("tokens", &matrix).limit(2).run().expect("runs");
    let list = &told.report.lists[0];
    assert!(list.about.ends_with("all of them"), "{}", list.about);
    assert_eq!((list.scored, list.expected_recall), (64, Some(1.0)));

    let all = docs.find().dense(&[1.0, 0.0, 0.0]).multi_with(Multi::new("tokens", matrix).exact());
    let all = all.sparse_with(Sparse::new("words", words).weight(2.0)).with_vectors();
    let found = all.limit(3).run().expect("runs");
    assert_eq!((found.hits.len(), found.report.lists.len()), (3, 3));
    let stored = docs.get(&found.hits[0].id).expect("reads").expect("is there");
    assert_eq!(found.hits[0].record, stored);
}

#[test]
fn lists_of_fields_that_are_not_there_or_of_another_kind_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let docs = filled(&dir);
    let matrix = Matrix::new(DIM, [1.0; DIM]).expect("a row");
    for (find, is_not_found) in [
        (docs.find().dense_with(Dense::new([1.0; DIM]).field("none")), true),
        (docs.find().dense_with(Dense::new([1.0; DIM]).field("tokens")), false),
        (docs.find().multi("image", &matrix), false),
        (docs.find().sparse("none", &[(1, 1.0)]), true),
        (docs.find().sparse("words", &[(1, -1.0)]), false),
        (docs.find().like_with(Like::new([1], [0; 0]).field("none")), true),
        (docs.find().like_with(Like::new([1], [0; 0]).field("tokens")), false),
        // Has no image.
        (docs.find().like_with(Like::new([0], [0; 0]).field("image")), false),
        (docs.find().dense(&[1.0; 3]).diversity(Mmr::new(0.5).field("none")), true),
    ] {
        let error = find.run().expect_err("refused");
        assert_eq!((error.is_not_found(), error.is_invalid_input()), (is_not_found, !is_not_found));
    }
}

#[test]
fn more_matrices_than_candidates_and_no_limit_give_them_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = Database::open(dir.path().join("l.portolan")).expect("opens");
    let options =
        CollectionOptions::new(3, Metric::Cosine).vector_field("tokens", VectorField::multi(DIM));
    let docs = db.create_collection("docs", options).expect("creates");
    let mut rng = Rng::new(5);
    let mut batch = docs.batch();
    for id in 0..300_i64 {
        let tokens = Matrix::new(DIM, rng.vector(2 * DIM)).expect("rows");
        batch.upsert(Record::new(id).named_vector("tokens", tokens)).expect("fits");
    }
    batch.commit().expect("commits");
    docs.maintain().run().expect("folds");
    let query = Matrix::new(DIM, rng.vector(DIM)).expect("rows");
    let all = docs.maxsim("tokens", &query).limit(usize::MAX).run().expect("runs");
    assert_eq!(all.len(), 300);
    let listed = docs.find().multi("tokens", &query).limit(usize::MAX).run().expect("runs");
    assert_eq!(listed.len(), 300);
    let list = &listed.report.lists[0];
    assert!(list.about.ends_with("candidates by vectors") && list.expected_recall.is_none());
    assert_eq!((list.segments.len(), list.segments[0].rows, list.scored), (1, 300, 300));
}

#[test]
fn a_vector_that_a_field_does_not_take_is_refused_by_the_name_of_the_field() {
    let dir = tempfile::tempdir().expect("a folder");
    let docs = filled(&dir);
    let error = docs.find().dense_with(Dense::new([1.0]).field("image")).run().expect_err("short");
    assert!(matches!(error, Error::NamedVector { field, .. } if field == "image"));
}

#[test]
fn examples_and_diversity_can_be_by_a_named_field_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = Database::open(dir.path().join("l.portolan")).expect("opens");
    let options = CollectionOptions::new(3, Metric::Cosine)
        .vector_field("image", VectorField::new(2, Metric::Cosine));
    let docs = db.create_collection("docs", options).expect("creates");
    for (id, image) in
        [("a", [1.0, 0.0]), ("twin", [1.0, 0.01]), ("near", [1.0, 0.4]), ("far", [0.0, 1.0])]
    {
        docs.upsert(Record::new(id).named_vector("image", image.to_vec())).expect("fits");
    }
    let ids = |found: portolan::Findings| -> Vec<String> {
        found.iter().map(|hit| hit.id.to_string()).collect()
    };
    for strategy in [LikeStrategy::Average, LikeStrategy::BestScore] {
        let like = Like::new(["a"], ["far"]).field("image").strategy(strategy);
        let like = like.recall(0.99);
        let found = docs.find().like_with(like).run().expect("runs");
        assert!(found.report.lists[0].about.contains("image"));
        assert_eq!(ids(found), ["twin", "near"]);
    }
    let dense = || docs.find().dense_with(Dense::new([1.0, 0.0]).field("image"));
    let diverse = dense().diversity(Mmr::new(0.1).field("image")).limit(2);
    assert_eq!(ids(diverse.run().expect("runs")), ["a", "far"]);
}

#[test]
fn sparse_lists_by_another_model_than_the_field_s_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = Database::open(dir.path().join("l.portolan")).expect("opens");
    let words = VectorField::sparse().model(ModelContract::new("one"));
    let options = CollectionOptions::new(3, Metric::Cosine).vector_field("words", words);
    let docs = db.create_collection("docs", options).expect("creates");
    let find =
        |model: &str| docs.find().sparse_with(Sparse::new("words", [(1, 1.0)]).model(model)).run();
    assert!(find("one").expect("runs").is_empty());
    assert!(matches!(find("two"), Err(Error::ModelMismatch { .. })));
}
