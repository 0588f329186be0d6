//! What a query excludes: it takes no place of other passages, and no reranker reads it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use portolan::agent::{Agent, AgentQuery};
use portolan::{
    BoxFuture, Candidate, Filter, RankedPassage, Record, RecordId, RecordReranker, Rerank,
    Reranked, StageError,
};

use crate::docs;
use crate::models::{Fate, OverlapReranker};
use crate::script::{chat, deciding, finish, first, offered, retrieve, service};

#[tokio::test]
async fn an_excluded_document_of_many_chunks_leaves_its_places_to_others() {
    let (_dir, _db, docs) = docs(0);
    let excluded = [RecordId::from("atlas"), RecordId::from(7)];
    let chunk = |text: String| Record::new("").text(text);
    let mut batch = docs.batch();
    for document in &excluded {
        let chunks = (0..30).map(|at| chunk(format!("harbor {at}")));
        batch.replace_document(document, chunks).expect("chunks");
    }
    for at in 0..12 {
        let text = format!("harbor of the old town with its piers and cranes, sheet {at}");
        batch.replace_document(format!("sheet {at}"), [chunk(text)]).expect("a chunk");
    }
    batch.commit().expect("a commit");
    // What is excluded matches best.
    let plain = docs.query("harbor").limit(60).run().await.expect("hits");
    let begins = |id: &RecordId| ["atlas#", "7#"].iter().any(|own| id.to_string().starts_with(own));
    assert!(plain.hits.len() == 60 && plain.hits.iter().all(|hit| begins(&hit.id)));

    let server = service(vec![retrieve("harbor")]).await;
    let chat = chat(&server);
    let agent = Agent::new(&docs, &chat).documents_by("document").limit(5).top_k(5);
    let agent = agent.max_steps(1).selection(false);
    let query = AgentQuery::new("harbor").exclude(&excluded);
    let result = agent.run(query).await.expect("a result");
    let new = result.trace.retrievals.iter().map(|one| one.hits.iter().filter(|hit| hit.new));
    assert_eq!(new.map(Iterator::count).collect::<Vec<_>>(), [5, 5]);
    let hits = result.trace.retrievals.iter().flat_map(|one| &one.hits);
    let documents: BTreeSet<RecordId> = hits.map(|hit| hit.id()).collect();
    assert_eq!(documents.len(), 10);
    assert!(excluded.iter().all(|id| !documents.contains(id)), "{documents:?}");
    // Where documents are not told by the field, the ids are those of records.
    let agent = Agent::new(&docs, &chat).limit(70).max_steps(1).selection(false);
    let query = AgentQuery::new("harbor").exclude(["atlas#0", "atlas"]);
    let result = agent.run(query).await.expect("a result");
    let hits = result.trace.retrievals[0].ranking();
    assert_eq!((hits.len(), hits.contains(&"atlas#0".into())), (70, false));
    assert!(hits.contains(&"atlas#1".into()));
}

/// Leaves records as they are, and notes what it read of them.
#[derive(Default)]
struct Reading(Mutex<BTreeSet<String>>);

impl RecordReranker for Reading {
    fn name(&self) -> &str {
        "reading"
    }

    fn rank<'a>(
        &'a self,
        _query: &'a str,
        candidates: &'a [Candidate<'a>],
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>> {
        let texts = candidates.iter().map(|candidate| candidate.text.to_owned());
        self.0.lock().expect("the log").extend(texts);
        let ranking = (0..candidates.len()).map(|index| RankedPassage { index, score: 0.5 });
        let ranking = Reranked::new(ranking.collect());
        Box::pin(std::future::ready(Ok(ranking)))
    }
}

#[tokio::test]
async fn no_reranker_reads_what_is_excluded_whatever_filter_the_application_sets() {
    let (_dir, _db, docs) = docs(0);
    let text = |at: u32| format!("harbor {at}");
    let mut batch = docs.batch();
    for at in 0..20 {
        let record = Record::new(format!("d{at}")).text(text(at));
        let lang = if at % 2 == 0 { "it" } else { "en" };
        batch.upsert(record.field("lang", lang)).expect("a record");
    }
    batch.commit().expect("a commit");
    let server = deciding(|_, body| match body["messages"].as_array().map_or(0, Vec::len) {
        2 if offered(body).len() == 3 => retrieve("harbor"),
        _ => finish(&first(body, 3)),
    })
    .await;
    let chat = chat(&server);
    type SetUp = for<'a> fn(Agent<'a>) -> Agent<'a>;
    let set_ups: [(SetUp, u32); 3] = [
        (|agent| agent, 1),
        (|agent| agent.filter(Filter::eq("lang", "it")), 2),
        (|agent| agent.query(|query| query.find(|find| find.filter(Filter::eq("lang", "it")))), 2),
    ];
    for (set_up, step) in set_ups {
        let read = Arc::new(Mutex::new(BTreeSet::new()));
        let log = read.clone();
        let texts = OverlapReranker::answering(Fate::Answer, move |_, passages| {
            let own = passages.iter().map(|text| (*text).to_owned());
            log.lock().expect("the log").extend(own);
            (0..passages.len()).map(|index| RankedPassage { index, score: 0.5 }).collect()
        });
        let records = Reading::default();
        let agent = Agent::new(&docs, &chat).limit(3).reranker(&texts);
        let agent = set_up(agent.query(|query| query.rerank(Rerank::records(&records))));
        let query = AgentQuery::new("harbor").exclude(["d0", "d1", "d2", "d3"]);
        let result = agent.run(query).await.expect("a result");
        assert_eq!((result.retrievals(), result.failure), (2, None));
        let expected: BTreeSet<String> = (4..20).step_by(step as usize).map(text).collect();
        assert_eq!(*read.lock().expect("the log"), expected);
        assert_eq!(*records.0.lock().expect("the log"), expected);
    }
}
