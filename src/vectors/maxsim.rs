//! Late interaction: a query of many rows against stored matrices. The score is the sum over the
//! query's rows of the largest dot product with any row of the matrix (MaxSim; Khattab and
//! Zaharia, arXiv 2004.12832).

use super::matrix::{self, MatrixCodec, MatrixRef};
use super::{VectorError, code, finite};
use crate::kernels::{self, Panel};

/// Rows of a matrix that are compared at a time: their codes and products stay in the cache.
const BLOCK: usize = 128;

/// A query of many rows, checked and encoded once.
#[derive(Debug, Clone)]
pub struct MaxSimQuery {
    dim: usize,
    values: Vec<f32>,
    /// The rows as int8 codes, for matrices that are not f16.
    codes: Panel,
    scales: Vec<f32>,
}

/// What scoring overwrites; reuse it to avoid allocation.
#[derive(Debug, Default)]
pub struct MaxSimScratch {
    panel: Option<Panel>,
    factors: Vec<f32>,
    dots: Vec<i32>,
    row: Vec<f32>,
    codes: Vec<i8>,
    best: Vec<f32>,
}

impl MaxSimQuery {
    /// Prepares rows of `found` values each for matrices of `dim` dimensions.
    ///
    /// # Errors
    /// [`VectorError::WrongDimensions`], [`VectorError::NotFinite`],
    /// [`VectorError::NormTooLarge`], and [`VectorError::ZeroVector`] if all rows are zeros.
    pub fn new(found: usize, dim: usize, values: &[f32]) -> Result<Self, VectorError> {
        matrix::check_rows(found, dim, values)?;
        if values.iter().all(|x| *x == 0.0) {
            return Err(VectorError::ZeroVector);
        }
        let mut codes = Panel::new(dim).with_room(values.len() / dim.max(1));
        let mut scales = Vec::new();
        let mut row_codes = vec![0; dim];
        for row in values.chunks(dim.max(1)) {
            scales.push(code::quantize(row, &mut row_codes));
            codes.push(&row_codes);
        }
        Ok(Self { dim, values: values.to_vec(), codes, scales })
    }

    /// The vector that stands for the query where candidates are looked for.
    ///
    /// # Errors
    /// None in practice: a query of zeros is refused before.
    pub fn pooled(&self) -> Result<Vec<f32>, VectorError> {
        matrix::pooled(self.dim, &self.values)
    }

    /// The rows, in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim.max(1))
    }

    /// The score of a matrix: finite whatever its bytes say. That of f16 is computed in f32; that
    /// of int8 and bits from int8 codes of the query, exactly in between.
    #[must_use]
    pub fn score(&self, matrix: &MatrixRef<'_>, scratch: &mut MaxSimScratch) -> f32 {
        if matrix.dim != self.dim {
            return f32::MIN;
        }
        scratch.best.clear();
        scratch.best.resize(self.scales.len(), f32::MIN);
        match matrix.codec {
            MatrixCodec::F16 => self.best_of_values(matrix, scratch),
            MatrixCodec::Int8 | MatrixCodec::Bit => self.best_of_codes(matrix, scratch),
        }
        let sum: f64 = scratch.best.iter().map(|best| f64::from(finite(*best))).sum();
        finite(sum as f32)
    }

    fn best_of_values(&self, matrix: &MatrixRef<'_>, scratch: &mut MaxSimScratch) {
        let MaxSimScratch { row: values, best, .. } = scratch;
        values.resize(self.dim, 0.0);
        for row in matrix.component_rows() {
            kernels::f16_le_to_f32(row, values);
            for (query, best) in self.rows().zip(best.iter_mut()) {
                // Not `max`: a product that is no number never wins.
                let dot = kernels::dot_f32(query, values);
                *best = if dot > *best { dot } else { *best };
            }
        }
    }

    fn best_of_codes(&self, matrix: &MatrixRef<'_>, scratch: &mut MaxSimScratch) {
        let MaxSimScratch { panel, factors, dots, codes, best, .. } = scratch;
        let panel = panel.get_or_insert_with(|| Panel::new(self.dim).with_room(BLOCK));
        codes.resize(self.dim, 0);
        let mut rows = matrix.component_rows();
        for first in (0..matrix.rows()).step_by(BLOCK) {
            panel.clear();
            factors.clear();
            for (at, row) in rows.by_ref().take(BLOCK).enumerate() {
                match matrix.codec {
                    MatrixCodec::Bit => {
                        spread_signs(row, codes);
                        panel.push(codes);
                    }
                    _ => panel.push(bytemuck::cast_slice(row)),
                }
                factors.push(matrix.factor(first + at));
            }
            self.codes.dots(kernels::level(), (0, self.codes.len()), panel, dots);
            let of_queries = dots.chunks_exact(factors.len().max(1));
            for ((dots, best), scale) in of_queries.zip(best.iter_mut()).zip(&self.scales) {
                for (dot, factor) in dots.iter().zip(factors.iter()) {
                    let dot = *dot as f32 * factor * scale;
                    *best = if dot > *best { dot } else { *best };
                }
            }
        }
    }
}

/// The signs of eight components for each byte, as 1 and -1.
const SIGNS: [[i8; 8]; 256] = {
    let mut signs = [[-1; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                signs[byte][bit] = 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    signs
};

fn spread_signs(row: &[u8], out: &mut [i8]) {
    for (out, byte) in out.chunks_mut(8).zip(row) {
        let signs = &SIGNS[usize::from(*byte)];
        out.copy_from_slice(&signs[..out.len()]);
    }
}

#[cfg(test)]
mod tests;
