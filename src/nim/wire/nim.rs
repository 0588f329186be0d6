//! NeMo Retriever NIM: `POST /v1/embeddings` and `POST /v1/ranking`. Absent fields are left out and
//! never `null`: 2.x servers and the hosted catalog refuse what they do not know.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::openai::Usage;
use super::{Scores, list};
use crate::nim::embed::{EmbeddingType, Encoding, InputType, Truncate};
use crate::nim::extra::Extra;
use crate::nim::input::Input;
use crate::nim::rank::RankTruncate;

#[derive(Debug, Serialize)]
pub(in crate::nim) struct EmbedRequest<'a> {
    pub(in crate::nim) model: &'a str,
    /// Written behind the other fields.
    #[serde(skip)]
    pub(in crate::nim) input: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::nim) input_type: Option<InputType>,
    pub(in crate::nim) encoding_format: Encoding,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::nim) embedding_type: Option<EmbeddingType>,
    pub(in crate::nim) truncate: Truncate,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::nim) dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::nim) modality: Option<Modality>,
}

/// One word for all inputs, or one for each.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::nim) enum Modality {
    All(&'static str),
    Each(Vec<&'static str>),
}

impl Modality {
    pub(in crate::nim) fn of(inputs: &[Input<'_>]) -> Self {
        let words: Vec<&'static str> = inputs.iter().map(|input| input.modality()).collect();
        match words.first() {
            Some(first) if words.iter().all(|word| word == first) => Self::All(first),
            _ => Self::Each(words),
        }
    }
}

/// Exactly these four fields, and what the user adds: servers refuse any other, a `top_n` too.
#[derive(Debug, Serialize)]
pub(in crate::nim) struct RankRequest<'a> {
    pub(in crate::nim) model: &'a str,
    pub(in crate::nim) query: Text<'a>,
    /// Written behind the other fields.
    #[serde(skip)]
    pub(in crate::nim) passages: Vec<Passage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::nim) truncate: Option<RankTruncate>,
}

impl RankRequest<'_> {
    pub(super) fn write(&self, extra: &Extra) -> serde_json::Result<Vec<u8>> {
        let bytes = |passage: &Passage<'_>| {
            let of = |text: Option<&str>| text.map_or(0, str::len);
            of(passage.text).saturating_add(of(passage.image)).saturating_add(32)
        };
        let room = self.passages.iter().map(bytes).fold(0, usize::saturating_add);
        list::with_list(self, extra, "passages", self.passages.iter(), room, |body, passage| {
            let Passage { text: Some(text), image: None } = passage else {
                return serde_json::to_writer(body, passage);
            };
            body.extend_from_slice(br#"{"text":"#);
            list::text(body, text)?;
            body.push(b'}');
            Ok(())
        })
    }
}

#[derive(Debug, Serialize)]
pub(in crate::nim) struct Text<'a> {
    pub(in crate::nim) text: &'a str,
}

/// An image alone has no `text`: an empty one is refused by 2.x servers.
#[derive(Debug, Serialize)]
pub(in crate::nim) struct Passage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
}

impl<'a> From<Input<'a>> for Passage<'a> {
    fn from(input: Input<'a>) -> Self {
        Self { text: input.text(), image: input.image() }
    }
}

#[derive(Debug, Deserialize)]
pub(in crate::nim) struct RankAnswer {
    rankings: Vec<Ranking>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Ranking {
    index: Number,
    logit: f32,
}

impl From<RankAnswer> for Scores {
    fn from(answer: RankAnswer) -> Self {
        let items = answer.rankings.into_iter().map(|item| (item.index, item.logit)).collect();
        Self { items, tokens: answer.usage.and_then(|usage| usage.read()), model: answer.model }
    }
}
