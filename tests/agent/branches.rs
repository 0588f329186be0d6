//! Ways through a run that few runs take: calls that are not run, notes in place of documents, the
//! deepest search, salvage from refused arguments, and searches that are given up.

use std::fs::{self, File};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use portolan::agent::{Agent, Cancel, FailureKind, ResultSource};
use portolan::{Record, RecordId};
use serde_json::{Value, json};

use crate::docs;
use crate::models::{Fate, WordEmbedder};
use crate::script::{
    Turn, call, chat, deciding, finish, first, ids, last, naive, offered, overflow, retrieve, say,
    select, service,
};

const QUERY: &str = "harbor compass rhumb";

/// Several calls in one answer.
fn together(turns: &[Turn]) -> Turn {
    let calls = turns.iter().flat_map(|turn| match turn {
        Turn::Call(calls) => calls.clone(),
        other => panic!("{other:?} is no call"),
    });
    Turn::Call(calls.collect())
}

/// What the functions gave back at the end of a conversation.
fn given_back(messages: &[Value]) -> Vec<&str> {
    let tools = messages.iter().filter(|message| message["role"] == "tool");
    tools.map(|message| message["content"].as_str().expect("words")).collect()
}

#[tokio::test]
async fn calls_behind_an_end_that_was_taken_are_not_run() {
    let (_dir, _db, docs) = docs(60);
    let server = deciding(|_, body| {
        let shown = ids(body);
        let again = finish(&shown[3..6]);
        together(&[retrieve("wind"), finish(&shown[..3]), retrieve("star"), again])
    })
    .await;
    let chat = chat(&server);
    let result = Agent::new(&docs, &chat).limit(3).run(QUERY).await.expect("a result");
    assert_eq!((result.source, result.failure), (ResultSource::FinalResults, None));
    let named: Vec<String> = result.ids.iter().map(RecordId::to_string).collect();
    assert_eq!(named, first(&server.requests()[0].json(), 3));
    let searched = result.trace.retrievals.iter().map(|one| one.query.as_str());
    assert_eq!(searched.collect::<Vec<_>>(), [QUERY, "wind"]);
    // Each call has its answer, as servers want it; those that were not run are not noted.
    let told = given_back(&result.trace.messages);
    assert_eq!(
        told[1..],
        [
            "The results are noted; the search has ended.",
            "not run: the search has ended",
            "not run: the search has ended",
        ]
    );
    let noted = result.trace.steps[0].calls.iter().map(|call| call.name.as_str());
    assert_eq!(noted.collect::<Vec<_>>(), ["retrieve", "final_results"]);
}

#[tokio::test]
async fn of_an_answer_with_many_calls_sixteen_are_run() {
    let (_dir, _db, docs) = docs(60);
    let server = deciding(|at, body| {
        let thought = call("think", &json!({"thought": "hm"}));
        let mut turns = vec![thought; 16];
        turns.extend([finish(&first(body, 3)), retrieve("wind")]);
        if at == 0 { together(&turns) } else { finish(&first(body, 3)) }
    })
    .await;
    let chat = chat(&server);
    let result = Agent::new(&docs, &chat).limit(3).run(QUERY).await.expect("a result");
    assert_eq!((result.steps(), result.retrievals(), result.failure), (2, 1, None));
    let body = server.requests()[1].json();
    let told = given_back(body["messages"].as_array().expect("messages"));
    assert_eq!(told.len(), 18);
    assert!(told[..16].iter().all(|told| *told == "The thought is noted."), "{told:?}");
    assert!(told[16..].iter().all(|told| *told == "not run: at most 16 calls at once are run"));
    assert_eq!(result.trace.steps[0].calls.len(), 16);
}

#[tokio::test]
async fn a_search_that_brings_nothing_says_what_it_is_that_it_does_not_bring() {
    let (_dir, _db, docs) = docs(0);
    docs.upsert(Record::new("a").text("harbor ice")).expect("a record");
    let server = deciding(|at, _| match at {
        0 => retrieve("ice"),
        1 => retrieve("zeppelin"),
        _ => finish(&["a".to_owned()]),
    })
    .await;
    let chat = chat(&server);
    let result = Agent::new(&docs, &chat).run("harbor").await.expect("a result");
    assert_eq!((result.source, result.ids), (ResultSource::FinalResults, vec!["a".into()]));
    let told = |at: usize| {
        let words = last(&server.requests()[at].json());
        let lines = words.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
        lines.collect::<Vec<Value>>()
    };
    let [repeated, nothing_new] = &told(1)[..] else { panic!("{:?}", told(1)) };
    assert_eq!(repeated["note"], "shown in full in an earlier result");
    let note = nothing_new["note"].as_str().expect("a note");
    assert!(note.starts_with("nothing that was not shown before"), "{note}");
    assert_eq!(told(2), [json!({"note": "nothing was found"})]);
    let hits = result.trace.retrievals.iter().map(|one| one.hits.len());
    assert_eq!(hits.collect::<Vec<_>>(), [1, 1, 0]);
}

#[tokio::test]
async fn a_search_looks_no_deeper_than_a_thousand_ranks_unless_so_many_are_wanted() {
    let (_dir, _db, docs) = docs(0);
    let mut batch = docs.batch();
    for at in 0..1_100 {
        batch.upsert(Record::new(at).text("harbor")).expect("a record");
    }
    batch.commit().expect("a commit");
    for (top_k, expected) in [
        (990, [(990, 990), (1_000, 10), (1_000, 0)]),
        (1_050, [(1_050, 1_050), (1_050, 0), (1_050, 0)]),
    ] {
        let server = service(vec![retrieve("harbor"); 2]).await;
        let chat = chat(&server);
        let agent = Agent::new(&docs, &chat).top_k(top_k).max_steps(2).selection(false);
        let result = agent.run("harbor").await.expect("a result");
        let counts = result.trace.retrievals.iter().map(|one| {
            let new = one.hits.iter().filter(|hit| hit.new).count();
            (one.hits.len(), new)
        });
        assert_eq!(counts.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn an_end_whose_arguments_are_refused_is_salvaged_too() {
    let (_dir, _db, docs) = docs(60);
    let server = deciding(|at, body| match at {
        0 => finish(&first(body, 2)),
        1 => {
            let named = json!([ids(body)[4], "nowhere", ids(body)[2], null]);
            call("final_results", &json!({"doc_ids": named, "message": "half", "k": 1}))
        }
        // They name nothing that was shown: the one before stays.
        2 => call("final_results", &json!({"doc_ids": ["nowhere"]})),
        3 => call("final_results", &json!({"search_successful": "true"})),
        _ => say("done"),
    })
    .await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).limit(4).max_steps(5);
    let result = agent.run(QUERY).await.expect("a result");
    assert_eq!(result.source, ResultSource::SalvagedResults);
    assert_eq!((result.message.as_str(), result.success), ("half", None));
    let shown = first(&server.requests()[0].json(), 5);
    let named: Vec<String> = result.ids.iter().map(RecordId::to_string).collect();
    assert_eq!(named[..2], [shown[4].as_str(), &shown[2]]);
    let rest = naive(&result, 60).into_iter().filter(|id| !result.ids[..2].contains(id));
    assert_eq!(result.ids[2..], rest.take(2).collect::<Vec<_>>());
    let told = last(&server.requests()[2].json());
    assert!(told.starts_with("error: final_results was not run: its arguments"), "{told}");
}

#[tokio::test]
async fn words_alone_are_answered_by_a_nudge_in_the_selection_too() {
    let (_dir, _db, docs) = docs(60);
    let server = deciding(|at, body| match at {
        0 => retrieve("wind"),
        1 => say("d1, d2 and d3"),
        _ => select(&first(body, 3)),
    })
    .await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).limit(3).max_steps(1);
    let result = agent.run(QUERY).await.expect("a result");
    assert_eq!((result.source, result.steps()), (ResultSource::SelectionAgent, 3));
    let body = server.requests()[2].json();
    assert_eq!(offered(&body), ["think", "log_selected_documents"]);
    let nudge = last(&body);
    assert!(nudge.contains("Call log_selected_documents with exactly 3 ids"), "{nudge}");
    let nudged = result.trace.steps.iter().map(|step| (step.selection, step.nudged));
    assert_eq!(nudged.collect::<Vec<_>>(), [(false, false), (true, true), (true, false)]);
}

#[tokio::test]
async fn what_was_dropped_for_its_length_is_no_candidate_any_more() {
    let (_dir, _db, docs) = docs(60);
    let dropped = Mutex::new(Vec::new());
    let server = deciding(move |at, body| {
        let mut dropped = dropped.lock().expect("ids");
        match at {
            0 => retrieve("anchor vellum wind"),
            1 => overflow(),
            2 => {
                *dropped = ids(body).pop().into_iter().collect();
                overflow()
            }
            3 => select(&[first(body, 2), dropped.clone()].concat()),
            _ => select(&first(body, 3)),
        }
    })
    .await;
    let chat = chat(&server);
    let result = Agent::new(&docs, &chat).limit(3).run(QUERY).await.expect("a result");
    assert_eq!(result.source, ResultSource::SelectionAgent);
    let sent = server.requests();
    let lowest = ids(&sent[2].json()).pop().expect("a candidate");
    assert!(!ids(&sent[3].json()).contains(&lowest));
    assert_eq!(last(&sent[4].json()), format!("error: {lowest:?} is no candidate"));
    let named: Vec<String> = result.ids.iter().map(RecordId::to_string).collect();
    assert_eq!(named, first(&sent[3].json(), 3));
    let refused = result.trace.steps[3].calls[0].refused.as_deref().expect("a reason");
    assert!(refused.contains("is no candidate"), "{refused}");
}

#[tokio::test]
async fn a_later_search_that_is_not_done_in_time_or_is_cancelled_is_given_up() {
    let (_dir, _db, docs) = docs(60);
    for kind in [FailureKind::TimeLimit, FailureKind::Cancelled] {
        let server = service(vec![retrieve("wind"), retrieve("star")]).await;
        let chat = chat(&server);
        // The question, the first search of the model, and none after that.
        let hanging = WordEmbedder::new(Fate::HangAt(2));
        let cancel = Cancel::new();
        let mut agent = Agent::new(&docs, &chat).embedder(&hanging).cancel(&cancel);
        if kind == FailureKind::TimeLimit {
            agent = agent.deadline(Duration::from_secs(3));
        }
        let mut run = Box::pin(agent.run(QUERY));
        while hanging.calls() < 3 {
            let moment = tokio::time::timeout(Duration::from_millis(1), &mut run).await;
            assert!(moment.is_err(), "it ended");
        }
        if kind == FailureKind::Cancelled {
            cancel.cancel();
        }
        let result = run.await.expect("a result");
        let failure = result.failure.as_ref().expect("a failure");
        assert_eq!((failure.kind, failure.step), (kind, 2));
        // No selection: the model is not asked again.
        assert_eq!((result.source, server.requests().len()), (ResultSource::Rrf, 2));
        assert_eq!((result.retrievals(), result.trace.steps[1].calls[0].retrieval), (2, None));
    }
}

#[tokio::test]
async fn what_killed_programs_left_beside_the_traces_goes_with_the_first_that_is_written() {
    let (dir, _db, docs) = docs(20);
    let traces = dir.path().join("t");
    fs::create_dir(&traces).expect("a folder");
    let left = |name: &str, age: Duration| {
        let file = File::create(traces.join(name)).expect("a file");
        file.set_modified(SystemTime::now() - age).expect("a time");
    };
    let day = Duration::from_secs(24 * 60 * 60);
    left(".trace-7-0.tmp", 2 * day);
    left(".trace-7-1.tmp", Duration::ZERO);
    let server = deciding(|_, body| finish(&first(body, 3))).await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).limit(3).traces(&traces);
    agent.run("harbor").await.expect("a result");
    assert!(!traces.join(".trace-7-0.tmp").exists());
    // That may be another program's, which is at work.
    assert!(traces.join(".trace-7-1.tmp").exists());
}
