//! The value of a term: how many texts have it, and their list, or the end of it if the begin is in
//! runs of its own.

use super::run::{Decoded, RunWriter, WHAT, read_run, short_list};
use crate::format::{FormatError, read_u32};

/// Rarer terms have no headers.
pub(super) const SHORT_MAX: usize = 15;

/// Decodes all postings of an unsealed value of a term, or of a run; for the fuzz target.
pub(crate) fn decode_postings(bytes: &[u8]) -> bool {
    let (mut decoded, mut postings) = (Decoded::new(), Vec::new());
    let run = match List::read(bytes) {
        Ok(List::Short { postings, bytes }) => short_list(postings, bytes, &mut decoded).is_ok(),
        Ok(List::Long { run, .. }) => read_run(run, &mut decoded, &mut postings).is_ok(),
        Err(_) => false,
    };
    let own = read_run(bytes, &mut decoded, &mut postings).is_ok();
    run | own | RunWriter::default().load(bytes).is_ok()
}

/// The value of a term, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum List<'v> {
    /// All the postings of a rare term.
    Short { postings: u8, bytes: &'v [u8] },
    /// How many texts have the term, and the last run.
    Long { texts: u32, run: &'v [u8] },
}

impl<'v> List<'v> {
    /// Takes an unsealed value apart.
    ///
    /// # Errors
    /// Fewer bytes than its form needs.
    pub(super) fn read(payload: &'v [u8]) -> Result<Self, FormatError> {
        let short = || FormatError::Length { what: WHAT, expected: 5, found: payload.len() };
        let (&postings, rest) = payload.split_first().ok_or_else(short)?;
        if usize::from(postings) > SHORT_MAX {
            let (field, value) = ("form", u64::from(postings));
            return Err(FormatError::Field { what: WHAT, field, value });
        }
        if postings > 0 {
            return Ok(Self::Short { postings, bytes: rest });
        }
        let (texts, run) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        Ok(Self::Long { texts: read_u32(texts, 0), run })
    }

    /// How many texts have the term.
    pub(super) fn texts(&self) -> u32 {
        match self {
            Self::Short { postings, .. } => u32::from(*postings),
            Self::Long { texts, .. } => *texts,
        }
    }
}
