//! What becomes of several lists: the score of each record and its place, by the formulas over the
//! lists as they are when they are asked one by one.

use std::collections::{BTreeMap, BTreeSet};

use portolan::{Collection, Fusion, Hit, Normalization, RecordId};

use super::common::Rng;
use super::hybrid::Asked;
use super::shapes::filtered;
use super::{Predicate, Side};

/// A list that was asked alone: its weight, and what it found, best first.
pub type Single = (f64, Vec<(RecordId, f32)>);

/// Scores on the scale of a normalization.
pub fn normalized(normalization: Normalization, scores: &[f32]) -> Vec<f64> {
    let wide: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
    let count = wide.len() as f64;
    match normalization {
        Normalization::MinMax => {
            let best = wide.iter().copied().fold(f64::MIN, f64::max);
            let last = wide.iter().copied().fold(f64::MAX, f64::min);
            let place = |x: &f64| if best == last { 1.0 } else { (x - last) / (best - last) };
            wide.iter().map(place).collect()
        }
        Normalization::ZScore => {
            let mean = wide.iter().sum::<f64>() / count;
            let variance = wide.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
            let place = |x: &f64| if variance == 0.0 { 0.0 } else { (x - mean) / variance.sqrt() };
            wide.iter().map(place).collect()
        }
        Normalization::None => wide,
        other => panic!("no such normalization here: {other:?}"),
    }
}

/// What each list adds to each of its records, and to those that it lacks.
fn shares(fusion: Fusion, (weight, found): &Single) -> (BTreeMap<RecordId, f64>, f64) {
    let ids = found.iter().map(|(id, _)| id.clone());
    let scores: Vec<f32> = found.iter().map(|(_, score)| *score).collect();
    match fusion {
        Fusion::Rrf { k } => {
            let share = |(at, id)| (id, weight / (k + (at + 1) as f64));
            (ids.enumerate().map(share).collect(), 0.0)
        }
        Fusion::Weighted(normalization) => {
            let scores = normalized(normalization, &scores);
            let lowest = scores.iter().copied().fold(0.0, f64::min);
            let shares = ids.zip(scores).map(|(id, score)| (id, weight * score));
            (shares.collect(), weight * lowest)
        }
        other => panic!("no such fusion here: {other:?}"),
    }
}

/// Records by fused score, equal ones in order of insertion.
pub fn fused(fusion: Fusion, lists: &[Single], side: &Side) -> Vec<(RecordId, f64)> {
    let lists: Vec<_> = lists.iter().map(|list| shares(fusion, list)).collect();
    let ids: BTreeSet<&RecordId> = lists.iter().flat_map(|(present, _)| present.keys()).collect();
    let score = |id: &RecordId| -> f64 {
        lists.iter().map(|(present, absent)| present.get(id).unwrap_or(absent)).sum()
    };
    let mut scored: Vec<(RecordId, f64)> =
        ids.into_iter().map(|id| (id.clone(), score(id))).collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(side.age(&a.0).cmp(&side.age(&b.0))));
    scored
}

/// Hits are the first of what is expected, score by score.
pub fn check_order(hits: &[Hit], expected: &[(RecordId, f64)], limit: usize, what: &str) {
    assert_eq!(hits.len(), limit.min(expected.len()), "hits of {what}");
    for (at, (hit, (id, score))) in hits.iter().zip(expected).enumerate() {
        let off = (f64::from(hit.score) - score).abs();
        assert!(off <= 1e-6 * score.abs().max(1.0), "{} scores {}, not {score}", hit.id, hit.score);
        assert_eq!(&hit.id, id, "place {at} of {what}");
    }
}

/// Lists of some depth and weight each: the order of what they find, the place that each list
/// gave a hit, and what it added.
pub fn check_fused(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let asked = Asked::any(side, rng);
    let depth = 1 + rng.below(60) as usize;
    let limit = 1 + rng.below(80) as usize;
    let filter = filter.map(|filter| filter.filter(rng));
    let lists = asked.singles(docs, depth, filter.as_ref());
    let expected = fused(asked.fusion, &lists, side);
    let find = filtered(asked.find(docs, depth), filter.as_ref());
    let found = find.with_places().limit(limit).run().expect("a query");
    check_order(&found.hits, &expected, limit, &format!("{:?}", asked.fusion));
    assert_eq!(found.report.candidates, expected.len());

    let of_lists: Vec<_> = lists.iter().map(|list| shares(asked.fusion, list).0).collect();
    for hit in &found.hits {
        let mut places = hit.places.iter();
        for (at, (shares, (_, list))) in of_lists.iter().zip(&lists).enumerate() {
            let Some(rank) = list.iter().position(|(id, _)| *id == hit.id) else { continue };
            let place = places.next().expect("a place in each list that found it");
            assert_eq!((place.list, place.rank, place.score), (at, rank + 1, list[rank].1));
            let share = shares[&hit.id];
            assert!((place.share - share).abs() <= 1e-9 * share.abs().max(1.0), "{place:?}");
        }
        assert_eq!(places.next(), None, "a place in a list that did not find it");
    }
}
