//! The smallest service with flags: `cargo run --example minimal`, then `curl -i 127.0.0.1:3000 -H 'X-User-ID: alice'`.

use axum::{Router, routing::get};
use tower_flags::{Flag, FlagLayer, Flags, Memory, flag};

async fn home(flags: Flags) -> String {
    format!("{}, version {}\n", greeting(), flags.version())
}

/// Anything below the layer reads the same answers, without passing them along.
fn greeting() -> &'static str {
    if flag("new_greeting") { "Hello from the new code" } else { "Hello" }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let memory = Memory::new();
    memory.set("new_greeting", r#"{"percentage": 50, "allowed_users": ["alice"]}"#.parse::<Flag>()?)?;
    let app = Router::new().route("/", get(home)).layer(FlagLayer::new(memory));
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?;
    Ok(())
}
