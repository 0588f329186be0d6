//! The constants that reach disk: the table in storage-format.md and the constants of
//! `src/format.rs` are the same names with the same values.

use std::collections::BTreeMap;
use std::path::Path;

use super::documents::read;
use super::expression::{Value, evaluate};
use super::source::{Source, words};

const DOCUMENT: &str = "storage-format.md";
const MODULE: &str = "src/format.rs";

pub fn violations(root: &Path) -> Vec<String> {
    let text = read(root, DOCUMENT);
    let Some(table) = text
        .split_once("<!-- constants -->")
        .and_then(|(_, rest)| rest.split_once("<!-- /constants -->"))
        .map(|(table, _)| table)
    else {
        return vec![format!("{DOCUMENT}: no table between the `constants` comments")];
    };
    let code = read(root, MODULE);
    if code.is_empty() {
        return vec![format!("{MODULE}: missing or empty")];
    }
    let declared = declared(&Source::new(MODULE.to_string(), code));
    compare(&documented(table), &declared)
}

fn compare(documented: &[(String, String)], declared: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (name, text)) in documented.iter().enumerate() {
        if documented[..index].iter().any(|(other, _)| other == name) {
            found.push(format!("{DOCUMENT}: `{name}` has two rows"));
        }
        let Some(source) = declared.get(name) else {
            found.push(format!("{DOCUMENT}: `{name}` is no public constant of {MODULE}"));
            continue;
        };
        if !same(text, source, declared) {
            found.push(format!("{DOCUMENT}: `{name}` is {text}, in {MODULE} it is {source}"));
        }
    }
    let missing =
        declared.keys().filter(|name| !documented.iter().any(|(other, _)| other == *name));
    found.extend(missing.map(|name| format!("{MODULE}: `{name}` is not in {DOCUMENT}")));
    found
}

/// Equal as values; where one is no simple expression, equal as text but for white space.
fn same(text: &str, source: &str, declared: &BTreeMap<String, String>) -> bool {
    let (left, right) = (value(text, declared, 0), value(source, declared, 0));
    match (left, right) {
        (Some(left), Some(right)) => left == right,
        _ => text.split_whitespace().eq(source.split_whitespace()),
    }
}

/// Evaluates an expression whose names are constants of the module, at most 16 deep.
fn value(text: &str, declared: &BTreeMap<String, String>, depth: usize) -> Option<Value> {
    let lookup = |name: &str| {
        let text = declared.get(name).filter(|_| depth < 16)?;
        value(text, declared, depth + 1)
    };
    evaluate(text, &lookup)
}

/// Name and value of every row of the table, backticks removed; heading and rule left out.
fn documented(table: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let cells = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let (name, value) = cells.split_once('|')?;
        let plain = |cell: &str| cell.trim().trim_matches('`').trim().replace("\\|", "|");
        Some((plain(name), plain(value)))
    };
    let is_rule = |name: &str| name.chars().all(|c| c == '-' || c == ':');
    let rows = table.lines().filter_map(row);
    rows.filter(|(name, _)| !is_rule(name) && name != "constant").collect()
}

/// Every `pub` or `pub(..)` constant at the top level of the module, with its value as text.
fn declared(source: &Source) -> BTreeMap<String, String> {
    let live = &source.live;
    let mut found = BTreeMap::new();
    for at in words(live, "const") {
        let is_top = live[..at].matches('{').count() == live[..at].matches('}').count();
        let before = live[..at].rsplit([';', '}', '{', ']']).next().unwrap_or("").trim();
        if !is_top || words(before, "pub").is_empty() {
            continue;
        }
        let Some((name, value)) = name_and_value(source, at + "const".len()) else { continue };
        found.insert(name, value);
    }
    found
}

/// Splits `NAME: TYPE = VALUE;` behind a `const`; `None` for a `const fn`.
fn name_and_value(source: &Source, start: usize) -> Option<(String, String)> {
    let live = &source.live[start..];
    let colon = live.find(':')?;
    let name = live[..colon].trim();
    if name.contains(char::is_whitespace) {
        return None;
    }
    let equals = outside_brackets(live, colon, b'=')?;
    let end = outside_brackets(live, equals, b';')?;
    let value = source.uncommented[start + equals + 1..start + end].trim();
    Some((name.to_string(), value.to_string()))
}

fn outside_brackets(live: &str, from: usize, wanted: u8) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in live.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ if byte == wanted && depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}
