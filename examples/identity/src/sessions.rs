//! tower-sessions: `POST /login` with a user id and a plan starts a session, and the flags of later requests go by it.

use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Extension, Form, Router};
use serde::{Deserialize, Serialize};
use tower_flags::{Context, FlagLayer, IdentifyLayer, Problem};
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

/// What the session keeps about its user; handlers receive it as `Extension<User>`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct User {
    /// The user's id in the database.
    pub id: i64,
    /// What the user pays for.
    pub plan: String,
}

async fn log_in(session: Session, Form(user): Form<User>) -> Result<(), String> {
    // Another id after a login, so that an id which was known before is worth nothing.
    session.cycle_id().await.map_err(|error| error.to_string())?;
    session.insert("user", user).await.map_err(|error| error.to_string())
}

async fn plan(user: Option<Extension<User>>) -> String {
    user.map_or_else(|| "none\n".to_owned(), |Extension(user)| format!("{}\n", user.plan))
}

fn is_health(request: &Parts) -> bool {
    request.uri.path() == "/health"
}

/// The service.
///
/// # Errors
///
/// The rules of the example are refused, which they are not.
pub fn app() -> Result<Router, Problem> {
    let identify = IdentifyLayer::new(|request: &Parts| {
        // The handle is in the extensions; the store is asked at the first `get`.
        let session = request.extensions.get::<Session>().cloned();
        async move {
            let user: User = session?.get("user").await.ok()??;
            Some((Context::user(user.id).with_attribute("plan", user.plan.as_str()), user))
        }
    });
    Ok(Router::new()
        .route("/", get(crate::home))
        .route("/plan", get(plan))
        .route("/login", post(log_in))
        .route("/health", get(crate::health))
        .layer(FlagLayer::new(crate::rules()?).skip(is_health))
        .layer(identify.skip(is_health))
        // Added last, so it runs first and the others find its handle.
        .layer(SessionManagerLayer::new(MemoryStore::default()).with_secure(false)))
}
