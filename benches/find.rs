//! The query over several lists beside the vector search alone: 20,000 records
//! (`PORTOLAN_BENCH_ROWS`) of 384 dimensions with 80 words each, drawn by Zipf's law; or with the
//! texts of a file in BEIR form (`PORTOLAN_BENCH_DOCS`) and its questions
//! (`PORTOLAN_BENCH_QUESTIONS`), in English. Each kind of query takes its turn after the others,
//! so that a machine whose speed drifts is as unfair to all; medians of `PORTOLAN_BENCH_QUERIES`
//! (500) queries, and their ratio to the first.

use std::error::Error;
use std::time::Instant;

use portolan::eval::synthetic::Synthetic;
use portolan::eval::{EvalError, beir};
use portolan::{
    Collection, CollectionOptions, DatabaseOptions, Facet, Filter, Find, Language, Maintenance,
    Metric, Mmr, Record, TextIndex,
};

#[path = "shared/figures.rs"]
mod figures;

const DIMENSIONS: usize = 384;
const VOCABULARY: f64 = 30_000.0;
const WORDS: usize = 80;
const ASKED: usize = 6;
/// Commonest words that questions leave out, as stop words are.
const STOP: u64 = 50;

/// Numbers that are the same in every run.
struct Draw(u64);

impl Draw {
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A rank from 1, by Zipf's law.
    fn rank(&mut self) -> u64 {
        VOCABULARY.powf(self.share()) as u64
    }

    fn text(&mut self, words: usize, from: u64) -> String {
        let word = |_| {
            format!("w{}", std::iter::repeat_with(|| self.rank()).find(|r| *r > from).unwrap_or(0))
        };
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }
}

struct Question {
    number: i64,
    vector: Vec<f32>,
    words: String,
}

/// A kind of query, by its name.
type Kind = (&'static str, fn(&Collection, &Question) -> Find);

/// A filter that half of the records pass. With a salt, it is another for each question and kind of
/// query, so that what passes is not known from an earlier query.
fn half(question: &Question, salt: i64) -> Filter {
    Filter::lt("bucket", 5).and(Filter::ne("group", question.number + salt))
}

/// One that was asked before.
fn known(_: &Question) -> Filter {
    Filter::lt("bucket", 5)
}

const KINDS: [Kind; 14] = [
    ("dense", |docs, q| docs.find().dense(&q.vector)),
    ("dense, depth 100", |docs, q| docs.find().dense(&q.vector).depth(100)),
    ("words", |docs, q| docs.find().text(q.words.as_str())),
    ("hybrid", both),
    ("dense, known filter", |docs, q| docs.find().dense(&q.vector).filter(known(q))),
    ("dense, known filter, depth 100", |docs, q| {
        docs.find().dense(&q.vector).filter(known(q)).depth(100)
    }),
    ("hybrid, known filter", |docs, q| both(docs, q).filter(known(q))),
    ("dense, filter", |docs, q| docs.find().dense(&q.vector).filter(half(q, 7_000_000))),
    ("dense, filter, depth 100", |docs, q| {
        docs.find().dense(&q.vector).filter(half(q, 1_000_000)).depth(100)
    }),
    ("hybrid, filter", |docs, q| both(docs, q).filter(half(q, 2_000_000))),
    ("hybrid, filter, depth 50", |docs, q| both(docs, q).filter(half(q, 3_000_000)).depth(50)),
    ("hybrid, filter, groups", |docs, q| {
        both(docs, q).filter(half(q, 4_000_000)).group_by("group", 2)
    }),
    ("hybrid, filter, facets", |docs, q| {
        let facet = Facet::new("bucket").of_found();
        both(docs, q).filter(half(q, 5_000_000)).facets([facet])
    }),
    ("hybrid, filter, MMR", |docs, q| {
        both(docs, q).filter(half(q, 6_000_000)).diversity(Mmr::new(0.7))
    }),
];

fn both(docs: &Collection, question: &Question) -> Find {
    docs.find().dense(&question.vector).text(question.words.as_str())
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows = figures::setting("PORTOLAN_BENCH_ROWS", 20_000, 500);
    let queries = figures::setting("PORTOLAN_BENCH_QUERIES", 500, 5);
    let folder = tempfile::tempdir()?;
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(folder.path().join("find.portolan"))?;
    let options = CollectionOptions::new(DIMENSIONS, Metric::Cosine);
    let texts = texts(rows, queries)?;
    let docs = db.create_collection("docs", options.text(TextIndex::new(texts.language)))?;
    let rows = texts.docs.len();
    let source = Synthetic::with_clusters(DIMENSIONS, 7, (rows / 50).max(1));
    fill(&docs, &source.vectors(rows), &texts.docs)?;
    docs.maintain().run()?;

    let vectors = source.queries(texts.questions.len());
    let questions: Vec<Question> = (vectors.chunks(DIMENSIONS).zip(texts.questions).zip(0..))
        .map(|((vector, words), number)| Question { number, vector: vector.to_vec(), words })
        .collect();
    let mut took = vec![Vec::with_capacity(questions.len()); KINDS.len() + 1];
    for (round, question) in questions.iter().chain(&questions).enumerate() {
        let begin = Instant::now();
        docs.search(&question.vector).limit(10).run()?;
        let mut times = vec![begin.elapsed()];
        for (_, kind) in KINDS {
            let find = kind(&docs, question);
            let begin = Instant::now();
            find.limit(10).run()?;
            times.push(begin.elapsed());
        }
        // The first round warms.
        if round >= questions.len() {
            took.iter_mut().zip(times).for_each(|(all, one)| all.push(one.as_secs_f64() * 1e6));
        }
    }
    println!("{rows} records x {DIMENSIONS}, {} questions, medians", questions.len());
    let medians: Vec<f64> = took.into_iter().map(figures::median).collect();
    let names = std::iter::once("vector search").chain(KINDS.iter().map(|(name, _)| *name));
    for (name, median) in names.zip(&medians) {
        println!("{name:30} {median:9.1} us  {:5.2}", median / medians[0]);
    }
    println!("{}", both(&docs, &questions[0]).filter(half(&questions[0], 0)).run()?.explain());
    Ok(())
}

/// Texts of records and questions.
struct Texts {
    language: Language,
    docs: Vec<String>,
    questions: Vec<String>,
}

fn texts(rows: usize, queries: usize) -> Result<Texts, Box<dyn Error>> {
    let file = |name| std::env::var_os(name);
    if let (Some(docs), Some(questions)) =
        (file("PORTOLAN_BENCH_DOCS"), file("PORTOLAN_BENCH_QUESTIONS"))
    {
        let docs = beir::documents(docs)?.take(rows);
        let docs = docs.map(|document| Ok(document?.text)).collect::<Result<_, EvalError>>()?;
        let mut questions: Vec<String> =
            beir::queries(questions)?.into_iter().map(|query| query.text).collect();
        questions.truncate(queries);
        return Ok(Texts { language: Language::English, docs, questions });
    }
    let (mut draw, mut asked) = (Draw(7), Draw(99));
    let docs = (0..rows).map(|_| draw.text(WORDS, 0)).collect();
    let questions = (0..queries).map(|_| asked.text(ASKED, STOP)).collect();
    Ok(Texts { language: Language::None, docs, questions })
}

fn fill(docs: &Collection, vectors: &[f32], texts: &[String]) -> portolan::Result<()> {
    let rows = vectors.chunks(DIMENSIONS).zip(texts).enumerate().collect::<Vec<_>>();
    for rows in rows.chunks(1_000) {
        let mut batch = docs.batch();
        for &(row, (vector, text)) in rows {
            let at = i64::try_from(row).unwrap_or_default();
            let record = Record::new(format!("row-{at:08}")).text(text.as_str());
            let record = record.field("bucket", at % 10).field("group", at / 8);
            batch.upsert(record.vector(vector.to_vec()))?;
        }
        batch.commit()?;
    }
    Ok(())
}
