//! The arrays a walk reads most, copied from the file's map into anonymous memory in huge pages.
//!
//! A file map has small pages on every common file system, and on a virtual machine each jump to
//! another of them costs about as much as the memory it leads to. A copy costs its bytes and
//! 0.1 s for 100 MB. Where the system maps files in large pages already, it gains a tenth to
//! a quarter, as its rows lie in one piece (docs/index-performance.md).

use std::io;

use bytes::Bytes;
use memmap2::MmapMut;

use super::Segment;
use super::graph::{Base, Graph};
use crate::vectors::Rows;

/// Size of a huge page, to which the copies are aligned.
const HUGE_PAGE: usize = 2 << 20;

/// The copies of one segment. Cheap to clone; independent of the file.
#[derive(Debug, Clone)]
pub struct Resident {
    pub(super) codes: Rows,
    pub(super) links: Option<Base>,
    pub(super) nav: Option<Rows>,
    /// Navigation codes of the entries.
    pub(super) upper: Option<Rows>,
}

impl Resident {
    /// Bytes of the copies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(&self.codes)
            + self.links.as_ref().map_or(0, |links| bytes(links.rows()))
            + self.nav.as_ref().map_or(0, bytes)
            + self.upper.as_ref().map_or(0, bytes)
    }
}

impl Segment {
    /// Bytes that [`Segment::copy_resident`] would take.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let links = self.graph.as_ref().map_or(0, |graph| graph.base().rows().stride());
        let nav = self.nav.as_ref().map_or(0, |nav| nav.rows.stride());
        let upper = self.nav.as_ref().map(|nav| &nav.upper);
        u64::from(self.len()) * (self.codes.stride() + links + nav) as u64 + upper.map_or(0, bytes)
    }

    /// Whether searches read copies.
    #[must_use]
    pub fn is_resident(&self) -> bool {
        self.resident.get().is_some()
    }

    /// Copies codes, links and navigation codes. Takes as long as reading them.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn copy_resident(&self) -> io::Result<Resident> {
        let links = self
            .graph
            .as_ref()
            .map(|graph| copy(graph.base().rows()))
            .transpose()?
            .map(Graph::base_of);
        let nav = self.nav.as_ref().map(|nav| copy(&nav.rows)).transpose()?;
        let upper = self.nav.as_ref().map(|nav| copy(&nav.upper)).transpose()?;
        Ok(Resident { codes: copy(&self.codes)?, links, nav, upper })
    }

    /// Searches read these copies from now on. They must be of this very segment: copies of
    /// another shape are not taken, and later ones neither.
    pub fn adopt(&self, resident: Resident) {
        let fits =
            |copy: &Rows, own: &Rows| (copy.len(), copy.stride()) == (own.len(), own.stride());
        let links = self.graph.as_ref().map(|graph| graph.base().rows());
        let nav = self.nav.as_ref().map(|nav| &nav.rows);
        let upper = self.nav.as_ref().map(|nav| &nav.upper);
        let all_fit = fits(&resident.codes, &self.codes)
            && resident.links.as_ref().zip(links).is_none_or(|(copy, own)| fits(copy.rows(), own))
            && resident.nav.as_ref().zip(nav).is_none_or(|(copy, own)| fits(copy, own))
            && resident.upper.as_ref().zip(upper).is_none_or(|(copy, own)| fits(copy, own))
            && resident.links.is_some() == links.is_some()
            && resident.nav.is_some() == nav.is_some();
        if all_fit {
            let _ = self.resident.set(resident);
        }
    }
}

fn bytes(rows: &Rows) -> u64 {
    u64::from(rows.len()) * rows.stride() as u64
}

/// The rows in one piece of huge pages, where the system has them.
fn copy(rows: &Rows) -> io::Result<Rows> {
    let len = rows.len() as usize * rows.stride();
    let mut map = MmapMut::map_anon(len + HUGE_PAGE)?;
    #[cfg(target_os = "linux")]
    // Advice only: without huge pages the copy is as good as the map.
    let _ = map.advise(memmap2::Advice::HugePage);
    let start = map.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
    for (row, to) in (0..rows.len()).zip(map[start..start + len].chunks_mut(rows.stride())) {
        if let Some(row) = rows.row(row) {
            to.copy_from_slice(row);
        }
    }
    let bytes = Bytes::from_owner(Region { map, start, len });
    Rows::contiguous(bytes, rows.stride()).map_err(io::Error::other)
}

/// A part of an anonymous map.
struct Region {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }
}
