//! Rules that the application holds itself.

use std::sync::{Arc, Weak};

use super::board::{Board, Subscriber};
use super::layered::{Definitions, sealed};
use super::traits::{Source, Status};
use crate::document::{Document, Flag, FlagName, Problem};
use crate::engine::{Answers, Query, SourceId};

/// Rules in memory, set as a whole or flag by flag: for tests, and for applications that have their
/// own configuration.
///
/// Clones share the rules. A change is in force when the call returns; requests under way keep
/// theirs.
///
/// * Stored where: in this process alone.
/// * Freshness: 0 s. At start: no flags, or those given.
///
/// ```
/// use tower_flags::{Flag, FlagLayer, Memory};
///
/// let memory = Memory::new();
/// memory.set("dark_mode", true)?;
/// memory.set("search", r#"{"percentage": 25, "allowed_users": ["alice"]}"#.parse::<Flag>()?)?;
/// let layer = FlagLayer::new(memory.clone());
/// memory.set("dark_mode", false)?;
/// # let _ = layer;
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug)]
pub struct Memory {
    board: Arc<Board>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Memory without flags.
    #[must_use]
    pub fn new() -> Self {
        Self::from(Document::new())
    }

    /// Adds a flag, in place of one of the same name: a [`Flag`], `true` or `false`, JSON as a value or as text.
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_flags::Memory;
    ///
    /// let memory = Memory::new();
    /// memory.set("dark_mode", true)?;
    /// memory.set("new_cart", json!({"percentage": 25}))?;
    /// memory.set("new_search", r#"{"allowed_users": ["alice"]}"#)?;
    /// assert!(memory.set("new_cart", json!({"percentage": 250})).is_err());
    /// # Ok::<(), tower_flags::Problem>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A flag that is not valid, a name outside `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, or more than 10 000 flags; then nothing is
    /// changed. A flag that requires unknown flags is a problem of the set, in [`status`](Source::status).
    pub fn set<F: TryInto<Flag>>(&self, name: impl FlagName, flag: F) -> Result<(), Problem>
    where
        Problem: From<F::Error>,
    {
        // Before the lock: the application's types may use this memory while they are converted.
        let name = name.name();
        let (flag, mut outcome) = (flag.try_into().map_err(|error| Problem::from(error).of_flag(name))?, Ok(()));
        self.board.publish(|in_force| {
            let mut document = in_force.clone();
            outcome = document.insert(name, flag);
            outcome.is_ok().then(|| (document, String::new()))
        });
        outcome
    }

    /// Removes a flag; `false` if there was none.
    pub fn remove(&self, name: impl FlagName) -> bool {
        let (name, mut was_there) = (name.name(), false);
        self.board.publish(|in_force| {
            let mut document = in_force.clone();
            was_there = document.remove(name);
            was_there.then(|| (document, String::new()))
        });
        was_there
    }

    /// Puts a whole document in place of all flags. Flags it refuses keep their earlier definitions;
    /// flags it lacks are gone.
    pub fn replace(&self, document: Document) {
        self.board.publish(|in_force| Some((document.after(in_force, true), String::new())));
    }
}

impl From<Document> for Memory {
    fn from(document: Document) -> Self {
        let memory = Self { board: Arc::new(Board::new()) };
        memory.replace(document);
        memory
    }
}

impl Source for Memory {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.board.answer(query)
    }

    fn status(&self) -> Status {
        self.board.status()
    }

    fn id(&self) -> Option<SourceId> {
        Some(self.board.id())
    }
}

impl Definitions for Memory {
    fn name(&self) -> &str {
        "memory"
    }
}

impl sealed::Part for Memory {
    fn document(&self, _: Option<&Document>) -> Arc<Document> {
        self.board.document()
    }

    fn on_change(&self, listener: Weak<dyn Subscriber>) {
        self.board.on_change(listener);
    }
}
