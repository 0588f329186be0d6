//! The set that `eval` runs on, as the options name it: judged queries with their vectors, and what
//! must not be found.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use portolan::eval::beir::Query;
use portolan::eval::metrics::Judgments;
use portolan::eval::set::EvalSet;
use portolan::eval::vector_file::VectorFile;
use portolan::{Collection, Cost, Embedder, Filter, RecordId, Role};

use crate::eval_args::EvalArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::progress::Progress;

/// A judged query, ready to search with.
pub struct Judged {
    pub query: Query,
    pub vector: Vec<f32>,
    /// Time that the model took for the vector, and what it cost.
    pub embedding: (Duration, Cost),
    /// Records that must not be found.
    pub excluded: Vec<RecordId>,
}

impl Judged {
    /// Passes all records but those that are excluded; none if nothing is. So they are left out
    /// before the search cuts its results, and before a reranker sees them.
    pub fn passing(&self) -> Option<Filter> {
        let ids = (!self.excluded.is_empty()).then(|| Filter::ids(&self.excluded));
        ids.map(Filter::negate)
    }
}

/// Reads queries and judgments.
pub fn read(args: &EvalArgs, out: &Output) -> Result<EvalSet> {
    let mut reader = EvalSet::reader(&args.queries);
    if let Some(qrels) = &args.qrels {
        reader = reader.qrels(qrels);
    }
    if let Some(form) = args.form {
        reader = reader.form(form);
    }
    if let Some(language) = &args.language {
        reader = reader.language(language);
    }
    let mut set = reader.read()?;
    if let Some(most) = args.first {
        set.keep_first(most);
    }
    if args.exclude_self {
        for id in set.qrels.keys() {
            set.excluded.entry(id.clone()).or_default().insert(id.clone());
        }
    }
    if let Some(first) = set.unasked.first() {
        let count = set.unasked.len();
        out.warning(&format!(
            "{count} judged queries have no question, each scores 0: {first:?} is the first"
        ));
    }
    Ok(set)
}

/// Refuses judgments of documents that the collection has not, none of which could be found; some
/// that it has not are told of.
pub fn check_documents(set: &EvalSet, collection: &Collection, out: &Output) -> Result<()> {
    let relevant = set.qrels.values().flat_map(Judgments::iter).filter(|(_, grade)| *grade > 0);
    let relevant: BTreeSet<&str> = relevant.map(|(id, _)| id).collect();
    let mut missing = 0;
    let mut first = None;
    for id in &relevant {
        let mut is_there = false;
        for record in record_ids(id) {
            is_there |= collection.contains(record)?;
        }
        if !is_there {
            missing += 1;
            first.get_or_insert(*id);
        }
    }
    let (Some(first), count, name) = (first, relevant.len(), collection.name()) else {
        return Ok(());
    };
    if missing == count {
        return Err(Failure::new(format!(
            "none of the {count} documents that are judged relevant is in collection {name:?}, \
             such as {first:?}: take the judgments of its documents (those that were ingested with \
             --chunk-tokens have the ids of their chunks, ID#0 and so on)"
        )));
    }
    out.warning(&format!(
        "{missing} of {count} documents that are judged relevant are not in collection {name:?}, \
         and count as not found: {first:?} is the first"
    ));
    Ok(())
}

/// The judged queries of the set without vectors, for searches by words alone.
pub fn without_vectors(set: &EvalSet) -> Vec<Judged> {
    let judged = set.queries.iter().filter(|query| set.qrels.contains_key(&query.id));
    judged.map(|query| ready(set, query, Vec::new())).collect()
}

/// The judged queries with their rows of the vector file.
pub fn with_vectors(args: &EvalArgs, path: &Path, set: &EvalSet) -> Result<Vec<Judged>> {
    let vectors = VectorFile::open(path)?;
    let (ids, source) = match &args.query_ids {
        Some(path) => (ids(path)?, path),
        None => (set.queries.iter().map(|query| query.id.clone()).collect(), &args.queries),
    };
    if ids.len() != vectors.len() {
        return Err(Failure::new(format!(
            "{} has {} rows but {} has {} queries: give their ids in row order with --query-ids",
            path.display(),
            vectors.len(),
            source.display(),
            ids.len()
        )));
    }
    let rows: HashMap<String, usize> = ids.into_iter().enumerate().map(|(r, id)| (id, r)).collect();
    let judged = set.queries.iter().filter(|query| set.qrels.contains_key(&query.id));
    let judged = judged.map(|query| {
        let row = rows.get(&query.id).ok_or_else(|| {
            Failure::new(format!(
                "query {:?} has no row: it is not in {}",
                query.id,
                source.display()
            ))
        })?;
        Ok(ready(set, query, vectors.row(*row)?))
    });
    judged.collect()
}

/// Non-blank lines.
fn ids(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::of_file(path, &error))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The judged queries with the vectors that the model makes of them.
pub async fn embed(embedder: &dyn Embedder, set: &EvalSet) -> Result<Vec<Judged>> {
    let mut judged = without_vectors(set);
    let progress = Progress::new("embedding", judged.len());
    for one in &mut judged {
        let begin = Instant::now();
        let embedded = embedder.embed(&[one.query.text.as_str()], Role::Query, None).await?;
        one.embedding = (begin.elapsed(), embedded.cost);
        let vector = embedded.vectors.into_iter().next();
        let no_vector = || Failure::new("the model returned no vector: check the model");
        one.vector = vector.ok_or_else(no_vector)?;
        progress.step();
    }
    Ok(judged)
}

fn ready(set: &EvalSet, query: &Query, vector: Vec<f32>) -> Judged {
    let excluded = set
        .excluded
        .get(&query.id)
        .map_or_else(Vec::new, |ids| ids.iter().flat_map(|id| record_ids(id)).collect());
    let embedding = (Duration::ZERO, Cost::default());
    Judged { query: query.clone(), vector, embedding, excluded }
}

/// An id of digits is a text in a set, and may be a number in the collection: one whose text is
/// that id, which that of 7 is not for `007` and `+7`.
fn record_ids(id: &str) -> impl Iterator<Item = RecordId> {
    let number = id.parse::<i64>().ok().filter(|number| number.to_string() == id);
    [RecordId::from(id)].into_iter().chain(number.map(RecordId::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_number_too_only_if_it_is_written_as_one() {
        let texts = ["+7", "-0", "-3", "007", "7", "7 ", "9223372036854775808", "a"];
        for text in texts {
            let ids: Vec<RecordId> = record_ids(text).collect();
            let number = [("-3", -3), ("7", 7)].into_iter().find(|(of, _)| *of == text);
            let expected = [text.into()].into_iter().chain(number.map(|(_, id)| id.into()));
            assert_eq!(ids, expected.collect::<Vec<_>>());
        }
    }
}
