//! Options for a collection that is there already: what contradicts it is refused and named, what
//! can be changed later or is as by default stays as it is.

use portolan::{
    CollectionOptions, Database, Error, GraphParams, IndexFields, Language, MatrixCodec, Metric,
    ModelContract, Originals, Record, Roles, TextIndex, VectorField,
};

use super::{Kind, kind};

fn options() -> CollectionOptions {
    CollectionOptions::new(8, Metric::Cosine)
}

/// A collection with something in every place where it could be otherwise.
fn particular() -> CollectionOptions {
    options()
        .leading_dimensions(4)
        .originals(Originals::F32)
        .graph(GraphParams { m: 8, ..GraphParams::default() })
        .model(ModelContract::new("m").roles(Roles::InputType))
        .vector_field("image", VectorField::new(3, Metric::L2))
        .vector_field("tokens", VectorField::multi(4).codec(MatrixCodec::Int8))
        .vector_field("terms", VectorField::sparse())
}

fn with(made: CollectionOptions) -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path().join("f.portolan")).expect("a database");
    db.create_collection("docs", made).expect("a collection");
    (dir, db)
}

/// What differs, each as `option: has, asked`.
fn differences(db: &Database, asked: CollectionOptions) -> Vec<String> {
    let before = crate::common::content(db);
    let error = match db.collection_or_create("docs", asked) {
        Ok(_) => return Vec::new(),
        Err(error) => error,
    };
    assert!(crate::common::content(db) == before, "{error} changed something");
    assert_eq!(kind(&error), Kind::InvalidInput);
    let text = error.to_string();
    let Error::CollectionDiffers { name, differences } = error else { panic!("{error:?}") };
    assert_eq!(name, "docs");
    assert!(differences.iter().all(|one| text.contains(&one.to_string())), "{text}");
    let each = differences.iter();
    each.map(|one| format!("{}: {}, {}", one.option, one.has, one.asked)).collect()
}

#[test]
fn options_that_contradict_a_collection_are_refused_each_by_its_name() {
    let (_dir, db) = with(particular());
    let found = differences(&db, CollectionOptions::new(16, Metric::Dot));
    assert_eq!(found, ["dimensions: 8, 16", "metric: cosine, dot"]);
    let found = differences(&db, options().leading_dimensions(6));
    assert_eq!(found, ["leading dimensions: 4, 6"]);
    let found = differences(&db, options().originals(Originals::None));
    assert_eq!(found, ["originals: f32, none"]);
    let found = differences(&db, options().graph(GraphParams { m: 12, ..GraphParams::default() }));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("graph: m 8, "), "{found:?}");
    let found = differences(&db, options().model(ModelContract::new("n")));
    assert_eq!(found, ["model: m with roles by input type, n with no roles"]);
    let found = differences(&db, options().model(ModelContract::new("m")));
    assert_eq!(found, ["model: m with roles by input type, m with no roles"]);
}

#[test]
fn vector_fields_of_another_shape_are_refused_by_their_name() {
    let (_dir, db) = with(particular());
    let field = |name: &str, field| differences(&db, options().vector_field(name, field));
    let found = field("image", VectorField::new(5, Metric::L2).model(ModelContract::new("n")));
    assert_eq!(found, ["dimensions of vector field \"image\": 3, 5"]);
    let found = field("image", VectorField::multi(3));
    assert_eq!(found, ["kind of vector field \"image\": one vector a record, a matrix a record"]);
    let found = field("tokens", VectorField::multi(4).codec(MatrixCodec::Bit));
    assert_eq!(found, ["codec of vector field \"tokens\": int8, bit"]);
    let found = field("terms", VectorField::new(1, Metric::Dot));
    let kinds = "a sparse vector a record, one vector a record";
    assert_eq!(found, [format!("kind of vector field \"terms\": {kinds}")]);
}

#[test]
fn what_is_equal_or_left_as_by_default_or_can_be_changed_later_is_no_contradiction() {
    let (_dir, db) = with(particular());
    let none: [&str; 0] = [];
    assert_eq!(differences(&db, particular()), none);
    assert_eq!(differences(&db, options()), none);
    assert_eq!(differences(&db, CollectionOptions::without_vectors()), none);
    let words = TextIndex::new(Language::English);
    let later = options()
        .text(words.clone())
        .index_fields(IndexFields::Declared)
        .index_field("year")
        .vector_field("tokens", VectorField::multi(4))
        .vector_field("terms", VectorField::sparse())
        .vector_field("sound", VectorField::new(2, Metric::Dot));
    assert_eq!(differences(&db, later.clone()), none);
    let docs = db.collection_or_create("docs", later).expect("the one that is there");
    assert!(docs.text_index().expect("a lookup").is_none());
    assert_eq!(docs.indexed_fields().expect("a lookup"), IndexFields::All);
    assert_eq!(docs.vector_fields().expect("a lookup"), ["image", "terms", "tokens"]);

    let (_dir, plain) = with(options().text(words));
    assert_eq!(differences(&plain, options().text(TextIndex::new(Language::German))), none);
    assert_eq!(differences(&plain, options().model(ModelContract::new("m"))), none);
}

#[test]
fn a_collection_without_vectors_keeps_records_that_words_find() {
    let (_dir, db) = with(CollectionOptions::without_vectors());
    let docs = db.collection("docs").expect("a collection");
    docs.upsert(Record::new("a").text("a spring tide")).expect("a commit");
    assert_eq!(docs.index_text(&TextIndex::new(Language::English)).expect("an index"), 1);
    assert_eq!(docs.search_text("tides").run().expect("a search").len(), 1);
    let found = differences(&db, options());
    assert_eq!(found, ["dimensions: 1, 8", "metric: dot, cosine"]);
}
