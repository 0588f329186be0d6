//! Arrays of fixed-size rows over extents: row `i` lies in extent `i / per_extent`, and no row
//! straddles two extents. Knows bytes only; what a row means is its reader's affair.

use bytes::Bytes;

use super::VectorError;

/// An immutable array of `len` rows of `stride` bytes, cut into equal extents.
///
/// Cloning is cheap (the bytes are shared). Reading a row costs a multiplication, two loads and
/// the bounds checks; the whole shape is checked once, when the array is made.
#[derive(Debug, Clone)]
pub struct Rows {
    extents: Vec<Bytes>,
    stride: usize,
    per_extent: u32,
    /// `ceil(2^64 / per_extent)`: the exact quotient of any u32 by `per_extent > 1` is the high
    /// half of one product (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019).
    reciprocal: u64,
    len: u32,
}

impl Rows {
    /// An array over extent payloads. The last extent may be short; bytes after the last row of
    /// an extent are ignored.
    ///
    /// # Errors
    /// [`VectorError::BadShape`] for a zero stride or zero rows per extent,
    /// [`VectorError::WrongExtentCount`], [`VectorError::ShortExtent`].
    pub fn new(
        extents: Vec<Bytes>,
        stride: usize,
        rows_per_extent: usize,
        len: u32,
    ) -> Result<Self, VectorError> {
        let bad_shape = VectorError::BadShape { stride, per_extent: rows_per_extent };
        // More rows per extent than rows in all is the same as exactly all in one extent.
        let per_extent = u32::try_from(rows_per_extent.min(len.max(1) as usize)).unwrap_or(len);
        if stride == 0 || per_extent == 0 {
            return Err(bad_shape);
        }
        let expected = len.div_ceil(per_extent) as usize;
        if extents.len() != expected {
            return Err(VectorError::WrongExtentCount { expected, found: extents.len() });
        }
        for (extent, bytes) in extents.iter().enumerate() {
            let first = (extent as u32).saturating_mul(per_extent);
            let rows = len.saturating_sub(first).min(per_extent) as usize;
            let expected = rows.checked_mul(stride).ok_or_else(|| bad_shape.clone())?;
            if bytes.len() < expected {
                return Err(VectorError::ShortExtent { extent, expected, found: bytes.len() });
            }
        }
        let reciprocal = (u64::MAX / u64::from(per_extent)).wrapping_add(1);
        Ok(Self { extents, stride, per_extent, reciprocal, len })
    }

    /// An array in one piece; its length is the number of whole rows in `bytes`.
    ///
    /// # Errors
    /// [`VectorError::BadShape`] for a zero stride or more than `u32::MAX` rows.
    pub fn contiguous(bytes: Bytes, stride: usize) -> Result<Self, VectorError> {
        let bad_shape = VectorError::BadShape { stride, per_extent: bytes.len() };
        let rows = bytes.len().checked_div(stride).ok_or_else(|| bad_shape.clone())?;
        let len = u32::try_from(rows).map_err(|_| bad_shape)?;
        let extents = if len == 0 { Vec::new() } else { vec![bytes] };
        Self::new(extents, stride, rows.max(1), len)
    }

    /// Row `index`, exactly `stride` bytes; `None` past the end.
    #[inline]
    #[must_use]
    pub fn row(&self, index: u32) -> Option<&[u8]> {
        if index >= self.len {
            return None;
        }
        // Copies in memory and small arrays are one piece.
        let (extent, at) = match self.extents.as_slice() {
            [only] => (only, index),
            extents => {
                let extent = match self.per_extent {
                    1 => index,
                    _ => ((u128::from(self.reciprocal) * u128::from(index)) >> 64) as u32,
                };
                (extents.get(extent as usize)?, index - extent * self.per_extent)
            }
        };
        let start = at as usize * self.stride;
        extent.get(start..start + self.stride)
    }

    /// The bytes of `count` rows from `first` on, if they lie in one piece.
    #[inline]
    #[must_use]
    pub fn run(&self, first: u32, count: usize) -> Option<&[u8]> {
        let is_in = (first as usize).checked_add(count).is_some_and(|end| end <= self.len as usize);
        let extent = self.extents.get((first / self.per_extent) as usize).filter(|_| is_in)?;
        let at = (first % self.per_extent) as usize;
        // Within an extent, whose bytes were counted.
        let end = Some(at + count).filter(|end| *end <= self.per_extent as usize)?;
        extent.get(at * self.stride..end * self.stride)
    }

    /// Row `index` read as one little-endian u32; `None` past the end or if rows are shorter.
    #[inline]
    #[must_use]
    pub fn u32_at(&self, index: u32) -> Option<u32> {
        self.row(index)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Number of rows.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Bytes per row.
    #[inline]
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_is_where_division_says(
            per_extent in 1_usize..40, len in 0_u32..200, stride in 1_usize..9, slack in 0_usize..5,
        ) {
            let extents: Vec<Bytes> = (0..len as usize)
                .collect::<Vec<_>>()
                .chunks(per_extent)
                .map(|rows| {
                    let mut bytes: Vec<u8> =
                        rows.iter().flat_map(|&row| vec![row as u8; stride]).collect();
                    bytes.extend(vec![0xEE; slack]);
                    Bytes::from(bytes)
                })
                .collect();
            let rows = Rows::new(extents, stride, per_extent, len).unwrap();
            for index in 0..len {
                prop_assert_eq!(rows.row(index), Some(&vec![index as u8; stride][..]));
            }
            for (first, count) in [(0, len), (len / 3, len / 4 + 1), (len / 2, 1), (len, 1)] {
                let (end, per_extent) = (first + count, per_extent as u32);
                let is_one = count > 0 && first / per_extent == (end - 1) / per_extent;
                let expected = (first..end).flat_map(|row| vec![row as u8; stride]).collect();
                let run = rows.run(first, count as usize).map(<[u8]>::to_vec);
                prop_assert_eq!(run, (is_one && end <= len).then_some(expected));
            }
            prop_assert_eq!(rows.row(len), None);
            prop_assert_eq!(rows.row(u32::MAX), None);
        }

        #[test]
        fn the_reciprocal_divides_exactly(index in any::<u32>(), divisor in 2_u32..) {
            let reciprocal = u64::MAX / u64::from(divisor) + 1;
            let quotient = ((u128::from(reciprocal) * u128::from(index)) >> 64) as u32;
            prop_assert_eq!(quotient, index / divisor);
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let extent = Bytes::from_static(&[0; 64]);
        let error = |extents: Vec<Bytes>, stride, per_extent, len| {
            Rows::new(extents, stride, per_extent, len).err()
        };
        let bad = Some(VectorError::BadShape { stride: 0, per_extent: 4 });
        assert_eq!(error(vec![extent.clone()], 0, 4, 4), bad);
        let bad = Some(VectorError::BadShape { stride: 16, per_extent: 0 });
        assert_eq!(error(vec![extent.clone()], 16, 0, 4), bad);
        let few = Some(VectorError::WrongExtentCount { expected: 2, found: 1 });
        assert_eq!(error(vec![extent.clone()], 16, 4, 5), few);
        let short = Some(VectorError::ShortExtent { extent: 0, expected: 80, found: 64 });
        assert_eq!(error(vec![extent], 16, 5, 5), short);
        assert_eq!(error(Vec::new(), usize::MAX, 1, 0), None);
        let huge = Some(VectorError::BadShape { stride: usize::MAX, per_extent: 9 });
        assert_eq!(error(vec![Bytes::new()], usize::MAX, 9, 2), huge);
    }

    #[test]
    fn contiguous_bytes_count_whole_rows() {
        let rows = Rows::contiguous(Bytes::from_static(&[1, 0, 0, 0, 2, 0, 0, 0, 9]), 4).unwrap();
        assert_eq!((rows.len(), rows.u32_at(1), rows.u32_at(2)), (2, Some(2), None));
        assert!(Rows::contiguous(Bytes::new(), 4).unwrap().len() == 0);
        assert!(Rows::contiguous(Bytes::new(), 0).is_err());
    }
}
