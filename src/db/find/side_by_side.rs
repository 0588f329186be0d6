//! The lists of a query, those of vectors beside the others: walks need no snapshot, which one
//! thread alone can read, so that they go on in other threads meanwhile.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::dense::Dense;
use super::list::{Given, List, Ranking};
use crate::error::Result;

/// Fewer vectors are searched sooner than another thread wakes up.
const VECTORS_MIN: u64 = 10_000;

/// The rankings of the lists, in their order.
pub(super) fn side_by_side(lists: &[List], given: Given<'_>, depth: usize) -> Result<Vec<Ranking>> {
    let is_large = given.view.manifest.vectors() >= VECTORS_MIN;
    let threads = if lists.len() > 1 && is_large { threads() } else { None };
    let Some(threads) = threads else {
        return lists.iter().map(|list| list.run(given, depth)).collect();
    };
    // The last list stays here if all are of vectors.
    let elsewhere = |at: usize, list: &List| match list {
        List::Dense(_) => at + 1 < lists.len() || lists.iter().any(|list| !is_dense(list)),
        _ => false,
    };
    let mut rankings: Vec<Option<Result<Ranking>>> = lists.iter().map(|_| None).collect();
    let mut fields = Vec::with_capacity(lists.len());
    for list in lists {
        fields.push(match list {
            List::Dense(dense) => dense.place(given)?,
            _ => None,
        });
    }
    let vectors = given.vectors();
    threads.in_place_scope(|scope| {
        let mut here = Vec::with_capacity(lists.len());
        let all = lists.iter().zip(&fields).zip(&mut rankings).enumerate();
        for (at, ((list, field), ranking)) in all {
            match list {
                List::Dense(dense) if elsewhere(at, list) => scope.spawn(move |_| {
                    let run = |depth| Dense::run(dense, vectors, field.as_ref(), depth);
                    *ranking = Some(list.ranked(depth, run));
                }),
                _ => here.push((list, ranking)),
            }
        }
        for (list, ranking) in here {
            *ranking = Some(list.run(given, depth));
        }
    });
    rankings.into_iter().flatten().collect()
}

/// Threads for the lists of queries alone: in the pool that graphs are built in, a query would wait
/// for a build. None on one core, and where no thread can be had.
fn threads() -> Option<&'static ThreadPool> {
    static THREADS: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let start = || {
        let count = std::thread::available_parallelism().ok()?.get();
        let name = |at| format!("portolan-query-{at}");
        let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(name);
        if count < 2 { None } else { pool.build().ok() }
    };
    THREADS.get_or_init(start).as_ref()
}

fn is_dense(list: &List) -> bool {
    matches!(list, List::Dense(_))
}
