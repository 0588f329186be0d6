//! Spans of queries and ingests: one a stage, with models and sizes, without a word of the texts.

use portolan::{Record, StageError};

use super::models::{DIMENSIONS, Fate, OverlapReranker, WordEmbedder};
use super::scripted::Scripted;
use super::span_log::Log;
use super::{empty, records};

#[tokio::test]
async fn spans_tell_stages_and_sizes_and_no_text() {
    let log = Log::default();
    let (embedder, reranker) =
        (WordEmbedder::new(Fate::Answer), OverlapReranker::new(Fate::Answer));
    let (_dir, _db, docs) = empty(DIMENSIONS);
    {
        let _listening = log.listen();
        docs.ingest(records(20)).embedder(&embedder).run().await.expect("an ingest");
        let query = docs.query("compass wind rose").embedder(&embedder).reranker(&reranker);
        query.run().await.expect("an answer");
    }
    let lines = log.lines();
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

#[tokio::test]
async fn a_record_that_is_set_aside_leaves_none_of_its_text() {
    let log = Log::default();
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let echo = Scripted::new(|_, texts| match texts.iter().any(|text| text.contains("secret")) {
        true => Err(StageError::new(format!("no good: {}", texts.join(" "))).some_input()),
        false => Ok(()),
    });
    let report = {
        let _listening = log.listen();
        let given = [(1, "the secret harbor"), (2, "a lamp"), (3, "a rope")];
        let given = given.map(|(id, text)| Record::new(id).text(text));
        docs.ingest(given).embedder(&echo).run().await.expect("an ingest")
    };
    assert!(report.rejected[0].reason.contains("secret"), "{report:?}");
    let lines = log.lines();
    assert!(lines.iter().any(|line| line.contains("set aside")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("secret")), "{lines:?}");
}
