//! The two hot answers, vectors and scores, read in one pass and without a copy. What is not as
//! nearly all servers write it gives none: then the general parser decides, whose errors are the
//! ones that callers see. Layer: above `components` and `float`; pure.
//!
//! Numbers are the `f32` nearest to their text. The general parser goes through double precision,
//! itself not always the nearest, so it may be a unit in the last place away.

use serde_json::Number;

use super::{Outcome, Scores, Vectors};
use crate::nim::components::{Component, Numbers};
use crate::nim::float;

/// Longest name of a field that is known, and more.
const NAME_LIMIT: usize = 64;

/// The answer of NIMs and of `OpenAI`'s family to an embedding request.
pub(in crate::nim) fn vectors<T: Component>(answer: &[u8]) -> Option<Vectors<T>> {
    let mut room = 0;
    read(answer, [b"data", b"embedding"], |json| {
        let (vector, rest) = T::scan(json, room)?;
        room = vector.len();
        Some((Numbers::List(vector), rest))
    })
}

/// The answer of NIMs to a ranking request.
pub(in crate::nim) fn logits(answer: &[u8]) -> Option<Scores> {
    read(answer, [b"rankings", b"logit"], float::read)
}

/// The answer of Cohere's family to a ranking request.
pub(in crate::nim) fn relevance(answer: &[u8]) -> Option<Scores> {
    read(answer, [b"results", b"relevance_score"], float::read)
}

/// An object with a list, by its name and that of the value of its items.
fn read<'a, V>(
    answer: &'a [u8],
    [list, value]: [&[u8]; 2],
    mut take: impl FnMut(&'a [u8]) -> Option<(V, &'a [u8])>,
) -> Option<Outcome<V>> {
    let (mut items, mut model, mut usage) = (None, None, None);
    let mut json = Reader { json: answer };
    json.object(|json, name| match name {
        b"model" => set(&mut model, json.nullable(Reader::string)?),
        b"usage" => set(&mut usage, json.nullable(Reader::usage)?),
        // A failure under status 200, whatever else there is.
        b"error" => None,
        name if name == list => {
            let found = json.list(|json| item(json, value, &mut take))?;
            set(&mut items, found)
        }
        _ => json.skip(),
    })?;
    float::skip_space(json.json).is_empty().then_some(())?;
    Some(Outcome {
        items: items?,
        tokens: usage.flatten().flatten(),
        model: model.flatten().map(str::to_owned),
    })
}

fn item<'a, V>(
    json: &mut Reader<'a>,
    value: &[u8],
    take: &mut impl FnMut(&'a [u8]) -> Option<(V, &'a [u8])>,
) -> Option<(Number, V)> {
    let (mut index, mut found) = (None, None);
    json.object(|json, name| match name {
        b"index" => set(&mut index, json.count()?),
        name if name == value => {
            let (one, rest) = take(float::skip_space(json.json))?;
            json.json = rest;
            set(&mut found, one)
        }
        _ => json.skip(),
    })?;
    Some((index?.into(), found?))
}

/// A field that was not there yet.
fn set<V>(field: &mut Option<V>, value: V) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

/// What is left of a JSON text.
struct Reader<'a> {
    json: &'a [u8],
}

impl<'a> Reader<'a> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = float::skip_space(self.json).split_first()?;
        self.json = rest;
        (*first == byte).then_some(())
    }

    /// Whether another item follows the one before; none where there is neither comma nor end.
    fn more(&mut self, end: u8) -> Option<bool> {
        let (first, rest) = float::skip_space(self.json).split_first()?;
        self.json = rest;
        match *first {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    fn is_empty(&mut self, end: u8) -> bool {
        let rest = float::skip_space(self.json);
        let is_end = rest.first() == Some(&end);
        self.json = if is_end { rest.get(1..).unwrap_or_default() } else { rest };
        is_end
    }

    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.is_empty(b'}') {
            return Some(());
        }
        loop {
            let name = self.string()?.as_bytes();
            self.expect(b':')?;
            field(self, name)?;
            if !self.more(b'}')? {
                return Some(());
            }
        }
    }

    fn list<V>(&mut self, mut item: impl FnMut(&mut Self) -> Option<V>) -> Option<Vec<V>> {
        let mut items = Vec::new();
        self.expect(b'[')?;
        if self.is_empty(b']') {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if !self.more(b']')? {
                return Some(items);
            }
        }
    }

    /// A short text of printable ASCII without escapes, such as names are.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let end = self
            .json
            .iter()
            .take(NAME_LIMIT * 4)
            .position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.json.split_at_checked(end)?;
        self.json = rest;
        self.json = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    /// A number without sign, fraction and exponent.
    fn count(&mut self) -> Option<u64> {
        let json = float::skip_space(self.json);
        let digits = json.iter().take(19).take_while(|byte| byte.is_ascii_digit()).count();
        let (text, rest) = json.split_at_checked(digits)?;
        self.json = rest;
        match text {
            [] | [b'0', _, ..] => None,
            _ if digits > 18 => None,
            _ => Some(text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))),
        }
    }

    fn nullable<V>(&mut self, read: impl FnOnce(&mut Self) -> Option<V>) -> Option<Option<V>> {
        match float::skip_space(self.json) {
            [b'n', b'u', b'l', b'l', rest @ ..] => {
                self.json = rest;
                Some(None)
            }
            _ => read(self).map(Some),
        }
    }

    /// Tokens read, where the server tells.
    fn usage(&mut self) -> Option<Option<u64>> {
        let (mut prompt, mut total) = (None, None);
        self.object(|json, name| match name {
            b"prompt_tokens" => set(&mut prompt, json.nullable(Self::count)?),
            b"total_tokens" => set(&mut total, json.nullable(Self::count)?),
            _ => json.skip(),
        })?;
        // As in `openai::Usage`.
        Some(prompt.flatten().or(total.flatten()))
    }

    /// A value that is neither list nor object.
    fn skip(&mut self) -> Option<()> {
        let json = float::skip_space(self.json);
        let words: [&[u8]; 3] = [b"null", b"true", b"false"];
        if let Some(rest) = words.iter().find_map(|word| json.strip_prefix(*word)) {
            self.json = rest;
        } else if json.first() == Some(&b'"') {
            self.string()?;
        } else {
            self.json = float::read(json)?.1;
        }
        Some(())
    }
}
