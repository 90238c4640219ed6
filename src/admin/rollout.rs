//! Actions on a flag's plan: starting, pausing, going on.
//!
//! They are edits like the others, so each is a row here and a handler that calls
//! [`edits::apply`](super::edits::apply).

use super::router::Route;

pub(super) const ROUTES: &[Route] = &[];
