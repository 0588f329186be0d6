//! Asks a database everything that it can be asked, and compares the answers with those of
//! another: a damaged file may say that it is damaged, and nothing else that is not so.

use portolan::{
    Collection, CollectionInfo, Database, Error, Facet, FacetCounts, Filter, Found, Hit, Matrix,
    Page, Record, RecordId, Result, TextQuery,
};

use super::Rng;

/// What to ask: chosen once, from the whole file.
#[derive(Clone)]
pub struct Questions {
    collections: Vec<Asked>,
}

#[derive(Clone)]
struct Asked {
    name: String,
    ids: Vec<RecordId>,
    vectors: Vec<Vec<f32>>,
    has_words: bool,
    /// Named vector fields.
    fields: Vec<String>,
}

/// One answer.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Names(Vec<String>),
    Info(Vec<CollectionInfo>),
    Count(u64),
    Known(bool),
    Record(Option<Record>),
    Page(Vec<Record>, Option<RecordId>),
    Hits(Vec<Hit>),
    Found(Vec<Vec<Found>>),
    Scores(Vec<Option<f32>>),
    Facets(Vec<Hit>, Vec<FacetCounts>),
}

/// A question: what, of which collection, and which of its kind.
pub type Question = (&'static str, usize, usize);

/// The answers in the order of the questions. After an error there may be fewer.
pub type Answers = Vec<(Question, Result<Answer>)>;

fn filters() -> [Filter; 5] {
    [
        Filter::eq("number", 7),
        Filter::gt("number", 10).and(Filter::lte("number", 20.5)),
        !Filter::eq("even", true),
        Filter::any_of("tag", ["t1", "t2"]).or(Filter::lt("number", 3)),
        Filter::exists("long"),
    ]
}

impl Questions {
    /// Chooses among what a whole database holds.
    pub fn of(db: &Database) -> Self {
        let mut rng = Rng::new(41);
        let names = db.collections().expect("names");
        let collections = names.into_iter().map(|name| {
            let docs = db.collection(&name).expect("a collection");
            let all = docs.scan().limit(usize::MAX).run().expect("all records").records;
            let mut ids = vec![RecordId::from("absent"), RecordId::from(-5)];
            let step = (all.len() / 10).max(1);
            ids.extend(all.into_iter().step_by(step).map(|record| record.id));
            let vectors = (0..2).map(|_| rng.vector(docs.dimensions())).collect();
            let has_words = docs.text_index().expect("a setting").is_some();
            let fields = docs.vector_fields().expect("settings");
            Asked { name, ids, vectors, has_words, fields }
        });
        Self { collections: collections.collect() }
    }

    /// Asks all.
    pub fn ask(&self, db: &Database) -> Answers {
        self.ask_for(db, true)
    }

    /// Asks what does not depend on how vectors are kept, so that it is the same after they were
    /// folded.
    pub fn ask_content(&self, db: &Database) -> Answers {
        self.ask_for(db, false)
    }

    fn ask_for(&self, db: &Database, all: bool) -> Answers {
        let mut answers = vec![(("names", 0, 0), db.collections().map(Answer::Names))];
        if all {
            let info = db.info().map(|info| Answer::Info(info.collections));
            answers.push((("info", 0, 0), info));
        }
        for (at, asked) in self.collections.iter().enumerate() {
            match db.collection(&asked.name) {
                Ok(docs) => asked.ask(&docs, at, all, &mut answers),
                Err(error) => answers.push((("collection", at, 0), Err(error))),
            }
        }
        answers
    }
}

impl Asked {
    fn ask(&self, docs: &Collection, of: usize, all: bool, answers: &mut Answers) {
        let page = |page: Page| Answer::Page(page.records, page.next);
        let mut tell = |what, at, answer| answers.push(((what, of, at), answer));
        tell("count", 0, docs.count().map(Answer::Count));
        let mut after = None;
        // A damaged tree may lead round and round.
        for at in 0..20 {
            let mut scan = docs.scan().limit(64).with_vectors();
            if let Some(after) = after.take() {
                scan = scan.after(after);
            }
            let scanned = scan.run();
            after = scanned.as_ref().ok().and_then(|page| page.next.clone());
            tell("scan", at, scanned.map(page));
            if after.is_none() {
                break;
            }
        }
        for (at, id) in self.ids.iter().enumerate() {
            tell("contains", at, docs.contains(id).map(Answer::Known));
            tell("get", at, docs.get(id).map(Answer::Record));
            tell("scan after", at, docs.scan().after(id).limit(2).run().map(page));
        }
        // A damaged definition, if it is believed, has other dimensions.
        let fitted = |vector: &Vec<f32>| {
            let mut vector = vector.clone();
            vector.resize(docs.dimensions().min(4_096), 0.5);
            vector
        };
        let vectors: Vec<Vec<f32>> = self.vectors.iter().map(fitted).collect();
        for (at, vector) in vectors.iter().enumerate() {
            let search = || docs.search(vector).limit(12);
            let hits = |found: Result<portolan::Hits>| found.map(|found| Answer::Hits(found.hits));
            tell("exact search", at, hits(search().exact().run()));
            for (which, filter) in filters().into_iter().enumerate() {
                let found = search().exact().filter(filter).run();
                tell("exact filtered search", at * 10 + which, hits(found));
            }
            if all {
                tell("search", at, hits(search().run()));
                tell("short search", at, hits(search().ef(1).limit(3).run()));
                // So few candidates that graphs of more than 200 rows are walked.
                let walk = || search().ef(1).limit(1);
                tell("walk", at, hits(walk().run()));
                let most = Filter::gte("number", 2);
                tell("filtered walk", at, hits(walk().filter(most).run()));
                let filter = Filter::lt("number", 9);
                tell("filtered search", at, hits(search().filter(filter).run()));
            }
        }
        if all {
            let batch = docs.search_batch(&vectors).limit(5).run();
            tell("batch of searches", 0, batch.map(Answer::Found));
        }
        self.ask_named(docs, of, all, answers);
    }

    /// Words, fields without vectors of their own, named vector fields, facets.
    fn ask_named(&self, docs: &Collection, of: usize, all: bool, answers: &mut Answers) {
        let mut tell = |what, at, answer| answers.push(((what, of, at), answer));
        let hits = |found: Result<portolan::Hits>| found.map(|found| Answer::Hits(found.hits));
        if self.has_words {
            let asked = ["harbor charts", "+pilot +wind -harbor", "\"north wind\"", "pil* t1"];
            for (at, words) in asked.into_iter().enumerate() {
                let search = docs.search_text(TextQuery::parse(words)).limit(12);
                tell("words", at, hits(search.clone().run()));
                let filter = Filter::eq("tag", "t2").or(Filter::lt("number", 9));
                tell("words, filtered", at, hits(search.filter(filter).run()));
            }
        }
        for (at, field) in self.fields.iter().enumerate() {
            let vector = [0.5, -0.25, 1.0, 0.125];
            let matrix = Matrix::new(4, [&vector[..], &[1.0; 4]].concat()).expect("two rows");
            match field.as_str() {
                "terms" => {
                    let search = docs.search_sparse(field, &[(0, 1.0), (6, 0.5), (7, 1.0)]);
                    tell("sparse", at, hits(search.limit(20).run()));
                }
                "tokens" => {
                    let search = || docs.maxsim(field, &matrix);
                    tell("maxsim", at, hits(search().exact().run()));
                    tell("maxsim scores", at, search().scores(&self.ids).map(Answer::Scores));
                    if all {
                        tell("maxsim candidates", at, hits(search().candidates(20).run()));
                    }
                }
                _ => {
                    let search = || docs.search(&vector).field(field).limit(9);
                    tell("named search", at, hits(search().exact().run()));
                    if all {
                        tell("named graph", at, hits(search().ef(4).run()));
                    }
                }
            }
        }
        if self.has_words {
            let facets = ["number", "tag", "even"].map(|field| Facet::new(field).limit(50));
            let find = docs.find().text("wind").filter(Filter::gt("number", 3)).facets(facets);
            let found = find.run().map(|found| Answer::Facets(found.hits, found.facets));
            tell("facets", 0, found);
        }
    }
}

/// Whether a file that is damaged may fail so.
pub fn is_typed(error: &Error) -> bool {
    error.is_corruption()
}

/// The first answer that is neither the expected one nor damage that was found.
pub fn lie(found: &Answers, expected: &Answers) -> Option<String> {
    let mut all = expected.iter();
    for (question, answer) in found {
        match answer {
            Err(error) if is_typed(error) => {}
            Err(error) => return Some(format!("{question:?}: {error:?}")),
            Ok(answer) => match all.find(|(asked, _)| asked == question) {
                Some((_, Ok(expected))) if answer == expected => {}
                Some((_, expected)) => {
                    return Some(format!("{question:?}: {answer:.300?} for {expected:.300?}"));
                }
                None => return Some(format!("{question:?} should not have been asked")),
            },
        }
    }
    None
}

/// Whether every answer is there and right.
pub fn is_right(found: &Answers, expected: &Answers) -> bool {
    found.len() == expected.len() && lie(found, expected).is_none() && !has_failed(found)
}

/// Whether an answer is an error.
pub fn has_failed(answers: &Answers) -> bool {
    answers.iter().any(|(_, answer)| answer.is_err())
}
