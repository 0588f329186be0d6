//! The kernels in AArch64 intrinsics. Each function takes the [`Level`](super::level::Level) that
//! proves its instructions are there. Instructions whose intrinsics stable Rust lacks are written
//! out: `sdot`, the widening of f16, the prefetch.
#![allow(unsafe_code)]

pub mod neon;

use std::arch::asm;

/// Asks for every line of a row.
#[inline]
pub fn prefetch(row: &[u8]) {
    for line in row.chunks(64) {
        // SAFETY: a prefetch reads nothing the program can see and faults on no address.
        unsafe {
            asm!(
                "prfm pldl1keep, [{line}]",
                line = in(reg) line.as_ptr(),
                options(nostack, preserves_flags, readonly),
            );
        }
    }
}
