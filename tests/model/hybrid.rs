//! One query over five lists that go as deep as there are records: what is found, in which order,
//! counted and grouped, cut into pages, and what each hit has with it.

use std::collections::{BTreeMap, BTreeSet};

use portolan::{
    Collection, Dense, Facet, Filter, Find, Fusion, Hit, Lexical, Matrix, Multi, Normalization,
    Record, RecordId, Sparse, Value,
};

use super::common::Rng;
use super::fused::{Single, check_order, fused};
use super::searches::{IMAGE, WORDS, ids, matrix, terms};
use super::shapes::{best_of_each, filtered};
use super::words::marks;
use super::{FIELDS, Predicate, Side, with_vector};

/// Records whose order is compared in one query over several lists.
const LIMIT: usize = 12;

/// What the five lists look for, how much each counts, and how they become one.
pub struct Asked {
    vector: Vec<f32>,
    image: Vec<f32>,
    matrix: Matrix,
    pairs: Vec<(u32, f32)>,
    word: &'static str,
    weights: [f64; LISTS],
    /// The least score of the sparse list; no record has just that.
    least: f32,
    pub fusion: Fusion,
}

/// What the lists are, in their order.
pub const KINDS: [&str; LISTS] = ["dense", "dense", "text", "multi", "sparse"];
const LISTS: usize = 5;

impl Asked {
    pub fn any(side: &Side, rng: &mut Rng) -> Self {
        let z_score = Fusion::Weighted(Normalization::ZScore);
        let fusions = [
            Fusion::rrf(),
            Fusion::Rrf { k: 0.5 },
            Fusion::weighted(),
            z_score,
            Fusion::Weighted(Normalization::None),
        ];
        Self {
            vector: side.query(rng.next()),
            image: rng.vector(IMAGE.dimensions),
            matrix: matrix(rng),
            pairs: terms(rng),
            word: WORDS[rng.below(8) as usize],
            weights: std::array::from_fn(|_| [1.0, 1.0, 0.0, 0.3, 2.0][rng.below(5) as usize]),
            // Scores are multiples of a 64th.
            least: if rng.once_in(2) { rng.below(64) as f32 / 64.0 + 1.0 / 128.0 } else { 0.0 },
            fusion: fusions[rng.below(5) as usize],
        }
    }

    /// Adds one of the lists.
    fn list(&self, find: Find, at: usize) -> Find {
        let weight = self.weights[at];
        match at {
            0 => find.dense_with(Dense::new(self.vector.clone()).exact().weight(weight)),
            1 => {
                let image = Dense::new(self.image.clone()).field("image").exact();
                find.dense_with(image.weight(weight))
            }
            2 => find.text_with(Lexical::new(self.word).weight(weight)),
            3 => find.multi_with(Multi::new("tokens", self.matrix.clone()).exact().weight(weight)),
            _ => {
                let sparse = Sparse::new("terms", self.pairs.clone()).weight(weight);
                find.sparse_with(sparse.min_score(self.least))
            }
        }
    }

    pub fn find(&self, docs: &Collection, depth: usize) -> Find {
        let find = docs.find().fusion(self.fusion).depth(depth);
        (0..LISTS).fold(find, |find, at| self.list(find, at))
    }

    /// What each list finds when it is asked alone.
    pub fn singles(&self, docs: &Collection, depth: usize, filter: Option<&Filter>) -> Vec<Single> {
        let single = |at| {
            let find = filtered(self.list(docs.find(), at).depth(depth), filter);
            let hits = find.limit(depth).run().expect("a query of one list").hits;
            (self.weights[at], hits.into_iter().map(|hit| (hit.id, hit.score)).collect())
        };
        (0..LISTS).map(single).collect()
    }

    /// What any of the lists finds, however they are fused.
    fn expected(&self, side: &Side, filter: Option<&Predicate>) -> BTreeSet<RecordId> {
        let mut expected = side.with_word(self.word, filter);
        let dense = side.scores(&side.shape.query(&self.vector), filter);
        let image = side.image(&self.image, filter);
        for scores in [dense, image, side.maxsim(&self.matrix, filter)] {
            expected.extend(scores.into_keys());
        }
        let mut sparse = side.sparse(&self.pairs, filter);
        sparse.retain(|_, (score, _)| *score >= f64::from(self.least));
        expected.extend(sparse.into_keys());
        expected
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

pub fn counted<'r>(
    records: impl Iterator<Item = &'r Record>,
    field: &str,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for value in records.flat_map(|record| values(record, field)) {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// What is found, its facets and its groups.
pub fn check_hybrid(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let depth = side.model.len() + 1;
    let asked = Asked::any(side, rng);
    let field = FIELDS[rng.below(FIELDS.len() as u64) as usize];
    let expected = asked.expected(side, filter);
    let given = filter.map(|filter| filter.filter(rng));
    let find = filtered(asked.find(docs, depth), given.as_ref());

    let facets = [Facet::new(field).limit(50), Facet::new(field).of_found().limit(50)];
    let found = find.clone().facets(facets).limit(depth).run().expect("a query");
    assert!(ids(&found.hits) == expected && found.hits.len() == expected.len(), "what is found");
    let order = fused(asked.fusion, &asked.singles(docs, depth, given.as_ref()), side);
    check_order(&found.hits, &order, depth, &format!("{:?}", asked.fusion));
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
    let best_first = found.hits.iter().map(|hit| &side.model[&hit.id].0);
    let groups = best_of_each(best_first, field, size);
    assert!(super::shapes::grouped(&grouped) == groups, "groups by {field}");
}

impl Side {
    /// The chunk of the same document that stands so far from this one, if both are chunks.
    fn neighbor(&self, record: &Record, step: i64) -> Option<Record> {
        let Some(Value::Text(document)) = record.metadata.get("document") else { return None };
        let Some(Value::Int(at)) = record.metadata.get("chunk") else { return None };
        let at = usize::try_from(at + step).ok()?;
        let (found, _) = self.model.get(&RecordId::from(document.as_str()).chunk(at))?;
        Some(with_vector(found, None))
    }

    /// A hit has its record with all vectors, marks on the word, and the chunks around it.
    fn check_hit(&self, hit: &Hit, word: &str) {
        let id = &hit.id;
        assert_eq!(Some(&hit.record), self.expected(id).as_ref());
        let title = hit.record.title.as_deref().unwrap_or_default();
        assert_eq!(hit.highlights.title, marks(title, word), "{word} in the title of {id}");
        assert_eq!(hit.highlights.text, marks(&hit.record.text, word), "{word} in {id}");
        assert!(hit.highlights.fields.is_empty(), "{id}");
        let around = [-1, 1].map(|step| self.neighbor(&hit.record, step));
        let around = around.map(|neighbor| neighbor.into_iter().collect::<Vec<_>>());
        assert_eq!([&hit.before, &hit.after], [&around[0], &around[1]], "around {id}");
    }
}

/// What each hit has with it, a threshold, and pages that join to the one that has all.
pub fn check_pages(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let depth = side.model.len() + 1;
    let asked = Asked::any(side, rng);
    let given = filter.map(|filter| filter.filter(rng));
    let find = filtered(asked.find(docs, depth), given.as_ref());
    let find = find.with_vectors().highlights().neighbors(1);
    let all = find.clone().limit(depth).run().expect("a query").hits;
    assert!(ids(&all) == asked.expected(side, filter), "what is found");
    all.iter().for_each(|hit| side.check_hit(hit, asked.word));

    let limit = 1 + all.len() / (1 + rng.below(4) as usize);
    let (mut joined, mut after) = (Vec::new(), None);
    loop {
        let page = find.clone().limit(limit);
        let page = if let Some(cursor) = after { page.after(cursor) } else { page };
        let page = page.run().expect("a page");
        assert!(!page.report.stale_cursor);
        joined.extend(page.hits);
        let Some(next) = page.next else { break };
        assert_eq!(joined.len() % limit, 0, "a page before the last");
        after = Some(next);
    }
    assert!(joined == all, "pages of {limit}");

    let Some(some) = all.get(rng.below(all.len() as u64) as usize) else { return };
    let least = some.score;
    let above = find.min_score(least).limit(depth).run().expect("a query").hits;
    let wanted = all.iter().take_while(|hit| hit.score >= least).count();
    assert!(above[..] == all[..wanted], "at or above {least}: {} of {wanted}", above.len());
}
