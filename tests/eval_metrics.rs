//! The measures against an implementation that shares nothing with them: sets, counted prefixes,
//! and the best of all orders for the ideal ranking.

use std::collections::HashMap;

use portolan::eval::measure::{Measure, MeasureKind, mean};
use portolan::eval::metrics::{Judgments, Qrels};
use portolan::eval::trec_run;
use proptest::prelude::*;

/// Documents there are; few, so that every order of the judged ones can be tried.
const DOCUMENTS: usize = 6;

type Grades = HashMap<String, i32>;

fn gain(grades: &Grades, document: &str) -> f64 {
    f64::from(grades.get(document).copied().unwrap_or(0).max(0))
}

fn discounted(grades: &Grades, order: &[String], k: usize) -> f64 {
    let mut sum = 0.0;
    for rank in 1..=k.min(order.len()) {
        sum += gain(grades, &order[rank - 1]) / ((rank + 1) as f64).ln() * 2_f64.ln();
    }
    sum
}

/// All orders of some documents.
fn orders(documents: &[String]) -> Vec<Vec<String>> {
    if documents.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in documents {
        let rest: Vec<String> = documents.iter().filter(|other| *other != first).cloned().collect();
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

fn relevant_in(grades: &Grades, order: &[String], k: usize) -> usize {
    order.iter().take(k).filter(|document| gain(grades, document) > 0.0).count()
}

/// The same figures, by their definitions.
fn naive(measure: Measure, grades: &Grades, order: &[String]) -> f64 {
    let k = measure.cut;
    let relevant = grades.values().filter(|grade| **grade > 0).count();
    if relevant == 0 {
        return 0.0;
    }
    match measure.kind {
        MeasureKind::Ndcg => {
            let judged: Vec<String> = grades.keys().cloned().collect();
            let ideals = orders(&judged).into_iter().map(|order| discounted(grades, &order, k));
            discounted(grades, order, k) / ideals.fold(0.0, f64::max)
        }
        MeasureKind::Recall => relevant_in(grades, order, k) as f64 / relevant as f64,
        MeasureKind::Precision => relevant_in(grades, order, k) as f64 / k as f64,
        MeasureKind::Mrr => {
            let first = (1..=k).find(|rank| relevant_in(grades, order, *rank) > 0);
            first.map_or(0.0, |rank| 1.0 / rank as f64)
        }
        MeasureKind::Map => {
            let ranks = 1..=k.min(order.len());
            let hits = ranks.filter(|rank| gain(grades, &order[rank - 1]) > 0.0);
            let precisions = hits.map(|rank| relevant_in(grades, order, rank) as f64 / rank as f64);
            precisions.sum::<f64>() / relevant as f64
        }
        other => panic!("{other:?} has no oracle"),
    }
}

fn document(number: usize) -> String {
    format!("d{number}")
}

/// One query: grades of some documents, and an order of some.
fn query() -> impl Strategy<Value = (Grades, Vec<String>)> {
    let grades = proptest::collection::hash_map((0..DOCUMENTS).prop_map(document), -1..4_i32, 0..6);
    let order = Just((0..2 * DOCUMENTS).map(document).collect::<Vec<_>>()).prop_shuffle();
    (grades, order, 0..=2 * DOCUMENTS).prop_map(|(grades, mut order, length)| {
        order.truncate(length);
        (grades, order)
    })
}

fn measures() -> Vec<Measure> {
    use MeasureKind::{Map, Mrr, Ndcg, Precision, Recall};
    let kinds = [Ndcg, Recall, Mrr, Map, Precision];
    let cuts = [1, 2, 3, 5, 10, 100];
    kinds.iter().flat_map(|kind| cuts.map(|cut| Measure::new(*kind, cut))).collect()
}

proptest! {
    #[test]
    fn every_measure_at_every_cut_is_what_its_definition_says((grades, order) in query()) {
        let judgments: Judgments = grades.iter().map(|(id, grade)| (id.clone(), *grade)).collect();
        let ranking: Vec<&str> = order.iter().map(String::as_str).collect();
        for measure in measures() {
            let (ours, naive) = (measure.of(&ranking, &judgments), naive(measure, &grades, &order));
            prop_assert!((ours - naive).abs() < 1e-12, "{measure}: {ours}, by definition {naive}");
            prop_assert!((0.0..=1.0 + 1e-12).contains(&ours));
        }
    }

    #[test]
    fn a_run_that_is_exported_and_read_has_the_same_figures(
        set in proptest::collection::vec(query(), 1..5),
        scores in proptest::collection::vec(-2.0_f32..2.0, 2 * DOCUMENTS),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut qrels, mut runs, mut run) = (Qrels::new(), HashMap::new(), trec_run::Run::new());
        for (number, (grades, order)) in set.into_iter().enumerate() {
            let id = format!("query {number}");
            qrels.insert(id.clone(), grades.into_iter().collect());
            // Scores need not fall, and several are equal.
            let score = |at: usize| (scores[at] * 2.0).round() / 2.0;
            let listed = order.iter().enumerate().map(|(at, of)| (of.clone(), score(at)));
            run.insert(id.clone(), listed.collect());
            runs.insert(id, order);
        }
        let path = dir.path().join("a.run");
        trec_run::write(&path, &run, "t").unwrap();
        let read = trec_run::read(&path).unwrap();
        let ids = |listed: Vec<(String, f32)>| listed.into_iter().map(|(id, _)| id).collect();
        let read: HashMap<String, Vec<String>> =
            read.into_iter().map(|(query, listed)| (query, ids(listed))).collect();
        for measure in measures() {
            let of = |runs| mean(&measure.per_query(&qrels, runs));
            prop_assert_eq!(of(&runs), of(&read), "{}", measure);
        }
    }
}

#[test]
fn exported_judgments_are_read_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qrels.txt");
    let judgments = |pairs: &[(&str, i32)]| pairs.iter().copied().collect::<Judgments>();
    let qrels = Qrels::from([
        ("q1".to_owned(), judgments(&[("a", 2), ("b", 0)])),
        ("q2".to_owned(), judgments(&[("c", -1)])),
    ]);
    trec_run::write_qrels(&path, &qrels).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "q1 0 a 2\nq1 0 b 0\nq2 0 c -1\n");
    assert_eq!(portolan::eval::beir::qrels(&path).unwrap(), qrels);
}
