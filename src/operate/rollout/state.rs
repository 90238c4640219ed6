//! What a rollout is at one moment.

use serde::Serialize;

use crate::document::{Flag, Percentage, Timestamp};

/// What a rollout is at one instant, as data for dashboards.
///
/// ```
/// use tower_flags::Flag;
/// use tower_flags::operate::rollout::Rollout;
///
/// let flag: Flag = r#"{"schedule": [
///     {"at": "2026-12-01T09:00:00Z", "percentage": 5}, {"at": "2026-12-02T09:00:00Z", "percentage": 25}
/// ]}"#.parse()?;
/// let rollout = Rollout::of(&flag, "2026-12-01T12:00:00Z".parse().unwrap()).unwrap();
/// assert_eq!(
///     serde_json::to_value(&rollout).unwrap(),
///     serde_json::json!({
///         "stages": [
///             {"at": "2026-12-01T09:00:00Z", "percentage": 5},
///             {"at": "2026-12-02T09:00:00Z", "percentage": 25},
///         ],
///         "current": 0,
///         "percentage": 5,
///         "next_at": "2026-12-02T09:00:00Z",
///         "paused_since": null,
///         "is_finished": false,
///         "is_killed": false,
///     }),
/// );
/// # Ok::<(), tower_flags::Problem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rollout {
    /// The percentages by when they come into force, in ascending order of the instants. Where the plan stands still,
    /// those to come move when it is resumed.
    pub stages: Vec<Stage>,
    /// Which stage is in force, by its position from 0; `None` before the first.
    pub current: Option<usize>,
    /// The share of users that the plan gives now; nobody has the flag where it is switched off.
    pub percentage: Percentage,
    /// When the next stage begins; `None` where none is to come or the plan will not get there.
    pub next_at: Option<Timestamp>,
    /// Since when the plan stands still, if it does.
    pub paused_since: Option<Timestamp>,
    /// Whether no stage is to come.
    pub is_finished: bool,
    /// Whether the flag is switched off for everybody.
    pub is_killed: bool,
}

/// A percentage and from when on it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stage {
    /// The first instant of it.
    pub at: Timestamp,
    /// The share of users.
    pub percentage: Percentage,
}

impl Rollout {
    /// The rollout of a flag at an instant; `None` for a flag without a schedule.
    #[must_use]
    pub fn of(flag: &Flag, now: Timestamp) -> Option<Self> {
        let schedule = flag.schedule.as_ref()?;
        let (percentage, _, next_at) = schedule.at(now);
        let passed = schedule.passed_at(now);
        Some(Self {
            stages: schedule.steps.iter().map(|step| Stage { at: step.at, percentage: step.percentage }).collect(),
            current: passed.checked_sub(1),
            percentage,
            next_at,
            paused_since: schedule.stands_since(now),
            is_finished: passed == schedule.steps.len(),
            is_killed: !flag.is_enabled(),
        })
    }
}
