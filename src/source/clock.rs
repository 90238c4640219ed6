//! The system's clock.

use std::time::SystemTime;

use crate::document::Instant;

impl Instant {
    /// The present instant by the system's clock.
    ///
    /// ```
    /// use tower_flags::Instant;
    ///
    /// let start: Instant = "2026-01-01T00:00:00Z".parse().unwrap();
    /// assert!(Instant::now() > start);
    /// ```
    #[must_use]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }
}
