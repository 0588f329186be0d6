//! Rerank stages that keep something of the order before them: MaxSim of stored matrices, then a
//! reranker of a text by template whose scores are blended.

use portolan::{
    Answer, Blend, Collection, MaxSimReranker, Mode, Normalization, Record, RecordId, Rerank,
    Template, Value,
};

use super::common::Rng;
use super::fused::normalized;
use super::reranked::{reranker, runtime, score};
use super::searches::{Scores, WORDS, matrix};
use super::shapes::filtered;
use super::{Predicate, Side};

const TEMPLATE: &str = "{title}|{text} ({number}, {tag}) {{{id}}}";

/// What the template makes of a record.
fn rendered(record: &Record) -> String {
    let title = record.title.as_deref().unwrap_or_default();
    let number = match record.metadata.get("number") {
        Some(Value::Int(number)) => number.to_string(),
        _ => String::new(),
    };
    let tag = match record.metadata.get("tag") {
        Some(Value::Text(tag)) => tag.as_str(),
        _ => "",
    };
    let id = match &record.id {
        RecordId::Int(id) => id.to_string(),
        RecordId::Text(id) => id.clone(),
    };
    format!("{title}|{} ({number}, {tag}) {{{id}}}", record.text)
}

/// Scores of candidates by the rule, of those before, best first, and of the reranker.
fn blended(blend: Blend, before: &[Option<f32>], rerank: &[f32]) -> Vec<f64> {
    match blend {
        Blend::Replace => rerank.iter().map(|score| f64::from(*score)).collect(),
        Blend::Weighted { rerank: weight, normalization } => {
            let known = before.iter().flatten().copied();
            let last = known.fold(f32::INFINITY, f32::min);
            let last = if last == f32::INFINITY { 0.0 } else { last };
            let before: Vec<f32> = before.iter().map(|score| score.unwrap_or(last)).collect();
            let both = normalized(normalization, rerank);
            let both = both.into_iter().zip(normalized(normalization, &before));
            both.map(|(ours, theirs)| weight * ours + (1.0 - weight) * theirs).collect()
        }
        Blend::Rrf { k } => {
            let share = |rank: usize| 1.0 / (k + rank as f64);
            let rank = |at: usize| {
                let ahead = |other: usize| {
                    rerank[other] > rerank[at] || rerank[other] == rerank[at] && other < at
                };
                1 + (0..rerank.len()).filter(|other| ahead(*other)).count()
            };
            (0..rerank.len()).map(|at| share(at + 1) + share(rank(at))).collect()
        }
        other => panic!("no such blend here: {other:?}"),
    }
}

/// Candidates and what they are ordered by.
type Ranked = Vec<(RecordId, Option<f32>)>;

fn scored(answer: &Answer) -> Ranked {
    answer.hits.iter().map(|hit| (hit.id.clone(), hit.rerank_score)).collect()
}

fn is_close(found: &Ranked, wanted: &Ranked) -> bool {
    let close = |a: Option<f32>, b: Option<f32>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-4 * a.abs().max(1.0),
        (a, b) => a == b,
    };
    found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
}

/// What MaxSim makes of an order: those with a matrix by their scores, then the others as they
/// were. Components are such that sums are exact.
fn by_maxsim(before: &Ranked, scores: &Scores) -> Ranked {
    let score = |id: &RecordId| scores.get(id).map(|(score, _)| *score as f32);
    let mut ranked: Ranked = before.iter().map(|(id, _)| (id.clone(), score(id))).collect();
    ranked.sort_by(|a, b| match (a.1, b.1) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    ranked
}

pub fn check_blended(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let word = WORDS[rng.below(8) as usize];
    let (seed, matrix) = (rng.next(), matrix(rng));
    let model = reranker(seed);
    let maxsim = MaxSimReranker::new("tokens", matrix.clone());
    let most = 1 + rng.below(60) as usize;
    let few = 1 + rng.below(most as u64) as usize;
    let z_score = Normalization::ZScore;
    let weight = rng.below(5) as f64 / 4.0;
    let blends = [
        Blend::Replace,
        Blend::weighted(weight),
        Blend::Weighted { rerank: weight, normalization: z_score },
        Blend::Weighted { rerank: weight, normalization: Normalization::None },
        Blend::rrf(),
        Blend::Rrf { k: 0.5 },
    ];
    let blend = blends[rng.below(blends.len() as u64) as usize];
    let filter = filter.map(|filter| filter.filter(rng));
    let first = filtered(docs.find().text(word).limit(most), filter.as_ref()).run();
    let first: Ranked =
        first.expect("a query").hits.into_iter().map(|hit| (hit.id, Some(hit.score))).collect();

    let query = || {
        let query = docs.query(word).mode(Mode::Lexical).limit(few);
        let query = match &filter {
            Some(filter) => query.filter(filter.clone()),
            None => query,
        };
        query.rerank(Rerank::records(&maxsim).candidates(most))
    };
    let by_matrices = by_maxsim(&first, &side.maxsim(&matrix, None));
    let answer = runtime().block_on(query().limit(most).run()).expect("an answer");
    let found = scored(&answer);
    assert!(is_close(&found, &by_matrices), "by matrices {found:?}, not {by_matrices:?}");

    // Of the second stage, all or some of what the first left.
    let second = few + rng.below((most - few + 1) as u64) as usize;
    let template = Template::parse(TEMPLATE).expect("a template");
    let stage = Rerank::new(&model).candidates(second).passage(template).blend(blend);
    let answer = runtime().block_on(query().rerank(stage).run()).expect("an answer");
    let candidates = &by_matrices[..second.min(by_matrices.len())];
    let before: Vec<Option<f32>> = candidates.iter().map(|(_, score)| *score).collect();
    let said = candidates.iter().map(|(id, _)| score(seed, &rendered(&side.model[id].0)));
    let scores = blended(blend, &before, &said.collect::<Vec<f32>>());
    let ids = candidates.iter().map(|(id, _)| id.clone());
    let mut wanted: Vec<(RecordId, f64)> = ids.zip(scores).collect();
    wanted.sort_by(|a, b| b.1.total_cmp(&a.1));
    wanted.truncate(few);
    let wanted = wanted.into_iter().map(|(id, score)| (id, Some(score as f32))).collect();
    let found = scored(&answer);
    assert!(is_close(&found, &wanted), "{blend:?} gives {found:?}, not {wanted:?}");
    assert_eq!(answer.report.reranked, !candidates.is_empty());
}
