//! Spans of queries and ingests: one a stage, with models and sizes, without a word of the texts.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::models::{DIMENSIONS, Fate, OverlapReranker, WordEmbedder};
use super::{empty, records};

/// Everything that is told, as lines of name and fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("portolan")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        let mut lines = self.0.lock().expect("the log");
        lines.push(line.0);
        Id::from_u64(lines.len() as u64)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.0.lock().expect("the log").push(line.0);
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line("event".to_owned());
        event.record(&mut line);
        self.0.lock().expect("the log").push(line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn spans_tell_stages_and_sizes_and_no_text() {
    let log = Log::default();
    let (embedder, reranker) =
        (WordEmbedder::new(Fate::Answer), OverlapReranker::new(Fate::Answer));
    let (_dir, _db, docs) = empty(DIMENSIONS);
    {
        // Two dispatchers: with one alone, a span that another thread meets first is off for all,
        // as that thread has no subscriber.
        let _second = tracing::Dispatch::new(log.clone());
        let _listening = tracing::subscriber::set_default(log.clone());
        docs.ingest(records(20)).embedder(&embedder).run().await.expect("an ingest");
        let query = docs.query("compass wind rose").embedder(&embedder).reranker(&reranker);
        query.run().await.expect("an answer");
    }
    let lines = log.0.lock().expect("the log").clone();
    let begins = |with: &str| lines.iter().filter(|line| line.starts_with(with)).count();
    assert_eq!(begins("ingest collection=\"docs\""), 1, "{lines:?}");
    assert_eq!(begins("embed model=\"test/words\" texts=8 bytes="), 2);
    assert_eq!(begins("embed model=\"test/words\" texts=4 bytes="), 1);
    assert_eq!(begins("commit records="), 3);
    assert_eq!(begins("query collection=\"docs\" limit=10 text_bytes=17"), 1);
    assert_eq!(begins("embed model=\"test/words\" texts=1 bytes=17"), 1);
    assert_eq!(begins("search limit=50 filtered=false"), 1);
    assert_eq!(begins("rerank model=\"test/overlap\" passages=20 bytes="), 1);
    let words = ["compass", "harbor", "rose"];
    assert!(!lines.iter().any(|line| words.iter().any(|word| line.contains(word))), "{lines:?}");
}
