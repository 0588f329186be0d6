//! Random collections beside a plain list of their records, and the definitions of what a query
//! finds in them, computed record by record.

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Filter, Find, Findings, Hit,
    IndexFields, Language, Maintenance, Metric, Originals, Record, RecordId, TextIndex, Value,
};
use proptest::prelude::*;

pub const DIM: usize = 3;
pub const WORDS: [&str; 6] = ["tide", "chart", "north", "star", "reef", "wind"];

/// What happens to a collection before it is asked.
#[derive(Debug, Clone)]
pub enum Step {
    Upsert(i64, Content),
    Delete(i64),
    /// Folds what waits into a segment.
    Fold,
}

#[derive(Debug, Clone)]
pub struct Content {
    vector: Option<[i8; DIM]>,
    words: Vec<usize>,
    lang: Option<u8>,
    year: Option<Value>,
    tags: Vec<u8>,
}

/// A collection and its records in order of insertion.
pub struct World {
    pub docs: Collection,
    pub records: Vec<Record>,
    pub metric: Metric,
    _db: Database,
    _dir: tempfile::TempDir,
}

pub fn vectors() -> impl Strategy<Value = [i8; DIM]> {
    proptest::array::uniform3(-3_i8..4).prop_filter("zeros", |vector| *vector != [0; DIM])
}

fn contents() -> impl Strategy<Value = Content> {
    let year = prop_oneof![
        3 => (0_i64..5).prop_map(Value::Int),
        1 => (0_u8..10).prop_map(|half| Value::Float(f64::from(half) / 2.0)),
        1 => Just(Value::Text("unknown".into())),
    ];
    let vector = proptest::option::weighted(0.85, vectors());
    let words = proptest::collection::vec(0..WORDS.len(), 0..6);
    let lang = proptest::option::weighted(0.8, 0_u8..3);
    let tags = proptest::collection::vec(0_u8..4, 0..3);
    (vector, words, lang, proptest::option::weighted(0.8, year), tags)
        .prop_map(|(vector, words, lang, year, tags)| Content { vector, words, lang, year, tags })
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0_i64..40, contents()).prop_map(|(id, content)| Step::Upsert(id, content)),
        3 => (0_i64..40).prop_map(Step::Delete),
        1 => Just(Step::Fold),
    ];
    proptest::collection::vec(step, 1..90)
}

/// What of the fields has an index.
pub fn indexes() -> impl Strategy<Value = IndexFields> {
    prop_oneof![Just(IndexFields::All), Just(IndexFields::Declared)]
}

/// Metrics by which vectors of small integers have exact scores.
pub fn metrics() -> impl Strategy<Value = Metric> {
    prop_oneof![Just(Metric::Dot), Just(Metric::L2)]
}

pub fn wide(vector: [i8; DIM]) -> Vec<f32> {
    vector.map(f32::from).to_vec()
}

fn record(id: i64, content: &Content) -> Record {
    let words: Vec<&str> = content.words.iter().map(|&word| WORDS[word]).collect();
    let mut record = Record::new(id).text(words.join(" "));
    if let Some(vector) = content.vector {
        record = record.vector(wide(vector));
    }
    if let Some(lang) = content.lang {
        record = record.field("lang", format!("l{lang}"));
    }
    if let Some(year) = &content.year {
        record = record.field("year", year.clone());
    }
    if !content.tags.is_empty() {
        let tags: Vec<String> = content.tags.iter().map(|tag| format!("t{tag}")).collect();
        record = record.field("tags", tags);
    }
    record
}

impl World {
    pub fn new(metric: Metric, steps: &[Step]) -> Self {
        Self::indexed(metric, IndexFields::All, steps)
    }

    /// Of all fields, or of `lang` alone.
    pub fn indexed(metric: Metric, indexed: IndexFields, steps: &[Step]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
        let db = options.open(dir.path().join("w.portolan")).unwrap();
        let options = CollectionOptions::new(DIM, metric).originals(Originals::F32);
        let options = options.text(TextIndex::new(Language::None));
        let options = match indexed {
            IndexFields::Declared => options.index_fields(indexed).index_field("lang"),
            _ => options,
        };
        let docs = db.create_collection("docs", options).unwrap();
        let mut world = Self { docs, records: Vec::new(), metric, _db: db, _dir: dir };
        for steps in steps.chunk_by(|_, next| !matches!(next, Step::Fold)) {
            if let Some(Step::Fold) = steps.first() {
                world.docs.maintain().run().unwrap();
            }
            world.apply(steps);
        }
        world
    }

    /// One batch of changes; a record that is replaced is the newest.
    pub fn apply(&mut self, steps: &[Step]) {
        let mut batch = self.docs.batch();
        for step in steps {
            match step {
                Step::Fold => {}
                Step::Delete(id) => {
                    batch.delete(*id);
                    self.records.retain(|record| record.id != RecordId::Int(*id));
                }
                Step::Upsert(id, content) => {
                    let record = record(*id, content);
                    self.records.retain(|known| known.id != record.id);
                    self.records.push(record.clone());
                    batch.upsert(record).unwrap();
                }
            }
        }
        batch.commit().unwrap();
    }

    pub fn score(&self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
        // With 0.0 added there is one zero: which sign a sum of nothing has is no matter of order.
        0.0 + match self.metric {
            Metric::L2 => -pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>(),
            _ => pairs().map(|(x, y)| x * y).sum(),
        }
    }

    /// All records with a vector that pass, by their scores; equal ones as they were inserted.
    pub fn nearest(&self, vector: &[f32], passes: Passes) -> List {
        let mut list = Vec::new();
        for (at, record) in self.records.iter().enumerate().filter(|(_, r)| passes.of(r)) {
            if let Some(stored) = &record.vector {
                list.push((at, self.score(vector, stored)));
            }
        }
        sorted(list)
    }

    /// What the search by words alone finds: its scores have tests of their own.
    pub fn worded(&self, words: &str, passes: Passes) -> List {
        let mut search = self.docs.search_text(words).limit(1000);
        if let Some(filter) = passes.filter() {
            search = search.filter(filter);
        }
        let hits = search.run().unwrap();
        hits.iter().map(|hit| (self.at(&hit.id), f64::from(hit.score))).collect()
    }

    /// The place of a record in the order of insertion.
    pub fn at(&self, id: &RecordId) -> usize {
        self.records.iter().position(|record| record.id == *id).expect("a live record")
    }

    pub fn places(&self, hits: &[Hit]) -> Vec<usize> {
        hits.iter().map(|hit| self.at(&hit.id)).collect()
    }
}

/// Places of records with their scores, best first.
pub type List = Vec<(usize, f64)>;

pub fn sorted(mut list: List) -> List {
    list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    list
}

/// A filter and its predicate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Passes {
    All,
    Lang(u8),
    NotLang(u8),
    From(i64),
}

pub fn passes() -> impl Strategy<Value = Passes> {
    prop_oneof![
        3 => Just(Passes::All),
        1 => (0_u8..3).prop_map(Passes::Lang),
        1 => (0_u8..3).prop_map(Passes::NotLang),
        1 => (0_i64..5).prop_map(Passes::From),
    ]
}

impl Passes {
    pub fn filter(self) -> Option<Filter> {
        match self {
            Self::All => None,
            Self::Lang(lang) => Some(Filter::eq("lang", format!("l{lang}"))),
            Self::NotLang(lang) => Some(Filter::ne("lang", format!("l{lang}"))),
            Self::From(year) => Some(Filter::gte("year", year)),
        }
    }

    pub fn of(self, record: &Record) -> bool {
        let lang = |lang: u8| record.metadata.get("lang") == Some(&format!("l{lang}").into());
        match self {
            Self::All => true,
            Self::Lang(of) => lang(of),
            Self::NotLang(of) => !lang(of),
            Self::From(year) => match record.metadata.get("year") {
                Some(Value::Int(number)) => *number >= year,
                Some(Value::Float(number)) => *number >= year as f64,
                _ => false,
            },
        }
    }

    pub fn on(self, find: Find) -> Find {
        match self.filter() {
            Some(filter) => find.filter(filter),
            None => find,
        }
    }
}

pub fn run(find: Find) -> Findings {
    find.run().unwrap()
}
