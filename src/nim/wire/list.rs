//! Bodies of requests whose bulk is a list of texts: the other fields by serde, the texts by a
//! writer that copies what needs no escape. Layer: leaf of `wire`; pure.

use serde::Serialize;

use crate::nim::extra::Extra;

/// The JSON object `head` with the fields of `extra` that it does not have, and with one more, the
/// list that `write` appends item by item; `room` bytes are set aside for it.
pub(super) fn with_list<I>(
    head: &impl Serialize,
    extra: &Extra,
    name: &str,
    items: impl Iterator<Item = I>,
    room: usize,
    mut write: impl FnMut(&mut Vec<u8>, I) -> serde_json::Result<()>,
) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(room.saturating_add(512));
    extra.write(&mut body, head, Some(name))?;
    // The field goes before the bracket that closes the object.
    body.pop();
    if body.len() > 1 {
        body.push(b',');
    }
    text(&mut body, name)?;
    body.extend_from_slice(b":[");
    for (place, item) in items.enumerate() {
        if place > 0 {
            body.push(b',');
        }
        write(&mut body, item)?;
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

/// Appends a JSON string.
pub(super) fn text(body: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    if needs_escape(text.as_bytes()) {
        return serde_json::to_writer(body, text);
    }
    body.push(b'"');
    body.extend_from_slice(text.as_bytes());
    body.push(b'"');
    Ok(())
}

/// Whether there is a quote, a backslash or a control character; without branches, so that many
/// bytes are looked at together.
fn needs_escape(text: &[u8]) -> bool {
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    let (blocks, rest) = text.as_chunks::<16>();
    let found = |bytes: &[u8]| bytes.iter().fold(false, |found, byte| found | is_special(*byte));
    blocks.iter().any(|block| found(block)) || found(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Serialize)]
    struct Head {
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'static str>,
    }

    fn body(model: Option<&'static str>, texts: &[String]) -> Vec<u8> {
        joined(model, &Extra::default(), texts)
    }

    fn joined(model: Option<&'static str>, extra: &Extra, texts: &[String]) -> Vec<u8> {
        let head = Head { model };
        with_list(&head, extra, "input", texts.iter(), 0, |body, item| text(body, item))
            .expect("a body")
    }

    #[test]
    fn the_list_is_one_more_field_of_the_object() {
        let texts = ["a".to_owned(), "\"\\\n\u{7f}\u{e9}\u{1}".to_owned()];
        assert_eq!(body(None, &[]), br#"{"input":[]}"#);
        let read: Value = serde_json::from_slice(&body(Some("m"), &texts)).expect("JSON");
        assert_eq!(read, json!({"model": "m", "input": texts}));
    }

    #[test]
    fn further_fields_replace_neither_the_list_nor_another_field() {
        let texts = ["a".to_owned()];
        let mut extra = Extra::default();
        extra.set("input".to_owned(), json!("theirs"));
        assert_eq!(joined(None, &extra, &texts), br#"{"input":["a"]}"#);
        extra.set("model".to_owned(), json!("theirs"));
        extra.set("user".to_owned(), json!("theirs"));
        let written = joined(Some("m"), &extra, &texts);
        let read: Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!(read, json!({"model": "m", "user": "theirs", "input": texts}));
    }

    proptest! {
        #[test]
        fn every_text_is_written_as_serde_writes_it(given: String, tail in "[ -~]{0,40}") {
            for given in [given.clone(), tail.clone(), format!("{given}{tail}")] {
                let mut ours = Vec::new();
                text(&mut ours, &given).expect("a string");
                prop_assert_eq!(ours, serde_json::to_vec(&given).expect("a string"));
            }
        }
    }
}
