//! The SciFact excerpt in `fixtures/scifact-small`, searched exactly over its stored embeddings:
//! readers and metrics together must give the figures that numpy and trec_eval gave.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use portolan::eval::beir;
use portolan::eval::metrics::mean_scores;
use portolan::eval::vector_file::VectorFile;

/// Exact dot-product search in f64 with numpy, depth 100; figures by pytrec_eval-terrier 0.5.11.
const NDCG_10: f64 = 0.880_481_261_999_765_2;
const MRR_10: f64 = 0.841_249_999_999_999_9;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scifact-small").join(name)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn exact_search_reaches_the_figures_of_numpy_and_trec_eval() {
    let ids: Vec<String> =
        beir::documents(fixture("docs.jsonl")).unwrap().map(|doc| doc.unwrap().id).collect();
    let queries = beir::queries(fixture("queries.jsonl")).unwrap();
    let qrels = beir::qrels(fixture("qrels.tsv")).unwrap();
    let rows = VectorFile::open(fixture("docs.minilm384.f16.npy")).unwrap();
    let query_rows = VectorFile::open(fixture("queries.minilm384.f16.npy")).unwrap();
    assert_eq!((ids.len(), rows.len(), rows.dim()), (600, 600, 384));
    assert_eq!((queries.len(), query_rows.len(), qrels.len()), (40, 40, 40));

    let mut runs = HashMap::new();
    for (i, query) in queries.iter().enumerate() {
        let vector = query_rows.row(i).unwrap();
        let score = |slot: usize| dot(&vector, &rows.row(slot).unwrap());
        let mut scored: Vec<(f64, usize)> = (0..ids.len()).map(|s| (score(s), s)).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let run = scored.iter().take(100).map(|(_, slot)| ids[*slot].clone()).collect();
        runs.insert(query.id.clone(), run);
    }
    let mean = mean_scores(&qrels, &runs);
    assert!((mean.ndcg_10 - NDCG_10).abs() < 1e-12, "{mean:?}");
    assert!((mean.mrr_10 - MRR_10).abs() < 1e-12, "{mean:?}");
    assert_eq!((mean.recall_10, mean.recall_100), (1.0, 1.0));
}

#[test]
fn every_document_carries_its_true_length_for_filters() {
    for document in beir::documents(fixture("docs.jsonl")).unwrap() {
        let document = document.unwrap();
        let chars = document.text.chars().count() as u64;
        assert_eq!(document.metadata["chars"].as_u64(), Some(chars), "{}", document.id);
        assert!(document.metadata["sentences"].as_u64().is_some_and(|n| n > 0));
    }
}
