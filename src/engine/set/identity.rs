//! Where a set comes from.

/// The source that a set comes from. Two layers over the same source share the set that a request has pinned. The default
/// is the id of no source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceId(pub(crate) u64);

/// Where a set comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) source: SourceId,
    pub(crate) version: u64,
    pub(crate) revision: String,
}
