//! Search by words beside tantivy: the same passages and queries, the same terms, one process and
//! one thread.
//!
//! `cargo run --release -- DOCS.jsonl QUERIES.jsonl [PASSAGES]`. Documents are cut into passages of
//! one to three sentences and repeated, under other numbers, until there are so many (100,000).

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use portolan::eval::beir;
use portolan::{Collection, CollectionOptions, Database, Language, Metric, Record, TextIndex};
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{Index, Searcher, TantivyDocument, Term};

/// Records of a commit, on both sides.
const BATCH: usize = 1_000;
/// Rounds over all queries; the median counts.
const ROUNDS: usize = 7;
const LIMIT: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(docs), Some(queries)) = (args.next(), args.next()) else {
        return Err("usage: DOCS.jsonl QUERIES.jsonl [PASSAGES]".into());
    };
    let wanted = args.next().map_or(Ok(100_000), |count| count.parse())?;
    let passages = passages(Path::new(&docs), wanted)?;
    let bytes: usize = passages.iter().map(String::len).sum();
    let queries: Vec<String> =
        beir::queries(&queries)?
        .into_iter()
        .map(|query| query.text)
        .collect();
    println!("{} passages, {bytes} bytes, {} queries", passages.len(), queries.len());

    let dir = tempfile::tempdir()?;
    let ours = ours(&dir.path().join("bench.portolan"), &passages)?;
    let (searcher, field) = theirs(&passages)?;

    let agree = agreement(&ours, &searcher, field, &queries)?;
    println!("share of the ten that both find (k1 and b differ): {agree:.3}");
    let (mut own, mut other, mut own_texts, mut other_texts) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        own.push(timed(&queries, |query| {
            Ok(ours.search_text(query).limit(LIMIT).run_slots()?.len())
        })?);
        other.push(timed(&queries, |query| Ok(find(&searcher, field, query)?.len()))?);
        own_texts
            .push(timed(&queries, |query| Ok(ours.search_text(query).limit(LIMIT).run()?.len()))?);
        other_texts.push(timed(&queries, |query| {
            let mut bytes = 0;
            for (_, at) in find(&searcher, field, query)? {
                let found: TantivyDocument = searcher.doc(at)?;
                bytes += found.get_first(field).is_some() as usize;
            }
            Ok(bytes)
        })?);
    }
    for (what, times) in [
        ("portolan, slots", own),
        ("tantivy, addresses", other),
        ("portolan, records", own_texts),
        ("tantivy, stored texts", other_texts),
    ] {
        let median = median(times);
        let each = median / queries.len() as u32;
        let per_second = queries.len() as f64 / median.as_secs_f64();
        println!("{what:<22} {per_second:>9.0} queries/s {:>9.1} us", each.as_secs_f64() * 1e6);
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed(
    queries: &[String],
    search: impl Fn(&str) -> Result<usize, Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    let mut found = 0;
    for query in queries {
        found += search(query)?;
    }
    assert!(found > 0);
    Ok(begin.elapsed())
}

/// One to three sentences each.
fn passages(docs: &Path, wanted: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut found = Vec::new();
    for document in beir::documents(docs)? {
        let document = document?;
        let mut passage = document.title;
        for (at, sentence) in document.text.split_inclusive(". ").enumerate() {
            passage.push(' ');
            passage.push_str(sentence);
            if at % 3 == found.len() % 3 {
                found.push(std::mem::take(&mut passage));
            }
        }
        if !passage.is_empty() {
            found.push(passage);
        }
    }
    let once = found.len();
    while found.len() < wanted {
        // Words are shared with the passage two further on, so that copies differ.
        let at = found.len();
        let (one, other) = (&found[at % once], &found[(at * 7 + at / once) % once]);
        let half = |text: &str, last: bool| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let (first, second) = words.split_at(words.len() / 2);
            if last { second.join(" ") } else { first.join(" ") }
        };
        let mixed = format!("{} {}", half(one, false), half(other, true));
        found.push(mixed);
    }
    found.truncate(wanted);
    Ok(found)
}

fn ours(path: &Path, passages: &[String]) -> Result<Collection, Box<dyn Error>> {
    let db = Database::open(path)?;
    let options = CollectionOptions::new(2, Metric::Dot).text(TextIndex::new(Language::English));
    let collection = db.create_collection("docs", options)?;
    let begin = Instant::now();
    for (batch, texts) in (0..).zip(passages.chunks(BATCH)) {
        let mut records = collection.batch();
        for (at, text) in (0..).zip(texts) {
            records.upsert(Record::new(batch * BATCH as i64 + at).text(text.as_str()))?;
        }
        records.commit()?;
    }
    let took = begin.elapsed().as_secs_f64();
    let space = collection.info()?.space;
    println!(
        "portolan: {:.0} records/s in durable batches of {BATCH}; postings {} bytes, records {}",
        passages.len() as f64 / took,
        space.postings,
        space.records
    );
    Ok(collection)
}

/// Our terms, for tantivy.
#[derive(Clone)]
struct Ours;

struct Terms {
    terms: std::vec::IntoIter<(usize, String)>,
    token: Token,
}

impl Tokenizer for Ours {
    type TokenStream<'a> = Terms;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Terms {
        let terms = portolan::internals::text_terms(Language::English, text);
        Terms { terms: terms.into_iter(), token: Token::default() }
    }
}

impl TokenStream for Terms {
    fn advance(&mut self) -> bool {
        let Some((position, text)) = self.terms.next() else { return false };
        self.token.position = position;
        self.token.text = text;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

fn theirs(passages: &[String]) -> Result<(Searcher, Field), Box<dyn Error>> {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default();
    let indexing = indexing.set_tokenizer("ours").set_index_option(IndexRecordOption::WithFreqs);
    let field =
        schema.add_text_field("text", TextOptions::from(STORED).set_indexing_options(indexing));
    let index = Index::create_in_ram(schema.build());
    index.tokenizers().register("ours", Ours);
    let begin = Instant::now();
    let mut writer = index.writer_with_num_threads(1, 100_000_000)?;
    for text in passages {
        let mut document = TantivyDocument::new();
        document.add_text(field, text);
        writer.add_document(document)?;
    }
    writer.commit()?;
    let segments = index.searchable_segment_ids()?;
    if segments.len() > 1 {
        writer.merge(&segments).wait()?;
    }
    println!(
        "tantivy: one commit in memory and one segment in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    writer.wait_merging_threads()?;
    Ok((index.reader()?.searcher(), field))
}

type Hits = Vec<(f32, tantivy::DocAddress)>;

fn find(searcher: &Searcher, field: Field, query: &str) -> Result<Hits, Box<dyn Error>> {
    let terms = portolan::internals::text_terms(Language::English, query);
    let clauses = terms.into_iter().map(|(_, term)| {
        let term = Term::from_field_text(field, &term);
        let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
        (Occur::Should, query)
    });
    let query = BooleanQuery::new(clauses.collect());
    Ok(searcher.search(&query, &TopDocs::with_limit(LIMIT).order_by_score())?)
}

/// A check that both search the same.
fn agreement(
    ours: &Collection,
    searcher: &Searcher,
    field: Field,
    queries: &[String],
) -> Result<f64, Box<dyn Error>> {
    let (mut both, mut all) = (0, 0);
    for query in queries {
        let own = ours.search_text(query).limit(LIMIT).run_slots()?;
        let other = find(searcher, field, query)?;
        all += own.len();
        both +=
            own.iter().filter(|(slot, _)| other.iter().any(|(_, at)| at.doc_id == *slot)).count();
    }
    Ok(both as f64 / all.max(1) as f64)
}
