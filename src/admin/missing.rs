//! Flags that the store has lost, as they are listed. [`write_back`](super::write_back) writes them back.
//!
//! 1. A flag is missing if the store has no definition of it, although no edit removed it, and if it is or was in effect
//!    here or the store's records say that it is there.
//! 2. It is listed like the others, with `missing`. A kill of it is in effect in this process at once, and is written
//!    with `write_back=true`.

use serde_json::{Map, Value, json};

use super::problem::{Failure, Kind};
use super::shown::{self, View};
use super::state::State;
use crate::source::MissingFlag;
use crate::store::FeedContent;

/// How many missing flags the status names.
const MAX_NAMED: usize = 20;

/// The flags that are missing from what the store holds now, even if the source has not noticed yet.
pub(super) fn of(state: &State, loaded: &FeedContent) -> Vec<MissingFlag> {
    let missing = state.source.missing_from(loaded);
    if missing.iter().any(|missing| !state.source.has_missing(&missing.flag)) {
        state.source.look_now();
    }
    missing
}

/// Whether this process knows the flag, in effect or lost. Most names that the store does not have are not known here
/// either. Of one that is known and neither in the store nor missing, the two looks were at different moments: it was
/// written back in between, or removed.
pub(super) fn is_known(state: &State, name: &str) -> bool {
    state.source.has_missing(name) || state.source.set().flag(name).is_some()
}

/// The same for one flag.
pub(super) async fn flag(state: &State, name: &str) -> Option<MissingFlag> {
    if !is_known(state, name) {
        return None;
    }
    let loaded = state.load().await.ok()?;
    of(state, &loaded).into_iter().find(|missing| missing.flag == name)
}

/// How many are missing, and the first of them.
pub(super) fn summary(state: &State) -> Value {
    let missing = state.source.missing();
    let names: Vec<&str> = missing.iter().take(MAX_NAMED).map(|missing| &*missing.flag).collect();
    json!({ "count": missing.len(), "flags": names })
}

/// A missing flag in a list.
pub(super) fn listed(view: &View<'_>, state: &State, missing: &MissingFlag) -> Map<String, Value> {
    let set = state.source.set();
    let flag = set.flag(&*missing.flag).or(missing.definition.as_deref());
    let mut shown = view.flag(&missing.flag, missing.version.unwrap_or_default(), flag, Vec::new());
    shown.insert("missing".into(), json!({ "since": missing.since, "in_force": missing.is_in_effect }));
    shown
}

/// Everything about a missing flag.
pub(super) fn shown(state: &State, missing: &MissingFlag) -> Value {
    Value::Object(shown::of_this_process(listed(&View::of_flag(state, &missing.flag), state, missing)))
}

/// Why an edit of a missing flag is not made.
pub(super) fn failure(name: &str) -> Failure {
    let detail = format!(
        "nothing was changed, because the store has lost the flag {name:?}, and no edit removed it; POST \
         flags/{name}/write-back writes it back, and a kill works without the store"
    );
    Failure::new(Kind::Missing, detail)
}
