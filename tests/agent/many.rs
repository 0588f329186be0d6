//! Several runs at once over one collection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use portolan::agent::{Agent, AgentResult, ResultSource};
use portolan::nim::{ChatAnswer, ChatRequest, Message, ToolCall};
use portolan::{BoxFuture, ChatFailure, ChatModel};
use serde_json::{Value, json};

use crate::models::{Fate, WordEmbedder};
use crate::script::{chat, deciding, finish, ids, last, lines, retrieve};
use crate::{WORDS, docs};

/// Follows the words of what it was shown last, three times, then names the first of each search:
/// decided by the conversation alone.
fn policy(body: &Value) -> crate::script::Turn {
    let said = body["messages"].as_array().expect("messages");
    let steps = said.iter().filter(|message| message["role"] == "assistant").count();
    if steps == 3 {
        return finish(&ids(body)[..10]);
    }
    let shown = lines(&json!({"messages": [{"role": "tool", "content": last(body)}]}));
    let text = shown.iter().rev().find_map(|line| line["text"].as_str());
    let words: Vec<&str> = text.unwrap_or("star").split(' ').take(2).collect();
    retrieve(&words.join(" "))
}

fn queries() -> Vec<String> {
    (0..16).map(|at| format!("{} {}", WORDS[at % 12], WORDS[(at * 5 + 2) % 12])).collect()
}

/// All of a result but the time it took.
fn told(result: &portolan::Result<AgentResult>) -> Value {
    let trace = &result.as_ref().expect("a result").trace;
    let searches: Vec<_> = trace.retrievals.iter().map(|one| (&one.query, one.ranking())).collect();
    json!({"outcome": format!("{:?}", trace.outcome.ids), "source": trace.outcome.result_source,
        "messages": trace.messages, "searches": format!("{searches:?}")})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_at_once_find_what_one_after_the_other_finds() {
    let (_dir, _db, docs) = docs(120);
    let server = deciding(|_, body| policy(body)).await;
    let chat = chat(&server);
    let embedder = WordEmbedder::new(Fate::Answer);
    let agent = Agent::new(&docs, &chat).embedder(&embedder);
    let mut alone = Vec::new();
    for query in queries() {
        alone.push(agent.run(query).await);
    }
    let mut order = Vec::new();
    let together = agent.run_many(queries(), 8, |at, _| order.push(at)).await;
    assert_eq!(together.len(), 16);
    assert!(together.iter().flatten().all(|one| one.source == ResultSource::FinalResults));
    let all = |results: &[portolan::Result<AgentResult>]| -> Vec<Value> {
        results.iter().map(told).collect()
    };
    assert_eq!(all(&together), all(&alone));
    order.sort_unstable();
    assert_eq!(order, (0..16).collect::<Vec<_>>());
}

/// Answers when as many as expected are waiting, or will never be.
struct Gate {
    begun: AtomicUsize,
    waiting: AtomicUsize,
    most: AtomicUsize,
    width: usize,
    total: usize,
}

impl ChatModel for Gate {
    fn model(&self) -> &str {
        "test/gate"
    }

    fn chat<'a>(
        &'a self,
        request: ChatRequest<'a>,
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<ChatAnswer, ChatFailure>> {
        Box::pin(async move {
            let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(waiting, Ordering::SeqCst);
            // The first calls wait for each other; so many are at once, or the test hangs.
            let needed = self.width.min(self.total);
            while begun <= needed && self.begun.load(Ordering::SeqCst) < needed {
                tokio::task::yield_now().await;
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let Some(Message::User(shown)) = request.messages().get(1) else { panic!("no user") };
            let first = lines(&json!({"messages": [{"role": "user", "content": shown}]}));
            let id = first[0]["id"].as_str().expect("an id").to_owned();
            let mut answer = ChatAnswer::default();
            let arguments = json!({"doc_ids": [id], "search_successful": "true"});
            answer.tool_calls.push(ToolCall::new("c", "final_results", arguments.to_string()));
            Ok(answer)
        })
    }
}

#[tokio::test]
async fn as_many_run_at_once_as_are_allowed_and_no_more() {
    let (_dir, _db, docs) = docs(60);
    for width in [1, 3, 8] {
        let gate = Gate {
            begun: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            width,
            total: 16,
        };
        let agent = Agent::new(&docs, &gate).limit(1);
        let results = agent.run_many(queries(), width, |_, _| ()).await;
        assert!(results.iter().flatten().all(|one| one.source == ResultSource::FinalResults));
        assert_eq!((results.len(), gate.most.load(Ordering::SeqCst)), (16, width));
    }
}

#[tokio::test]
async fn runs_can_be_spawned_from_an_agent_that_is_shared() {
    let (_dir, _db, docs) = docs(60);
    let server = deciding(|_, body| policy(body)).await;
    let chat: &'static dyn ChatModel = Box::leak(Box::new(chat(&server)));
    let agent = std::sync::Arc::new(Agent::new(&docs, chat));
    let one = std::sync::Arc::clone(&agent);
    let handle = tokio::spawn(async move { one.run("harbor wind").await });
    let here = agent.run("harbor wind").await;
    let there = handle.await.expect("no panic");
    assert_eq!(told(&there), told(&here));
}
