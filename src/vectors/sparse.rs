//! Sparse vectors at rest: indices and weights, each weight the upper half of an f32.
//!
//! ```text
//! u8       4
//! [u8; 3]  zero
//! u32 LE   pairs
//! u32 LE   index of each pair, ascending
//! u16 LE   weight of each pair: the upper 16 bits of an f32, 1 to 0x7F7F
//! ```

use super::VectorError;

/// The first byte, which no codec of matrices has.
const SPARSE: u8 = 4;
const HEADER_BYTES: usize = 8;
/// The largest weight, so that scores are finite.
const WEIGHT_MAX: f32 = 1e18;
/// The upper half of the largest f32 that is finite.
const CODE_MAX: u16 = 0x7F7F;

/// The upper half of a weight, rounded to the nearest, ties to even.
fn code(weight: f32) -> u16 {
    let bits = weight.to_bits();
    ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}

/// The weight of a code.
#[must_use]
pub fn sparse_weight(code: u16) -> f32 {
    f32::from_bits(u32::from(code.min(CODE_MAX)) << 16)
}

/// Checks pairs and puts them in order of index. Weights of zero are left out.
///
/// # Errors
/// [`VectorError::SparsePairs`] for none or more than `most`, [`VectorError::SparseWeight`] for
/// negative, too large or no numbers, [`VectorError::SparseTwice`].
pub fn check_sparse(pairs: &[(u32, f32)], most: usize) -> Result<Vec<(u32, f32)>, VectorError> {
    let mut sorted = Vec::with_capacity(pairs.len());
    for &(index, weight) in pairs {
        if !(0.0..=WEIGHT_MAX).contains(&weight) {
            return Err(VectorError::SparseWeight { index });
        }
        if code(weight) > 0 {
            sorted.push((index, weight));
        }
    }
    sorted.sort_unstable_by_key(|(index, _)| *index);
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(VectorError::SparseTwice { index: twice[0].0 });
    }
    if sorted.is_empty() || sorted.len() > most {
        return Err(VectorError::SparsePairs { found: sorted.len(), most });
    }
    Ok(sorted)
}

/// Encodes pairs that were checked.
#[must_use]
pub fn encode_sparse(pairs: &[(u32, f32)]) -> Vec<u8> {
    let mut out = vec![SPARSE, 0, 0, 0];
    out.extend((pairs.len() as u32).to_le_bytes());
    out.extend(pairs.iter().flat_map(|(index, _)| index.to_le_bytes()));
    out.extend(pairs.iter().flat_map(|(_, weight)| code(*weight).to_le_bytes()));
    out
}

/// A stored sparse vector, in place; its length and order were checked.
#[derive(Debug, Clone, Copy)]
pub struct SparseRef<'a> {
    indices: &'a [[u8; 4]],
    weights: &'a [[u8; 2]],
}

impl<'a> SparseRef<'a> {
    /// Takes apart what [`encode_sparse`] made, whatever the bytes are.
    ///
    /// # Errors
    /// [`VectorError::BadMatrix`].
    pub fn read(bytes: &'a [u8], most: usize) -> Result<Self, VectorError> {
        let bad = |reason| VectorError::BadMatrix { reason };
        let (head, rest) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(bad("its head is cut off"))?;
        let [kind, a, b, c, pairs @ ..] = *head;
        if kind != SPARSE || [a, b, c] != [0; 3] {
            return Err(bad("it is no sparse vector"));
        }
        let pairs = u32::from_le_bytes(pairs) as usize;
        if pairs == 0 || pairs > most || rest.len() != pairs * 6 {
            return Err(bad("its length is not that of its pairs"));
        }
        let (indices, weights) = rest.split_at(pairs * 4);
        let of = Self { indices: indices.as_chunks().0, weights: weights.as_chunks().0 };
        let ascends = of.pairs().zip(of.pairs().skip(1)).all(|((a, _), (b, _))| a < b);
        if !ascends || of.pairs().any(|(_, code)| code == 0 || code > CODE_MAX) {
            return Err(bad("its indices are out of order, or a weight is none"));
        }
        Ok(of)
    }

    /// Index and code of each pair, in order of index.
    pub fn pairs(self) -> impl Iterator<Item = (u32, u16)> + 'a {
        let indices = self.indices.iter().map(|index| u32::from_le_bytes(*index));
        indices.zip(self.weights.iter().map(|weight| u16::from_le_bytes(*weight)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_what_the_format_says() {
        let pairs = check_sparse(&[(9, 1.0), (2, 0.5), (3, 0.0)], 10).unwrap();
        let bytes = encode_sparse(&pairs);
        assert_eq!(bytes[..8], [4, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[8..], [2, 0, 0, 0, 9, 0, 0, 0, 0, 0x3F, 0x80, 0x3F]);
        for end in 0..bytes.len() {
            assert!(SparseRef::read(&bytes[..end], 10).is_err());
        }
        assert!(SparseRef::read(&bytes, 1).is_err());
        let swapped = [&bytes[..8], &bytes[12..16], &bytes[8..12], &bytes[16..]].concat();
        assert!(SparseRef::read(&swapped, 10).is_err());
        let zero = [&bytes[..18], &[0, 0]].concat();
        assert!(SparseRef::read(&zero, 10).is_err());
    }

    #[test]
    fn pairs_that_cannot_be_are_refused_by_their_own_errors() {
        let check = |pairs: &[(u32, f32)]| check_sparse(pairs, 2).map(|_| ());
        for weight in [-0.5, f32::NAN, f32::INFINITY, 1e19] {
            assert_eq!(check(&[(7, weight)]), Err(VectorError::SparseWeight { index: 7 }));
        }
        assert_eq!(check(&[(7, 1.0), (7, 2.0)]), Err(VectorError::SparseTwice { index: 7 }));
        assert_eq!(check(&[(7, 0.0)]), Err(VectorError::SparsePairs { found: 0, most: 2 }));
        let three = [(1, 1.0), (2, 1.0), (3, 1.0)];
        assert_eq!(check(&three), Err(VectorError::SparsePairs { found: 3, most: 2 }));
    }

    proptest! {
        #[test]
        fn weights_are_kept_within_one_part_in_256(weight in 1e-30_f32..1e17) {
            let kept = sparse_weight(code(weight));
            prop_assert!((kept - weight).abs() <= weight / 256.0, "{weight} {kept}");
        }

        #[test]
        fn whatever_the_bytes_reading_gives_pairs_or_an_error(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..60), pairs in 0_u8..9,
        ) {
            if let Some(head) = bytes.first_chunk_mut() {
                *head = [4, 0, 0, 0, pairs, 0, 0, 0];
            }
            if let Ok(found) = SparseRef::read(&bytes, 100) {
                prop_assert_eq!(found.pairs().count(), usize::from(pairs));
            }
        }
    }
}
