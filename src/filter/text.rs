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
            Self::Ids(ids) => write!(f, "id in {}", Ids(ids)),
            Self::And(all) => joined(f, all, " and ", "true"),
            Self::Or(any) => joined(f, any, " or ", "false"),
            Self::Not(inner) => match inner.as_ref() {
                Self::Eq(field, value) => write!(f, "{} != {}", Name(field), Shown(value)),
                Self::In(field, values) => write!(f, "{} not in {}", Name(field), List(values)),
                Self::Ids(ids) => write!(f, "id not in {}", Ids(ids)),
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
        let is_keyword = KEYWORDS.iter().any(|keyword| self.0.eq_ignore_ascii_case(keyword));
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
            f.write_str(if at > 0 { ", " } else { "" })?;
            match id {
                RecordId::Int(number) => write!(f, "{number}")?,
                RecordId::Text(text) => Quoted(text).fmt(f)?,
            }
        }
        f.write_str(")")
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
            ("id in [7]", Filter::any_of("id", [7])),
            ("id = 7 or id not in [8]", Filter::eq("id", 7).or(Filter::any_of("id", [8]).negate())),
            ("x is null", Filter::is_null("x")),
            ("x IS NOT NULL", Filter::is_null("x").negate()),
            ("is is null", Filter::is_null("is")),
            ("`not` IN [1, \"a\", null]", {
                Filter::In("not".to_owned(), vec![1.into(), "a".into(), Value::Null])
            }),
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
            ("`id` in (1)", 8, "\"[\""),
            ("a in (1)", 5, "\"[\""),
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
        assert!(matches!("`` = 1".parse::<Filter>(), Err(FilterError::Field(_))));
    }

    #[test]
    fn depth_is_bounded() {
        let negated = format!("{}a > 1", "not ".repeat(DEPTH_MAX / 2 - 1));
        assert_eq!(read(&negated).to_string(), negated);
        let nested = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
        assert_eq!(read(&nested(DEPTH_MAX / 2 - 1)), Filter::eq("a", 1));
        for text in [nested(DEPTH_MAX / 2), nested(100_000), "not ".repeat(100_000)] {
            assert!(matches!(text.parse::<Filter>(), Err(FilterError::TooDeep)));
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
        let field = "[^\\x00]{1,5}";
        let bound = || proptest::option::of((value(), any::<bool>()));
        let leaf = prop_oneof![
            (field, value()).prop_map(|(field, value)| Filter::Eq(field, value)),
            (field, prop::collection::vec(value(), 0..3))
                .prop_map(|(field, values)| Filter::In(field, values)),
            (field, bound(), bound())
                .prop_filter("a bound", |(_, low, high)| low.is_some() || high.is_some())
                .prop_map(|(field, lower, upper)| Filter::Range { field, lower, upper }),
            field.prop_map(Filter::Exists),
            (field, ".{0,5}").prop_map(|(field, begin)| Filter::StartsWith(field, begin)),
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
