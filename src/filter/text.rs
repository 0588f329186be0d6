//! Filters as text, written: what `parse` reads back as the same filter, brackets of one or none
//! aside.

use std::fmt;

use super::Filter;
use super::lexer::is_name;
use super::parse::KEYWORDS;
use crate::record::{RecordId, Value, time};

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eq(field, value) => write!(f, "{} = {}", Name(field), Shown(value)),
            Self::In(field, values) => write!(f, "{} in {}", Name(field), List(values)),
            Self::Range { field, lower, upper } => bounds(f, field, lower.as_ref(), upper.as_ref()),
            Self::Exists(field) => write!(f, "exists({})", Name(field)),
            Self::StartsWith(field, begin) => {
                write!(f, "starts_with({}, {})", Name(field), Quoted(begin))
            }
            Self::Ids(ids) => match ids.as_slice() {
                [id] => write!(f, "id = {}", Id(id)),
                ids => write!(f, "id in {}", Ids(ids)),
            },
            Self::And(all) => joined(f, all, " and ", "true"),
            Self::Or(any) => joined(f, any, " or ", "false"),
            Self::Not(inner) => match inner.as_ref() {
                Self::Eq(field, value) => write!(f, "{} != {}", Name(field), Shown(value)),
                Self::In(field, values) => write!(f, "{} not in {}", Name(field), List(values)),
                Self::Ids(ids) => match ids.as_slice() {
                    [id] => write!(f, "id != {}", Id(id)),
                    ids => write!(f, "id not in {}", Ids(ids)),
                },
                Self::And(many) | Self::Or(many) if !many.is_empty() => write!(f, "not ({inner})"),
                // No brackets where none are needed: they count as depth when it is read.
                inner => write!(f, "not {inner}"),
            },
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, filters: &[Filter], word: &str, empty: &str) -> fmt::Result {
    if filters.is_empty() {
        return f.write_str(empty);
    }
    for (at, filter) in filters.iter().enumerate() {
        if at > 0 {
            f.write_str(word)?;
        }
        match filter {
            Filter::And(inner) | Filter::Or(inner) if !inner.is_empty() => write!(f, "({filter})"),
            _ => write!(f, "{filter}"),
        }?;
    }
    Ok(())
}

type Bound = (Value, bool);

fn bounds(
    f: &mut fmt::Formatter<'_>,
    field: &str,
    lower: Option<&Bound>,
    upper: Option<&Bound>,
) -> fmt::Result {
    let (field, equal) = (Name(field), |included: bool| if included { "=" } else { "" });
    match (lower, upper) {
        // Any value at all.
        (None, None) => write!(f, "exists({field})"),
        (Some((low, with)), None) => write!(f, "{field} >{} {}", equal(*with), Shown(low)),
        (None, Some((high, with))) => write!(f, "{field} <{} {}", equal(*with), Shown(high)),
        (Some((low, with)), Some((high, to))) => {
            let (low, high) = (Shown(low), Shown(high));
            write!(f, "{low} <{} {field} <{} {high}", equal(*with), equal(*to))
        }
    }
}

struct Name<'t>(&'t str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begins = self.0.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let mut reserved = KEYWORDS.iter().chain(&["id"]);
        let is_keyword = reserved.any(|keyword| self.0.eq_ignore_ascii_case(keyword));
        if begins && !is_keyword && self.0.chars().all(is_name) {
            f.write_str(self.0)
        } else {
            write!(f, "`{}`", self.0.replace('`', "``"))
        }
    }
}

struct List<'v>(&'v [Value]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, value) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{}", Shown(value))?;
        }
        f.write_str("]")
    }
}

struct Ids<'i>(&'i [RecordId]);

impl fmt::Display for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (at, id) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{}", Id(id))?;
        }
        f.write_str(")")
    }
}

struct Id<'i>(&'i RecordId);

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RecordId::Int(number) => write!(f, "{number}"),
            RecordId::Text(text) => Quoted(text).fmt(f),
        }
    }
}

/// A text as in JSON.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = serde_json::to_string(self.0).map_err(|_| fmt::Error)?;
        f.write_str(&quoted)
    }
}

struct Shown<'v>(&'v Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(number) => write!(f, "{number}"),
            // With a point or an exponent, so that it is read as a float again.
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Text(text) => Quoted(text).fmt(f),
            Value::Timestamp(micros) => match time::text(*micros) {
                Some(text) => f.write_str(&text),
                None => write!(f, "@{micros}"),
            },
            Value::List(items) => List(items).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::predicate::check_comparison;
    use super::super::{DEPTH_MAX, FilterError};
    use super::*;

    fn read(text: &str) -> Filter {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_form_is_read_as_the_builder_makes_it() {
        let cases = [
            ("lang = \"en\"", Filter::eq("lang", "en")),
            ("lang==\"a\\\"b\\u00e9\"", Filter::eq("lang", "a\"b\u{e9}")),
            ("year != -3", Filter::ne("year", -3)),
            ("year >= 2.5e3", Filter::gte("year", 2500.0)),
            ("year<2", Filter::lt("year", 2)),
            ("2 > year", Filter::lt("year", 2)),
            ("2 <= year", Filter::gte("year", 2)),
            ("day > 1970-01-02", Filter::gt("day", Value::Timestamp(86_400_000_000))),
            ("day = @-5", Filter::eq("day", Value::Timestamp(-5))),
            ("EXISTS (x)", Filter::exists("x")),
            ("starts_with(path, \"a/\")", Filter::starts_with("path", "a/")),
            ("Starts_With ( `not`,\"\" )", Filter::starts_with("not", "")),
            ("contains(tags, 5)", Filter::contains("tags", 5)),
            ("contains = 1 and starts_with = 2", {
                Filter::eq("contains", 1).and(Filter::eq("starts_with", 2))
            }),
            ("id in (\"a\", 7, -2)", Filter::Ids(vec!["a".into(), 7.into(), (-2).into()])),
            ("id in ()", Filter::Ids(Vec::new())),
            ("ID NOT IN (7)", Filter::ids([7]).negate()),
            ("id in [7]", Filter::ids([7])),
            ("id = \"a\"", Filter::ids(["a"])),
            ("Id != 7", Filter::ids([7]).negate()),
            ("id == 7 or id not in [8, 9]", Filter::ids([7]).or(Filter::ids([8, 9]).negate())),
            ("`id` = 7", Filter::eq("id", 7)),
            ("1 <= `ID` and `id` in [7]", { Filter::gte("ID", 1).and(Filter::any_of("id", [7])) }),
            ("1 <= x <= 2", Filter::range("x", 1..=2)),
            ("x is null", Filter::is_null("x")),
            ("x IS NOT NULL", Filter::is_null("x").negate()),
            ("is is null", Filter::is_null("is")),
            ("`not` IN [1, \"a\", null]", {
                Filter::In("not".to_owned(), vec![1.into(), "a".into(), Value::Null])
            }),
            ("a in (1, 2)", Filter::any_of("a", [1, 2])),
            ("a not in ( )", Filter::In("a".to_owned(), Vec::new()).negate()),
            ("a not in []", Filter::In("a".to_owned(), Vec::new()).negate()),
            ("x = true and y = false", Filter::eq("x", true).and(Filter::eq("y", false))),
            ("a=1 and b=2 and c=3", {
                Filter::eq("a", 1).and(Filter::eq("b", 2)).and(Filter::eq("c", 3))
            }),
            ("a=1 or b=2 and c=3", {
                Filter::eq("a", 1).or(Filter::eq("b", 2).and(Filter::eq("c", 3)))
            }),
            ("not a=1 and b=2", Filter::ne("a", 1).and(Filter::eq("b", 2))),
            ("not (a=1 or b=2)", Filter::eq("a", 1).or(Filter::eq("b", 2)).negate()),
            (" true ", Filter::And(Vec::new())),
            ("false or x = 1", Filter::Or(vec![Filter::Or(Vec::new()), Filter::eq("x", 1)])),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
            assert_eq!(read(&expected.to_string()), expected, "{expected}");
        }
        let between = Filter::Range {
            field: "a.b-c/d".to_owned(),
            lower: Some((1.into(), true)),
            upper: Some((5.into(), false)),
        };
        assert_eq!(read("1 <= a.b-c/d < 5"), between);
        assert_eq!(read("5 > a.b-c/d >= 1"), between);
        assert_eq!(between.to_string(), "1 <= a.b-c/d < 5");
    }

    #[test]
    fn errors_point_at_the_place_and_say_what_belongs_there() {
        for (text, place, words) in [
            ("", 0, "a field, a value"),
            ("lang", 4, "=, !="),
            ("lang = ", 7, "a value"),
            ("lang = en", 7, "a value"),
            ("lang = \"en", 7, "in quotes"),
            ("a = 1 b = 2", 6, "\"and\""),
            ("(a = 1", 6, "\")\""),
            ("a in [1 2]", 8, "\",\""),
            ("a in [1,]", 8, "a value"),
            ("1 < a > 0", 6, "same direction"),
            ("5", 1, "and a field"),
            ("a = 2024-02-30", 4, "a date"),
            ("a = 1e999", 4, "a number"),
            ("a = -inf", 4, "a number"),
            ("a ~ 1", 2, "an operator"),
            ("`a = 1", 0, "backquote"),
            ("exists x", 7, "\"(\""),
            ("null", 4, "and a field"),
            ("starts_with(a, 5)", 15, "a text in quotes"),
            ("starts_with(a \"b\")", 14, "\",\""),
            ("starts_with(5, \"b\")", 12, "a field"),
            ("starts_with(a, \"b\"", 18, "\")\""),
            ("contains(a, b)", 12, "a value"),
            ("id in (1.5)", 7, "an id"),
            ("id in (1 2)", 9, "\",\" or"),
            ("id in (1,)", 9, "an id"),
            ("id in (1", 8, "\",\" or"),
            ("id in [1)", 8, "\",\" or \"]\""),
            ("id = 1.5", 5, "an id"),
            ("id != null", 6, "an id"),
            ("id < 5", 3, "in backquotes"),
            ("id is null", 3, "in backquotes"),
            ("id not 5", 7, "\"in\""),
            ("id in 5", 6, "\"(\""),
            ("1 < id < 5", 4, "in backquotes"),
            ("exists(id)", 7, "in backquotes"),
            ("`id` in 1", 8, "\"[\""),
            ("a in (1 2)", 8, "\",\" or \")\""),
            ("a in (1]", 7, "\",\" or \")\""),
            ("a < 2024-01-31T10:00:00", 23, "the zone of the time"),
            ("a < 2024-01-31T10:00:00.5 and b = 1", 25, "the zone of the time"),
            ("a is 5", 5, "\"null\""),
            ("a is not 5", 9, "\"null\""),
        ] {
            match text.parse::<Filter>() {
                Err(FilterError::Syntax { at, expected, .. }) => {
                    assert_eq!(at, place, "{text}: {expected}");
                    assert!(expected.contains(words), "{text}: {expected}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_refused_for_another_reason_has_its_place_too() {
        let deep = format!("a = 1 and {}b = 2", "not ".repeat(DEPTH_MAX / 2));
        let within = 10 + 4 * (DEPTH_MAX / 2);
        for (text, place, words) in [
            ("a = 1 and `` = 1", 10, "field"),
            ("exists(``)", 7, "field"),
            ("a = [1]", 4, "\"a\" compares with a list"),
            ("a = 1 or b < [1]", 13, "\"b\" compares with a list"),
            ("contains(a, [1])", 12, "with a list"),
            ("a = 1 and 1 <= b < \"x\"", 10, "bounds of two types"),
            ("not (1 < b < 2024-01-31)", 5, "bounds of two types"),
            (&deep, within, "64 deep"),
        ] {
            let error = text.parse::<Filter>().unwrap_err();
            assert_eq!(error.place(), Some(place), "{text}: {error}");
            assert!(matches!(error, FilterError::Refused { .. }), "{text}: {error:?}");
            let words_of = error.to_string();
            assert!(words_of.starts_with(&format!("filter text at byte {place}: ")), "{words_of}");
            assert!(words_of.contains(words), "{words_of}");
        }
        // Integers and floats are one type.
        assert!("1 <= b < 2.5".parse::<Filter>().is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let negated = format!("{}a > 1", "not ".repeat(DEPTH_MAX / 2 - 1));
        assert_eq!(read(&negated).to_string(), negated);
        let nested = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
        assert_eq!(read(&nested(DEPTH_MAX / 2 - 1)), Filter::eq("a", 1));
        for text in [nested(DEPTH_MAX / 2), nested(100_000), "not ".repeat(100_000)] {
            let error = text.parse::<Filter>().unwrap_err();
            let FilterError::Refused { error, .. } = error else { panic!("{error:?}") };
            assert!(matches!(*error, FilterError::TooDeep), "{error:?}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::Float),
            ".{0,6}".prop_map(Value::Text),
            any::<i64>().prop_map(Value::Timestamp),
        ]
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let field = prop_oneof![4 => "[^\\x00]{1,5}", 1 => Just("id".to_owned())].boxed();
        let field = || field.clone();
        let bound = || proptest::option::of((value(), any::<bool>()));
        let leaf = prop_oneof![
            (field(), value()).prop_map(|(field, value)| Filter::Eq(field, value)),
            (field(), prop::collection::vec(value(), 0..3))
                .prop_map(|(field, values)| Filter::In(field, values)),
            (field(), bound(), bound())
                .prop_filter("a bound", |(_, low, high)| low.is_some() || high.is_some())
                .prop_map(|(field, lower, upper)| Filter::Range { field, lower, upper })
                .prop_filter("of one type", |filter| check_comparison(filter).is_ok()),
            field().prop_map(Filter::Exists),
            (field(), ".{0,5}").prop_map(|(field, begin)| Filter::StartsWith(field, begin)),
            prop::collection::vec(
                prop_oneof![
                    any::<i64>().prop_map(RecordId::Int),
                    ".{0,5}".prop_map(RecordId::Text)
                ],
                0..3
            )
            .prop_map(Filter::Ids),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            let many = prop::collection::vec(inner.clone(), 2..4);
            prop_oneof![
                many.clone().prop_map(Filter::And),
                many.prop_map(Filter::Or),
                inner.prop_map(Filter::negate),
                Just(Filter::And(Vec::new())),
                Just(Filter::Or(Vec::new())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(filter in filter()) {
            let text = filter.to_string();
            prop_assert_eq!(text.parse::<Filter>().expect(&text), filter);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9 ()\\[\\]<>=!\"`,.@-]{0,30}") {
            if let Ok(filter) = text.parse::<Filter>() {
                let written = filter.to_string();
                prop_assert_eq!(written.parse::<Filter>().expect("its own text"), filter);
            }
        }
    }
}
