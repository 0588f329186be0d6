//! How tokens are counted: by the estimate, or by the application. Pure.

use std::sync::Arc;

use crate::record::{QUARTERS, estimated_quarters};

/// Counts the tokens of texts.
#[derive(Clone, Default)]
pub(super) enum Counter {
    /// By their characters.
    #[default]
    Estimate,
    /// As the application does.
    Given(Arc<dyn Fn(&str) -> usize + Send + Sync>),
}

impl Counter {
    pub(super) fn tokens(&self, text: &str) -> usize {
        self.whole(self.units(text))
    }

    /// What is added up over texts: passage by passage, so that a long context is not counted from
    /// its beginning for each of many.
    pub(super) fn units(&self, text: &str) -> usize {
        match self {
            Self::Estimate => estimated_quarters(text),
            Self::Given(count) => count(text),
        }
    }

    /// Tokens of so many units.
    pub(super) fn whole(&self, units: usize) -> usize {
        match self {
            Self::Estimate => units.div_ceil(QUARTERS),
            Self::Given(_) => units,
        }
    }
}
