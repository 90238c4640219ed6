//! axum-login: `POST /login` with a name and a password; its layer loads the user of each request that follows.

use std::convert::Infallible;

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Form, Router};
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend};
use serde::Deserialize;
use tower_flags::{Context, FlagLayer, Problem};
use tower_sessions::{MemoryStore, SessionManagerLayer};

/// A user of the database.
#[derive(Clone, Debug)]
pub struct User {
    id: i64,
    name: &'static str,
    plan: &'static str,
}

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> i64 {
        self.id
    }

    fn session_auth_hash(&self) -> &[u8] {
        // Your own: the hash of the password, so that a new password ends all sessions.
        self.name.as_bytes()
    }
}

const USERS: [User; 2] = [User { id: 7, name: "alice", plan: "pro" }, User { id: 8, name: "bob", plan: "free" }];

/// What the login form sends.
#[derive(Clone, Debug, Deserialize)]
pub struct Credentials {
    name: String,
    password: String,
}

/// Your own: a database, and passwords that are hashed.
#[derive(Clone, Debug)]
pub struct Backend;

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<User>, Infallible> {
        let user = USERS.into_iter().find(|user| user.name == credentials.name);
        Ok(user.filter(|_| credentials.password == "correct horse"))
    }

    async fn get_user(&self, id: &i64) -> Result<Option<User>, Infallible> {
        Ok(USERS.into_iter().find(|user| user.id == *id))
    }
}

async fn log_in(mut session: AuthSession<Backend>, Form(credentials): Form<Credentials>) -> StatusCode {
    let Ok(Some(user)) = session.authenticate(credentials).await else { return StatusCode::UNAUTHORIZED };
    match session.login(&user).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The user that axum-login has loaded. Nothing has to be awaited here.
fn caller(request: &Parts) -> Option<Context> {
    let session = request.extensions.get::<AuthSession<Backend>>()?;
    let user = session.user.as_ref()?;
    Some(Context::user(user.id).with_attribute("plan", user.plan))
}

/// The service.
///
/// # Errors
///
/// The rules of the example are refused, which they are not.
pub fn app() -> Result<Router, Problem> {
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false);
    let pages = Router::new()
        .route("/", get(crate::home))
        .route("/login", post(log_in))
        .layer(FlagLayer::new(crate::rules()?).identify(caller))
        // Added last, so it runs first.
        .layer(AuthManagerLayerBuilder::new(Backend, sessions).build());
    // The layer of axum-login loads a user for every route it is around.
    Ok(Router::new().route("/health", get(crate::health)).merge(pages))
}
