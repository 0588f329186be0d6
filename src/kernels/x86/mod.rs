//! The kernels in x86-64 intrinsics, one module an instruction set. Each function takes the
//! [`Level`](super::level::Level) that proves its instructions are there; unsafe code is in the
//! loads and in the calls that cross into an instruction set, nowhere else.
#![allow(unsafe_code)]

/// Scores rows by a function of four of them; a last group of fewer repeats its first row. A
/// macro, as a function given to another is called through code without its instructions.
macro_rules! in_fours {
    ($four:expr, $query:expr, $rows:expr, $out:expr) => {
        let (fours, rest) = $rows.as_chunks::<4>();
        let (fours_out, rest_out) = $out.as_chunks_mut::<4>();
        for (rows, out) in fours.iter().zip(fours_out) {
            *out = $four($query, rows);
        }
        if let Some(first) = rest.first() {
            let mut rows = [*first; 4];
            rows[..rest.len()].copy_from_slice(rest);
            let scores = $four($query, &rows);
            rest_out.iter_mut().zip(scores).for_each(|(out, score)| *out = score);
        }
    };
}

pub mod avx2;
pub mod avx512;
pub mod ranked;
pub mod ranked_avx2;

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Asks for every line of a row.
#[inline]
pub fn prefetch(row: &[u8]) {
    for line in row.chunks(64) {
        // SAFETY: a prefetch reads nothing the program can see and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}
