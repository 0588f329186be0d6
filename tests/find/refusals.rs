//! Queries that are refused, each by its typed error.

use portolan::{
    CollectionOptions, Cursor, Database, Dense, Error, Find, Fusion, Lexical, Like, Metric, Mmr,
    ModelContract, Order, Record,
};

use crate::world::World;

fn refused(find: Find) -> Error {
    let error = find.run().unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    error
}

#[test]
fn queries_that_ask_for_nothing_or_the_impossible_say_what_to_change() {
    let world = World::new(Metric::Cosine, &[]);
    world.docs.upsert(Record::new(1).vector([1.0, 0.0, 0.0])).unwrap();
    let (find, vector) = (|| world.docs.find(), [1.0, 0.0, 0.0]);
    let dense = || find().dense(&vector);
    for (query, says) in [
        (find(), "asks for nothing"),
        (find().limit(3).with_vectors(), "asks for nothing"),
        (find().order_by("year", Order::Ascending).min_score(0.5), "need a list"),
        (find().order_by("year", Order::Ascending).diversity(Mmr::new(0.5)), "need a list"),
        (dense().order_by("year", Order::Ascending).diversity(Mmr::new(0.5)), "exclude"),
        (dense().depth(0), "depth"),
        (find().dense_with(Dense::new(vector).depth(0)), "depth"),
        (find().text_with(Lexical::new("reef").depth(0)), "depth"),
        (find().like_with(Like::new([1], [0; 0]).depth(0)), "depth"),
        (find().dense_with(Dense::new(vector).weight(f64::NAN)), "weight"),
        (find().dense_with(Dense::new(vector).weight(-1.0)), "weight"),
        (find().text_with(Lexical::new("reef").weight(f64::INFINITY)), "weight"),
        (find().dense_with(Dense::new(vector).min_score(f32::NAN)), "least score"),
        (dense().min_score(f32::NAN), "least score"),
        (dense().fusion(Fusion::Rrf { k: f64::NAN }), "k of its fusion"),
        (dense().fusion(Fusion::Rrf { k: -1.0 }), "k of its fusion"),
        (dense().diversity(Mmr::new(f32::NAN)), "lambda"),
        (dense().diversity(Mmr::new(1.5)), "lambda"),
        (dense().diversity(Mmr::new(0.5).candidates(0)), "candidates"),
        (dense().group_by("year", 0), "groups"),
        (find().dense_with(Dense::of_question()), "no vector yet"),
        (find().like([0_i64; 0], [1_i64]), "positive example"),
    ] {
        let error = refused(query);
        assert!(matches!(error, Error::Query { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn lists_that_do_not_fit_the_collection_are_refused_as_their_searches_are() {
    let world = World::new(Metric::Cosine, &[]);
    world.docs.upsert(Record::new(1).vector([1.0, 0.0, 0.0])).unwrap();
    world.docs.upsert(Record::new(2)).unwrap();
    let find = || world.docs.find();
    for vector in [&[1.0, 0.0][..], &[0.0; 3], &[f32::NAN, 0.0, 0.0]] {
        assert!(matches!(refused(find().dense(vector)), Error::Vector { id: None, .. }));
        let second = find().dense(&[1.0, 0.0, 0.0]).dense(vector);
        assert!(matches!(refused(second), Error::Vector { id: None, .. }));
    }
    for id in [2_i64, 3] {
        let error = refused(find().like([1_i64], [id]));
        assert!(matches!(error, Error::Example { id: of, .. } if of == id.into()));
    }
    let recall = find().dense_with(Dense::new([1.0, 0.0, 0.0]).recall(1.5));
    assert!(matches!(refused(recall), Error::RecallTarget { .. }));
    for field in ["", "a\0b"] {
        let dense = || find().dense(&[1.0, 0.0, 0.0]);
        for query in [
            dense().group_by(field, 1),
            dense().order_by(field, Order::Ascending),
            dense().facets([field]),
        ] {
            assert!(matches!(refused(query), Error::Filter(_)));
        }
    }
}

#[test]
fn other_models_and_words_without_an_index_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("r.portolan")).unwrap();
    let options = CollectionOptions::new(2, Metric::Dot).model(ModelContract::new("one"));
    let docs = db.create_collection("docs", options).unwrap();
    let other = docs.find().dense_with(Dense::new([1.0, 0.0]).model("two"));
    assert!(matches!(refused(other), Error::ModelMismatch { .. }));
    assert!(docs.find().dense_with(Dense::new([1.0, 0.0]).model("one")).run().is_ok());
    let error = docs.find().text("reef").run().unwrap_err();
    assert!(matches!(error, Error::Text(_)), "{error}");
    assert!(error.to_string().contains("docs"), "{error}");
}

#[test]
fn text_that_is_no_cursor_is_refused() {
    for text in
        ["", "1.2", "x.1.1", "1.1.1.1", "1.1.1.7ff8000000000000.1", "1.1.1.0.1.0", "1.1.1.0.1.00.0"]
    {
        let refused = text.parse::<portolan::Cursor>();
        assert!(matches!(refused, Err(Error::Cursor { .. })), "{text:?}");
    }
}

#[test]
fn the_text_of_a_cursor_cannot_make_lists_deep() {
    let world = World::new(Metric::Cosine, &[]);
    world.docs.upsert(Record::new(1).text("reef").vector([1.0, 0.0, 0.0])).unwrap();
    let plain = || world.docs.find().dense(&[1.0, 0.0, 0.0]);
    let deepest = "ffffffffffffffff";
    let of_plain = format!("1.1.{deepest}.3ff0000000000000.0").parse::<Cursor>().unwrap();
    let of_two = format!("1.{deepest}.1.3ff0000000000000.0").parse::<Cursor>().unwrap();
    for query in [plain().after(of_plain.clone()), plain().text("reef").after(of_two.clone())] {
        let error = refused(query);
        assert!(matches!(error, Error::Cursor { .. }), "{error}");
        assert!(error.to_string().contains("set the depth"), "{error}");
    }
    for query in [plain().after(of_plain), plain().text("reef").after(of_two)] {
        assert!(query.depth(10).run().is_ok());
    }
}

#[test]
fn the_largest_numbers_are_only_as_much_as_there_is() {
    let world = World::new(Metric::Cosine, &[]);
    world.docs.upsert(Record::new(1).text("reef").vector([1.0, 0.0, 0.0])).unwrap();
    world.docs.upsert(Record::new(2).text("reef").vector([0.0, 1.0, 0.0])).unwrap();
    let most = usize::MAX;
    let all = || world.docs.find().dense(&[1.0, 0.0, 0.0]).text("reef").like([1], [0; 0]);
    for query in [all().limit(most), all().depth(most).offset(1), all().group_by("id", most)] {
        assert!(query.run().unwrap().len() <= 2);
    }
    assert_eq!(all().limit(most).run().unwrap().len(), 2);
}
