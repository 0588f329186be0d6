//! What a chat model must do to write answers and to drive a retrieval agent: answer a conversation
//! with words or tool calls, whole or as a stream. The NIM client does; any server of OpenAI's form
//! is the same client with another URL.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

use super::cost::Cost;
use super::nim::{cost, options};
use super::stage::{BoxFuture, StageError};
use crate::nim::{CallCost, Chat, ChatAnswer, ChatDelta, ChatRequest, ChatStream, NimError};

/// A model that answers conversations and calls tools.
pub trait ChatModel: Send + Sync {
    /// The model's id.
    fn model(&self) -> &str;

    /// The next answer of a conversation. Gives up at the deadline, if there is one.
    ///
    /// The answer goes into the conversation by [`ChatAnswer::message`], then one
    /// [`Message::tool_result`](crate::nim::Message::tool_result) for each of its tool calls.
    fn chat<'a>(
        &'a self,
        request: ChatRequest<'a>,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<ChatAnswer, ChatFailure>>;

    /// What answers depend on besides the conversation: what a model said before is used again
    /// only under an equal key. Default: the model's id; add settings that change the answers, and
    /// no secret.
    fn cache_key(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.model())
    }

    /// As [`chat`](Self::chat), with its steps as they come. Default: asks for the whole answer,
    /// which then comes as one step.
    fn stream<'a>(
        &'a self,
        request: ChatRequest<'a>,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Box<dyn ChatSteps>, ChatFailure>> {
        Box::pin(async move {
            let steps = Whole::new(self.chat(request, deadline).await?);
            Ok(Box::new(steps) as Box<dyn ChatSteps>)
        })
    }
}

/// An answer of a [`ChatModel`] that is still coming. Dropping it gives the answer up.
pub trait ChatSteps: Send {
    /// The next step; none when the answer is complete. Its future may be dropped and called for
    /// again: nothing of the answer is lost.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<ChatDelta>, ChatFailure>>;

    /// The whole answer, once [`next`](Self::next) has given none.
    ///
    /// # Errors
    /// [`ChatFailure`] if nothing can be made of what came.
    fn whole(self: Box<Self>) -> Result<ChatAnswer, ChatFailure>;

    /// What it took so far, for an answer that is given up. Default: nothing is known of it.
    fn spent(&self) -> Cost {
        Cost::new()
    }
}

/// An answer that came whole, as steps.
struct Whole {
    steps: VecDeque<ChatDelta>,
    answer: ChatAnswer,
}

impl Whole {
    fn new(answer: ChatAnswer) -> Self {
        let thoughts = answer.reasoning.clone().map(ChatDelta::Reasoning);
        let words = Some(answer.content.clone()).filter(|words| !words.is_empty());
        let steps = thoughts.into_iter().chain(words.map(ChatDelta::Text));
        let ending = [ChatDelta::Finished(answer.finish.clone())];
        let steps = steps.chain(ending).chain(answer.usage.map(ChatDelta::Usage)).collect();
        Self { steps, answer }
    }
}

impl ChatSteps for Whole {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<ChatDelta>, ChatFailure>> {
        let step = self.steps.pop_front();
        Box::pin(async move { Ok(step) })
    }

    fn whole(self: Box<Self>) -> Result<ChatAnswer, ChatFailure> {
        Ok(self.answer)
    }

    fn spent(&self) -> Cost {
        answered(&self.answer)
    }
}

impl ChatSteps for ChatStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<ChatDelta>, ChatFailure>> {
        Box::pin(async move {
            let next = ChatStream::next(self).await;
            next.map_err(|error| failed(error, self.cost()))
        })
    }

    fn whole(self: Box<Self>) -> Result<ChatAnswer, ChatFailure> {
        let spent = self.cost();
        ChatStream::whole(*self).map_err(|error| failed(error, spent))
    }

    fn spent(&self) -> Cost {
        cost(self.cost(), None)
    }
}

/// Why a chat model did not answer, as far as an agent can act on it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChatFailure {
    /// The conversation is longer than the model's context: shorten it and ask again.
    ContextOverflow(StageError),
    /// A content policy stopped it: the same conversation will be stopped again.
    ContentPolicy(StageError),
    /// Anything else.
    Other(StageError),
}

impl ChatFailure {
    pub(super) fn stage(&self) -> &StageError {
        match self {
            Self::ContextOverflow(error) | Self::ContentPolicy(error) | Self::Other(error) => error,
        }
    }

    /// The model's own error.
    #[must_use]
    pub fn into_stage(self) -> StageError {
        match self {
            Self::ContextOverflow(error) | Self::ContentPolicy(error) | Self::Other(error) => error,
        }
    }
}

impl std::fmt::Display for ChatFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stage().fmt(f)
    }
}

impl std::error::Error for ChatFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.stage().source()
    }
}

impl ChatModel for Chat {
    fn model(&self) -> &str {
        Chat::model(self)
    }

    fn chat<'a>(
        &'a self,
        request: ChatRequest<'a>,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<ChatAnswer, ChatFailure>> {
        Box::pin(async move {
            let mut spent = CallCost::default();
            let answer = self.complete_counted(request, options(deadline), &mut spent).await;
            answer.map_err(|error| failed(error, spent))
        })
    }

    fn stream<'a>(
        &'a self,
        request: ChatRequest<'a>,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Box<dyn ChatSteps>, ChatFailure>> {
        Box::pin(async move {
            let mut spent = CallCost::default();
            let stream = self.stream_counted(request, options(deadline), &mut spent).await;
            let stream = stream.map_err(|error| failed(error, spent))?;
            Ok(Box::new(stream) as Box<dyn ChatSteps>)
        })
    }

    fn cache_key(&self) -> Cow<'_, str> {
        Cow::Owned(self.settings_key())
    }
}

/// What an answer took, with the tokens that were read and written, as far as the server tells.
pub(super) fn answered(answer: &ChatAnswer) -> Cost {
    let usage = answer.usage.unwrap_or_default();
    let sum = || match (usage.prompt_tokens, usage.completion_tokens) {
        (None, None) => None,
        (prompt, completion) => {
            Some(prompt.unwrap_or_default().saturating_add(completion.unwrap_or_default()))
        }
    };
    cost(answer.cost, usage.total_tokens.or_else(sum))
}

fn failed(error: NimError, spent: CallCost) -> ChatFailure {
    let retryable = error.is_retryable();
    let sort = match error {
        NimError::ContextOverflow(_) => ChatFailure::ContextOverflow,
        NimError::ContentPolicy(_) => ChatFailure::ContentPolicy,
        _ => ChatFailure::Other,
    };
    sort(StageError::new(error).retryable(retryable).cost(cost(spent, None)))
}
