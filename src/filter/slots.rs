//! A set of slots that is given by what it holds or by what it lacks, so that "not" costs
//! nothing and needs no list of all slots.

use roaring::RoaringBitmap;

/// A set of slots.
#[derive(Debug, Clone, PartialEq)]
pub enum Slots {
    /// These.
    Only(RoaringBitmap),
    /// All but these.
    Except(RoaringBitmap),
}

impl Slots {
    /// Every slot.
    #[must_use]
    pub fn all() -> Self {
        Self::Except(RoaringBitmap::new())
    }

    /// No slot.
    #[must_use]
    pub fn none() -> Self {
        Self::Only(RoaringBitmap::new())
    }

    /// Every slot that is not in the set.
    #[must_use]
    pub fn complement(self) -> Self {
        match self {
            Self::Only(slots) => Self::Except(slots),
            Self::Except(slots) => Self::Only(slots),
        }
    }

    /// Slots of both sets.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(a), Self::Only(b)) => Self::Only(a & b),
            (Self::Only(a), Self::Except(b)) | (Self::Except(b), Self::Only(a)) => {
                Self::Only(a - b)
            }
            (Self::Except(a), Self::Except(b)) => Self::Except(a | b),
        }
    }

    /// Slots of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        self.complement().intersect(other.complement()).complement()
    }

    /// Whether the slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: u32) -> bool {
        match self {
            Self::Only(slots) => slots.contains(slot),
            Self::Except(slots) => !slots.contains(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set() -> impl Strategy<Value = Slots> {
        (any::<bool>(), proptest::collection::vec(0u32..40, 0..20)).prop_map(|(only, slots)| {
            let slots = slots.into_iter().collect();
            if only { Slots::Only(slots) } else { Slots::Except(slots) }
        })
    }

    proptest! {
        #[test]
        fn the_algebra_agrees_with_membership(a in set(), b in set()) {
            let both = a.clone().intersect(b.clone());
            let either = a.clone().union(b.clone());
            let rest = a.clone().complement();
            for slot in 0..50 {
                prop_assert_eq!(both.contains(slot), a.contains(slot) && b.contains(slot));
                prop_assert_eq!(either.contains(slot), a.contains(slot) || b.contains(slot));
                prop_assert_eq!(rest.contains(slot), !a.contains(slot));
            }
        }
    }
}
