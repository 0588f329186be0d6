//! Every way a run can end, by its result source and its failure.

use portolan::agent::{Agent, AgentResult, FailureKind, ResultSource, SearchSuccess};
use portolan::{CostMeter, Error, RecordId};
use serde_json::json;

use crate::docs;
use crate::models::{Fate, WordEmbedder};
use crate::script::{
    Turn, call, chat, deciding, finish, ids, last, naive, offered, overflow, raw_call, retrieve,
    say, select, service,
};
use crate::server::Server;

const QUERY: &str = "harbor compass rhumb";

/// Runs the query over sixty records, with three documents wanted.
async fn run(server: &Server) -> AgentResult {
    run_with(server, |agent| agent).await
}

async fn run_with(
    server: &Server,
    set: impl for<'a> FnOnce(Agent<'a>) -> Agent<'a>,
) -> AgentResult {
    let (_dir, _db, docs) = docs(60);
    let chat = chat(server);
    let agent = Agent::new(&docs, &chat).limit(3).max_steps(6);
    set(agent).run(QUERY).await.expect("a result")
}

/// The end of a result: its source, and the failure and its step.
fn end(result: &AgentResult) -> (ResultSource, Option<(FailureKind, usize)>) {
    let failure = result.failure.as_ref().map(|failure| (failure.kind, failure.step));
    (result.source, failure)
}

fn named(result: &AgentResult) -> Vec<String> {
    result.ids.iter().map(RecordId::to_string).collect()
}

#[tokio::test]
async fn a_run_that_ends_in_order_gives_what_the_model_named() {
    let server = deciding(|at, body| match at {
        0 => call("think", &json!({"thought": "the wind is missing"})),
        1 => retrieve("wind"),
        _ => {
            let shown = ids(body);
            finish(&[shown[12].clone(), shown[0].clone(), shown[5].clone()])
        }
    })
    .await;
    let result = run(&server).await;
    assert_eq!(end(&result), (ResultSource::FinalResults, None));
    let sent = server.requests();
    let shown = ids(&sent[2].json());
    assert_eq!(named(&result), [shown[12].as_str(), &shown[0], &shown[5]]);
    assert_eq!((result.message.as_str(), result.success), ("enough", Some(SearchSuccess::Partial)));
    assert_eq!((result.steps(), result.retrievals(), result.tokens()), (3, 2, (300, 30)));
    let scores: Vec<f64> = result.scored().map(|(_, score)| score).collect();
    assert_eq!(scores, [3.0, 2.0, 1.0]);

    let first = sent[0].json();
    assert_eq!(offered(&first), ["retrieve", "final_results", "think"]);
    let user = first["messages"][1]["content"].as_str().expect("a message").to_owned();
    assert!(user.starts_with(&format!("Query:\n{QUERY}\n\nRetrieved Documents")), "{user}");
    let system = first["messages"][0]["content"].as_str().expect("a message");
    assert!(system.contains("exactly 3") && system.contains("instruction"), "{system}");
    assert_eq!(ids(&first).len(), 10);
    // The trace says the same.
    let trace = &result.trace;
    assert_eq!(trace.retrievals[1].query, "wind");
    assert_eq!((trace.retrievals[0].step, trace.retrievals[1].step), (0, 2));
    assert_eq!(trace.steps[1].calls[0].retrieval, Some(1));
    assert_eq!(trace.steps[0].reasoning.as_deref(), Some("let me see"));
    assert_eq!(trace.messages.len(), 8);
    assert_eq!(trace.messages[3]["content"], "The thought is noted.");
}

#[tokio::test]
async fn a_meter_counts_what_every_call_of_a_run_takes_those_that_fail_too() {
    let (_dir, _db, docs) = docs(60);
    let server = service(vec![retrieve("wind"), overflow()]).await;
    let (chat, meter) = (chat(&server), CostMeter::new());
    let agent = Agent::new(&docs, &chat).limit(3).selection(false).meter(&meter);
    let result = agent.run(QUERY).await.expect("a result");
    assert_eq!((result.steps(), result.retrievals()), (2, 2));
    let totals = meter.totals();
    assert_eq!((totals.chat.runs, totals.chat.failures, totals.search.runs), (2, 1, 2));
    assert_eq!((totals.chat.cost.requests, totals.chat.cost.tokens), (2, Some(110)));
    assert!(totals.chat.cost.bytes_sent > 1_000, "{totals:?}");
}

#[tokio::test]
async fn an_end_that_is_refused_is_explained_and_can_be_mended() {
    let server = deciding(|at, body| {
        let shown = ids(body);
        let good = vec![shown[0].clone(), shown[1].clone(), shown[2].clone()];
        match at {
            0 => finish(&[]),
            1 => finish(&[shown[0].clone(), "nowhere".to_owned(), shown[1].clone()]),
            2 => finish(&[shown[0].clone(), shown[0].clone(), shown[1].clone()]),
            3 => finish(&shown[..2]),
            4 => call("final_results", &json!({"doc_ids": good, "search_successful": "maybe"})),
            _ => finish(&good),
        }
    })
    .await;
    let result = run(&server).await;
    assert_eq!(end(&result), (ResultSource::FinalResults, None));
    assert_eq!(result.ids.len(), 3);
    let told: Vec<String> =
        server.requests().iter().skip(1).map(|request| last(&request.json())).collect();
    for (told, words) in told.iter().zip([
        "doc_ids has 0 ids, exactly 3",
        "no document of these ids was shown: \"nowhere\"",
        "more than once: \"d",
        "doc_ids has 2 ids, exactly 3",
        "unknown variant `maybe`",
    ]) {
        assert!(told.starts_with("error: final_results was ") && told.contains(words), "{told}");
    }
    let refused = result.trace.steps.iter().flat_map(|step| &step.calls);
    assert_eq!(refused.filter(|call| call.refused.is_some()).count(), 5);
}

#[tokio::test]
async fn words_alone_are_answered_by_a_nudge() {
    let server = deciding(|at, body| match at {
        0 => say("The documents are d1 and d2."),
        _ => finish(&ids(body)[..3]),
    })
    .await;
    let result = run(&server).await;
    assert_eq!(end(&result), (ResultSource::FinalResults, None));
    let nudge = &server.requests()[1].json()["messages"][3];
    assert_eq!(nudge["role"], "user");
    assert!(nudge["content"].as_str().expect("words").contains("final_results"), "{nudge}");
    assert!(result.trace.steps[0].nudged && !result.trace.steps[1].nudged);
}

#[tokio::test]
async fn a_model_that_never_calls_anything_is_given_up_after_five_answers() {
    let server = deciding(|_, body| match offered(body).len() {
        3 => say("I think it is d1."),
        _ => select(&ids(body)[..3]),
    })
    .await;
    let result = run(&server).await;
    let failure = Some((FailureKind::NoToolCall, 5));
    assert_eq!(end(&result), (ResultSource::SelectionAgent, failure));
}

#[tokio::test]
async fn unknown_functions_and_arguments_that_are_no_json_are_refused_with_what_to_do() {
    let server = deciding(|at, body| match at {
        0 => call("search_web", &json!({"q": "harbor"})),
        1 => raw_call("retrieve", "{\"query\": \"harbor"),
        2 => raw_call("retrieve", "[1, 2]"),
        3 => call("retrieve", &json!({"query": "harbor", "k": 3})),
        4 => raw_call("retrieve", ""),
        _ => finish(&ids(body)[..3]),
    })
    .await;
    let result = run(&server).await;
    assert_eq!(end(&result), (ResultSource::FinalResults, None));
    let sent = server.requests();
    let told = |at: usize| last(&sent[at].json());
    assert!(told(1).contains("retrieve, final_results, think"), "{}", told(1));
    assert!(told(2).contains("could not be parsed: EOF"), "{}", told(2));
    assert!(told(3).contains("could not be parsed: invalid"), "{}", told(3));
    assert!(told(4).contains("unknown field `k`, expected `query` or `top_k`"), "{}", told(4));
    assert!(told(5).contains("missing field `query`"), "{}", told(5));
    // What is no object is not sent again: servers would refuse the conversation for it.
    let again = &sent[2].json()["messages"][4]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(again, "{}");
    assert_eq!(result.trace.steps[1].calls[0].arguments, "{\"query\": \"harbor");
    assert_eq!(result.retrievals(), 1);
}

#[tokio::test]
async fn the_last_end_that_was_refused_is_salvaged() {
    let server = deciding(|at, body| match at {
        0 => retrieve("anchor"),
        1 => finish(&["d1".to_owned(), "nowhere".to_owned()]),
        2 => finish(&["nowhere".to_owned(), ids(body)[4].clone(), ids(body)[4].clone()]),
        _ => say("done"),
    })
    .await;
    let result = run_with(&server, |agent| agent.max_steps(4)).await;
    let failure = Some((FailureKind::MaxSteps, 4));
    assert_eq!(end(&result), (ResultSource::SalvagedResults, failure));
    let shown = ids(&server.requests()[2].json());
    assert_eq!(result.ids[0].to_string(), shown[4]);
    let rest = naive(&result, 60);
    let rest: Vec<&RecordId> = rest.iter().filter(|id| **id != result.ids[0]).take(2).collect();
    assert_eq!(result.ids.iter().skip(1).collect::<Vec<_>>(), rest);
    assert_eq!(result.success, Some(SearchSuccess::Partial));
}

#[tokio::test]
async fn at_the_step_limit_the_model_selects_among_what_was_found() {
    let server = deciding(|_, body| match offered(body).as_slice() {
        [first, _, _] if first == "retrieve" => retrieve("anchor vellum"),
        _ => select(&ids(body)[3..6]),
    })
    .await;
    let result = run_with(&server, |agent| agent.max_steps(2)).await;
    let failure = Some((FailureKind::MaxSteps, 2));
    assert_eq!(end(&result), (ResultSource::SelectionAgent, failure));
    assert_eq!((result.message.as_str(), result.steps()), ("these", 3));
    let sent = server.requests();
    let selection = sent[2].json();
    assert_eq!(offered(&selection), ["think", "log_selected_documents"]);
    let candidates: Vec<String> = naive(&result, 100).iter().map(RecordId::to_string).collect();
    assert_eq!(ids(&selection), candidates);
    assert_eq!(named(&result), candidates[3..6]);
    assert!(result.trace.steps[2].selection);
}

#[tokio::test]
async fn without_a_selection_the_calls_are_fused_by_rank() {
    let server = service(vec![retrieve("anchor vellum"), retrieve("wind harbor")]).await;
    let result = run_with(&server, |agent| agent.max_steps(2).selection(false)).await;
    assert_eq!(end(&result), (ResultSource::Rrf, Some((FailureKind::MaxSteps, 2))));
    assert_eq!(result.ids, naive(&result, 3));
    assert_eq!((server.requests().len(), result.retrievals()), (2, 3));
}

#[tokio::test]
async fn a_selection_that_fails_leaves_the_fusion() {
    let server = deciding(|_, body| match offered(body).as_slice() {
        [first, _, _] if first == "retrieve" => retrieve("anchor"),
        _ => select(&["nowhere".to_owned()]),
    })
    .await;
    let result = run_with(&server, |agent| agent.max_steps(1)).await;
    assert_eq!(end(&result), (ResultSource::Rrf, Some((FailureKind::MaxSteps, 1))));
    assert_eq!(result.ids, naive(&result, 3));
    // One step of the search, ten of the selection.
    assert_eq!((server.requests().len(), result.steps()), (11, 11));
    let selection = result.trace.selection.expect("a selection");
    assert_eq!(selection.failure.expect("a failure").kind, FailureKind::MaxSteps);
}

#[tokio::test]
async fn after_an_overflow_the_selection_is_tried_again_without_the_lowest_quarter() {
    let server = deciding(|at, body| match at {
        0 => retrieve("anchor vellum wind"),
        // The search, then the first selection, are too long.
        1 | 2 => overflow(),
        _ => select(&ids(body)[..3]),
    })
    .await;
    let result = run(&server).await;
    let failure = Some((FailureKind::ContextLimit, 2));
    assert_eq!(end(&result), (ResultSource::SelectionAgent, failure));
    let sent = server.requests();
    let (first, second) = (ids(&sent[2].json()), ids(&sent[3].json()));
    assert_eq!(second.len(), first.len() - first.len() / 4);
    assert_eq!(second, first[..second.len()]);
    assert_eq!(result.trace.selection.expect("a selection").candidates, second.len());

    // Not a third time.
    let server = deciding(|at, _| if at == 0 { retrieve("anchor") } else { overflow() }).await;
    let result = run(&server).await;
    assert_eq!(end(&result), (ResultSource::Rrf, Some((FailureKind::ContextLimit, 2))));
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_service_that_fails_at_a_step_leaves_what_was_found_until_then() {
    let broken = || Turn::Refuse(401, json!({"error": "no"}).to_string());
    let server = service(vec![retrieve("anchor"), retrieve("vellum"), broken()]).await;
    let result = run(&server).await;
    let failure = Some((FailureKind::LlmCallFailed, 3));
    assert_eq!(end(&result), (ResultSource::Rrf, failure));
    assert_eq!(result.ids, naive(&result, 3));
    assert!(result.failure.as_ref().is_some_and(|failure| failure.kind.is_fatal()));
    assert!(result.failure.expect("a failure").message.contains("key"));
    // It cannot be asked for a selection either.
    assert_eq!(server.requests().len(), 3);

    let server = service(vec![broken()]).await;
    let result = run(&server).await;
    let failure = Some((FailureKind::LlmCallFailed, 1));
    assert_eq!(end(&result), (ResultSource::FirstStage, failure));
    let first: Vec<RecordId> = result.trace.retrievals[0].ranking();
    assert_eq!(result.ids, first[..3]);
}

#[tokio::test]
async fn a_content_policy_and_an_answer_that_is_cut_off_end_the_search() {
    for (reason, kind) in [
        ("content_filter", FailureKind::ContentPolicy),
        ("length", FailureKind::BadFinishReason),
        ("eos_limit", FailureKind::BadFinishReason),
    ] {
        let server = deciding(move |at, body| match at {
            0 => retrieve("wind"),
            1 => Turn::Stop(reason.to_owned()),
            _ => select(&ids(body)[..3]),
        })
        .await;
        let result = run(&server).await;
        assert_eq!(end(&result), (ResultSource::SelectionAgent, Some((kind, 2))), "{reason}");
        assert!(result.trace.steps[1].failure.is_some());
    }
}

#[tokio::test]
async fn a_search_that_fails_ends_the_loop_and_the_first_one_ends_the_run() {
    let (_dir, _db, docs) = docs(60);
    let server = deciding(|_, body| match offered(body).len() {
        3 => retrieve("wind"),
        _ => select(&ids(body)[..3]),
    })
    .await;
    let chat = chat(&server);
    let embedder = WordEmbedder::new(Fate::FailAt(1));
    let agent = Agent::new(&docs, &chat).embedder(&embedder).limit(3);
    let result = agent.run(QUERY).await.expect("a result");
    let failure = Some((FailureKind::ToolFailed, 1));
    assert_eq!(end(&result), (ResultSource::SelectionAgent, failure));
    assert!(result.failure.expect("a failure").message.contains("the words ran out"));
    assert_eq!(result.trace.retrievals.len(), 1);

    let broken = WordEmbedder::new(Fate::FailAt(0));
    let failed = Agent::new(&docs, &chat).embedder(&broken).run(QUERY).await;
    assert!(matches!(failed, Err(Error::Model { stage: "embed", .. })), "{failed:?}");
}

#[tokio::test]
async fn where_there_is_little_to_find_all_of_it_is_enough() {
    let (_dir, _db, docs) = docs(2);
    let server = deciding(|_, body| finish(&ids(body))).await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat);
    let result = agent.run("harbor compass").await.expect("a result");
    assert_eq!(end(&result), (ResultSource::FinalResults, None));
    assert_eq!(result.ids.len(), 2);
    let nothing = agent.run("nonsense").await.expect("a result");
    assert_eq!((end(&nothing), nothing.ids.len()), ((ResultSource::FinalResults, None), 0));
}

#[tokio::test]
async fn fewer_documents_are_taken_if_they_may_be_fewer() {
    let server = deciding(|at, body| match at {
        0 => finish(&ids(body)[..4]),
        _ => finish(&ids(body)[..1]),
    })
    .await;
    let result = run_with(&server, |agent| agent.exact(false)).await;
    assert_eq!((end(&result), result.ids.len()), ((ResultSource::FinalResults, None), 1));
    let sent = server.requests();
    assert!(last(&sent[1].json()).contains("at most 3 are wanted"));
}

#[tokio::test]
async fn settings_that_no_run_can_go_by_are_refused_before_anything_is_asked() {
    let (_dir, _db, docs) = docs(5);
    let server = service(vec![]).await;
    let chat = chat(&server);
    let agent = || Agent::new(&docs, &chat);
    for (agent, query) in [
        (agent(), "  "),
        (agent().limit(0), QUERY),
        (agent().max_steps(0), QUERY),
        (agent().top_k(0), QUERY),
        (agent().max_cost(1.0), QUERY),
        (agent().query(|query| query.vector([1.0, 0.0])), QUERY),
    ] {
        let refused = agent.run(query).await;
        assert!(matches!(refused, Err(Error::Query { .. })), "{refused:?}");
    }
    assert_eq!(server.requests().len(), 0);
}
