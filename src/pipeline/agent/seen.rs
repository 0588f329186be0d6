//! What the model has been shown: under which id, and what the next search may still bring.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::trace::{RetrievalTrace, RetrievedTrace};
use crate::db::Hit;
use crate::fusion::Fusion;
use crate::pipeline::template_tokens::begins_control;
use crate::record::{RecordId, Value};

/// The note of a document that is not shown again.
const REPEATED: &str = "shown in full in an earlier result";
const NOTHING_NEW: &str = "nothing that was not shown before: search for something else, or call \
                           final_results";
const NOTHING: &str = "nothing was found";

/// One line of an observation.
#[derive(Serialize)]
struct Line<'l> {
    id: &'l str,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'l str>,
    /// Characters of the whole text, if it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_from: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// How documents are told and shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Showing<'s> {
    /// Most characters of a text.
    pub(super) chars: usize,
    /// The field that names the document of a record.
    pub(super) by: Option<&'s str>,
}

impl Showing<'_> {
    /// The id that a record is told by.
    fn document(&self, hit: &Hit) -> RecordId {
        let value = self.by.and_then(|field| hit.record.metadata.get(field));
        match value {
            Some(Value::Text(text)) => RecordId::Text(text.clone()),
            Some(Value::Int(number)) => RecordId::Int(*number),
            _ => hit.id.clone(),
        }
    }
}

/// All that searches have brought.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Records whose text was shown.
    shown: HashSet<RecordId>,
    /// Documents by the label they were shown under.
    documents: BTreeMap<String, RecordId>,
    labels: HashMap<RecordId, String>,
    /// The lines of each document, as they were shown.
    lines: HashMap<RecordId, Vec<String>>,
}

/// What one search shows.
pub(super) struct Shown {
    pub(super) observation: String,
    pub(super) hits: Vec<RetrievedTrace>,
}

impl Seen {
    /// Records whose text was shown.
    pub(super) fn records(&self) -> usize {
        self.shown.len()
    }

    /// Documents that were named.
    pub(super) fn documents(&self) -> usize {
        self.documents.len()
    }

    /// The document of a label, which models may put blanks around.
    pub(super) fn document(&self, label: &str) -> Option<&RecordId> {
        self.documents.get(label).or_else(|| self.documents.get(label.trim()))
    }

    /// The lines of a document, as they were shown.
    pub(super) fn lines(&self, document: &RecordId) -> &[String] {
        self.lines.get(document).map(Vec::as_slice).unwrap_or_default()
    }

    /// Takes hits, best first, until `wanted` of them are new; repeats on the way come along as a
    /// note.
    pub(super) fn show(&mut self, hits: &[Hit], wanted: usize, showing: Showing<'_>) -> Shown {
        let (mut lines, mut told, mut new) = (Vec::new(), Vec::new(), 0);
        for hit in hits {
            if new == wanted {
                break;
            }
            let document = showing.document(hit);
            let is_new = self.shown.insert(hit.id.clone());
            new += usize::from(is_new);
            let label = self.label(&document);
            let line = line(hit, &label, is_new, showing.chars);
            if is_new {
                self.lines.entry(document.clone()).or_default().push(line.clone());
            }
            lines.push(line);
            told.push(RetrievedTrace::new(&document, score(hit), is_new));
        }
        let note = match (told.is_empty(), new) {
            (true, _) => Some(NOTHING),
            (false, 0) => Some(NOTHING_NEW),
            _ => None,
        };
        lines.extend(note.map(|note| serde_json::json!({ "note": note }).to_string()));
        Shown { observation: lines.join("\n"), hits: told }
    }

    /// The label of a document: its id as text, and where another has that already, in quotes.
    fn label(&mut self, document: &RecordId) -> String {
        if let Some(label) = self.labels.get(document) {
            return label.clone();
        }
        let mut label = document.to_string();
        while self.documents.contains_key(&label) {
            label = format!("'{label}'");
        }
        self.documents.insert(label.clone(), document.clone());
        self.labels.insert(document.clone(), label.clone());
        label
    }
}

fn score(hit: &Hit) -> f32 {
    hit.rerank_score.unwrap_or(hit.score)
}

fn line(hit: &Hit, label: &str, is_new: bool, chars: usize) -> String {
    let record = &hit.record;
    let (text, cut_from) = match record.text.char_indices().nth(chars) {
        Some((end, _)) => {
            (record.text.get(..end).unwrap_or_default(), Some(record.text.chars().count()))
        }
        None => (record.text.as_str(), None),
    };
    let title = record.title.as_deref().filter(|title| !title.is_empty());
    let title = title.map(|title| title.get(..cut(title, chars)).unwrap_or_default());
    let line = Line {
        id: label,
        score: score(hit),
        title: title.filter(|_| is_new),
        text: Some(text).filter(|_| is_new),
        cut_from: cut_from.filter(|_| is_new),
        note: Some(REPEATED).filter(|_| !is_new),
    };
    // Strings and numbers alone: there is nothing that could fail.
    escaped(&serde_json::to_string(&line).unwrap_or_default())
}

/// The same JSON without what tokens of chat templates begin with: in an object of strings and
/// numbers, both signs stand inside of strings alone.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for (at, c) in json.char_indices() {
        match c {
            '<' => out.push_str("\\u003c"),
            '[' if begins_control(json.get(at..).unwrap_or_default()) => out.push_str("\\u005b"),
            c => out.push(c),
        }
    }
    out
}

/// Where a text ends after so many characters.
fn cut(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(end, _)| end)
}

/// All documents of all searches by reciprocal rank fusion, equal ones by id.
pub(super) fn fused(retrievals: &[RetrievalTrace]) -> Vec<RecordId> {
    let lists: Vec<Vec<RecordId>> = retrievals.iter().map(RetrievalTrace::ranking).collect();
    let scored = lists.iter().map(|list| (1.0, list.iter().map(|id| (id, 0.0)).collect()));
    let lists: Vec<(f64, Vec<(&RecordId, f32)>)> = scored.collect();
    Fusion::rrf().merge(&lists).into_iter().map(|(id, _)| id.clone()).collect()
}
