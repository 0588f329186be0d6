//! Vectors and matrices out of a damaged file, from whatever of them is whole. Where the checksum
//! of an extent is wrong its rows are judged one by one, by what code and original tell of each
//! other.

use std::collections::{HashMap, HashSet};

use super::damage::DamagedPart;
use super::space::{Field, Space};
use super::space_vectors::stored_vector;
use super::suspect_slots;
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
    /// Slots of a named field whose place stands in an extent that is damaged: another record than
    /// the one that is told may have had the vector, and nothing else says who had one.
    doubtful: HashSet<Slot>,
}

/// How a vector was found.
pub(super) enum Rescued {
    Whole(Vec<f32>),
    FromCode(Vec<f32>),
    /// The same from a code whose extent is damaged as well.
    FromSuspectCode(Vec<f32>),
    Lost,
}

/// Whose slots a space places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) collection: u32,
    /// Whether it is a named field: records do not tell then who has a vector.
    pub(super) is_named: bool,
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
            Self::FromSuspectCode(vector) => {
                let detail = "taken from the code of the vector, which may be damaged itself";
                tell(DamagedPart::Original, detail);
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
    pub(super) fn new(salvage: &'s Salvage, space: Space, placed: Placed) -> Result<Self> {
        let mut places = extents::places(salvage, space.id)?;
        let (mut doubtful, mut twice) = (HashSet::new(), HashSet::new());
        for extent in suspect_slots::read(salvage, space, placed)? {
            for (slot, place) in extent.places() {
                // Of two places that say they are the same slot's neither is believed.
                if places.insert(slot, place).is_some() {
                    twice.insert(slot);
                }
                if placed.is_named {
                    doubtful.insert(slot);
                }
            }
        }
        places.retain(|slot, _| !twice.contains(slot));
        Ok(Self { salvage, space, places, doubtful })
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
            if rescued.is_some() && self.doubtful.contains(&slot) {
                tell(DamagedPart::Vector, "its place is damaged: it may be another record's");
            }
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
        let rows = SectionRows { salvage: self.salvage, space: self.space };
        let unsealed = self.salvage.get(Table::Delta, &key::slot(self.space.id, slot))?;
        Ok(match (unsealed, self.places.get(&slot)) {
            (Some(sealed), _) => {
                let both = sealed.get(SEAL_BYTES..).unwrap_or_default();
                let at = self.space.encoding.code_stride().min(both.len());
                let (code, raw) = both.split_at(at);
                rows.rescued(Row::Whole(code), Row::Whole(raw))
            }
            (None, Some(place)) => rows.rescued(rows.code(*place), rows.original(*place)),
            (None, None) => Rescued::Lost,
        })
    }
}

/// Rows of codes and originals in the extents of a space.
#[derive(Clone, Copy)]
pub(super) struct SectionRows<'s> {
    pub(super) salvage: &'s Salvage,
    pub(super) space: Space,
}

/// A row of an extent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Row<'s> {
    Whole(&'s [u8]),
    /// The checksum of its extent is wrong.
    Suspect(&'s [u8]),
    Lost,
}

impl<'s> SectionRows<'s> {
    fn code(self, place: (u32, u32)) -> Row<'s> {
        self.row(place, SectionKind::Codes, self.space.encoding.code_stride())
    }

    fn original(self, place: (u32, u32)) -> Row<'s> {
        self.row(place, SectionKind::Raw, self.space.encoding.raw_stride())
    }

    fn row(self, (segment, position): (u32, u32), kind: SectionKind, stride: usize) -> Row<'s> {
        let place = SectionPlace { collection: self.space.id, segment, kind, stride };
        if stride == 0 {
            return Row::Lost;
        }
        // An entry that is there is whole.
        if let Ok(Some(row)) = place.row(self.salvage, position) {
            return Row::Whole(row);
        }
        self.salvage.suspect_row(&place, position).map_or(Row::Lost, Row::Suspect)
    }

    /// A code that is whole, or shows no damage.
    fn usable_code(self, code: Row<'s>) -> Option<&'s [u8]> {
        match code {
            Row::Whole(row) => Some(row),
            Row::Suspect(row) => Some(row).filter(|row| self.space.encoding.is_code_row(row)),
            Row::Lost => None,
        }
    }

    fn usable_original(self, original: Row<'s>, code: Row<'s>) -> Option<&'s [u8]> {
        match (original, self.usable_code(code)) {
            (Row::Whole(row), _) => Some(row),
            (Row::Suspect(row), Some(code)) => {
                Some(row).filter(|row| self.space.encoding.is_original_of(row, code))
            }
            _ => None,
        }
    }

    /// Whether a code shows no damage, neither by itself nor beside its original.
    pub(super) fn is_whole_code(self, place: (u32, u32)) -> bool {
        let Some(code) = self.usable_code(self.code(place)) else { return false };
        match self.original(place) {
            Row::Whole(row) | Row::Suspect(row) => self.space.encoding.is_original_of(row, code),
            Row::Lost => true,
        }
    }

    /// Whether an original fits its code, if there is one to be compared with.
    pub(super) fn is_whole_original(self, place: (u32, u32)) -> bool {
        let code = self.code(place);
        self.usable_code(code).is_none()
            || self.usable_original(self.original(place), code).is_some()
    }

    fn rescued(self, code: Row<'s>, original: Row<'s>) -> Rescued {
        let encoding = self.space.encoding;
        if encoding.originals() != Originals::None
            && let Some(row) = self.usable_original(original, code)
            && let Ok(vector) = encoding.decode_raw(row)
        {
            return Rescued::Whole(vector);
        }
        let from_code = self.usable_code(code).filter(|_| !encoding.is_cut());
        match from_code.and_then(|row| encoding.decode_code(row).ok()) {
            Some(vector) if encoding.originals() == Originals::None => Rescued::Whole(vector),
            Some(vector) if matches!(code, Row::Suspect(_)) => Rescued::FromSuspectCode(vector),
            Some(vector) => Rescued::FromCode(vector),
            None => Rescued::Lost,
        }
    }
}
