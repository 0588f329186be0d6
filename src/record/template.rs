//! The text that a model reads of a record, by a template over title, text and fields.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Record, Value, check_field_name, time};

/// A text with the values of a record in it: `{title}`, `{text}`, `{id}`, or `{name}` for the
/// metadata field of that name. What a record does not have is empty. Lists are joined by `, `,
/// timestamps as in filters: RFC 3339, or the date alone at midnight. `{{` and `}}` are braces.
/// Fields that are named `title`, `text` or `id` cannot be reached.
///
/// ```
/// use portolan::{Record, Template};
///
/// let template = Template::parse("{title}\n{text} ({lang}, {{{year}}})")?;
/// let record = Record::new(1).title("Chart").text("A sea chart.").field("lang", "en");
/// assert_eq!(template.render(&record), "Chart\nA sea chart. (en, {})");
/// assert_eq!(template.to_string(), "{title}\n{text} ({lang}, {{{year}}})");
/// let wrong = Template::parse("{title").unwrap_err();
/// assert_eq!(wrong.to_string(), "template at byte 0: no `}` follows: write `{{` for a brace");
/// # Ok::<(), portolan::TemplateError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Title,
    Text,
    Id,
    Field(String),
}

/// Why a template cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("template at byte {at}: {reason}")]
#[non_exhaustive]
pub struct TemplateError {
    /// Byte of the text at which it goes wrong.
    pub at: usize,
    /// What is wrong, and what to write.
    pub reason: &'static str,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`], with the place: a brace without its partner, or a name that no field
    /// can have.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let at = text.len() - rest.len() + brace;
            let (before, from) = rest.split_at(brace);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                literal.extend(from.chars().next());
                rest = after;
                continue;
            }
            let Some(named) = from.strip_prefix('{') else {
                let reason = "a `}` without its `{`: write `}}` for a brace";
                return Err(TemplateError { at, reason });
            };
            let Some((name, after)) = named.split_once('}') else {
                let reason = "no `}` follows: write `{{` for a brace";
                return Err(TemplateError { at, reason });
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part(name).map_err(|reason| TemplateError { at, reason })?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// The text of a record.
    #[must_use]
    pub fn render(&self, record: &Record) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Title => text.push_str(record.title.as_deref().unwrap_or_default()),
                Part::Text => text.push_str(&record.text),
                Part::Id => text.push_str(&record.id.to_string()),
                Part::Field(name) => {
                    if let Some(value) = record.metadata.get(name) {
                        write_value(&mut text, value);
                    }
                }
            }
        }
        text
    }
}

fn part(name: &str) -> Result<Part, &'static str> {
    match name {
        "title" => Ok(Part::Title),
        "text" => Ok(Part::Text),
        "id" => Ok(Part::Id),
        _ if name.contains('{') => Err("a `{` inside of a name: close the first one"),
        _ if check_field_name(name).is_err() => {
            Err("no field can have this name: use 1 to 128 bytes without NUL")
        }
        _ => Ok(Part::Field(name.to_owned())),
    }
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Float(number) => text.push_str(&number.to_string()),
        Value::Text(value) => text.push_str(value),
        Value::Timestamp(micros) => {
            text.push_str(&time::text(*micros).unwrap_or_else(|| micros.to_string()));
        }
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push_str(", ");
                }
                write_value(text, item);
            }
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text)
    }
}

/// The template as it is read.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Literal(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                Part::Title => f.write_str("{title}")?,
                Part::Text => f.write_str("{text}")?,
                Part::Id => f.write_str("{id}")?,
                Part::Field(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        text.replace('{', "{{").replace('}', "}}")
    }

    proptest! {
        #[test]
        fn what_is_written_of_a_template_is_read_back(text in "[a{} .\u{e9}]{0,16}") {
            if let Ok(template) = Template::parse(&text) {
                let again = template.to_string();
                prop_assert_eq!(Template::parse(&again).expect("it was written"), template);
                prop_assert_eq!(again, text);
            }
        }

        #[test]
        fn literals_and_names_come_out_as_they_were_put_in(
            parts in prop::collection::vec(("\\PC{0,5}", "[a-z.]{1,5}", "\\PC{0,5}"), 0..5),
        ) {
            let mut record = Record::new(1);
            for (_, name, value) in &parts {
                record = record.field(format!("f.{name}"), value.as_str());
            }
            let (mut template, mut expected) = (String::new(), String::new());
            for (literal, name, _) in &parts {
                let name = format!("f.{name}");
                template += &format!("{}{{{name}}}", written(literal));
                let Value::Text(value) = &record.metadata[&name] else { panic!("a text") };
                expected += &format!("{literal}{value}");
            }
            let template = Template::parse(&template).expect("a template");
            prop_assert_eq!(template.render(&record), expected);
        }

        #[test]
        fn a_wrong_template_is_refused_at_a_brace(text in "[a{}\u{e9}]{0,16}") {
            if let Err(error) = Template::parse(&text) {
                prop_assert!(text[error.at..].starts_with(['{', '}']), "{error} in {text}");
            }
        }
    }

    #[test]
    fn values_of_every_type_are_written() {
        let list = Value::List(vec![1.into(), "b".into(), Value::Null, 0.5.into()]);
        let record = Record::new(7).field("l", list).field("t", Value::Timestamp(0));
        let record = record.field("n", Value::Null).field("b", true).field("i", -3);
        let template = Template::parse("{id}|{title}|{text}|{l}|{t}|{n}|{b}|{i}|{absent}");
        let text = template.expect("a template").render(&record);
        assert_eq!(text, "7|||1, b, , 0.5|1970-01-01||true|-3|");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, reason) in [
            ("{title", 0, "no `}` follows"),
            ("ab}c", 2, "without its `{`"),
            ("\u{e9}{}", 2, "no field can have"),
            ("{a{b}", 0, "inside of a name"),
            ("{{}", 2, "without its `{`"),
        ] {
            let error = Template::parse(text).expect_err("it is wrong");
            assert!(error.at == at && error.reason.contains(reason), "{text}: {error}");
        }
    }
}
