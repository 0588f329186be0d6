//! What a collection is asked besides its vectors: words, named fields, matrices, sparse vectors,
//! and one query over all of them; and what it must answer, by a look at each record.

use std::collections::{BTreeMap, BTreeSet};

use portolan::{
    Collection, CollectionOptions, Dense, Facet, FieldVector, Fusion, Hit, IndexFields, Language,
    Lexical, Matrix, Metric, Multi, Originals, Record, RecordId, Sparse, TextIndex, TextQuery,
    Value, VectorField,
};

use super::common::Rng;
use super::common::oracle::Shape;
use super::shapes::{check_diverse, check_like, check_listed};
use super::{Predicate, Side, with_vector};

/// Words of titles and texts.
const WORDS: [&str; 8] = ["tide", "chart", "north", "star", "reef", "wind", "cape", "shoal"];
/// The named field of one vector a record; f32 under a distance is kept as it is given.
const IMAGE: Shape = Shape { dimensions: 4, metric: Metric::L2, originals: Originals::F32 };
/// Components of a row of a matrix.
const ROW: usize = 4;
/// Records whose order is compared in one query over several lists.
const LIMIT: usize = 12;

/// The index of words of both collections.
pub fn text_index() -> TextIndex {
    TextIndex::new(Language::None).title(2)
}

/// A collection of that shape with a text index, named fields, and an index of all fields or of
/// one.
pub fn options(shape: Shape, all_fields: bool) -> CollectionOptions {
    let options = CollectionOptions::new(shape.dimensions, shape.metric);
    let image = VectorField::new(IMAGE.dimensions, IMAGE.metric).originals(IMAGE.originals);
    let options = options
        .originals(shape.originals)
        .text(text_index())
        .vector_field("image", image)
        .vector_field("tokens", VectorField::multi(ROW))
        .vector_field("terms", VectorField::sparse());
    if all_fields {
        options
    } else {
        options.index_fields(IndexFields::Declared).index_field("number")
    }
}

/// A number that f16 and the halves of sparse weights keep.
fn eighth(rng: &mut Rng) -> f32 {
    (rng.below(17) as f32 - 8.0) / 8.0
}

fn matrix(rng: &mut Rng) -> Matrix {
    let rows = 1 + rng.below(4) as usize;
    let row = |rng: &mut Rng| [1.0, eighth(rng), eighth(rng), eighth(rng)];
    Matrix::from_rows((0..rows).map(|_| row(rng)).collect::<Vec<_>>()).expect("a matrix")
}

/// Few indices, so that their lists are long; ascending, as they are read back.
fn terms(rng: &mut Rng) -> Vec<(u32, f32)> {
    let weights: Vec<f32> = (0..6).map(|_| eighth(rng)).collect();
    let terms: Vec<(u32, f32)> =
        (0..).map(|at| at * 7).zip(weights).filter(|(_, weight)| *weight > 0.0).collect();
    if terms.is_empty() { vec![(1, 0.5)] } else { terms }
}

fn words(rng: &mut Rng, most: u64) -> String {
    let words = (0..rng.below(most)).map(|_| WORDS[rng.below(8) as usize]);
    words.collect::<Vec<_>>().join(" ")
}

/// Adds words to a record, and at random what it has in named fields.
pub fn content(mut record: Record, rng: &mut Rng) -> Record {
    record = record.text(words(rng, 12));
    if rng.once_in(2) {
        record = record.title(words(rng, 4));
    }
    if rng.once_in(2) {
        record = record.named_vector("image", rng.vector(IMAGE.dimensions));
    }
    if rng.once_in(2) {
        record = record.named_vector("tokens", matrix(rng));
    }
    if rng.once_in(2) {
        record = record.named_vector("terms", terms(rng));
    }
    record
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    Words,
    Image,
    MaxSim,
    Sparse,
    Hybrid,
    Listed,
    Like,
    Diverse,
}

/// Scores by id, with how far arithmetic may be from them.
type Scores = BTreeMap<RecordId, (f64, f64)>;

fn has(record: &Record, word: &str) -> bool {
    let title = record.title.as_deref().unwrap_or_default();
    title.split(' ').chain(record.text.split(' ')).any(|own| own == word)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

impl Side {
    pub fn passing<'s>(
        &'s self,
        filter: Option<&'s Predicate>,
    ) -> impl Iterator<Item = &'s Record> {
        let records = self.model.values().map(|(record, _)| record);
        records.filter(move |record| filter.is_none_or(|filter| filter.holds(record)))
    }

    fn with_words(
        &self,
        asked: &[&str],
        all: bool,
        filter: Option<&Predicate>,
    ) -> BTreeSet<RecordId> {
        let matches = |record: &&Record| {
            let mut found = asked.iter().map(|word| has(record, word));
            if all { found.all(|has| has) } else { found.any(|has| has) }
        };
        self.passing(filter).filter(matches).map(|record| record.id.clone()).collect()
    }

    /// Scores of those that have something in a named field.
    fn named(
        &self,
        field: &str,
        filter: Option<&Predicate>,
        score: impl Fn(&FieldVector) -> (f64, f64),
    ) -> Scores {
        let of =
            |record: &Record| Some((record.id.clone(), score(record.named_vectors.get(field)?)));
        self.passing(filter).filter_map(of).collect()
    }

    fn image(&self, query: &[f32], filter: Option<&Predicate>) -> Scores {
        let asked = IMAGE.query(query);
        self.named("image", filter, |vector| {
            let FieldVector::Dense(vector) = vector else { panic!("{vector:?}") };
            let kept = IMAGE.keep(vector);
            (IMAGE.score(&kept, &asked), IMAGE.tolerance(&kept, &asked))
        })
    }

    fn maxsim(&self, query: &Matrix, filter: Option<&Predicate>) -> Scores {
        self.named("tokens", filter, |vector| {
            let FieldVector::Multi(matrix) = vector else { panic!("{vector:?}") };
            let best = |q: &[f32]| matrix.rows().map(|row| dot(q, row)).fold(f64::MIN, f64::max);
            (query.rows().map(best).sum(), 1e-4)
        })
    }

    fn sparse(&self, query: &[(u32, f32)], filter: Option<&Predicate>) -> Scores {
        let mut scores = self.named("terms", filter, |vector| {
            let FieldVector::Sparse(own) = vector else { panic!("{vector:?}") };
            let weight = |index: u32| own.iter().find(|(at, _)| *at == index).map(|(_, w)| *w);
            let pairs = query.iter().filter_map(|(index, x)| Some((x, weight(*index)?)));
            (pairs.map(|(x, y)| f64::from(*x) * f64::from(y)).sum(), 1e-5)
        });
        scores.retain(|_, (score, _)| *score > 0.0);
        scores
    }
}

/// Each hit once, with the score of its record, best first, and none missed that is better.
fn check_best(hits: &[Hit], wanted: &Scores, limit: usize, side: &Side) {
    assert_eq!(hits.len(), limit.min(wanted.len()), "hits");
    let (mut seen, mut worst) = (BTreeSet::new(), f64::INFINITY);
    for hit in hits {
        assert!(seen.insert(hit.id.clone()), "{} twice", hit.id);
        let (score, tolerance) = *wanted.get(&hit.id).expect("a record that can be found");
        let found = f64::from(hit.score);
        assert!((found - score).abs() <= tolerance, "{} scores {found}, not {score}", hit.id);
        assert!(found <= worst, "out of order");
        worst = found;
        assert_eq!(hit.record, with_vector(&side.model[&hit.id].0, None));
    }
    for (id, (score, tolerance)) in wanted.iter().filter(|(id, _)| !seen.contains(*id)) {
        assert!(*score <= worst + 2.0 * tolerance, "{id} is missed");
    }
}

fn ids(hits: &[Hit]) -> BTreeSet<RecordId> {
    hits.iter().map(|hit| hit.id.clone()).collect()
}

impl Ask {
    pub fn check(self, docs: &Collection, side: &Side, seed: u64, filter: Option<&Predicate>) {
        let rng = &mut Rng::new(seed);
        let limit = rng.below(40) as usize;
        match self {
            Self::Words => check_words(docs, side, rng, filter),
            Self::Image => {
                let vector = rng.vector(IMAGE.dimensions);
                let mut search = docs.search(&vector).field("image").exact().limit(limit);
                if let Some(filter) = filter {
                    search = search.filter(filter.filter());
                }
                let hits = search.run().expect("a search");
                check_best(&hits, &side.image(&vector, filter), limit, side);
            }
            Self::MaxSim => {
                let matrix = matrix(rng);
                let mut search = docs.maxsim("tokens", &matrix).exact().limit(limit);
                if let Some(filter) = filter {
                    search = search.filter(filter.filter());
                }
                let hits = search.run().expect("a search");
                let wanted = side.maxsim(&matrix, filter);
                check_best(&hits, &wanted, limit, side);
                check_scores(docs, side, &matrix, rng);
            }
            Self::Sparse => {
                let pairs = terms(rng);
                let mut search = docs.search_sparse("terms", &pairs).limit(limit);
                if let Some(filter) = filter {
                    search = search.filter(filter.filter());
                }
                let hits = search.run().expect("a search");
                check_best(&hits, &side.sparse(&pairs, filter), limit, side);
            }
            Self::Hybrid => check_hybrid(docs, side, rng, filter),
            Self::Listed => check_listed(docs, side, rng, filter),
            Self::Like => check_like(docs, side, rng, filter),
            Self::Diverse => check_diverse(docs, side, rng, filter),
        }
    }
}

/// Which records have all of the words, or any; their scores have tests of their own.
fn check_words(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let asked: Vec<&str> = (0..1 + rng.below(3)).map(|_| WORDS[rng.below(8) as usize]).collect();
    for all in [true, false] {
        let joined = asked.join(" ");
        let query = if all { TextQuery::default().must(&joined) } else { TextQuery::new(&joined) };
        let mut search = docs.search_text(query).limit(usize::MAX);
        if let Some(filter) = filter {
            search = search.filter(filter.filter());
        }
        let hits = search.run().expect("a search").hits;
        assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "out of order");
        let found = ids(&hits);
        assert_eq!(found.len(), hits.len(), "a record twice");
        assert!(found == side.with_words(&asked, all, filter), "all {all} of {asked:?}");
    }
}

/// MaxSim as a reranker has it: of some records, of which not all have a matrix.
fn check_scores(docs: &Collection, side: &Side, matrix: &Matrix, rng: &mut Rng) {
    let mut some: Vec<RecordId> = side.model.keys().cloned().collect();
    some.push(RecordId::from("nobody"));
    let some = rng.sample(some, 20);
    let wanted = side.maxsim(matrix, None);
    let scores = docs.maxsim("tokens", matrix).scores(&some).expect("scores");
    for (id, found) in some.iter().zip(scores) {
        match (found, wanted.get(id)) {
            (Some(found), Some((score, tolerance))) => {
                assert!((f64::from(found) - score).abs() <= *tolerance, "{id}");
            }
            (found, wanted) => assert!(found.is_none() && wanted.is_none(), "{id}"),
        }
    }
}

/// Values of a field as facets and groups know them, once each.
fn values(record: &Record, field: &str) -> BTreeSet<String> {
    match record.metadata.get(field) {
        None => BTreeSet::new(),
        Some(Value::List(items)) => items.iter().map(|item| format!("{item:?}")).collect(),
        Some(value) => BTreeSet::from([format!("{value:?}")]),
    }
}

fn counted<'r>(records: impl Iterator<Item = &'r Record>, field: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for value in records.flat_map(|record| values(record, field)) {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// One query over five lists that go as deep as there are records: what is found, its facets and
/// its groups.
fn check_hybrid(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let depth = side.model.len() + 1;
    let vector = side.query(rng.next());
    let (image, matrix, pairs) = (rng.vector(IMAGE.dimensions), matrix(rng), terms(rng));
    let word = WORDS[rng.below(8) as usize];
    let field = ["number", "tag", "list"][rng.below(3) as usize];
    let mut find = docs
        .find()
        .dense_with(Dense::new(vector.clone()).exact())
        .dense_with(Dense::new(image.clone()).field("image").exact())
        .text_with(Lexical::new(word))
        .multi_with(Multi::new("tokens", matrix.clone()).exact())
        .sparse_with(Sparse::new("terms", pairs.clone()))
        .fusion(Fusion::rrf())
        .depth(depth);
    if let Some(filter) = filter {
        find = find.filter(filter.filter());
    }
    let mut expected = side.with_words(&[word], true, filter);
    let dense = side.scores(&side.shape.query(&vector), filter);
    for scores in [dense, side.image(&image, filter), side.maxsim(&matrix, filter)] {
        expected.extend(scores.into_keys());
    }
    expected.extend(side.sparse(&pairs, filter).into_keys());

    let facets = [Facet::new(field).limit(50), Facet::new(field).of_found().limit(50)];
    let found = find.clone().facets(facets).limit(depth).run().expect("a query");
    assert!(ids(&found.hits) == expected && found.hits.len() == expected.len(), "what is found");
    let of_found = || expected.iter().map(|id| &side.model[id].0);
    let wanted = [counted(side.passing(filter), field), counted(of_found(), field)];
    for (facet, wanted) in found.facets.iter().zip(wanted) {
        let told = facet.values.iter().map(|value| (format!("{:?}", value.value), value.count));
        assert_eq!(told.collect::<BTreeMap<_, _>>(), wanted, "facet {field}");
        assert_eq!(facet.distinct, wanted.len());
    }
    let best = find.clone().limit(LIMIT).run().expect("a query");
    assert_eq!(best.hits[..], found.hits[..LIMIT.min(found.hits.len())]);

    let size = 1 + rng.below(3) as usize;
    let grouped = find.group_by(field, size).limit(depth).run().expect("a query");
    let mut groups = counted(of_found(), field);
    for group in grouped.groups() {
        let value = format!("{:?}", group.value);
        let members = groups.remove(&value).expect("a value that is there, once");
        assert_eq!(group.hits.len(), size.min(members as usize), "group {value}");
        for hit in group.hits {
            let own = &side.model.get(&hit.id).expect("a record").0;
            assert!(values(own, field).contains(&value), "{} in {value}", hit.id);
        }
    }
    assert!(groups.is_empty(), "groups that are missing: {groups:?}");
}
