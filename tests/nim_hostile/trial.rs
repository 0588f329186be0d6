//! One misbehavior against one call, and what must hold of every such meeting.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use portolan::nim::{
    CallOptions, Input, InputType, Message, Nim, NimBuilder, NimError, RetryPolicy,
};
use tokio::task::JoinSet;

use crate::server::{Act, Hostile, answer};

pub const KEY: &str = "nvapi-canary-0123456789";
/// No call of this suite may take longer, whatever the machine is busy with.
const GUARD: Duration = Duration::from_secs(60);
/// Deadline of a call that should end for another reason.
const DEADLINE: Duration = Duration::from_secs(45);
/// How long after a timer for the same instant a call may end at its deadline. The timer is as late
/// as the machine is busy.
const LATE: Duration = Duration::from_secs(1);
/// Read beyond a cap before it is noticed: one buffer of the connection.
const SLACK: u64 = 1 << 20;

/// The calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Embed,
    Rank,
    Chat,
    Stream,
}

pub const ALL: [Call; 4] = [Call::Embed, Call::Rank, Call::Chat, Call::Stream];

impl Call {
    /// A right answer.
    pub fn good(self) -> Vec<u8> {
        let body = match self {
            Self::Embed => {
                r#"{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}]}"#
            }
            Self::Rank => r#"{"rankings":[{"index":1,"logit":2.5},{"index":0,"logit":-1}]}"#,
            Self::Chat => r#"{"choices":[{"message":{"content":"good"}}]}"#,
            Self::Stream => {
                return answer(
                    200,
                    "content-type: text/event-stream\r\n",
                    "data: {\"choices\":[{\"delta\":{\"content\":\"good\"}}]}\n\ndata: [DONE]\n\n",
                );
            }
        };
        answer(200, "", body)
    }

    /// Most bytes of an answer.
    fn cap(self) -> u64 {
        match self {
            Self::Embed => 1 << 20,
            Self::Rank => 4 << 20,
            Self::Chat | Self::Stream => 16 << 20,
        }
    }

    /// Makes the call; a success is the kind `good`, and its content is checked.
    pub async fn make(self, nim: &Nim, options: CallOptions) -> Result<(), NimError> {
        let messages = [Message::user("u")];
        match self {
            Self::Embed => {
                let model = nim.embedder("m").dimensions(Some(2));
                let inputs = [Input::Text("a"), Input::Text("b")];
                let found = model.embed_inputs(&inputs, InputType::Passage, options).await?;
                assert_eq!(found.vectors, [[1.0, 2.0], [3.0, 4.0]]);
            }
            Self::Rank => {
                let found = nim.reranker("m").rank_with("q", &["a", "b"], options).await?;
                let order: Vec<_> = found.scores.iter().map(|at| (at.index, at.logit)).collect();
                assert_eq!(order, [(1, 2.5), (0, -1.0)]);
            }
            Self::Chat => {
                let answer = nim.chat("m").complete_with(&messages, options).await?;
                assert_eq!(answer.content, "good");
            }
            Self::Stream => {
                let stream = nim.chat("m").stream_with(&messages, options).await?;
                assert_eq!(stream.finish().await?.content, "good");
            }
        }
        Ok(())
    }
}

/// A misbehavior and the kinds of ends it may have; `good` is the right result.
pub struct Trial {
    pub name: String,
    pub call: Call,
    pub acts: Vec<Act>,
    pub kinds: &'static [&'static str],
    /// Bound of one try.
    pub patience: Duration,
    /// When the whole call must have ended.
    pub deadline: Duration,
    /// How long the client must have waited between its tries, if that is known.
    pub paused: Option<RangeInclusive<Duration>>,
    pub set: fn(NimBuilder, u16) -> NimBuilder,
}

impl Trial {
    pub fn new(name: &str, call: Call, acts: Vec<Act>, kinds: &'static [&'static str]) -> Self {
        let name = name.to_owned();
        Self {
            name,
            call,
            acts,
            kinds,
            patience: GUARD,
            deadline: DEADLINE,
            paused: None,
            set: |builder, _| builder,
        }
    }

    /// For misbehaviors that only time can end.
    pub fn impatient(mut self) -> Self {
        self.patience = Duration::from_millis(500);
        self
    }

    /// For misbehaviors that only the deadline ends.
    pub fn hurried(mut self) -> Self {
        self.deadline = Duration::from_millis(500);
        self
    }

    /// For waits that the server asks for.
    pub fn paused(mut self, least: Duration, most: Duration) -> Self {
        self.paused = Some(least..=most);
        self
    }

    pub fn set(mut self, set: fn(NimBuilder, u16) -> NimBuilder) -> Self {
        self.set = set;
        self
    }

    async fn run(self) {
        let Self { name, call, acts, kinds, patience, deadline, paused, set } = self;
        let server = Hostile::start(acts).await;
        let builder = Nim::builder()
            .base_url(format!("http://127.0.0.1:{}", server.port))
            .api_key(KEY)
            .attempt_timeout(patience)
            .retry(RetryPolicy::new().tries(3).base(Duration::ZERO));
        let nim = set(builder, server.port).build().expect("a client");
        let begin = Instant::now();
        let options = CallOptions::new().deadline(begin + deadline);
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until((begin + deadline).into()).await;
            begin.elapsed()
        });
        let end = tokio::time::timeout(GUARD + GUARD, call.make(&nim, options)).await;
        let end = end.unwrap_or_else(|_| panic!("{name}, {call:?}: no end"));
        let took = begin.elapsed();
        if took > deadline {
            let due = timer.await.expect("a timer");
            assert!(took < due + LATE, "{name}, {call:?}: ended after {took:?}, due {due:?}");
        } else {
            timer.abort();
        }
        let kind = end.as_ref().err().map_or("good", NimError::kind);
        assert!(kinds.contains(&kind), "{name}, {call:?}: {kind}, {end:?}");
        if let Err(error) = &end {
            let raw = error.reply().map(|reply| reply.raw.clone());
            let shown = format!("{error} {error:?} {raw:?} {nim:?}");
            assert!(!shown.contains("canary"), "{name}, {call:?}: {shown}");
            assert!(shown.len() < 64 << 10, "{name}, {call:?}: {} bytes", shown.len());
        }
        let cost = nim.meter().cost;
        if let Some(paused) = paused {
            assert!(paused.contains(&cost.paused), "{name}, {call:?}: {cost:?}");
        }
        assert!(cost.requests <= 3 || kind == "timeout", "{name}, {call:?}: {cost:?}");
        let most = u64::from(cost.requests.max(1)) * (call.cap() + SLACK);
        assert!(cost.bytes_received <= most, "{name}, {call:?}: {cost:?}");
    }
}

/// Runs all side by side: those that wait for time do so together.
pub async fn run(trials: Vec<Trial>) {
    let mut tasks = JoinSet::new();
    for trial in trials {
        tasks.spawn(trial.run());
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(failed) = done {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}
