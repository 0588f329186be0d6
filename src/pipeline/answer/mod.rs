//! A question answered by a chat model from what a query found, with citations that are checked:
//! passages under a budget of tokens, a prompt, the model's words, whole or as a stream.

mod context;
mod counter;
mod marks;
mod prompt;
mod report;
mod sentences;
mod stream;
mod writing;

use std::time::{Duration, Instant};

use tracing::Instrument;

pub use context::OnOverlong;
pub use prompt::AnswerPrompt;
pub use report::{
    AnswerOutcome, AnswerReport, Citation, CitedAnswer, LeftOut, LeftOutReason, Source,
    UnknownCitation,
};
pub use stream::{AnswerDelta, AnswerStream};

use super::chat_model::ChatModel;
use super::cost::Cost;
use super::query::Query;
use super::query::budget::Until;
use crate::error::{Error, Result};
use crate::nim::{ChatRequest, Message};
use crate::record::Template;
use context::Rules;
use counter::Counter;
use writing::Writing;

/// What becomes of a question for which no passage was found, or none that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnNoPassages {
    /// No model is asked: the answer has no text, and [`CitedAnswer::outcome`] tells why.
    #[default]
    Skip,
    /// The model is asked all the same, and told that there are none.
    Ask,
}

/// A question to a chat model over what a [`Query`] finds. Made by [`Query::answer`].
#[must_use]
pub struct Ask<'q> {
    query: Query<'q>,
    chat: &'q dyn ChatModel,
    rules: Rules,
    prompt: AnswerPrompt,
    reserve: Duration,
    on_no_passages: OnNoPassages,
}

impl<'q> Query<'q> {
    /// Lets a chat model answer from the hits of this query, of which it reads as many as its limit
    /// says and the budget of tokens allows.
    ///
    /// ```
    /// # use std::time::Instant;
    /// # use portolan::nim::{ChatAnswer, ChatRequest};
    /// # use portolan::{BoxFuture, ChatFailure, ChatModel, CollectionOptions, Database, Language};
    /// # use portolan::{Metric, Record, TextIndex};
    /// # struct Model;
    /// # impl ChatModel for Model {
    /// #     fn model(&self) -> &str { "m" }
    /// #     fn chat<'a>(
    /// #         &'a self, _: ChatRequest<'a>, _: Option<Instant>,
    /// #     ) -> BoxFuture<'a, Result<ChatAnswer, ChatFailure>> {
    /// #         let words = "Twice a month [1], at new and at full moon [7].";
    /// #         Box::pin(async move { Ok(ChatAnswer::new(words)) })
    /// #     }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let words = TextIndex::new(Language::English);
    /// # let options = CollectionOptions::new(2, Metric::Cosine).text(words);
    /// # let docs = db.create_collection("docs", options)?;
    /// # let tide = Record::new("t").text("A spring tide comes twice a month.");
    /// # docs.upsert(tide.vector([1.0, 0.0]))?;
    /// # let chat = Model; // nim.chat("nvidia/llama-3.3-nemotron-super-49b-v1.5")
    /// let answer = docs.query("when are spring tides?").limit(8).answer(&chat).run().await?;
    /// assert_eq!(answer.citations[0].id, "t".into());
    /// // A passage 7 was not given, so that this marker is not in the text.
    /// assert_eq!(answer.unknown[0].marker, "[7]");
    /// assert_eq!(answer.text, "Twice a month [1], at new and at full moon.");
    /// # Ok(()) }
    /// ```
    pub fn answer(self, chat: &'q dyn ChatModel) -> Ask<'q> {
        Ask {
            query: self,
            chat,
            rules: Rules::default(),
            prompt: AnswerPrompt::default(),
            reserve: Duration::ZERO,
            on_no_passages: OnNoPassages::default(),
        }
    }
}

impl Ask<'_> {
    /// Most tokens of all passages together, their marks included, by [`counter`](Self::counter).
    /// Question and instructions come on top. Default: 3000.
    pub fn context_tokens(mut self, tokens: usize) -> Self {
        self.rules.budget = tokens;
        self
    }

    /// Counts tokens by the tokenizer of the model. Must grow with the text; it is called with each
    /// passage by itself, some times if it is cut, and with all of them in the end: then the last
    /// ones are left out if they have more tokens together than one by one. Default: the estimate
    /// of [`Chunker::counter`](crate::Chunker::counter), which is high rather than low.
    pub fn counter(mut self, count: impl Fn(&str) -> usize + Send + Sync + 'static) -> Self {
        self.rules.count = Counter::Given(std::sync::Arc::new(count));
        self
    }

    /// What becomes of a passage that does not fit into what is left of the budget.
    pub fn on_overlong(mut self, policy: OnOverlong) -> Self {
        self.rules.on_overlong = policy;
        self
    }

    /// The text that the model reads of a record. Default: title, a space, text; or the text alone;
    /// with the chunks around it if the query has them found
    /// ([`Find::neighbors`](crate::Find::neighbors)).
    pub fn passage(mut self, template: Template) -> Self {
        self.rules.template = Some(template);
        self
    }

    /// What the model is told. Default: to answer from the passages alone and to cite them.
    pub fn prompt(mut self, prompt: AnswerPrompt) -> Self {
        self.prompt = prompt;
        self
    }

    /// The part of the query's deadline that is kept for the model: what was found at the last
    /// moment is worth nothing without the time to read it. Default: none.
    pub fn answer_reserve(mut self, time: Duration) -> Self {
        self.reserve = time;
        self
    }

    /// What becomes of a question for which no passage was found, or none that fits.
    pub fn on_no_passages(mut self, policy: OnNoPassages) -> Self {
        self.on_no_passages = policy;
        self
    }

    /// Runs the query and asks the model, whose answer comes whole. Must be called in a tokio
    /// runtime with time enabled. The future can be dropped at any point: that closes the request
    /// in flight.
    ///
    /// # Errors
    /// [`Error::Query`] with an empty question; those of [`Query::run`]; [`Error::Model`] of stage
    /// `chat` when the model fails, with its error as the source;
    /// [`Error::DeadlineExceeded`] when the deadline of the query is over first.
    pub async fn run(self) -> Result<CitedAnswer> {
        let chat = self.chat;
        let (mut writing, messages) = self.prepared().await?;
        if let Some(messages) = messages {
            let span = writing.span();
            let until = writing.until().clone();
            let asked = chat.chat(ChatRequest::new(&messages), until.at);
            match until.bound(asked).instrument(span).await {
                Some(Ok(answer)) => writing.whole(answer),
                Some(Err(failure)) => return Err(writing.failed(failure)),
                None => return Err(writing.late(Cost::new())),
            }
        }
        Ok(writing.take_answer())
    }

    /// Runs the query and asks the model, whose words come as they are said. Returns when the model
    /// has begun, with the sources known ([`AnswerStream::so_far`]).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn stream(self) -> Result<AnswerStream> {
        let chat = self.chat;
        let (mut writing, messages) = self.prepared().await?;
        let mut steps = None;
        if let Some(messages) = messages {
            let span = writing.span();
            let until = writing.until().clone();
            let asked = chat.stream(ChatRequest::new(&messages), until.at);
            match until.bound(asked).instrument(span).await {
                Some(Ok(begun)) => steps = Some(begun),
                Some(Err(failure)) => return Err(writing.failed(failure)),
                None => return Err(writing.late(Cost::new())),
            }
        }
        Ok(AnswerStream::new(writing, steps))
    }

    /// Everything up to the call of the model; no messages if it is not to be called.
    async fn prepared(self) -> Result<(Writing, Option<Vec<Message>>)> {
        let begin = Instant::now();
        let (question, deadline, meter) = self.query.terms();
        if question.trim().is_empty() {
            return Err(Error::Query { reason: "its text is empty: a model needs a question" });
        }
        let query = match deadline {
            Some(time) => self.query.deadline(time.saturating_sub(self.reserve)),
            None => self.query,
        };
        let found = query.run().await?;
        let context = self.rules.context(&found.hits);
        let outcome = match (context.sources.is_empty(), self.on_no_passages) {
            (false, _) | (true, OnNoPassages::Ask) => AnswerOutcome::Answered,
            _ if context.left_out.iter().any(|of| of.reason == LeftOutReason::Budget) => {
                AnswerOutcome::NothingFits
            }
            _ => AnswerOutcome::NothingFound,
        };
        let messages = (outcome == AnswerOutcome::Answered)
            .then(|| self.prompt.messages(&context.text, &question));
        let count = |message: &Message| match message {
            Message::System(text) | Message::User(text) => self.rules.count.tokens(text),
            _ => 0,
        };
        let report = AnswerReport {
            query: found.report,
            context_budget: self.rules.budget,
            context_tokens: context.tokens,
            prompt_tokens: messages.iter().flatten().map(count).fold(0, usize::saturating_add),
            left_out: context.left_out,
            ..AnswerReport::default()
        };
        let answer =
            CitedAnswer { outcome, sources: context.sources, report, ..CitedAnswer::default() };
        let until = Until::of(begin, deadline);
        Ok((Writing::new(answer, begin, until, meter, self.chat.model()), messages))
    }
}
