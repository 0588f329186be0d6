//! Runs: the postings of a term as they lie in a value, full blocks packed and the rest as numbers
//! of seven bits a byte. Reading checks every length and order; nothing here knows tables.
//!
//! A posting is a slot and its weighted count. A block tells beside its last slot what the best of
//! it can score: the largest count, the shortest text with it, and the shortest of the others.

use super::packing::{BLOCK, bits_of, pack, packed_bytes, put_varint, take_varint, unpack};
use crate::format::{FormatError, read_u16, read_u32};

pub(super) const WHAT: &str = "postings";
/// A run is split once it is longer, so that it stays in a leaf page of LMDB.
pub(super) const RUN_BYTES: usize = 1_900;
const HEAD_BYTES: usize = 6;
const BLOCK_BYTES: usize = 12;
const REST_BYTES: usize = 10;

/// A slot whose text has the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) slot: u32,
    /// Weighted count, at least 1.
    pub(super) count: u32,
}

/// What bounds the scores of a block. Counts and lengths that do not fit are the largest u16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peak {
    /// The largest count.
    pub(super) count: u16,
    /// The shortest text that has it so often.
    pub(super) length: u16,
    /// The shortest text that has it less often; the largest u16 if there is none.
    pub(super) other: u16,
}

impl Peak {
    const NONE: Self = Self { count: 0, length: u16::MAX, other: u16::MAX };

    fn add(&mut self, count: u32, length: u16) {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        match count.cmp(&self.count) {
            std::cmp::Ordering::Greater => {
                let other = self.other.min(self.length);
                *self = Self { count, length, other };
            }
            std::cmp::Ordering::Equal => self.length = self.length.min(length),
            std::cmp::Ordering::Less => self.other = self.other.min(length),
        }
    }

    /// Whether it bounds such a posting.
    pub(super) fn covers(self, count: u32, length: u16) -> bool {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let is_best = count == self.count;
        count <= self.count && length >= if is_best { self.length } else { self.other }
    }

    fn put(self, out: &mut Vec<u8>) {
        for number in [self.count, self.length, self.other] {
            out.extend(number.to_le_bytes());
        }
    }

    fn read(bytes: &[u8], at: usize) -> Self {
        let number = |place: usize| read_u16(bytes, at + 2 * place);
        Self { count: number(0), length: number(1), other: number(2) }
    }
}

/// A block of a run, its bytes in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'v> {
    /// No slot of the block is lower.
    pub(super) first: u32,
    /// The last slot.
    pub(super) last: u32,
    /// None for short lists, which are read to know.
    pub(super) peak: Option<Peak>,
    /// The slot that the first difference counts from.
    base: u32,
    form: Form,
    bytes: &'v [u8],
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// 128 postings in so many bits for slot and count.
    Full(u8, u8),
    /// So many postings.
    Rest(u8),
}

/// Postings of one block, decoded.
#[derive(Clone)]
pub(super) struct Decoded {
    pub(super) slots: [u32; BLOCK],
    pub(super) counts: [u32; BLOCK],
    pub(super) len: usize,
}

impl Decoded {
    pub(super) fn new() -> Self {
        Self { slots: [0; BLOCK], counts: [0; BLOCK], len: 0 }
    }

    pub(super) fn postings(&self) -> impl Iterator<Item = Posting> + '_ {
        let both = self.slots.iter().zip(&self.counts).take(self.len);
        both.map(|(&slot, &count)| Posting { slot, count })
    }
}

fn damaged(field: &'static str, value: u64) -> FormatError {
    FormatError::Field { what: WHAT, field, value }
}

impl Block<'_> {
    pub(super) fn with_peak(self, peak: Peak) -> Self {
        Self { peak: Some(peak), ..self }
    }

    /// Decodes the block.
    ///
    /// # Errors
    /// Slots out of order or beyond the last, counts of nothing.
    pub(super) fn decode(&self, out: &mut Decoded) -> Result<(), FormatError> {
        let mut slot = u64::from(self.base);
        match self.form {
            Form::Full(slot_bits, count_bits) => {
                let (slots, counts) = self.bytes.split_at(packed_bytes(slot_bits));
                unpack(slots, slot_bits, &mut out.slots);
                unpack(counts, count_bits, &mut out.counts);
                out.len = BLOCK;
                let mut zeros = 0_u32;
                for place in &mut out.slots {
                    zeros += u32::from(*place == 0);
                    slot += u64::from(*place);
                    *place = slot as u32;
                }
                let allowed = u32::from(out.slots[0] == self.base);
                if zeros > allowed {
                    return Err(damaged("order of slots", slot));
                }
                out.counts.iter_mut().for_each(|count| *count = count.saturating_add(1));
            }
            Form::Rest(count) => {
                let mut rest = self.bytes;
                out.len = usize::from(count);
                let places = out.slots.iter_mut().zip(&mut out.counts).take(usize::from(count));
                for (at, (place, count)) in places.enumerate() {
                    let pair = take_varint(&mut rest).zip(take_varint(&mut rest));
                    let (step, found) = pair.ok_or_else(|| damaged("length", at as u64))?;
                    if (step == 0 && at > 0) || found == 0 {
                        return Err(damaged("order of slots", slot));
                    }
                    slot += u64::from(step);
                    (*place, *count) = (slot as u32, found);
                }
                if !rest.is_empty() {
                    return Err(damaged("length", rest.len() as u64));
                }
            }
        }
        if slot != u64::from(self.last) || out.slots[0] < self.first {
            return Err(damaged("last slot", slot));
        }
        Ok(())
    }
}

/// The parts of a run in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'v> {
    base: u32,
    headers: &'v [u8],
    rest: u8,
    rest_header: &'v [u8],
    data: &'v [u8],
}

impl<'v> Run<'v> {
    /// Takes a run apart; [`Run::blocks`] checks the parts.
    ///
    /// # Errors
    /// Fewer bytes than its numbers say.
    pub(super) fn read(bytes: &'v [u8]) -> Result<Self, FormatError> {
        let short = || FormatError::Length { what: WHAT, expected: HEAD_BYTES, found: bytes.len() };
        let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(short)?;
        let (base, full, rest) = (read_u32(head, 0), head[4], head[5]);
        if usize::from(rest) >= BLOCK {
            return Err(damaged("postings", u64::from(rest)));
        }
        let headers = body.split_at_checked(usize::from(full) * BLOCK_BYTES).ok_or_else(short)?;
        let rest_bytes = if rest > 0 { REST_BYTES } else { 0 };
        let (rest_header, data) = headers.1.split_at_checked(rest_bytes).ok_or_else(short)?;
        Ok(Self { base, headers: headers.0, rest, rest_header, data })
    }

    /// Calls `each` with every block, in order.
    ///
    /// # Errors
    /// Widths, lengths and orders that cannot be.
    pub(super) fn blocks(&self, mut each: impl FnMut(Block<'v>)) -> Result<(), FormatError> {
        let (mut base, mut first, mut data) = (self.base, self.base, self.data);
        let check = |last: u32, first: &mut u32| {
            if last < *first {
                return Err(damaged("last slot of a block", u64::from(last)));
            }
            // Past the last slot there can be there is no next; then the next check fails.
            *first = last.saturating_add(1);
            Ok(())
        };
        for header in self.headers.as_chunks::<BLOCK_BYTES>().0 {
            let (last, slot_bits, count_bits) = (read_u32(header, 0), header[4], header[5]);
            if slot_bits > 32 || count_bits > 32 {
                return Err(damaged("bits", u64::from(slot_bits.max(count_bits))));
            }
            let length = packed_bytes(slot_bits) + packed_bytes(count_bits);
            let cut = data.split_at_checked(length);
            let (bytes, tail) = cut.ok_or_else(|| damaged("length", data.len() as u64))?;
            let (peak, form) = (Some(Peak::read(header, 6)), Form::Full(slot_bits, count_bits));
            let lowest = first;
            check(last, &mut first)?;
            each(Block { first: lowest, last, peak, base, form, bytes });
            (base, data) = (last, tail);
        }
        if self.rest > 0 {
            let last = read_u32(self.rest_header, 0);
            let peak = Some(Peak::read(self.rest_header, 4));
            let lowest = first;
            check(last, &mut first)?;
            let form = Form::Rest(self.rest);
            each(Block { first: lowest, last, peak, base, form, bytes: data });
        } else if !data.is_empty() {
            return Err(damaged("length", data.len() as u64));
        }
        Ok(())
    }
}

/// Appends the postings of a whole run.
///
/// # Errors
/// Damage.
pub(super) fn read_run(
    bytes: &[u8],
    decoded: &mut Decoded,
    out: &mut Vec<Posting>,
) -> Result<(), FormatError> {
    let mut failed = None;
    Run::read(bytes)?.blocks(|block| match block.decode(decoded) {
        Ok(()) => out.extend(decoded.postings()),
        Err(error) => failed = failed.take().or(Some(error)),
    })?;
    failed.map_or(Ok(()), Err)
}

/// The list of a rare term, which has no headers: as a block.
///
/// # Errors
/// As [`Block::decode`]; the list is decoded to know its last slot.
pub(super) fn short_list<'v>(
    postings: u8,
    bytes: &'v [u8],
    out: &mut Decoded,
) -> Result<Block<'v>, FormatError> {
    let mut last = 0_u32;
    let mut rest = bytes;
    for _ in 0..postings {
        let pair = take_varint(&mut rest).zip(take_varint(&mut rest));
        let (step, _) = pair.ok_or_else(|| damaged("length", bytes.len() as u64))?;
        last = last.checked_add(step).ok_or_else(|| damaged("slot", u64::from(last)))?;
    }
    let form = Form::Rest(postings);
    let block = Block { first: 0, last, peak: None, base: 0, form, bytes };
    block.decode(out)?;
    let first = out.slots.first().copied().unwrap_or(0);
    Ok(Block { first, ..block })
}

/// A run that grows at its end.
#[derive(Default)]
pub(super) struct RunWriter {
    base: u32,
    full: u8,
    headers: Vec<u8>,
    data: Vec<u8>,
    rest: u8,
    last: u32,
    peak: Option<Peak>,
    rest_data: Vec<u8>,
}

impl RunWriter {
    /// Becomes an empty run.
    pub(super) fn clear(&mut self) {
        self.headers.clear();
        self.data.clear();
        self.rest_data.clear();
        (self.base, self.full, self.rest, self.last, self.peak) = (0, 0, 0, 0, None);
    }

    /// Becomes the run in `bytes`.
    ///
    /// # Errors
    /// As [`Run::read`] and [`Run::blocks`].
    pub(super) fn load(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.clear();
        let run = Run::read(bytes)?;
        let (mut packed, mut last) = (0, run.base);
        run.blocks(|block| {
            last = block.last;
            if let Form::Full(..) = block.form {
                packed += block.bytes.len();
            }
        })?;
        let (full, rest) = run.data.split_at(packed);
        self.base = run.base;
        self.full = (run.headers.len() / BLOCK_BYTES) as u8;
        self.headers.extend_from_slice(run.headers);
        self.data.extend_from_slice(full);
        self.rest_data.extend_from_slice(rest);
        (self.rest, self.last) = (run.rest, last);
        self.peak = (run.rest > 0).then(|| Peak::read(run.rest_header, 4));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.full == 0 && self.rest == 0
    }

    /// The first slot; 0 if there is none.
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// Bytes of the run.
    pub(super) fn len(&self) -> usize {
        let rest = if self.rest > 0 { REST_BYTES } else { 0 };
        HEAD_BYTES + self.headers.len() + rest + self.data.len() + self.rest_data.len()
    }

    /// Whether the next posting belongs to another run.
    pub(super) fn is_full(&self) -> bool {
        self.rest == 0 && (self.len() > RUN_BYTES || self.full == u8::MAX)
    }

    /// Appends a posting whose record has a text of that length.
    ///
    /// # Errors
    /// A slot that is not above the last, or a count of 0.
    pub(super) fn push(&mut self, posting: Posting, length: u16) -> Result<(), FormatError> {
        let Posting { slot, count } = posting;
        if self.is_empty() {
            (self.base, self.last) = (slot, slot);
        } else if slot <= self.last {
            return Err(damaged("order of slots", u64::from(slot)));
        }
        if count == 0 {
            return Err(damaged("count", 0));
        }
        put_varint(slot - self.last, &mut self.rest_data);
        put_varint(count, &mut self.rest_data);
        (self.last, self.rest) = (slot, self.rest + 1);
        self.peak.get_or_insert(Peak::NONE).add(count, length);
        if usize::from(self.rest) == BLOCK {
            self.pack_rest()?;
        }
        Ok(())
    }

    fn pack_rest(&mut self) -> Result<(), FormatError> {
        let (mut steps, mut counts) = ([0; BLOCK], [0; BLOCK]);
        let mut rest = self.rest_data.as_slice();
        for (step, count) in steps.iter_mut().zip(&mut counts) {
            let pair = take_varint(&mut rest).zip(take_varint(&mut rest));
            let (found, times) = pair.ok_or_else(|| damaged("length", rest.len() as u64))?;
            let times = times.checked_sub(1).ok_or_else(|| damaged("count", 0))?;
            (*step, *count) = (found, times);
        }
        let (slot_bits, count_bits) = (bits_of(&steps), bits_of(&counts));
        self.headers.extend(self.last.to_le_bytes());
        self.headers.extend([slot_bits, count_bits]);
        self.peak.take().unwrap_or(Peak::NONE).put(&mut self.headers);
        pack(&steps, slot_bits, &mut self.data);
        pack(&counts, count_bits, &mut self.data);
        self.rest_data.clear();
        (self.rest, self.full) = (0, self.full + 1);
        Ok(())
    }

    /// Appends the bytes of the run.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.base.to_le_bytes());
        out.extend([self.full, self.rest]);
        out.extend_from_slice(&self.headers);
        if let Some(peak) = self.peak.filter(|_| self.rest > 0) {
            out.extend(self.last.to_le_bytes());
            peak.put(out);
        }
        out.extend_from_slice(&self.data);
        out.extend_from_slice(&self.rest_data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Posting>, FormatError> {
        let mut found = Vec::new();
        read_run(bytes, &mut Decoded::new(), &mut found).map(|()| found)
    }

    fn postings() -> impl Strategy<Value = Vec<(Posting, u16)>> {
        let posting = (1u32..5000, 1u32..9, 1u16..400);
        proptest::collection::vec(posting, 0..600).prop_map(|steps| {
            let mut slot = 0;
            let posting = |(step, count, length)| {
                slot += step;
                (Posting { slot, count }, length)
            };
            steps.into_iter().map(posting).collect()
        })
    }

    proptest! {
        #[test]
        fn runs_read_back_in_whatever_steps_they_grew(all in postings(), cut in 0usize..600) {
            let mut writer = RunWriter::default();
            let (head, tail) = all.split_at(cut.min(all.len()));
            head.iter().for_each(|&(posting, length)| writer.push(posting, length).unwrap());
            let mut bytes = Vec::new();
            writer.write(&mut bytes);
            writer.load(&bytes).unwrap();
            tail.iter().for_each(|&(posting, length)| writer.push(posting, length).unwrap());
            let mut whole = Vec::new();
            writer.write(&mut whole);
            prop_assert_eq!(whole.len(), writer.len());
            let expected: Vec<Posting> = all.iter().map(|(posting, _)| *posting).collect();
            prop_assert_eq!(read(&whole).unwrap(), expected);
            let mut once = RunWriter::default();
            all.iter().for_each(|&(posting, length)| once.push(posting, length).unwrap());
            let mut at_once = Vec::new();
            once.write(&mut at_once);
            prop_assert_eq!(at_once, whole);
        }

        #[test]
        fn peaks_bound_every_posting_of_their_block(all in postings()) {
            let mut writer = RunWriter::default();
            all.iter().for_each(|&(posting, length)| writer.push(posting, length).unwrap());
            let mut bytes = Vec::new();
            writer.write(&mut bytes);
            Run::read(&bytes).unwrap().blocks(|block| {
                let peak = block.peak.unwrap();
                let slots = block.first..=block.last;
                let own = |(posting, _): &&(Posting, u16)| slots.contains(&posting.slot);
                for (posting, length) in all.iter().filter(own) {
                    let (count, best) = (posting.count, u32::from(peak.count));
                    let bound = if count == best { peak.length } else { peak.other };
                    assert!(count <= best && *length >= bound);
                }
            }).unwrap();
        }

        #[test]
        fn any_bytes_are_a_run_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read(&bytes);
            let _ = RunWriter::default().load(&bytes);
            if let Some((&postings, list)) = bytes.split_first() {
                let _ = short_list(postings % 16, list, &mut Decoded::new());
            }
        }

        #[test]
        fn changed_runs_are_another_run_or_an_error(
            all in postings(), at in any::<usize>(), bit in 0u8..8,
        ) {
            let mut writer = RunWriter::default();
            all.iter().for_each(|&(posting, length)| writer.push(posting, length).unwrap());
            let mut bytes = Vec::new();
            writer.write(&mut bytes);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(found) = read(&bytes) {
                prop_assert!(found.is_sorted_by(|a, b| a.slot < b.slot));
            }
        }
    }
}
