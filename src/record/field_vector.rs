//! What a record has in the named vector fields of its collection: plain data, not yet checked
//! against any field.

use thiserror::Error;

use crate::format::MATRIX_ROWS_MAX;

/// Rows of equal length: what a late-interaction model makes of one text, a vector per token.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    dimensions: usize,
    values: Vec<f32>,
}

/// Why rows are no matrix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// The values do not fill whole rows.
    #[error("{values} values do not fill rows of {dimensions}: give whole rows of one length")]
    Ragged {
        /// Values given.
        values: usize,
        /// Values of a row.
        dimensions: usize,
    },
    /// No row, or too many.
    #[error("a matrix has 1 to {MATRIX_ROWS_MAX} rows, not {found}: split the text, or pool rows")]
    Rows {
        /// Rows given.
        found: usize,
    },
}

impl Matrix {
    /// Rows of `dimensions` values each, one after the other.
    ///
    /// # Errors
    /// [`MatrixError`] for values that do not fill whole rows, and for no row or more than 4,096.
    pub fn new(dimensions: usize, values: impl Into<Vec<f32>>) -> Result<Self, MatrixError> {
        let values = values.into();
        let found = values.len().checked_div(dimensions).unwrap_or(0);
        if found.checked_mul(dimensions) != Some(values.len()) {
            return Err(MatrixError::Ragged { values: values.len(), dimensions });
        }
        if !(1..=MATRIX_ROWS_MAX).contains(&found) {
            return Err(MatrixError::Rows { found });
        }
        Ok(Self { dimensions, values })
    }

    /// The rows given one by one.
    ///
    /// # Errors
    /// As [`Matrix::new`]; rows of two lengths are [`MatrixError::Ragged`].
    pub fn from_rows<R: AsRef<[f32]>>(
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Self, MatrixError> {
        let (mut dimensions, mut values) = (None, Vec::new());
        for row in rows {
            let row = row.as_ref();
            let expected = *dimensions.get_or_insert(row.len());
            if row.len() != expected {
                let values = values.len() + row.len();
                return Err(MatrixError::Ragged { values, dimensions: expected });
            }
            values.extend_from_slice(row);
        }
        Self::new(dimensions.unwrap_or(0), values)
    }

    /// Values of a row.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The rows, in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dimensions)
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// What a record has in one named vector field.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FieldVector {
    /// One vector.
    Dense(Vec<f32>),
    /// A matrix, for a field of many vectors a record.
    Multi(Matrix),
    /// Indices and their weights, in any order.
    Sparse(Vec<(u32, f32)>),
}

impl FieldVector {
    /// What it is called in messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Dense(_) => "one vector a record",
            Self::Multi(_) => "a matrix a record",
            Self::Sparse(_) => "a sparse vector a record",
        }
    }
}

impl From<Vec<f32>> for FieldVector {
    fn from(vector: Vec<f32>) -> Self {
        Self::Dense(vector)
    }
}
impl From<&[f32]> for FieldVector {
    fn from(vector: &[f32]) -> Self {
        Self::Dense(vector.to_vec())
    }
}
impl<const N: usize> From<[f32; N]> for FieldVector {
    fn from(vector: [f32; N]) -> Self {
        Self::Dense(vector.to_vec())
    }
}
impl From<Vec<(u32, f32)>> for FieldVector {
    fn from(pairs: Vec<(u32, f32)>) -> Self {
        Self::Sparse(pairs)
    }
}
impl From<&[(u32, f32)]> for FieldVector {
    fn from(pairs: &[(u32, f32)]) -> Self {
        Self::Sparse(pairs.to_vec())
    }
}
impl<const N: usize> From<[(u32, f32); N]> for FieldVector {
    fn from(pairs: [(u32, f32); N]) -> Self {
        Self::Sparse(pairs.to_vec())
    }
}
impl From<Matrix> for FieldVector {
    fn from(matrix: Matrix) -> Self {
        Self::Multi(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_made_of_whole_rows_of_one_length() {
        let matrix = Matrix::from_rows([[1.0, 2.0], [3.0, 4.0]]).unwrap();
        assert_eq!(matrix, Matrix::new(2, [1.0, 2.0, 3.0, 4.0]).unwrap());
        assert_eq!((matrix.dimensions(), matrix.rows().len()), (2, 2));
        let ragged = |values, dimensions| Err(MatrixError::Ragged { values, dimensions });
        assert_eq!(Matrix::from_rows([vec![1.0, 2.0], vec![3.0]]), ragged(3, 2));
        assert_eq!(Matrix::new(2, [1.0; 3]), ragged(3, 2));
        assert_eq!(Matrix::new(0, [1.0]), ragged(1, 0));
        let rows = |found| Err(MatrixError::Rows { found });
        assert_eq!(Matrix::new(0, []), rows(0));
        assert_eq!(Matrix::new(3, []), rows(0));
        assert_eq!(Matrix::new(1, vec![0.5; MATRIX_ROWS_MAX + 1]), rows(MATRIX_ROWS_MAX + 1));
    }
}
