//! JSON Web Tokens: verified once for flags and handlers.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Extension, Router};
use jsonwebtoken::errors::Error;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use tower_flags::{Context, FlagLayer, IdentifyLayer, Problem};

/// Your own: from the environment, or the public key of the identity provider.
const SECRET: &[u8] = b"a secret for this example alone";

/// What a token says; handlers receive it as `Extension<Claims>`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    /// What the user pays for.
    pub plan: String,
    /// When the token expires, in seconds since 1970.
    pub exp: u64,
}

/// A token that is valid for an hour.
///
/// # Errors
///
/// The claims cannot be signed.
pub fn token(user: i64, plan: &str) -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims { sub: user.to_string(), plan: plan.to_owned(), exp: now + 3600 };
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET))
}

/// Accepts HS256 alone, and no token that has expired.
fn verify(token: &str) -> Option<Claims> {
    decode(token, &DecodingKey::from_secret(SECRET), &Validation::default()).ok().map(|token| token.claims)
}

async fn plan(claims: Option<Extension<Claims>>) -> String {
    claims.map_or_else(|| "none\n".to_owned(), |Extension(claims)| format!("{}\n", claims.plan))
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
        let token = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let token = token.map(str::to_owned);
        async move {
            // With a key server, its keys are awaited here.
            let claims = verify(&token?)?;
            Some((Context::user(&claims.sub).with_attribute("plan", claims.plan.as_str()), claims))
        }
    });
    Ok(Router::new()
        .route("/", get(crate::home))
        .route("/plan", get(plan))
        .route("/health", get(crate::health))
        .layer(FlagLayer::new(crate::rules()?).skip(is_health))
        .layer(identify.skip(is_health)))
}
