//! What a run has learned of its model: how many texts it takes in its time, and whether it is
//! worth waiting for. Shared by the batches of a run.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::turns::{Turn, Turns};
use crate::pipeline::stage::StageError;

/// Waits in a row after which a call is given up, if `OUTAGE` has passed as well.
const WAITS_MAX: u32 = 8;
/// Calls of a single text in a row, of any batch, that came to no answer in time, after which the
/// service is given up, if `OUTAGE` has passed as well.
const SILENT_MAX: u32 = 8;
/// Time without any answer of the run after which a service is given up: what `WAITS_MAX` waits
/// take that the service did not ask for. Waits for a circuit to close are short, and many.
const OUTAGE: Duration = Duration::from_secs(120);
/// The first wait, and the longest of those that double. After a call that came to no answer in
/// time the model may still be at work on what was given up.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The longest wait that a service can ask for.
const ASKED_MAX: Duration = Duration::from_secs(120);
/// Answers in a row after which more texts are tried at once.
const RISE_AFTER: usize = 8;

/// What a run has learned of its model.
#[derive(Debug)]
pub(super) struct Learned {
    /// The most texts that it takes in its time.
    texts: AtomicUsize,
    /// What it began with.
    most: usize,
    /// Answers since that was changed.
    streak: AtomicUsize,
    /// Answers of the run.
    answered: AtomicU64,
    /// When the last of them came, and the last call that came to none in time ended.
    last: Mutex<Last>,
    /// Calls of a single text that came to no answer, since the last that did.
    silent: AtomicU32,
    /// Batches that wait.
    waiting: AtomicUsize,
    turns: Turns,
    is_given_up: AtomicBool,
    given_up: Notify,
    /// A text that was answered, the first.
    known: OnceLock<String>,
    /// Why the last call failed that was sent, since the last answer.
    failure: Mutex<Option<StageError>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Last {
    answer: Option<Instant>,
    late: Option<Instant>,
}

impl Learned {
    /// Nothing yet, of a model that is sent at most so many texts in a call, in so many calls at
    /// once.
    pub(super) fn new(most: usize, calls: usize) -> Self {
        let (most, turns) = (most.max(1), Turns::new(calls));
        let (streak, answered, last, silent, waiting) = Default::default();
        let (is_given_up, given_up, known, failure) = Default::default();
        let texts = AtomicUsize::new(most);
        Self {
            texts,
            most,
            streak,
            answered,
            last,
            silent,
            waiting,
            turns,
            is_given_up,
            given_up,
            known,
            failure,
        }
    }

    /// Waits until a call may begin.
    pub(super) async fn turn(&self) -> Turn<'_> {
        self.turns.take().await
    }

    /// How many texts a call may have.
    pub(super) fn ceiling(&self) -> usize {
        self.texts.load(Ordering::Relaxed)
    }

    /// How many calls were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// That is a text that the model has answered before, if none is known.
    pub(super) fn knows(&self, text: Option<String>) {
        if let Some(text) = text {
            self.known.get_or_init(|| text);
        }
    }

    /// A text that the model has answered before.
    pub(super) fn known(&self) -> Option<String> {
        self.known.get().cloned()
    }

    /// A call was answered, with this text among others: after some of them, there are more at once
    /// and with more texts again.
    pub(super) fn answer(&self, text: Option<&str>) {
        if self.known.get().is_none() {
            self.knows(text.map(str::to_owned));
        }
        self.refused();
        self.answered.fetch_add(1, Ordering::Relaxed);
        let texts = self.ceiling();
        let is_less = texts < self.most || self.turns.is_narrowed();
        if is_less && self.streak.fetch_add(1, Ordering::Relaxed) + 1 >= RISE_AFTER {
            self.streak.store(0, Ordering::Relaxed);
            let more = texts.saturating_mul(2).min(self.most);
            // Unless it was lowered meanwhile.
            let order = Ordering::Relaxed;
            let _ = self.texts.compare_exchange(texts, more, order, order);
            self.turns.widen();
        }
    }

    /// Whether it is worth waiting once more, after so many waits in a row of a batch that has met
    /// failures since then. What another batch was answered meanwhile counts as well, and so does a
    /// call that came to no answer in time: the next has fewer texts.
    /// Without a number of waits the time alone counts.
    pub(super) fn may_come_back(&self, waits: Option<u32>, since: Instant) -> bool {
        let last = *self.last();
        let Some(seen) = last.answer.max(last.late) else { return false };
        let is_early = waits.is_some_and(|waits| waits < WAITS_MAX);
        !self.is_given_up() && (is_early || seen.max(since).elapsed() < OUTAGE)
    }

    /// Calls of a single text in a row that came to no answer.
    pub(super) fn silent(&self) -> u32 {
        self.silent.load(Ordering::Relaxed)
    }

    /// Whether the service answers nothing, not even single texts, for a batch that has met
    /// failures since then.
    pub(super) fn is_silent(&self, since: Instant) -> bool {
        let last = self.last().answer.map_or(since, |answer| answer.max(since));
        self.is_given_up() || self.silent() >= SILENT_MAX && last.elapsed() >= OUTAGE
    }

    /// A text was refused, or answered: the service is there.
    pub(super) fn refused(&self) {
        *self.failure() = None;
        self.silent.store(0, Ordering::Relaxed);
        self.last().answer = Some(Instant::now());
    }

    /// A call failed, and will be made again.
    pub(super) fn failed(&self, error: StageError) {
        if !error.is_unsent() {
            *self.failure() = Some(error);
        }
    }

    /// The service is given up after this error: what waits for it need not. The error that tells
    /// why: that of the last call that was sent, since why a service was left alone is why it is
    /// given up. None if another batch has told it.
    pub(super) fn give_up(&self, error: StageError) -> Option<StageError> {
        let is_told = self.is_given_up.swap(true, Ordering::Relaxed);
        self.given_up.notify_waiters();
        if !error.is_unsent() {
            return Some(error);
        }
        self.failure().take().or_else(|| (!is_told).then_some(error))
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<StageError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many batches wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits, as one of the batches that do, unless the service is given up.
    pub(super) async fn pause(&self, time: Duration) {
        struct Counted<'a>(&'a AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.waiting);
        if !self.is_given_up() {
            let _ = tokio::time::timeout(time, self.given_up.notified()).await;
        }
    }

    /// A call with so many texts came to no answer in time: later calls have half of them, and half
    /// as many are under way at once.
    pub(super) fn late(&self, texts: usize, turn: &Turn<'_>) {
        self.streak.store(0, Ordering::Relaxed);
        turn.late();
        self.texts.fetch_min((texts / 2).max(1), Ordering::Relaxed);
        self.unanswered(texts);
    }

    /// A call with so many texts came to no answer in time.
    pub(super) fn unanswered(&self, texts: usize) {
        self.silent.fetch_add(u32::from(texts == 1), Ordering::Relaxed);
        self.last().late = Some(Instant::now());
    }
}

/// How long to wait after so many waits in a row, if the service did not say.
pub(super) fn wait(before: u32, asked: Option<Duration>) -> Duration {
    let own = WAITS.0.saturating_mul(1 << before.min(16)).min(WAITS.1);
    asked.filter(|asked| !asked.is_zero()).map_or(own, |asked| asked.min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_ceiling_falls_at_once_and_rises_after_answers_to_where_it_began() {
        let learned = Learned::new(50, 1);
        let turn = learned.turn().await;
        learned.late(50, &turn);
        assert_eq!(learned.ceiling(), 25);
        learned.late(3, &turn);
        learned.late(1, &turn);
        assert_eq!(learned.ceiling(), 1);
        let mut seen = vec![learned.ceiling()];
        for _ in 0..7 * RISE_AFTER {
            learned.answer(None);
            seen.push(learned.ceiling());
        }
        seen.dedup();
        assert_eq!(seen, [1, 2, 4, 8, 16, 32, 50]);
        assert_eq!(learned.answered(), 7 * RISE_AFTER as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_is_given_up_after_waits_and_time_without_an_answer_of_any_batch() {
        let learned = Learned::new(8, 4);
        let since = Instant::now();
        assert!(!learned.may_come_back(Some(0), since));
        learned.answer(None);
        assert!(learned.may_come_back(Some(WAITS_MAX), since));
        tokio::time::advance(OUTAGE).await;
        assert!(learned.may_come_back(Some(WAITS_MAX - 1), since));
        assert!(!learned.may_come_back(Some(WAITS_MAX), since));
        learned.answer(None);
        assert!(learned.may_come_back(Some(WAITS_MAX), since));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_waits_is_counted_until_it_has_waited_or_is_dropped() {
        let learned = Learned::new(8, 4);
        let time = Duration::from_secs(9);
        let late = tokio::time::timeout(Duration::from_secs(1), learned.pause(time));
        let seen = async {
            tokio::task::yield_now().await;
            learned.waiting()
        };
        let (late, both, done) = tokio::join!(late, seen, learned.pause(time));
        assert!(late.is_err());
        assert_eq!((both, done, learned.waiting()), (2, (), 0));
    }

    #[test]
    fn waits_double_to_half_a_minute_and_asked_ones_are_bounded() {
        let seconds =
            |before, asked: Option<u64>| wait(before, asked.map(Duration::from_secs)).as_secs();
        let own: Vec<u64> = (0..WAITS_MAX).map(|before| seconds(before, None)).collect();
        assert_eq!(own, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!((seconds(0, Some(7)), seconds(9, Some(3_600))), (7, 120));
        assert_eq!(seconds(0, Some(0)), 1);
        assert_eq!(seconds(u32::MAX, None), 30);
    }
}
