//! An answer under way: what the model has said so far, its citations looked up, and what its
//! stage reports.

use std::time::Instant;

use super::marks::{Marks, Part};
use super::report::{Citation, CitedAnswer, UnknownCitation};
use super::stream::AnswerDelta;
use crate::error::Error;
use crate::nim::ChatAnswer;
use crate::pipeline::chat_model::{ChatFailure, answered};
use crate::pipeline::cost::{Cost, CostMeter, Ended};
use crate::pipeline::query::budget::Until;
use crate::pipeline::query::{StageOutcome, StageReport};

pub(super) const CHAT: &str = "chat";

/// One answer under way.
pub(super) struct Writing {
    answer: CitedAnswer,
    marks: Marks,
    /// When the query began.
    begin: Instant,
    /// When the model was called.
    called: Instant,
    until: Until,
    meter: Option<CostMeter>,
    model: String,
}

impl Writing {
    /// To be called right before the model is.
    pub(super) fn new(
        mut answer: CitedAnswer,
        begin: Instant,
        until: Until,
        meter: Option<CostMeter>,
        model: &str,
    ) -> Self {
        answer.report.took = begin.elapsed();
        let marks = Marks::new(answer.sources.len());
        Self { answer, marks, begin, called: Instant::now(), until, meter, model: model.to_owned() }
    }

    pub(super) fn answer(&self) -> &CitedAnswer {
        &self.answer
    }

    pub(super) fn take_answer(&mut self) -> CitedAnswer {
        std::mem::take(&mut self.answer)
    }

    pub(super) fn until(&self) -> &Until {
        &self.until
    }

    pub(super) fn span(&self) -> tracing::Span {
        let (sources, tokens) = (self.answer.sources.len(), self.answer.report.prompt_tokens);
        tracing::debug_span!("chat", model = self.model.as_str(), sources, tokens)
    }

    /// Takes the next words.
    pub(super) fn words(&mut self, piece: &str) -> Vec<AnswerDelta> {
        self.answer.report.first_words.get_or_insert(self.called.elapsed());
        let parts = self.marks.push(piece);
        parts.into_iter().map(|part| self.part(part)).collect()
    }

    /// There are no more words.
    pub(super) fn last_words(&mut self) -> Vec<AnswerDelta> {
        let parts = self.marks.end();
        parts.into_iter().map(|part| self.part(part)).collect()
    }

    fn part(&mut self, part: Part) -> AnswerDelta {
        let at = self.answer.text.len();
        match part {
            Part::Text(text) => {
                self.answer.text.push_str(&text);
                AnswerDelta::Text(text)
            }
            Part::Marker { text: marker, numbers } => {
                self.answer.text.push_str(&marker);
                let span = at..self.answer.text.len();
                let cited = numbers.into_iter().filter_map(|number| {
                    let source = self.answer.sources.get(number.checked_sub(1)?)?;
                    let (id, rank) = (source.id.clone(), source.rank);
                    Some(Citation { span: span.clone(), number, id, rank })
                });
                let citations: Vec<Citation> = cited.collect();
                self.answer.citations.extend(citations.iter().cloned());
                AnswerDelta::Citation { marker, citations }
            }
            Part::Unknown(marker) => {
                let unknown = UnknownCitation { at, marker };
                self.answer.unknown.push(unknown.clone());
                AnswerDelta::Unknown(unknown)
            }
        }
    }

    pub(super) fn thoughts(&mut self, piece: &str) {
        self.answer.reasoning.get_or_insert_default().push_str(piece);
    }

    /// Takes an answer that came whole.
    pub(super) fn whole(&mut self, whole: ChatAnswer) {
        self.words(&whole.content);
        self.last_words();
        self.answer.report.first_words = None;
        self.done(whole);
    }

    /// Notes how the model ended. Its words were taken before.
    pub(super) fn done(&mut self, whole: ChatAnswer) {
        let took = self.called.elapsed();
        let cost = answered(&whole);
        if let Some(meter) = &self.meter {
            meter.note(CHAT, Ended::Done, took, cost);
        }
        tracing::debug!(
            stage = CHAT,
            outcome = "done",
            took_us = took.as_micros() as u64,
            requests = cost.requests,
            retries = cost.retries,
            tokens = cost.tokens,
            "stage ended"
        );
        let model = Some(whole.served_model.unwrap_or_else(|| self.model.clone()));
        let outcome = StageOutcome::Done;
        let stage = StageReport { stage: CHAT, model, outcome, scored: 0, took, cost };
        let report = &mut self.answer.report;
        report.query.stages.push(stage);
        report.usage = whole.usage;
        report.took = self.begin.elapsed();
        self.answer.reasoning = whole.reasoning;
        self.answer.finish = Some(whole.finish);
    }

    /// The error of a model that failed.
    pub(super) fn failed(&mut self, failure: ChatFailure) -> Error {
        let failed = failure.into_stage();
        let spent = failed.spent();
        let error = self.until.failed(CHAT, failed);
        self.ended_by(error, spent)
    }

    /// The error of a model that was too slow, after what it took.
    pub(super) fn late(&mut self, spent: Cost) -> Error {
        let error = self.until.late(CHAT);
        self.ended_by(error, spent)
    }

    /// The application has enough of the answer.
    pub(super) fn left(&self, spent: Cost) {
        if let Some(meter) = &self.meter {
            meter.note(CHAT, Ended::Done, self.called.elapsed(), spent);
        }
    }

    fn ended_by(&mut self, error: Error, spent: Cost) -> Error {
        let took = self.called.elapsed();
        if let Some(meter) = &self.meter {
            meter.note(CHAT, Ended::Failed, took, spent);
        }
        let retryable = error.is_retryable();
        tracing::debug!(stage = CHAT, outcome = "failed", retryable, "stage ended");
        let (model, outcome) = (Some(self.model.clone()), StageOutcome::failed(&error));
        let stage = StageReport { stage: CHAT, model, outcome, scored: 0, took, cost: spent };
        self.answer.report.query.stages.push(stage);
        self.answer.report.took = self.begin.elapsed();
        error
    }
}
