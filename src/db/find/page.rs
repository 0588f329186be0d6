//! Where a page ends and the next begins: cursors, and what they skip.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::run::Candidate;
use crate::error::{Error, Result};

/// Where a page of a query ended. [`Findings::next`](crate::Findings::next) has one for the page
/// after, to be given to [`Find::after`](crate::Find::after) of the same query.
///
/// As text it is safe to hand out: what a stranger makes of it can only begin elsewhere or be
/// refused.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
/// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
/// use portolan::Cursor;
///
/// let first = docs.find().dense(&[1.0, 0.0, 0.0]).limit(2).run()?;
/// let text = first.next.as_ref().expect("there are more").to_string();
/// let next: Cursor = text.parse()?;
/// let second = docs.find().dense(&[1.0, 0.0, 0.0]).limit(2).after(next).run()?;
/// assert_eq!(second.hits[0].id.to_string(), "pilot#2");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Version of the file that the page was cut from.
    pub(super) version: u64,
    /// Default depth of the lists.
    pub(super) depth: usize,
    /// Hits, or groups, on this page and those before it.
    pub(super) seen: usize,
    pub(super) place: Place,
}

/// The last of a page.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// In order of score.
    Score { score: f64, slot: u32 },
    /// In order of a field; without a key where the record lacks it.
    Field { key: Option<Vec<u8>>, score: f64, slot: u32 },
    /// In an order that no single hit tells: so many were seen.
    Count,
}

/// Best score first, then by slot.
pub(super) fn by_score(a: (f64, u32), b: (f64, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// By key, records without one last; then by score.
pub(super) fn by_field(
    a: (Option<&[u8]>, f64, u32),
    b: (Option<&[u8]>, f64, u32),
    descending: bool,
) -> Ordering {
    let keys = match (a.0, b.0) {
        (Some(a), Some(b)) if descending => b.cmp(a),
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    keys.then_with(|| by_score((a.1, a.2), (b.1, b.2)))
}

impl Cursor {
    /// How many of the candidates, which are in their order, were on this page or before it.
    pub(super) fn passed(&self, ordered: &[Candidate], descending: bool) -> usize {
        match &self.place {
            Place::Count => self.seen,
            Place::Score { score, slot } => ordered.partition_point(|candidate| {
                by_score((candidate.score, candidate.slot), (*score, *slot)).is_le()
            }),
            Place::Field { key, score, slot } => ordered.partition_point(|candidate| {
                let of = (candidate.key.as_deref(), candidate.score, candidate.slot);
                by_field(of, (key.as_deref(), *score, *slot), descending).is_le()
            }),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{:x}", self.version, self.depth, self.seen)?;
        match &self.place {
            Place::Count => Ok(()),
            Place::Score { score, slot } => write!(f, ".{:x}.{slot:x}", score.to_bits()),
            Place::Field { key, score, slot } => {
                write!(f, ".{:x}.{slot:x}.", score.to_bits())?;
                match key {
                    None => f.write_str("-"),
                    Some(key) => key.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
                }
            }
        }
    }
}

/// Most bytes of a key of a field.
const KEY_BYTES_MAX: usize = 511;

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::Cursor { reason: "its text is no cursor: begin without one" };
        let number = |part: &str| u64::from_str_radix(part, 16).map_err(|_| refused());
        let small = |part: &str| usize::try_from(number(part)?).map_err(|_| refused());
        let slot = |part: &str| u32::try_from(number(part)?).map_err(|_| refused());
        let score = |part: &str| match f64::from_bits(number(part)?) {
            score if score.is_nan() => Err(refused()),
            score => Ok(score),
        };
        let parts: Vec<&str> = text.splitn(7, '.').collect();
        let (&[version, depth, seen], place) = parts.split_first_chunk().ok_or_else(refused)?;
        let place = match *place {
            [] => Place::Count,
            [at, of] => Place::Score { score: score(at)?, slot: slot(of)? },
            [at, of, "-"] => Place::Field { key: None, score: score(at)?, slot: slot(of)? },
            [at, of, key] => {
                let key = Some(bytes(key).ok_or_else(refused)?);
                Place::Field { key, score: score(at)?, slot: slot(of)? }
            }
            _ => return Err(refused()),
        };
        let (depth, seen) = (small(depth)?, small(seen)?);
        Ok(Self { version: number(version)?, depth, seen, place })
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > KEY_BYTES_MAX {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places() -> impl Strategy<Value = Place> {
        let score = || (-1e30_f64..1e30, any::<u32>());
        let key = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
        prop_oneof![
            Just(Place::Count),
            score().prop_map(|(score, slot)| Place::Score { score, slot }),
            (key, score()).prop_map(|(key, (score, slot))| Place::Field { key, score, slot }),
        ]
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(
            version in any::<u64>(), depth in any::<u32>(), seen in any::<u32>(), place in places(),
        ) {
            let (depth, seen) = (depth as usize, seen as usize);
            let cursor = Cursor { version, depth, seen, place };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }

        #[test]
        fn text_of_any_kind_is_a_cursor_or_refused(text in "[0-9a-f.+-]{0,60}|.{0,60}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
            } else {
                let refused = text.parse::<Cursor>().unwrap_err();
                prop_assert!(refused.is_invalid_input());
            }
        }
    }
}
