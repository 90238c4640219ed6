//! Two services that decide alike, though each has rules of its own: what the shop has decided for a
//! request goes along to the payments.
//!
//! ```text
//! ADDR=127.0.0.1:3001 cargo run --example services                  # the payments
//! PAYMENTS=http://127.0.0.1:3001 cargo run --example services       # the shop, on port 3000
//! curl 127.0.0.1:3000/checkout -H 'X-User-ID: alice'                # both say one page
//! curl 127.0.0.1:3001/pay                                           # payments alone: three pages
//! ```

use std::error::Error;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_flags::request::{AcceptDecisions, SendDecisions, SendDecisionsLayer, SigningKey};
use tower_flags::{Document, FlagLayer, Flags, Memory, declare_flags, flag};

declare_flags! {
    /// What both services have to agree about.
    static SHARED;

    /// One-page checkout.
    NEW_CHECKOUT: bool = "new_checkout";
}

/// The shop's own rules. The payments' would say off to everybody.
const SHOP: &str = r#"{"flags": {"new_checkout": {"allowed_users": ["alice"]}}}"#;
const PAYMENTS: &str = r#"{"flags": {"new_checkout": {"percentage": 0}}}"#;

type Payments = SendDecisions<Client<HttpConnector, Body>>;

fn pages() -> &'static str {
    if flag(NEW_CHECKOUT) { "one page" } else { "three pages" }
}

/// Asks the payments about the same request. Nothing says what to send: the layer around the client
/// knows it from the request that it is called in.
async fn checkout(State((payments, url)): State<(Payments, Uri)>) -> Result<Json<Value>, Failure> {
    let request = Request::get(format!("{url}pay")).body(Body::empty())?;
    let answer = payments.oneshot(request).await?.into_body().collect().await?.to_bytes();
    let answer: Value = serde_json::from_slice(&answer)?;
    Ok(Json(json!({ "shop": pages(), "payments": answer["pages"], "why": answer["why"] })))
}

async fn pay(flags: Flags) -> Json<Value> {
    Json(json!({ "pages": pages(), "why": flags.evaluation(NEW_CHECKOUT).to_string() }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The key is between these two services, from wherever secrets come from. This one is no secret.
    let key = std::env::var("DECISIONS_KEY").unwrap_or_else(|_| "not-a-secret-only-for-this-example".into());
    let key = SigningKey::new(key)?;
    let rules = |own: &str| -> Result<Memory, Box<dyn Error>> {
        let file = std::env::var("FLAGS_FILE").ok().map(std::fs::read_to_string).transpose()?;
        Ok(Memory::from(Document::from_json(file.as_deref().unwrap_or(own))?))
    };

    let app = match std::env::var("PAYMENTS") {
        Ok(url) => {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let payments = SendDecisionsLayer::new("shop", SHARED).to("payments", key, [&url]).layer(client);
            Router::new()
                .route("/checkout", get(checkout))
                .with_state((payments, url.parse::<Uri>()?))
                .layer(FlagLayer::new(rules(SHOP)?).trust_headers())
        }
        Err(_) => {
            let accepted = AcceptDecisions::new("payments", SHARED).from("shop", key);
            Router::new()
                .route("/pay", get(pay))
                .layer(FlagLayer::new(rules(PAYMENTS)?).ignore_headers().accept_decisions(accepted))
        }
    };
    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// The payments could not be asked.
struct Failure(Box<dyn Error>);

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, format!("payments: {}\n", self.0)).into_response()
    }
}
