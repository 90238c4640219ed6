//! Who is notified.

use super::outcome::Outcome;

/// Is notified of the outcome of each request; see the [module documentation](super). Closures are observers.
pub trait Observer: Send + Sync + 'static {
    /// Receives an outcome. It runs where the response ends, so it must not block.
    fn observe(&self, outcome: &Outcome<'_>);
}

impl<F: Fn(&Outcome<'_>) + Send + Sync + 'static> Observer for F {
    fn observe(&self, outcome: &Outcome<'_>) {
        self(outcome);
    }
}
