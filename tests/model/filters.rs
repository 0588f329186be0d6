//! Filters beside what they say of a record.

use std::collections::BTreeSet;

use portolan::{Filter, Record, RecordId, Value};
use proptest::prelude::*;

use super::common::Rng;
use super::records::{document, id_of, price, time};

/// Begins of all tags, of one, and of none.
const BEGINS: [&str; 5] = ["", "t", "tag ", "tag 2", "x"];

#[derive(Debug, Clone)]
pub enum Predicate {
    Number(i64),
    NotNumber(i64),
    Between(i64, i64),
    Tag(u8),
    Tags(u8, u8),
    HasTag,
    Listed(i64),
    /// A tag that begins so.
    Begins(&'static str),
    /// From one price on, below another.
    Priced(i64, i64),
    /// A float below an integer.
    Cheap(i64),
    Price(i64),
    At(i64),
    Since(i64),
    /// Between two times, both included.
    During(i64, i64),
    /// Ids, of which some are nobody's.
    Ids(Vec<RecordId>),
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
    Not(Box<Predicate>),
}

/// Ids of single records, of many that came at once, of chunks, and of nobody.
fn any_id() -> impl Strategy<Value = RecordId> {
    prop_oneof![
        4 => any::<u8>().prop_map(id_of),
        3 => (0..900_i64).prop_map(|at| RecordId::Int(10_000 + at)),
        2 => (0..6_u8, 0..5_usize).prop_map(|(id, at)| RecordId::from(document(id)).chunk(at)),
        1 => any::<u8>().prop_map(|number| RecordId::Text(format!("nobody {number}"))),
    ]
}

pub fn predicate() -> impl Strategy<Value = Predicate> {
    let leaf = prop_oneof![
        (0..8_i64).prop_map(Predicate::Number),
        (0..8_i64).prop_map(Predicate::NotNumber),
        (0..8_i64, 0..8_i64).prop_map(|(low, high)| Predicate::Between(low, high)),
        (0..4_u8).prop_map(Predicate::Tag),
        (0..4_u8, 0..4_u8).prop_map(|(a, b)| Predicate::Tags(a, b)),
        Just(Predicate::HasTag),
        (0..4_i64).prop_map(Predicate::Listed),
        (0..BEGINS.len()).prop_map(|at| Predicate::Begins(BEGINS[at])),
        (0..12_i64, 0..12_i64).prop_map(|(low, high)| Predicate::Priced(low, high)),
        (-1..3_i64).prop_map(Predicate::Cheap),
        (0..12_i64).prop_map(Predicate::Price),
        (0..8_i64).prop_map(Predicate::At),
        (0..8_i64).prop_map(Predicate::Since),
        (0..8_i64, 0..8_i64).prop_map(|(from, to)| Predicate::During(from, to)),
        prop::collection::vec(any_id(), 0..40).prop_map(Predicate::Ids),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let pair = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            pair.clone().prop_map(|(a, b)| Predicate::And(a, b)),
            pair.prop_map(|(a, b)| Predicate::Or(a, b)),
            inner.prop_map(|a| Predicate::Not(Box::new(a))),
        ]
    })
}

impl Predicate {
    /// The filter as it is built, or as it is read back from its text or its JSON.
    pub fn filter(&self, rng: &mut Rng) -> Filter {
        let built = self.built();
        match rng.below(3) {
            0 => built,
            1 => built.to_string().parse().expect("the text of a filter"),
            _ => Filter::from_json(&built.to_json()).expect("the JSON of a filter"),
        }
    }

    fn built(&self) -> Filter {
        let tag = |tag: &u8| format!("tag {tag}");
        match self {
            Self::Number(n) => Filter::eq("number", *n),
            Self::NotNumber(n) => Filter::ne("number", *n),
            // A float bound compares with integers by value.
            Self::Between(low, high) => {
                let below = Filter::lte("number", *high as f64 + 0.5);
                Filter::gt("number", *low).and(below)
            }
            Self::Tag(t) => Filter::eq("tag", tag(t)),
            Self::Tags(a, b) => Filter::any_of("tag", [tag(a), tag(b)]),
            Self::HasTag => Filter::exists("tag"),
            Self::Listed(n) => Filter::eq("list", *n),
            Self::Begins(begin) => Filter::starts_with("tag", *begin),
            Self::Priced(low, high) => {
                Filter::gte("price", price(*low)).and(Filter::lt("price", price(*high)))
            }
            Self::Cheap(most) => Filter::lt("price", *most),
            Self::Price(at) => Filter::eq("price", price(*at)),
            Self::At(at) => Filter::eq("time", time(*at)),
            Self::Since(from) => Filter::gte("time", time(*from)),
            Self::During(from, to) => {
                Filter::gte("time", time(*from)).and(Filter::lte("time", time(*to)))
            }
            Self::Ids(ids) => Filter::ids(ids.iter().cloned()),
            Self::And(a, b) => a.built().and(b.built()),
            Self::Or(a, b) => a.built().or(b.built()),
            Self::Not(a) => !a.built(),
        }
    }

    /// Fields that it compares.
    pub fn fields(&self) -> BTreeSet<&'static str> {
        match self {
            Self::Number(_) | Self::NotNumber(_) | Self::Between(..) => ["number"].into(),
            Self::Tag(_) | Self::Tags(..) | Self::HasTag | Self::Begins(_) => ["tag"].into(),
            Self::Listed(_) => ["list"].into(),
            Self::Priced(..) | Self::Cheap(_) | Self::Price(_) => ["price"].into(),
            Self::At(_) | Self::Since(_) | Self::During(..) => ["time"].into(),
            Self::Ids(_) => BTreeSet::new(),
            Self::And(a, b) | Self::Or(a, b) => &a.fields() | &b.fields(),
            Self::Not(a) => a.fields(),
        }
    }

    pub fn holds(&self, record: &Record) -> bool {
        let number = match record.metadata.get("number") {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        let tag = match record.metadata.get("tag") {
            Some(Value::Text(tag)) => Some(tag.as_str()),
            _ => None,
        };
        let paid = match record.metadata.get("price") {
            Some(Value::Float(price)) => Some(*price),
            _ => None,
        };
        let micros = |time: &Value| match time {
            Value::Timestamp(micros) => *micros,
            other => panic!("no time: {other:?}"),
        };
        let when = record.metadata.get("time").map(micros);
        let is = |wanted: &u8| tag == Some(format!("tag {wanted}").as_str());
        match self {
            Self::Number(n) => number == Some(*n),
            Self::NotNumber(n) => number != Some(*n),
            Self::Between(low, high) => number.is_some_and(|n| *low < n && n <= *high),
            Self::Tag(t) => is(t),
            Self::Tags(a, b) => is(a) || is(b),
            Self::HasTag => tag.is_some(),
            Self::Listed(n) => match record.metadata.get("list") {
                Some(Value::List(items)) => items.contains(&Value::Int(*n)),
                _ => false,
            },
            Self::Begins(begin) => tag.is_some_and(|tag| tag.starts_with(begin)),
            Self::Priced(low, high) => paid.is_some_and(|p| price(*low) <= p && p < price(*high)),
            Self::Cheap(most) => paid.is_some_and(|paid| paid < *most as f64),
            Self::Price(at) => paid == Some(price(*at)),
            Self::At(at) => when == Some(micros(&time(*at))),
            Self::Since(from) => when.is_some_and(|when| when >= micros(&time(*from))),
            Self::During(from, to) => {
                when.is_some_and(|when| micros(&time(*from)) <= when && when <= micros(&time(*to)))
            }
            Self::Ids(ids) => ids.contains(&record.id),
            Self::And(a, b) => a.holds(record) && b.holds(record),
            Self::Or(a, b) => a.holds(record) || b.holds(record),
            Self::Not(a) => !a.holds(record),
        }
    }
}
