//! The words of a filter's text, with their places. Not the grammar (see `parse`).

use super::FilterError;
use crate::record::{Value, time};

/// A piece of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// The name of a field in backquotes.
    Name(String),
    /// A name or a keyword.
    Word(String),
    /// A text, a number or a time.
    Value(Value),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 11] = ["==", "!=", "<=", ">=", "=", "<", ">", "(", ")", "[", "]"];

/// All tokens with the byte each begins at, the end last.
///
/// # Errors
/// [`FilterError::Syntax`].
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let (token, length) = match first {
            '"' => quoted(rest, at)?,
            '`' => name(rest, at)?,
            ',' => (Token::Symbol(","), 1),
            '0'..='9' | '-' | '+' | '@' => number(rest, at)?,
            _ if first.is_alphabetic() || first == '_' => word(rest),
            _ => match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => return Err(syntax(at, "a field, a value or an operator", rest)),
            },
        };
        tokens.push((at, token));
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

/// The error at a byte of the text, which goes on with `found`.
pub(super) fn syntax(at: usize, expected: &'static str, found: &str) -> FilterError {
    let found = match found.chars().take(20).collect::<String>() {
        end if end.is_empty() => "the end".to_owned(),
        found => format!("{found:?}"),
    };
    FilterError::Syntax { at, expected, found }
}

/// A text as in JSON.
fn quoted(rest: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let length = end.map(|end| end + 2);
    let text = length.and_then(|length| serde_json::from_str(rest.get(..length)?).ok());
    match length.zip(text) {
        Some((length, text)) => Ok((Token::Value(Value::Text(text)), length)),
        None => Err(syntax(at, "a text in quotes, escaped as in json,", rest)),
    }
}

/// A name in backquotes; two of them stand for one.
fn name(rest: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let mut name = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((place, c)) = chars.next() {
        if c != '`' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '`').is_some() {
            name.push('`');
        } else {
            return Ok((Token::Name(name), place + 1));
        }
    }
    Err(syntax(at, "a field name that ends in a backquote", rest))
}

fn word(rest: &str) -> (Token, usize) {
    let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
    (Token::Word(rest[..end].to_owned()), end)
}

/// What a name may hold without backquotes.
pub(super) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/')
}

/// A number, a time, or microseconds after `@`.
fn number(rest: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '+' | '-' | '@');
    let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
    let written = &rest[..end];
    if time::lacks_zone(written) {
        let (at, rest) = (at + end, rest.get(end..).unwrap_or_default());
        return Err(syntax(at, "the zone of the time, Z or as +01:00,", rest));
    }
    let value = match written.strip_prefix('@') {
        Some(micros) => micros.parse().ok().map(Value::Timestamp),
        None => of_number(written),
    };
    let value =
        value.ok_or_else(|| syntax(at, "a number, a date or a time with its zone", rest))?;
    Ok((Token::Value(value), end))
}

fn of_number(written: &str) -> Option<Value> {
    if let Ok(number) = written.parse() {
        return Some(Value::Int(number));
    }
    if let Some(micros) = time::parse(written) {
        return Some(Value::Timestamp(micros));
    }
    // Not the words that Rust takes for numbers.
    let digits = written.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit());
    let number: f64 = written.parse().ok().filter(|_| digits)?;
    number.is_finite().then_some(Value::Float(number))
}
