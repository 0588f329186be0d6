//! How the answers to the requests of an embedding call become its result: all or nothing, or what
//! is finished beside what was refused. Layer: part of `embed_call`.

use std::ops::Range;

use super::{Call, Embeddings, Found, Norms, Part};
use crate::nim::answer::add_tokens;
use crate::nim::client::CallOptions;
use crate::nim::components::Component;
use crate::nim::embed::{EmbeddingModel, InputType};
use crate::nim::error::NimError;
use crate::nim::fault::ResponseFault;
use crate::nim::input::{Input, Size};
use crate::nim::lane::{Ending, OnFailure, Parts};
use crate::nim::meter::{CallCost, Counted, Spent, total};
use crate::nim::transport::{Tally, invalid};

/// What became of each input of a call. One that is in neither list was not reached before the
/// failure.
pub(crate) struct Kept {
    /// The caller's positions of the inputs that have vectors.
    pub(crate) positions: Vec<usize>,
    /// Their vectors, in that order.
    pub(crate) answer: Embeddings,
    /// The caller's positions of the inputs that were refused, each with its error.
    pub(crate) refused: Vec<(usize, NimError)>,
    /// What ended the call early, if anything did.
    pub(crate) failure: Option<NimError>,
}

impl EmbeddingModel {
    /// As [`embed_with`](Self::embed_with), but goes on where an input is too long and keeps what
    /// is finished where a request fails, so that none of it needs to be sent again. Fails as a
    /// whole where there is nothing to keep: before any request, at the deadline, and if vectors
    /// differ in length. Tells what it took even then.
    pub(crate) async fn embed_kept(
        &self,
        texts: &[&str],
        role: InputType,
        options: CallOptions,
        spent: &mut CallCost,
    ) -> Result<Kept, NimError> {
        let inputs: Vec<Input<'_>> = texts.iter().map(|text| Input::Text(text)).collect();
        let counter = Spent::default();
        let kept = self.keep_all(&inputs, role, options, &counter).await;
        *spent = total(counter);
        kept
    }

    async fn keep_all(
        &self,
        inputs: &[Input<'_>],
        role: InputType,
        options: CallOptions,
        spent: &Spent,
    ) -> Result<Kept, NimError> {
        let call = self.prepared(inputs, role, None, options, spent)?;
        options.bound(call.keep()).await
    }
}

impl Call<'_> {
    /// The vectors of all inputs.
    pub(super) async fn run<T: Component>(&self) -> Result<Found<T>, NimError> {
        let sizes = self.sizes();
        let over_limit = self.over_limit(&sizes, self.distinct.places.iter().copied());
        let done = self.parts::<T>(sizes, OnFailure::Discard).await?;
        let mut found = self.joined(done.parts, done.tally)?;
        found.over_limit = over_limit;
        found.vectors = self.distinct.spread(found.vectors);
        Ok(found)
    }

    /// The vectors of the inputs that were answered, and what became of the others.
    async fn keep(&self) -> Result<Kept, NimError> {
        let sizes = self.sizes();
        let done = self.parts::<f32>(sizes.clone(), OnFailure::Keep).await?;
        let Parts { parts, refused, failure, tally } = done;
        let answered: Vec<usize> = parts.iter().flat_map(|(range, _)| range.clone()).collect();
        let mut found = self.joined(parts, tally)?;
        let mut by_place: Vec<Option<Vec<f32>>> = vec![None; sizes.len()];
        for (place, vector) in answered.into_iter().zip(std::mem::take(&mut found.vectors)) {
            if let Some(slot) = by_place.get_mut(place) {
                *slot = Some(vector);
            }
        }
        let mut positions = Vec::new();
        for (position, vector) in self.distinct.spread(by_place).into_iter().enumerate() {
            if let Some(vector) = vector {
                positions.push(position);
                found.vectors.push(vector);
            }
        }
        let places = &self.distinct.places;
        let kept = positions.iter().filter_map(|position| places.get(*position).copied());
        found.over_limit = self.over_limit(&sizes, kept);
        // Equal inputs share a place: they were refused together.
        let refused_at = |(position, place): (usize, &usize)| {
            let at = refused.binary_search_by_key(place, |(refused, _)| *refused).ok()?;
            let (_, error) = refused.get(at)?;
            Some((position, error.clone()))
        };
        let refused: Vec<(usize, NimError)> =
            places.iter().enumerate().filter_map(refused_at).collect();
        Ok(Kept { positions, answer: self.model.embeddings(found), refused, failure })
    }

    fn sizes(&self) -> Vec<Size> {
        self.distinct.inputs.iter().map(|input| input.size()).collect()
    }

    /// Sends the inputs and reads the answers.
    async fn parts<T: Component>(
        &self,
        sizes: Vec<Size>,
        on_failure: OnFailure,
    ) -> Result<Parts<Part<T>>, NimError> {
        let name = |place| self.distinct.name(place);
        let send = |range| async move {
            let mut counted = Counted::of(self.spent);
            (self.ask(range, &mut counted.tally).await, counted.tally)
        };
        let read = |range: &Range<usize>, got| self.read::<T>(range, got);
        let limits = self.model.limits;
        let ending = Ending { on_failure, deadline: self.deadline };
        self.model.lane.run(sizes, limits, name, send, read, ending).await
    }

    /// The vectors of some parts in order, and what else is known of them; not how many inputs
    /// are over the limit.
    fn joined<T>(
        &self,
        parts: Vec<(Range<usize>, Part<T>)>,
        tally: Tally,
    ) -> Result<Found<T>, NimError> {
        let mut found = Found {
            vectors: Vec::with_capacity(self.distinct.inputs.len()),
            norms: None,
            over_limit: 0,
            tokens: (!parts.is_empty()).then_some(0),
            served_model: None,
            tally,
        };
        for (range, part) in parts {
            // The length that was asked for was checked with each answer.
            let expected = found.vectors.first().map(Vec::len);
            self.same_length(&part.vectors, range.start, expected)
                .map_err(|error| error.of_request(part.request_id.as_deref()))?;
            found.vectors.extend(part.vectors);
            found.norms = Norms::both(found.norms, part.norms);
            found.tokens = add_tokens(found.tokens, part.tokens);
            found.served_model = part.served_model.or(found.served_model);
        }
        Ok(found)
    }

    fn same_length<T>(
        &self,
        vectors: &[Vec<T>],
        start: usize,
        expected: Option<usize>,
    ) -> Result<(), NimError> {
        let Some(expected) = expected.or_else(|| vectors.first().map(Vec::len)) else {
            return Ok(());
        };
        match vectors.iter().position(|vector| vector.len() != expected) {
            None => Ok(()),
            Some(at) => {
                let index = self.distinct.name(start.saturating_add(at));
                let found = vectors.get(at).map_or(0, Vec::len);
                Err(invalid(&self.target, ResponseFault::Dimensions { index, expected, found }))
            }
        }
    }

    /// How many of the inputs at these places are longer than the model reads.
    fn over_limit(&self, sizes: &[Size], places: impl Iterator<Item = usize>) -> usize {
        let Some(most) = self.model.facts.max_tokens.and_then(|most| usize::try_from(most).ok())
        else {
            return 0;
        };
        let is_over = |place: &usize| sizes.get(*place).is_some_and(|size| size.tokens > most);
        places.filter(is_over).count()
    }
}
