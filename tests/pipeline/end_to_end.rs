//! The whole way through the NIM client: ingest, search and rerank over HTTP against a loopback
//! server that computes its answers from what it is sent.

use std::time::Duration;

use portolan::nim::RetryPolicy;
use portolan::{Error, Record, RecordId, Roles, StageOutcome};
use serde_json::{Value, json};

use super::common::everything;
use super::models::{DIMENSIONS, bag_of_words, overlap};
use super::server::{Request, Server, Step, answer, ok};
use super::{empty, records};

fn text(value: &Value) -> &str {
    value["text"].as_str().expect("a text")
}

/// Answers both endpoints as the services do.
fn serve(request: &Request) -> Step {
    let body = request.json();
    if request.line == "POST /v1/embeddings HTTP/1.1" {
        let vectors = request.inputs().into_iter().enumerate().map(|(index, text)| {
            json!({"object": "embedding", "index": index, "embedding": bag_of_words(&text)})
        });
        let data: Vec<Value> = vectors.collect();
        let usage = json!({"prompt_tokens": 3, "total_tokens": 3});
        return ok(&json!({"object": "list", "data": data, "model": "nvidia/e", "usage": usage}));
    }
    assert_eq!(request.line, "POST /v1/ranking HTTP/1.1");
    let passages = body["passages"].as_array().expect("passages").iter().enumerate();
    let mut rankings: Vec<(usize, f32)> = passages
        .map(|(index, passage)| (index, overlap(text(&body["query"]), text(passage))))
        .collect();
    rankings.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rankings: Vec<Value> = rankings
        .into_iter()
        .map(|(index, logit)| json!({"index": index, "logit": logit}))
        .collect();
    ok(&json!({"rankings": rankings, "usage": {"prompt_tokens": 11}}))
}

#[tokio::test]
async fn a_question_is_answered_through_both_services() {
    let server = Server::start(|_, request| serve(request)).await;
    let nim = server.nim();
    let (embedder, reranker) = (nim.embedder("nvidia/e"), nim.reranker("nvidia/r"));
    let (_dir, db, docs) = empty(DIMENSIONS);
    let report = docs.ingest(records(100)).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!(report.progress.embedded, 100);
    let contract = docs.model().expect("the model").expect("a model");
    assert_eq!((contract.model.as_str(), contract.roles), ("nvidia/e", Roles::InputType));
    let passages = server.requests();
    assert!(passages.iter().all(|request| request.json()["input_type"] == "passage"));

    let question = "anchor current shoal";
    let query = || docs.query(question).embedder(&embedder).reranker(&reranker);
    let found = query().candidates(20).limit(5).run().await.expect("an answer");
    assert!(found.report.reranked);
    assert_eq!(found.hits.len(), 5);
    let logits: Vec<f32> =
        found.hits.iter().map(|hit| hit.rerank_score.expect("a logit")).collect();
    assert!(logits.is_sorted_by(|a, b| a >= b), "{logits:?}");
    for (hit, logit) in found.hits.iter().zip(&logits) {
        assert!((overlap(question, hit.text()) - logit).abs() < 1e-5);
    }
    let mut best: Vec<f32> = records(100).iter().map(|r| overlap(question, &r.text)).collect();
    best.sort_by(|a, b| b.total_cmp(a));
    assert!((logits[0] - best[0]).abs() < 1e-5, "the best passage was missed");
    let sent = server.requests();
    assert_eq!(sent.len(), passages.len() + 2);
    assert_eq!(sent[passages.len()].json()["input_type"], "query");
    let tokens: Vec<_> = found.report.stages.iter().map(|stage| stage.cost.tokens).collect();
    assert_eq!(tokens, [Some(3), None, Some(11)]);
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn a_service_that_fails_is_left_out_or_reported() {
    let server = Server::start(|_, request| {
        if request.line.contains("ranking") { answer(500, "", "{}") } else { serve(request) }
    })
    .await;
    let nim = server.nim();
    let (embedder, reranker) = (nim.embedder("nvidia/e"), nim.reranker("nvidia/r"));
    let (_dir, _db, docs) = empty(DIMENSIONS);
    docs.ingest(records(30)).embedder(&embedder).run().await.expect("an ingest");
    let query = || docs.query("star cape").embedder(&embedder).limit(5);
    let first = query().run().await.expect("an answer");
    let found = query().reranker(&reranker).run().await.expect("an answer");
    let ids =
        |hits: &[portolan::Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<RecordId>>();
    assert_eq!(ids(&found.hits), ids(&first.hits));
    assert!(!found.report.reranked);
    let failed =
        found.report.stages.iter().any(|stage| {
            stage.stage == "rerank" && matches!(stage.outcome, StageOutcome::Failed(_))
        });
    assert!(failed, "{:?}", found.report);

    let other = nim.embedder("nvidia/other");
    let before = server.requests().len();
    let error = docs.query("star").embedder(&other).run().await.expect_err("another model");
    assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
    assert_eq!(server.requests().len(), before);
}

/// How a service misbehaves at its nth request.
type Misbehavior = fn(usize, &Request) -> Step;

#[tokio::test]
async fn an_ingest_beside_faults_stores_what_a_clean_one_does() {
    let busy: Misbehavior = |n, request| match n % 3 {
        2 => answer(503, "", r#"{"detail": "busy"}"#),
        _ => serve(request),
    };
    let limited: Misbehavior = |n, request| match n % 4 {
        3 => answer(429, "retry-after: 0\r\n", "{}"),
        _ => serve(request),
    };
    let unsorted: Misbehavior = |_, request| {
        let inputs = request.inputs().into_iter().enumerate();
        let data: Vec<Value> = inputs
            .rev()
            .map(|(index, text)| json!({"index": index, "embedding": bag_of_words(&text)}))
            .collect();
        ok(&json!({"data": data}))
    };
    let keyed: Misbehavior = |_, request| match request.header("authorization") {
        Some("Bearer nvapi-0123456789abcdef") => serve(request),
        _ => answer(401, "", "{}"),
    };
    let clean: Misbehavior = |_, request| serve(request);
    let mut first = None;
    let all = [("clean", clean), ("503", busy), ("429", limited), ("unsorted", unsorted)];
    for (name, misbehavior) in all.into_iter().chain([("a key", keyed)]) {
        let server = Server::start(misbehavior).await;
        let retry = RetryPolicy::new().tries(6).base(Duration::from_millis(1));
        let nim = server.builder().api_key("nvapi-0123456789abcdef").retry(retry);
        let embedder = nim.build().expect("a client").embedder("nvidia/e").batch_size(7);
        let (_dir, db, docs) = empty(DIMENSIONS);
        let report = docs.ingest(records(100)).embedder(&embedder).run().await.expect("an ingest");
        assert_eq!((report.progress.embedded, report.rejected.len()), (100, 0), "{name}");
        assert_eq!(report.cost.retries > 0, ["503", "429"].contains(&name), "{name}");
        let stored = everything(&docs, 64);
        assert!(stored.iter().all(|record| record.vector.is_some()), "{name}");
        assert_eq!(&stored, first.get_or_insert_with(|| stored.clone()), "{name}");
        db.verify().expect("an undamaged file");
    }
}

/// The texts of the requests that were not refused, in order.
fn answered(sent: &[Request], is_refused: impl Fn(&Request) -> bool) -> Vec<String> {
    let answered = sent.iter().filter(|request| !is_refused(request));
    let mut texts: Vec<String> = answered.flat_map(Request::inputs).collect();
    texts.sort();
    texts
}

fn has_long(request: &Request) -> bool {
    request.inputs().iter().any(|text| is_long(text))
}

fn is_long(text: &str) -> bool {
    [" 7", " 8", " 31"].iter().any(|end| text.ends_with(end))
}

#[tokio::test]
async fn texts_that_are_too_long_are_set_aside_and_no_other_is_answered_twice() {
    // For each text too long the search takes up to 12 requests, less what two have in common. One
    // that is named takes one more.
    for (names, requests) in [(false, 21), (true, 4)] {
        let server = Server::start(move |_, request| {
            let words = "Input length 1728 exceeds maximum allowed token size 512";
            match request.inputs().iter().position(|text| is_long(text)) {
                None => serve(request),
                Some(at) if names => {
                    let detail = json!([{"loc": ["body", "input", at], "msg": words}]);
                    answer(422, "", json!({"detail": detail}).to_string())
                }
                Some(_) => answer(400, "", json!({"error": words}).to_string()),
            }
        })
        .await;
        let embedder = server.nim().embedder("nvidia/e").batch_size(50);
        let (_dir, db, docs) = empty(DIMENSIONS);
        let report = docs.ingest(records(50)).embedder(&embedder).run().await.expect("a report");
        let aside: Vec<RecordId> = report.rejected.iter().map(|one| one.id.clone()).collect();
        assert_eq!(aside, [7, 8, 31].map(RecordId::from), "{names}");
        let is_told = report.rejected.iter().all(|one| one.reason.contains("1728 exceeds maximum"));
        assert!(is_told, "{report:?}");
        assert_eq!((report.progress.embedded, report.progress.rejected), (47, 3), "{names}");

        let sent = server.requests();
        assert_eq!((sent.len(), report.cost.requests), (requests, requests as u64), "{names}");
        let short = || records(50).into_iter().filter(|record| !is_long(&record.text));
        let mut once: Vec<String> = short().map(|record| record.text).collect();
        once.sort();
        assert_eq!(answered(&sent, has_long), once, "{names}");

        // Each has the vector of its own text.
        let (_other_dir, _other_db, others) = empty(DIMENSIONS);
        let alone: Vec<_> = short().collect();
        others.ingest(alone).embedder(&embedder).run().await.expect("an ingest");
        assert!(everything(&docs, 64) == everything(&others, 64), "{names}");
        db.verify().expect("an undamaged file");
    }
}

#[tokio::test]
async fn equal_texts_that_are_too_long_are_set_aside_together_and_sent_once() {
    let refusal = json!({"error": "exceeds maximum allowed token size"}).to_string();
    let server = Server::start(move |_, request| match has_long(request) {
        true => answer(400, "", &refusal),
        false => serve(request),
    })
    .await;
    let embedder = server.nim().embedder("nvidia/e");
    let (_dir, db, docs) = empty(DIMENSIONS);
    // Of twelve texts each stands three times.
    let twelve = records(12);
    let text = |at: u32| twelve[at as usize % 12].text.clone();
    let given = || (0..36).map(|at| Record::new(at).text(text(at)));
    let report = docs.ingest(given()).embedder(&embedder).run().await.expect("a report");
    let aside: Vec<RecordId> = report.rejected.iter().map(|one| one.id.clone()).collect();
    assert_eq!(aside, [7, 8, 19, 20, 31, 32].map(RecordId::from));
    assert_eq!((report.progress.embedded, report.progress.rejected), (30, 6));
    let mut once: Vec<String> = (0..12).map(text).filter(|text| !is_long(text)).collect();
    once.sort();
    assert_eq!(answered(&server.requests(), has_long), once);
    let (_other_dir, _other_db, others) = empty(DIMENSIONS);
    let short: Vec<Record> = given().filter(|record| !is_long(&record.text)).collect();
    others.ingest(short).embedder(&embedder).run().await.expect("an ingest");
    assert!(everything(&docs, 64) == everything(&others, 64));
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn what_was_answered_before_a_refusal_of_another_kind_is_not_sent_again() {
    let bad = |request: &Request| request.inputs().iter().any(|text| text.ends_with(" 17"));
    let server = Server::start(move |_, request| match bad(request) {
        true => answer(422, "", json!({"error": "control characters"}).to_string()),
        false => serve(request),
    })
    .await;
    // A call of fifty texts takes about ten requests, one after the other.
    let embedder = server.nim().embedder("nvidia/e").batch_chars(120).concurrency(1);
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let report = docs.ingest(records(50)).embedder(&embedder).run().await.expect("a report");
    let aside: Vec<RecordId> = report.rejected.iter().map(|one| one.id.clone()).collect();
    assert_eq!(aside, [RecordId::from(17)]);
    assert_eq!((report.progress.embedded, report.progress.rejected), (49, 1));
    let sent = server.requests();
    assert!(sent[0].inputs().len() < 10, "{}", sent[0].inputs().len());
    let others = records(50).into_iter().filter(|record| record.id != RecordId::from(17));
    let mut once: Vec<String> = others.map(|record| record.text).collect();
    once.sort();
    assert_eq!(answered(&sent, bad), once);
}
