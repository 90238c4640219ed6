//! Identity from a session that has to be loaded: `cargo run --example session`, then
//!
//! ```text
//! curl 127.0.0.1:3000 -H 'Cookie: session=7f3a'     # the beta, for Alice
//! curl 127.0.0.1:3000                               # the usual page
//! curl 127.0.0.1:3000/health                        # no session is loaded, no flag decided
//! ```
//!
//! `examples/identity` has the same with `tower-sessions`, `axum-login` and JSON Web Tokens.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::{Extension, Router, routing::get};
use tower_flags::{Context, FlagLayer, Flags, IdentifyLayer, Memory};

/// A user as a session store knows them.
#[derive(Clone)]
struct User {
    id: i64,
    name: String,
    plan: String,
}

/// Your own: Redis, SQL, or another service.
#[derive(Clone)]
struct Sessions(Arc<HashMap<String, User>>);

impl Sessions {
    async fn load(&self, id: &str) -> Option<User> {
        tokio::task::yield_now().await;
        self.0.get(id).cloned()
    }
}

fn session_id(request: &Parts) -> Option<String> {
    let cookies = request.headers.get(COOKIE)?.to_str().ok()?;
    cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session=")).map(str::to_owned)
}

fn is_health(request: &Parts) -> bool {
    request.uri.path() == "/health"
}

/// The user comes from the same load as the flags: no session is loaded twice.
async fn home(flags: Flags, user: Option<Extension<User>>) -> String {
    let name = user.map_or_else(|| "a guest".to_owned(), |user| user.name.clone());
    let page = if flags.is_enabled("beta") { "the beta" } else { "the usual page" };
    format!("{page} for {name}\n")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let alice = User { id: 42, name: "Alice".to_owned(), plan: "pro".to_owned() };
    let sessions = Sessions(Arc::new(HashMap::from([("7f3a".to_owned(), alice)])));
    let memory = Memory::new();
    let beta = r#"{"rules": [{"when": [{"attribute": "plan", "op": "equals", "values": ["pro"]}], "serve": true}]}"#;
    memory.set("beta", beta)?;

    let identify = IdentifyLayer::new(move |request: &Parts| {
        let (sessions, id) = (sessions.clone(), session_id(request));
        async move {
            let user = sessions.load(&id?).await?;
            Some((Context::user(user.id).with_attribute("plan", user.plan.as_str()), user))
        }
    });
    let app = Router::new()
        .route("/", get(home))
        .route("/health", get(|| async { "fine\n" }))
        .layer(FlagLayer::new(memory).skip(is_health))
        // Added last, so it runs first.
        .layer(identify.skip(is_health));

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
