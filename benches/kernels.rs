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

fn report(name: &str, dim: usize, width: usize, passes: usize, mut pass: impl FnMut()) {
    let row_bytes = dim * width;
    let dots = (BLOCK_BYTES.div_ceil(row_bytes) * passes) as f64;
    let rounds = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        for _ in 0..passes {
            pass();
        }
        begin.elapsed().as_nanos() as f64 / dots
    });
    let nanoseconds = figures::median(rounds.collect());
    let bandwidth = row_bytes as f64 / nanoseconds;
    println!("{name:<14}{dim:>6}{nanoseconds:>12.1}{bandwidth:>12.2}");
}
