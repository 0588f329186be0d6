//! The little linear algebra that training a projection needs: a reproducible random source,
//! orthonormal rows, and the leading eigenvectors of a symmetric matrix.

use rayon::prelude::*;

use crate::kernels::dot_f32;

/// Rounds of power iteration. The spectrum of embeddings falls slowly, so the last few vectors
/// stay mixtures of their neighbors; the energy they span is within 1 % of the best after six.
const ROUNDS: usize = 6;
/// A row whose norm falls below this share of what it was lies in the span of those before it.
const DEPENDENT: f32 = 1e-4;

/// splitmix64 (Steele, Lea, Flood, 2014): the same numbers on every host.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// About normal: the sum of twelve uniform numbers, exact in every arithmetic.
    fn normal(&mut self) -> f32 {
        let sum: u64 = (0..6).map(|_| self.next_u64()).map(|x| (x >> 32) + (x & 0xFFFF_FFFF)).sum();
        (sum as f64 / f64::from(u32::MAX) - 6.0) as f32
    }

    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }
}

/// Makes the rows of `width` values orthonormal, in order (Gram-Schmidt, each row twice). A row
/// that depends on those before it is replaced by a random one, so at most `width` rows work.
pub fn orthonormalize(rows: &mut [f32], width: usize, random: &mut Random) {
    for at in 0..rows.len() / width.max(1) {
        let (done, rest) = rows.split_at_mut(at * width);
        let row = &mut rest[..width];
        for _ in 0..4 {
            let before = dot_f32(row, row).sqrt();
            for _ in 0..2 {
                for other in done.chunks_exact(width) {
                    let along = dot_f32(other, row);
                    row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
                }
            }
            let norm = dot_f32(row, row).sqrt();
            if norm > before * DEPENDENT && norm.is_normal() {
                row.iter_mut().for_each(|x| *x /= norm);
                break;
            }
            row.copy_from_slice(&random.normals(width));
        }
    }
}

/// The `count` leading eigenvectors of a symmetric positive matrix of `width` columns, largest
/// first, as rows; found by subspace iteration, so the last ones are approximate.
pub fn principal(matrix: &[f32], width: usize, count: usize, random: &mut Random) -> Vec<f32> {
    let mut rows = random.normals(count * width);
    orthonormalize(&mut rows, width, random);
    // Of any scale, the matrix has the same eigenvectors, but its squares may not fit f32.
    let largest = matrix.iter().step_by(width + 1).fold(0.0_f32, |max, x| max.max(x.abs()));
    let scale = if largest.is_normal() { largest.recip() } else { 1.0 };
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; rows.len()];
        next.par_chunks_mut(width).zip(rows.par_chunks(width)).for_each(|(next, row)| {
            for (value, line) in next.iter_mut().zip(matrix.chunks_exact(width)) {
                *value = dot_f32(line, row) * scale;
            }
        });
        rows = next;
        orthonormalize(&mut rows, width, random);
    }
    rows
}

/// Turns the rows among themselves by a random rotation: they span the same space, and a vector
/// has about the same energy along each.
pub fn mix(rows: &mut [f32], width: usize, random: &mut Random) {
    let count = rows.len() / width.max(1);
    let mut rotation = random.normals(count * count);
    orthonormalize(&mut rotation, count.max(1), random);
    let mut mixed = vec![0.0; rows.len()];
    mixed.par_chunks_mut(width).zip(rotation.par_chunks(count.max(1))).for_each(
        |(out, weights)| {
            for (weight, row) in weights.iter().zip(rows.chunks_exact(width)) {
                out.iter_mut().zip(row).for_each(|(x, y)| *x += weight * y);
            }
        },
    );
    rows.copy_from_slice(&mixed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_orthonormal(rows: &[f32], width: usize) {
        for (i, a) in rows.chunks(width).enumerate() {
            for (j, b) in rows.chunks(width).enumerate() {
                let expected = f32::from(u8::from(i == j));
                assert!((dot_f32(a, b) - expected).abs() < 1e-3, "{i} {j}");
            }
        }
    }

    #[test]
    fn dependent_rows_are_replaced() {
        let mut random = Random::new(3);
        let mut rows = [random.normals(8), vec![0.0; 8], vec![1.0; 8], vec![2.0; 8]].concat();
        orthonormalize(&mut rows, 8, &mut random);
        assert_orthonormal(&rows, 8);
        mix(&mut rows, 8, &mut random);
        assert_orthonormal(&rows, 8);
    }

    #[test]
    fn the_leading_directions_of_a_diagonal_matrix_are_its_axes() {
        let width = 24;
        let mut matrix = vec![0.0; width * width];
        for axis in 0..width {
            matrix[axis * width + axis] = 0.5_f32.powi(axis as i32);
        }
        let rows = principal(&matrix, width, 4, &mut Random::new(1));
        assert_orthonormal(&rows, width);
        for (axis, row) in rows.chunks(width).enumerate() {
            assert!(row[axis].abs() > 0.99, "axis {axis}: {}", row[axis]);
        }
    }
}
