//! Three services whose flags are decided for the users that another library authenticates.
//!
//! 1. [`sessions`]: the session is loaded once, by an `IdentifyLayer`, for flags and handlers alike.
//! 2. [`login`]: axum-login has loaded the user already, so that a closure of the flag layer is enough.
//! 3. [`jwt`]: a token is verified once, by an `IdentifyLayer`.
//!
//! In each of them `/health` is answered without a look at sessions or tokens.

pub mod jwt;
pub mod login;
pub mod sessions;

use tower_flags::{Flags, Memory, Problem};

/// The flag of all three: on for users whose plan is `pro`.
fn rules() -> Result<Memory, Problem> {
    let memory = Memory::new();
    let beta = r#"{"rules": [{"when": [{"attribute": "plan", "op": "equals", "values": ["pro"]}], "serve": true}]}"#;
    memory.set("beta", beta)?;
    Ok(memory)
}

/// What each of them serves.
async fn home(flags: Flags) -> String {
    let user = flags.context().user_id().unwrap_or("a guest");
    let page = if flags.is_enabled("beta") { "the beta" } else { "the usual page" };
    format!("{page} for {user}\n")
}

async fn health() -> &'static str {
    "fine\n"
}
