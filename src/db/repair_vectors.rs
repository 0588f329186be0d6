//! Vectors and matrices out of a damaged file, from whatever of them is whole.

use std::collections::HashMap;

use super::damage::DamagedPart;
use super::space::{Field, Space};
use super::space_vectors::stored_vector;
use crate::error::Result;
use crate::format::{SEAL_BYTES, SectionKind};
use crate::record::{FieldVector, Slot};
use crate::storage::extents::{self, SectionPlace};
use crate::storage::keys as key;
use crate::storage::vector_fields::FieldKind;
use crate::storage::{Salvage, Snapshot, Table};
use crate::vectors::Originals;

/// The vectors of one space.
pub(super) struct RescueVectors<'s> {
    salvage: &'s Salvage,
    space: Space,
    /// Segment and position of each sealed slot.
    places: HashMap<Slot, (u32, u32)>,
}

/// How a vector was found.
pub(super) enum Rescued {
    Whole(Vec<f32>),
    FromCode(Vec<f32>),
    Lost,
}

impl Rescued {
    /// The vector, after telling of what it lost.
    pub(super) fn taken(self, tell: &mut impl FnMut(DamagedPart, &str)) -> Option<Vec<f32>> {
        match self {
            Self::Whole(vector) => Some(vector),
            Self::FromCode(vector) => {
                tell(DamagedPart::Original, "taken from the code of the vector");
                Some(vector)
            }
            Self::Lost => {
                tell(DamagedPart::Vector, "the record is kept without its vector");
                None
            }
        }
    }
}

impl<'s> RescueVectors<'s> {
    /// The vectors under the number of the space.
    pub(super) fn new(salvage: &'s Salvage, space: Space) -> Result<Self> {
        let places = extents::places(salvage, space.id)?;
        Ok(Self { salvage, space, places })
    }

    /// What a record has in a named field. Where its place was lost as well nothing tells that it
    /// had anything; the damage of the place itself does.
    pub(super) fn of_field(
        &self,
        field: &Field,
        slot: Slot,
        tell: &mut impl FnMut(DamagedPart, &str),
    ) -> Result<Option<FieldVector>> {
        let at = key::slot(self.space.id, slot);
        let is_known =
            self.places.contains_key(&slot) || self.salvage.get(Table::Delta, &at)?.is_some();
        if field.kind == FieldKind::Dense {
            let rescued = if is_known { self.vector(slot)?.taken(tell) } else { None };
            return Ok(rescued.map(FieldVector::Dense));
        }
        match stored_vector(self.salvage, field, slot) {
            Ok(Some(vector)) => return Ok(Some(vector)),
            Ok(None) if !is_known => {}
            _ => tell(DamagedPart::Vector, "the record is kept without its matrix"),
        }
        Ok(None)
    }

    /// The vector of a slot that has one.
    pub(super) fn vector(&self, slot: Slot) -> Result<Rescued> {
        let encoding = self.space.encoding;
        let (code_stride, raw_stride) = (encoding.code_stride(), encoding.raw_stride());
        let unsealed = self.salvage.get(Table::Delta, &key::slot(self.space.id, slot))?;
        let (code, raw) = match (unsealed, self.places.get(&slot)) {
            (Some(sealed), _) => {
                let rows = sealed.get(SEAL_BYTES..).unwrap_or_default();
                (rows.get(..code_stride), rows.get(code_stride..))
            }
            (None, Some(place)) => (
                self.row(*place, SectionKind::Codes, code_stride)?,
                self.row(*place, SectionKind::Raw, raw_stride)?,
            ),
            (None, None) => (None, None),
        };
        if encoding.originals() != Originals::None
            && let Some(vector) = raw.and_then(|row| encoding.decode_raw(row).ok())
        {
            return Ok(Rescued::Whole(vector));
        }
        let from_code = code.filter(|_| !encoding.is_cut());
        Ok(match from_code.and_then(|row| encoding.decode_code(row).ok()) {
            Some(vector) if encoding.originals() == Originals::None => Rescued::Whole(vector),
            Some(vector) => Rescued::FromCode(vector),
            None => Rescued::Lost,
        })
    }

    /// A row of a sealed vector, if its extent is whole.
    fn row(
        &self,
        (segment, position): (u32, u32),
        kind: SectionKind,
        stride: usize,
    ) -> Result<Option<&'s [u8]>> {
        let place = SectionPlace { collection: self.space.id, segment, kind, stride };
        Ok(place.row(self.salvage, position)?)
    }
}
