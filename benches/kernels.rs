//! Nanoseconds for one dot product, by element type and dimensions: fast kernel and scalar twin.
//! Rows of a block that exceeds the second-level cache are taken in turn, as a scan takes them.

use std::hint::black_box;
use std::time::Instant;

use portolan::internals::kernels;

#[path = "shared/figures.rs"]
mod figures;

const DIMENSIONS: [usize; 3] = [384, 1_024, 2_048];
const BLOCK_BYTES: usize = 4 << 20;
const ROUNDS: usize = 5;

fn main() {
    let passes = figures::setting("PORTOLAN_BENCH_PASSES", 20, 1);
    println!("{:<14}{:>6}{:>12}{:>12}", "kernel", "dim", "ns per dot", "GB/s");
    for dim in DIMENSIONS {
        let query: Vec<f32> = wave(dim).collect();
        let codes: Vec<i8> = query.iter().map(|x| (x * 127.0) as i8).collect();

        let rows: Vec<i8> = wave(BLOCK_BYTES).map(|x| (x * 127.0) as i8).collect();
        report("i8", dim, 1, passes, || sum(rows.chunks(dim), |row| kernels::dot_i8(row, &codes)));
        report("i8 scalar", dim, 1, passes, || {
            sum(rows.chunks(dim), |row| kernels::scalar::dot_i8(row, &codes))
        });

        for level in kernels::available() {
            let name = |kernel: &str| format!("{kernel} {}", level.name());
            report(&name("4 x i8"), dim, 1, passes, || {
                sum(rows.chunks_exact(4 * dim), |four| {
                    let rows = std::array::from_fn(|at| &four[at * dim..][..dim]);
                    kernels::dot4_i8(level, &codes, rows)
                });
            });
        }

        let rows: Vec<f32> = wave(BLOCK_BYTES / 4).collect();
        report("f32", dim, 4, passes, || sum(rows.chunks(dim), |r| kernels::dot_f32(r, &query)));
        report("f32 scalar", dim, 4, passes, || {
            sum(rows.chunks(dim), |row| kernels::scalar::dot_f32(row, &query))
        });

        // Bit patterns of f16 values from 1 to 2.
        let rows: Vec<u8> = (0..BLOCK_BYTES / 2).flat_map(|i| [i as u8, 0x3C]).collect();
        let mut scratch = Vec::new();
        report("f16", dim, 2, passes, || {
            sum(rows.chunks(dim * 2), |row| kernels::dot_f16_le(row, &query, &mut scratch))
        });
    }
    navigation(passes);
}

/// Navigation codes: the "dimensions" are those a row of so many lines holds.
fn navigation(passes: usize) {
    let bytes: Vec<u8> = (0..BLOCK_BYTES).map(|at| (at * 37 % 251) as u8).collect();
    for lines in 1..=3 {
        let mut query = kernels::NavQuery::default();
        query.reset(lines);
        for (dim, value) in wave(kernels::nav::dims(lines)).enumerate() {
            query.set(dim, &[(value * 127.0) as i8]);
        }
        let rows: Vec<&[u8]> = bytes.chunks_exact(query.row_bytes()).collect();
        let mut scores = vec![0.0; rows.len()];
        for level in kernels::available() {
            let name = format!("nav {}", level.name());
            let width = query.row_bytes() as f64 / kernels::nav::dims(lines) as f64;
            report_bytes(&name, kernels::nav::dims(lines), width, passes, || {
                query.score_all(level, &rows, &mut scores);
                black_box(&scores);
            });
        }
    }
}

fn wave(len: usize) -> impl Iterator<Item = f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin())
}

/// Runs the kernel on every row.
fn sum<R, T>(rows: impl Iterator<Item = R>, mut kernel: impl FnMut(R) -> T) {
    for row in rows {
        black_box(kernel(row));
    }
}

fn report(name: &str, dim: usize, width: usize, passes: usize, pass: impl FnMut()) {
    report_bytes(name, dim, width as f64, passes, pass);
}

fn report_bytes(name: &str, dim: usize, width: f64, passes: usize, mut pass: impl FnMut()) {
    let row_bytes = dim as f64 * width;
    let dots = (BLOCK_BYTES as f64 / row_bytes).ceil() * passes as f64;
    let rounds = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        for _ in 0..passes {
            pass();
        }
        begin.elapsed().as_nanos() as f64 / dots
    });
    let nanoseconds = figures::median(rounds.collect());
    let bandwidth = row_bytes / nanoseconds;
    println!("{name:<14}{dim:>6}{nanoseconds:>12.1}{bandwidth:>12.2}");
}
