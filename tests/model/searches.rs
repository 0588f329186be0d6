//! What a collection is asked besides its vectors: named fields, matrices and sparse vectors here,
//! words and queries over several lists in the files beside; and what it must answer, by a look
//! at each record.

use std::collections::{BTreeMap, BTreeSet};

use portolan::{
    Collection, CollectionOptions, FieldVector, Hit, IndexFields, Language, Matrix, Metric,
    Originals, Record, RecordId, TextIndex, VectorField,
};

use super::batched::check_batched;
use super::common::Rng;
use super::common::oracle::Shape;
use super::explained::check_explained;
use super::fused::check_fused;
use super::hybrid::{check_hybrid, check_pages};
use super::like::check_like;
use super::shapes::{check_diverse, check_listed};
use super::words::check_words;
use super::{Predicate, Side, with_vector};

/// Words of titles and texts.
pub const WORDS: [&str; 8] = ["tide", "chart", "north", "star", "reef", "wind", "cape", "shoal"];
/// The named field of one vector a record; f32 under a distance is kept as it is given.
pub const IMAGE: Shape = Shape { dimensions: 4, metric: Metric::L2, originals: Originals::F32 };
/// Components of a row of a matrix.
const ROW: usize = 4;
/// The named fields.
pub const NAMED: [&str; 3] = ["image", "tokens", "terms"];

/// The index of words of both collections.
pub fn text_index() -> TextIndex {
    TextIndex::new(Language::None).title(2)
}

/// What a named field is like.
pub fn vector_field(name: &str) -> VectorField {
    match name {
        "image" => VectorField::new(IMAGE.dimensions, IMAGE.metric).originals(IMAGE.originals),
        "tokens" => VectorField::multi(ROW),
        _ => VectorField::sparse(),
    }
}

/// A collection of that shape with a text index, named fields, and an index of all fields or of
/// one.
pub fn options(shape: Shape, all_fields: bool) -> CollectionOptions {
    let options = CollectionOptions::new(shape.dimensions, shape.metric);
    let options = options.originals(shape.originals).text(text_index());
    let add =
        |options: CollectionOptions, name: &str| options.vector_field(name, vector_field(name));
    let options = NAMED.into_iter().fold(options, add);
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

pub fn matrix(rng: &mut Rng) -> Matrix {
    let rows = 1 + rng.below(4) as usize;
    let row = |rng: &mut Rng| [1.0, eighth(rng), eighth(rng), eighth(rng)];
    Matrix::from_rows((0..rows).map(|_| row(rng)).collect::<Vec<_>>()).expect("a matrix")
}

/// Few indices, so that their lists are long; ascending, as they are read back.
pub fn terms(rng: &mut Rng) -> Vec<(u32, f32)> {
    let weights: Vec<f32> = (0..6).map(|_| eighth(rng)).collect();
    let terms: Vec<(u32, f32)> =
        (0..).map(|at| at * 7).zip(weights).filter(|(_, weight)| *weight > 0.0).collect();
    if terms.is_empty() { vec![(1, 0.5)] } else { terms }
}

fn words(rng: &mut Rng, most: u64) -> String {
    let words = (0..rng.below(most)).map(|_| WORDS[rng.below(8) as usize]);
    words.collect::<Vec<_>>().join(" ")
}

/// Adds what a record has in a named field.
pub fn with_named(record: Record, name: &str, rng: &mut Rng) -> Record {
    match name {
        "image" => record.named_vector(name, rng.vector(IMAGE.dimensions)),
        "tokens" => record.named_vector(name, matrix(rng)),
        _ => record.named_vector(name, terms(rng)),
    }
}

/// Adds words to a record, and at random what it has in named fields.
pub fn content(mut record: Record, rng: &mut Rng) -> Record {
    record = record.text(words(rng, 12));
    if rng.once_in(2) {
        record = record.title(words(rng, 4));
    }
    for name in NAMED {
        if rng.once_in(2) {
            record = with_named(record, name, rng);
        }
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
    Pages,
    Listed,
    Like,
    Diverse,
    Fused,
    Explained,
    /// By MaxSim, of a few candidates.
    Candidates,
    /// By several vectors at once.
    Batched,
    /// Without the pipeline it is left out.
    Reranked,
    Blended,
}

/// Scores by id, with how far arithmetic may be from them.
pub type Scores = BTreeMap<RecordId, (f64, f64)>;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

impl Side {
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

    pub fn image(&self, query: &[f32], filter: Option<&Predicate>) -> Scores {
        let asked = IMAGE.query(query);
        self.named("image", filter, |vector| {
            let FieldVector::Dense(vector) = vector else { panic!("{vector:?}") };
            let kept = IMAGE.keep(vector);
            (IMAGE.score(&kept, &asked), IMAGE.tolerance(&kept, &asked))
        })
    }

    pub fn maxsim(&self, query: &Matrix, filter: Option<&Predicate>) -> Scores {
        self.named("tokens", filter, |vector| {
            let FieldVector::Multi(matrix) = vector else { panic!("{vector:?}") };
            let best = |q: &[f32]| matrix.rows().map(|row| dot(q, row)).fold(f64::MIN, f64::max);
            (query.rows().map(best).sum(), 1e-4)
        })
    }

    pub fn sparse(&self, query: &[(u32, f32)], filter: Option<&Predicate>) -> Scores {
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
pub fn check_best(hits: &[Hit], wanted: &Scores, limit: usize, side: &Side) {
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
    let is_older = |a: &Hit, b: &Hit| a.score > b.score || side.age(&a.id) < side.age(&b.id);
    assert!(hits.is_sorted_by(is_older), "equal scores are not in order of insertion");
    for (id, (score, tolerance)) in wanted.iter().filter(|(id, _)| !seen.contains(*id)) {
        assert!(*score <= worst + 2.0 * tolerance, "{id} is missed");
    }
}

pub fn ids(hits: &[Hit]) -> BTreeSet<RecordId> {
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
                    search = search.filter(filter.filter(rng));
                }
                let hits = search.run().expect("a search");
                check_best(&hits, &side.image(&vector, filter), limit, side);
            }
            Self::MaxSim => {
                let matrix = matrix(rng);
                let mut search = docs.maxsim("tokens", &matrix).exact().limit(limit);
                if let Some(filter) = filter {
                    search = search.filter(filter.filter(rng));
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
                    search = search.filter(filter.filter(rng));
                }
                let hits = search.run().expect("a search");
                check_best(&hits, &side.sparse(&pairs, filter), limit, side);
            }
            Self::Hybrid => check_hybrid(docs, side, rng, filter),
            Self::Pages => check_pages(docs, side, rng, filter),
            Self::Listed => check_listed(docs, side, rng, filter),
            Self::Like => check_like(docs, side, rng, filter),
            Self::Diverse => check_diverse(docs, side, rng, filter),
            Self::Fused => check_fused(docs, side, rng, filter),
            Self::Explained => check_explained(docs, side, rng, filter),
            Self::Candidates => check_candidates(docs, side, rng, filter),
            Self::Batched => check_batched(docs, side, rng, filter),
            #[cfg(feature = "nim")]
            Self::Blended => super::blended::check_blended(docs, side, rng, filter),
            #[cfg(feature = "nim")]
            Self::Reranked => super::reranked::check_reranked(docs, side, rng, filter),
            #[cfg(not(feature = "nim"))]
            Self::Reranked | Self::Blended => {}
        }
    }
}

/// MaxSim of some candidates alone: the true score of each, in order; and the true order where all
/// that pass are candidates.
fn check_candidates(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let matrix = matrix(rng);
    let (limit, most) = (rng.below(40) as usize, 1 + rng.below(60) as usize);
    let mut search = docs.maxsim("tokens", &matrix).candidates(most).limit(limit);
    if let Some(filter) = filter {
        search = search.filter(filter.filter(rng));
    }
    let found = search.run().expect("a search");
    let wanted = side.maxsim(&matrix, filter);
    assert_eq!(found.report.passing, wanted.len() as u64);
    if wanted.len() <= most || limit == 0 {
        return check_best(&found.hits, &wanted, limit, side);
    }
    let compared = most.max(limit).min(wanted.len());
    assert_eq!(found.report.candidates, compared, "matrices that are compared");
    let of_found: Scores =
        ids(&found.hits).into_iter().map(|id| (id.clone(), wanted[&id])).collect();
    assert_eq!(of_found.len(), limit.min(compared), "hits");
    check_best(&found.hits, &of_found, limit, side);
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
