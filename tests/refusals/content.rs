//! Records, vectors, queries, models, collections and filters that are refused.

use portolan::{
    CollectionOptions, Error, Filter, FilterError, GraphParams, Metric, ModelContract, Originals,
    Record, RecordError, Value, VectorError,
};

use super::{Fixture, Kind, kind};

fn vector_error(error: &Error) -> &VectorError {
    match error {
        Error::Vector { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn vectors_that_do_not_fit_are_refused_with_their_record() {
    let fixture = Fixture::new();
    let cases: [(&[f32], VectorError); 6] = [
        (&[1.0, 2.0], VectorError::WrongDimensions { expected: 3, found: 2 }),
        (&[1.0; 4], VectorError::WrongDimensions { expected: 3, found: 4 }),
        (&[], VectorError::WrongDimensions { expected: 3, found: 0 }),
        (&[1.0, f32::NAN, 0.0], VectorError::NotFinite { position: 1 }),
        (&[1.0, 0.0, f32::NEG_INFINITY], VectorError::NotFinite { position: 2 }),
        (&[0.0, -0.0, 0.0], VectorError::ZeroVector),
    ];
    for (vector, expected) in cases {
        let error = fixture.refuses(|f| f.docs.upsert(Record::new("a").vector(vector)));
        assert!(matches!(&error, Error::Vector { id: Some(id), .. } if *id == "a".into()));
        assert_eq!(vector_error(&error), &expected);
        assert_eq!(kind(&error), Kind::InvalidInput);
        let error = fixture.refuses(|f| f.docs.search(vector).run());
        assert!(matches!(&error, Error::Vector { id: None, .. }));
        assert_eq!(vector_error(&error), &expected);
        assert_eq!(kind(&error), Kind::InvalidInput);
    }
}

#[test]
fn values_beyond_half_precision_are_refused_unless_originals_are_f32() {
    let fixture = Fixture::new();
    let options = || CollectionOptions::new(2, Metric::Dot);
    let half = fixture.db.create_collection("half", options()).expect("a collection");
    let single = options().originals(Originals::F32);
    let single = fixture.db.create_collection("single", single).expect("a collection");
    let error = fixture.refuses(|_| half.upsert(Record::new(1).vector([1.0, 70_000.0])));
    assert_eq!(vector_error(&error), &VectorError::OutOfF16Range { position: 1 });
    assert_eq!(kind(&error), Kind::InvalidInput);
    single.upsert(Record::new(1).vector([1.0, 70_000.0])).expect("a commit");
    let error = fixture.refuses(|_| single.upsert(Record::new(1).vector([1e30, 0.0])));
    assert_eq!(vector_error(&error), &VectorError::NormTooLarge);
}

#[test]
fn a_zero_vector_is_fine_where_it_has_a_meaning() {
    let fixture = Fixture::new();
    for (name, metric) in [("dot", Metric::Dot), ("l2", Metric::L2)] {
        let docs = fixture.db.create_collection(name, CollectionOptions::new(2, metric));
        let docs = docs.expect("a collection");
        docs.upsert(Record::new(1).vector([0.0, 0.0])).expect("a commit");
        let hits = docs.search(&[0.0, 0.0]).run().expect("a search");
        assert_eq!((hits.len(), hits[0].score), (1, 0.0));
    }
}

#[test]
fn a_refused_record_leaves_its_batch_as_it_was() {
    let fixture = Fixture::new();
    let mut batch = fixture.docs.batch();
    batch.upsert(Record::new("b").vector([0.0, 1.0, 0.0])).expect("a valid record");
    assert!(batch.upsert(Record::new("c").vector([0.0])).is_err());
    assert!(batch.upsert(Record::new("")).is_err());
    assert_eq!(batch.len(), 1);
    assert_eq!(batch.commit().expect("a commit").upserted, 1);
    assert_eq!(fixture.docs.count().expect("a count"), 3);
}

#[test]
fn records_that_break_the_limits_are_refused_by_name() {
    let fixture = Fixture::new();
    let many = (0..1_025).fold(Record::new(1), |r, at| r.field(format!("f{at}"), at));
    let nested = Value::List(vec![Value::List(Vec::new())]);
    let name = |name: &str| RecordError::FieldName { name: name.chars().take(40).collect() };
    let long = "n".repeat(129);
    let cases = [
        (Record::new(""), RecordError::IdLength { found: 0 }),
        (Record::new("i".repeat(481)), RecordError::IdLength { found: 481 }),
        (Record::new(1).field("f", nested), RecordError::NestedList { field: "f".into() }),
        (Record::new(1).field("f", f64::NAN), RecordError::NotFinite { field: "f".into() }),
        (
            Record::new(1).field("f", vec![f64::INFINITY]),
            RecordError::NotFinite { field: "f".into() },
        ),
        (
            Record::new(1).field("f", vec![0; 4_097]),
            RecordError::TooManyItems { field: "f".into(), found: 4_097 },
        ),
        (Record::new(1).field("", 1), name("")),
        (Record::new(1).field("a\0b", 1), name("a\0b")),
        (Record::new(1).field(&*long, 1), name(&long)),
        (many, RecordError::TooManyFields { found: 1_025 }),
    ];
    for (record, expected) in cases {
        let error = fixture.refuses(|f| f.docs.upsert(record));
        assert!(matches!(&error, Error::Record { source, .. } if *source == expected), "{error}");
        assert_eq!(kind(&error), Kind::InvalidInput);
    }
    let error = fixture.refuses(|f| f.docs.upsert(Record::new(1).text("x".repeat(8 << 20))));
    assert!(matches!(&error, Error::Record { source: RecordError::TooLarge { .. }, .. }));
    assert_eq!(kind(&error), Kind::InvalidInput);
}

#[test]
fn records_at_the_limits_are_stored_and_read_back() {
    let fixture = Fixture::new();
    let id = "i".repeat(480);
    let many = (0..1_024).fold(Record::new(2), |r, at| r.field(format!("f{at}"), at));
    let records = [
        Record::new(id.as_str()).field("n".repeat(128), "v".repeat(3_000)),
        Record::new(1).field("list", (0..4_096).collect::<Vec<i64>>()),
        many,
        Record::new(3).text("x".repeat((8 << 20) - 4_096)),
    ];
    for record in records {
        fixture.docs.upsert(record.clone()).expect("a commit");
        assert!(fixture.docs.get(&record.id).expect("a lookup") == Some(record));
    }
    let hits = fixture.docs.search(&[1.0, 0.0, 0.0]).filter(Filter::eq("list", 4_095));
    assert_eq!(hits.run().expect("a search").len(), 0);
    fixture.db.verify().expect("an undamaged file");
}

fn is_mismatch(error: &Error, expected: &str, found: &str) -> bool {
    matches!(error, Error::ModelMismatch { collection, expected: e, found: f }
        if collection == "docs" && e == expected && f == found)
}

#[test]
fn the_first_batch_that_names_a_model_sets_it_and_others_are_refused() {
    let fixture = Fixture::new();
    let docs = &fixture.docs;
    assert_eq!(docs.model().expect("the model"), None);
    docs.search(&[1.0, 0.0, 0.0]).model("any").run().expect("no model is known yet");
    let contract = ModelContract::new("org/first");
    docs.batch().model(&contract).commit().expect("a commit");
    assert_eq!(docs.model().expect("the model"), Some(contract.clone()));

    let error = fixture.refuses(|f| f.docs.search(&[1.0, 0.0, 0.0]).model("org/other").run());
    assert!(is_mismatch(&error, "org/first", "org/other"), "{error}");
    assert_eq!(kind(&error), Kind::InvalidInput);
    let error = fixture.refuses(|f| {
        let mut batch = f.docs.batch().model(&ModelContract::new("org/other"));
        batch.upsert(Record::new("b"))?;
        batch.commit()
    });
    assert!(is_mismatch(&error, "org/first", "org/other"), "{error}");
    let found = docs.search(&[1.0, 0.0, 0.0]).model("org/first").run().expect("a search");
    assert_eq!(found.len(), 1);
    docs.batch().model(&contract).commit().expect("the same model");
}

#[test]
fn models_without_a_usable_id_are_refused() {
    let fixture = Fixture::new();
    for model in [String::new(), "m".repeat(481)] {
        let contract = ModelContract::new(model);
        let error = fixture.refuses(|f| {
            let options = CollectionOptions::new(3, Metric::Dot).model(contract.clone());
            f.db.create_collection("modelled", options)
        });
        assert!(matches!(error, Error::CollectionOptions { .. }), "{error}");
        let error = fixture.refuses(|f| f.docs.batch().model(&contract).commit());
        assert_eq!(kind(&error), Kind::InvalidInput);
    }
}

#[test]
fn collections_that_break_the_limits_are_refused() {
    let fixture = Fixture::new();
    let fine = || CollectionOptions::new(3, Metric::Cosine);
    let graph = |m, ef_construction| {
        fine().graph(GraphParams { m, ef_construction, ..GraphParams::default() })
    };
    let long = "c".repeat(481);
    let cases = [
        ("", fine()),
        (long.as_str(), fine()),
        ("zero", CollectionOptions::new(0, Metric::Dot)),
        ("wide", CollectionOptions::new(65_537, Metric::Dot)),
        ("m below", graph(1, 128)),
        ("m above", graph(65, 128)),
        ("m that would wrap", graph(65_552, 128)),
        ("ef below", graph(16, 7)),
        ("ef above", graph(16, 4_097)),
    ];
    for (name, options) in cases {
        let error = fixture.refuses(|f| f.db.create_collection(name, options));
        let named = matches!(&error, Error::CollectionOptions { name: n, .. } if n == name);
        assert!(named, "{error:?}");
        assert_eq!(kind(&error), Kind::InvalidInput);
    }
    let error = fixture.refuses(|f| f.db.create_collection("docs", fine()));
    assert!(matches!(&error, Error::CollectionExists { name } if name == "docs"));
    assert_eq!(kind(&error), Kind::Other);
    let error = fixture.refuses(|f| f.db.collection("absent"));
    assert!(matches!(&error, Error::CollectionNotFound { name } if name == "absent"));
    assert_eq!(kind(&error), Kind::NotFound);
    assert!(!fixture.db.delete_collection("absent").expect("no error"));

    let wide = CollectionOptions::new(65_536, Metric::Dot);
    let wide = fixture.db.create_collection(&"c".repeat(480), wide).expect("a collection");
    wide.upsert(Record::new(1).vector(vec![0.5; 65_536])).expect("a commit");
    let hits = wide.search(&vec![1.0; 65_536]).run().expect("a search");
    assert!((hits[0].score - 32_768.0).abs() < 1.0, "{}", hits[0].score);
    fixture.db.collection_or_create("docs", fine()).expect("the one that is there");
}

#[test]
fn a_deleted_collection_cannot_be_used() {
    let fixture = Fixture::new();
    let docs = fixture.docs.clone();
    assert!(fixture.db.delete_collection("docs").expect("a removal"));
    let mut batch = docs.batch();
    batch.upsert(Record::new("b")).expect("a valid record");
    let errors = [
        docs.count().expect_err("gone"),
        docs.info().expect_err("gone"),
        docs.model().expect_err("gone"),
        docs.search(&[1.0, 0.0, 0.0]).run().expect_err("gone"),
        docs.maintain().run().expect_err("gone"),
        docs.delete("a").expect_err("gone"),
        docs.get("a").expect_err("gone"),
        docs.contains("a").expect_err("gone"),
        docs.scan().run().expect_err("gone"),
        batch.commit().expect_err("gone"),
    ];
    for (at, error) in errors.iter().enumerate() {
        assert!(matches!(error, Error::CollectionNotFound { name } if name == "docs"), "{at}");
        assert_eq!(kind(error), Kind::NotFound);
    }
    assert_eq!(fixture.db.collections().expect("names"), Vec::<String>::new());
    // A new one of the same name is another collection: the old handle does not reach it.
    let options = CollectionOptions::new(3, Metric::Cosine);
    let again = fixture.db.create_collection("docs", options).expect("a collection");
    assert_eq!(again.count().expect("a count"), 0);
    assert!(docs.upsert(Record::new("b")).is_err());
    assert_eq!(again.count().expect("a count"), 0);
}

#[test]
fn filters_that_cannot_be_evaluated_are_refused() {
    let fixture = Fixture::new();
    let deep = |levels| (0..levels).fold(Filter::eq("n", 1), |filter, _| filter.negate());
    let mixed = Filter::Range {
        field: "n".into(),
        lower: Some((1.into(), true)),
        upper: Some(("z".into(), true)),
    };
    let run = |filter| fixture.refuses(|f| f.docs.search(&[1.0, 0.0, 0.0]).filter(filter).run());
    let expect = |filter, check: fn(&FilterError) -> bool| {
        let error = run(filter);
        assert_eq!(kind(&error), Kind::InvalidInput);
        assert!(matches!(&error, Error::Filter(found) if check(found)), "{error:?}");
    };
    let list = |error: &FilterError| matches!(error, FilterError::List { field } if field == "n");
    let name = |error: &FilterError| matches!(error, FilterError::Field(_));
    expect(Filter::eq("n", vec![1]), list);
    expect(Filter::gt("n", vec![1]), list);
    expect(Filter::any_of("n", [Value::List(Vec::new())]), list);
    expect(mixed, |error| matches!(error, FilterError::Bounds { field } if field == "n"));
    expect(deep(65), |error| matches!(error, FilterError::TooDeep));
    expect(Filter::eq("", 1), name);
    expect(Filter::exists("a\0b"), name);
    expect(Filter::lt("n".repeat(129), 1), name);
    let search = fixture.docs.search(&[1.0, 0.0, 0.0]);
    assert_eq!(search.filter(deep(64)).run().expect("a search").len(), 1);
}

#[test]
fn maintenance_that_is_cancelled_changes_nothing() {
    let fixture = Fixture::new();
    let mut batch = fixture.docs.batch();
    for id in 0..500_u32 {
        let record = Record::new(id).vector([1.0, id as f32, 3.0]);
        batch.upsert(record).expect("a valid record");
    }
    batch.commit().expect("a commit");
    let error = fixture.refuses(|f| {
        let cancel = |_, _| std::ops::ControlFlow::Break(());
        f.docs.maintain().graph_min_rows(64).progress(cancel).run()
    });
    assert!(matches!(error, Error::Cancelled));
    assert_eq!(kind(&error), Kind::Other);
    assert!(fixture.docs.maintain().graph_min_rows(64).run().expect("maintenance").graph);
}
