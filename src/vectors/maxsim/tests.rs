//! MaxSim against its definition in f64, for each codec, within what the codec loses.

use proptest::prelude::*;

use super::*;
use crate::vectors::Random;

/// The definition: nothing of ours but the decoded rows.
fn naive(query: &[f32], document: &[f32], dim: usize) -> f64 {
    let best = |q: &[f32]| {
        let dots = document
            .chunks(dim)
            .map(|row| q.iter().zip(row).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>());
        dots.fold(f64::MIN, f64::max)
    };
    query.chunks(dim).map(best).sum()
}

/// What the product of two rows can be off by when both are int8 codes.
fn code_error(query: &[f32], document: &[f32], dim: usize) -> f64 {
    let step = |row: &[f32]| f64::from(row.iter().fold(0.0_f32, |max, x| max.max(x.abs()))) / 127.0;
    let sum = |row: &[f32]| row.iter().map(|x| f64::from(x.abs())).sum::<f64>();
    let worst = |q: &[f32]| {
        let of = document.chunks(dim).map(|row| {
            let (sq, sd) = (step(q) * 0.501, step(row) * 0.501);
            sum(q) * sd + sum(row) * sq + dim as f64 * sq * sd
        });
        of.fold(0.0, f64::max)
    };
    query.chunks(dim).map(worst).sum::<f64>() * 1.001 + 1e-5
}

fn rows(random: &mut Random, count: usize, dim: usize) -> Vec<f32> {
    random.normals(count * dim)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scores_are_the_definition_within_what_the_codec_loses(
        (queries, count, dim) in (1_usize..9, 1_usize..300, 1_usize..150), seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let (query, document) = (rows(&mut random, queries, dim), rows(&mut random, count, dim));
        let prepared = MaxSimQuery::new(dim, dim, &query).unwrap();
        let mut scratch = MaxSimScratch::default();
        for codec in [MatrixCodec::F16, MatrixCodec::Int8, MatrixCodec::Bit] {
            let bytes = matrix::encode_rows(codec, dim, &document).unwrap();
            let stored = MatrixRef::read(&bytes, 4096, dim).unwrap();
            let found = f64::from(prepared.score(&stored, &mut scratch));
            let decoded = stored.decode();
            let (wanted, error) = match codec {
                // Half a step of f16 is 2^-12 of a value.
                MatrixCodec::F16 => (
                    naive(&query, &document, dim),
                    queries as f64 * dim as f64 * 25.0 * 2.0_f64.powi(-11) / 2.0 + 1e-4,
                ),
                MatrixCodec::Int8 => {
                    (naive(&query, &document, dim), code_error(&query, &document, dim))
                }
                // What is left of a row is signs; the query is int8.
                MatrixCodec::Bit => {
                    (naive(&query, &decoded, dim), code_error(&query, &decoded, dim))
                }
            };
            prop_assert!((found - wanted).abs() <= error, "{codec}: {found} {wanted} {error}");
        }
    }

    #[test]
    fn decoded_rows_are_what_was_encoded_within_a_step(
        (count, dim) in (1_usize..20, 1_usize..70), seed in any::<u64>(),
    ) {
        let document = rows(&mut Random::new(seed), count, dim);
        for codec in [MatrixCodec::F16, MatrixCodec::Int8, MatrixCodec::Bit] {
            let bytes = matrix::encode_rows(codec, dim, &document).unwrap();
            let decoded = MatrixRef::read(&bytes, 4096, dim).unwrap().decode();
            prop_assert_eq!(decoded.len(), document.len());
            for (row, found) in document.chunks(dim).zip(decoded.chunks(dim)) {
                let largest = row.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
                for (x, y) in row.iter().zip(found) {
                    match codec {
                        MatrixCodec::F16 => prop_assert!((x - y).abs() <= x.abs() / 1024.0 + 1e-6),
                        MatrixCodec::Int8 => prop_assert!((x - y).abs() <= largest / 127.0 * 0.501),
                        MatrixCodec::Bit => prop_assert_eq!(*x >= 0.0, *y >= 0.0),
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_the_bytes_reading_gives_a_matrix_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..100), dim in 1_usize..9,
    ) {
        if let Ok(matrix) = MatrixRef::read(&bytes, 4096, dim) {
            let query = MaxSimQuery::new(dim, dim, &vec![0.5; dim]).unwrap();
            prop_assert!(query.score(&matrix, &mut MaxSimScratch::default()).is_finite());
            prop_assert_eq!(matrix.decode().len(), matrix.rows() * dim);
        }
    }
}

#[test]
fn the_layout_is_what_the_format_says() {
    let values = [0.5, -1.0, 0.0, 2.0, 1.0, -0.25];
    let head = |codec| [codec, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
    let f16 = matrix::encode_rows(MatrixCodec::F16, 3, &values).unwrap();
    assert_eq!(f16[..12], head(1));
    assert_eq!(f16[12..], [0, 0x38, 0, 0xBC, 0, 0, 0, 0x40, 0, 0x3C, 0, 0xB4]);
    let int8 = matrix::encode_rows(MatrixCodec::Int8, 3, &values).unwrap();
    assert_eq!(int8[..12], head(2));
    assert_eq!(int8[12..16], (1.0_f32 / 127.0).to_le_bytes());
    assert_eq!(int8[16..20], (2.0_f32 / 127.0).to_le_bytes());
    assert_eq!(int8[20..], [64, 129, 0, 127, 64, 240]);
    let bit = matrix::encode_rows(MatrixCodec::Bit, 3, &values).unwrap();
    assert_eq!(bit[..12], head(3));
    assert_eq!(bit[12..16], (1.25_f32 / 1.5).to_le_bytes());
    assert_eq!(bit[16..20], (5.0625_f32 / 3.25).to_le_bytes());
    assert_eq!(bit[20..], [0b101, 0b011]);
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for codec in [MatrixCodec::F16, MatrixCodec::Int8, MatrixCodec::Bit] {
        let bytes = matrix::encode_rows(codec, 10, &[1.0; 30]).unwrap();
        assert!(MatrixRef::read(&bytes, 3, 10).is_ok());
        assert!(MatrixRef::read(&bytes, 2, 10).is_err(), "too many rows");
        assert!(MatrixRef::read(&bytes, 3, 9).is_err(), "another length of rows");
        for end in 0..bytes.len() {
            assert!(MatrixRef::read(&bytes[..end], 3, 10).is_err(), "{codec} {end}");
        }
        let longer = [bytes.clone(), vec![0]].concat();
        assert!(MatrixRef::read(&longer, 3, 10).is_err());
        for (at, value) in [(0, 0), (0, 4), (1, 1), (4, 2), (7, 255), (8, 11)] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            assert!(MatrixRef::read(&damaged, 4096, 10).is_err(), "{codec} {at}");
        }
    }
}

#[test]
fn rows_that_cannot_be_compared_are_refused_by_their_own_errors() {
    let query = |found, values: &[f32]| MaxSimQuery::new(found, 2, values).map(|_| ());
    let wrong = VectorError::WrongDimensions { expected: 2, found: 3 };
    assert_eq!(query(3, &[1.0; 3]), Err(wrong));
    let not_finite = VectorError::NotFinite { position: 3 };
    assert_eq!(query(2, &[1.0, 2.0, 3.0, f32::NAN]), Err(not_finite));
    assert_eq!(query(2, &[f32::MAX, 1.0]), Err(VectorError::NormTooLarge));
    assert_eq!(query(2, &[0.0; 4]), Err(VectorError::ZeroVector));
    assert_eq!(query(2, &[0.0, 0.0, 1.0, 0.0]), Ok(()));
    let range = VectorError::OutOfF16Range { position: 1 };
    assert_eq!(matrix::encode_rows(MatrixCodec::F16, 2, &[1.0, 7e4]), Err(range));
}

#[test]
fn rows_that_cancel_out_are_stood_for_by_the_first() {
    assert_eq!(matrix::pooled(2, &[0.0, 0.0, 3.0, 4.0, -6.0, -8.0]), Ok(vec![0.6, 0.8]));
    assert_eq!(matrix::pooled(2, &[2.0, 0.0, 0.0, 5.0]), Ok(vec![1.0, 1.0]));
    assert_eq!(matrix::pooled(2, &[0.0; 4]), Err(VectorError::ZeroVector));
}
