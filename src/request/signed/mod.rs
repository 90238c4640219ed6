//! What is signed: testers' overrides, and one service's decisions for the next.

mod decisions;
mod key;
mod overrides;
mod send;
mod token;

pub use decisions::AcceptDecisions;
pub use key::{SigningKey, WeakKey};
pub use overrides::Overrides;
pub use send::{SendDecisions, SendDecisionsService};
pub use token::{OverrideToken, TokenTooLong};
