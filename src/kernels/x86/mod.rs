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

/// The kernels of navigation codes around the two that an instruction set has of its own: `fine`,
/// the sums of four first lines, and `nav_four`, the scores of four rows. A macro, as features are
/// named by an attribute: a generic function would be compiled for one set of them.
macro_rules! rows_by_nav {
    ($features:literal) => {
        /// See [`NavQuery::score_all`] and [`NavQuery::reach_all`]; every row has the bytes that
        /// are read.
        #[inline]
        pub fn nav_all<const REACH: bool>(
            _proof: Level,
            query: &NavQuery,
            rows: &[&[u8]],
            out: &mut [f32],
        ) {
            // SAFETY: dispatchers alone call this, in the arm of the level that has these
            // features, which is made only after they were detected.
            unsafe {
                match query.bytes_read::<REACH>() / LINE {
                    1 => nav_all_inner::<1>(query, rows, out),
                    2 => nav_all_inner::<2>(query, rows, out),
                    3 => nav_all_inner::<3>(query, rows, out),
                    4 => nav_all_inner::<4>(query, rows, out),
                    5 => nav_all_inner::<5>(query, rows, out),
                    6 => nav_all_inner::<6>(query, rows, out),
                    7 => nav_all_inner::<7>(query, rows, out),
                    _ => nav_all_inner::<8>(query, rows, out),
                }
            }
        }

        /// Scores rows of `N` lines, four at a time; what they reach where there are more lines.
        #[target_feature(enable = $features)]
        fn nav_all_inner<const N: usize>(query: &NavQuery, rows: &[&[u8]], out: &mut [f32]) {
            in_fours!(nav_slices::<N>, query, rows, out);
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn nav_slices<const N: usize>(query: &NavQuery, rows: &[&[u8]; 4]) -> [f32; 4] {
            let mut lines: [&[[i8; LINE]; N]; 4] = [&[[0; LINE]; N]; 4];
            for (lines, row) in lines.iter_mut().zip(rows) {
                if let Some(row) =
                    bytemuck::cast_slice(row).as_chunks::<LINE>().0.first_chunk::<N>()
                {
                    *lines = row;
                }
            }
            nav_four(query, lines)
        }

        /// See [`NavQuery::reach_lines`].
        #[inline]
        pub fn nav_lines(_proof: Level, query: &NavQuery, lines: &[[u8; LINE]], out: &mut [f32]) {
            // SAFETY: dispatchers alone call this, in the arm of the level that has these
            // features, which is made only after they were detected.
            unsafe { nav_lines_inner(query, lines, out) }
        }

        #[target_feature(enable = $features)]
        fn nav_lines_inner(query: &NavQuery, lines: &[[u8; LINE]], out: &mut [f32]) {
            let Some((planes, _)) = query.planes().split_first_chunk::<2>() else { return };
            let second = if query.lines() == 1 { Second::None } else { Second::Reach };
            let (fours, rest) = bytemuck::cast_slice::<_, [i8; LINE]>(lines).as_chunks::<4>();
            let (fours_out, rest_out) = out.as_chunks_mut::<4>();
            for (lines, out) in fours.iter().zip(&mut *fours_out) {
                let lines = lines.each_ref();
                *out = combine(query, lines, fine(planes, lines), second);
            }
            if let Some(first) = rest.first().filter(|_| fours_out.len() == fours.len()) {
                let lines = std::array::from_fn(|at| rest.get(at).unwrap_or(first));
                let scores = combine(query, lines, fine(planes, lines), second);
                rest_out
                    .iter_mut()
                    .zip(rest)
                    .zip(scores)
                    .for_each(|((out, _), score)| *out = score);
            }
        }

        /// See [`NavQuery::score_ids`]; every id is that of a row.
        #[inline]
        pub fn nav_ids(
            _proof: Level,
            query: &NavQuery,
            lines: &[[u8; LINE]],
            ids: &[u32],
            out: &mut [f32],
        ) {
            let lines = bytemuck::cast_slice(lines);
            // SAFETY: dispatchers alone call this, in the arm of the level that has these
            // features, which is made only after they were detected.
            unsafe {
                match query.lines() {
                    1 => nav_ids_inner::<1>(query, lines, ids, out),
                    2 => nav_ids_inner::<2>(query, lines, ids, out),
                    3 => nav_ids_inner::<3>(query, lines, ids, out),
                    4 => nav_ids_inner::<4>(query, lines, ids, out),
                    5 => nav_ids_inner::<5>(query, lines, ids, out),
                    6 => nav_ids_inner::<6>(query, lines, ids, out),
                    7 => nav_ids_inner::<7>(query, lines, ids, out),
                    _ => nav_ids_inner::<8>(query, lines, ids, out),
                }
            }
        }

        #[target_feature(enable = $features)]
        fn nav_ids_inner<const N: usize>(
            query: &NavQuery,
            lines: &[[i8; LINE]],
            ids: &[u32],
            out: &mut [f32],
        ) {
            let rows = lines.as_chunks::<N>().0;
            let Some(any) = rows.first() else { return };
            for (ids, out) in ids.chunks(4).zip(out.chunks_mut(4)) {
                let mut four = [any; 4];
                for (row, &id) in four.iter_mut().zip(ids) {
                    if let Some(own) = rows.get(id as usize) {
                        *row = own;
                    }
                }
                let scores = nav_four(query, four);
                match <&mut [f32; 4]>::try_from(&mut *out) {
                    // A copy of known length is one instruction.
                    Ok(out) => *out = scores,
                    Err(_) => out.iter_mut().zip(scores).for_each(|(out, score)| *out = score),
                }
            }
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
