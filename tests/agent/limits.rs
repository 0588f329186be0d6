//! Limits of tokens, context, money and time, and the ways to stop a run from outside.

use std::time::Duration;

use portolan::agent::{Agent, Cancel, FailureKind, Price, ResultSource};
use portolan::{Collection, Error};

use crate::docs;
use crate::models::{Fate, WordEmbedder};
use crate::script::{Turn, USAGE, chat, deciding, ids, offered, retrieve, select, service};

const QUERY: &str = "harbor compass rhumb";

/// How a run ends, and how many calls it made, whose service would go on searching for ever.
async fn ended(
    docs: &Collection,
    set: impl for<'a> FnOnce(Agent<'a>) -> Agent<'a>,
) -> (ResultSource, FailureKind, usize) {
    let server = deciding(|_, body| match offered(body).len() {
        3 => retrieve("anchor wind"),
        _ => select(&ids(body)[..10]),
    })
    .await;
    let chat = chat(&server);
    let result = set(Agent::new(docs, &chat)).run(QUERY).await.expect("a result");
    let kind = result.failure.expect("a failure").kind;
    (result.source, kind, server.requests().len())
}

#[tokio::test]
async fn a_call_that_could_exceed_the_tokens_is_not_made() {
    let (_dir, _db, docs) = docs(60);
    // Nothing fits: not even the first call.
    let none = ended(&docs, |agent| agent.max_tokens(50)).await;
    assert_eq!(none, (ResultSource::FirstStage, FailureKind::TokenLimit, 0));
    let (source, kind, calls) = ended(&docs, |agent| agent.max_tokens(3_000)).await;
    assert_eq!((source, kind), (ResultSource::Rrf, FailureKind::TokenLimit));
    // What the service says a call takes is the least that the next one is expected to take.
    let most = 3_000 / (USAGE.0 + USAGE.1) as usize;
    assert!((2..=most).contains(&calls), "{calls}");
}

#[tokio::test]
async fn money_is_counted_by_the_price_of_tokens() {
    let (_dir, _db, docs) = docs(60);
    let price = Price::per_million(10.0, 100.0);
    let none = ended(&docs, move |agent| agent.price(price).max_cost(0.0001)).await;
    assert_eq!(none, (ResultSource::FirstStage, FailureKind::MoneyLimit, 0));
    let (source, kind, calls) = ended(&docs, |agent| agent.price(price).max_cost(0.03)).await;
    assert_eq!((source, kind), (ResultSource::Rrf, FailureKind::MoneyLimit));
    assert!((2..=15).contains(&calls), "{calls}");

    let server = service(vec![retrieve("wind")]).await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).price(price).max_steps(1).selection(false);
    let result = agent.run(QUERY).await.expect("a result");
    let cost = result.cost().expect("a cost");
    assert!((cost - (100.0 * 10.0 + 10.0 * 100.0) / 1e6).abs() < 1e-12, "{cost}");
}

#[tokio::test]
async fn a_conversation_longer_than_its_limit_is_not_sent() {
    let (_dir, _db, docs) = docs(60);
    let (source, kind, calls) = ended(&docs, |agent| agent.context_tokens(50)).await;
    // The selection does not fit either.
    assert_eq!((source, kind, calls), (ResultSource::FirstStage, FailureKind::ContextLimit, 0));
    // The service says that each conversation has 100 tokens, so what comes after it counts.
    let (source, kind, _) = ended(&docs, |agent| agent.context_tokens(2_000).max_steps(9)).await;
    assert_eq!((source, kind), (ResultSource::SelectionAgent, FailureKind::MaxSteps));
}

#[tokio::test]
async fn a_model_that_does_not_answer_in_time_is_given_up() {
    let (_dir, _db, docs) = docs(60);
    let server = service(vec![retrieve("wind"), Turn::Hang]).await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).deadline(Duration::from_secs(3));
    let result = agent.run(QUERY).await.expect("a result");
    assert_eq!(result.source, ResultSource::Rrf);
    let failure = result.failure.expect("a failure");
    assert_eq!((failure.kind, failure.step), (FailureKind::TimeLimit, 2));
    assert!(!failure.kind.is_lasting());
    // What was not done in time at all is an error.
    let late = Agent::new(&docs, &chat).deadline(Duration::ZERO).run(QUERY).await;
    assert!(matches!(late, Err(Error::DeadlineExceeded { .. })), "{late:?}");
}

#[tokio::test]
async fn a_run_that_is_cancelled_answers_with_what_it_has() {
    let (_dir, _db, docs) = docs(60);
    let cancel = Cancel::new();
    let flag = cancel.clone();
    let server = deciding(move |at, _| {
        if at == 1 {
            flag.cancel();
            return Turn::Hang;
        }
        retrieve("wind")
    })
    .await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).cancel(&cancel);
    let result = agent.run(QUERY).await.expect("a result");
    assert_eq!(result.source, ResultSource::Rrf);
    let failure = result.failure.expect("a failure");
    assert_eq!((failure.kind, failure.step), (FailureKind::Cancelled, 2));
    // Before it has anything, there is no answer.
    assert!(matches!(agent.run(QUERY).await, Err(Error::Cancelled)));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_no_trace_and_closes_its_request() {
    let (dir, _db, docs) = docs(60);
    let traces = dir.path().join("traces");
    let server = service(vec![retrieve("wind"), Turn::Hang]).await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).traces(&traces);
    let mut run = Box::pin(agent.run(QUERY));
    while server.requests().len() < 2 {
        let moment = tokio::time::timeout(Duration::from_millis(1), &mut run).await;
        assert!(moment.is_err(), "it ended");
    }
    drop(run);
    assert!(!traces.exists());
    // A search that hangs is dropped as well.
    let hanging = WordEmbedder::new(Fate::HangAt(0));
    let agent = Agent::new(&docs, &chat).embedder(&hanging).traces(&traces);
    let mut run = Box::pin(agent.run(QUERY));
    while hanging.calls() == 0 {
        let moment = tokio::time::timeout(Duration::from_millis(1), &mut run).await;
        assert!(moment.is_err(), "it ended");
    }
    drop(run);
    assert!(!traces.exists());
}
