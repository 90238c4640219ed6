//! The condition of a feed, as the status shows it.

use std::collections::HashSet;
use std::time::Duration;

use crate::document::{Problem, Timestamp};
use crate::store;

/// How far apart the clocks of a store and of this process may be.
const MAX_SKEW: Duration = Duration::from_secs(30);

/// The last known condition of a feed.
#[derive(Debug, Default)]
pub(super) struct Condition {
    /// Problems of its set-up, which are known before it is asked.
    setup: Vec<Problem>,
    /// All problems, with those.
    pub(super) problems: Vec<Problem>,
    pub(super) stale_since: Option<Timestamp>,
}

impl Condition {
    /// The condition before the feed is asked.
    pub(super) fn before_asking(source: &str, setup: Vec<Problem>) -> Self {
        let mut condition = Self::default();
        condition.set_problems(source, setup);
        condition.setup.clone_from(&condition.problems);
        condition
    }

    /// Takes the condition that a source found; its clock was read between two instants of ours.
    pub(super) fn take(&mut self, source: &str, found: store::Condition, before: Timestamp, after: Timestamp) {
        let skew = found.clock.and_then(|clock| skew(clock, before, after));
        let problems = self.setup.iter().cloned().chain(found.problems).chain(skew).collect();
        self.set_problems(source, problems);
        self.stale_since = found.stale_since;
    }

    fn set_problems(&mut self, source: &str, mut problems: Vec<Problem>) {
        for problem in &mut problems {
            problem.source.get_or_insert_with(|| source.to_owned());
        }
        let known: HashSet<&Problem> = self.problems.iter().collect();
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::warn!(source, "{problem}");
        }
        self.problems = problems;
    }
}

/// The problem of a store whose clock, read between two instants of this process, differs too much.
fn skew(clock: Timestamp, before: Timestamp, after: Timestamp) -> Option<Problem> {
    let millis = if clock > after {
        clock.unix_millis().saturating_sub(after.unix_millis())
    } else {
        before.unix_millis().saturating_sub(clock.unix_millis()).max(0)
    };
    let skew = Duration::from_millis(millis.unsigned_abs());
    (skew > MAX_SKEW).then(|| {
        let direction = if clock > after { "ahead of" } else { "behind" };
        let found = format!("the store's clock {} s {direction} it", skew.as_secs());
        Problem::new(format!("clocks within {} s of the clock of this process", MAX_SKEW.as_secs()), found)
            .with_help("schedules take effect by the clock of each process: synchronise the clocks")
    })
}
