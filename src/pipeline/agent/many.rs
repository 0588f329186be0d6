//! Several runs at once, no more than so many, over one collection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::{Agent, AgentQuery, AgentResult};
use crate::error::Result;

type Running<'r> = Pin<Box<dyn Future<Output = Result<AgentResult>> + Send + 'r>>;

impl Agent<'_> {
    /// Runs queries, at most `parallel` of them at once, and gives their results in the order of
    /// the queries. They share the collection, its models and their limits of requests; each
    /// result is as if it had run alone. `ended` is told of each as it ends, with its place.
    ///
    /// All of it is polled by the one future, so that dropping it ends them all; searches run on
    /// blocking threads.
    pub async fn run_many<Q: Into<AgentQuery>>(
        &self,
        queries: impl IntoIterator<Item = Q>,
        parallel: usize,
        mut ended: impl FnMut(usize, &Result<AgentResult>),
    ) -> Vec<Result<AgentResult>> {
        let mut waiting = queries.into_iter().map(Into::into).enumerate();
        let mut running: Vec<(usize, Running<'_>)> = Vec::new();
        let mut results: Vec<Option<Result<AgentResult>>> = Vec::new();
        loop {
            while running.len() < parallel.max(1) {
                let Some((at, query)) = waiting.next() else { break };
                running.push((at, Box::pin(self.run(query))));
                results.push(None);
            }
            if running.is_empty() {
                break;
            }
            let (at, result) = first(&mut running).await;
            ended(at, &result);
            if let Some(place) = results.get_mut(at) {
                *place = Some(result);
            }
        }
        results.into_iter().flatten().collect()
    }
}

/// The first that ends, which is taken out.
async fn first(running: &mut Vec<(usize, Running<'_>)>) -> (usize, Result<AgentResult>) {
    poll_fn(|context| {
        for place in 0..running.len() {
            let Some((at, run)) = running.get_mut(place) else { break };
            if let Poll::Ready(result) = run.as_mut().poll(context) {
                let at = *at;
                drop(running.swap_remove(place));
                return Poll::Ready((at, result));
            }
        }
        Poll::Pending
    })
    .await
}
