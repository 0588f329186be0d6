//! The metrics against figures computed by the real trec_eval.
//!
//! `fixtures/trec-eval-golden.json` holds 40 random graded queries (grades -1 to 3, rankings of 0
//! to 150 documents, no tied scores) and the figures that trec_eval, as bundled in
//! pytrec_eval-terrier 0.5.11, gave for them. `mrr_10` is its `recip_rank` on the ranking cut at
//! 10. Queries without results, which trec_eval -c counts as 0, are written with figures of 0.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use portolan::eval::metrics::{
    Judgments, Qrels, average_precision_at, mean_scores, mrr_at, ndcg_at, precision_at, recall_at,
};
use serde_json::Value;

/// trec_eval sums in another order; both are exact to about 1e-16 per term.
const TOLERANCE: f64 = 1e-12;

struct Golden {
    query: String,
    judgments: Judgments,
    ranking: Vec<String>,
    expected: HashMap<String, f64>,
}

fn figures(value: &Value) -> HashMap<String, f64> {
    let entries = value.as_object().unwrap().iter();
    entries.map(|(name, figure)| (name.clone(), figure.as_f64().unwrap())).collect()
}

fn load() -> (Vec<Golden>, HashMap<String, f64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trec-eval-golden.json");
    let root: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let parse = |entry: &Value| Golden {
        query: entry["query"].as_str().unwrap().to_string(),
        judgments: serde_json::from_value::<Vec<(String, i32)>>(entry["judgments"].clone())
            .unwrap()
            .into_iter()
            .collect(),
        ranking: serde_json::from_value(entry["ranking"].clone()).unwrap(),
        expected: figures(&entry["expected"]),
    };
    let queries = root["queries"].as_array().unwrap();
    (queries.iter().map(parse).collect(), figures(&root["mean"]))
}

fn assert_close(actual: f64, expected: f64, what: &str) {
    assert!((actual - expected).abs() < TOLERANCE, "{what}: {actual}, trec_eval {expected}");
}

#[test]
fn every_query_scores_as_trec_eval_scores_it() {
    let (queries, _) = load();
    assert_eq!(queries.len(), 40);
    for golden in &queries {
        let ranking: Vec<&str> = golden.ranking.iter().map(String::as_str).collect();
        let judgments = &golden.judgments;
        let actual = [
            ("ndcg_cut_1", ndcg_at(&ranking, judgments, 1)),
            ("ndcg_cut_3", ndcg_at(&ranking, judgments, 3)),
            ("ndcg_cut_10", ndcg_at(&ranking, judgments, 10)),
            ("ndcg_cut_100", ndcg_at(&ranking, judgments, 100)),
            ("recall_10", recall_at(&ranking, judgments, 10)),
            ("recall_100", recall_at(&ranking, judgments, 100)),
            ("mrr_10", mrr_at(&ranking, judgments, 10)),
            ("map_cut_10", average_precision_at(&ranking, judgments, 10)),
            ("map_cut_100", average_precision_at(&ranking, judgments, 100)),
            ("P_1", precision_at(&ranking, judgments, 1)),
            ("P_10", precision_at(&ranking, judgments, 10)),
            ("P_100", precision_at(&ranking, judgments, 100)),
        ];
        assert_eq!(actual.len(), golden.expected.len());
        for (name, figure) in actual {
            let what = format!("{name} of {}", golden.query);
            assert_close(figure, golden.expected[name], &what);
        }
    }
}

#[test]
fn the_mean_runs_over_every_judged_query() {
    let (queries, mean) = load();
    let (mut qrels, mut runs) = (Qrels::new(), HashMap::new());
    for golden in queries {
        if !golden.ranking.is_empty() {
            runs.insert(golden.query.clone(), golden.ranking);
        }
        qrels.insert(golden.query, golden.judgments);
    }
    assert_eq!((qrels.len(), runs.len()), (40, 38));
    let actual = mean_scores(&qrels, &runs);
    assert_close(actual.ndcg_10, mean["ndcg_cut_10"], "ndcg_cut_10");
    assert_close(actual.recall_10, mean["recall_10"], "recall_10");
    assert_close(actual.recall_100, mean["recall_100"], "recall_100");
    assert_close(actual.mrr_10, mean["mrr_10"], "mrr_10");
}
