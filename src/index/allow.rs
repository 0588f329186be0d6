//! Which slots may be returned.

use roaring::RoaringBitmap;

/// A filter of slots, borrowed for one search.
#[derive(Debug, Clone, Copy)]
pub enum Allow<'a> {
    /// Every slot.
    All,
    /// Every slot but these.
    Dead(&'a RoaringBitmap),
    /// These slots only.
    Only(&'a RoaringBitmap),
    /// These slots, less the dead ones.
    OnlyLive {
        /// Slots that pass the filter.
        allowed: &'a RoaringBitmap,
        /// Slots that were deleted.
        dead: &'a RoaringBitmap,
    },
}

impl<'a> Allow<'a> {
    /// Whether a slot passes.
    #[cfg(test)]
    pub fn contains(&self, slot: u32) -> bool {
        match self {
            Self::All => true,
            Self::Dead(dead) => !dead.contains(slot),
            Self::Only(allowed) => allowed.contains(slot),
            Self::OnlyLive { allowed, dead } => allowed.contains(slot) && !dead.contains(slot),
        }
    }

    pub(super) fn allowed(&self) -> Option<&'a RoaringBitmap> {
        match self {
            Self::All | Self::Dead(_) => None,
            Self::Only(allowed) | Self::OnlyLive { allowed, .. } => Some(allowed),
        }
    }

    pub(super) fn dead(&self) -> Option<&'a RoaringBitmap> {
        match self {
            Self::All | Self::Only(_) => None,
            Self::Dead(dead) | Self::OnlyLive { dead, .. } => Some(dead),
        }
    }
}
