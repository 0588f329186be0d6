//! The kernels in x86-64 intrinsics, one module an instruction set. Each function takes the
//! [`Level`](super::level::Level) that proves its instructions are there; unsafe code is in the
//! loads and in the calls that cross into an instruction set, nowhere else.
#![allow(unsafe_code)]

pub mod avx2;
pub mod avx512;

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Asks for every line of a row.
#[inline]
pub fn prefetch(row: &[u8]) {
    for line in row.chunks(64) {
        // SAFETY: a prefetch reads nothing the program can see and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}
