//! An answer as it is said: words and citations as they come, the whole at the end.

use std::collections::VecDeque;
use std::fmt;

use super::report::{Citation, CitedAnswer, UnknownCitation};
use super::writing::Writing;
use crate::error::{Error, Result};
use crate::nim::ChatDelta;
use crate::pipeline::chat_model::ChatSteps;

/// A step of an answer. Texts and markers, put together, are [`CitedAnswer::text`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerDelta {
    /// The next words. What may become a marker is held back until that is settled.
    Text(String),
    /// A marker of passages that the model was given.
    Citation {
        /// As it stands in the text.
        marker: String,
        /// What it cites.
        citations: Vec<Citation>,
    },
    /// A marker of a passage that the model was not given, which is not in the text.
    Unknown(UnknownCitation),
    /// The next words of the model's thoughts.
    Reasoning(String),
}

/// An answer that is still coming. Dropping it closes the connection to the model; what it took
/// until then counts.
///
/// ```no_run
/// use portolan::{AnswerDelta, Collection, nim::Nim};
///
/// # async fn example(docs: Collection) -> Result<(), Box<dyn std::error::Error>> {
/// let nim = Nim::from_env()?;
/// let embedder = nim.embedder("nvidia/llama-nemotron-embed-1b-v2");
/// let chat = nim.chat("nvidia/llama-3.3-nemotron-super-49b-v1.5").max_tokens(1024);
/// let query = docs.query("when are spring tides?").embedder(&embedder).limit(8);
/// let mut stream = query.answer(&chat).stream().await?;
/// while let Some(delta) = stream.next().await? {
///     match delta {
///         AnswerDelta::Text(text) => print!("{text}"),
///         AnswerDelta::Citation { citations, .. } => print!(" ({})", citations[0].id),
///         _ => {}
///     }
/// }
/// let answer = stream.finish().await?;
/// println!("\n{:?}", answer.report.usage);
/// # Ok(()) }
/// ```
#[must_use]
pub struct AnswerStream {
    writing: Writing,
    /// None once the model has ended, or if none was asked.
    steps: Option<Box<dyn ChatSteps>>,
    ready: VecDeque<AnswerDelta>,
    failed: bool,
}

impl AnswerStream {
    pub(super) fn new(writing: Writing, steps: Option<Box<dyn ChatSteps>>) -> Self {
        Self { writing, steps, ready: VecDeque::new(), failed: false }
    }

    /// The next step; none when the answer is complete. May be dropped and called again: nothing of
    /// the answer is lost.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::DeadlineExceeded`] of stage `chat`, when the model fails in
    /// the middle or the deadline of the query is over. Both are final; what came before is in
    /// [`so_far`](Self::so_far).
    pub async fn next(&mut self) -> Result<Option<AnswerDelta>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Ok(Some(delta));
            }
            if self.failed {
                return Err(Error::Query { reason: "its answer has failed before: ask again" });
            }
            let Some(steps) = self.steps.as_mut() else {
                return Ok(None);
            };
            let until = self.writing.until().clone();
            match until.bound(steps.next()).await {
                Some(Ok(Some(delta))) => self.take(delta),
                Some(Ok(None)) => self.end()?,
                Some(Err(failure)) => {
                    let error = self.writing.failed(failure);
                    return Err(self.broken(error));
                }
                None => {
                    let error = self.writing.late(steps.spent());
                    return Err(self.broken(error));
                }
            }
        }
    }

    /// Reads what is left and gives the whole answer, with what [`next`](Self::next) has given.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn finish(mut self) -> Result<CitedAnswer> {
        while self.next().await?.is_some() {}
        Ok(self.writing.take_answer())
    }

    /// What is known so far: the sources from the beginning, the text as far as it was read from
    /// the model, also after a failure. The report is complete only with the answer.
    #[must_use]
    pub fn so_far(&self) -> &CitedAnswer {
        self.writing.answer()
    }

    fn take(&mut self, delta: ChatDelta) {
        match delta {
            ChatDelta::Text(text) => self.ready.extend(self.writing.words(&text)),
            ChatDelta::Reasoning(text) => {
                self.writing.thoughts(&text);
                self.ready.push_back(AnswerDelta::Reasoning(text));
            }
            // No tools are offered; how it ended is in the whole.
            ChatDelta::ToolCall { .. } | ChatDelta::Finished(_) | ChatDelta::Usage(_) => {}
        }
    }

    fn end(&mut self) -> Result<()> {
        self.ready.extend(self.writing.last_words());
        match self.steps.take().map(ChatSteps::whole).transpose() {
            Ok(whole) => {
                whole.into_iter().for_each(|whole| self.writing.done(whole));
                Ok(())
            }
            Err(failure) => {
                let error = self.writing.failed(failure);
                Err(self.broken(error))
            }
        }
    }

    fn broken(&mut self, error: Error) -> Error {
        (self.steps, self.failed) = (None, true);
        self.ready.clear();
        error
    }
}

impl Drop for AnswerStream {
    /// What was read until now is paid.
    fn drop(&mut self) {
        if let Some(steps) = self.steps.take() {
            self.writing.left(steps.spent());
        }
    }
}

impl fmt::Debug for AnswerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerStream")
            .field("open", &self.steps.is_some())
            .field("text_bytes", &self.so_far().text.len())
            .finish_non_exhaustive()
    }
}
