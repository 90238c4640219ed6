//! The system's clock.

use std::time::SystemTime;

use crate::document::Timestamp;

impl Timestamp {
    /// The present instant by the system's clock.
    ///
    /// ```
    /// use tower_flags::Timestamp;
    ///
    /// let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    /// assert!(Timestamp::now() > start);
    /// ```
    #[must_use]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }
}
