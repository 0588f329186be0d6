//! Lists, their fusion, thresholds and places, and lists by example.

use portolan::{Dense, Fusion, Lexical, Like, LikeStrategy, Metric, Normalization, RecordId};
use proptest::prelude::*;

use crate::world::{
    List, Passes, WORDS, World, metrics, passes, run, sorted, steps, vectors, wide,
};

/// A list of a query: its words or its vector, depth, weight, and least score.
#[derive(Debug, Clone)]
struct Asked {
    words: Option<Vec<usize>>,
    vector: [i8; 3],
    depth: usize,
    weight: u8,
    least: Option<i8>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let words = proptest::option::of(proptest::collection::vec(0..WORDS.len(), 1..4));
    let least = proptest::option::weighted(0.2, -4_i8..4);
    (words, vectors(), 1_usize..30, 0_u8..4, least).prop_map(
        |(words, vector, depth, weight, least)| Asked { words, vector, depth, weight, least },
    )
}

impl Asked {
    fn words(&self) -> Option<String> {
        let words = self.words.as_ref()?;
        Some(words.iter().map(|&word| WORDS[word]).collect::<Vec<_>>().join(" "))
    }

    fn naive(&self, world: &World, passes: Passes) -> List {
        let mut list = match self.words() {
            Some(words) => world.worded(&words, passes),
            None => world.nearest(&wide(self.vector), passes),
        };
        list.truncate(self.depth);
        list.retain(|(_, score)| self.least.is_none_or(|least| *score >= f64::from(least)));
        list
    }
}

fn fusions() -> impl Strategy<Value = Fusion> {
    prop_oneof![
        Just(Fusion::rrf()),
        Just(Fusion::Rrf { k: 1.5 }),
        Just(Fusion::weighted()),
        Just(Fusion::Weighted(Normalization::ZScore)),
        Just(Fusion::Weighted(Normalization::None)),
    ]
}

/// The scores of one list as they count in a fusion, and what it gives to those it lacks.
fn normal(fusion: Fusion, list: &List) -> (List, f64) {
    let values: Vec<f64> = list.iter().map(|(_, score)| *score).collect();
    let count = values.len() as f64;
    let (low, high) = values
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let mean = values.iter().sum::<f64>() / count;
    let spread = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let of = |(rank, (at, score)): (usize, &(usize, f64))| {
        let normal = match fusion {
            Fusion::Rrf { k } => 1.0 / (k + rank as f64 + 1.0),
            Fusion::Weighted(Normalization::MinMax) if high > low => (score - low) / (high - low),
            Fusion::Weighted(Normalization::MinMax) => 1.0,
            Fusion::Weighted(Normalization::ZScore) if spread > 0.0 => (score - mean) / spread,
            Fusion::Weighted(Normalization::ZScore) => 0.0,
            _ => *score,
        };
        (*at, normal)
    };
    let normal: List = list.iter().enumerate().map(of).collect();
    let lowest = normal.iter().map(|(_, value)| *value).fold(0.0, f64::min);
    (normal, lowest)
}

fn naive(fusion: Fusion, lists: &[(f64, List)], records: usize) -> List {
    if let [(_, alone)] = lists {
        return alone.clone();
    }
    let normal: Vec<(f64, (List, f64))> =
        lists.iter().map(|(weight, list)| (*weight, normal(fusion, list))).collect();
    let mut fused = Vec::new();
    for at in
        (0..records).filter(|at| lists.iter().any(|(_, list)| list.iter().any(|(of, _)| of == at)))
    {
        let share = |(weight, (list, lowest)): &(f64, (List, f64))| {
            let own = list.iter().find(|(of, _)| *of == at).map_or(*lowest, |(_, value)| *value);
            weight * own
        };
        fused.push((at, normal.iter().map(share).sum::<f64>()));
    }
    sorted(fused)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn fused_hits_are_those_of_a_naive_computation(
        metric in metrics(),
        steps in steps(),
        asked in proptest::collection::vec(asked(), 1..4),
        fusion in fusions(),
        passes in passes(),
        cut in proptest::option::weighted(0.3, 0.0_f64..1.0),
    ) {
        let world = World::new(metric, &steps);
        let mut find = passes.on(world.docs.find()).fusion(fusion).limit(1000).with_places();
        let mut lists = Vec::new();
        for asked in &asked {
            let (weight, least) = (f64::from(asked.weight), asked.least.map(f32::from));
            find = match asked.words() {
                Some(words) => {
                    let list = Lexical::new(words).depth(asked.depth).weight(weight);
                    find.text_with(match least {
                        Some(least) => list.min_score(least),
                        None => list,
                    })
                }
                None => {
                    let list = Dense::new(wide(asked.vector)).depth(asked.depth).weight(weight);
                    find.dense_with(match least {
                        Some(least) => list.min_score(least),
                        None => list,
                    })
                }
            };
            lists.push((weight, asked.naive(&world, passes)));
        }
        let mut expected = naive(fusion, &lists, world.records.len());
        // A threshold between two scores, so that no rounding decides.
        if let Some(pair) = cut.and_then(|cut| {
            let at = (cut * expected.len() as f64) as usize;
            expected.get(at..at + 2).map(<[_]>::to_vec)
        }).filter(|pair| pair[0].1 - pair[1].1 > 1e-3) {
            let least = f64::midpoint(pair[0].1, pair[1].1);
            expected.retain(|(_, score)| *score >= least);
            find = find.min_score(least as f32);
        }
        let found = run(find);
        prop_assert_eq!(found.hits.len(), expected.len());
        for (hit, (at, score)) in found.iter().zip(&expected) {
            let own = world.at(&hit.id);
            let of_own = expected.iter().find(|(at, _)| *at == own).map(|(_, score)| *score);
            prop_assert!((f64::from(hit.score) - score).abs() < 1e-5);
            // Sums that are equal but for rounding may stand in either order.
            prop_assert!(own == *at || of_own.is_some_and(|own| (own - score).abs() < 1e-9));
            let in_lists: Vec<(usize, usize)> = lists
                .iter()
                .enumerate()
                .filter_map(|(at, (_, list))| {
                    Some((at, list.iter().position(|(record, _)| *record == own)? + 1))
                })
                .collect();
            let places: Vec<(usize, usize)> = hit.places.iter().map(|p| (p.list, p.rank)).collect();
            prop_assert_eq!(places, in_lists);
        }
        let mut seen = world.places(&found);
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), found.hits.len());
    }

    #[test]
    fn records_like_examples_are_those_nearest_to_their_means(
        metric in metrics(), steps in steps(), passes in passes(),
        (likes, unlikes) in (proptest::collection::btree_set(0_i64..40, 1..4),
            proptest::collection::btree_set(0_i64..40, 0..3)),
        depth in 1_usize..50,
    ) {
        let world = World::new(metric, &steps);
        let known = |ids: &std::collections::BTreeSet<i64>| -> Vec<i64> {
            let has_vector = |id: &i64| {
                let record = world.records.iter().find(|record| record.id == RecordId::Int(*id));
                record.is_some_and(|record| record.vector.is_some())
            };
            ids.iter().copied().filter(has_vector).collect()
        };
        let (likes, unlikes) = (known(&likes), known(&unlikes));
        prop_assume!(!likes.is_empty());
        let vector = |id: &i64| {
            let at = world.at(&RecordId::Int(*id));
            world.records[at].vector.clone().unwrap()
        };
        let mean = |ids: &[i64], at: usize| {
            ids.iter().map(|id| f64::from(vector(id)[at])).sum::<f64>() / ids.len() as f64
        };
        let target: Vec<f32> = (0..3)
            .map(|at| match unlikes.is_empty() {
                true => mean(&likes, at) as f32,
                false => (2.0 * mean(&likes, at) - mean(&unlikes, at)) as f32,
            })
            .collect();
        let is_example = |at: usize| match world.records[at].id {
            RecordId::Int(id) => likes.contains(&id) || unlikes.contains(&id),
            RecordId::Text(_) => false,
        };
        let mut expected = world.nearest(&target, passes);
        expected.retain(|(at, _)| !is_example(*at));
        expected.truncate(depth);
        let like = Like::new(likes.clone(), unlikes.clone()).exact().depth(depth);
        let found = run(passes.on(world.docs.find()).like_with(like).limit(1000));
        prop_assert_eq!(found.hits.len(), expected.len());
        for (hit, (_, score)) in found.iter().zip(&expected) {
            prop_assert!((f64::from(hit.score) - score).abs() < 1e-3, "{} {score}", hit.score);
            prop_assert!(!is_example(world.at(&hit.id)));
        }

        // With a depth beyond all records, the best score is exact as well.
        let like = Like::new(likes.clone(), unlikes.clone()).strategy(LikeStrategy::BestScore);
        let find = passes.on(world.docs.find()).like_with(like.exact());
        let found = run(find.depth(1000).limit(1000));
        let best = |ids: &[i64], of: &[f32]| {
            ids.iter().map(|id| world.score(&vector(id), of)).fold(f64::NEG_INFINITY, f64::max)
        };
        let squashed = |score: f64| 0.5 + score / (1.0 + score.abs()) / 2.0;
        let mut expected: List = world.nearest(&target, passes);
        expected.retain(|(at, _)| !is_example(*at));
        for (at, score) in &mut expected {
            let of = world.records[*at].vector.as_deref().unwrap();
            let (like, unlike) = (best(&likes, of), best(&unlikes, of));
            *score = if like > unlike { squashed(like) } else { -squashed(unlike) };
        }
        let expected = sorted(expected);
        prop_assert_eq!(found.hits.len(), expected.len());
        for (hit, (_, score)) in found.iter().zip(&expected) {
            prop_assert!((f64::from(hit.score) - score).abs() < 1e-5, "{} {score}", hit.score);
        }
    }
}

#[test]
fn one_list_gives_the_hits_and_scores_of_the_search_it_is() {
    let content = |id: i64| {
        let vector = [1.0 + id as f32, 2.0, id as f32 * 0.3 - 4.0];
        portolan::Record::new(id).vector(vector).text(WORDS[id as usize % 5])
    };
    let world = World::new(Metric::Cosine, &[]);
    let mut batch = world.docs.batch();
    (0..300).for_each(|id| batch.upsert(content(id)).unwrap());
    batch.commit().unwrap();
    let query = [0.3, 0.8, -0.2];
    let (found, search) = (run(world.docs.find().dense(&query)), world.docs.search(&query));
    assert_eq!(found.hits, search.run().unwrap().hits);
    let found = run(world.docs.find().text("chart reef").limit(7));
    assert_eq!(found.hits, world.docs.search_text("chart reef").limit(7).run().unwrap().hits);
}
