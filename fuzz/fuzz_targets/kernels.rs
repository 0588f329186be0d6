//! Differential: each fast kernel against its scalar twin, at any length and alignment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals::kernels;
use portolan::internals::kernels::{ranked, scalar};

fuzz_target!(|bytes: &[u8]| {
    // Byte 0 shifts the start, so that rows begin at any alignment.
    let Some((&shift, rest)) = bytes.split_first() else { return };
    let rest = &rest[usize::from(shift % 8).min(rest.len())..];
    let (row, other) = rest.split_at(rest.len() / 2);
    int8(row, other);
    let query: Vec<f32> = other.iter().map(|&byte| f32::from(byte as i8) / 16.0).collect();
    single(row, &query);
    half(row, &query);
    batches(row, other);
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    rounding(&floats(row), floats(other).first().copied().unwrap_or(1.0));
    ranking(&floats(row), &floats(other));
});

/// What a walk keeps of scores with any bits, at every level of this processor.
fn ranking(scores: &[f32], limits: &[f32]) {
    let ids: Vec<u32> = (0..scores.len() as u32).map(|at| at.wrapping_mul(77) % 1000).collect();
    let limit = limits.first().map_or(0, |&limit| ranked::word(limit, 500));
    let mut expected = vec![0; ids.len()];
    let count = ranked::above_scalar(&ids, scores, limit, &mut expected);
    let mut words = vec![0; 3 * ranked::BLOCK];
    expected[..count].iter().for_each(|&word| _ = ranked::insert_scalar(&mut words, word));
    assert!(words.is_sorted_by(|a, b| a >= b));
    for level in kernels::available() {
        let mut out = vec![0; ids.len() + ranked::BLOCK];
        assert_eq!(ranked::above(level, &ids, scores, limit, &mut out), count);
        assert_eq!(out[..count], expected[..count]);
        let mut own = vec![0; words.len()];
        out[..count].iter().for_each(|&word| _ = ranked::insert(level, &mut own, word));
        assert_eq!(own, words);
    }
}

/// What is done to each component of a query, with any bits, at every level of this processor.
fn rounding(values: &[f32], factor: f32) {
    let mut expected = vec![0; values.len()];
    scalar::round_i8(values, factor, &mut expected);
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    for level in kernels::available() {
        let mut out = vec![0; values.len()];
        kernels::round_i8(level, values, factor, &mut out);
        assert_eq!(out, expected);
        let (found, most) = (kernels::max_abs(level, values), scalar::max_abs(values));
        assert!(same(found.into(), most.into()));
        assert!(same(kernels::sum_of_squares(level, values), scalar::sum_of_squares(values)));
    }
}

/// Four int8 rows and rows of navigation codes, at every level of this processor.
fn batches(bytes: &[u8], query: &[u8]) {
    let as_int8 = |bytes: &[u8]| -> Vec<i8> { bytes.iter().map(|&byte| byte as i8).collect() };
    let (codes, values) = (as_int8(bytes), as_int8(query));
    let len = values.len().min(codes.len() / 4);
    let four = std::array::from_fn(|at| &codes[at * len..][..len]);
    let lines = query.first().map_or(1, |byte| usize::from(byte % 8) + 1);
    let mut nav = kernels::NavQuery::default();
    nav.reset(lines);
    for (dim, value) in values.iter().take(kernels::nav::dims(lines)).enumerate() {
        nav.set(dim, &[*value]);
    }
    (nav.scale, nav.bias, nav.reach) = ([0.01, 0.02], [0.5, -0.5], 0.3);
    let rows: Vec<&[u8]> = bytes.chunks(nav.row_bytes()).collect();
    for level in kernels::available() {
        let dots = kernels::dot4_i8(level, &values[..len], four);
        assert_eq!(dots, four.map(|row| scalar::dot_i8(&values[..len], row)));
        panels(level, four, &values[..len]);
        let mut scores = vec![0.0; rows.len()];
        nav.score_all(level, &rows, &mut scores);
        for (score, row) in scores.iter().zip(&rows) {
            let expected = nav.score(row);
            assert!(score.to_bits() == expected.to_bits() || score.is_nan() && expected.is_nan());
        }
        nav.reach_all(level, &rows, &mut scores);
        for (reach, row) in scores.iter().zip(&rows) {
            let expected = nav.reach_of(row);
            assert!(reach.to_bits() == expected.to_bits() || reach.is_nan() && expected.is_nan());
        }
        let lines = bytes.as_chunks::<{ kernels::nav::LINE }>().0;
        let ids: Vec<u32> = (0..=rows.len() as u32).rev().collect();
        let mut by_id = vec![0.0; ids.len()];
        nav.score_ids(level, lines, &ids, &mut by_id);
        for (&id, score) in ids.iter().zip(&by_id) {
            let expected = nav.score(rows.get(id as usize).copied().unwrap_or_default());
            assert!(score.to_bits() == expected.to_bits() || score.is_nan() && expected.is_nan());
        }
        let mut reaches = vec![0.0; lines.len()];
        nav.reach_lines(level, lines, &mut reaches);
        for (reach, line) in reaches.iter().zip(lines) {
            let expected = nav.reach_of(line);
            assert!(reach.to_bits() == expected.to_bits() || reach.is_nan() && expected.is_nan());
        }
    }
}

/// All pairs of two panels: rows against rows and the query.
fn panels(level: kernels::Level, rows: [&[i8]; 4], query: &[i8]) {
    let (mut a, mut b) = (kernels::Panel::new(query.len()), kernels::Panel::new(query.len()));
    rows.iter().for_each(|row| a.push(row));
    rows.iter().chain([&query]).for_each(|row| b.push(row));
    let mut dots = Vec::new();
    a.dots(level, (0, a.len()), &b, &mut dots);
    let columns = || (0..b.len()).map(|at| b.row(at));
    let expected = rows.iter().flat_map(|row| columns().map(|other| scalar::dot_i8(row, other)));
    assert!(dots.iter().copied().eq(expected));
    // The same with the rows of one of them in tiles.
    let (tiled, mut of_tiles) = (kernels::Tiled::new(&b), Vec::new());
    tiled.dots(level, &a, &mut of_tiles);
    assert_eq!(of_tiles, dots);
    tiled.dots_of(level, query, &mut of_tiles);
    assert!(of_tiles.into_iter().eq(columns().map(|row| scalar::dot_i8(query, row))));
}

fn int8(row: &[u8], other: &[u8]) {
    let as_int8 = |bytes: &[u8]| -> Vec<i8> { bytes.iter().map(|&byte| byte as i8).collect() };
    let (a, b) = (as_int8(row), as_int8(other));
    assert_eq!(kernels::dot_i8(&a, &b), scalar::dot_i8(&a, &b));
}

fn single(row: &[u8], query: &[f32]) {
    let mut scratch = Vec::new();
    let row = kernels::f32_le(row, query.len(), &mut scratch);
    // Sums of large values of both signs have no bounded relative error.
    let row: Vec<f32> = row.iter().map(|&x| if x.abs() < 1e4 { x } else { 1.0 }).collect();
    close(kernels::dot_f32(&row, query), scalar::dot_f32(&row, query), size(&row, query));
    let expected = scalar::l2sq_f32(&row, query);
    close(kernels::l2sq_f32(&row, query), expected, expected);
}

fn half(row: &[u8], query: &[f32]) {
    let len = (row.len() / 2).min(query.len());
    let (mut wide, query) = (vec![0.0; len], &query[..len]);
    kernels::f16_le_to_f32(row, &mut wide);
    if wide.iter().any(|x| !x.is_finite()) {
        return;
    }
    let mut scratch = Vec::new();
    let expected = (scalar::dot_f32(&wide, query), scalar::l2sq_f32(&wide, query));
    for level in kernels::available() {
        let dot = kernels::dot_f16_le_at(level, row, query, &mut scratch);
        close(dot, expected.0, size(&wide, query));
        let l2sq = kernels::l2sq_f16_le_at(level, row, query, &mut scratch);
        close(l2sq, expected.1, expected.1);
    }
}

/// Sum of the absolute products: what the error of a dot product is relative to.
fn size(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x * y).abs()).sum()
}

fn close(found: f32, expected: f32, size: f32) {
    let error = (found - expected).abs();
    assert!(error <= 1e-5 * size + 1e-6, "{found} is not {expected} (size {size})");
}
