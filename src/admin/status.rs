//! How everything is doing.

use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::missing;
use super::reply;
use super::shown;
use super::state::{State, now};
use crate::store::Feed;

pub(super) async fn status(call: Call) -> Answer {
    let state = &call.state;
    let capabilities = state.store.capabilities();
    let (head, error) = match state.read("").await {
        Ok(stored) => (Some(stored.head), None),
        Err(failure) => (None, Some(failure.detail().to_owned())),
    };
    if let Some(head) = &head {
        // The next check reports it.
        let _ = state.verifier.has_gone_back(head);
    }
    let kills: Vec<Value> = state.source.local_kills().iter().map(|kill| shown::local_kill(state, kill)).collect();
    let body = json!({
        "now": now(),
        "you": { "name": call.who.name, "role": call.who.role.name() },
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
    });
    Ok(reply::json(StatusCode::OK, body))
}

/// The tokens that expire soon, or have expired.
fn expiring_tokens(state: &State) -> Vec<Value> {
    let expiring = state.authorizer.tokens().map(|tokens| tokens.expiring(now()));
    expiring.into_iter().flatten().map(|(name, day)| json!({ "name": name, "expires_on": day })).collect()
}
