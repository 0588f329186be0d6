//! `portolan embed-pending`: vectors for the documents that were stored without.

use portolan::{IngestProgress, Maintenance};
use serde::Serialize;

use crate::args::EmbedPendingArgs;
use crate::failure::{Failure, Result, in_commands};
use crate::models::{self, runtime};
use crate::open;
use crate::output::Output;
use crate::progress::{Progress, maintain};
use crate::rejects::Rejects;
use crate::timing::seconds;

#[derive(Serialize)]
struct Embedded {
    embedded: usize,
    rejected: usize,
    pending: u64,
    requests: u64,
    retries: u64,
    tokens: Option<u64>,
    took_s: f64,
}

/// Embeds what is pending and indexes it.
pub fn run(args: &EmbedPendingArgs, out: &Output) -> Result<()> {
    let embedder = models::required(&args.embed, args.batch_size)?;
    if !args.db.exists() {
        return Err(Failure::new(format!("{} does not exist", args.db.display())));
    }
    let db = open::write(&args.db, Maintenance::default())?;
    let collection = db.collection(&args.collection)?;
    let embedder = models::suited(embedder, &args.embed, &collection)?;
    let count = usize::try_from(collection.pending_count()?).unwrap_or(usize::MAX);
    let (progress, mut rejects) =
        (Progress::new("embedding", count), Rejects::new(args.rejects.as_deref())?);
    let told = |at: IngestProgress| {
        progress.waits(at.waiting > 0);
        progress.at(at.embedded + at.rejected);
    };
    let ingest = collection.embed_pending().embedder(&embedder);
    let ingest = ingest.batch_size(embedder.texts_per_request()).in_flight(args.in_flight);
    let ingest = ingest.progress(told).on_reject(|one| rejects.add(one));
    let report = runtime()?.block_on(ingest.run())?;
    drop(progress);
    maintain(&collection, |maintain| maintain)?;
    if let Some(reason) = &report.model_failure {
        let failure = Failure::new(in_commands(reason));
        return Err(failure.hint("what was committed stays: run the same command again to go on"));
    }
    let done = Embedded {
        embedded: report.progress.embedded,
        rejected: report.progress.rejected,
        pending: collection.pending_count()?,
        requests: report.cost.requests,
        retries: report.cost.retries,
        tokens: report.cost.tokens,
        took_s: seconds(report.took),
    };
    out.result(&done, |done| {
        format!(
            "embedded {} documents in {:.1} s, {} are still pending",
            done.embedded, done.took_s, done.pending
        )
    })?;
    rejects.finish(&report)
}
