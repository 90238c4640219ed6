//! What is signed: testers' overrides, and one service's decisions for the next.

mod claims;
mod decisions;
mod hosts;
mod key;
mod overrides;
mod send;
mod token;

pub use decisions::AcceptDecisions;
pub use key::{InvalidKeyId, SigningKey};
pub use overrides::Overrides;
pub use send::{SendDecisions, SendDecisionsService};
pub use token::{OverrideToken, TokenError};
