//! Vector files through the public reader: exact values of every format, and an error rather than
//! a panic or an allocation for every file that lies about itself.

use std::fs;

use portolan::eval::vector_file::{VectorFile, write_npy_f32};
use portolan::eval::{EvalError, VectorProblem};
use proptest::prelude::*;

fn open(name: &str, content: &[u8]) -> Result<VectorFile, EvalError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    VectorFile::open(path)
}

fn problem<T>(result: Result<T, EvalError>) -> VectorProblem {
    match result {
        Err(EvalError::Vectors { source, .. }) => source,
        Err(other) => panic!("expected a vector problem, got {other:?}"),
        Ok(_) => panic!("expected a vector problem, got a value"),
    }
}

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    npy_version(1, &dict, data)
}

fn npy_version(version: u8, dict: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend(u16::try_from(dict.len()).unwrap().to_le_bytes()),
        _ => bytes.extend(u32::try_from(dict.len()).unwrap().to_le_bytes()),
    }
    bytes.extend(dict.bytes());
    bytes.extend(data);
    bytes
}

fn rows_of<const N: usize>(rows: &[(u32, &[[u8; N]])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (dim, elements) in rows {
        bytes.extend(dim.to_le_bytes());
        bytes.extend(elements.iter().flatten());
    }
    bytes
}

#[test]
fn written_rows_read_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.npy");
    let rows = [1.0, -0.0, f32::MIN_POSITIVE, f32::MAX, 1e-40, f32::NEG_INFINITY];
    write_npy_f32(&path, &rows, 3).unwrap();
    let file = VectorFile::open(&path).unwrap();
    assert_eq!((file.len(), file.dim(), file.is_empty()), (2, 3, false));
    let read: Vec<u32> = (0..2).flat_map(|i| file.row(i).unwrap()).map(f32::to_bits).collect();
    assert_eq!(read, rows.map(f32::to_bits));
    assert_eq!(fs::metadata(&path).unwrap().len(), 128 + 24);
}

#[test]
fn half_precision_rows_are_widened_exactly() {
    // 1.0, -2.0, the smallest subnormal, the largest finite value
    let bits: [u16; 4] = [0x3c00, 0xc000, 0x0001, 0x7bff];
    let data: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let file = open("v.npy", &npy("<f2", "False", "(2, 2)", &data)).unwrap();
    assert_eq!(file.row(0).unwrap(), [1.0, -2.0]);
    assert_eq!(file.row(1).unwrap(), [2f32.powi(-24), 65504.0]);
}

#[test]
fn header_versions_one_to_three_read_alike_and_others_are_refused() {
    let dict = "{'shape': (1, 2), 'fortran_order': False, 'descr': '<f4'}   \n";
    let data = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
    for version in [1, 2, 3] {
        let file = open("v.npy", &npy_version(version, dict, &data)).unwrap();
        assert_eq!(file.row(0).unwrap(), [1.5, -2.0]);
    }
    let reason = |content: &[u8]| match problem(open("v.npy", content)) {
        VectorProblem::BadHeader { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&npy_version(4, dict, &data)), "version is not 1, 2 or 3");
    assert_eq!(reason(b"\x93NUMPX\x01\x00\x00\x00"), "does not start with the .npy magic");
    let long = npy_version(2, &" ".repeat(10_001), &[]);
    assert_eq!(reason(&long), "header is longer than 10,000 bytes");
}

#[test]
fn an_empty_array_of_a_huge_dimension_allocates_nothing() {
    let shape = format!("(0, {})", usize::MAX / 4);
    let file = open("v.npy", &npy("<f4", "False", &shape, &[])).unwrap();
    assert_eq!(problem(file.row(0)), VectorProblem::RowOutOfRange { row: 0, len: 0 });
}

#[test]
fn texmex_files_read_by_their_extension() {
    let floats = [1.5f32, -2.0].map(f32::to_le_bytes);
    let file = open("v.fvecs", &rows_of(&[(2, &floats), (2, &floats)])).unwrap();
    assert_eq!((file.len(), file.dim()), (2, 2));
    assert_eq!(file.row(1).unwrap(), [1.5, -2.0]);

    let file = open("v.bvecs", &rows_of(&[(3, &[[0], [7], [255]])])).unwrap();
    assert_eq!(file.row(0).unwrap(), [0.0, 7.0, 255.0]);

    let ids = [4u32, u32::MAX].map(u32::to_le_bytes);
    let file = open("v.IVECS", &rows_of(&[(2, &ids)])).unwrap();
    assert_eq!(file.row_u32(0).unwrap(), [4, u32::MAX]);
    let wrong = VectorProblem::WrongElement { found: "u32", wanted: "f32" };
    assert_eq!(problem(file.row(0)), wrong);
}

#[test]
fn an_array_that_is_not_n_by_dim_of_little_endian_floats_is_refused() {
    let data = [0u8; 16];
    for descr in ["<f8", ">f4", "<i4", "|u1"] {
        let result = open("v.npy", &npy(descr, "False", "(2, 2)", &data));
        assert_eq!(problem(result), VectorProblem::ElementType { found: descr.to_string() });
    }
    let result = open("v.npy", &npy("<f4", "True", "(2, 2)", &data));
    assert_eq!(problem(result), VectorProblem::FortranOrder);
    for (shape, found) in [("(4,)", vec![4]), ("()", vec![]), ("(1, 2, 2)", vec![1, 2, 2])] {
        let result = open("v.npy", &npy("<f4", "False", shape, &data));
        assert_eq!(problem(result), VectorProblem::Shape { found });
    }
    let result = open("v.npy", &npy("<f4", "False", "(4, 0)", &[]));
    assert_eq!(problem(result), VectorProblem::Shape { found: vec![4, 0] });
}

#[test]
fn a_header_that_disagrees_with_the_file_size_is_refused() {
    let good = npy("<f4", "False", "(2, 2)", &[0; 16]);
    let size = good.len() as u64;
    let cut = problem(open("v.npy", &good[..good.len() - 1]));
    assert_eq!(cut, VectorProblem::Length { expected: size, found: size - 1 });
    let mut long = good.clone();
    long.push(0);
    let expected = VectorProblem::Length { expected: size, found: size + 1 };
    assert_eq!(problem(open("v.npy", &long)), expected);
    let huge = npy("<f4", "False", "(18446744073709551615, 4611686018427387904)", &[0; 16]);
    assert_eq!(problem(open("v.npy", &huge)), VectorProblem::TooLarge);
    for len in 0..good.len() {
        assert!(open("v.npy", &good[..len]).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn texmex_files_of_the_wrong_length_are_refused() {
    let truncated = |found| VectorProblem::TruncatedHeader { expected: 4, found };
    assert_eq!(problem(open("v.fvecs", &[])), truncated(0));
    assert_eq!(problem(open("v.fvecs", &[1, 0, 0])), truncated(3));
    assert_eq!(problem(open("v.fvecs", &[0; 4])), VectorProblem::Shape { found: vec![0] });
    let lying = [&u32::MAX.to_le_bytes()[..], &[0; 8]].concat();
    assert!(matches!(problem(open("v.fvecs", &lying)), VectorProblem::Length { found: 12, .. }));
    let one_and_a_half = rows_of(&[(2, &[[0], [1]]), (2, &[[2]])]);
    let expected = VectorProblem::Length { expected: 12, found: 11 };
    assert_eq!(problem(open("v.bvecs", &one_and_a_half)), expected);
}

#[test]
fn a_row_that_states_another_dimension_is_refused_when_read() {
    let file = open("v.bvecs", &rows_of(&[(2, &[[0], [1]]), (3, &[[2], [3]])])).unwrap();
    assert_eq!(file.row(0).unwrap(), [0.0, 1.0]);
    let expected = VectorProblem::RowDimension { row: 1, expected: 2, found: 3 };
    assert_eq!(problem(file.row(1)), expected);
}

#[test]
fn requests_that_do_not_fit_the_file_are_refused() {
    let file = open("v.npy", &npy("<f4", "False", "(2, 2)", &[0; 16])).unwrap();
    for row in [2, usize::MAX] {
        assert_eq!(problem(file.row(row)), VectorProblem::RowOutOfRange { row, len: 2 });
    }
    let short = problem(file.row_into(0, &mut [0.0]));
    assert_eq!(short, VectorProblem::BufferLength { expected: 2, found: 1 });
    let wrong = VectorProblem::WrongElement { found: "f32", wanted: "u32" };
    assert_eq!(problem(file.row_u32(0)), wrong);
    assert_eq!(problem(open("v.bin", b"")), VectorProblem::UnknownFormat);
    let ragged = problem(write_npy_f32("unwritten.npy", &[0.0; 5], 2));
    assert_eq!(ragged, VectorProblem::RaggedRows { values: 5, dim: 2 });
    let empty = open("v.npy", &npy("<f4", "False", "(0, 2)", &[])).unwrap();
    assert_eq!((empty.len(), empty.dim(), empty.is_empty()), (0, 2, true));
}

/// Opens the bytes as each format; whatever opens must answer for every row without a panic.
fn probe(content: &[u8]) {
    for name in ["v.npy", "v.fvecs", "v.bvecs", "v.ivecs"] {
        let Ok(file) = open(name, content) else {
            continue;
        };
        assert!(file.is_empty() || file.len() * file.dim() <= content.len());
        for row in 0..=file.len().min(16) {
            let _ = file.row(row);
            let _ = file.row_u32(row);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        probe(&content);
    }

    #[test]
    fn a_damaged_header_never_panics(at in 0usize..70, byte in any::<u8>(), cut in 0usize..100) {
        let mut content = npy("<f4", "False", "(2, 2)", &[7; 16]);
        content[at] = byte;
        content.truncate(content.len().saturating_sub(cut / 4));
        probe(&content);
    }

    #[test]
    fn a_header_of_random_numbers_never_panics(rows in any::<u64>(), dim in any::<u64>()) {
        probe(&npy("<f2", "False", &format!("({rows}, {dim})"), &[0; 64]));
        probe(&npy("<f2", "False", &format!("(0, {dim})"), &[]));
    }
}
