//! The cache of what models said: asked once, kept in the file, bounded, and never in the way.

use std::fs::File;

use portolan::{
    Answer, CacheOptions, Collection, CollectionOptions, Database, DatabaseOptions, Error, Filter,
    Metric, ModelContract, Record, RecordId, Roles, StageOutcome, StorageError, WriterPolicy,
};

use super::models::{DIMENSIONS, Fate, OverlapReranker, WordEmbedder, overlap};
use super::records;

const QUESTION: &str = "compass wind rose";

fn options() -> DatabaseOptions {
    DatabaseOptions::new().initial_map(64 * 1024).cache(CacheOptions::new())
}

/// A database that caches, with records.
async fn filled(options: DatabaseOptions) -> (tempfile::TempDir, Database, Collection) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = options.open(dir.path().join("p.portolan")).expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(DIMENSIONS, Metric::Cosine));
    let docs = docs.expect("a collection");
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.ingest(records(120)).embedder(&embedder).run().await.expect("an ingest");
    (dir, db, docs)
}

struct Models {
    embedder: WordEmbedder,
    reranker: OverlapReranker,
}

impl Models {
    fn new() -> Self {
        let reranker = OverlapReranker::new(Fate::Answer).pointwise();
        Self { embedder: WordEmbedder::new(Fate::Answer), reranker }
    }

    async fn ask(&self, docs: &Collection, question: &str) -> Answer {
        let query = docs.query(question).embedder(&self.embedder).reranker(&self.reranker);
        query.candidates(20).run().await.expect("an answer")
    }

    fn calls(&self) -> (usize, usize) {
        (self.embedder.calls(), self.reranker.calls())
    }
}

fn outcomes(answer: &Answer) -> Vec<&StageOutcome> {
    answer.report.stages.iter().map(|stage| &stage.outcome).collect()
}

const CACHED: [&StageOutcome; 3] =
    [&StageOutcome::Cached, &StageOutcome::Done, &StageOutcome::Cached];

#[tokio::test]
async fn what_was_asked_once_is_not_asked_again() {
    let (dir, db, docs) = filled(options()).await;
    let models = Models::new();
    let first = models.ask(&docs, QUESTION).await;
    assert_eq!(outcomes(&first), [&StageOutcome::Done; 3]);
    let uses = first.report.cache;
    assert!(uses.used && !uses.embedding);
    assert_eq!((uses.rerank_hits, uses.rerank_misses, uses.skipped), (0, 20, 0));
    assert_eq!(db.info().expect("the counts").cache.entries, 0);
    // Found in memory at once, then in the file.
    for written in [false, true] {
        if written {
            assert_eq!(db.write_cache().expect("a commit"), 2);
            assert_eq!(db.write_cache().expect("nothing to do"), 0);
        }
        let again = models.ask(&docs, QUESTION).await;
        assert_eq!((outcomes(&again).as_slice(), models.calls()), (CACHED.as_slice(), (1, 1)));
        assert_eq!(again.hits, first.hits);
        assert_eq!(again.report.cost().requests, 0);
        assert!(again.report.cache.embedding);
        assert_eq!((again.report.cache.rerank_hits, again.report.cache.rerank_misses), (20, 0));
    }
    let info = db.info().expect("the counts").cache;
    assert_eq!(info.entries, 2);
    // 20 passages of 20 bytes, a vector of 64 floats, two questions, keys and seals.
    assert!((650..1_200).contains(&info.bytes), "{}", info.bytes);
    db.verify().expect("an undamaged file");

    // A copy has it, read-only as well; one that was cleared has not.
    let copy = dir.path().join("copy.portolan");
    db.compact_to(&copy).expect("a copy");
    let shipped = options().open_read_only(&copy).expect("the file");
    let docs_of = |db: &Database| db.collection("docs").expect("a collection");
    let again = models.ask(&docs_of(&shipped), QUESTION).await;
    assert_eq!(outcomes(&again), CACHED);
    assert_eq!(again.hits, first.hits);
    models.ask(&docs_of(&shipped), "anchor").await;
    assert_eq!((models.calls(), shipped.write_cache().expect("nothing")), ((2, 2), 0));
    shipped.verify().expect("an undamaged file");
    db.clear_cache().expect("a commit");
    assert_eq!(db.info().expect("the counts").cache.bytes, 0);
    let bare = dir.path().join("bare.portolan");
    db.compact_to(&bare).expect("a copy");
    let bytes = std::fs::read(&bare).expect("the file");
    assert!(!bytes.windows(QUESTION.len()).any(|window| window == QUESTION.as_bytes()));
    let bytes = std::fs::read(&copy).expect("the file");
    assert!(bytes.windows(QUESTION.len()).any(|window| window == QUESTION.as_bytes()));
}

#[tokio::test]
async fn what_waits_is_written_when_the_file_is_closed_and_when_there_is_enough() {
    let (dir, db, docs) = filled(options()).await;
    let models = Models::new();
    models.ask(&docs, QUESTION).await;
    drop((db, docs));
    let path = dir.path().join("p.portolan");
    let db = options().open(&path).expect("the file");
    assert_eq!(db.info().expect("the counts").cache.entries, 2);
    let docs = db.collection("docs").expect("a collection");
    // 64 wait at most for long: the writing is not waited for, but it comes.
    for at in 0..40 {
        models.ask(&docs, &format!("rose {at}")).await;
    }
    while db.info().expect("the counts").cache.entries < 2 + 64 {
        tokio::task::yield_now().await;
    }
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn only_passages_that_are_not_known_are_sent_if_their_scores_compare() {
    for pointwise in [true, false] {
        let (_dir, db, docs) = filled(options()).await;
        let mut models = Models::new();
        if !pointwise {
            models.reranker = OverlapReranker::new(Fate::Answer);
        }
        let few = Filter::lt("number", 12);
        let ask = |filter: Option<Filter>| {
            let query = docs.query(QUESTION).embedder(&models.embedder);
            let query = query.reranker(&models.reranker).candidates(120).limit(120);
            match filter {
                Some(filter) => query.filter(filter),
                None => query,
            }
        };
        ask(Some(few.clone())).run().await.expect("an answer");
        assert_eq!(models.reranker.last().len(), 12);
        db.write_cache().expect("a commit");
        let all = ask(None).run().await.expect("an answer");
        let sent = if pointwise { 108 } else { 120 };
        assert_eq!(models.reranker.last().len(), sent);
        assert_eq!(all.report.cache.rerank_hits, 120 - sent);
        for hit in &all.hits {
            assert_eq!(hit.rerank_score, Some(overlap(QUESTION, hit.text())));
        }
        assert!(all.hits.is_sorted_by(|a, b| a.rerank_score >= b.rerank_score));
        // Now all are known, whichever way.
        db.write_cache().expect("a commit");
        let again = ask(None).run().await.expect("an answer");
        assert_eq!((again.hits, models.reranker.calls()), (all.hits, 2));
        let fewer = ask(Some(few)).run().await.expect("an answer");
        assert_eq!((fewer.report.cache.rerank_hits, models.reranker.calls()), (12, 2));
        db.verify().expect("an undamaged file");
    }
}

#[tokio::test]
async fn a_changed_text_another_model_and_other_roles_are_asked_anew() {
    let (_dir, db, docs) = filled(options()).await;
    let models = Models::new();
    models.ask(&docs, QUESTION).await;
    docs.upsert(Record::new(500).text(QUESTION).vector(super::models::bag_of_words(QUESTION)))
        .expect("a commit");
    let answer = models.ask(&docs, QUESTION).await;
    assert_eq!((answer.report.cache.rerank_hits, answer.report.cache.rerank_misses), (19, 1));
    assert_eq!(answer.hits[0].id, RecordId::from(500));
    // Questions that differ in a space only, and parts that run together, are not confused.
    for other in ["compass wind  rose", "compass wind ros", "test/wordscompass wind rose"] {
        let (embeds, reranks) = models.calls();
        models.ask(&docs, other).await;
        assert_eq!(models.calls(), (embeds + 1, reranks + 1), "{other}");
    }
    db.write_cache().expect("a commit");
    // The same model with other roles, in a collection of its own.
    let roles = Roles::Prefix { query: "q: ".into(), passage: "p: ".into() };
    let contract = ModelContract::new("test/words").roles(roles);
    let shape = CollectionOptions::new(DIMENSIONS, Metric::Cosine).model(contract);
    db.create_collection("other", shape).expect("a collection");
    let calls = models.embedder.calls();
    let other = db.collection("other").expect("a collection");
    let error = other.query(QUESTION).embedder(&models.embedder).run().await.expect_err("roles");
    assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
    let shape = CollectionOptions::new(DIMENSIONS, Metric::L2);
    let same = db.create_collection("same", shape).expect("a collection");
    let answer = same.query(QUESTION).embedder(&models.embedder).run().await.expect("an answer");
    assert_eq!((outcomes(&answer)[0], models.embedder.calls()), (&StageOutcome::Cached, calls));
}

#[tokio::test]
async fn the_cache_is_off_unless_file_or_query_asks_for_it() {
    let (_dir, db, docs) = filled(DatabaseOptions::new()).await;
    let models = Models::new();
    models.ask(&docs, QUESTION).await;
    assert!(!models.ask(&docs, QUESTION).await.report.cache.used);
    assert_eq!((models.calls(), db.write_cache().expect("nothing")), ((2, 2), 0));
    let query = || docs.query(QUESTION).embedder(&models.embedder).cache(true);
    query().run().await.expect("an answer");
    let answer = query().run().await.expect("an answer");
    assert_eq!((outcomes(&answer)[0], models.calls().0), (&StageOutcome::Cached, 3));
    assert_eq!(db.write_cache().expect("a commit"), 1);
    let (_dir, _db, docs) = filled(options()).await;
    for _ in 0..2 {
        let query = docs.query(QUESTION).embedder(&models.embedder).cache(false);
        query.run().await.expect("an answer");
    }
    assert_eq!(models.calls().0, 5);
}

#[tokio::test]
async fn the_oldest_goes_first_and_what_is_asked_for_stays() {
    let bounds = CacheOptions::new().max_entries(20);
    let (_dir, db, docs) = filled(DatabaseOptions::new().cache(bounds)).await;
    let models = Models::new();
    for at in 0..100 {
        models.ask(&docs, &format!("rose {at}")).await;
        models.ask(&docs, QUESTION).await;
        db.write_cache().expect("a commit");
        let info = db.info().expect("the counts").cache;
        assert!(info.entries <= 20, "{info:?}");
    }
    // Asked each time, it never went.
    assert_eq!(models.calls(), (101, 101));
    db.verify().expect("an undamaged file");
    let (embeds, _) = models.calls();
    models.ask(&docs, "rose 99").await;
    assert_eq!(models.calls().0, embeds);
    models.ask(&docs, "rose 3").await;
    assert_eq!(models.calls().0, embeds + 1);

    let bounds = CacheOptions::new().max_bytes(3_000);
    let (_dir, db, docs) = filled(DatabaseOptions::new().cache(bounds)).await;
    for at in 0..30 {
        models.ask(&docs, &format!("rose {at}")).await;
    }
    db.write_cache().expect("a commit");
    let info = db.info().expect("the counts").cache;
    assert!(info.bytes <= 3_000 && info.bytes > 2_000, "{info:?}");
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn another_writer_delays_the_cache_and_no_query() {
    let (dir, db, docs) = filled(options().writer(WriterPolicy::Refuse)).await;
    let models = Models::new();
    let lock = File::open(dir.path().join("p.portolan-writer")).expect("the lock file");
    lock.lock().expect("the lock");
    for at in 0..40 {
        models.ask(&docs, &format!("rose {at}")).await;
    }
    let busy = db.write_cache().expect_err("another writer");
    assert!(matches!(busy, Error::Storage(StorageError::WriterBusy)), "{busy}");
    assert_eq!(db.info().expect("the counts").cache.entries, 0);
    // What waits is found all the same.
    let calls = models.calls();
    let answer = models.ask(&docs, "rose 7").await;
    assert_eq!((models.calls(), answer.report.cache.skipped), (calls, 0));
    lock.unlock().expect("the lock");
    while db.info().expect("the counts").cache.entries < 80 {
        let _ = db.write_cache();
    }
    db.verify().expect("an undamaged file");
}
