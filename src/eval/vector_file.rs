//! Vector files, memory-mapped: `.npy` (f32 or f16), `.fvecs`, `.bvecs`, `.ivecs`. Eval layer;
//! turns rows into numbers, knows no metric and no database.
//!
//! All sizes a header states are held against the file size when the file is opened, in constant
//! time; nothing is allocated by a header's word. Rows of `.?vecs` files repeat their dimension
//! (u32 LE), which is checked when the row is read. Format of these: corpus-texmex.irisa.fr.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::f16;
use memmap2::Mmap;

use super::error::{EvalError, VectorProblem};
use super::npy::{self, NpyHeader};
use crate::storage::map_file;

const NPY_MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself refuses longer header dicts unless told to trust the file.
const NPY_DICT_BYTES_MAX: usize = 10_000;
/// Arrays begin at a multiple of this in the files written here, as NumPy does it.
const NPY_ALIGNMENT: usize = 64;

/// Bytes in front of each row of a `.?vecs` file: its dimension, u32 little-endian.
const ROW_PREFIX_BYTES: usize = 4;

/// A vector file open for reading: `len` rows of `dim` elements.
///
/// The file must not shrink while it is open: the operating system then ends the process on access.
pub struct VectorFile {
    path: PathBuf,
    map: Mmap,
    layout: Layout,
}

/// Where the rows lie; `open` has checked that `offset + len * stride` is the file size.
#[derive(Clone, Copy, Debug)]
struct Layout {
    element: Element,
    len: usize,
    dim: usize,
    offset: usize,
    stride: usize,
    /// Bytes at the head of each row that are not elements.
    prefix: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    F32,
    F16,
    U8,
    U32,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
            Self::U8 => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U8 => "u8",
            Self::U32 => "u32",
        }
    }
}

impl VectorFile {
    /// Opens and maps `path`, by its extension `.npy`, `.fvecs`, `.bvecs` or `.ivecs`.
    ///
    /// O(1): reads the header only.
    ///
    /// # Errors
    /// When the file cannot be mapped, the extension is unknown, or the header is malformed,
    /// names an element type, order or shape that is not read, or disagrees with the file size.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EvalError> {
        let path = path.as_ref();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let element = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("npy") => None,
            Some("fvecs") => Some(Element::F32),
            Some("bvecs") => Some(Element::U8),
            Some("ivecs") => Some(Element::U32),
            _ => return Err(EvalError::vectors(path, VectorProblem::UnknownFormat)),
        };
        let map = File::open(path)
            .and_then(|file| map_file(&file))
            .map_err(|source| EvalError::io(path, source))?;
        let layout = match element {
            None => npy_layout(&map),
            Some(element) => vecs_layout(&map, element),
        };
        let layout = layout.map_err(|problem| EvalError::vectors(path, problem))?;
        Ok(Self { path: path.to_path_buf(), map, layout })
    }

    /// How many rows the file has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.len
    }

    /// Whether the file has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layout.len == 0
    }

    /// How many elements each row has; never 0.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.layout.dim
    }

    /// Row `row` (from 0) as f32; f16 and u8 are widened exactly.
    ///
    /// # Errors
    /// When `row` is out of range, the rows are u32, or the row states another dimension.
    pub fn row(&self, row: usize) -> Result<Vec<f32>, EvalError> {
        // an empty file may state any dimension: allocate only for a row that is there
        let present = self.layout.elements(&self.map, row);
        present.map_err(|problem| EvalError::vectors(&self.path, problem))?;
        let mut out = vec![0.0; self.layout.dim];
        self.row_into(row, &mut out)?;
        Ok(out)
    }

    /// As [`row`](Self::row), into a buffer of exactly `dim` elements.
    ///
    /// # Errors
    /// As [`row`](Self::row), and when `out` has another length.
    pub fn row_into(&self, row: usize, out: &mut [f32]) -> Result<(), EvalError> {
        self.fill(row, out).map_err(|problem| EvalError::vectors(&self.path, problem))
    }

    /// Row `row` (from 0) of an `.ivecs` file, such as the neighbor ids of a query.
    ///
    /// # Errors
    /// When `row` is out of range, the rows are not u32, or the row states another dimension.
    pub fn row_u32(&self, row: usize) -> Result<Vec<u32>, EvalError> {
        let ids = self.layout.elements(&self.map, row).and_then(|bytes| {
            self.layout.require(Element::U32)?;
            let (ids, _) = bytes.as_chunks();
            Ok(ids.iter().map(|id| u32::from_le_bytes(*id)).collect())
        });
        ids.map_err(|problem| EvalError::vectors(&self.path, problem))
    }

    fn fill(&self, row: usize, out: &mut [f32]) -> Result<(), VectorProblem> {
        let expected = self.layout.dim;
        if out.len() != expected {
            return Err(VectorProblem::BufferLength { expected, found: out.len() });
        }
        let bytes = self.layout.elements(&self.map, row)?;
        match self.layout.element {
            Element::F32 => {
                let (values, _) = bytes.as_chunks();
                out.iter_mut().zip(values).for_each(|(out, v)| *out = f32::from_le_bytes(*v));
            }
            Element::F16 => {
                let (values, _) = bytes.as_chunks();
                let values = values.iter().map(|v| f16::from_le_bytes(*v).to_f32());
                out.iter_mut().zip(values).for_each(|(out, v)| *out = v);
            }
            Element::U8 => {
                out.iter_mut().zip(bytes).for_each(|(out, v)| *out = f32::from(*v));
            }
            Element::U32 => return self.layout.require(Element::F32),
        }
        Ok(())
    }
}

impl Layout {
    /// The element bytes of a row, after its prefix was checked.
    fn elements(self, map: &[u8], row: usize) -> Result<&[u8], VectorProblem> {
        let out_of_range = VectorProblem::RowOutOfRange { row, len: self.len };
        if row >= self.len {
            return Err(out_of_range);
        }
        let start = row.checked_mul(self.stride).and_then(|at| at.checked_add(self.offset));
        let bytes = start
            .and_then(|start| map.get(start..start.checked_add(self.stride)?))
            .ok_or(out_of_range)?;
        let Some((prefix, elements)) = bytes.split_at_checked(self.prefix) else {
            return Ok(bytes);
        };
        if let Ok(prefix) = <[u8; ROW_PREFIX_BYTES]>::try_from(prefix) {
            let found = u32::from_le_bytes(prefix);
            if usize::try_from(found) != Ok(self.dim) {
                return Err(VectorProblem::RowDimension { row, expected: self.dim, found });
            }
        }
        Ok(elements)
    }

    fn require(self, wanted: Element) -> Result<(), VectorProblem> {
        if self.element == wanted {
            return Ok(());
        }
        Err(VectorProblem::WrongElement { found: self.element.name(), wanted: wanted.name() })
    }
}

fn npy_layout(bytes: &[u8]) -> Result<Layout, VectorProblem> {
    let (header, offset) = npy_header(bytes)?;
    let element = match header.descr.as_str() {
        "<f4" => Element::F32,
        "<f2" => Element::F16,
        _ => {
            return Err(VectorProblem::ElementType { found: header.descr });
        }
    };
    if header.fortran_order {
        return Err(VectorProblem::FortranOrder);
    }
    let (rows, dim) = match *header.shape.as_slice() {
        [rows, dim] if dim > 0 => (rows, dim),
        _ => {
            return Err(VectorProblem::Shape { found: header.shape });
        }
    };
    let to_usize = |value: u64| usize::try_from(value).map_err(|_| VectorProblem::TooLarge);
    let (len, dim) = (to_usize(rows)?, to_usize(dim)?);
    let stride = dim.checked_mul(element.bytes()).ok_or(VectorProblem::TooLarge)?;
    let size = stride.checked_mul(len).and_then(|data| data.checked_add(offset));
    let size = size.ok_or(VectorProblem::TooLarge)?;
    if size != bytes.len() {
        return Err(VectorProblem::Length { expected: size as u64, found: bytes.len() as u64 });
    }
    Ok(Layout { element, len, dim, offset, stride, prefix: 0 })
}

/// The parsed header and where the array begins: magic, major u8, minor u8, length of the dict
/// (u16 LE in version 1, u32 LE in 2 and 3), the dict padded with spaces.
fn npy_header(bytes: &[u8]) -> Result<(NpyHeader, usize), VectorProblem> {
    let cut = |expected: usize| VectorProblem::TruncatedHeader {
        expected: expected as u64,
        found: bytes.len() as u64,
    };
    let (preamble, rest) = bytes.split_at_checked(8).ok_or_else(|| cut(10))?;
    if !preamble.starts_with(NPY_MAGIC) {
        return Err(npy::malformed("does not start with the .npy magic"));
    }
    let (len, start) = match preamble.get(6) {
        Some(1) => {
            let field = rest.first_chunk().ok_or_else(|| cut(10))?;
            (usize::from(u16::from_le_bytes(*field)), 10)
        }
        Some(2 | 3) => {
            let field = rest.first_chunk().ok_or_else(|| cut(12))?;
            (usize::try_from(u32::from_le_bytes(*field)).unwrap_or(usize::MAX), 12)
        }
        _ => return Err(npy::malformed("version is not 1, 2 or 3")),
    };
    if len > NPY_DICT_BYTES_MAX {
        return Err(npy::malformed("header is longer than 10,000 bytes"));
    }
    let end = start + len;
    let dict = bytes.get(start..end).ok_or_else(|| cut(end))?;
    let dict = std::str::from_utf8(dict).map_err(|_| npy::malformed("header is not text"))?;
    Ok((npy::parse_dict(dict)?, end))
}

fn vecs_layout(bytes: &[u8], element: Element) -> Result<Layout, VectorProblem> {
    let found = bytes.len() as u64;
    let expected = ROW_PREFIX_BYTES as u64;
    let first = bytes.first_chunk().ok_or(VectorProblem::TruncatedHeader { expected, found })?;
    let dim = u32::from_le_bytes(*first);
    if dim == 0 {
        return Err(VectorProblem::Shape { found: vec![0] });
    }
    let dim = usize::try_from(dim).map_err(|_| VectorProblem::TooLarge)?;
    let stride = dim
        .checked_mul(element.bytes())
        .and_then(|data| data.checked_add(ROW_PREFIX_BYTES))
        .ok_or(VectorProblem::TooLarge)?;
    if !bytes.len().is_multiple_of(stride) {
        let whole = bytes.len().checked_next_multiple_of(stride).ok_or(VectorProblem::TooLarge)?;
        return Err(VectorProblem::Length { expected: whole as u64, found });
    }
    let len = bytes.len() / stride;
    Ok(Layout { element, len, dim, offset: 0, stride, prefix: ROW_PREFIX_BYTES })
}

/// Writes `rows` (row after row, `dim` elements each) as `.npy` version 1, `<f4`, C order.
///
/// # Errors
/// When `dim` is 0, `rows` is not a whole number of rows, or the file cannot be written.
pub fn write_npy_f32(path: impl AsRef<Path>, rows: &[f32], dim: usize) -> Result<(), EvalError> {
    let path = path.as_ref();
    if dim == 0 || !rows.len().is_multiple_of(dim) {
        let problem = VectorProblem::RaggedRows { values: rows.len(), dim };
        return Err(EvalError::vectors(path, problem));
    }
    let write = || {
        let mut out = BufWriter::new(std::fs::File::create(path)?);
        out.write_all(&f32_header(rows.len() / dim, dim))?;
        for value in rows {
            out.write_all(&value.to_le_bytes())?;
        }
        out.flush()
    };
    write().map_err(|source| EvalError::io(path, source))
}

/// A version 1 header for `rows` x `dim` f32, padded so that the array is aligned.
fn f32_header(rows: usize, dim: usize) -> Vec<u8> {
    let dict = npy::f32_dict(rows, dim);
    let unpadded = NPY_MAGIC.len() + 4 + dict.len() + 1;
    let padding = unpadded.next_multiple_of(NPY_ALIGNMENT) - unpadded;
    // the dict is at most 100 bytes and the padding at most 63
    let len = (dict.len() + padding + 1) as u16;
    let mut header = NPY_MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend(len.to_le_bytes());
    header.extend(dict.bytes());
    header.extend(std::iter::repeat_n(b' ', padding));
    header.push(b'\n');
    header
}
