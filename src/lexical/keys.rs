//! Keys of the table of postings, and the terms and slots in them. Integers are big-endian, so that
//! byte order is number order.

/// Stats of the collection.
const STATS: u8 = 0;
/// Lengths of the texts of 4,096 slots.
const LENGTHS: u8 = 1;
/// A term: how many texts have it, and the last of them.
const TERM: u8 = 2;
/// Earlier postings of a frequent term.
const RUN: u8 = 3;
/// Kinds that the text index of a collection has.
pub(super) const KINDS: [u8; 4] = [STATS, LENGTHS, TERM, RUN];
/// Kinds that a field of sparse vectors has.
pub(super) const SPARSE_KINDS: [u8; 2] = [TERM, RUN];

fn begin(collection: u32, kind: u8, capacity: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(5 + capacity);
    key.extend_from_slice(&collection.to_be_bytes());
    key.push(kind);
    key
}

/// Collection, 0.
pub(super) fn stats(collection: u32) -> Vec<u8> {
    begin(collection, STATS, 0)
}

/// Collection, 1, slot / 4,096.
pub(super) fn lengths(collection: u32, chunk: u32) -> Vec<u8> {
    let mut key = begin(collection, LENGTHS, 4);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// Begin of every [`lengths`] key.
pub(super) fn all_lengths(collection: u32) -> Vec<u8> {
    begin(collection, LENGTHS, 0)
}

/// Collection, 2, term; also the begin of the keys of terms that begin so.
pub(super) fn term(collection: u32, term: &[u8]) -> Vec<u8> {
    let mut key = begin(collection, TERM, term.len());
    key.extend_from_slice(term);
    key
}

/// The term in a [`term`] key.
pub(super) fn term_of(key: &[u8]) -> Option<&[u8]> {
    key.get(4..)?.strip_prefix(&[TERM])
}

/// Begin of every key of [`term`] of a collection.
pub(super) fn all_terms(collection: u32) -> Vec<u8> {
    begin(collection, TERM, 0)
}

/// Collection, 3, length of the term, term: begin of the keys of its runs.
pub(super) fn runs(collection: u32, term: &[u8]) -> Vec<u8> {
    let mut key = begin(collection, RUN, term.len() + 5);
    // Terms are at most 255 bytes.
    key.push(term.len() as u8);
    key.extend_from_slice(term);
    key
}

/// [`runs`], the lowest slot that the run may hold.
pub(super) fn run(collection: u32, term: &[u8], base: u32) -> Vec<u8> {
    let mut key = runs(collection, term);
    key.extend_from_slice(&base.to_be_bytes());
    key
}

/// Begin of every key of [`runs`] of a collection.
pub(super) fn all_runs(collection: u32) -> Vec<u8> {
    begin(collection, RUN, 0)
}

/// The number at the end of a [`run`] or [`lengths`] key.
pub(super) fn number_of(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|number| u32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_their_terms_and_numbers() {
        assert_eq!(stats(258), [0, 0, 1, 2, 0]);
        assert_eq!(term(1, b"sea"), [0, 0, 0, 1, 2, b's', b'e', b'a']);
        assert_eq!(term_of(&term(1, b"sea")), Some(b"sea".as_slice()));
        assert_eq!(run(1, b"s", 9), [0, 0, 0, 1, 3, 1, b's', 0, 0, 0, 9]);
        assert_eq!(number_of(&run(1, b"sea", 9)), Some(9));
        assert_eq!(number_of(&lengths(1, 7)), Some(7));
        assert!(run(1, b"sea", 9).starts_with(&runs(1, b"sea")));
        assert_eq!(term_of(&stats(1)), None);
    }
}
