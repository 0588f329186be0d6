//! Ingest of documents in chunks: each stored whole or not at all, what is unchanged not embedded
//! again, what is stale removed.

use std::collections::BTreeMap;

use portolan::{Collection, Error, Metadata, Record, RecordId, StageError, Value};

use super::empty;
use super::models::{DIMENSIONS, Fate, WordEmbedder, bag_of_words};
use super::scripted::Scripted;
use crate::common::{Rng, everything};

/// A document of lines.
fn document(id: &str, lines: &[String]) -> Record {
    Record::new(id).text(lines.join("\n")).field("lang", "en")
}

fn lines(document: &Record) -> Vec<Record> {
    let of = |text: &str| {
        let mut chunk = Record::new("").text(text);
        chunk.metadata = document.metadata.clone();
        chunk
    };
    document.text.lines().map(of).collect()
}

type Documents = BTreeMap<String, Vec<String>>;

fn records(documents: &Documents) -> Vec<Record> {
    documents.iter().map(|(id, lines)| document(id, lines)).collect()
}

/// The texts of the chunks that are stored, by document and place.
fn stored(docs: &Collection) -> Documents {
    let mut found = Documents::new();
    for record in everything(docs, 100) {
        let Value::Text(document) = &record.metadata["document"] else { panic!("a text") };
        let texts = found.entry(document.clone()).or_default();
        assert_eq!(record.id, RecordId::from(document.as_str()).chunk(texts.len()));
        assert_eq!(record.metadata["chunk"], Value::Int(texts.len() as i64));
        assert_eq!(record.metadata["lang"], "en".into());
        texts.push(record.text);
    }
    found
}

/// Documents of up to nine lines, so that ids sort as places do.
fn edit(rng: &mut Rng, documents: &mut Documents) {
    for _ in 0..1 + rng.below(4) {
        let id = format!("d{}", rng.below(6));
        let lines = documents.entry(id).or_default();
        match rng.below(3) {
            0 if lines.len() < 9 => {
                let at = rng.below(lines.len() as u64 + 1) as usize;
                lines.insert(at, format!("line {}", rng.below(1000)));
            }
            1 if !lines.is_empty() => drop(lines.remove(rng.below(lines.len() as u64) as usize)),
            _ => *lines = (0..rng.below(10)).map(|at| format!("{at} {}", rng.below(50))).collect(),
        }
    }
}

fn without_empty(documents: &Documents) -> Documents {
    documents
        .iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect()
}

#[tokio::test]
async fn any_edits_leave_the_newest_documents_and_embed_what_is_new_alone() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let (mut rng, mut documents) = (Rng::new(5), Documents::new());
    for _ in 0..60 {
        let before = documents.clone();
        edit(&mut rng, &mut documents);
        let embedder = Scripted::new(|_, _| Ok(()));
        let size = 1 + rng.below(9) as usize;
        let ingest = docs.ingest(records(&documents)).split(lines).embedder(&embedder);
        let ingest = ingest.batch_size(size).in_flight(1 + rng.below(3) as usize);
        let report = ingest.run().await.expect("an ingest");
        assert_eq!(stored(&docs), without_empty(&documents));
        let mut new: Vec<&String> = Vec::new();
        let (mut all, mut stale, mut same) = (0, 0, 0);
        for (id, now) in &documents {
            let old = before.get(id).map_or(&[][..], Vec::as_slice);
            // What only moved keeps its vector.
            new.extend(now.iter().filter(|line| !old.contains(line)));
            same += now.iter().zip(old).filter(|(now, old)| now == old).count();
            all += now.len();
            stale += old.len().saturating_sub(now.len());
        }
        let mut embedded = embedder.embedded.lock().expect("the log").clone();
        embedded.sort();
        new.sort();
        assert_eq!(embedded.iter().collect::<Vec<_>>(), new);
        let progress = report.progress;
        assert_eq!((progress.read, progress.embedded), (all, new.len()));
        assert_eq!((progress.unchanged, progress.removed), (same, stale));
        assert_eq!(progress.updated, all - new.len() - same);
        assert_eq!(progress.documents, documents.len());
    }
    let all = everything(&docs, 100);
    for chunk in &all {
        let (found, given) = (chunk.vector.as_ref().expect("a vector"), bag_of_words(&chunk.text));
        let length = given.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!(found.iter().zip(given).all(|(found, x)| (found - x / length).abs() < 1e-3));
    }
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn a_model_that_fails_leaves_each_document_as_it_was_or_as_it_is_to_be() {
    let mut rng = Rng::new(8);
    for round in 0..30 {
        let (_dir, _db, docs) = empty(DIMENSIONS);
        let mut old = Documents::new();
        (0..6).for_each(|_| edit(&mut rng, &mut old));
        let embedder = WordEmbedder::new(Fate::Answer);
        let ingest = docs.ingest(records(&old)).split(lines).embedder(&embedder).batch_size(4);
        ingest.run().await.expect("an ingest");
        let mut new = old.clone();
        (0..6).for_each(|_| edit(&mut rng, &mut new));
        let failing = WordEmbedder::new(Fate::FailAt(rng.below(4) as usize));
        let ingest = docs.ingest(records(&new)).split(lines).embedder(&failing).batch_size(4);
        let ended = ingest.in_flight(2).run().await;
        let found = stored(&docs);
        let mut complete = true;
        for (id, now) in &new {
            let none = Vec::new();
            let chunks = found.get(id).unwrap_or(&none);
            assert!(chunks == now || chunks == old.get(id).unwrap_or(&none), "{round}: {id}");
            complete &= chunks == now;
        }
        assert!(ended.is_err() || complete, "{round}");
        let embedder = WordEmbedder::new(Fate::Answer);
        let ingest = docs.ingest(records(&new)).split(lines).embedder(&embedder).batch_size(4);
        ingest.run().await.expect("an ingest");
        assert_eq!(stored(&docs), without_empty(&new));
    }
}

#[tokio::test]
async fn a_document_of_more_chunks_than_a_batch_takes_several_calls_and_one_commit() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let long: Vec<String> = (0..9).map(|at| format!("line {at}")).collect();
    let embedder = Scripted::new(|_, texts| {
        assert!(texts.len() <= 2, "{texts:?}");
        Ok(())
    });
    let mut commits = 0;
    let ingest = docs.ingest([document("d", &long)]).split(lines).embedder(&embedder);
    let ingest = ingest.batch_size(2).progress(|at| {
        assert_eq!((at.embedded, at.documents), (9, 1));
        commits += 1;
    });
    ingest.run().await.expect("an ingest");
    assert_eq!((embedder.calls(), commits), (5, 1));
}

#[tokio::test]
async fn a_chunk_that_is_refused_is_set_aside_and_the_one_in_its_place_is_stale() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = Scripted::new(|_, texts| match texts.iter().position(|text| *text == "bad") {
        Some(at) => Err(StageError::new("refused").input(at)),
        None => Ok(()),
    });
    let text = |texts: [&str; 3]| document("d", &texts.map(str::to_owned));
    let first = docs.ingest([text(["a", "b", "c"])]).split(lines).embedder(&embedder);
    first.run().await.expect("an ingest");
    let second = docs.ingest([text(["a", "bad", "c"])]).split(lines).embedder(&embedder);
    let report = second.run().await.expect("an ingest");
    assert_eq!((report.progress.rejected, report.progress.removed), (1, 1));
    assert_eq!(report.rejected[0].id, "d#1".into());
    let left: Vec<RecordId> = everything(&docs, 9).into_iter().map(|chunk| chunk.id).collect();
    assert_eq!(left, ["d#0".into(), "d#2".into()]);
}

#[tokio::test]
async fn metadata_of_a_document_changes_without_the_model_and_pending_chunks_wait() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let text: Vec<String> = ["one", "two"].map(str::to_owned).to_vec();
    let stored = docs.ingest([document("d", &text)]).split(lines).pending(true).run().await;
    assert_eq!(stored.expect("an ingest").progress.documents, 1);
    assert_eq!(docs.pending_count().expect("a count"), 2);
    let again = docs.ingest([document("d", &text)]).split(lines).pending(true).run().await;
    assert_eq!(again.expect("an ingest").progress.pending, 2);
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.embed_pending().embedder(&embedder).run().await.expect("an ingest");
    let none = docs.ingest([document("d", &text)]).split(lines).run().await.expect("an ingest");
    assert_eq!(none.progress.unchanged, 2);
    let relabeled = document("d", &text).field("lang", "la");
    let report = docs.ingest([relabeled]).split(lines).run().await.expect("an ingest");
    assert_eq!((report.progress.updated, report.progress.removed), (2, 0));
    assert!(everything(&docs, 9).iter().all(|chunk| chunk.vector.is_some()));
    let la = |metadata: &Metadata| metadata["lang"] == "la".into();
    assert!(docs.document("d").expect("a document").iter().all(|chunk| la(&chunk.metadata)));
    let error = docs.ingest([document("e", &text)]).split(lines).run().await;
    assert!(matches!(error, Err(Error::Query { .. })));
    assert_eq!(docs.document("e").expect("none"), []);
}
