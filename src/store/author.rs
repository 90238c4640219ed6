//! Who edits.

/// Who edits, and why.
///
/// ```
/// use tower_flags::store::Author;
///
/// let by = Author::new("alice").because("errors at checkout, INC-17");
/// # let _ = by;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    name: String,
    reason: Option<String>,
}

impl Author {
    /// Somebody, by whatever name they are known.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), reason: None }
    }

    /// Why they edit.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// By what name they are known.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why, if they said so.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl From<&str> for Author {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Author {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&Self> for Author {
    fn from(author: &Self) -> Self {
        author.clone()
    }
}
