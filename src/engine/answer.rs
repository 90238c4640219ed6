//! From a query to answers: the set as it is at that instant, and which forced answers count.

use std::sync::Arc;

use super::answers::{Answers, by_flag};
use super::query::{Forced, ForcedBy, Query};
use super::reason::Reason;
use super::set::{FlagSet, ForcedAt, SourceId};

impl FlagSet {
    /// The answers of the set to a query. In a set of another engine every flag is off: its answers come from
    /// [`Answers::of`].
    #[must_use]
    pub fn answer(self: &Arc<Self>, query: &Query<'_>) -> Answers {
        Answers::decide(self.pinned_at(query.now), query)
    }
}

impl Answers {
    /// The answers of a set that is pinned for the instant of the query.
    pub(crate) fn decide(set: Arc<FlagSet>, query: &Query<'_>) -> Self {
        let forced = forced_in(&set, query);
        Self::decide_with(set, query.context.clone(), query.now, forced)
    }

    /// The answers of another engine: every flag is off until [`set`](Self::set) says otherwise, but for flags that the
    /// query forces.
    #[must_use]
    pub fn of(set: &Arc<FlagSet>, query: &Query<'_>) -> Self {
        Self::decide(Arc::clone(set), query)
    }

    /// Answers without any flag: every name is off for this reason.
    pub(crate) fn none(query: &Query<'_>, reason: Reason, source: SourceId) -> Self {
        Self::decide(FlagSet::empty(reason, source), query)
    }

    /// The same answers with these forced, too.
    pub(crate) fn with_forced(self, forced: &[Forced]) -> Self {
        let query = Query::new(self.context(), self.instant()).forced(forced);
        let forced = forced_in(self.flag_set(), &query);
        self.with_more_forced(&forced)
    }
}

/// The forced answers of a query by number: kills of layers around, then what the query names, of each flag the first.
fn forced_in(set: &FlagSet, query: &Query<'_>) -> Box<[ForcedAt]> {
    if query.forced.is_empty() && query.around.is_empty() {
        return Box::default();
    }
    let killed = query.around.iter().flat_map(|answers| answers.killed()).filter_map(|name| set.number(name));
    let forced = query.forced.iter().filter_map(|entry| {
        let is_for_caller = entry.only_for.as_ref().is_none_or(|user| query.context.user_id() == Some(user))
            && entry.until.is_none_or(|until| query.now < until);
        let number = set.number(&entry.flag).filter(|_| is_for_caller)?;
        // A flag without a usable definition has nothing that could be forced.
        let flag = set.definition(number)?;
        if entry.by == ForcedBy::Override && !flag.is_overridable() {
            return None;
        }
        let variant = entry.variant.as_deref().and_then(|name| flag.variant_number(name));
        Some(ForcedAt { flag: number, enabled: entry.enabled, variant, reason: entry.by.reason() })
    });
    by_flag(killed.map(ForcedAt::kill).chain(forced))
}
