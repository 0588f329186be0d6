//! Several runs at once, no more than so many, over one collection.

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{Agent, AgentQuery, AgentResult};
use crate::error::Result;

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
        // Only those are polled that were woken.
        let mut running = FuturesUnordered::new();
        let mut results: Vec<Option<Result<AgentResult>>> = Vec::new();
        loop {
            while running.len() < parallel.max(1) {
                let Some((at, query)) = waiting.next() else { break };
                running.push(async move { (at, self.run(query).await) });
                results.push(None);
            }
            let Some((at, result)) = running.next().await else { break };
            ended(at, &result);
            if let Some(place) = results.get_mut(at) {
                *place = Some(result);
            }
        }
        results.into_iter().flatten().collect()
    }
}
