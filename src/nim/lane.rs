//! The way of many requests: some in flight at once, sizes that shrink as a server asks, results
//! in order. Shared by the clones of a model handle. Layer: above `batch` and `transport`.
//!
//! A refusal for size lowers the limit for good. A timeout lowers it until requests are answered
//! again: the server may still be busy with the request that was given up, so it is never sent in
//! halves within the same call.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::batch::{BatchPlan, Limits};
use super::error::NimError;
use super::input::Size;
use super::reply::{Failure, Oversize, TooLarge};
use super::transport::Tally;

/// Most requests in flight at the hosted catalog, unless set: it serves about 40 a minute.
pub(super) const HOSTED_WIDTH: usize = 4;
/// Most requests in flight elsewhere, unless set.
pub(super) const LOCAL_WIDTH: usize = 8;
/// Requests answered in a row after which a limit lowered by a timeout is doubled.
const TRUST: u32 = 32;

/// Seats for requests in flight, and the sizes that the server was seen to take.
#[derive(Debug)]
pub(super) struct Lane {
    width: usize,
    seats: Semaphore,
    seen: Mutex<Seen>,
}

/// Upper limits, the largest number where there is none.
#[derive(Debug)]
struct Seen {
    refused_items: usize,
    refused_bytes: usize,
    slow_items: usize,
    slow_chars: usize,
    slow_bytes: usize,
    /// Answers since the last timeout or doubling.
    answers: u32,
}

/// What a failure does to what is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// The call is all or nothing: the first failure, or input that is too long, ends it.
    Discard,
    /// An input that is too long is set aside, the call goes on with the others, and a failure
    /// leaves what was answered before it.
    Keep,
}

/// What ends a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) on_failure: OnFailure,
    /// When the caller gives it up, if what is in flight then counts as too slow.
    pub(super) deadline: Option<Instant>,
}

/// A request in flight. Dropped after the deadline of its call, it counts as one that timed out.
struct InFlight<'l> {
    lane: &'l Lane,
    items: usize,
    size: Size,
    deadline: Option<Instant>,
}

impl InFlight<'_> {
    /// An answer came, whatever it was.
    fn landed(mut self) {
        self.deadline = None;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.lane.timed_out(self.items, self.size);
        }
    }
}

/// The parts of a call by position, in order, and its requests.
#[derive(Debug)]
pub(super) struct Parts<T> {
    pub(super) parts: Vec<(Range<usize>, T)>,
    /// Positions of inputs that were set aside, in order, each with its error.
    pub(super) refused: Vec<(usize, NimError)>,
    /// What ended a call that keeps what is finished before all inputs were answered or refused.
    pub(super) failure: Option<NimError>,
    pub(super) tally: Tally,
}

/// A call under way.
struct Work<T> {
    plan: BatchPlan,
    ending: Ending,
    /// Requests in flight.
    flying: usize,
    parts: Vec<(Range<usize>, T)>,
    refused: Vec<(usize, NimError)>,
    tally: Tally,
}

impl<T> Work<T> {
    fn is_done(&self) -> bool {
        self.flying == 0 && self.plan.is_empty()
    }

    fn take_off<'l>(
        &mut self,
        lane: &'l Lane,
        limits: &Limits,
    ) -> Option<(Range<usize>, InFlight<'l>)> {
        let range = self.plan.next_range(limits)?;
        self.flying = self.flying.saturating_add(1);
        let (items, size) = (range.len(), self.plan.size(&range));
        Some((range, InFlight { lane, items, size, deadline: self.ending.deadline }))
    }

    /// Sets an input aside, or fails where that ends the call.
    fn refuse(&mut self, place: usize, error: NimError) -> Result<(), NimError> {
        if self.ending.on_failure == OnFailure::Discard {
            return Err(error);
        }
        self.refused.push((place, error));
        Ok(())
    }
}

impl Lane {
    pub(super) fn new(width: usize) -> Self {
        let width = width.clamp(1, Semaphore::MAX_PERMITS);
        let seen = Seen {
            refused_items: usize::MAX,
            refused_bytes: usize::MAX,
            slow_items: usize::MAX,
            slow_chars: usize::MAX,
            slow_bytes: usize::MAX,
            answers: 0,
        };
        Self { width, seats: Semaphore::new(width), seen: Mutex::new(seen) }
    }

    /// Sends inputs of these sizes in as many requests as `limits` and the server ask for. The
    /// first failure ends all others, and so does dropping the future; `ending` tells what it
    /// leaves. `name` gives an input the position under which the caller knows it. What `send`
    /// brings is read by `read` once its seat is free and the next request is on its way: the
    /// server works while answers are read.
    pub(super) async fn run<A, T, F, S>(
        &self,
        sizes: Vec<Size>,
        limits: Limits,
        name: impl Fn(usize) -> usize + Sync,
        send: F,
        read: impl Fn(&Range<usize>, A) -> Result<T, Failure> + Sync,
        ending: Ending,
    ) -> Result<Parts<T>, NimError>
    where
        A: Send,
        T: Send,
        F: Fn(Range<usize>) -> S + Sync,
        S: Future<Output = (Result<A, Failure>, Tally)> + Send,
    {
        let plan = BatchPlan::new(sizes);
        let workers = plan.requests(&self.lowered(&limits));
        // One more than seats: who reads an answer has none.
        let workers = workers.min(self.width.saturating_add(1));
        let (parts, refused, tally) = (Vec::new(), Vec::new(), Tally::default());
        let work = Mutex::new(Work { plan, ending, flying: 0, parts, refused, tally });
        let worker = || self.worker(&work, &limits, &name, (&send, &read));
        let ended = if workers <= 1 {
            worker().await
        } else {
            let workers = (0..workers).map(|_| Box::pin(worker()) as Worker<'_>).collect();
            // Workers that wait for a seat of other calls must not keep a call that is done.
            all(workers, || locked(&work).is_done()).await
        };
        let failure = match (ended, ending.on_failure) {
            (Err(error), OnFailure::Discard) => return Err(error),
            (ended, _) => ended.err(),
        };
        let Work { mut parts, mut refused, tally, .. } =
            work.into_inner().unwrap_or_else(PoisonError::into_inner);
        parts.sort_by_key(|(range, _)| range.start);
        refused.sort_by_key(|(place, _)| *place);
        Ok(Parts { parts, refused, failure, tally })
    }

    /// Takes one request after the other from the plan.
    async fn worker<A, T, F, S>(
        &self,
        work: &Mutex<Work<T>>,
        limits: &Limits,
        name: &(impl Fn(usize) -> usize + Sync),
        (send, read): (&F, &(impl Fn(&Range<usize>, A) -> Result<T, Failure> + Sync)),
    ) -> Result<(), NimError>
    where
        A: Send,
        T: Send,
        F: Fn(Range<usize>) -> S + Sync,
        S: Future<Output = (Result<A, Failure>, Tally)> + Send,
    {
        loop {
            // Not after the last request: the seats may all be taken by other calls.
            if locked(work).is_done() {
                return Ok(());
            }
            // The plan is asked once there is a seat, so that it knows the latest limits.
            let seat = self.seats.acquire().await;
            let Some((range, flight)) = locked(work).take_off(self, &self.lowered(limits)) else {
                return Ok(());
            };
            let (sent, tally) = send(range.clone()).await;
            flight.landed();
            if sent.is_ok() {
                drop(seat);
                let more = !locked(work).plan.is_empty();
                if more {
                    // Once for the worker that takes the seat, once for the connection that it
                    // gives a request to.
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
            }
            let sent = sent.and_then(|answer| read(&range, answer));
            let mut work = locked(work);
            work.flying = work.flying.saturating_sub(1);
            work.tally.add(tally);
            match sent {
                Ok(part) => {
                    self.answered();
                    work.parts.push((range, part));
                }
                Err(Failure::TooLarge(large)) => self.shrink(&mut work, range, large, name)?,
                Err(Failure::Other(mut error)) => {
                    if let NimError::BadRequest(reply) = &mut error {
                        let named = reply.input.filter(|at| *at < range.len());
                        reply.input = named.map(|at| name(range.start.saturating_add(at)));
                    }
                    if matches!(error, NimError::Timeout { .. }) {
                        self.timed_out(range.len(), work.plan.size(&range));
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Plans the parts of a refused request, or refuses the one input that is to blame.
    fn shrink<T>(
        &self,
        work: &mut Work<T>,
        range: Range<usize>,
        large: TooLarge,
        name: &impl Fn(usize) -> usize,
    ) -> Result<(), NimError> {
        let TooLarge { cause, input, reply } = large;
        if let (Oversize::Tokens, Some(input)) = (cause, input.filter(|at| *at < range.len())) {
            let place = range.start.saturating_add(input);
            let error = NimError::InputTooLong { index: name(place), reply };
            // Of the last request the caller sends the others again in one, not in two parts.
            if work.is_done() {
                return Err(error);
            }
            work.refuse(place, error)?;
            work.plan.without(&range, place);
            return Ok(());
        }
        if !work.plan.split(&range) {
            let index = name(range.start);
            return match cause {
                Oversize::Count => Err(NimError::BadRequest(reply)),
                _ => work.refuse(range.start, NimError::InputTooLong { index, reply }),
            };
        }
        let mut seen = locked(&self.seen);
        match cause {
            Oversize::Body => {
                seen.refused_bytes = seen.refused_bytes.min(work.plan.size(&range).bytes / 2);
            }
            Oversize::Count => seen.refused_items = seen.refused_items.min(range.len() / 2),
            Oversize::Tokens => {}
        }
        Ok(())
    }

    fn lowered(&self, limits: &Limits) -> Limits {
        let seen = locked(&self.seen);
        Limits {
            items: limits.items.min(seen.refused_items).min(seen.slow_items),
            chars: limits.chars.min(seen.slow_chars),
            bytes: limits.bytes.min(seen.refused_bytes).min(seen.slow_bytes),
            ..*limits
        }
    }

    fn timed_out(&self, items: usize, size: Size) {
        // A single input cannot be sent in parts, so its time says nothing about batches.
        if items < 2 {
            return;
        }
        let mut seen = locked(&self.seen);
        seen.slow_items = seen.slow_items.min(items / 2);
        seen.slow_chars = seen.slow_chars.min(size.chars.div_ceil(2));
        seen.slow_bytes = seen.slow_bytes.min(size.bytes.div_ceil(2));
        seen.answers = 0;
    }

    fn answered(&self) {
        let mut seen = locked(&self.seen);
        seen.answers = seen.answers.saturating_add(1);
        if seen.answers >= TRUST {
            seen.slow_items = seen.slow_items.saturating_mul(2);
            seen.slow_chars = seen.slow_chars.saturating_mul(2);
            seen.slow_bytes = seen.slow_bytes.saturating_mul(2);
            seen.answers = 0;
        }
    }
}

type Worker<'a> = Pin<Box<dyn Future<Output = Result<(), NimError>> + Send + 'a>>;

/// Waits until the work is done, or for the first worker that fails. Each wake polls all: they are
/// few.
async fn all(mut workers: Vec<Worker<'_>>, is_done: impl Fn() -> bool) -> Result<(), NimError> {
    poll_fn(|context| {
        let mut at = 0;
        while let Some(worker) = workers.get_mut(at) {
            match worker.as_mut().poll(context) {
                Poll::Ready(Ok(())) => drop(workers.swap_remove(at)),
                Poll::Ready(failed) => return Poll::Ready(failed),
                Poll::Pending => at += 1,
            }
        }
        if workers.is_empty() || is_done() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// A panic of another thread between two whole statements leaves nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nim::error::Reply;

    const LIMITS: Limits = Limits { items: 100, chars: 1000, tokens: 1000, bytes: 1000, images: 4 };

    #[tokio::test]
    async fn the_next_request_goes_before_an_answer_is_read() {
        let log = Mutex::new(Vec::new());
        let send = |range: Range<usize>| {
            locked(&log).push(("send", range.start));
            async { (Ok(()), Tally::default()) }
        };
        let read = |range: &Range<usize>, ()| {
            locked(&log).push(("read", range.start));
            Ok(range.start)
        };
        let limits = Limits { items: 1, ..LIMITS };
        let sizes = vec![Size { chars: 1, tokens: 1, bytes: 1, images: 0 }; 5];
        let lane = Lane::new(1);
        let ending = Ending { on_failure: OnFailure::Discard, deadline: None };
        let done = lane.run(sizes, limits, |place| place, send, read, ending).await;
        let parts: Vec<usize> = done.expect("parts").parts.into_iter().map(|(_, at)| at).collect();
        assert_eq!(parts, [0, 1, 2, 3, 4]);
        let log = locked(&log);
        let place = |what, at| log.iter().position(|seen| *seen == (what, at));
        for at in 0..4 {
            assert!(place("send", at + 1) < place("read", at), "{log:?}");
        }
    }

    /// Refuses four inputs for their size, takes the first two of them, and fails at the others.
    async fn halves(range: Range<usize>) -> (Result<(), Failure>, Tally) {
        let (url, message, raw) = Default::default();
        let (request_id, code, input) = (None, None, None);
        let reply = Box::new(Reply { status: 400, url, request_id, message, code, input, raw });
        let sent = match (range.start, range.len()) {
            (0, 4) => {
                Err(Failure::TooLarge(TooLarge { cause: Oversize::Tokens, input: None, reply }))
            }
            (0, _) => Ok(()),
            _ => Err(Failure::Other(NimError::DeadlineExceeded)),
        };
        (sent, Tally::default())
    }

    #[tokio::test]
    async fn what_was_answered_before_a_failure_is_kept_where_that_is_asked_for() {
        let lane = Lane::new(1);
        let read = |range: &Range<usize>, ()| Ok(range.start);
        let sizes = vec![Size { chars: 1, tokens: 1, bytes: 1, images: 0 }; 4];
        let keep = Ending { on_failure: OnFailure::Keep, deadline: None };
        let kept = lane.run(sizes.clone(), LIMITS, |place| place, halves, read, keep).await;
        let kept = kept.expect("what is kept");
        assert_eq!(kept.parts, [(0..2, 0)]);
        assert_eq!(kept.failure, Some(NimError::DeadlineExceeded));
        let discard = Ending { on_failure: OnFailure::Discard, deadline: None };
        let failed = lane.run(sizes, LIMITS, |place| place, halves, read, discard).await;
        assert_eq!(failed.err(), Some(NimError::DeadlineExceeded));
    }

    #[tokio::test]
    async fn a_request_that_the_deadline_of_its_call_ends_counts_as_timed_out() {
        let sizes = vec![Size { chars: 1, tokens: 1, bytes: 1, images: 0 }; 40];
        for (deadline, lowered) in [(Some(Instant::now()), 20), (None, LIMITS.items)] {
            let lane = Lane::new(1);
            let send = |_| std::future::pending::<(Result<(), Failure>, Tally)>();
            let ending = Ending { on_failure: OnFailure::Discard, deadline };
            let run = lane.run(sizes.clone(), LIMITS, |at| at, send, |_, ()| Ok(()), ending);
            // Dropped, be it for the deadline or because the caller wants nothing more.
            let ended = tokio::time::timeout(std::time::Duration::from_millis(1), run).await;
            assert!(ended.is_err());
            assert_eq!(lane.lowered(&LIMITS).items, lowered);
        }
    }

    #[test]
    fn a_timeout_lowers_the_limits_until_enough_requests_are_answered() {
        let lane = Lane::new(0);
        assert_eq!((lane.width, lane.lowered(&LIMITS)), (1, LIMITS));
        lane.timed_out(1, Size { chars: 900, tokens: 9, bytes: 900, images: 0 });
        assert_eq!(lane.lowered(&LIMITS), LIMITS);
        lane.timed_out(40, Size { chars: 801, tokens: 9, bytes: 900, images: 0 });
        let slow = Limits { items: 20, chars: 401, bytes: 450, ..LIMITS };
        assert_eq!(lane.lowered(&LIMITS), slow);
        (0..TRUST - 1).for_each(|_| lane.answered());
        assert_eq!(lane.lowered(&LIMITS), slow);
        lane.answered();
        let doubled = Limits { items: 40, chars: 802, bytes: 900, ..LIMITS };
        assert_eq!(lane.lowered(&LIMITS), doubled);
        (0..99 * TRUST).for_each(|_| lane.answered());
        assert_eq!(lane.lowered(&LIMITS), LIMITS);
    }
}
