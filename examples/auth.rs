//! Identity from an auth layer instead of from headers: `cargo run --example auth`, then
//!
//! ```text
//! curl 127.0.0.1:3000 -H 'Authorization: Bearer alice-token'      # beta for alice
//! curl 127.0.0.1:3000 -H 'X-User-ID: alice'                       # nobody: the header says nothing
//! ```

use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::{Router, routing::get};
use tower_flags::{Context, Flag, FlagLayer, Flags, Memory};

/// Checks the token and says who asks. Flags have no part in it: what callers may do is decided here
/// and in the handlers, never by a flag.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let context = match token {
        Some("alice-token") => Context::user("alice").in_groups(["staff"]).with_attribute("plan", "pro"),
        Some("bob-token") => Context::user("bob").with_attribute("plan", "free"),
        // Inserted as well: an anonymous context also ends the search for a caller.
        _ => Context::anonymous(),
    };
    request.extensions_mut().insert(context);
    next.run(request).await
}

async fn home(flags: Flags) -> String {
    let user = flags.context().user_id().unwrap_or("nobody");
    let page = if flags.is_enabled("beta") { "the beta" } else { "the usual page" };
    format!("{page} for {user}\n")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let memory = Memory::new();
    let beta = r#"{"rules": [{"when": [{"attribute": "plan", "op": "equals", "values": ["pro"]}], "serve": true}]}"#;
    memory.set("beta", beta.parse::<Flag>()?)?;
    let app = Router::new()
        .route("/", get(home))
        // Headers name nobody here, not even around a route that the auth layer does not cover.
        .layer(FlagLayer::new(memory).ignore_headers())
        // Added last, so it runs first.
        .layer(from_fn(authenticate));

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
