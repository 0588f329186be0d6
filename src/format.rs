//! What every byte on disk agrees on: magic numbers, versions, section kinds, checksums and the
//! extent header. Bottom layer: no I/O, no LMDB, nothing of ours above it.
//!
//! Every constant here is listed in `storage-format.md`; `tests/tidy.rs` compares the two.

use std::fmt;

use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

/// First bytes of the `meta/format` value: tells a portolan file from any other LMDB file.
pub const FILE_MAGIC: [u8; 8] = *b"PORTOLAN";
/// Version of everything in `storage-format.md`. Files of versions 1 and 2 are read and written as
/// they are, until they are compacted; a reader refuses any other.
pub const FORMAT_VERSION: u32 = 3;
/// First bytes of every extent.
pub const EXTENT_MAGIC: [u8; 4] = *b"PTLX";
/// Version of the extent header.
pub const EXTENT_VERSION: u16 = 1;
/// Bytes of the extent header; with LMDB's 16-byte page header the payload starts 64-byte aligned.
pub const EXTENT_HEADER_BYTES: usize = 48;
/// Granularity of an extent's length: LMDB's smallest page.
pub const EXTENT_PAGE_BYTES: usize = 4096;
/// Bytes of LMDB's header in front of an overflow value.
pub const LMDB_PAGE_HEADER_BYTES: usize = 16;
/// Length of a full extent value: exactly 256 pages of 4 KiB less LMDB's page header.
pub const EXTENT_VALUE_BYTES: usize = 256 * 4096 - 16;
/// Payload bytes of a full extent, a whole number of 64-byte lines.
pub const EXTENT_PAYLOAD_BYTES: usize = 256 * 4096 - 16 - 48;
/// Bytes of the checksum in front of every small value.
pub const SEAL_BYTES: usize = 8;
/// Number of the int8 code with one scale per vector.
pub const CODEC_INT8: u16 = 1;
/// Largest number of dimensions a collection may have.
pub const DIMENSIONS_MAX: u32 = 65_536;
/// Longest record id, collection name and model id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 480;
/// Longest metadata field name, in bytes of UTF-8.
pub const FIELD_NAME_BYTES_MAX: usize = 128;
/// Most metadata fields of one record.
pub const FIELDS_MAX: usize = 1024;
/// Most items of one metadata list.
pub const LIST_ITEMS_MAX: usize = 4096;
/// Largest record (id, title, text and metadata together), encoded, in bytes.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most named vector fields of one collection.
pub const VECTOR_FIELDS_MAX: usize = 64;
/// Most rows of a matrix.
pub const MATRIX_ROWS_MAX: usize = 4096;
/// Largest number of dimensions of the rows of a matrix.
pub const MATRIX_DIMENSIONS_MAX: usize = 4096;
/// Most pairs of one sparse vector.
pub const SPARSE_PAIRS_MAX: usize = 65_536;
/// Longest prefix of a string value that stands in a field-index key.
pub const FIELD_KEY_TEXT_BYTES: usize = 192;
/// Longest term of a text index; longer ones are cut, and end in their hash.
pub const TERM_BYTES_MAX: usize = 255;

/// What an extent, or a section (the extents of one kind in a segment), holds.
/// The numbers are on disk: never renumber. 6 and 8 were navigation codes of another layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum SectionKind {
    /// u32 slot of each row, strictly ascending.
    Slots = 1,
    /// Quantized code of each row.
    Codes = 2,
    /// Full-precision vector of each row.
    Raw = 3,
    /// Base-layer links of each row.
    Links = 4,
    /// Upper-layer rows of the graph.
    Upper = 5,
    /// The projection that navigation codes are made with.
    Projection = 7,
    /// Integer record id of each row.
    Ids = 9,
    /// Points of the recall curve.
    Curve = 10,
    /// Navigation code of each row.
    Nav = 11,
    /// First line of the navigation code of each upper-layer row.
    UpperNav = 12,
}

impl SectionKind {
    /// The kind of that number, if there is one.
    pub fn from_u16(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Slots,
            2 => Self::Codes,
            3 => Self::Raw,
            4 => Self::Links,
            5 => Self::Upper,
            7 => Self::Projection,
            9 => Self::Ids,
            10 => Self::Curve,
            11 => Self::Nav,
            12 => Self::UpperNav,
            _ => return None,
        })
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "slots",
            Self::Codes => "codes",
            Self::Raw => "raw",
            Self::Links => "links",
            Self::Upper => "upper",
            Self::Nav => "navigation codes",
            Self::Projection => "projection",
            Self::UpperNav => "upper navigation codes",
            Self::Ids => "ids",
            Self::Curve => "recall curve",
        })
    }
}

/// What is wrong with bytes that should follow `storage-format.md`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The stored checksum differs from that of the bytes.
    #[error("checksum of {what} does not match: the bytes were damaged after they were written")]
    Checksum {
        /// Which structure.
        what: &'static str,
    },
    /// Fewer bytes than the structure needs.
    #[error("{what} holds {found} bytes but needs {expected}")]
    Length {
        /// Which structure.
        what: &'static str,
        /// Bytes needed.
        expected: usize,
        /// Bytes present.
        found: usize,
    },
    /// A field has a value the format does not allow.
    #[error("{what} has {field} = {value}, which the format does not allow")]
    Field {
        /// Which structure.
        what: &'static str,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The file was written by a newer (or a foreign) version.
    #[error(
        "the file has format version {found}, this library reads {supported}: \
         use a matching version of portolan"
    )]
    Version {
        /// Version in the file.
        found: u32,
        /// Version of this library.
        supported: u32,
    },
    /// A value did not decode.
    #[error("{what} does not decode: {reason}")]
    Decode {
        /// Which structure.
        what: &'static str,
        /// The decoder's reason.
        reason: String,
    },
}

/// Checksum of a small value: XXH3-64 of key and payload, seeded with the table's number, so
/// that a value that was moved to another key or table is found out as well.
pub fn seal_checksum(table: u8, key: &[u8], payload: &[u8]) -> u64 {
    let of_key = xxh3_64_with_seed(key, u64::from(table));
    xxh3_64_with_seed(payload, of_key)
}

/// `payload` with its checksum in front.
pub fn seal(table: u8, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(SEAL_BYTES + payload.len());
    value.extend_from_slice(&seal_checksum(table, key, payload).to_le_bytes());
    value.extend_from_slice(payload);
    value
}

/// The payload of a sealed value, after its checksum was checked.
pub fn unseal<'v>(
    what: &'static str,
    table: u8,
    key: &[u8],
    value: &'v [u8],
) -> Result<&'v [u8], FormatError> {
    let Some((head, payload)) = value.split_first_chunk::<SEAL_BYTES>() else {
        return Err(FormatError::Length { what, expected: SEAL_BYTES, found: value.len() });
    };
    if u64::from_le_bytes(*head) != seal_checksum(table, key, payload) {
        return Err(FormatError::Checksum { what });
    }
    Ok(payload)
}

/// The first 48 bytes of an extent (`storage-format.md`, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentHeader {
    /// What the rows are.
    pub kind: SectionKind,
    /// Place of the extent in its section, from 0.
    pub index: u32,
    /// Rows in this extent.
    pub rows: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// The segment it belongs to.
    pub segment: u32,
    /// The collection it belongs to.
    pub collection: u32,
}

const EXTENT: &str = "extent";
const CHECKSUM_AT: usize = 32;

impl ExtentHeader {
    /// Writes the header and the checksum into the first 48 bytes of a whole extent value.
    pub fn write(&self, value: &mut [u8]) -> Result<(), FormatError> {
        let found = value.len();
        let Some((head, payload)) = value.split_first_chunk_mut::<EXTENT_HEADER_BYTES>() else {
            return Err(FormatError::Length { what: EXTENT, expected: EXTENT_HEADER_BYTES, found });
        };
        head.fill(0);
        head[0..4].copy_from_slice(&EXTENT_MAGIC);
        head[4..6].copy_from_slice(&EXTENT_VERSION.to_le_bytes());
        head[6..8].copy_from_slice(&(self.kind as u16).to_le_bytes());
        head[8..12].copy_from_slice(&self.index.to_le_bytes());
        head[12..16].copy_from_slice(&self.rows.to_le_bytes());
        head[16..20].copy_from_slice(&self.stride.to_le_bytes());
        head[20..24].copy_from_slice(&self.segment.to_le_bytes());
        head[24..28].copy_from_slice(&self.collection.to_le_bytes());
        let sum = extent_checksum(&head[..CHECKSUM_AT], payload);
        head[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// Reads and checks the header: magic, version, kind, length, and that the rows fit.
    /// The checksum is left to [`verify_extent`], which reads the whole extent.
    pub fn read(value: &[u8]) -> Result<Self, FormatError> {
        let found = value.len();
        let Some((head, payload)) = value.split_first_chunk::<EXTENT_HEADER_BYTES>() else {
            return Err(FormatError::Length { what: EXTENT, expected: EXTENT_HEADER_BYTES, found });
        };
        let field = |field, value| FormatError::Field { what: EXTENT, field, value };
        if head[0..4] != EXTENT_MAGIC {
            return Err(field("magic", u64::from(read_u32(head, 0))));
        }
        let version = read_u16(head, 4);
        if version != EXTENT_VERSION {
            return Err(field("version", u64::from(version)));
        }
        let kind = read_u16(head, 6);
        let kind = SectionKind::from_u16(kind).ok_or_else(|| field("kind", u64::from(kind)))?;
        let header = Self {
            kind,
            index: read_u32(head, 8),
            rows: read_u32(head, 12),
            stride: read_u32(head, 16),
            segment: read_u32(head, 20),
            collection: read_u32(head, 24),
        };
        let whole_pages = (found + LMDB_PAGE_HEADER_BYTES).is_multiple_of(EXTENT_PAGE_BYTES);
        if !whole_pages || found > EXTENT_VALUE_BYTES {
            return Err(field("length", found as u64));
        }
        let needed = u64::from(header.rows) * u64::from(header.stride);
        if header.rows == 0 || header.stride == 0 || needed > payload.len() as u64 {
            return Err(field("rows", u64::from(header.rows)));
        }
        Ok(header)
    }
}

/// Checks the 128-bit checksum (XXH3-128 of header bytes 0..32 and the payload) of an extent.
pub fn verify_extent(value: &[u8]) -> Result<(), FormatError> {
    ExtentHeader::read(value)?;
    let (head, payload) = value.split_at(EXTENT_HEADER_BYTES);
    let stored: [u8; 16] = head[CHECKSUM_AT..].try_into().unwrap_or_default();
    if u128::from_le_bytes(stored) != extent_checksum(&head[..CHECKSUM_AT], payload) {
        return Err(FormatError::Checksum { what: EXTENT });
    }
    Ok(())
}

fn extent_checksum(head: &[u8], payload: &[u8]) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.digest128()
}

/// Length of the extent value that holds `payload` bytes: header included, whole pages.
pub fn extent_value_bytes(payload: usize) -> usize {
    let whole = payload + EXTENT_HEADER_BYTES + LMDB_PAGE_HEADER_BYTES;
    whole.next_multiple_of(EXTENT_PAGE_BYTES) - LMDB_PAGE_HEADER_BYTES
}

/// Rows of `stride` bytes that fit a full extent.
pub fn rows_per_extent(stride: usize) -> usize {
    EXTENT_PAYLOAD_BYTES.checked_div(stride).unwrap_or(0)
}

/// 128-bit fingerprint of bytes (XXH3-128): not cryptographic.
pub fn fingerprint(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// The little-endian u16 at `at`; zero past the end.
pub fn read_u16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u16::from_le_bytes(*b))
}

/// The little-endian u32 at `at`; zero past the end.
pub fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_extent_fills_256_pages_and_its_payload_is_line_aligned() {
        assert_eq!(EXTENT_VALUE_BYTES, 1_048_560);
        assert_eq!(EXTENT_PAYLOAD_BYTES, 1_048_512);
        assert_eq!(extent_value_bytes(EXTENT_PAYLOAD_BYTES), EXTENT_VALUE_BYTES);
        assert_eq!((LMDB_PAGE_HEADER_BYTES + EXTENT_HEADER_BYTES) % 64, 0);
        assert_eq!(extent_value_bytes(1), 4096 - 16);
        assert_eq!(extent_value_bytes(4096 - 64), 4096 - 16);
        assert_eq!(extent_value_bytes(4096 - 63), 8192 - 16);
    }

    #[test]
    fn every_flipped_byte_of_an_extent_is_found() {
        let mut value = vec![7u8; extent_value_bytes(1000)];
        let header = ExtentHeader {
            kind: SectionKind::Codes,
            index: 3,
            rows: 10,
            stride: 100,
            segment: 5,
            collection: 9,
        };
        header.write(&mut value).unwrap();
        assert_eq!(ExtentHeader::read(&value).unwrap(), header);
        verify_extent(&value).unwrap();
        for at in 0..value.len() {
            value[at] ^= 0x10;
            assert!(verify_extent(&value).is_err(), "byte {at}");
            value[at] ^= 0x10;
        }
    }

    #[test]
    fn a_sealed_value_is_bound_to_its_key_and_table() {
        let value = seal(2, b"key", b"payload");
        assert_eq!(unseal("x", 2, b"key", &value).unwrap(), b"payload");
        assert!(unseal("x", 3, b"key", &value).is_err());
        assert!(unseal("x", 2, b"kez", &value).is_err());
        assert!(unseal("x", 2, b"key", &value[..7]).is_err());
    }

    #[test]
    fn numbers_of_former_layouts_are_no_kinds_of_sections() {
        let known: Vec<u16> =
            (0..=u16::MAX).filter(|&number| SectionKind::from_u16(number).is_some()).collect();
        assert_eq!(known, [1, 2, 3, 4, 5, 7, 9, 10, 11, 12]);
        let kinds = known.iter().filter_map(|&number| SectionKind::from_u16(number));
        assert!(kinds.zip(&known).all(|(kind, &number)| kind as u16 == number));
    }
}
