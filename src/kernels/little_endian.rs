//! Kernels over rows of little-endian bytes, as they lie in a file: any alignment, any host.
//!
//! On a little-endian host an aligned row is viewed in place; otherwise values are decoded one
//! by one through an explicit `from_le_bytes`. f16 rows are widened to f32 (F16C or NEON through
//! `half`) before any arithmetic, because an f16 accumulator loses precision.

use half::f16;
use half::slice::HalfFloatSliceExt;

#[cfg(target_arch = "aarch64")]
use super::aarch64::neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::level::Isa;
use super::level::{Level, level};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{dot_f32, l2sq_f32};

/// Values decoded at a time where a row cannot be viewed in place.
const BLOCK: usize = 64;

/// Widens little-endian f16 bytes into `out`; stops at the shorter of the two.
pub fn f16_le_to_f32(bytes: &[u8], out: &mut [f32]) {
    let len = out.len().min(bytes.len() / size_of::<f16>());
    let (bytes, out) = (&bytes[..len * size_of::<f16>()], &mut out[..len]);
    match bytemuck::try_cast_slice::<u8, f16>(bytes) {
        Ok(values) if cfg!(target_endian = "little") => values.convert_to_f32_slice(out),
        _ => f16_le_to_f32_by_block(bytes, out),
    }
}

fn f16_le_to_f32_by_block(bytes: &[u8], out: &mut [f32]) {
    let mut block = [f16::ZERO; BLOCK];
    for (out, bytes) in out.chunks_mut(BLOCK).zip(bytes.chunks(BLOCK * size_of::<f16>())) {
        for (value, bytes) in block.iter_mut().zip(bytes.as_chunks().0) {
            *value = f16::from_le_bytes(*bytes);
        }
        block[..out.len()].convert_to_f32_slice(out);
    }
}

/// The first `len` values of a little-endian f32 row (fewer if the row is shorter): viewed in
/// place where alignment and host allow it, otherwise decoded into `scratch`.
pub fn f32_le<'a>(bytes: &'a [u8], len: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
    let len = len.min(bytes.len() / size_of::<f32>());
    let bytes = &bytes[..len * size_of::<f32>()];
    match bytemuck::try_cast_slice::<u8, f32>(bytes) {
        Ok(values) if cfg!(target_endian = "little") => values,
        _ => {
            scratch.clear();
            scratch.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            scratch
        }
    }
}

/// Dot product of a little-endian f16 row with an f32 query of the same number of values.
/// `scratch` is overwritten where the row cannot be read in place; reuse it.
#[must_use]
pub fn dot_f16_le(row: &[u8], query: &[f32], scratch: &mut Vec<f32>) -> f32 {
    dot_f16_le_at(level(), row, query, scratch)
}

/// [`dot_f16_le`] on one instruction set.
#[must_use]
pub fn dot_f16_le_at(level: Level, row: &[u8], query: &[f32], scratch: &mut Vec<f32>) -> f32 {
    match (level.isa(), f16_bits(row, query.len())) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Some(bits)) => x86::avx2::dot_f16(level, bits, query),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Some(bits)) => x86::avx512::dot_f16(level, bits, query),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, Some(bits)) => neon::dot_f16(level, bits, query),
        _ => {
            scratch.resize(query.len(), 0.0);
            f16_le_to_f32(row, scratch);
            dot_f32(scratch, query)
        }
    }
}

/// Squared Euclidean distance of a little-endian f16 row to an f32 query, as [`dot_f16_le`].
#[must_use]
pub fn l2sq_f16_le(row: &[u8], query: &[f32], scratch: &mut Vec<f32>) -> f32 {
    l2sq_f16_le_at(level(), row, query, scratch)
}

/// [`l2sq_f16_le`] on one instruction set.
#[must_use]
pub fn l2sq_f16_le_at(level: Level, row: &[u8], query: &[f32], scratch: &mut Vec<f32>) -> f32 {
    match (level.isa(), f16_bits(row, query.len())) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Some(bits)) => x86::avx2::l2sq_f16(level, bits, query),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Some(bits)) => x86::avx512::l2sq_f16(level, bits, query),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, Some(bits)) => neon::l2sq_f16(level, bits, query),
        _ => {
            scratch.resize(query.len(), 0.0);
            f16_le_to_f32(row, scratch);
            l2sq_f32(scratch, query)
        }
    }
}

/// The first `len` f16 values of a row as they lie there, where host and alignment allow it.
fn f16_bits(row: &[u8], len: usize) -> Option<&[u16]> {
    let bytes = row.get(..len * size_of::<f16>())?;
    bytemuck::try_cast_slice(bytes).ok().filter(|_| cfg!(target_endian = "little"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::{available, scalar};

    fn shifted(bytes: &[u8], shift: usize) -> Vec<u8> {
        let mut moved = vec![0xAA; shift];
        moved.extend_from_slice(bytes);
        moved
    }

    fn row_and_query() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (1_usize..2100).prop_flat_map(|len| {
            (
                proptest::collection::vec(-4.0_f32..4.0, len),
                proptest::collection::vec(-4.0_f32..4.0, len),
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn f16_rows_agree_with_the_scalar_twin_at_any_alignment(
            (row, query) in row_and_query(), shift in 0_usize..4,
        ) {
            let halves: Vec<f16> = row.iter().map(|&x| f16::from_f32(x)).collect();
            let wide: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
            let bytes: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
            let moved = shifted(&bytes, shift);
            let mut scratch = Vec::new();

            let mut decoded = vec![0.0; wide.len()];
            f16_le_to_f32(&moved[shift..], &mut decoded);
            prop_assert_eq!(&decoded, &wide);
            f16_le_to_f32_by_block(&moved[shift..], &mut decoded);
            prop_assert_eq!(&decoded, &wide);

            let size: f32 = wide.iter().zip(&query).map(|(x, y)| (x * y).abs()).sum();
            let expected = (scalar::dot_f32(&wide, &query), scalar::l2sq_f32(&wide, &query));
            for level in available() {
                let row = &moved[shift..];
                let dot = dot_f16_le_at(level, row, &query, &mut scratch);
                let name = level.name();
                prop_assert!((dot - expected.0).abs() <= 1e-5 * size + 1e-6, "{}", name);
                let l2sq = l2sq_f16_le_at(level, row, &query, &mut scratch);
                prop_assert!((l2sq - expected.1).abs() <= 1e-5 * expected.1 + 1e-6, "{}", name);
            }
        }

        #[test]
        fn f32_rows_decode_exactly_at_any_alignment(
            (row, _) in row_and_query(), shift in 0_usize..4,
        ) {
            let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
            let moved = shifted(&bytes, shift);
            let mut scratch = Vec::new();
            prop_assert_eq!(f32_le(&moved[shift..], row.len(), &mut scratch), &row[..]);
        }
    }

    #[test]
    fn a_short_row_gives_fewer_values() {
        let mut scratch = Vec::new();
        assert_eq!(f32_le(&[0, 0, 128, 63, 9], 4, &mut scratch), &[1.0]);
    }
}
