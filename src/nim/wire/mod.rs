//! Requests and answers of each family of servers, as they are on the wire; one file per family.
//! Not the sending, nor the check of what came. Layer: above `input` and `components`; pure.

pub(super) mod cohere;
mod list;
pub(super) mod nim;
pub(super) mod ollama;
pub(super) mod openai;
pub(super) mod scan;
pub(super) mod tei;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Number;

use super::components::Numbers;
use super::extra::Extra;

/// An answer, whatever its shape was: results with the index of the input they belong to.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    pub(super) items: Vec<(Number, T)>,
    /// Tokens read, where the server tells.
    pub(super) tokens: Option<u64>,
    /// The model that answered, where the server tells.
    pub(super) model: Option<String>,
}

impl<T> Outcome<T> {
    /// Results of a server that names no index: they are in the order of the inputs.
    fn in_order(items: impl IntoIterator<Item = T>) -> Self {
        let items = items.into_iter().enumerate();
        let items = items.map(|(index, item)| (Number::from(index), item)).collect();
        Self { items, tokens: None, model: None }
    }
}

/// The body of an embedding request.
#[derive(Debug)]
pub(super) enum EmbedBody<'a> {
    Nim(nim::EmbedRequest<'a>),
    OpenAi(openai::EmbedRequest<'a>),
    Tei(tei::EmbedRequest<'a>),
    Ollama(ollama::EmbedRequest<'a>),
}

impl EmbedBody<'_> {
    /// As it is sent, with the fields of `extra` that it does not have itself.
    pub(super) fn write(&self, extra: &Extra) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Nim(request) => with_input(request, extra, &request.input),
            Self::OpenAi(request) => with_input(request, extra, &request.input),
            Self::Tei(request) => whole(request, extra),
            Self::Ollama(request) => whole(request, extra),
        }
    }
}

fn whole(request: &impl Serialize, extra: &Extra) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::new();
    extra.write(&mut body, request, None)?;
    Ok(body)
}

fn with_input(
    head: &impl Serialize,
    extra: &Extra,
    input: &[Cow<'_, str>],
) -> serde_json::Result<Vec<u8>> {
    // Quotes and a comma each; escapes are few.
    let room = input.iter().fold(0, |sum: usize, text| sum.saturating_add(text.len() + 3));
    list::with_list(head, extra, "input", input.iter(), room, |body, text| list::text(body, text))
}

/// The body of a ranking request.
#[derive(Debug)]
pub(super) enum RankBody<'a> {
    Nim(nim::RankRequest<'a>),
    Tei(tei::RankRequest<'a>),
    Cohere(cohere::RankRequest<'a>),
}

impl RankBody<'_> {
    /// As it is sent, with the fields of `extra` that it does not have itself.
    pub(super) fn write(&self, extra: &Extra) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Nim(request) => request.write(extra),
            Self::Tei(request) => whole(request, extra),
            Self::Cohere(request) => whole(request, extra),
        }
    }
}

/// Vectors of one answer, before they are checked.
pub(super) type Vectors<T> = Outcome<Numbers<T>>;
/// Scores of one answer, before they are checked.
pub(super) type Scores = Outcome<f32>;
