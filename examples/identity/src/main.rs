//! Who the flags are decided for, from what services authenticate with:
//!
//! ```text
//! cargo run -p tower-flags-identity-example -- sessions    # tower-sessions
//! cargo run -p tower-flags-identity-example -- login       # axum-login
//! cargo run -p tower-flags-identity-example -- jwt         # JSON Web Tokens, by jsonwebtoken
//! ```

use std::error::Error;

use tower_flags_identity_example::{jwt, login, sessions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let app = match name.as_str() {
        "sessions" => sessions::app()?,
        "login" => login::app()?,
        "jwt" => {
            println!("curl 127.0.0.1:3000 -H 'Authorization: Bearer {}'", jwt::token(7, "pro")?);
            jwt::app()?
        }
        other => return Err(format!("expected sessions, login or jwt, found {other:?}").into()),
    };
    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
