//! Nanoseconds for one dot product, score, id or word, by kernel, dimensions and instruction set.
//! Rows of a block that exceeds the second-level cache are taken in turn, as a scan takes them;
//! "hot" ones stay in the caches of a core, "far" ones come from memory.

use std::hint::black_box;
use std::time::Instant;

use portolan::internals::kernels;
use portolan::internals::kernels::nav::{LINE, dims};
use portolan::internals::kernels::{Level, NavQuery, Panel, Tiled, ranked};

#[path = "shared/figures.rs"]
mod figures;

const DIMENSIONS: [usize; 3] = [384, 1_024, 2_048];
const BLOCK_BYTES: usize = 4 << 20;
/// More than caches hold. At most twice as much is in memory.
const FAR_BYTES: usize = 256 << 20;
/// Less than the second-level cache holds.
const HOT_BYTES: usize = 128 << 10;
const ROUNDS: usize = 5;

/// Vectors that are projected together.
const TOGETHER: usize = 8;
/// Rows that a walk scores together ...
const GROUP: usize = 8;
/// ... and how many groups it asks for ahead, about those of one step.
const AHEAD: usize = 2;
/// Lines of entries, and ids with their scores, that a search takes together.
const RUN: usize = 64;
/// Ids, lines or words of one pass.
const TAKEN: usize = 1 << 14;

fn main() {
    let passes = figures::setting("PORTOLAN_BENCH_PASSES", 20, 1);
    println!("{:<24}{:>6}{:>12}{:>12}", "kernel", "dim", "ns each", "GB/s");
    for dim in DIMENSIONS {
        let query: Vec<f32> = wave(dim).collect();
        let codes = int8(dim);

        let rows = int8(BLOCK_BYTES);
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
    projection(passes);
    navigation(passes);
    kept_sorted(passes);
}

/// Products of directions, as many as vectors of so many dimensions are projected onto, with one
/// vector and with several. The bytes are those of the directions.
fn projection(passes: usize) {
    for dim in DIMENSIONS {
        let lines = if dim <= 512 { 2 } else { 3 };
        let directions = panel(dims(lines), dim);
        let vectors = panel(TOGETHER, dim);
        let one = &vectors.row(0)[..dim];
        let bytes = directions.len() * dim;
        let turns_of = |vectors: usize| (BLOCK_BYTES / (bytes * vectors)).max(1);
        let mut out = Vec::new();
        for (place, copies) in [("hot", 1), ("far", FAR_BYTES / bytes)] {
            let tiles = vec![Tiled::new(&directions); copies];
            let panels = vec![directions.clone(); copies];
            for level in kernels::available() {
                let name = |kernel: &str| format!("{kernel} {place} {}", level.name());
                let turns = turns_of(1);
                let each = (dim, directions.len() * turns);
                let mut turn = tiles.iter().cycle();
                report_each(&name("tiled"), dim, each, passes, || {
                    for rows in turn.by_ref().take(turns) {
                        rows.dots_of(level, one, &mut out);
                        black_box(&out);
                    }
                });
                let turns = turns_of(TOGETHER);
                let each = (dim / TOGETHER, directions.len() * TOGETHER * turns);
                let mut turn = tiles.iter().cycle();
                report_each(&name("8 x tiled"), dim, each, passes, || {
                    for rows in turn.by_ref().take(turns) {
                        rows.dots(level, &vectors, &mut out);
                        black_box(&out);
                    }
                });
                let mut turn = panels.iter().cycle();
                report_each(&name("8 x panel"), dim, each, passes, || {
                    for rows in turn.by_ref().take(turns) {
                        vectors.dots(level, (0, TOGETHER), rows, &mut out);
                        black_box(&out);
                    }
                });
            }
        }
    }
}

/// Navigation codes: the "dimensions" are those a row of so many lines holds.
fn navigation(passes: usize) {
    let bytes: Vec<u8> = (0..FAR_BYTES + LINE).map(|at| (at * 37 % 251) as u8).collect();
    // Lines begin where cache lines do, as stored ones.
    let start = bytes.as_ptr().align_offset(LINE).min(LINE);
    let far: &[[u8; LINE]] = bytes[start..].as_chunks().0;
    let block = &far[..BLOCK_BYTES / LINE];
    for lines in 1..=3 {
        let (query, dim) = (nav_query(lines), dims(lines));
        let rows: Vec<&[u8]> = block.chunks_exact(lines).map(|row| row.as_flattened()).collect();
        let mut scores = vec![0.0; rows.len()];
        let hot_ids = scattered(TAKEN, HOT_BYTES / query.row_bytes());
        let far_ids = scattered(far.len() / lines, far.len() / lines);
        for level in kernels::available() {
            let name = |kernel: &str| format!("{kernel} {}", level.name());
            let each = |count: usize| (query.row_bytes(), count);
            report_each(&name("nav"), dim, each(rows.len()), passes, || {
                query.score_all(level, &rows, &mut scores);
                black_box(&scores);
            });
            report_each(&name("score_ids hot"), dim, each(TAKEN), passes, || {
                score_ids(&query, level, far, &hot_ids);
            });
            // Other ids in each pass: the rows of the one before are in the caches.
            let mut parts = far_ids.chunks_exact(TAKEN).cycle();
            report_each(&name("score_ids far"), dim, each(TAKEN), passes, || {
                score_ids(&query, level, far, parts.next().unwrap_or_default());
            });
        }
    }
    let query = nav_query(3);
    for level in kernels::available() {
        for (place, lines) in [("hot", &far[..HOT_BYTES / LINE]), ("far", far)] {
            let name = format!("reach_lines {place} {}", level.name());
            let taken = lines.len().min(TAKEN);
            let mut parts = lines.chunks_exact(taken).cycle();
            report_each(&name, dims(1), (LINE, taken), passes, || {
                reach_lines(&query, level, parts.next().unwrap_or_default());
            });
        }
    }
}

fn nav_query(lines: usize) -> NavQuery {
    let mut query = NavQuery::default();
    query.reset(lines);
    query.set(0, &int8(dims(lines)));
    query
}

/// Scores rows as a walk does: group by group, while those ahead are asked for.
fn score_ids(query: &NavQuery, level: Level, lines: &[[u8; LINE]], ids: &[u32]) {
    let mut scores = [0.0; GROUP];
    let mut ahead = ids.chunks(GROUP).skip(AHEAD);
    for group in ids.chunks(GROUP) {
        query.prefetch_ids(lines, ahead.next().unwrap_or_default());
        query.score_ids(level, lines, group, &mut scores);
        black_box(&scores);
    }
}

/// Scores entries as a search does that has found their groups.
fn reach_lines(query: &NavQuery, level: Level, lines: &[[u8; LINE]]) {
    let mut scores = [0.0; RUN];
    for run in lines.chunks(RUN) {
        query.reach_lines(level, run, &mut scores);
        black_box(&scores);
    }
}

/// What a walk keeps sorted: the "dimensions" are ids looked at together, then places of a pool.
fn kept_sorted(passes: usize) {
    let ids: Vec<u32> = (0..TAKEN as u32).collect();
    let scores: Vec<f32> = scattered(TAKEN, 1 << 20).into_iter().map(|at| at as f32).collect();
    let pairs = scores.iter().zip(&ids);
    let words: Vec<u64> = pairs.map(|(&score, &id)| ranked::word(score, id)).collect();
    let mut sorted = words.clone();
    sorted.sort_unstable();
    for level in kernels::available() {
        for (kernel, part) in [("above for 1/16", 16), ("above for 1/2", 2)] {
            let name = format!("{kernel} {}", level.name());
            let limit = sorted[TAKEN - TAKEN / part];
            let mut out = [0; RUN + ranked::BLOCK];
            report_each(&name, RUN, (8, TAKEN), passes, || {
                for (ids, scores) in ids.chunks(RUN).zip(scores.chunks(RUN)) {
                    black_box(ranked::above(level, ids, scores, limit, &mut out));
                    black_box(&out);
                }
            });
        }
        for places in [32, 64, 256] {
            let name = format!("insert {}", level.name());
            let mut pool = vec![0; places];
            report_each(&name, places, (8 * places, TAKEN), passes, || {
                // Pools that are empty at first, and at last better than most of what comes.
                for walk in words.chunks(4 * places) {
                    pool.fill(0);
                    for &word in walk {
                        black_box(ranked::insert(level, &mut pool, word));
                    }
                }
            });
        }
    }
}

/// Numbers below `end` in an order that nothing foresees.
fn scattered(count: usize, end: usize) -> Vec<u32> {
    let mut state = 1_u64;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % end as u64) as u32
    };
    (0..count).map(next).collect()
}

fn panel(rows: usize, dim: usize) -> Panel {
    let mut panel = Panel::new(dim).with_room(rows);
    int8(rows * dim).chunks(dim).for_each(|row| panel.push(row));
    panel
}

fn int8(len: usize) -> Vec<i8> {
    wave(len).map(|x| (x * 127.0) as i8).collect()
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
    let bytes = dim * width;
    report_each(name, dim, (bytes, BLOCK_BYTES.div_ceil(bytes)), passes, pass);
}

/// A pass does something so many times, and reads so many bytes each time.
fn report_each(
    name: &str,
    dim: usize,
    (bytes, times): (usize, usize),
    passes: usize,
    mut pass: impl FnMut(),
) {
    let rounds = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        for _ in 0..passes {
            pass();
        }
        begin.elapsed().as_nanos() as f64 / (times * passes) as f64
    });
    let nanoseconds = figures::median(rounds.collect());
    let bandwidth = bytes as f64 / nanoseconds;
    println!("{name:<24}{dim:>6}{nanoseconds:>12.2}{bandwidth:>12.2}");
}
