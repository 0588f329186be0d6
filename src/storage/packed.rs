//! Records as they rest: flags, then the encoded record, by LZ4 where that is smaller.
//!
//! A leaf of LMDB holds what fits into 4 KiB, so a text that shrinks saves more than its bytes.
//! LZ4 because it is read at about a GB a second by safe code: a search pays a microsecond a hit.

use std::borrow::Cow;

use lz4_flex::block;

use crate::format::{FormatError, RECORD_BYTES_MAX, read_u32};

const WHAT: &str = "record";
/// The record has a vector.
const HAS_VECTOR: u8 = 1;
/// The record is compressed: its length u32, then an LZ4 block. Since version 3.
const COMPRESSED: u8 = 2;
/// The first format version that knows compressed records.
pub(super) const COMPRESSED_SINCE: u32 = 3;
/// Shorter records have no repetition worth the look.
const COMPRESSED_MIN: usize = 128;
/// The most that a byte of an LZ4 block can stand for.
const RATIO_MAX: usize = 255;

/// What is stored of an encoded record.
pub(super) fn pack(record: &[u8], has_vector: bool, compress: bool) -> Vec<u8> {
    let flags = if has_vector { HAS_VECTOR } else { 0 };
    if compress && record.len() >= COMPRESSED_MIN {
        let header = 1 + size_of::<u32>();
        let mut payload = vec![0; header + block::get_maximum_output_size(record.len())];
        payload[0] = flags | COMPRESSED;
        payload[1..header].copy_from_slice(&(record.len() as u32).to_le_bytes());
        // Worth the work of reading from an eighth on.
        if let Ok(bytes) = block::compress_into(record, &mut payload[header..])
            && header + bytes <= record.len() / 8 * 7
        {
            payload.truncate(header + bytes);
            return payload;
        }
    }
    let mut payload = Vec::with_capacity(1 + record.len());
    payload.push(flags);
    payload.extend_from_slice(record);
    payload
}

/// The inverse of [`pack`]: the encoded record, and whether it has a vector.
///
/// # Errors
/// [`FormatError`] for unknown flags, lengths that cannot be, and damaged blocks. No more is
/// allocated than a record may have.
pub(super) fn unpack(payload: &[u8]) -> Result<(Cow<'_, [u8]>, bool), FormatError> {
    let too_short = |expected| FormatError::Length { what: WHAT, expected, found: payload.len() };
    let (&flags, body) = payload.split_first().ok_or_else(|| too_short(1))?;
    if flags & !(HAS_VECTOR | COMPRESSED) != 0 {
        return Err(FormatError::Field { what: WHAT, field: "flags", value: u64::from(flags) });
    }
    let has_vector = flags & HAS_VECTOR != 0;
    if flags & COMPRESSED == 0 {
        return Ok((Cow::Borrowed(body), has_vector));
    }
    let (_, block) = body.split_at_checked(size_of::<u32>()).ok_or_else(|| too_short(5))?;
    let length = read_u32(body, 0) as usize;
    if length > RECORD_BYTES_MAX || length / RATIO_MAX > block.len() {
        return Err(FormatError::Field { what: WHAT, field: "length", value: length as u64 });
    }
    let mut record = vec![0; length];
    let failed = |reason: String| FormatError::Decode { what: WHAT, reason };
    match block::decompress_into(block, &mut record) {
        Ok(written) if written == length => Ok((Cow::Owned(record), has_vector)),
        Ok(written) => Err(failed(format!("its block has {written} bytes, not {length}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Vec<u8>> {
        // Few different bytes, so that some records shrink.
        proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..3000)
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks_and_is_never_more_than_a_byte_longer(
            record in record(), has_vector: bool, compress: bool,
        ) {
            let payload = pack(&record, has_vector, compress);
            prop_assert!(payload.len() <= record.len() + 1);
            let (back, flag) = unpack(&payload).unwrap();
            prop_assert_eq!(back.as_ref(), record.as_slice());
            prop_assert_eq!(flag, has_vector);
        }

        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&payload);
            let mut compressed = vec![COMPRESSED];
            compressed.extend_from_slice(&payload);
            let _ = unpack(&compressed);
        }
    }

    #[test]
    fn a_text_shrinks_and_an_older_file_gets_it_as_it_is() {
        let text = "the pilot carried a chart; ".repeat(40).into_bytes();
        assert!(pack(&text, true, true).len() < text.len() / 4);
        assert_eq!(pack(&text, true, false)[1..], text);
    }

    #[test]
    fn a_short_block_that_claims_a_long_record_is_refused_before_it_is_allocated() {
        let mut bomb = vec![COMPRESSED];
        bomb.extend_from_slice(&(RECORD_BYTES_MAX as u32).to_le_bytes());
        bomb.extend_from_slice(&[0; 20]);
        let refused = unpack(&bomb).unwrap_err();
        assert!(matches!(refused, FormatError::Field { field: "length", .. }), "{refused}");
        assert!(unpack(&[COMPRESSED, 1, 0]).is_err());
        assert!(unpack(&[4]).is_err());
        assert!(unpack(&[]).is_err());
    }
}
