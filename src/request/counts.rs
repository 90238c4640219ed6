//! What operators should see of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// How often something about requests was not as it should be, since the layer was made. From
/// [`FlagLayer::counts`](crate::FlagLayer::counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RequestCounts {
    /// User ids in headers that were refused: empty, not UTF-8, over 256 bytes, or on two lines. The
    /// caller counts as anonymous, without groups.
    pub refused_user_ids: u64,
    /// Groups in headers that were refused: not UTF-8, over 8 KiB, over 100, one over 128 bytes, or on
    /// two lines. The caller counts as being in no group.
    pub refused_groups: u64,
    /// Answers of a [`ResolveLayer`](super::ResolveLayer) that missed the deadline; the fallback answered, or readers got their
    /// defaults, and on a [refresh](crate::Flags::refresh) the previous answers stayed.
    pub late_evaluations: u64,
    /// Flags left out of `X-Active-Flags` because the header would have been too long.
    pub omitted_from_header: u64,
    /// Override tokens that were rejected: not signed, changed, expired, for another user, too long, of a key that is not
    /// accepted, or that live longer than is allowed. The first for each reason is logged.
    pub refused_overrides: u64,
    /// Decisions of calling services that were rejected: not signed, changed, expired, from or for another service, too
    /// long, on two lines, of a key that is not accepted, or that live longer than is allowed. The first for each reason is
    /// logged.
    pub refused_decisions: u64,
    /// Panics of the source or of the engine; every flag was off, or the fallback of the engine answered, and on a
    /// [refresh](crate::Flags::refresh) the previous answers stayed. The first is logged.
    pub source_panics: u64,
    /// Panics of closures that the layer was configured with; the layer continues as if the closure had given no
    /// answer. The first of each closure is logged.
    pub closure_panics: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) source_panics: AtomicU64,
    pub(super) closure_panics: AtomicU64,
    /// Which rejections and panics were logged already: one bit for each reason.
    pub(super) told: AtomicU64,
    pub(super) refused_user_ids: AtomicU64,
    pub(super) refused_groups: AtomicU64,
    pub(super) late_evaluations: AtomicU64,
    pub(super) omitted_from_header: AtomicU64,
    pub(super) refused_overrides: AtomicU64,
    pub(super) refused_decisions: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> RequestCounts {
        RequestCounts {
            refused_user_ids: self.refused_user_ids.load(Ordering::Relaxed),
            refused_groups: self.refused_groups.load(Ordering::Relaxed),
            late_evaluations: self.late_evaluations.load(Ordering::Relaxed),
            omitted_from_header: self.omitted_from_header.load(Ordering::Relaxed),
            refused_overrides: self.refused_overrides.load(Ordering::Relaxed),
            refused_decisions: self.refused_decisions.load(Ordering::Relaxed),
            source_panics: self.source_panics.load(Ordering::Relaxed),
            closure_panics: self.closure_panics.load(Ordering::Relaxed),
        }
    }
}

/// Counts, and says whether it was the first time.
pub(super) fn count(counter: &AtomicU64) -> bool {
    counter.fetch_add(1, Ordering::Relaxed) == 0
}

/// Counts, and says whether it was the first time for this reason.
pub(super) fn count_reason(counter: &AtomicU64, told: &AtomicU64, reason: u32) -> bool {
    counter.fetch_add(1, Ordering::Relaxed);
    told.fetch_or(1 << reason, Ordering::Relaxed) >> reason & 1 == 0
}
