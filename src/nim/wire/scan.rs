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

/// An item of a list. Servers write the place and the score of rankings first: they are looked for
/// there before fields are told by their names.
fn item<'a, V>(
    json: &mut Reader<'a>,
    value: &[u8],
    take: &mut impl FnMut(&'a [u8]) -> Option<(V, &'a [u8])>,
) -> Option<(Number, V)> {
    let (mut index, mut found) = (None, None);
    let mut ahead = Reader { json: json.json };
    let first = ahead.index_before(value);
    if first.is_some() {
        let (one, rest) = take(float::skip_space(ahead.json))?;
        (index, found, json.json) = (first, Some(one), rest);
        if !json.more(b'}')? {
            return Some((index?.into(), found?));
        }
    } else if json.begins(b'{', b'}')? {
        return None;
    }
    json.fields(|json, name| match name {
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

    /// Up to the value of an item that begins `{"index":N,"NAME":`.
    fn index_before(&mut self, name: &[u8]) -> Option<u64> {
        self.expect(b'{')?;
        self.literal(br#""index""#)?;
        self.expect(b':')?;
        let index = self.count()?;
        self.expect(b',')?;
        self.literal(b"\"")?;
        self.json = self.json.strip_prefix(name)?.strip_prefix(b"\"")?;
        self.expect(b':')?;
        Some(index)
    }

    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.json = float::skip_space(self.json).strip_prefix(text)?;
        Some(())
    }

    fn is_empty(&mut self, end: u8) -> bool {
        let rest = float::skip_space(self.json);
        let is_end = rest.first() == Some(&end);
        self.json = if is_end { rest.get(1..).unwrap_or_default() } else { rest };
        is_end
    }

    /// The bracket that begins a list or object; whether it is empty.
    fn begins(&mut self, begin: u8, end: u8) -> Option<bool> {
        self.expect(begin)?;
        Some(self.is_empty(end))
    }

    fn object(&mut self, field: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        match self.begins(b'{', b'}')? {
            true => Some(()),
            false => self.fields(field),
        }
    }

    /// The fields of an object from some one on.
    fn fields(&mut self, mut field: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
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
        if self.begins(b'[', b']')? {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nim::base64;
    use crate::nim::wire::{cohere, nim, openai};

    /// An outcome in a form that can be compared: index and bits of each number.
    type Plain = (Vec<(String, Vec<u32>)>, Option<u64>, Option<String>);

    fn plain<T>(found: Outcome<T>, bits: impl Fn(T) -> Option<Vec<u32>>) -> Option<Plain> {
        let items = found.items.into_iter();
        let items = items.map(|(index, item)| Some((index.to_string(), bits(item)?)));
        Some((items.collect::<Option<_>>()?, found.tokens, found.model))
    }

    fn of_vector(numbers: Numbers<f32>) -> Option<Vec<u32>> {
        Some(numbers.decode()?.into_iter().map(f32::to_bits).collect())
    }

    fn of_score(score: f32) -> Option<Vec<u32>> {
        Some(vec![score.to_bits()])
    }

    fn scanned(json: &[u8]) -> Option<Plain> {
        plain(vectors(json)?, of_vector)
    }

    fn parsed(json: &[u8]) -> Option<Plain> {
        let answer: openai::EmbedAnswer<f32> = serde_json::from_slice(json).ok()?;
        plain(answer.into(), of_vector)
    }

    /// Equal but for the last place of a number: the general parser rounds twice.
    fn same(a: &Plain, b: &Plain) -> bool {
        let near = |(x, y): (&u32, &u32)| x.abs_diff(*y) <= 1;
        a.1 == b.1
            && a.2 == b.2
            && a.0.len() == b.0.len()
            && a.0.iter().zip(&b.0).all(|(a, b)| {
                a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(near)
            })
    }

    /// What is read is what the general parser reads, for all three answers.
    fn agree(json: &[u8]) -> Result<(), TestCaseError> {
        if let Some(found) = scanned(json) {
            let general = parsed(json);
            prop_assert!(
                general.as_ref().is_some_and(|general| same(&found, general)),
                "{found:?}"
            );
        }
        if let Some(found) = logits(json).and_then(|found| plain(found, of_score)) {
            let general: nim::RankAnswer = serde_json::from_slice(json).expect("JSON");
            let general = plain(general.into(), of_score).expect("scores");
            prop_assert!(same(&found, &general), "{found:?}");
        }
        if let Some(found) = relevance(json).and_then(|found| plain(found, of_score)) {
            let general: cohere::RankAnswer = serde_json::from_slice(json).expect("JSON");
            let general = plain(general.into(), of_score).expect("scores");
            prop_assert!(same(&found, &general), "{found:?}");
        }
        Ok(())
    }

    const ANSWERS: [&str; 6] = [
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2.5e-3,7]},
            {"embedding":[1, 2, 3],"index":1}],"model":"nvidia/m","usage":{"prompt_tokens":8,
            "total_tokens":9}}"#,
        r#"{"data":[{"index":0,"embedding":"AACAPwAAIMA="},{"index":1,"embedding":"AACAPwAAIMA="}],
            "id":"e-1","created":17,"model":null,"usage":null}"#,
        r#"{"data":[],"usage":{"total_tokens":3,"prompt_tokens":null,"cost":0.25,"free":true}}"#,
        r#"{"rankings":[{"index":1,"logit":-3.25},{"index":0,"logit":1e2}]}"#,
        r#" { "rankings" : [ { "logit" : 0.5 , "index" : 0 } ] , "usage" : { } } "#,
        r#"{"results":[{"index":0,"relevance_score":0.99,"object":"x"}],"model":"r",
            "usage":{"total_tokens":5}}"#,
    ];

    #[test]
    fn answers_as_servers_write_them_are_read() {
        let vectors = ANSWERS.map(|text| scanned(text.as_bytes()).is_some());
        assert_eq!(vectors, [true, true, true, false, false, false]);
        let logits = ANSWERS.map(|text| logits(text.as_bytes()).is_some());
        assert_eq!(logits, [false, false, false, true, true, false]);
        let relevance = ANSWERS.map(|text| relevance(text.as_bytes()).is_some());
        assert_eq!(relevance, [false, false, false, false, false, true]);
        for text in ANSWERS {
            agree(text.as_bytes()).expect(text);
        }
    }

    #[test]
    fn what_is_rare_or_wrong_is_left_to_the_general_parser() {
        for text in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"data":[{"index":0,"embedding":[1]}]} x"#,
            r#"{"data":[{"index":0,"embedding":[1]}],"error":null}"#,
            r#"{"data":[{"index":0,"embedding":[1]}],"data":[]}"#,
            r#"{"data":[{"index":0,"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1,]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1e39]}]}"#,
            r#"{"data":[{"index":0,"embedding":[null]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]},]}"#,
            r#"{"data":[{"index":-1,"embedding":[1]}]}"#,
            r#"{"data":[{"index":00,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0.0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":9999999999999999999,"embedding":[1]}]}"#,
            r#"{"data":[{"embedding":[1]}]}"#,
            r#"{"data":[{"index":0}]}"#,
            r#"{"data":[[0,[1]]]}"#,
            r#"{"data":[{"index":0,"embedding":"AACAPw"}]}"#,
            r#"{"data":[{"index":0,"embedding":"AACAPwA="}]}"#,
            r#"{"data":[{"index":0,"embedding":"AAC\/PwAA"}]}"#,
            r#"{"data":[{"index":0,"embedding":"AACAPwAAIMA=}]}"#,
            r#"{"d\u0061ta":[{"index":0,"embedding":[1]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1]}],"usage":{"details":{}}}"#,
            r#"{"data":[{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":1.0}}"#,
            r#"{"data":[{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":-1}}"#,
        ] {
            assert_eq!(scanned(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_front_of_an_answer_is_no_answer() {
        for text in ANSWERS {
            let text = text.trim_end().as_bytes();
            for end in 0..text.len() {
                let part = &text[..end];
                assert_eq!(scanned(part), None);
                assert!(logits(part).is_none() && relevance(part).is_none());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn damaged_answers_are_read_as_the_general_parser_reads_them_or_not_at_all(
            which in 0..ANSWERS.len(),
            edits in prop::collection::vec(
                (any::<prop::sample::Index>(), 0_u8..4, any::<u8>()),
                1..4,
            ),
        ) {
            let letters = br#"{}[],:"\ 0123456789.-+eEnulltrueindexdataembeddingAAAA=/"#;
            let mut bytes = ANSWERS[which].as_bytes().to_vec();
            for (at, how, what) in edits {
                let at = at.index(bytes.len());
                let letter = letters[usize::from(what) % letters.len()];
                match how {
                    0 => { bytes.remove(at); }
                    1 => bytes.insert(at, letter),
                    2 => bytes[at] = letter,
                    _ => bytes[at] = what,
                }
                if bytes.is_empty() { break; }
            }
            agree(&bytes)?;
        }

        #[test]
        fn every_vector_is_read_in_every_form(
            bits in prop::collection::vec(any::<u32>(), 1..40), spaced: bool, other: u8,
        ) {
            let vector: Vec<f32> =
                bits.iter().map(|bits| f32::from_bits(*bits)).filter(|x| x.is_finite()).collect();
            prop_assume!(!vector.is_empty());
            let wide: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|x| x.to_bits().swap_bytes().to_be_bytes())
                .collect();
            let mut packed = String::new();
            base64::encode_into(&mut packed, &bytes);
            let expected: Vec<u32> = vector.iter().map(|x| x.to_bits()).collect();
            for mut numbers in [
                serde_json::to_string(&vector).expect("JSON"),
                serde_json::to_string(&wide).expect("JSON"),
                format!("\"{packed}\""),
            ] {
                if spaced {
                    numbers = numbers.replace(',', ", ").replace(']', "\n]");
                }
                let item = format!(r#"{{"embedding":{numbers},"index":{other}}}"#);
                let json = format!(r#"{{"data":[{item},{item}]}}"#);
                let (items, ..) = scanned(json.as_bytes()).expect("an answer");
                let one = (other.to_string(), expected.clone());
                prop_assert_eq!(items, vec![one.clone(), one]);
            }
        }
    }
}
