//! What a resolving layer leaves in a request.

use super::flags::Home;
use crate::engine::Answers;

/// The answers that a [`ResolveLayer`](super::ResolveLayer) leaves for the flag layer inside.
#[derive(Clone)]
pub(super) struct ResolvedAnswers {
    pub(super) answers: Answers,
    pub(super) home: Home,
}
