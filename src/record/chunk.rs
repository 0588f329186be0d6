//! How chunks of a document are named: the id of the document, `#`, and the place of the chunk.

use super::{Record, RecordId, Value};

/// The field of a chunk that holds the id of its document.
const DOCUMENT_FIELD: &str = "document";
/// The field of a chunk that holds its place among the chunks of its document, from 0.
const CHUNK_FIELD: &str = "chunk";

impl RecordId {
    /// The id of a chunk of the document of this id; integers become text, so that documents `7`
    /// and `"7"` must not both be cut into chunks of one collection.
    ///
    /// ```
    /// use portolan::RecordId;
    ///
    /// assert_eq!(RecordId::from("guide").chunk(2), RecordId::from("guide#2"));
    /// assert_eq!(RecordId::from(7).chunk(0), RecordId::from("7#0"));
    /// ```
    #[must_use]
    pub fn chunk(&self, position: usize) -> Self {
        Self::Text(format!("{self}#{position}"))
    }
}

impl From<&RecordId> for Value {
    fn from(id: &RecordId) -> Self {
        match id {
            RecordId::Int(number) => Self::Int(*number),
            RecordId::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl Record {
    /// This record as the chunk of a document at a place: under the id and with the fields of it.
    #[must_use]
    pub(crate) fn into_chunk(self, document: &RecordId, position: usize) -> Self {
        let place = i64::try_from(position).unwrap_or(i64::MAX);
        Self { id: document.chunk(position), ..self }
            .field(DOCUMENT_FIELD, document)
            .field(CHUNK_FIELD, place)
    }

    /// The document and the place in it of a record that is a chunk by its id and its fields.
    #[must_use]
    pub(crate) fn chunk_place(&self) -> Option<(RecordId, usize)> {
        let document = match self.metadata.get(DOCUMENT_FIELD)? {
            Value::Text(text) => RecordId::Text(text.clone()),
            Value::Int(number) => RecordId::Int(*number),
            _ => return None,
        };
        let Some(Value::Int(place)) = self.metadata.get(CHUNK_FIELD) else { return None };
        let position = chunk_position(&document, &self.id)?;
        (i64::try_from(position) == Ok(*place)).then_some((document, position))
    }

    /// Whether this is a chunk of that document, by its fields.
    #[must_use]
    pub(crate) fn is_chunk_of(&self, document: &RecordId) -> bool {
        self.metadata.get(DOCUMENT_FIELD) == Some(&Value::from(document))
    }
}

/// The place of a chunk by its id; none if it is no id of a chunk of that document.
pub fn chunk_position(document: &RecordId, id: &RecordId) -> Option<usize> {
    let RecordId::Text(text) = id else { return None };
    let digits = text.strip_prefix(&document.to_string())?.strip_prefix('#')?;
    let position = digits.parse().ok()?;
    (document.chunk(position) == *id).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_chunk_is_read_from_its_id_and_from_no_other() {
        let document = RecordId::from("a");
        for position in [0, 1, 10, 4_000_000_000] {
            assert_eq!(chunk_position(&document, &document.chunk(position)), Some(position));
        }
        for other in ["a", "a#", "a#x", "a#01", "a#+1", "a#1#0", "b#1", "aa#1"] {
            assert_eq!(chunk_position(&document, &RecordId::from(other)), None, "{other}");
        }
        assert_eq!(chunk_position(&document, &RecordId::from(1)), None);
        assert_eq!(chunk_position(&RecordId::from(-7), &RecordId::from("-7#3")), Some(3));
    }

    #[test]
    fn a_chunk_knows_its_document() {
        let chunk = Record::new("x").text("t").into_chunk(&RecordId::from(7), 3);
        assert_eq!(chunk.id, RecordId::from("7#3"));
        assert!(chunk.is_chunk_of(&RecordId::from(7)) && !chunk.is_chunk_of(&RecordId::from("7")));
        assert_eq!(chunk.metadata[CHUNK_FIELD], Value::Int(3));
        assert_eq!(chunk.chunk_place(), Some((RecordId::from(7), 3)));
        // What only calls itself a chunk is none.
        assert_eq!(Record { id: "7#4".into(), ..chunk.clone() }.chunk_place(), None);
        assert_eq!(chunk.clone().field("document", "other").chunk_place(), None);
        assert_eq!(chunk.field("document", 7.5).chunk_place(), None);
        assert_eq!(Record::new("7#3").chunk_place(), None);
    }
}
