//! A streamed answer: deltas as they come, the whole at the end. Layer: above `pieces` and
//! `transport`.

use std::collections::VecDeque;
use std::fmt;

use serde_json::Value;

use super::answer::ChatAnswer;
use super::pieces::{ChatDelta, Pieces};
use super::redaction::Redaction;
use super::refusal::chat_error;
use super::{Chat, clean};
use crate::nim::client::CallOptions;
use crate::nim::error::NimError;
use crate::nim::exchange::Incoming;
use crate::nim::fault::ResponseFault;
use crate::nim::meter::CallCost;
use crate::nim::reply::Failure;
use crate::nim::target::Target;
use crate::nim::transport::invalid;

/// What closes a stream.
const DONE: &[u8] = b"[DONE]";

/// An answer that is still coming. Dropping it closes the connection.
///
/// ```no_run
/// use portolan::nim::{ChatDelta, Message, Nim};
///
/// # async fn example() -> Result<(), portolan::nim::NimError> {
/// let chat = Nim::from_env()?.chat("nvidia/llama-3.3-nemotron-super-49b-v1.5");
/// let mut stream = chat.stream(&[Message::user("Where do two roads meet?")]).await?;
/// while let Some(delta) = stream.next().await? {
///     if let ChatDelta::Text(text) = delta {
///         print!("{text}");
///     }
/// }
/// let answer = stream.finish().await?;
/// println!("\n{:?}", answer.usage);
/// # Ok(())
/// # }
/// ```
pub struct ChatStream {
    chat: Chat,
    target: Target,
    options: CallOptions,
    request_id: Option<String>,
    /// None once the stream has ended or failed.
    incoming: Option<Box<Incoming>>,
    pieces: Pieces,
    deltas: VecDeque<ChatDelta>,
    redaction: Redaction,
    /// The answer of a server that does not stream.
    whole: Option<ChatAnswer>,
    failed: bool,
    pub(super) cost: CallCost,
}

impl ChatStream {
    pub(super) fn new(
        chat: Chat,
        target: Target,
        options: CallOptions,
        incoming: Option<Box<Incoming>>,
    ) -> Self {
        Self {
            chat,
            target,
            options,
            request_id: incoming.as_ref().and_then(|stream| stream.request_id.clone()),
            incoming,
            pieces: Pieces::default(),
            deltas: VecDeque::new(),
            redaction: Redaction::default(),
            whole: None,
            failed: false,
            cost: CallCost::default(),
        }
    }

    /// The next step; none when the answer is complete. May be dropped and called again: nothing
    /// of the stream is lost.
    ///
    /// # Errors
    ///
    /// [`NimError::AnswerFailed`] (or a more telling kind) for an error object in the stream,
    /// [`NimError::Timeout`] when nothing comes for the timeout of one try,
    /// [`NimError::InvalidResponse`] for what is no stream of chunks and for one that ends without
    /// its end mark, [`NimError::DeadlineExceeded`], and those of the connection. Each is final.
    pub async fn next(&mut self) -> Result<Option<ChatDelta>, NimError> {
        loop {
            let (has_ended, secrets) =
                (self.incoming.is_none(), &self.chat.nim.transport().secrets);
            if let Some(delta) = self.redaction.next(&mut self.deltas, has_ended, secrets) {
                return Ok(Some(delta));
            }
            if self.failed {
                return Err(self.wrong(ResponseFault::StreamEnded));
            }
            let Some(incoming) = self.incoming.as_mut() else {
                return Ok(None);
            };
            let transport = self.chat.nim.transport();
            let event = transport.next_event(&self.target, incoming, &mut self.cost);
            let event = self.options.bound(event).await;
            let taken = match event {
                Ok(Some(event)) => self.take(&event),
                Ok(None) => Err(self.wrong(ResponseFault::StreamEnded)),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                self.incoming = None;
                self.failed = true;
                self.deltas.clear();
                self.redaction = Redaction::default();
                return Err(error);
            }
        }
    }

    /// Reads what is left and gives the whole answer, with what [`next`](Self::next) has given.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`ResponseFault::ToolCall`] for a call without a name.
    pub async fn finish(mut self) -> Result<ChatAnswer, NimError> {
        while self.next().await?.is_some() {}
        self.whole()
    }

    /// The whole answer of a stream that has ended.
    pub(crate) fn whole(self) -> Result<ChatAnswer, NimError> {
        if let Some(answer) = self.whole {
            return Ok(answer);
        }
        let answer = self.pieces.answer().map_err(|what| self.wrong(what))?;
        Ok(clean(&self.chat, answer, self.pieces.model.as_deref(), self.cost))
    }

    /// What the call has cost so far.
    #[must_use]
    pub fn cost(&self) -> CallCost {
        self.cost
    }

    pub(super) fn take(&mut self, event: &[u8]) -> Result<(), NimError> {
        if event.trim_ascii() == DONE {
            self.incoming = None;
            self.deltas.extend(self.pieces.rest());
            return Ok(());
        }
        match serde_json::from_slice::<Value>(event) {
            Ok(chunk) => self.take_chunk(event, &chunk),
            // Servers that leave out the empty lines between events.
            Err(_) if event.contains(&b'\n') => {
                let mut lines = event.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.try_for_each(|line| self.take(line))
            }
            Err(error) => {
                let transport = self.chat.nim.transport();
                let detail = transport.presentable(&error.to_string(), 512);
                Err(self.wrong(ResponseFault::Json { detail }))
            }
        }
    }

    /// Makes steps of an answer that came whole.
    pub(super) fn take_whole(&mut self, answer: ChatAnswer) {
        let reasoning = answer.reasoning.clone().map(ChatDelta::Reasoning);
        let content = Some(answer.content.clone()).filter(|content| !content.is_empty());
        self.deltas.extend(reasoning.into_iter().chain(content.map(ChatDelta::Text)));
        let calls = answer.tool_calls.iter().enumerate();
        self.deltas.extend(calls.map(|(index, call)| ChatDelta::ToolCall {
            index,
            id: Some(call.id.clone()),
            name: Some(call.name.clone()),
            arguments: call.arguments.clone(),
        }));
        self.deltas.push_back(ChatDelta::Finished(answer.finish.clone()));
        self.deltas.extend(answer.usage.map(ChatDelta::Usage));
        self.whole = Some(answer);
    }

    fn failure_in(&self, event: &[u8], chunk: &Value) -> Option<Failure> {
        let request_id = self.request_id.as_deref();
        self.chat.nim.transport().failure_in(&self.target, event, chunk, request_id)
    }

    pub(super) fn wrong(&self, what: ResponseFault) -> NimError {
        invalid(&self.target, what).of_request(self.request_id.as_deref())
    }

    fn take_chunk(&mut self, event: &[u8], chunk: &Value) -> Result<(), NimError> {
        if let Some(failure) = self.failure_in(event, chunk) {
            return Err(chat_error(failure));
        }
        let taken = self.pieces.take(chunk, &mut self.deltas);
        taken.map_err(|what| self.wrong(what))
    }
}

impl fmt::Debug for ChatStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStream")
            .field("chat", &self.chat)
            .field("open", &self.incoming.is_some())
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
