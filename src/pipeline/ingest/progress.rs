//! How far an ingest is, and what it did. Plain data.

use std::time::Duration;

use crate::pipeline::cost::Cost;
use crate::record::RecordId;

/// How far an ingest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestProgress {
    /// Records read.
    pub read: usize,
    /// Records whose text was embedded and committed.
    pub embedded: usize,
    /// Records that were stored already with the same text, metadata and a vector.
    pub unchanged: usize,
    /// Records whose metadata changed; their vector was kept.
    pub updated: usize,
    /// Records committed without a vector, because they have no text.
    pub without_text: usize,
    /// Records that came with a vector of their own.
    pub with_vector: usize,
    /// Records whose text is stored and whose vector is still to come.
    pub pending: usize,
    /// Records that were set aside because they, their text or its vector were refused.
    pub rejected: usize,
    /// Documents whose chunks are all stored, those that were so before included. Of documents the
    /// other counts are of their chunks.
    pub documents: usize,
    /// Batches that wait before they are sent again, since a call has failed with all tries of its
    /// own: the model is out of order, late, or wants fewer requests. Waits within a call, between
    /// its tries or for a limit of requests a minute, are not counted. The listener is told as soon
    /// as this changes.
    pub waiting: usize,
    /// Chunks that were removed because their document has no such chunk any more.
    pub removed: usize,
    /// Records there are to be read, if the iterator knows.
    pub total: Option<usize>,
    /// Time since the ingest began.
    pub elapsed: Duration,
}

impl IngestProgress {
    /// Records that need nothing more.
    #[must_use]
    pub fn done(&self) -> usize {
        let stored = self.embedded + self.unchanged + self.updated;
        stored + self.without_text + self.with_vector + self.rejected
    }

    /// Records embedded per second so far.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.embedded as f64 / seconds } else { 0.0 }
    }

    /// Time that the rest takes at this rate, if all of it must be embedded; none while the total
    /// or the rate is unknown.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let rest = self.total?.saturating_sub(self.done());
        let seconds = rest as f64 / self.rate();
        if rest == 0 { Some(Duration::ZERO) } else { Duration::try_from_secs_f64(seconds).ok() }
    }

    /// Adds counts, not times.
    pub(super) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.embedded += other.embedded;
        self.unchanged += other.unchanged;
        self.updated += other.updated;
        self.without_text += other.without_text;
        self.with_vector += other.with_vector;
        self.pending += other.pending;
        self.rejected += other.rejected;
        self.documents += other.documents;
        self.removed += other.removed;
    }
}

/// A record that was set aside, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// The record.
    pub id: RecordId,
    /// What was refused, in words.
    pub reason: String,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct IngestReport {
    /// The counts at the end.
    pub progress: IngestProgress,
    /// The first 1,000 records that were set aside; `progress` counts all, and
    /// [`Ingest::on_reject`](crate::Ingest::on_reject) is told of each.
    pub rejected: Vec<Rejected>,
    /// Under [`Ingest::pending`](crate::Ingest::pending): why the model gave no more vectors.
    /// The texts are stored then, and wait.
    pub model_failure: Option<String>,
    /// Texts that are probably longer than the model reads: their ends do not count. Cut them into
    /// chunks ([`Ingest::split`](crate::Ingest::split)).
    pub likely_truncated: usize,
    /// Records that got the vector of a record of an earlier call with the same text. Texts and
    /// vectors of 16 MiB are remembered; those of one call are held against each other by
    /// [`Nim`](crate::nim::Nim), and not counted.
    pub repeated: usize,
    /// The model that answered, if it names itself otherwise than it was asked for.
    pub served_model: Option<String>,
    /// What the calls of the model took.
    pub cost: Cost,
    /// Wall time.
    pub took: Duration,
    /// Time of it during which the model had work.
    pub embedding: Duration,
}
