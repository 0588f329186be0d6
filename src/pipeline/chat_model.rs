//! What a chat model must do to drive a retrieval agent: answer a conversation with words or tool
//! calls. The NIM client does; any server of OpenAI's form is the same client with another URL.

use std::borrow::Cow;
use std::time::Instant;

use super::stage::{BoxFuture, StageError};
use crate::nim::{CallOptions, Chat, ChatAnswer, ChatRequest, NimError};

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
        match self {
            Self::ContextOverflow(error) | Self::ContentPolicy(error) | Self::Other(error) => {
                error.fmt(f)
            }
        }
    }
}

impl std::error::Error for ChatFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ContextOverflow(error) | Self::ContentPolicy(error) | Self::Other(error) => {
                error.source()
            }
        }
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
            let options = CallOptions::new();
            let options = deadline.map_or(options, |at| options.deadline(at));
            self.complete_with(request, options).await.map_err(failed)
        })
    }

    fn cache_key(&self) -> Cow<'_, str> {
        Cow::Owned(self.settings_key())
    }
}

fn failed(error: NimError) -> ChatFailure {
    let retryable = error.is_retryable();
    let sort = match error {
        NimError::ContextOverflow(_) => ChatFailure::ContextOverflow,
        NimError::ContentPolicy(_) => ChatFailure::ContentPolicy,
        _ => ChatFailure::Other,
    };
    sort(StageError::new(error).retryable(retryable))
}
