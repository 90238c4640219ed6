//! The inbound side of what is signed: testers' overrides, and the decisions of the calling service.

pub(super) mod claims;
pub(super) mod decision_header;
mod decisions;
pub(super) mod key;
mod overrides;
mod token;

pub use decisions::AcceptDecisions;
pub use key::SigningKey;
pub use overrides::Overrides;
pub use token::OverrideToken;
