//! A flag and the share of callers that it is on for.

use crate::document::Percentage;

/// A flag and its percentage in effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) flag: u32,
    pub(super) percentage: Percentage,
}
