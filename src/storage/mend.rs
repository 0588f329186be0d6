//! Puts damaged extents right, where their checksum proves what was written: damage outside of the
//! rows, rows that are known from elsewhere, one changed byte.

use std::ops::Range;

use super::one_byte::{Tried, put_right, steps};
use super::salvage::{Held, Salvage};
use super::{Table, extents::SectionPlace};
use crate::format::{EXTENT_HEADER_BYTES, EXTENT_VALUE_BYTES, ExtentHeader, rows_per_extent};

/// Work that goes into the search for changed bytes of one file: that of trying every value of
/// every byte of one full extent, a few minutes of one thread.
pub(super) const STEPS_MAX: u64 = 3 << 37;
/// Bytes of a checksum that may be damaged themselves: the other 96 bits still prove.
const SUM_BYTES_DAMAGED: usize = 4;
const SUM: Range<usize> = 32..EXTENT_HEADER_BYTES;

impl Salvage {
    /// Puts an extent right that has this header, if its rows (given, or as they stand in the
    /// file) are whole, or if one byte of those in `places` was changed. Returns whether it was
    /// done; the extent is an entry like others then.
    pub(crate) fn mend(
        &mut self,
        key: &[u8],
        header: ExtentHeader,
        rows: Option<&[u8]>,
        places: &[Range<usize>],
    ) -> bool {
        let Some(found) = self.suspect(key) else { return false };
        let stride = header.stride as usize;
        let end = EXTENT_HEADER_BYTES + header.rows as usize * stride;
        if found.len() > EXTENT_VALUE_BYTES {
            return false;
        }
        let mut value = found.to_vec();
        let (Some(sum), Some(behind)) = (found.get(SUM), value.get_mut(end..)) else {
            return false;
        };
        let sum = sum.to_vec();
        behind.fill(0);
        if let Some(rows) = rows {
            match value.get_mut(EXTENT_HEADER_BYTES..end) {
                Some(old) if old.len() == rows.len() => old.copy_from_slice(rows),
                _ => return false,
            }
        }
        if header.write(&mut value).is_err() || ExtentHeader::read(&value) != Ok(header) {
            return false;
        }
        let wrong = value[SUM].iter().zip(&sum).filter(|(new, old)| new != old).count();
        let how = if wrong <= SUM_BYTES_DAMAGED {
            match rows {
                None => "put right: its rows are whole",
                Some(_) => "put right: its rows are known from the records",
            }
        } else {
            value[SUM].copy_from_slice(&sum);
            let at = |row: usize| (EXTENT_HEADER_BYTES + row * stride).min(end);
            let places: Vec<Range<usize>> =
                places.iter().map(|rows| at(rows.start)..at(rows.end)).collect();
            let Some(right) = self.changed_byte(&value, &places) else {
                return false;
            };
            value = right;
            "put right: one byte was changed, and its checksum proves which"
        };
        self.suspects.remove(key);
        self.tables[Table::Extents as usize].insert(key.to_vec(), Held::Mended(value));
        for lost in &mut self.lost {
            if lost.table == Some(Table::Extents) && lost.key.as_deref() == Some(key) {
                lost.is_mended = true;
                lost.reason = format!("{}; {how}", lost.reason);
            }
        }
        true
    }

    /// Takes so many steps from the work that is left; none of them where there are not so many.
    pub(crate) fn spend(&mut self, steps: u64) -> Option<()> {
        self.steps = self.steps.checked_sub(steps)?;
        Some(())
    }

    /// Changed bits first: they are few, and what memory and disks do most.
    fn changed_byte(&mut self, extent: &[u8], places: &[Range<usize>]) -> Option<Vec<u8>> {
        let bytes = places.iter().map(ExactSizeIterator::len).sum();
        for tried in [Tried::Bits, Tried::All] {
            self.spend(steps(extent.len(), bytes, tried))?;
            if let Some(right) = put_right(extent, places, tried) {
                return Some(right);
            }
        }
        None
    }

    /// A row of an extent whose checksum is wrong. Its header is not asked.
    pub(crate) fn suspect_row(&self, place: &SectionPlace, position: u32) -> Option<&[u8]> {
        let per_extent = u32::try_from(rows_per_extent(place.stride)).ok().filter(|of| *of > 0)?;
        let key = place.key(position / per_extent);
        let begin = EXTENT_HEADER_BYTES + (position % per_extent) as usize * place.stride;
        self.suspect(&key)?.get(begin..begin + place.stride)
    }
}
