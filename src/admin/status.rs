//! How everything is doing.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Answer, Call, Principal};
use super::missing;
use super::reply;
use super::shown;
use super::state::State;
use crate::document::Timestamp;
use crate::store::{Feed, Head};

pub(super) async fn status(call: Call) -> Answer {
    let Call { state, who, .. } = call;
    let (head, error) = match state.read("").await {
        Ok(stored) => (Some(stored.head), None),
        Err(failure) => (None, Some(failure.detail().to_owned())),
    };
    if let Some(head) = &head {
        // The next check reports it.
        let _ = state.verifier.has_gone_back(head);
    }
    let shared = Arc::clone(&state);
    // There may be 10,000 problems.
    let body =
        State::off_workers(&state.answering, move || shown_to(&who, &shared, head.as_ref(), error.as_deref())).await;
    Ok(reply::json(StatusCode::OK, body))
}

fn shown_to(who: &Principal, state: &State, head: Option<&Head>, error: Option<&str>) -> Value {
    let capabilities = state.store.capabilities();
    let kills: Vec<Value> = state.source.local_kills().iter().map(|kill| shown::local_kill(state, kill)).collect();
    json!({
        "now": Timestamp::now(),
        "you": { "name": who.name, "role": who.role.name() },
        "library": env!("CARGO_PKG_VERSION"),
        // What requests get, of all layers; and what comes from the store alone.
        "rules": shown::source_status(state.answers()),
        "source": shown::source_status(&state.source),
        "store": {
            "name": Feed::name(&state.store),
            "is_shared": capabilities.is_shared,
            "is_durable": capabilities.is_durable,
            "has_notices": capabilities.has_notices,
            "has_foreign_writers": capabilities.has_foreign_writers,
            "head": head,
            "error": error,
            "problems": shown::store_problems(state),
        },
        "history": state.verifier.shown(),
        "local_kills": kills,
        "missing": missing::summary(state),
        "failed_logins": state.logins.failed(),
        "failed_bearers": state.security.failed_bearers(),
        "expiring_tokens": expiring_tokens(state),
    })
}

/// The tokens that expire soon, or have expired.
fn expiring_tokens(state: &State) -> Vec<Value> {
    let expiring = state.authorizer.tokens().map(|tokens| tokens.expiring(Timestamp::now()));
    expiring.into_iter().flatten().map(|(name, day)| json!({ "name": name, "expires_on": day })).collect()
}
